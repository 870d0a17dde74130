//! The list of events.

use super::app::App;
use super::contract::{Expand, Field, Operation, Parameter, ResponseSpec, SchemaRef, Tag};
use super::event_body::EventBody;
use super::failure::Failure;
use super::long_poll::WaitOptions;
use super::names::Names;
use super::negotiation::prefers_stream;
use super::notices::Topic;
use super::outcome::Outcome;
use super::paging::Links;
use super::rendering::RenderMode;
use super::reply::Reply;
use super::request::Call;
use super::wait::PollResult;
use crate::model::{Event, Mailbox, Page, UserId};
use crate::problem;
use crate::store::IdKind;

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
        "Events in the order in which they happened: a page, or a stream that continues with new \
         events",
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
    ..Operation::new("listEvents", Tag::Events, "Follow all events that you may see")
};

/// `GET /api/events`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let query = call.query()?;
    if prefers_stream(call.request.accept.as_deref()) {
        return Ok(Outcome::Stream(Box::new(app.subscribe(call, &query)?)));
    }
    let window = query.window(app, IdKind::Events)?;
    let expand = query.expand()?;
    let options = WaitOptions::of(call, &query, window)?;
    let (path, reader): (Box<str>, _) = (call.request.path.into(), call.caller);
    let topics = [Mailbox::General, Mailbox::Private(reader)]
        .into_iter()
        .flat_map(|feed| [Topic::Posted(feed), Topic::Done(feed)])
        .collect();
    let mode = call.request.render_mode();
    let read = move |app: &mut App| {
        let links = Links { path: &path, with: None, expand, window, epoch: app.store.store_id() };
        read(app, &links, reader, mode)
    };
    app.page_or_wait(call, options, topics, window, read)
}

fn read(
    app: &mut App,
    links: &Links<'_>,
    reader: UserId,
    mode: RenderMode,
) -> Result<PollResult, Failure> {
    let Page { items, older } = app.store.events(reader, links.window)?;
    let ids = items.first().zip(items.last()).map(|(first, last)| (first.id.get(), last.id.get()));
    let json = match links.expand {
        Expand::Nothing => mode.json(&items.iter().map(EventBody::from).collect::<Vec<_>>()),
        Expand::Authors => {
            let names = Names::of_authors(&*app.store, items.iter().filter_map(Event::message))?;
            let bodies = items.iter().map(|event| EventBody::named(event, &names));
            mode.json(&bodies.collect::<Vec<_>>())
        }
    };
    let reply = Reply::json(200, json).with("Link", links.field(ids, older));
    Ok(if ids.is_some() { PollResult::News(reply) } else { PollResult::Nothing(reply) })
}
