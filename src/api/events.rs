//! What happened, in the order in which it did.

use serde::Serialize;
use utoipa::ToSchema;

use super::contract::{Answer, Field, Operation, Shape, Tag};
use super::messages::MessageBody;
use super::paging::{Links, Parameter};
use super::wait::{Patience, Sight, Topic};
use super::{App, Call, Failure, Outcome, Reply, stream, to_json};
use crate::model::{Change, Event, EventId, Mailbox, Page, Timestamp, UserId, Window};
use crate::problem;

/// Something that happened to a message.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(super) struct EventBody<'a> {
    /// From the same sequence as messages' ids.
    id: EventId,
    #[schema(pattern = "^message\\.(created|edited|deleted)$")]
    r#type: &'static str,
    /// Who did it.
    by_user: UserId,
    at: Timestamp,
    /// As it is now, whatever has happened to it since.
    #[schema(inline = false)]
    message: MessageBody<'a>,
}

pub(super) const LIST: Operation = Operation {
    query: &[
        Parameter::Limit,
        Parameter::Before,
        Parameter::After,
        Parameter::Epoch,
        Parameter::Wait,
    ],
    answers: &[Answer::stream(
        "Events, in the order in which they happened: a page, or a stream that goes on with what \
         happens",
        Shape::of::<EventBody<'static>>(),
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
        EventBody {
            id: event.id,
            r#type: match event.change {
                Change::Created => "message.created",
                Change::Edited => "message.edited",
                Change::Deleted => "message.deleted",
            },
            by_user: event.by,
            at: event.at,
            message: (&*event.message).into(),
        }
    }
}

/// `GET /api/events`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let query = call.query()?;
    if stream::is_wanted(call.request.accept.as_deref()) {
        return Ok(Outcome::Stream(Box::new(app.subscribe(call, &query)?)));
    }
    let window = query.window(app)?;
    let patience = Patience::of(call, &query, window)?;
    let (path, reader): (Box<str>, _) = (call.request.path.into(), call.caller);
    let topics = [Mailbox::General, Mailbox::Private(reader)]
        .into_iter()
        .flat_map(|feed| [Topic::Posted(feed), Topic::Revised(feed)])
        .collect();
    let read = move |app: &mut App| read(app, &path, reader, window);
    app.page_or_wait(call, patience, topics, window, read)
}

fn read(app: &mut App, path: &str, reader: UserId, window: Window) -> Result<Sight, Failure> {
    let links = Links { path, with: None, window, epoch: app.store.epoch() };
    let Page { items, older } = app.store.events(reader, window)?;
    let ids = items.first().zip(items.last()).map(|(first, last)| (first.id.get(), last.id.get()));
    let bodies: Vec<EventBody<'_>> = items.iter().map(Into::into).collect();
    let reply = Reply::json(200, to_json(&bodies)).with("Link", links.field(ids, older));
    Ok(if ids.is_some() { Sight::News(reply) } else { Sight::Nothing(reply) })
}
