//! Sixteen bytes as 32 lower-case hexadecimal digits, and in no other form.

use std::fmt;

/// Writes them.
pub(crate) fn write(bytes: [u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:032x}", u128::from_be_bytes(bytes))
}

/// Reads what [`write`] writes, and nothing else.
pub(crate) fn parse(text: &str) -> Option<[u8; 16]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_written = text.len() == 32 && text.bytes().all(is_digit);
    let bits = is_written.then(|| u128::from_str_radix(text, 16).ok())?;
    bits.map(u128::to_be_bytes)
}
