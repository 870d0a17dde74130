//! The JSON form of events.

use serde::Serialize;
use utoipa::ToSchema;

use super::message_body::MessageBody;
use super::names::Names;
use crate::model::{Event, EventId, EventKind, MessageChange, ModerationAction, Timestamp, UserId};

/// An event: a change of a message, or an operator's action.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(super) struct EventBody<'a> {
    /// The number of the event, from the same sequence as messages' ids.
    id: EventId,
    #[schema(
        pattern = "^(message\\.(created|edited|deleted)|user\\.(un)?blocked|registration\\.(closed|opened))$"
    )]
    r#type: &'static str,
    /// The user who caused it.
    by_user: UserId,
    at: Timestamp,
    /// The message that was changed, as it is now, after all later changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline = false, nullable = false)]
    message: Option<MessageBody<'a>>,
    /// The user who was blocked or unblocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<UserId>,
}

impl EventBody<'_> {
    /// The name of the kind of event.
    pub(super) fn kind(&self) -> &'static str {
        self.r#type
    }
}

impl<'a> From<&'a Event<'_>> for EventBody<'a> {
    fn from(event: &'a Event<'_>) -> Self {
        let (r#type, user) = match event.what {
            EventKind::Message(MessageChange::Created, _) => ("message.created", None),
            EventKind::Message(MessageChange::Edited, _) => ("message.edited", None),
            EventKind::Message(MessageChange::Deleted, _) => ("message.deleted", None),
            EventKind::Moderation(ModerationAction::Block(user)) => ("user.blocked", Some(user)),
            EventKind::Moderation(ModerationAction::Unblock(user)) => {
                ("user.unblocked", Some(user))
            }
            EventKind::Moderation(ModerationAction::CloseRegistration) => {
                ("registration.closed", None)
            }
            EventKind::Moderation(ModerationAction::OpenRegistration) => {
                ("registration.opened", None)
            }
        };
        let message = event.message().map(MessageBody::from);
        EventBody { id: event.id, r#type, by_user: event.by, at: event.at, message, user }
    }
}

impl<'a> EventBody<'a> {
    /// With the name of the message's author.
    pub(super) fn named(event: &'a Event<'_>, names: &'a Names) -> EventBody<'a> {
        let message = event.message().map(|message| MessageBody::named(message, names));
        EventBody { message, ..event.into() }
    }
}
