//! The general chat and private messages.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::body::{self, Field};
use super::paging::{Links, Query, number};
use super::users::{PathUser, no_such_user};
use super::{App, Call, Failure, Outcome, Reply, to_json};
use crate::model::{Mailbox, Message, MessageId, MessageText, Page, Timestamp, UserId};
use crate::problem::{self, Problem};
use crate::store::NewMessage;

#[derive(Deserialize)]
struct GeneralDraft<'a> {
    #[serde(default, borrow)]
    text: Field<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct PrivateDraft<'a> {
    #[serde(default, borrow)]
    text: Field<Cow<'a, str>>,
    #[serde(default)]
    to_user: Field<u64>,
}

#[derive(Serialize)]
struct Posted {
    status: &'static str,
    id: MessageId,
}

/// A message on the wire. The order of the fields is part of the contract.
#[derive(Serialize)]
struct MessageBody<'a> {
    id: MessageId,
    from_user: UserId,
    /// 0 is the general chat.
    to_user: u64,
    text: &'a str,
    sent_at: Timestamp,
}

impl<'a> From<&'a Message> for MessageBody<'a> {
    fn from(message: &'a Message) -> Self {
        MessageBody {
            id: message.id,
            from_user: message.from,
            to_user: message.to.map_or(0, UserId::get),
            text: message.text.as_str(),
            sent_at: message.sent_at,
        }
    }
}

/// `GET /api/messages`
pub(super) fn list_general(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    list(app, call, |_| Ok((Mailbox::General, None)))
}

/// Anyone else's mailbox is forbidden, whether it exists or not.
///
/// `GET /api/users/{id}/messages`
pub(super) fn list_private(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let owner = PathUser::parse(call.id).ok_or_else(no_such_user)?.id(call.caller);
    if owner != call.caller {
        let why = "private messages are for their two parties only";
        return Err(Problem::new(problem::FORBIDDEN, why).into());
    }
    list(app, call, |query| {
        let with = query.with()?;
        let conversation = with.map(|other| Mailbox::between(owner, other));
        Ok((conversation.unwrap_or(Mailbox::Private(owner)), with))
    })
}

fn list(
    app: &mut App,
    call: &Call<'_>,
    choose: impl FnOnce(&Query<'_>) -> Result<(Mailbox, Option<UserId>), Problem>,
) -> Result<Outcome, Failure> {
    let query = Query::parse(call.request.query)?;
    let (mailbox, with) = choose(&query)?;
    let window = query.window(app)?;
    let links = Links { path: call.request.path, with, window, epoch: app.store.epoch() };
    let Page { items, older } = app.store.messages(mailbox, window)?;
    let ids = items.first().zip(items.last()).map(|(first, last)| (first.id.get(), last.id.get()));
    let bodies: Vec<MessageBody<'_>> = items.iter().map(|item| (&**item).into()).collect();
    let reply = Reply::json(200, to_json(&bodies)).with("Link", links.field(ids, older));
    Ok(Outcome::Reply(reply))
}

/// `POST /api/messages`
pub(super) fn post_general(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let draft: GeneralDraft<'_> = body::parse(call.request)?;
    post(app, call.caller, None, draft.text)
}

/// `POST /api/users/{id}/messages`
pub(super) fn post_private(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let to = PathUser::parse(call.id).ok_or_else(no_such_user)?.id(call.caller);
    let draft: PrivateDraft<'_> = body::parse(call.request)?;
    if draft.to_user.optional("to_user")?.is_some_and(|also_to| also_to != to.get()) {
        return Err(Problem::field("to_user", "must be the user in the path").into());
    }
    post(app, call.caller, Some(to), draft.text)
}

fn post(
    app: &mut App,
    from: UserId,
    to: Option<UserId>,
    text: Field<Cow<'_, str>>,
) -> Result<Outcome, Failure> {
    let text = text.required("text")?;
    let text = MessageText::parse(text).map_err(|why| Problem::field("text", why))?;
    let sent_at = app.clock.now();
    let posted = app.store.post(NewMessage { from, to, text, sent_at })?;
    let id = posted.ok_or_else(no_such_user)?;
    let reply = Reply::json(201, to_json(&Posted { status: "ok", id }));
    Ok(Outcome::Reply(reply.with("Location", format!("/api/messages/{id}"))))
}

/// `GET /api/messages/{id}`
pub(super) fn show(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let not_found = || Problem::not_found("there is no message with this id");
    let id = number(call.id).and_then(MessageId::new).ok_or_else(not_found)?;
    let message = app.store.message(id)?.ok_or_else(not_found)?;
    if !message.is_visible_to(call.caller) {
        let why = "private messages are for their two parties only";
        return Err(Problem::new(problem::FORBIDDEN, why).into());
    }
    Ok(Outcome::Reply(Reply::json(200, to_json(&MessageBody::from(&*message)))))
}
