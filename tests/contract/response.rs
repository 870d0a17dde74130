//! The described form of a response, and the response received.

use std::io::Read as _;

use flate2::read::GzDecoder;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::document::{Document, URI, escaped, members};

/// Fields about the message, the connection or the browser, which any answer may have and no
/// operation mentions.
const GENERAL: [&str; 13] = [
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Cache-Control",
    "Connection",
    "Content-Length",
    "Content-Security-Policy",
    "Content-Type",
    "Date",
    "Transfer-Encoding",
    "Vary",
    "X-Accel-Buffering",
    "X-Content-Type-Options",
    "X-Request-Id",
];
/// The same for the answer to a preflight.
const OF_PREFLIGHTS: [&str; 3] =
    ["Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Max-Age"];
/// The field that may be given several times, as a list.
const LISTED: &str = "Vary";

/// A response received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub(crate) status: u16,
    pub(crate) fields: &'a [(String, String)],
    pub(crate) body: &'a [u8],
}

/// A response in the document.
pub(super) struct Response {
    fields: Vec<Field>,
    contents: Vec<Content>,
}

struct Field {
    name: &'static str,
    required: bool,
    schema: Schema,
}

/// The content of a response.
struct Content {
    media_type: &'static str,
    schema: Schema,
}

/// The schema of a value.
pub(crate) struct Schema {
    json: &'static Value,
    validator: Validator,
}

impl Response {
    /// The response described at `pointer`.
    pub(super) fn at(pointer: &str) -> Response {
        let fields = members(&format!("{pointer}/headers")).map(|(name, field)| {
            let at = format!("{pointer}/headers/{name}/schema");
            Field { name, required: field["required"] == true, schema: Schema::at(&at) }
        });
        let contents = members(&format!("{pointer}/content")).map(|(media_type, _)| {
            let at = format!("{pointer}/content/{}/schema", escaped(media_type));
            Content { media_type, schema: Schema::at(&at) }
        });
        Response { fields: fields.collect(), contents: contents.collect() }
    }

    pub(super) fn check_status(
        &self,
        answered: &Answered<'_>,
        status: u16,
        is_head: bool,
    ) -> Result<(), String> {
        if answered.status != status {
            return Err(format!("there is no such operation, which is a {status}"));
        }
        self.check(answered, is_head)
    }

    pub(super) fn check(&self, answered: &Answered<'_>, is_head: bool) -> Result<(), String> {
        for (name, value) in answered.fields {
            if GENERAL.iter().any(|general| general.eq_ignore_ascii_case(name)) {
                continue;
            }
            let field = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            let field = field.ok_or_else(|| format!("it has no field {name}"))?;
            field.schema.check_text(value).map_err(|why| format!("{name}: {why}"))?;
        }
        let missing =
            self.fields.iter().find(|field| field.required && answered.field(field.name).is_none());
        if let Some(Field { name, .. }) = missing {
            return Err(format!("the field {name} is missing"));
        }
        if self.contents.is_empty() {
            return answered.check_no_content();
        }
        let media_type = answered.field("Content-Type").ok_or("it has no Content-Type")?;
        let content = self.contents.iter().find(|content| content.media_type == media_type);
        let content = content.ok_or_else(|| format!("{media_type:?} is not documented"))?;
        if is_head {
            let is_empty = answered.body.is_empty();
            return if is_empty { Ok(()) } else { Err("HEAD was answered with a body".to_owned()) };
        }
        content.schema.check(&answered.content(media_type)?)
    }
}

impl Schema {
    /// The schema at `pointer`.
    pub(crate) fn at(pointer: &str) -> Schema {
        let json = Document::json().pointer(pointer);
        let json = json.unwrap_or_else(|| panic!("nothing: {pointer}"));
        // By reference, because the schema refers to other parts of the document.
        let reference = json!({ "$ref": format!("{URI}#{}", uri_escaped(pointer)) });
        Schema { json, validator: validator(&reference) }
    }

    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let whys: Vec<_> = self
            .validator
            .iter_errors(value)
            .map(|why| {
                let at = why.instance_path().to_string();
                let text = why.masked().to_string();
                format!("at {at:?}: {text}, by {}", why.schema_path())
            })
            .collect();
        if whys.is_empty() { Ok(()) } else { Err(whys.join("; ")) }
    }

    /// A field's value is text, whatever type it represents.
    fn check_text(&self, text: &str) -> Result<(), String> {
        let value = match self.json["type"].as_str() {
            Some("integer") => text.parse::<i64>().map(Value::from).map_err(|e| e.to_string())?,
            _ => Value::from(text),
        };
        self.check(&value)
    }
}

