//! The general chat and private messages.

mod writer;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::App;
use super::body::{self, JsonField};
use super::conditional::{is_known, tag_of};
use super::contract::{
    Expand, Field, Operation, Parameter, PathSegment, ResponseSpec, SchemaRef, Tag,
};
use super::failure::Failure;
use super::idempotency::{self, replayed};
use super::long_poll::WaitOptions;
use super::message_body::MessageBody;
use super::names::Names;
use super::notices::Topic;
use super::outcome::Outcome;
use super::paging::{Links, Query, number};
use super::rendering::{RenderMode, to_json};
use super::reply::Reply;
use super::request::Call;
use super::users::{PathUser, no_such_user};
use super::wait::PollResult;
use crate::model::{Mailbox, Message, MessageId, MessageText, Page, UserId};
use crate::problem::{self, Problem};
use crate::store::{IdKind, NewMessage, PostOutcome};

/// A message to the general chat.
#[derive(Deserialize, ToSchema)]
struct GeneralDraft<'a> {
    /// 1 to 4,096 bytes of UTF-8, not blank, without U+0000.
    #[serde(default, borrow)]
    #[schema(value_type = String, required, min_length = 1, max_length = 4096, example = "hello")]
    text: JsonField<Cow<'a, str>>,
    /// 0 or `null` if given, so that a text for one user does not become public.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 0)]
    to_user: JsonField<u64>,
}

/// A message to one user.
#[derive(Deserialize, ToSchema)]
struct PrivateDraft<'a> {
    /// 1 to 4,096 bytes of UTF-8, not blank, without U+0000.
    #[serde(default, borrow)]
    #[schema(value_type = String, required, min_length = 1, max_length = 4096, example = "hello")]
    text: JsonField<Cow<'a, str>>,
    /// If given, the same user as in the path.
    #[serde(default)]
    #[schema(value_type = UserId)]
    to_user: JsonField<u64>,
}

/// A message that was posted.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Posted {
    #[schema(pattern = "^ok$")]
    status: &'static str,
    id: MessageId,
}

pub(super) const LIST_GENERAL: Operation = Operation {
    query: &[
        Parameter::Limit,
        Parameter::Before,
        Parameter::After,
        Parameter::Epoch,
        Parameter::Wait,
        Parameter::Expand,
    ],
    answers: &[PAGE],
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::CURSOR_LOST,
        problem::TOO_MANY_REQUESTS,
    ],
    ..Operation::new("listMessages", Tag::Messages, "Read the general chat")
};

