//! Descriptions of the contract's terms: path segments, query parameters, request fields and
//! response fields.

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
            ("id", "The user's id, or `me` for the token's user", schema)
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
                "The last segment of the problem's `type`",
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
            "The most items on the page",
            json!({
                "type": "integer",
                "minimum": 1,
                "maximum": operation.max_limit,
                "default": DEFAULT_PAGE_LIMIT,
            }),
        ),
        Parameter::Before => ("The page that ends below this id; excludes `after`", integer(0)),
        Parameter::After => (
            "The page that begins above this id, or with the first item for -1; excludes `before`; \
                 410 for an id above all that were ever assigned",
            integer(-1),
        ),
        Parameter::Epoch => (
            "The epoch of the ids, from a link; 410 if the ids are lost",
            json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" }),
        ),
        Parameter::With => {
            ("Only the conversation with this user", schemas.reference(SchemaRef::of::<UserId>()))
        }
        Parameter::Username => {
            ("Only the user of this name, in any case", json!({ "type": "string" }))
        }
        Parameter::Wait => (
            "The seconds for which an empty page is held until it has an item; only together with \
                 `after`",
            json!({ "type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS }),
        ),
        Parameter::Expand => (
            "With `from_user` each message has its author's name as `from_username`",
            json!({ "type": "string", "enum": [EXPAND_AUTHORS] }),
        ),
    };
    json!({ "name": parameter.name(), "in": "query", "description": about, "schema": schema })
}

/// The response fields that every problem of a status has, and those that it may have.
pub(super) fn problem_fields(status: u16) -> (&'static [Field], &'static [Field]) {
    match status {
        401 => (&[Field::WwwAuthenticate], &[]),
        405 => (&[Field::Allow], &[]),
        429 => (&[Field::RetryAfter], &[Field::RateLimit, Field::RateLimitPolicy]),
        503 => (&[Field::RetryAfter], &[]),
        _ => (&[], &[]),
    }
}

/// A response field's name and description.
pub(super) fn described(field: Field, required: bool) -> (String, Value) {
    let string = json!({ "type": "string" });
    let (about, schema) = match field {
        Field::Allow => ("The methods of the path", string),
        Field::ContentEncoding => {
            ("Sent to clients that accept it", json!({ "type": "string", "const": "gzip" }))
        }
        Field::ETag => {
            let schema = json!({ "type": "string", "pattern": "^\"[^\"]+\"$" });
            ("The version of the content", schema)
        }
        Field::IdempotencyReplayed => {
            let schema = json!({ "type": "string", "const": "true" });
            ("Marks an answer that was given before: nothing is posted now", schema)
        }
        Field::Link => (
            "The page of older items (`rel=\"prev\"`), if there are any, and always the page of newer \
             items (`rel=\"next\"`)",
            string,
        ),
        Field::Location => (
            "The address of the created resource",
            json!({ "type": "string", "format": "uri-reference" }),
        ),
        Field::PreferenceApplied => {
            let schema = json!({ "type": "string", "pattern": "^wait=[0-9]+$" });
            ("The preference that was applied (RFC 7240)", schema)
        }
        Field::RateLimit => {
            let schema = json!({ "type": "string", "pattern": "^\"[a-z]+\";r=[0-9]+;t=[0-9]+$" });
            ("The requests left now, and the seconds until there is one more", schema)
        }
        Field::RateLimitPolicy => {
            let schema = json!({ "type": "string", "pattern": "^\"[a-z]+\";q=[0-9]+;w=[0-9]+$" });
            ("The limit, and its window in seconds", schema)
        }
        Field::RetryAfter => {
            let schema = json!({ "type": "integer", "minimum": 1 });
            ("The seconds until the next attempt", schema)
        }
        Field::WwwAuthenticate => {
            let schema = json!({ "type": "string", "pattern": "^Bearer realm=\"veche\"" });
            ("The challenge (RFC 6750)", schema)
        }
    };
    let described = json!({ "description": about, "required": required, "schema": schema });
    (field.name().to_owned(), described)
}

/// A request field that an operation reads.
pub(super) fn request_field(field: RequestHeader) -> Value {
    let (about, schema) = match field {
        RequestHeader::IfNoneMatch => {
            ("The `ETag` of the client's copy: 304 if it is current", json!({ "type": "string" }))
        }
        RequestHeader::IfMatch => (
            "The `ETag` of the version to be changed: 412 if it is not current",
            json!({ "type": "string" }),
        ),
        // Without an example: the reference page would send it with every message.
        RequestHeader::IdempotencyKey => (
            "A new key for each message, and the same key when the message is sent again because no \
             answer came: it is posted once, and the first answer is repeated. A string of RFC 9651 \
             of 1 to 255 visible ASCII characters; the quotes may be omitted",
            json!({
                "type": "string",
                "pattern": "^(\"([!#-\\[\\]-~]|\\\\[\"\\\\]){1,255}\"|[!#-+\\--:<-\\[\\]-~]{1,255})$",
            }),
        ),
        RequestHeader::LastEventId => (
            "For a stream: the id of the last event that was seen, or -1 for the beginning. It \
             overrides the parameter `after`",
            json!({ "type": "string", "pattern": "^(-1|0|[1-9][0-9]*)$" }),
        ),
        RequestHeader::Prefer => (
            "`wait=N` (RFC 7240) is the same as the parameter `wait`, which overrides it; ignored if it \
             is out of range or without `after`",
            json!({ "type": "string" }),
        ),
    };
    json!({ "name": field.name(), "in": "header", "description": about, "schema": schema })
}
