//! Replies, before they are laid out as HTTP.

use std::borrow::Cow;

use super::rendering::Rendering;
use crate::problem::Problem;

/// `Cache-Control` of a reply that is true now, and for this caller only (RFC 9111, section
/// 5.2.2.5).
const NOT_FOR_CACHES: &str = "no-store";

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code (RFC 9110, section 15).
    pub status: u16,
    /// The `Content-Type` field. Not sent with a status that has no content.
    pub content_type: &'static str,
    /// The `Cache-Control` field.
    pub cache_control: &'static str,
    /// Further fields. Their values hold nothing that a client chose freely.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The content, as far as it was made.
    pub body: Cow<'static, [u8]>,
    /// The length in bytes of content that was measured and not made, because the request is a
    /// `HEAD`.
    pub withheld: usize,
}

impl Reply {
    /// A JSON reply. `content` is the JSON.
    pub(super) fn json(status: u16, content: impl Into<Rendering>) -> Reply {
        match content.into() {
            Rendering::Bytes(body) => Reply::new(status, "application/json", body),
            Rendering::Length(withheld) => {
                Reply { withheld, ..Reply::new(status, "application/json", &[][..]) }
            }
        }
    }

    pub(super) fn new(
        status: u16,
        content_type: &'static str,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Reply {
        let (cache_control, headers) = (NOT_FOR_CACHES, Vec::new());
        let (body, withheld) = (body.into(), 0);
        Reply { status, content_type, cache_control, headers, body, withheld }
    }

    /// A reply without content.
    pub(super) fn empty(status: u16) -> Reply {
        Reply::new(status, "", &[][..])
    }

    /// The same reply with one more field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// The length of the content in bytes, made or not.
    #[must_use]
    pub fn content_length(&self) -> usize {
        self.withheld + self.body.len()
    }

    /// Drops the content and keeps its length.
    pub fn withhold(&mut self) {
        self.withheld = self.content_length();
        self.body = Cow::Borrowed(&[]);
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        let body = problem.to_json();
        let reply = Reply::new(problem.kind.status, "application/problem+json", body);
        Reply { headers: problem.headers, ..reply }
    }
}
