//! The encodings of the keys of the index, which sort like the ids in them, and of its values.

use super::digest::Digest;
use crate::model::{Mailbox, StoreId, UserId, Username};
use crate::store::id_allocator::IdAllocator;
use crate::store::log::frame::Stamp;

/// Postings in one value. A chunk is read and written as a whole whenever it grows.
pub(super) const CHUNK_POSTINGS: usize = 128;

/// A list of postings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::store) enum List {
    /// The messages of a mailbox.
    Messages(Mailbox),
    /// The events of a feed other than new messages.
    Activity(Mailbox),
    /// The messages of a conversation that one of the two did not write.
    Received { by: UserId, from: UserId },
}

/// An item of a list, and the position of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Posting {
    pub(in crate::store) id: u64,
    pub(in crate::store) position: u64,
}

/// The point up to which the log is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Applied {
    pub(in crate::store) store_id: StoreId,
    /// The last frame that is indexed.
    pub(in crate::store) stamp: Stamp,
    /// The store's next ids after it.
    pub(in crate::store) next_ids: IdAllocator,
}

/// The version of this layout. Another one is rebuilt, not converted.
pub(in crate::store) const FORMAT_VERSION: u32 = 4;
/// The key of the point up to which the log is indexed.
pub(super) const META: &[u8] = b"m";
/// The first byte of the key of a conversation.
pub(super) const CONVERSATION: u8 = b'l';
/// The first byte of the key of an entry.
pub(super) const ENTRY: u8 = b'f';

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn id_key(kind: u8, id: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

pub(super) fn user_key(id: u64) -> [u8; 9] {
    id_key(b'u', id)
}

pub(super) fn mark_key(id: u64) -> [u8; 9] {
    id_key(b'p', id)
}

pub(super) fn revision_key(message: u64) -> [u8; 9] {
    id_key(b'r', message)
}

pub(super) fn name_key(name: &Username) -> Vec<u8> {
    [b"n", name.folded().as_bytes()].concat()
}

pub(super) fn entry_key(key: &[u8]) -> Vec<u8> {
    [&[ENTRY], key].concat()
}

pub(super) fn conversation_key(of: u64, last: u64) -> [u8; 17] {
    let mut key = [CONVERSATION; 17];
    key[1..9].copy_from_slice(&of.to_be_bytes());
    key[9..].copy_from_slice(&last.to_be_bytes());
    key
}

pub(super) fn posting_key(list: List, id: u64) -> [u8; 26] {
    let of_mailbox = |mailbox| match mailbox {
        Mailbox::General => (0, 0, 0),
        Mailbox::Private(user) => (1, user.get(), 0),
        Mailbox::Conversation(a, b) => (2, a.get(), b.get()),
    };
    let (first, (kind, a, b)) = match list {
        List::Messages(mailbox) => (b'b', of_mailbox(mailbox)),
        List::Activity(mailbox) => (b'e', of_mailbox(mailbox)),
        List::Received { by, from } => (b'd', (2, by.get(), from.get())),
    };
    let mut key = [first; 26];
    key[1] = kind;
    key[2..10].copy_from_slice(&a.to_be_bytes());
    key[10..18].copy_from_slice(&b.to_be_bytes());
    key[18..].copy_from_slice(&id.to_be_bytes());
    key
}

/// Encodes a chunk. Its first id is in the key. The value has differences as LEB128: the first
/// position, then for each further posting its id and position.
pub(super) fn encode_chunk(chunk: &[Posting]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunk.len() * 4);
    let mut last: Option<&Posting> = None;
    for posting in chunk {
        if let Some(last) = last {
            push_varint(posting.id - last.id, &mut bytes);
        }
        push_varint(posting.position - last.map_or(0, |last| last.position), &mut bytes);
        last = Some(posting);
    }
    bytes
}

