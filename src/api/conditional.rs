//! Entity tags, and requests that are for news only (RFC 9110, sections 8.8.3 and 13.1.2).

use super::Reply;

/// The strong entity tag of a content that is known by a checksum.
pub(super) fn checksum_tag(content: &[u8], variant: &str) -> String {
    format!("\"{:08x}-{:x}{variant}\"", crc32c::crc32c(content), content.len())
}

/// Whether an `If-None-Match` field, if there is one, has this tag, by weak comparison, or is `*`:
/// then the client has what it asks for.
pub(super) fn is_known(if_none_match: Option<&str>, tag: &str) -> bool {
    if_none_match.is_some_and(|list| {
        let mut known = list.split(',').map(str::trim);
        known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    })
}

impl Reply {
    /// May be kept by who asked, but is asked for again, by its tag, before it is used.
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
            assert!(is_known(Some(list), "\"a-1\""), "{list}");
        }
        for list in ["", "\"a\"", "a-1", "\"A-1\"", "w/\"a-1\"", "W/ \"a-1\"", "\"a-1", "**"] {
            assert!(!is_known(Some(list), "\"a-1\""), "{list}");
        }
    }

    #[test]
    fn contents_differ_in_their_tags() {
        assert_eq!(checksum_tag(b"123456789", ""), "\"e3069283-9\"");
        assert_ne!(checksum_tag(b"123456789", ""), checksum_tag(b"123456789", "-gzip"));
    }
}
