//! What the terms of the contract are: path segments, query parameters, response fields, and the
//! types of the model that are on the wire.

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::Writer;
use crate::api::contract::{Field, Operation, PathSegment, RequestHeader, SchemaRef};
use crate::api::names::EXPAND_AUTHORS;
use crate::api::paging::Parameter;
use crate::api::reference;
use crate::api::wait::MAX_WAIT_SECONDS;
use crate::model::{DEFAULT_PAGE_LIMIT, EventId, MAX_ID, MessageId, SessionId, Timestamp, UserId};
use crate::problem::KINDS;

impl Writer<'_> {
    pub(super) fn segment(&mut self, segment: PathSegment) -> Value {
        let (name, about, schema) = match segment {
            PathSegment::Message => {
                ("id", "The message's id", self.reference(SchemaRef::of::<MessageId>()))
            }
            PathSegment::User => {
                let id = self.reference(SchemaRef::of::<UserId>());
                let schema = json!({ "anyOf": [{ "type": "string", "const": "me" }, id] });
                ("id", "The user's id, or `me` for whom the token is of", schema)
            }
            PathSegment::Conversation => {
                let schema = json!({ "type": "integer", "minimum": 0, "maximum": MAX_ID });
                ("id", "The id of the other user, or 0 for the general chat", schema)
            }
            PathSegment::Session => {
                ("sid", "The session's id", self.reference(SchemaRef::of::<SessionId>()))
            }
            PathSegment::ProblemKind => {
                let slugs: Vec<_> = KINDS.iter().map(|kind| kind.slug).collect();
                (
                    "kind",
                    "The last part of the problem's type",
                    json!({ "type": "string", "enum": slugs }),
                )
            }
            PathSegment::ReferenceFile => {
                let names: Vec<_> = reference::file_names().collect();
                ("file", "The name of the file", json!({ "type": "string", "enum": names }))
            }
        };
        json!({ "name": name, "in": "path", "required": true, "description": about, "schema": schema })
    }

    pub(super) fn parameter(&mut self, parameter: Parameter, operation: &Operation) -> Value {
        let integer =
            |minimum: i64| json!({ "type": "integer", "minimum": minimum, "maximum": MAX_ID });
        let (about, schema) = match parameter {
            Parameter::Limit => (
                "How many items the page holds at most",
                json!({
                    "type": "integer",
                    "minimum": 1,
                    "maximum": operation.max_limit,
                    "default": DEFAULT_PAGE_LIMIT,
                }),
            ),
            Parameter::Before => {
                ("The page that ends below this id; not together with `after`", integer(0))
            }
            Parameter::After => (
                "The page that begins above this id, or with the first for -1; not together with \
                 `before`; 410 above every id that was ever given out",
                integer(-1),
            ),
            Parameter::Epoch => (
                "The epoch that the ids are of, from a link: 410 if they lead nowhere by now",
                json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" }),
            ),
            Parameter::With => {
                ("Only the conversation with this user", self.reference(SchemaRef::of::<UserId>()))
            }
            Parameter::Username => {
                ("Only the user of this name, in any case", json!({ "type": "string" }))
            }
            Parameter::Wait => (
                "For how many seconds an empty page is held, until there is something to be on it; \
                 only together with `after`",
                json!({ "type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS }),
            ),
            Parameter::Expand => (
                "With `from_user` each message has its author's name as `from_username`",
                json!({ "type": "string", "enum": [EXPAND_AUTHORS] }),
            ),
        };
        json!({ "name": parameter.name(), "in": "query", "description": about, "schema": schema })
    }
}

/// The fields that go with every problem of a status, and those that may.
pub(super) fn problem_fields(status: u16) -> (&'static [Field], &'static [Field]) {
    match status {
        401 => (&[Field::WwwAuthenticate], &[]),
        405 => (&[Field::Allow], &[]),
        429 => (&[Field::RetryAfter], &[Field::RateLimit, Field::RateLimitPolicy]),
        503 => (&[Field::RetryAfter], &[]),
        _ => (&[], &[]),
    }
}

/// A field's name, and what it is.
pub(super) fn described(field: Field, required: bool) -> (String, Value) {
    let string = json!({ "type": "string" });
    let (about, schema) = match field {
        Field::Allow => ("The methods that the path knows", string),
        Field::ContentEncoding => {
            ("For who takes it", json!({ "type": "string", "const": "gzip" }))
        }
        Field::ETag => {
            let schema = json!({ "type": "string", "pattern": "^\"[^\"]+\"$" });
            ("The version of what is shown", schema)
        }
        Field::IdempotencyReplayed => {
            let schema = json!({ "type": "string", "const": "true" });
            ("That this answer was given before, and nothing is posted now", schema)
        }
        Field::Link => (
            "The page of what is older (`rel=\"prev\"`), if there is any, and of what is newer \
             (`rel=\"next\"`), always",
            string,
        ),
        Field::Location => ("Where it is", json!({ "type": "string", "format": "uri-reference" })),
        Field::PreferenceApplied => {
            let schema = json!({ "type": "string", "pattern": "^wait=[0-9]+$" });
            ("The preference that was heeded (RFC 7240)", schema)
        }
        Field::RateLimit => {
            let schema = json!({ "type": "string", "pattern": "^\"[a-z]+\";r=[0-9]+;t=[0-9]+$" });
            ("How often it can be done again at once, and in how many seconds once more", schema)
        }
        Field::RateLimitPolicy => {
            let schema = json!({ "type": "string", "pattern": "^\"[a-z]+\";q=[0-9]+;w=[0-9]+$" });
            ("How often it can be done, in how many seconds", schema)
        }
        Field::RetryAfter => {
            let schema = json!({ "type": "integer", "minimum": 1 });
            ("After how many seconds to try again", schema)
        }
        Field::WwwAuthenticate => {
            let schema = json!({ "type": "string", "pattern": "^Bearer realm=\"veche\"" });
            ("The challenge (RFC 6750)", schema)
        }
    };
    let described = json!({ "description": about, "required": required, "schema": schema });
    (field.name().to_owned(), described)
}

/// Gives types of the model, which knows nothing of the wire, their schemas.
macro_rules! schemas {
    ($($type:ty: $schema:tt;)*) => {
        $(impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                // It is written right here: one that is no schema does not get past the first test.
                serde_json::from_value(json!($schema)).unwrap_or_default()
            }
        }

        impl ToSchema for $type {})*
    };
}

