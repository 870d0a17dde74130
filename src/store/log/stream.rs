//! A log's bytes as they come in, of which only so much is held as a frame can span.

use std::io::{self, ErrorKind, Read};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// A source of bytes that can be looked ahead into.
#[derive(Debug)]
pub(in crate::store) struct LogStream<R> {
    source: R,
    buffer: Vec<u8>,
    /// The number of consumed bytes of the buffer, and of those that were read into it.
    passed: usize,
    filled: usize,
    position: u64,
    crc: u32,
}

impl<R: Read> LogStream<R> {
    pub(in crate::store) fn new(source: R) -> LogStream<R> {
        let buffer = vec![0; READ_BYTES];
        LogStream { source, buffer, passed: 0, filled: 0, position: 0, crc: 0 }
    }

    /// The number of bytes consumed since the beginning.
    pub(in crate::store) fn position(&self) -> u64 {
        self.position
    }

    /// CRC32C of all that was passed over.
    pub(in crate::store) fn crc(&self) -> u32 {
        self.crc
    }

    /// The next `len` bytes, at most [`READ_BYTES`]; fewer only at the end of the source.
    pub(in crate::store) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        debug_assert!(len <= READ_BYTES);
        if self.filled - self.passed < len {
            self.buffer.copy_within(self.passed..self.filled, 0);
            self.filled -= self.passed;
            self.passed = 0;
        }
        while self.filled - self.passed < len {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => self.filled += read?,
            }
        }
        Ok(&self.buffer[self.passed..self.filled])
    }

    /// Consumes bytes that were peeked at.
    pub(in crate::store) fn pass(&mut self, len: usize) {
        let len = len.min(self.filled - self.passed);
        let passed = &self.buffer[self.passed..self.passed + len];
        self.crc = crc32c::crc32c_append(self.crc, passed);
        self.passed += len;
        self.position += len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, and is interrupted in between.
    struct Trickle<'a>(&'a [u8], bool);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let len = buffer.len().min(3);
            self.0.read(&mut buffer[..len])
        }
    }

    #[test]
    fn every_byte_comes_once() {
        let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut stream = LogStream::new(Trickle(&all, false));
        let mut seen = Vec::new();
        for step in (1..40).cycle() {
            let next = stream.peek(step).unwrap();
            let len = next.len().min(step);
            if len == 0 {
                break;
            }
            seen.extend_from_slice(&next[..len]);
            stream.pass(len);
            assert_eq!(stream.position(), seen.len() as u64);
        }
        assert_eq!(seen, all);
        assert_eq!(stream.crc(), crc32c::crc32c(&all));
    }
}