pub(super) fn decode_chunk(key: &[u8], value: &[u8]) -> Option<Vec<Posting>> {
    let mut id = number(key.get(18..)?)?;
    let mut bytes = value;
    let mut position = take_varint(&mut bytes)?;
    let mut chunk = Vec::with_capacity(CHUNK_POSTINGS);
    chunk.push(Posting { id, position });
    while !bytes.is_empty() {
        id = id.checked_add(take_varint(&mut bytes)?)?;
        position = position.checked_add(take_varint(&mut bytes)?)?;
        chunk.push(Posting { id, position });
    }
    Some(chunk)
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// version · checksum of the last frame · its place and the next ids · the digest · CRC32C of it
/// all
pub(super) fn encode_applied(applied: &Applied, digest: Digest) -> Vec<u8> {
    let Applied { store_id, stamp, next_ids } = applied;
    let mut bytes = Vec::new();
    bytes.extend(FORMAT_VERSION.to_be_bytes());
    bytes.extend(stamp.crc.to_be_bytes());
    let IdAllocator { next_user, next_event } = *next_ids;
    let fields =
        [store_id.0, stamp.position, stamp.end, stamp.lsn, next_user, next_event, digest.0];
    for field in fields {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

/// The reason why bytes do not say how far an index goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AppliedError {
    /// The layout is that of another version.
    OtherVersion,
    /// The bytes are not of the form that [`encode_applied`] writes.
    Unreadable,
}

pub(super) fn decode_applied(bytes: &[u8]) -> Result<(Applied, Digest), AppliedError> {
    let (covered, checksum) = bytes.split_last_chunk().ok_or(AppliedError::Unreadable)?;
    if u32::from_be_bytes(*checksum) != crc32c::crc32c(covered) {
        return Err(AppliedError::Unreadable);
    }
    let (version, rest) = covered.split_first_chunk().ok_or(AppliedError::Unreadable)?;
    if u32::from_be_bytes(*version) != FORMAT_VERSION {
        return Err(AppliedError::OtherVersion);
    }
    fields_of_applied(rest).ok_or(AppliedError::Unreadable)
}

fn fields_of_applied(bytes: &[u8]) -> Option<(Applied, Digest)> {
    let (crc, rest) = bytes.split_first_chunk()?;
    let (fields, []) = rest.as_chunks::<8>() else { return None };
    let &[store_id, position, end, lsn, next_user, next_event, digest] = fields else {
        return None;
    };
    let field = u64::from_be_bytes;
    let applied = Applied {
        store_id: StoreId(field(store_id)),
        stamp: Stamp {
            position: field(position),
            end: field(end),
            lsn: field(lsn),
            crc: u32::from_be_bytes(*crc),
        },
        next_ids: IdAllocator { next_user: field(next_user), next_event: field(next_event) },
    };
    Some((applied, Digest(field(digest))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back() {
        let chunk: Vec<Posting> =
            (0..200u64).map(|i| Posting { id: 5 + i * i, position: 40 + i * 1_000_003 }).collect();
        let key = posting_key(List::Messages(Mailbox::General), 5);
        assert_eq!(decode_chunk(&key, &encode_chunk(&chunk)), Some(chunk));
    }

    #[test]
    fn a_cut_chunk_is_noticed() {
        let chunk = [Posting { id: 1, position: 40 }, Posting { id: 2, position: 1_000_000 }];
        let key = posting_key(List::Messages(Mailbox::General), 1);
        let mut bytes = encode_chunk(&chunk);
        bytes.pop();
        assert_eq!(decode_chunk(&key, &bytes), None);
    }

    #[test]
    fn applied_comes_back_and_other_versions_do_not() {
        let applied = Applied {
            store_id: StoreId(7),
            stamp: Stamp { position: 40, end: 100, lsn: 3, crc: 9 },
            next_ids: IdAllocator { next_user: 2, next_event: 1 },
        };
        let mut bytes = encode_applied(&applied, Digest(77));
        assert_eq!(decode_applied(&bytes), Ok((applied, Digest(77))));
        for at in 0..bytes.len() {
            bytes[at] ^= 4;
            assert_eq!(decode_applied(&bytes), Err(AppliedError::Unreadable), "{at}");
            bytes[at] ^= 4;
        }
        bytes[3] = 3;
        let covered = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..covered]);
        bytes[covered..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode_applied(&bytes), Err(AppliedError::OtherVersion), "an earlier one");
    }
}
