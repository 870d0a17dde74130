//! Encoded bytes that several subscribers share, counted while they are in memory.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all chunks in memory from which on no more pages and events are read for streams.
pub(super) const MAX_CHUNK_BYTES: usize = 256 * 1024 * 1024;
/// The last chunk, without trailers (RFC 9112, section 7.1).
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes for one or many subscribers. They are in memory once, however many subscribers send them.
#[derive(Debug)]
pub(in crate::http) struct Chunk {
    /// One chunk of the chunked coding, or plain bytes.
    bytes: Box<[u8]>,
    /// Range of the content in `bytes`, without the chunk's framing.
    content: Range<usize>,
    /// Bytes of all chunks in memory.
    total_bytes: Arc<AtomicUsize>,
}

impl Chunk {
    /// Content of a stream.
    pub(super) fn new(content: &[u8], total_bytes: &Arc<AtomicUsize>) -> Arc<Chunk> {
        let size = format!("{:x}\r\n", content.len());
        let start = size.len();
        let bytes = [size.as_bytes(), content, b"\r\n"].concat();
        Chunk::of(bytes, start..start + content.len(), total_bytes)
    }

    /// The head of a reply, which has no framing.
    pub(super) fn head(bytes: Vec<u8>, total_bytes: &Arc<AtomicUsize>) -> Arc<Chunk> {
        let content = 0..bytes.len();
        Chunk::of(bytes, content, total_bytes)
    }

    /// [`LAST_CHUNK`], which does not count.
    pub(super) fn last() -> Arc<Chunk> {
        Chunk::of(LAST_CHUNK.into(), 0..0, &Arc::default())
    }

    fn of(bytes: Vec<u8>, content: Range<usize>, total_bytes: &Arc<AtomicUsize>) -> Arc<Chunk> {
        total_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Arc::new(Chunk { bytes: bytes.into(), content, total_bytes: Arc::clone(total_bytes) })
    }

    /// Length in bytes, with the framing.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All bytes, with the framing.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Range of the content in [`Chunk::bytes`].
    pub(super) fn content(&self) -> Range<usize> {
        self.content.clone()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.total_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
