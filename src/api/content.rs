//! The content of replies: made, or only measured for who wants no more than the head.

use std::io;

use serde::Serialize;

use super::to_json;

/// What is to be made of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Its length: a `HEAD` is answered that, and nothing is held for it (RFC 9110, section 9.3.2).
    Length,
}

/// As much of a content as is wanted.
pub(super) enum Rendering {
    Bytes(Vec<u8>),
    Length(usize),
}

/// Something on which a content is written.
pub(super) trait Sheet: io::Write {
    fn with_capacity(bytes: usize) -> Self;
    fn put(&mut self, bytes: &[u8]);
    fn into_rendering(self) -> Rendering;
}

/// A sheet that forgets what is written on it.
pub(super) struct Measure(usize);

impl Extent {
    /// A value as JSON. Only for what cannot fail to serialize, as with [`to_json`].
    pub(super) fn json(self, value: &impl Serialize) -> Rendering {
        match self {
            Extent::Whole => Rendering::Bytes(to_json(value)),
            Extent::Length => {
                let mut measure = Measure(0);
                let _ = serde_json::to_writer(&mut measure, value);
                measure.into_rendering()
            }
        }
    }
}

impl From<Vec<u8>> for Rendering {
    fn from(bytes: Vec<u8>) -> Rendering {
        Rendering::Bytes(bytes)
    }
}

impl Sheet for Vec<u8> {
    fn with_capacity(bytes: usize) -> Vec<u8> {
        Vec::with_capacity(bytes)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn into_rendering(self) -> Rendering {
        Rendering::Bytes(self)
    }
}

impl Sheet for Measure {
    fn with_capacity(_: usize) -> Measure {
        Measure(0)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn into_rendering(self) -> Rendering {
        Rendering::Length(self.0)
    }
}

impl io::Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