schemas! {
    UserId: {
        "type": "integer",
        "format": "int64",
        "minimum": UserId::FIRST.get(),
        "maximum": MAX_ID,
        "description": "A user. The first is 1.",
    };
    MessageId: {
        "type": "integer",
        "format": "int64",
        "minimum": MessageId::FIRST.get(),
        "maximum": MAX_ID,
        "description": "A message, of either kind. The first is 0.",
    };
    SessionId: {
        "type": "string",
        "pattern": "^[0-9a-f]{32}$",
        "description": "A session.",
    };
    EventId: {
        "type": "integer",
        "format": "int64",
        "minimum": MessageId::FIRST.get(),
        "maximum": MAX_ID,
        "description": "Something that happened. A message's id is the number of its creation.",
    };
    Timestamp: {
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$",
        "description": "RFC 3339, in UTC, with milliseconds.",
    };
}

/// A request field that an operation heeds.
pub(super) fn request_field(field: RequestHeader) -> Value {
    let (about, schema) = match field {
        RequestHeader::IfNoneMatch => (
            "The `ETag` of what the client has: 304 if that is still good",
            json!({ "type": "string" }),
        ),
        RequestHeader::IfMatch => (
            "The `ETag` of what is to be changed: 412 if it is not that any more",
            json!({ "type": "string" }),
        ),
        // Without an example: the reference page would send it with every message.
        RequestHeader::IdempotencyKey => (
            "A new one for each message, and the same one when it is sent again because no answer \
             came: it is posted once, and the first answer given again. A string of RFC 9651 of 1 \
             to 255 visible ASCII characters; the quotes may be left out",
            json!({
                "type": "string",
                "pattern": "^(\"([!#-\\[\\]-~]|\\\\[\"\\\\]){1,255}\"|[!#-+\\--:<-\\[\\]-~]{1,255})$",
            }),
        ),
        RequestHeader::LastEventId => (
            "Of a stream: the id of the last event that was seen, or -1 for the beginning. It goes \
             before the parameter `after`",
            json!({ "type": "string", "pattern": "^(-1|0|[1-9][0-9]*)$" }),
        ),
        RequestHeader::Prefer => (
            "`wait=N` (RFC 7240) is the same as the parameter `wait`, which goes before it; out of \
             range or without `after` it is ignored",
            json!({ "type": "string" }),
        ),
    };
    json!({ "name": field.name(), "in": "header", "description": about, "schema": schema })
}
