//! Edits and deletions of messages.

use std::borrow::Cow;

use serde::Deserialize;
use utoipa::ToSchema;

use super::app::App;
use super::body;
use super::body::JsonField;
use super::conditional::expect_match;
use super::contract::{Field, Operation, PathSegment, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::message_body::MessageBody;
use super::messages::{MessageView, expect_receiver};
use super::notices::Topic;
use super::outcome::Outcome;
use super::reply::Reply;
use super::request::Call;
use crate::model::{Mailbox, Message, MessageText, UserId};
use crate::problem::{self, Problem};
use crate::store::NewRevision;

/// A new text for a message.
#[derive(Deserialize, ToSchema)]
struct EditDraft<'a> {
    /// 1 to 4,096 bytes of UTF-8, not blank, without U+0000.
    #[serde(default, borrow)]
    #[schema(value_type = String, required, min_length = 1, max_length = 4096, example = "hello")]
    text: JsonField<Cow<'a, str>>,
    /// If given and not `null`, the receiver that the message has; 0 is the general chat.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991u64)]
    to_user: JsonField<u64>,
}

pub(super) const EDIT: Operation = Operation {
    segment: Some(PathSegment::Message),
    body: Some(SchemaRef::of::<EditDraft<'static>>()),
    guarded: true,
    answers: &[ResponseSpec::json(
        200,
        "The message after the edit",
        SchemaRef::of::<MessageBody<'static>>(),
    )
    .with(&[Field::ETag])
    .perhaps_with(&[Field::RateLimit, Field::RateLimitPolicy])],
    problems: &[
        problem::MALFORMED_BODY,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::FORBIDDEN,
        problem::NOT_THE_AUTHOR,
        problem::BLOCKED_BY_RECEIVER,
        problem::NOT_FOUND,
        problem::MESSAGE_DELETED,
        problem::PRECONDITION_FAILED,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("editMessage", Tag::Messages, "Edit a message")
};

pub(super) const DELETE: Operation = Operation {
    segment: Some(PathSegment::Message),
    guarded: true,
    answers: &[ResponseSpec::NO_CONTENT],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::FORBIDDEN,
        problem::NOT_THE_AUTHOR,
        problem::NOT_FOUND,
        problem::PRECONDITION_FAILED,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("deleteMessage", Tag::Messages, "Delete a message")
};

/// An edit to the same text changes nothing, so that an edit can be sent again.
///
/// `PATCH /api/messages/{id}`
pub(super) fn edit(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let draft: EditDraft<'_> = body::parse(call.request)?;
    let text = draft.text.required("text")?;
    let text = MessageText::parse(text).map_err(|why| Problem::field("text", why))?;
    let seen = authored(app, call)?;
    expect_receiver(draft.to_user, seen.to, "must be the receiver that the message has")?;
    if seen.is_deleted() {
        return Err(Problem::new(
            problem::MESSAGE_DELETED,
            "a deleted message has no text to edit",
        )
        .into());
    }
    let mut quota = None;
    if seen.text() != text.as_str() {
        app.expect_not_blocked(call.caller, seen.to)?;
        let taken = app.limiters.messages.count(call.caller, &*app.clock)?;
        revise(app, call.caller, &seen, Some(text)).inspect_err(|_| {
            app.limiters.messages.uncount(call.caller, taken, &*app.clock);
        })?;
        quota = taken;
    }
    let MessageView { body, tag, .. } = MessageView::for_caller(app, call)?;
    let reply = Reply::json(200, body).with("ETag", tag);
    Ok(Outcome::Reply(reply.with_quota(quota)))
}

/// Deleting a deleted message changes nothing. An operator may delete messages that they may not
/// read.
///
/// `DELETE /api/messages/{id}`
pub(super) fn delete(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let seen = if app.is_operator(call.caller)? {
        let MessageView { message, tag, .. } = MessageView::unchecked(app, call)?;
        expect_match(call.request, &tag)?;
        message.into_owned()
    } else {
        authored(app, call)?
    };
    if !seen.is_deleted() {
        revise(app, call.caller, &seen, None)?;
    }
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// The message in the path. 403 unless the caller wrote it, 412 if `If-Match` names another
/// version.
fn authored(app: &mut App, call: &Call<'_>) -> Result<Message, Failure> {
    let MessageView { message, tag, .. } = MessageView::for_caller(app, call)?;
    if message.from != call.caller {
        let why = "another user wrote the message";
        return Err(Problem::new(problem::NOT_THE_AUTHOR, why).into());
    }
    expect_match(call.request, &tag)?;
    Ok(message.into_owned())
}

fn revise(
    app: &mut App,
    by: UserId,
    seen: &Message,
    text: Option<MessageText>,
) -> Result<(), Failure> {
    let new = NewRevision { by, at: app.clock.now(), text };
    let revised = app.store.revise(seen.id, seen.event(), new)?;
    let outrun =
        || Problem::new(problem::PRECONDITION_FAILED, "the message was changed at the same time");
    app.note(Topic::Done, Mailbox::feeds(seen.from, seen.to), revised.ok_or_else(outrun)?);
    Ok(())
}
