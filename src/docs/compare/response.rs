//! A response, taken apart.

use serde_json::Value;

/// The parts of a response.
pub(super) struct ParsedResponse<'a> {
    pub(super) status: &'a str,
    pub(super) fields: Vec<(&'a str, &'a str)>,
    pub(super) body: &'a str,
}

impl<'a> ParsedResponse<'a> {
    pub(super) fn parse(text: &'a str) -> ParsedResponse<'a> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split_once(' ')).map_or("", |(_, it)| it);
        let fields = lines.filter_map(|line| line.split_once(':'));
        ParsedResponse {
            status,
            fields: fields.map(|(name, it)| (name, it.trim())).collect(),
            body,
        }
    }

    /// The body as JSON; of a stream, the list of its events (WHATWG HTML, section 9.2.6).
    pub(super) fn json(&self) -> Option<Value> {
        let content_type = self.field("Content-Type").map(essence);
        if content_type.as_deref() != Some("text/event-stream") {
            return serde_json::from_str(self.body).ok();
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).ok()).collect::<Option<_>>().map(Value::Array)
    }

    pub(super) fn field(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().find(|(its_name, _)| its_name.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    /// The status code.
    pub(super) fn code(&self) -> &'a str {
        self.status.split(' ').next().unwrap_or_default()
    }
}

/// The media type of a `Content-Type` field, without parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `true` for an entity tag (RFC 9110, section 8.8.3).
pub(super) fn is_tag(text: &str) -> bool {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')
}
