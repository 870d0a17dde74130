//! The frame of a record: the log's proof that bytes are what was written.

/// CRC32C of all that follows · payload length · records before it in its group · LSN
pub(in crate::store) const FRAME_HEADER_BYTES: usize = 4 + 4 + 4 + 8;
/// Longest payload. The longest record there is, a message of 4,096 bytes, is well below.
pub(super) const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
pub(in crate::store) const MAX_FRAME_BYTES: usize = FRAME_HEADER_BYTES + MAX_PAYLOAD_BYTES;

/// The identity of a frame: no two frames that were ever written share all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    pub(in crate::store) position: u64,
    /// The position after it.
    pub(in crate::store) end: u64,
    pub(in crate::store) lsn: u64,
    pub(in crate::store) crc: u32,
}

/// A frame as read.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Frame<'a> {
    pub(in crate::store) stamp: Stamp,
    /// The LSN of the first record of its group.
    pub(in crate::store) group_start: u64,
    pub(in crate::store) payload: &'a [u8],
}

/// Appends a frame to `group`; `payload` appends the payload. The frame's position is `position`,
/// after `before` others of its group.
pub(in crate::store) fn encode(
    group: &mut Vec<u8>,
    position: u64,
    lsn: u64,
    before: u32,
    payload: impl FnOnce(&mut Vec<u8>),
) -> Stamp {
    let start = group.len();
    group.extend([0; FRAME_HEADER_BYTES]);
    payload(group);
    let frame = &mut group[start..];
    let payload_len = frame.len() - FRAME_HEADER_BYTES;
    debug_assert!(payload_len <= MAX_PAYLOAD_BYTES);
    let len = u32::try_from(payload_len).unwrap_or(u32::MAX);
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..12].copy_from_slice(&before.to_le_bytes());
    frame[12..20].copy_from_slice(&lsn.to_le_bytes());
    let crc = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    Stamp { position, end: position + frame.len() as u64, lsn, crc }
}

/// The frame that `bytes` start with, if they do and it is intact.
pub(in crate::store) fn parse(bytes: &[u8], position: u64) -> Option<Frame<'_>> {
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let len = u32_at(header, 4) as usize;
    if len > MAX_PAYLOAD_BYTES || rest.len() < len {
        return None;
    }
    let crc = u32_at(header, 0);
    if crc32c::crc32c(&bytes[4..FRAME_HEADER_BYTES + len]) != crc {
        return None;
    }
    let lsn = u64_at(header, 12);
    // A frame with more frames before it in its group than in the whole log is malformed.
    let group_start = lsn.checked_sub(u64::from(u32_at(header, 8)))?;
    let end = position + (FRAME_HEADER_BYTES + len) as u64;
    Some(Frame { stamp: Stamp { position, end, lsn, crc }, group_start, payload: &rest[..len] })
}

pub(in crate::store) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(in crate::store) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_begins_with_the_first_record_or_later() {
        for (lsn, before, begins) in
            [(0, 0, Some(0)), (7, 7, Some(0)), (7, 2, Some(5)), (7, 8, None)]
        {
            let mut bytes = Vec::new();
            encode(&mut bytes, 0, lsn, before, |out| out.extend(b"payload"));
            assert_eq!(parse(&bytes, 0).map(|frame| frame.group_start), begins);
        }
    }
}