pub(super) const POST_GENERAL: Operation = Operation {
    body: Some(SchemaRef::of::<GeneralDraft<'static>>()),
    repeatable: true,
    answers: &[POSTED],
    problems: &[
        problem::MALFORMED_BODY,
        problem::MALFORMED_IDEMPOTENCY_KEY,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::IDEMPOTENCY_KEY_REUSED,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("postMessage", Tag::Messages, "Write to the general chat")
};

pub(super) const LIST_PRIVATE: Operation = Operation {
    segment: Some(PathSegment::User),
    query: &[
        Parameter::Limit,
        Parameter::Before,
        Parameter::After,
        Parameter::Epoch,
        Parameter::With,
        Parameter::Wait,
        Parameter::Expand,
    ],
    answers: &[PAGE],
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::FORBIDDEN,
        problem::NOT_FOUND,
        problem::CURSOR_LOST,
        problem::TOO_MANY_REQUESTS,
    ],
    ..Operation::new("listPrivateMessages", Tag::PrivateMessages, "Read your private messages")
};

pub(super) const POST_PRIVATE: Operation = Operation {
    segment: Some(PathSegment::User),
    body: Some(SchemaRef::of::<PrivateDraft<'static>>()),
    repeatable: true,
    answers: &[POSTED],
    problems: &[
        problem::MALFORMED_BODY,
        problem::MALFORMED_IDEMPOTENCY_KEY,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::BLOCKED_BY_RECEIVER,
        problem::NOT_FOUND,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::IDEMPOTENCY_KEY_REUSED,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("postPrivateMessage", Tag::PrivateMessages, "Write to a user")
};

pub(super) const SHOW: Operation = Operation {
    segment: Some(PathSegment::Message),
    conditional: true,
    answers: &[
        ResponseSpec::json(200, "The message", SchemaRef::of::<MessageBody<'static>>())
            .with(&[Field::ETag]),
        ResponseSpec::NOT_MODIFIED,
    ],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::FORBIDDEN,
        problem::NOT_FOUND,
    ],
    ..Operation::new("showMessage", Tag::Messages, "Read a message")
};

const PAGE: ResponseSpec = ResponseSpec::list(
    "A page of messages, in order of id",
    SchemaRef::of::<MessageBody<'static>>(),
)
.with(&[Field::Link])
.perhaps_with(&[Field::PreferenceApplied]);

const POSTED: ResponseSpec =
    ResponseSpec::json(201, "The message is posted and durable", SchemaRef::of::<Posted>())
        .with(&[Field::Location])
        .perhaps_with(&[Field::IdempotencyReplayed, Field::RateLimit, Field::RateLimitPolicy]);

/// `GET /api/messages`
pub(super) fn list_general(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    list(app, call, |_| Ok((Mailbox::General, None)))
}

/// Another user's mailbox is forbidden, even if there is no such user.
///
/// `GET /api/users/{id}/messages`
pub(super) fn list_private(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let owner = call.caller;
    if PathUser::parse(call.segment).map(|user| user.id(owner)) != Some(owner) {
        if !call.segment.bytes().all(|b| b.is_ascii_digit()) {
            return Err(no_such_user().into());
        }
        let why = "private messages can be read by their two parties only";
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
    let query = call.query()?;
    let (mailbox, with) = choose(&query)?;
    let window = query.window(app, IdKind::Events)?;
    let expand = query.expand()?;
    let options = WaitOptions::of(call, &query, window)?;
    let path: Box<str> = call.request.path.into();
    let mode = call.request.render_mode();
    let read = move |app: &mut App| {
        let links = Links { path: &path, with, expand, window, epoch: app.store.store_id() };
        read(app, &links, mailbox, mode)
    };
    app.page_or_wait(call, options, vec![Topic::Posted(mailbox)], window, read)
}

/// A page of a mailbox, and its links.
fn read(
    app: &mut App,
    links: &Links<'_>,
    mailbox: Mailbox,
    mode: RenderMode,
) -> Result<PollResult, Failure> {
    let Page { items, older } = app.store.messages(mailbox, links.window)?;
    let ids = items.first().zip(items.last()).map(|(first, last)| (first.id.get(), last.id.get()));
    let json = match links.expand {
        Expand::Nothing => writer::page(items.iter().map(|item| &**item), None, mode),
        Expand::Authors => {
            let names = Names::of_authors(&*app.store, items.iter().map(|item| &**item))?;
            writer::page(items.iter().map(|item| &**item), Some(&names), mode)
        }
    };
    let reply = Reply::json(200, json).with("Link", links.field(ids, older));
    Ok(if ids.is_some() { PollResult::News(reply) } else { PollResult::Nothing(reply) })
}

/// `POST /api/messages`
pub(super) fn post_general(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let draft: GeneralDraft<'_> = body::parse(call.request)?;
    expect_receiver(
        draft.to_user,
        None,
        "must be 0 here: /api/users/{id}/messages is for one user",
    )?;
    post(app, call, None, draft.text)
}

/// `POST /api/users/{id}/messages`
pub(super) fn post_private(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let to = PathUser::parse(call.segment).ok_or_else(no_such_user)?.id(call.caller);
    let draft: PrivateDraft<'_> = body::parse(call.request)?;
    expect_receiver(draft.to_user, Some(to), "must be the user in the path")?;
    post(app, call, Some(to), draft.text)
}

/// 422 if the body names another receiver than the one that the message reaches: its author means
/// it for somebody else.
pub(super) fn expect_receiver(
    named: JsonField<u64>,
    to: Option<UserId>,
    why: &str,
) -> Result<(), Problem> {
    let to = to.map_or(0, UserId::get);
    match named.optional("to_user")? {
        Some(named) if named != to => Err(Problem::field("to_user", why)),
        _ => Ok(()),
    }
}

/// A message that was posted before gets its first answer before the rate limit is checked: it is
/// not counted again.
fn post(
    app: &mut App,
    call: &Call<'_>,
    to: Option<UserId>,
    text: JsonField<Cow<'_, str>>,
) -> Result<Outcome, Failure> {
    let from = call.caller;
    let text = text.required("text")?;
    let text = MessageText::parse(text).map_err(|why| Problem::field("text", why))?;
    let at = app.clock.read();
    let settled = app.retry_clock.settled(at);
    let keyed = idempotency::keyed(app.tokens.requests(), call.request, from, to, &text, settled)?;
    if let Some(keyed) = &keyed
        && let Some(reply) = app.first_answer(keyed, settled, posted)?
    {
        return Ok(Outcome::Reply(reply));
    }
    let key = keyed.map(|keyed| keyed.key);
    app.expect_not_blocked(from, to)?;
    let quota = app.limiters.messages.count(from, &*app.clock)?;
    let new = NewMessage { from, to, text, sent_at: at.now };
    if key.is_some() {
        app.retry_clock.record_post(at);
    }
    let sent = match key {
        None => app.store.post(new).map(|posted| posted.map(PostOutcome::Posted)),
        Some(key) => app.store.post_once(new, key),
    };
    if let Ok(Some(PostOutcome::Posted(id))) = sent {
        app.note(Topic::Posted, Mailbox::of(from, to), id.into());
    } else {
        app.limiters.messages.uncount(from, quota, &*app.clock);
    }
    match (sent?, key) {
        (Some(PostOutcome::Posted(id)), _) => Ok(Outcome::Reply(posted(id).with_quota(quota))),
        // Another server on the same store posted it first.
        (Some(PostOutcome::Replayed(first)), Some(key)) => {
            Ok(Outcome::Reply(replayed(key.fingerprint, first, posted)?))
        }
        _ => Err(no_such_user().into()),
    }
}

fn posted(id: MessageId) -> Reply {
    let reply = Reply::json(201, to_json(&Posted { status: "ok", id }));
    reply.with("Location", format!("/api/messages/{id}"))
}

/// `GET /api/messages/{id}`
pub(super) fn show(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let MessageView { body, tag, .. } = MessageView::for_caller(app, call)?;
    let is_known = is_known(call.request, &tag);
    let reply = if is_known { Reply::empty(304) } else { Reply::json(200, body) };
    Ok(Outcome::Reply(reply.revalidated_by(tag)))
}

/// The message in a path.
pub(super) struct MessageView<'a> {
    pub(super) message: Cow<'a, Message>,
    pub(super) body: Vec<u8>,
    /// The entity tag of `body`.
    pub(super) tag: String,
}

impl MessageView<'_> {
    /// 404 if there is no such message, 403 if the caller may not read it.
    pub(super) fn for_caller<'a>(
        app: &'a mut App,
        call: &Call<'_>,
    ) -> Result<MessageView<'a>, Failure> {
        let shown = MessageView::unchecked(app, call)?;
        if !shown.message.is_visible_to(call.caller) {
            let why = "private messages can be read by their two parties only";
            return Err(Problem::new(problem::FORBIDDEN, why).into());
        }
        Ok(shown)
    }

    /// The same without a check that the caller may read it.
    pub(super) fn unchecked<'a>(
        app: &'a mut App,
        call: &Call<'_>,
    ) -> Result<MessageView<'a>, Failure> {
        let not_found = || Problem::not_found("there is no message with this id");
        let id = number(call.segment).and_then(MessageId::new).ok_or_else(not_found)?;
        let message = app.store.message(id)?.ok_or_else(not_found)?;
        let body = to_json(&MessageBody::from(&*message));
        let tag = tag_of(&body, "");
        Ok(MessageView { message, body, tag })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::api::limits::{Limit, Limiters, Limits};
    use crate::api::request::{Body, Request};
    use crate::model::{MAX_ID, StoreId, Timestamp, Username};
    use crate::store::{Backend, IdAllocator, MemoryStore, NewUser, Record};

    #[test]
    fn what_the_store_refuses_does_not_count() {
        let mut store = MemoryStore::new(StoreId(1));
        let (name, created_at) = (Username::parse("ann").unwrap(), Timestamp::from_millis(1));
        store.create_user(NewUser { name, password_hash: "-".into(), created_at }).unwrap();
        let all_given_out = IdAllocator { next_user: 2, next_event: MAX_ID + 1 };
        store.restore(Record::NextIds(all_given_out)).unwrap();
        let mut app = App::for_tests(Box::new(store));
        let message = Limit::parse("1/d").unwrap();
        app.limiters = Limiters::new(Limits { message, ..Limits::default() });
        let authorization = app.logged_in_for_tests(UserId::FIRST, created_at);
        for key in [None, Some("a"), None, Some("b")] {
            let (_, outcome) = app.handle(&Request {
                authorization: Some(&authorization),
                idempotency_key: key.map(Into::into),
                body: Body::Bytes(br#"{"text":"is there room?"}"#),
                ..Request::new("POST", "/api/messages", Ipv4Addr::LOCALHOST.into())
            });
            let Outcome::Reply(reply) = outcome else { panic!("no worker is needed") };
            assert_eq!(reply.status, 500, "and never 429");
        }
    }
}
