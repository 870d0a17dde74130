//! Reads the JSON object in a request's body.
//!
//! A body that is no JSON object is a 400. A JSON object with a field that is missing or of another
//! type is a 422 that names the field. To distinguish these, a field that may be wrong is read as a
//! [`JsonField`], which accepts any value.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::request::{Body, MAX_BODY_BYTES, Request};
use crate::problem::{self, Problem};

/// A field of the body.
#[derive(Debug, Default)]
pub(super) enum JsonField<T> {
    /// The field is missing, or `null`.
    #[default]
    Missing,
    /// The field has another type.
    Wrong,
    /// The value.
    Value(T),
}

/// A JSON type that a [`JsonField`] can ask for.
pub(super) trait Expected<'de>: Sized {
    /// The text for the client if the type is another.
    const WHAT: &'static str;
    fn from_str(_: Cow<'de, str>) -> Option<Self> {
        None
    }
    fn from_u64(_: u64) -> Option<Self> {
        None
    }
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
}

impl<'de: 'a, 'a> Expected<'de> for Cow<'a, str> {
    const WHAT: &'static str = "must be a string";
    fn from_str(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

impl Expected<'_> for u64 {
    const WHAT: &'static str = "must be a whole number";
    fn from_u64(number: u64) -> Option<Self> {
        Some(number)
    }
}

impl Expected<'_> for bool {
    const WHAT: &'static str = "must be true or false";
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl<'de, T: Expected<'de>> JsonField<T> {
    /// The value; 422 if it is missing or of another type.
    pub(super) fn required(self, name: &'static str) -> Result<T, Problem> {
        self.optional(name)?.ok_or_else(|| Problem::field(name, "is required"))
    }

    /// The value, if there is one; 422 if it is of another type.
    pub(super) fn optional(self, name: &'static str) -> Result<Option<T>, Problem> {
        match self {
            JsonField::Missing => Ok(None),
            JsonField::Wrong => Err(Problem::field(name, T::WHAT)),
            JsonField::Value(value) => Ok(Some(value)),
        }
    }

    fn of(value: Option<T>) -> JsonField<T> {
        value.map_or(JsonField::Wrong, JsonField::Value)
    }
}

impl<'de, T: Expected<'de>> Deserialize<'de> for JsonField<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Expected<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = JsonField<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonField::of(T::from_str(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonField::of(T::from_str(Cow::Owned(text.to_owned()))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(JsonField::of(T::from_u64(number)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(JsonField::Wrong)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(JsonField::Wrong)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(JsonField::of(T::from_bool(value)))
    }

    /// `null` is the same as a missing field.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(JsonField::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(JsonField::Wrong)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(JsonField::Wrong)
    }
}

/// The body as a `T`, whose fields should all be [`JsonField`]s with `#[serde(default)]`.
pub(super) fn parse<'a, T: Deserialize<'a>>(request: &Request<'a>) -> Result<T, Problem> {
    check_content_type(request.content_type)?;
    let bytes = match request.body {
        Body::Bytes(bytes) if bytes.len() <= MAX_BODY_BYTES => bytes,
        Body::Bytes(_) | Body::TooLarge => {
            return Err(Problem::new(
                problem::BODY_TOO_LARGE,
                "the body may have at most 32768 bytes",
            ));
        }
        Body::Broken => {
            let why = "the body ended early or its chunks are malformed";
            return Err(Problem::new(problem::MALFORMED_REQUEST, why));
        }
    };
    // serde accepts an array for a struct too.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    if !is_object {
        return Err(Problem::new(problem::MALFORMED_BODY, "the body does not begin with '{'"));
    }
    // serde_json does not check strings of unknown fields.
    let Ok(text) = str::from_utf8(bytes) else {
        return Err(Problem::new(problem::MALFORMED_BODY, "the body is not UTF-8"));
    };
    serde_json::from_str(text).map_err(|error| {
        let why =
            format!("the JSON is malformed at line {} column {}", error.line(), error.column());
        Problem::new(problem::MALFORMED_BODY, why)
    })
}

/// Accepts no type, JSON, and the type that curl declares by default: all are read as JSON.
fn check_content_type(declared: Option<&str>) -> Result<(), Problem> {
    let Some(declared) = declared.filter(|declared| !declared.is_empty()) else { return Ok(()) };
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json || essence == "application/x-www-form-urlencoded" {
        return Ok(());
    }
    Err(Problem::new(problem::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"))
}
