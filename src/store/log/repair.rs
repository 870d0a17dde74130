//! Finds one flipped bit in a frame by the frame's own checksum.
//!
//! The newest group of a log is the only one that may not have been acknowledged, so bytes there
//! that are no frame are taken for a torn write and cut off. A torn write lacks whole sectors. A
//! frame that is right but for a single bit was written as a whole, perhaps acknowledged, and
//! damaged later: the bit is corrected instead. If the frame was never acknowledged, it may appear
//! all the same. A torn write looks like one flipped bit, so that a message appears that nobody
//! wrote, about once in two million torn frames: a message of 200 bytes has 1,600 bits, and the
//! checksum 2^32 values.

use super::frame;
use super::frame::{FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES, u32_at};

/// CRC32C's polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The offset of the payload's length in a frame.
const LENGTH_AT: usize = 4;
/// The length of the checksum, which it does not cover.
const CHECKSUM_BYTES: usize = 4;

/// The bit to flip so that `bytes` begin with the frame `lsn`, counted from their start. `None` if
/// no single bit does it.
pub(in crate::store) fn flipped_bit(bytes: &[u8], position: u64, lsn: u64) -> Option<usize> {
    let header: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
    let length = u32_at(header, LENGTH_AT);
    let whole = frame_of(bytes, length).and_then(syndrome_bit);
    // A wrong length says where the checksum ends, so each right one is tried.
    let lengths = (0..u32::BITS as usize)
        .filter(|bit| frame_of(bytes, length ^ 1 << bit).is_some())
        .map(|bit| 8 * LENGTH_AT + bit);
    whole.into_iter().chain(lengths).find(|bit| {
        let len = if (8 * LENGTH_AT..8 * LENGTH_AT + 32).contains(bit) {
            length ^ 1 << (bit - 8 * LENGTH_AT)
        } else {
            length
        };
        let Some(frame) = frame_of(bytes, len) else { return false };
        let mut frame = frame.to_vec();
        frame[bit / 8] ^= 1 << (bit % 8);
        frame::parse(&frame, position).is_some_and(|frame| frame.stamp.lsn == lsn)
    })
}

/// The bytes of a frame with a payload of this length, where there are as many.
fn frame_of(bytes: &[u8], length: u32) -> Option<&[u8]> {
    let length = usize::try_from(length).ok().filter(|&length| length <= MAX_PAYLOAD_BYTES)?;
    bytes.get(..FRAME_HEADER_BYTES + length)
}

/// The one bit that explains the difference between a frame's checksum and its contents. A checksum
/// is linear: the effect of a flipped bit depends on the bit's distance from the end only, and each
/// bit further away is one more step of the checksum's register. So all bits are tried in one pass.
fn syndrome_bit(frame: &[u8]) -> Option<usize> {
    let syndrome = u32_at(frame, 0) ^ crc32c::crc32c(&frame[CHECKSUM_BYTES..]);
    if syndrome.is_power_of_two() {
        return usize::try_from(syndrome.trailing_zeros()).ok();
    }
    let mut effect = POLYNOMIAL;
    for byte in (CHECKSUM_BYTES..frame.len()).rev() {
        for bit in (0..8).rev() {
            if effect == syndrome {
                return Some(8 * byte + bit);
            }
            effect = (effect >> 1) ^ if effect & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LSN: u64 = 0x0102_0304;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::encode(&mut frame, 40, LSN, 2, |out| out.extend(payload));
        frame
    }

    #[test]
    fn every_bit_of_frames_of_many_lengths() {
        for len in [0, 1, 2, 5, 63, 64, 300] {
            // With something after it, which a longer length would take in.
            let mut bytes = [frame(&vec![0x5a; len]), vec![0; 200]].concat();
            assert_eq!(flipped_bit(&bytes, 40, LSN), None, "nothing is wrong with it");
            for bit in 0..8 * (FRAME_HEADER_BYTES + len) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(flipped_bit(&bytes, 40, LSN), Some(bit), "{len} bytes");
                assert_eq!(flipped_bit(&bytes, 40, LSN + 1), None, "it is another record");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn the_longest_frame() {
        let mut bytes = frame(&vec![0xa5; MAX_PAYLOAD_BYTES]);
        for bit in [0, 31, 32, 48, 63, 64, 96, 160, 200_000, 8 * bytes.len() - 1] {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(flipped_bit(&bytes, 40, LSN), Some(bit));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn two_bits_cuts_and_missing_bytes_are_no_single_bit() {
        let whole = frame(b"what was said, and when");
        for first in 0..8 * whole.len() {
            for second in 0..first {
                let mut bytes = whole.clone();
                bytes[first / 8] ^= 1 << (first % 8);
                bytes[second / 8] ^= 1 << (second % 8);
                assert_eq!(flipped_bit(&bytes, 40, LSN), None, "{first} and {second}");
            }
        }
        for len in 0..whole.len() {
            assert_eq!(flipped_bit(&whole[..len], 40, LSN), None, "cut at {len}");
            let mut zeroed = whole[..len].to_vec();
            zeroed.resize(whole.len() + 512, 0);
            assert_eq!(flipped_bit(&zeroed, 40, LSN), None, "zeros from {len} on");
        }
    }
}
