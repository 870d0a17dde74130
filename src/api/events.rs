//! What happened, in the order in which it did.

use serde::Serialize;
use utoipa::ToSchema;

use super::content::Extent;
use super::contract::{Field, Operation, ResponseSpec, SchemaRef, Tag};
use super::messages::MessageBody;
use super::names::{Expand, Names};
use super::paging::{Links, Parameter};
use super::wait::{PollResult, Topic, WaitOptions};
use super::{App, Call, Failure, Outcome, Reply, stream};
use crate::model::{
    Event, EventId, EventKind, Mailbox, MessageChange, ModerationAction, Page, Timestamp, UserId,
};
use crate::problem;
use crate::store::IdKind;

/// Something that happened: to a message, or in the house.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(super) struct EventBody<'a> {
    /// From the same sequence as messages' ids.
    id: EventId,
    #[schema(
        pattern = "^(message\\.(created|edited|deleted)|user\\.(un)?blocked|registration\\.(closed|opened))$"
    )]
    r#type: &'static str,
    /// Who did it.
    by_user: UserId,
    at: Timestamp,
    /// The message that it happened to, as it is now, whatever has happened to it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline = false, nullable = false)]
    message: Option<MessageBody<'a>>,
    /// The user who was blocked, or is no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<UserId>,
}

pub(super) const LIST: Operation = Operation {
    query: &[
        Parameter::Limit,
        Parameter::Before,
        Parameter::After,
        Parameter::Epoch,
        Parameter::Wait,
        Parameter::Expand,
    ],
    answers: &[ResponseSpec::stream(
        "Events, in the order in which they happened: a page, or a stream that goes on with what \
         happens",
        SchemaRef::of::<EventBody<'static>>(),
    )
    .with(&[Field::Link])
    .perhaps_with(&[Field::PreferenceApplied])],
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::CURSOR_LOST,
        problem::TOO_MANY_REQUESTS,
    ],
    ..Operation::new("listEvents", Tag::Events, "Follow all that one may see")
};

impl EventBody<'_> {
    /// What happened, as it is called.
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
            EventKind::Act(ModerationAction::Block(user)) => ("user.blocked", Some(user)),
            EventKind::Act(ModerationAction::Unblock(user)) => ("user.unblocked", Some(user)),
            EventKind::Act(ModerationAction::CloseRegistration) => ("registration.closed", None),
            EventKind::Act(ModerationAction::OpenRegistration) => ("registration.opened", None),
        };
        let message = event.message().map(MessageBody::from);
        EventBody { id: event.id, r#type, by_user: event.by, at: event.at, message, user }
    }
}

impl<'a> EventBody<'a> {
    /// With the name of the message's author.
    fn named(event: &'a Event<'_>, names: &'a Names) -> EventBody<'a> {
        let message = event.message().map(|message| MessageBody::named(message, names));
        EventBody { message, ..event.into() }
    }
}

/// `GET /api/events`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let query = call.query()?;
    if stream::is_wanted(call.request.accept.as_deref()) {
        return Ok(Outcome::Stream(Box::new(app.subscribe(call, &query)?)));
    }
    let window = query.window(app, IdKind::Events)?;
    let expand = query.expand()?;
    let patience = WaitOptions::of(call, &query, window)?;
    let (path, reader): (Box<str>, _) = (call.request.path.into(), call.caller);
    let topics = [Mailbox::General, Mailbox::Private(reader)]
        .into_iter()
        .flat_map(|feed| [Topic::Posted(feed), Topic::Done(feed)])
        .collect();
    let extent = call.request.extent();
    let read = move |app: &mut App| {
        let links = Links { path: &path, with: None, expand, window, epoch: app.store.store_id() };
        read(app, &links, reader, extent)
    };
    app.page_or_wait(call, patience, topics, window, read)
}

fn read(
    app: &mut App,
    links: &Links<'_>,
    reader: UserId,
    extent: Extent,
) -> Result<PollResult, Failure> {
    let Page { items, older } = app.store.events(reader, links.window)?;
    let ids = items.first().zip(items.last()).map(|(first, last)| (first.id.get(), last.id.get()));
    let json = match links.expand {
        Expand::Nothing => extent.json(&items.iter().map(EventBody::from).collect::<Vec<_>>()),
        Expand::Authors => {
            // The store is asked again, so that nothing of it can be held meanwhile.
            let items: Vec<_> = items.into_iter().map(Event::into_owned).collect();
            let messages = items.iter().filter_map(Event::message);
            let names = Names::of_authors(&mut *app.store, messages)?;
            let bodies = items.iter().map(|event| EventBody::named(event, &names));
            extent.json(&bodies.collect::<Vec<_>>())
        }
    };
    let reply = Reply::json(200, json).with("Link", links.field(ids, older));
    Ok(if ids.is_some() { PollResult::News(reply) } else { PollResult::Nothing(reply) })
}
