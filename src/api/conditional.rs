//! Entity tags and conditional requests (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2).

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::reply::Reply;
use super::request::Request;
use crate::problem::{self, Problem};

/// Length of the part of a content's digest that is in its tag, in bytes.
const TAG_BYTES: usize = 16;

/// The strong entity tag of a content. Two contents that differ in a byte have different tags, in
/// any store. `variant` distinguishes encodings of one content.
pub(super) fn tag_of(content: &[u8], variant: &str) -> String {
    let digest = Sha256::digest(content);
    let mut tag = String::with_capacity(2 * TAG_BYTES + variant.len() + 2);
    tag.push('"');
    for byte in &digest[..TAG_BYTES] {
        // Writing to a String does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push_str(variant);
    tag.push('"');
    tag
}

/// `true` if the request has an `If-None-Match` field with this tag, by weak comparison, or `*`:
/// then the client has the content.
pub(super) fn is_known(request: &Request<'_>, tag: &str) -> bool {
    request.if_none_match.as_deref().is_some_and(|list| names(list, tag))
}

/// 412 if the request has an `If-Match` field without this tag, by strong comparison, and without
/// `*`.
pub(super) fn expect_match(request: &Request<'_>, tag: &str) -> Result<(), Problem> {
    if request.if_match.as_deref().is_none_or(|list| names_strongly(list, tag)) {
        return Ok(());
    }
    Err(Problem::new(
        problem::PRECONDITION_FAILED,
        "the current version is not the one in If-Match",
    ))
}

fn names(list: &str, tag: &str) -> bool {
    let mut known = list.split(',').map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn names_strongly(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|known| known == "*" || known == tag)
}

impl Reply {
    /// Lets the client keep the reply, and ask by its tag each time before using it.
    pub(super) fn revalidated_by(self, tag: String) -> Reply {
        Reply { cache_control: "private, no-cache", ..self }.with("ETag", tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list() {
        for list in ["\"a-1\"", "W/\"a-1\"", "*", "\"b\", \"a-1\"", " \"b\" ,W/\"a-1\" "] {
            assert!(names(list, "\"a-1\""), "{list}");
        }
        for list in ["", "\"a\"", "a-1", "\"A-1\"", "w/\"a-1\"", "W/ \"a-1\"", "\"a-1", "**"] {
            assert!(!names(list, "\"a-1\""), "{list}");
        }
    }

    #[test]
    fn a_weak_tag_allows_no_change() {
        for list in ["\"a-1\"", "*", "\"b\", \"a-1\""] {
            assert!(names_strongly(list, "\"a-1\""), "{list}");
        }
        for list in ["", "W/\"a-1\"", "\"b\"", "a-1", "\"b\" \"a-1\""] {
            assert!(!names_strongly(list, "\"a-1\""), "{list}");
        }
    }

    #[test]
    fn contents_differ_in_their_tags() {
        // FIPS 180-4's example.
        assert_eq!(tag_of(b"abc", ""), "\"ba7816bf8f01cfea414140de5dae2223\"");
        assert_eq!(tag_of(b"abc", "-gzip"), "\"ba7816bf8f01cfea414140de5dae2223-gzip\"");
    }
}
