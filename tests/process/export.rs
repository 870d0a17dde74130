//! Exports that the tests make up.

use std::fmt::Write as _;

use serde_json::json;
use sha2::{Digest, Sha256};

/// The first line. In format 2, which earlier builds read as well: the benchmark compares with
/// them.
pub(crate) fn first_line() -> String {
    format!("{}\n", json!({"veche_export": {"version": 2, "epoch": "0123456789abcdef"}}))
}

/// An export of one account and its messages.
pub(crate) fn make_up_export(messages: usize, text_bytes: usize) -> Vec<u8> {
    let at = "2025-01-02T03:04:05.678Z";
    let author = json!({"id": 1, "username": "author", "password_hash": "-", "created_at": at});
    let mut lines = first_line();
    let _ = writeln!(lines, "{}", json!({ "user": author }));
    for id in 0..messages {
        let mut text = format!("{id} ");
        text.extend(std::iter::repeat_n('m', text_bytes - text.len()));
        let message = json!({"id": id, "from_user": 1, "to_user": 0, "text": text, "sent_at": at});
        let _ = writeln!(lines, "{}", json!({ "message": message }));
    }
    close(lines, 1, messages)
}

/// Adds the last line.
pub(crate) fn close(mut lines: String, users: usize, messages: usize) -> Vec<u8> {
    let counters = format!("{} {messages}", users + 1);
    let sha256 = hex((lines.clone() + &counters).as_bytes());
    let end = json!({
        "users": users,
        "messages": messages,
        "next_user": users + 1,
        "next_message": messages,
        "sha256": sha256,
    });
    let _ = writeln!(lines, "{}", json!({ "end": end }));
    lines.into_bytes()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
