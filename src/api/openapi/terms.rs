//! What the terms of the contract are: path segments, query parameters, response fields, and the
//! types of the model that are on the wire.

use serde_json::{Value, json};

use super::schemas::Schemas;
use crate::api::contract::{
    EXPAND_AUTHORS, Field, Operation, Parameter, PathSegment, RequestHeader, SchemaRef,
};
use crate::api::long_poll::MAX_WAIT_SECONDS;
use crate::api::reference;
use crate::model::{DEFAULT_PAGE_LIMIT, MAX_ID, MessageId, SessionId, UserId};
use crate::problem::KINDS;

/// The parameter for the segment of a path that varies.
pub(super) fn segment(segment: PathSegment, schemas: &mut Schemas) -> Value {
    let (name, about, schema) = match segment {
        PathSegment::Message => {
            ("id", "The message's id", schemas.reference(SchemaRef::of::<MessageId>()))
        }
        PathSegment::User => {
            let id = schemas.reference(SchemaRef::of::<UserId>());
            let schema = json!({ "anyOf": [{ "type": "string", "const": "me" }, id] });
            ("id", "The user's id, or `me` for whom the token is of", schema)
        }
        PathSegment::Conversation => {
            let schema = json!({ "type": "integer", "minimum": 0, "maximum": MAX_ID });
            ("id", "The id of the other user, or 0 for the general chat", schema)
        }
        PathSegment::Session => {
            ("sid", "The session's id", schemas.reference(SchemaRef::of::<SessionId>()))
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

/// A query parameter of an operation.
pub(super) fn parameter(
    parameter: Parameter,
    operation: &Operation,
    schemas: &mut Schemas,
) -> Value {
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
            ("Only the conversation with this user", schemas.reference(SchemaRef::of::<UserId>()))
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
