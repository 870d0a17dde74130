//! The JSON content of replies, made or only measured.

use std::io;

use serde::Serialize;

/// The way to render a content: make it or only measure it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenderMode {
    /// All bytes are made.
    Full,
    /// Only the length is computed, without a buffer: the reply to a `HEAD` (RFC 9110, section
    /// 9.3.2).
    Length,
}

/// A content in bytes, or its length.
pub(super) enum Rendering {
    Bytes(Vec<u8>),
    Length(usize),
}

/// A writer that makes a [`Rendering`]. Writing to it does not fail.
pub(super) trait Renderer: io::Write {
    fn with_capacity(bytes: usize) -> Self;
    fn put(&mut self, bytes: &[u8]);
    fn into_rendering(self) -> Rendering;
}

/// A writer that counts bytes and keeps none.
pub(super) struct ByteCounter(usize);

impl RenderMode {
    /// A value as JSON. Only for types that cannot fail to serialize, as with [`to_json`].
    pub(super) fn json(self, value: &impl Serialize) -> Rendering {
        match self {
            RenderMode::Full => Rendering::Bytes(to_json(value)),
            RenderMode::Length => {
                let mut counter = ByteCounter(0);
                let _ = serde_json::to_writer(&mut counter, value);
                counter.into_rendering()
            }
        }
    }
}

/// A value of the API's own types as JSON. They hold strings and numbers only, which cannot fail.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl From<Vec<u8>> for Rendering {
    fn from(bytes: Vec<u8>) -> Rendering {
        Rendering::Bytes(bytes)
    }
}

impl Renderer for Vec<u8> {
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

impl Renderer for ByteCounter {
    fn with_capacity(_: usize) -> ByteCounter {
        ByteCounter(0)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn into_rendering(self) -> Rendering {
        Rendering::Length(self.0)
    }
}

impl io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
