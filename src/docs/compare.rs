//! What differs between the response that a page shows and the one that came.
//!
//! A list that is everybody's, the general chat or the users, may hold what others have written.
//! There it is not the page shown that counts, but what of it is ours: that is what the request
//! asks for, each as the documentation shows it, unless others took its place on the page.

mod shared;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::shared::{Comparison, SharedClaims};
use super::session::RecordedExchange;
use super::translate::{Kind, Translation};
use super::volatile;

/// Longest piece of a value that is shown, in characters.
const MAX_SHOWN: usize = 120;
/// How much of what is equal is shown before a difference, in characters.
const CONTEXT: usize = 30;

/// Something that is not as the page has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which part of the response.
    pub what: String,
    /// What the page has, in terms of the deployment.
    pub expected: String,
    /// What came.
    pub actual: String,
}

/// What came of an example.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing, if it is the same.
    pub differences: Vec<Difference>,
    /// How many items on the list are other people's.
    pub others: usize,
}

/// Every user and message that a page shows, by the page's ids.
#[derive(Debug, Default)]
pub struct Catalogue {
    users: BTreeMap<u64, Value>,
    messages: BTreeMap<u64, Value>,
}

impl Catalogue {
    /// From all bodies of a page.
    pub fn of<'a>(bodies: impl Iterator<Item = &'a str>) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for body in bodies.filter_map(|body| serde_json::from_str(body).ok()) {
            let items = match body {
                Value::Array(items) => items,
                item => vec![item],
            };
            for item in items {
                let Some(id) = item["id"].as_u64() else { continue };
                if item.get("from_user").is_some() {
                    catalogue.messages.insert(id, item);
                } else if item.get("username").is_some() {
                    catalogue.users.insert(id, item);
                }
            }
        }
        catalogue
    }

    fn get(&self, kind: Kind, id: u64) -> Option<&Value> {
        match kind {
            Kind::User => self.users.get(&id),
            Kind::Message => self.messages.get(&id),
        }
    }
}

/// A response, taken apart.
struct PinnedResponse<'a> {
    status: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

