//! The result of a comparison.

use serde_json::{Map, Value};

use super::response::{ParsedResponse, essence, is_tag};
use crate::docs::translate::Translation;
use crate::docs::volatile;

/// Longest excerpt of a value, in characters.
const MAX_SHOWN: usize = 120;
/// Length of the equal part that is shown before a difference, in characters.
pub(super) const CONTEXT: usize = 30;

/// A difference from the documented response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The part of the response.
    pub what: String,
    /// The documented value, translated for the deployment.
    pub expected: String,
    /// The value received.
    pub actual: String,
}

/// The result of an example.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExampleVerdict {
    /// The differences; none if the response is as documented.
    pub differences: Vec<Difference>,
    /// The number of items of other users on the list.
    pub others: usize,
}

impl ExampleVerdict {
    /// The verdict on a case that could not be compared.
    #[must_use]
    pub fn failed(expected: &str, actual: &str) -> ExampleVerdict {
        let mut verdict = ExampleVerdict::default();
        verdict.add("response", expected, actual);
        verdict
    }

    pub(super) fn add(&mut self, what: impl Into<String>, expected: &str, actual: &str) {
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

    pub(super) fn compare_fields(
        &mut self,
        documented: &ParsedResponse<'_>,
        actual: &ParsedResponse<'_>,
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

    pub(super) fn compare_text(&mut self, expected: &str, actual: &str) {
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

    pub(super) fn compare_json(&mut self, expected: &Value, actual: &ParsedResponse<'_>) {
        match actual.json() {
            Some(actual) => self.compare_values("body", None, expected, &actual),
            None => self.add("body", &expected.to_string(), actual.body),
        }
    }

    /// Compares two values. `name` is the member that holds them.
    pub(super) fn compare_values(
        &mut self,
        at: &str,
        name: Option<&str>,
        expected: &Value,
        actual: &Value,
    ) {
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

    pub(super) fn compare_objects(
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

/// An excerpt of a text, after `skipped` characters. Control characters are escaped, because it is
/// shown on a terminal.
pub(in crate::docs) fn excerpt(text: &str, skipped: usize) -> String {
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
