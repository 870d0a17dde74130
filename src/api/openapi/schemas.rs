//! The schemas of the document: those that its operations refer to, and those of the model's types.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::contract::SchemaRef;
use crate::model::{EventId, MAX_ID, MessageId, SessionId, Timestamp, UserId};

/// The schemas that were referred to, by name.
#[derive(Default)]
pub(super) struct Schemas(BTreeMap<String, RefOr<Schema>>);

impl Schemas {
    /// A reference to the schema of a type, which is added with those that it refers to.
    pub(super) fn reference(&mut self, schema: SchemaRef) -> Value {
        let name = (schema.name)();
        let mut nested = Vec::new();
        (schema.nested)(&mut nested);
        self.0.extend(nested);
        self.0.insert(name.to_string(), (schema.schema)());
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    pub(super) fn into_map(self) -> BTreeMap<String, RefOr<Schema>> {
        self.0
    }
}

/// Implements schemas for types of the model, which knows nothing of the wire.
macro_rules! schemas {
    ($($type:ty: $schema:tt;)*) => {
        $(impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                // The JSON is a literal: an invalid schema fails the first test.
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
        "description": "A user's id. The first is 1.",
    };
    MessageId: {
        "type": "integer",
        "format": "int64",
        "minimum": MessageId::FIRST.get(),
        "maximum": MAX_ID,
        "description": "A message's id. The first is 0.",
    };
    SessionId: {
        "type": "string",
        "pattern": "^[0-9a-f]{32}$",
        "description": "A session's id.",
    };
    EventId: {
        "type": "integer",
        "format": "int64",
        "minimum": MessageId::FIRST.get(),
        "maximum": MAX_ID,
        "description": "The number of an event. A message's id is the number of its creation.",
    };
    Timestamp: {
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$",
        "description": "RFC 3339, in UTC, with milliseconds.",
    };
}