impl<'a> PinnedResponse<'a> {
    fn parse(text: &'a str) -> PinnedResponse<'a> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split_once(' ')).map_or("", |(_, it)| it);
        let fields = lines.filter_map(|line| line.split_once(':'));
        PinnedResponse {
            status,
            fields: fields.map(|(name, it)| (name, it.trim())).collect(),
            body,
        }
    }

    /// The body as JSON; of a stream, the list of its events (WHATWG HTML, section 9.2.6).
    fn json(&self) -> Option<Value> {
        let content_type = self.field("Content-Type").map(essence);
        if content_type.as_deref() != Some("text/event-stream") {
            return serde_json::from_str(self.body).ok();
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).ok()).collect::<Option<_>>().map(Value::Array)
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().find(|(its_name, _)| its_name.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// The `Location` that a page shows of what was made, if it was.
#[must_use]
pub fn made(documented: &str) -> Option<Option<&str>> {
    let documented = PinnedResponse::parse(documented);
    documented.status.starts_with("201").then(|| documented.field("Location"))
}

/// Whether a page shows that something was made, and not only answered again.
#[must_use]
pub fn makes(documented: &str) -> bool {
    let documented = PinnedResponse::parse(documented);
    documented.status.starts_with("201") && documented.field("Idempotency-Replayed").is_none()
}

/// Compares a response with that which the page shows. `target` is what was asked for, without
/// what the deployment has before the paths of the API.
pub fn compare(
    documented: &str,
    exchange: &RecordedExchange,
    target: &str,
    translation: &mut Translation,
    catalogue: &Catalogue,
) -> Verdict {
    let (documented, actual) =
        (PinnedResponse::parse(documented), PinnedResponse::parse(&exchange.response));
    let mut verdict = Verdict::default();
    if code(documented.status) != code(actual.status) {
        verdict.add("status", documented.status, actual.status);
        verdict.add("body", documented.body, actual.body);
        return verdict;
    }
    if let (Some(documented), Some(actual)) = (documented.field("Link"), actual.field("Link")) {
        translation.learn_epoch(documented, actual);
    }
    let path = target.split('?').next().unwrap_or_default();
    let shared = SharedClaims::of(&exchange.method, target, &documented);
    verdict.compare_fields(&documented, &actual, shared.is_some(), translation);
    match (documented.json(), shared) {
        (body, Some(shared)) => {
            let comparison = Comparison { shared, translation, catalogue, documented: &documented };
            comparison.compare(body.is_some(), &actual, &mut verdict);
        }
        (Some(body), None) => {
            let expected = if speaks_of_us(path) { translation.json(&body) } else { body };
            verdict.compare_json(&expected, &actual);
        }
        (None, None) => verdict.compare_text(documented.body, actual.body),
    }
    verdict
}

fn code(status: &str) -> &str {
    status.split(' ').next().unwrap_or_default()
}

/// Whether the answers of a path speak of users and messages, rather than of the API.
fn speaks_of_us(path: &str) -> bool {
    path.starts_with("/api/") || path.ends_with("/register") || path.ends_with("/login")
}

impl Verdict {
    /// What to show of a case that could not be compared.
    #[must_use]
    pub fn failed(expected: &str, actual: &str) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.add("response", expected, actual);
        verdict
    }

    fn add(&mut self, what: impl Into<String>, expected: &str, actual: &str) {
        let common = expected.chars().zip(actual.chars()).take_while(|(a, b)| a == b).count();
        let skipped = if expected.len().max(actual.len()) > MAX_SHOWN {
            common.saturating_sub(CONTEXT)
        } else {
            0
        };
        self.differences.push(Difference {
            what: what.into(),
            expected: excerpt(expected, skipped),
            actual: excerpt(actual, skipped),
        });
    }

    fn compare_fields(
        &mut self,
        documented: &PinnedResponse<'_>,
        actual: &PinnedResponse<'_>,
        shared: bool,
        translation: &Translation,
    ) {
        for (name, value) in &documented.fields {
            if volatile::is_volatile_field(name) || (shared && *name == "Link") {
                continue;
            }
            let expected = match *name {
                "Link" => translation.links(value),
                "Location" => translation.path(value),
                _ => (*value).to_owned(),
            };
            let mut values = actual
                .fields
                .iter()
                .filter(|(its_name, _)| its_name.eq_ignore_ascii_case(name))
                .map(|(_, value)| *value);
            let same = |actual: &str| match *name {
                "Content-Type" => essence(&expected) == essence(actual),
                "ETag" => is_tag(actual),
                "Location" => translation.relative(actual) == expected,
                _ => actual == expected,
            };
            if !values.clone().any(same) {
                self.add(*name, &expected, values.next().unwrap_or("nothing"));
            }
        }
    }

    fn compare_text(&mut self, expected: &str, actual: &str) {
        let (expected, actual) = (expected.trim_end(), actual.trim_end());
        if expected == actual {
            return;
        }
        let differing = (1..).zip(expected.lines().zip(actual.lines()));
        match differing.into_iter().find(|(_, (expected, actual))| expected != actual) {
            Some((line, (expected, actual))) => {
                self.add(format!("body, line {line}"), expected, actual);
            }
            None => self.add("body", expected, actual),
        }
    }

    fn compare_json(&mut self, expected: &Value, actual: &PinnedResponse<'_>) {
        match actual.json() {
            Some(actual) => self.compare_values("body", None, expected, &actual),
            None => self.add("body", &expected.to_string(), actual.body),
        }
    }

    /// `name` is that of the member that holds the value.
    fn compare_values(&mut self, at: &str, name: Option<&str>, expected: &Value, actual: &Value) {
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                self.compare_objects(at, expected, actual);
            }
            (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
                for (n, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                    self.compare_values(&format!("{at}[{n}]"), None, expected, actual);
                }
            }
            (expected, actual) => match (name.and_then(volatile::member), actual.as_str()) {
                (Some(member), Some(actual)) if (member.fits)(actual) => {}
                (Some(member), _) => self.add(at, member.what, &actual.to_string()),
                (None, _) if expected == actual => {}
                (None, _) => self.add(at, &expected.to_string(), &actual.to_string()),
            },
        }
    }

    fn compare_objects(
        &mut self,
        at: &str,
        expected: &Map<String, Value>,
        actual: &Map<String, Value>,
    ) {
        for (name, expected) in expected {
            let at = format!("{at}.{name}");
            match actual.get(name) {
                Some(actual) => self.compare_values(&at, Some(name), expected, actual),
                None => self.add(at, &expected.to_string(), "nothing"),
            }
        }
        for (name, actual) in actual.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            self.add(format!("{at}.{name}"), "nothing", &actual.to_string());
        }
    }
}

/// What of a text to show, behind what is skipped: nobody's control characters reach the terminal.
pub(super) fn excerpt(text: &str, skipped: usize) -> String {
    let mut shown = if skipped > 0 { "…".to_owned() } else { String::new() };
    let mut characters = text.chars().skip(skipped);
    for c in characters.by_ref().take(MAX_SHOWN) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    if text.is_empty() { "nothing".to_owned() } else { shown }
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// An entity tag (RFC 9110, section 8.8.3).
fn is_tag(text: &str) -> bool {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')
}

#[cfg(test)]
mod tests;
