//! Bytes that are read from disks, from backups and from exports: they are refused, or are what
//! would have been written.
//!
//! An input is taken for each of them: a record, a frame, a segment's header, a backup, an export.
//! They are tried with right checksums as well, because no fuzzer finds one.

use std::io::Cursor;

use sha2::{Digest, Sha256};
use veche::model::{StoreId, Timestamp};
use veche::store::{self, Backend, MemoryStore, Summary, TransferError, formats};

const SEGMENT_MAGIC: &[u8] = b"VECHELOG";
const SEGMENT_HEADER_BYTES: usize = 40;
const FRAME_HEADER_BYTES: usize = 20;
const TRAILER_MAGIC: &[u8] = b"VECHEEND";
const TRAILER_BYTES: usize = 28;
/// The text before the digest of an export.
const SHA256_MEMBER: &[u8] = b"\"sha256\":\"";

/// Reads `input` as everything that it could be.
///
/// # Panics
///
/// If something is read that was never written, or two readers disagree.
pub fn check(input: &[u8]) {
    let sealed = sealed(input);
    if let Some(again) = formats::record(input) {
        assert_eq!(again, input);
    }
    for bytes in [input, &sealed] {
        for read in [formats::frame, formats::header, formats::trailer] {
            if let Some(again) = read(bytes) {
                assert_eq!(again, bytes[..again.len()]);
            }
        }
        backup(bytes);
    }
    export(input);
    export(&sealed_export(input));
}

/// A backup that is verified can be imported, and has the counts that were reported.
fn backup(bytes: &[u8]) {
    let verified = store::verify(bytes, None, || Ok(bytes), &mut ());
    if bytes.starts_with(b"V") {
        let imported = import(bytes).map(|(summary, _)| summary);
        assert_eq!(verified.is_ok(), imported.is_ok(), "{verified:?} and {imported:?}");
        if let (Ok(verified), Ok(imported)) = (verified, imported) {
            assert_eq!(verified, imported);
        }
    } else {
        assert!(verified.is_err());
    }
}

/// An export that is imported is exported as it was, and can be imported again.
fn export(bytes: &[u8]) {
    if bytes.starts_with(b"V") {
        return;
    }
    let Ok((summary, mut store)) = import(bytes) else { return };
    let mut exported = Vec::new();
    let said = store::export(&mut store, &mut exported, Timestamp::MAX, &mut ()).unwrap();
    assert_eq!((said.users, said.messages), (summary.users, summary.messages));
    let (again, _) = import(&exported).unwrap();
    assert_eq!(again, said);
}

fn import(bytes: &[u8]) -> Result<(Summary, impl Backend), TransferError> {
    let mut store = MemoryStore::new(StoreId(1));
    store::import(Cursor::new(bytes), None, &mut store, &mut ()).map(|summary| (summary, store))
}

/// The input with the digest that its last line should have, if it is an export.
fn sealed_export(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let lines = input.strip_suffix(b"\n").unwrap_or(input);
    let last = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let digits = bytes[last..].windows(SHA256_MEMBER.len()).position(|it| it == SHA256_MEMBER);
    let Some(digits) = digits.map(|at| last + at + SHA256_MEMBER.len()) else { return bytes };
    let Some(place) = bytes.get_mut(digits..digits + 64) else { return bytes };
    // Since the second format it goes on with the counters.
    let end: serde_json::Value = serde_json::from_slice(&lines[last..]).unwrap_or_default();
    let counters = match (end["end"]["next_user"].as_u64(), end["end"]["next_message"].as_u64()) {
        (Some(user), Some(message)) if !is_first_format(input) => format!("{user} {message}"),
        _ => String::new(),
    };
    let digest = Sha256::new_with_prefix(&input[..last]).chain_update(counters).finalize();
    for (pair, byte) in place.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(format!("{byte:02x}").as_bytes());
    }
    bytes
}

fn is_first_format(input: &[u8]) -> bool {
    input.starts_with(br#"{"veche_export":{"version":1,"#)
}

/// The input with all checksums corrected and, if it is a log, with an end mark appended.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= FRAME_HEADER_BYTES) {
        if rest.starts_with(SEGMENT_MAGIC) && rest.len() >= SEGMENT_HEADER_BYTES {
            let (header, crc) = rest[..SEGMENT_HEADER_BYTES].split_at_mut(SEGMENT_HEADER_BYTES - 4);
            crc.copy_from_slice(&crc32c::crc32c(header).to_le_bytes());
            at += SEGMENT_HEADER_BYTES;
        } else if rest.starts_with(TRAILER_MAGIC) {
            break;
        } else {
            let mut len = [0; 4];
            len.copy_from_slice(&rest[4..8]);
            let end = FRAME_HEADER_BYTES.saturating_add(u32::from_le_bytes(len) as usize);
            let Some(frame) = rest.get_mut(..end) else { break };
            let crc = crc32c::crc32c(&frame[4..]);
            frame[..4].copy_from_slice(&crc.to_le_bytes());
            at += end;
        }
    }
    seal_end(&mut bytes, at);
    bytes
}

/// Puts the end mark of what comes before `at` there, unless something else is there.
fn seal_end(bytes: &mut Vec<u8>, at: usize) {
    if at == bytes.len() && bytes.starts_with(SEGMENT_MAGIC) {
        bytes.extend(TRAILER_MAGIC);
        bytes.extend(1_u32.to_le_bytes());
        bytes.resize(at + TRAILER_BYTES, 0);
    }
    let crc = crc32c::crc32c(&bytes[..at]);
    let Some(end) = bytes.get_mut(at..at + TRAILER_BYTES) else { return };
    if end.starts_with(TRAILER_MAGIC) {
        end[12..20].copy_from_slice(&(at as u64).to_le_bytes());
        end[20..24].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&end[..24]);
        end[24..].copy_from_slice(&crc.to_le_bytes());
    }
}
