//! The JSON form of messages.

use serde::Serialize;
use utoipa::ToSchema;

use super::names::Names;
use crate::model::{Message, MessageId, Timestamp, UserId};

/// A message.
// The order of the fields is part of the contract.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Message)]
pub(super) struct MessageBody<'a> {
    id: MessageId,
    from_user: UserId,
    /// The receiver; 0 is the general chat.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    to_user: u64,
    /// The text; empty if the message is deleted.
    #[schema(max_length = 4096)]
    text: &'a str,
    sent_at: Timestamp,
    /// The time of the last edit, if the message was edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    edited_at: Option<Timestamp>,
    /// `true` if the message is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deleted: Option<bool>,
    /// The author's name, in lists on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$|^deleted~[1-9][0-9]*$"
    )]
    from_username: Option<&'a str>,
}

impl<'a> MessageBody<'a> {
    /// With the author's name.
    pub(super) fn named(message: &'a Message, names: &'a Names) -> MessageBody<'a> {
        MessageBody { from_username: names.of(message.from), ..message.into() }
    }
}

impl<'a> From<&'a Message> for MessageBody<'a> {
    fn from(message: &'a Message) -> Self {
        MessageBody {
            id: message.id,
            from_user: message.from,
            to_user: message.to.map_or(0, UserId::get),
            text: message.text(),
            sent_at: message.sent_at,
            edited_at: message.edited_at(),
            deleted: message.is_deleted().then_some(true),
            from_username: None,
        }
    }
}