/// A validator that checks formats, and reports unknown keywords as errors.
fn validator(schema: &Value) -> Validator {
    let mut options = jsonschema::draft202012::options()
        .with_registry(Document::registry())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false);
    // Formats of OpenAPI, which mean something only to code generators; the limits beside them say
    // the same.
    for format in ["int32", "int64", "password"] {
        options = options.with_format(format, |_| true);
    }
    options.build(schema).unwrap_or_else(|why| panic!("{schema}: {why}"))
}

impl Answered<'_> {
    /// The first field with a name.
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(its_name, _)| its_name.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Checks the rules for any answer.
    pub(super) fn check_head(&self) -> Result<(), String> {
        for (n, (name, _)) in self.fields.iter().enumerate() {
            let mut before = self.fields[..n].iter();
            let again = before.any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
            if again && !name.eq_ignore_ascii_case(LISTED) {
                return Err(format!("{name} is given twice"));
            }
        }
        if self.field("X-Content-Type-Options") != Some("nosniff") {
            return Err("X-Content-Type-Options: nosniff is missing".to_owned());
        }
        let caching = self.field("Cache-Control").ok_or("Cache-Control is missing")?;
        if self.field("ETag").is_none() && caching != "no-store" {
            return Err(format!("Cache-Control is {caching:?} without an ETag"));
        }
        Ok(())
    }

    /// Checks that a field lists exactly these values, in any order.
    pub(super) fn check_list(&self, name: &str, expected: &[&str]) -> Result<(), String> {
        let list = self.field(name).ok_or_else(|| format!("{name} is missing"))?;
        let mut found: Vec<_> = list.split(", ").collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        if found == expected {
            Ok(())
        } else {
            Err(format!("{name} is {list:?}, not {expected:?}"))
        }
    }

    /// The answer to a preflight has no content and matters to the browser only.
    pub(super) fn check_nothing(&self) -> Result<(), String> {
        let is_known = |name: &str| {
            GENERAL.iter().chain(&OF_PREFLIGHTS).any(|it| it.eq_ignore_ascii_case(name))
        };
        match self.fields.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(format!("it has no field {name}")),
            None => self.check_no_content(),
        }
    }

    fn check_no_content(&self) -> Result<(), String> {
        if !self.body.is_empty() {
            return Err("it has a body".to_owned());
        }
        let described = ["Content-Type", "Content-Length"];
        match described.into_iter().find(|name| self.field(name).is_some()) {
            Some(name) => Err(format!("it has no content, but {name}")),
            None => Ok(()),
        }
    }

    /// The body as a value to check against a schema.
    fn content(&self, media_type: &str) -> Result<Value, String> {
        let mut body = self.body.to_vec();
        if self.field("Content-Length").is_some_and(|length| length != body.len().to_string()) {
            return Err(format!("Content-Length is not {}", body.len()));
        }
        if self.field("Content-Encoding") == Some("gzip") {
            body.clear();
            GzDecoder::new(self.body).read_to_end(&mut body).map_err(|e| e.to_string())?;
        }
        if media_type.ends_with("json") {
            return serde_json::from_slice(&body).map_err(|e| e.to_string());
        }
        if media_type.starts_with("text/") {
            return String::from_utf8(body).map(Value::from).map_err(|e| e.to_string());
        }
        // Bytes, for which JSON has no type.
        Ok(Value::from(String::from_utf8_lossy(&body)))
    }
}

/// A JSON pointer as the fragment of a URI (RFC 3986, section 3.5).
fn uri_escaped(pointer: &str) -> String {
    let mut escaped = String::with_capacity(pointer.len());
    for c in pointer.chars() {
        match c {
            '{' => escaped.push_str("%7B"),
            '}' => escaped.push_str("%7D"),
            ' ' => escaped.push_str("%20"),
            c => escaped.push(c),
        }
    }
    escaped
}
