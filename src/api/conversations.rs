//! Conversations, and how far each is read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::App;
use super::body::{self, JsonField};
use super::contract::{Field, Operation, Parameter, PathSegment, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::message_body::MessageBody;
use super::names::Names;
use super::notices::ReadMark;
use super::outcome::Outcome;
use super::paging::{Links, number};
use super::rendering::to_json;
use super::reply::Reply;
use super::request::Call;
use crate::model::{Cursor, DEFAULT_PAGE_LIMIT, MessageId, Page, UserId};
use crate::problem::{self, Problem};
use crate::store::{Conversation, IdKind, MarkOutcome};

/// Most conversations on a page. Each costs several lookups: its last message, its read mark, and
/// its unread messages.
const MAX_CONVERSATIONS: usize = 100;
// The default limit must be a valid one.
const _: () = assert!(DEFAULT_PAGE_LIMIT <= MAX_CONVERSATIONS);

/// A read mark.
#[derive(Deserialize, ToSchema)]
struct ReadDraft {
    /// The id of the last message that was read.
    #[serde(default)]
    #[schema(value_type = MessageId, required)]
    up_to: JsonField<u64>,
}

/// A conversation, as its reader sees it.
// The order of the fields is part of the contract.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Conversation)]
struct ConversationBody<'a> {
    /// The other user; 0 is the general chat.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    with_user: u64,
    /// The other user's name. For a deleted account it is a name that nobody can register; the
    /// general chat has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$|^deleted~[1-9][0-9]*$"
    )]
    username: Option<&'a str>,
    /// The message with the highest id.
    #[schema(inline = false)]
    last_message: MessageBody<'a>,
    /// The number of others' messages after `read_up_to`, among the newest 1,000.
    #[schema(minimum = 0, maximum = 1000)]
    unread: usize,
    /// `true` if there are more than 1,000 messages after `read_up_to`, so that not all were
    /// counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unread_more: Option<bool>,
    /// The last message that is marked as read, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    read_up_to: Option<MessageId>,
}

pub(super) const LIST: Operation = Operation {
    query: &[Parameter::Limit, Parameter::Before, Parameter::Epoch],
    max_limit: MAX_CONVERSATIONS,
    answers: &[ResponseSpec::list(
        "A page of conversations, the one with the newest message first",
        SchemaRef::of::<ConversationBody<'static>>(),
    )
    .perhaps_with(&[Field::Link])],
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::CURSOR_LOST,
    ],
    ..Operation::new("listConversations", Tag::Conversations, "List your conversations")
};

pub(super) const READ: Operation = Operation {
    segment: Some(PathSegment::Conversation),
    body: Some(SchemaRef::of::<ReadDraft>()),
    answers: &[ResponseSpec::json(
        200,
        "The conversation after the change",
        SchemaRef::of::<ConversationBody<'static>>(),
    )],
    problems: &[
        problem::MALFORMED_BODY,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_FOUND,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("markConversationRead", Tag::Conversations, "Mark a conversation as read")
};

impl<'a> ConversationBody<'a> {
    fn new(conversation: &'a Conversation<'_>, names: &'a Names) -> ConversationBody<'a> {
        let Conversation { with, last, unread, read_up_to } = conversation;
        ConversationBody {
            with_user: with.map_or(0, UserId::get),
            username: with.and_then(|with| names.of(with)),
            last_message: (&**last).into(),
            unread: unread.count,
            unread_more: unread.more.then_some(true),
            read_up_to: *read_up_to,
        }
    }
}

/// The newest conversation is first, so that the link to the next page leads to older ones.
///
/// `GET /api/users/me/conversations`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let window = call.query()?.window(app, IdKind::Events)?;
    let before = match window.cursor {
        Cursor::Before(id) => Some(id),
        Cursor::Newest | Cursor::From(_) => None,
    };
    let Page { items, older } = app.store.conversations(call.caller, before, window.limit)?;
    let names = Names::of_users(&*app.store, items.iter().filter_map(|item| item.with))?;
    let bodies: Vec<_> = items.iter().map(|item| ConversationBody::new(item, &names)).collect();
    let reply = Reply::json(200, call.request.render_mode().json(&bodies));
    let links = Links::new(call.request.path, window, app.store.store_id());
    Ok(Outcome::Reply(match items.last().filter(|_| older) {
        Some(oldest) => reply.with("Link", links.to_older(oldest.last.id.get())),
        None => reply,
    }))
}

/// A mark never moves back, because a user's devices send theirs in any order.
///
/// `PUT /api/users/me/conversations/{id}/read`
pub(super) fn mark_read(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let none = || Problem::not_found("there is no conversation with a user of this id");
    let draft: ReadDraft = body::parse(call.request)?;
    let up_to = draft.up_to.required("up_to")?;
    let up_to = MessageId::new(up_to);
    let up_to = up_to.ok_or_else(|| Problem::field("up_to", "must be the id of a message"))?;
    let with = match number(call.segment).ok_or_else(none)? {
        0 => None,
        id => Some(UserId::new(id).ok_or_else(none)?),
    };
    let user = call.caller;
    let marked = app.store.mark_read(user, with, up_to, app.clock.now())?;
    let MarkOutcome { up_to, moved } = marked.ok_or_else(none)?;
    if moved {
        app.read_marks.push(ReadMark { user, with, up_to });
    }
    let conversation = app.store.conversation(user, with)?.ok_or_else(none)?;
    let names = Names::of_users(&*app.store, with.into_iter())?;
    Ok(Outcome::Reply(Reply::json(200, to_json(&ConversationBody::new(&conversation, &names)))))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Body, Request};
    use super::*;

    use crate::model::{MAX_PAGE_LIMIT, MessageText, StoreId, Timestamp, Username};
    use crate::store::{Backend, MemoryStore, NewMessage, NewUser};

    /// A server on which Ann wrote to Bob and then to the general chat.
    fn begun() -> App {
        let mut store = MemoryStore::new(StoreId(1));
        for name in ["ann", "bob"] {
            let (name, created_at) = (Username::parse(name).unwrap(), Timestamp::from_millis(1));
            store.create_user(NewUser { name, password_hash: "-".into(), created_at }).unwrap();
        }
        for to in [UserId::new(2), None] {
            let text = MessageText::parse("hello".into()).unwrap();
            let sent_at = Timestamp::from_millis(1);
            store.post(NewMessage { from: UserId::FIRST, to, text, sent_at }).unwrap();
        }
        App::for_tests(Box::new(store))
    }

    /// Sends a request of Bob's.
    fn ask(app: &mut App, method: &str, target: &str, body: &str) -> Reply {
        let authorization =
            app.logged_in_for_tests(UserId::new(2).unwrap(), Timestamp::from_millis(1));
        let (_, outcome) = app.handle(&Request {
            authorization: Some(&authorization),
            body: Body::Bytes(body.as_bytes()),
            ..Request::new(method, target, Ipv4Addr::LOCALHOST.into())
        });
        let Outcome::Reply(reply) = outcome else { panic!("no worker is needed") };
        reply
    }

    /// Marks a conversation as Bob: the status, and the marks for his other devices.
    fn mark(app: &mut App, with: u64, up_to: u64) -> (u16, Vec<ReadMark>) {
        let path = format!("/api/users/me/conversations/{with}/read");
        let reply = ask(app, "PUT", &path, &format!("{{\"up_to\":{up_to}}}"));
        (reply.status, app.read_marks().collect())
    }

    #[test]
    fn a_page_has_so_many_conversations_at_most() {
        let mut app = begun();
        for (limit, status) in [
            (1, 200),
            (MAX_CONVERSATIONS, 200),
            (MAX_CONVERSATIONS + 1, 400),
            (0, 400),
            (MAX_PAGE_LIMIT, 400),
        ] {
            let target = format!("/api/users/me/conversations?limit={limit}");
            let reply = ask(&mut app, "GET", &target, "");
            assert_eq!(reply.status, status, "{limit}");
        }
    }

    #[test]
    fn others_are_told_of_marks_that_moved() {
        let mut app = begun();
        let moved = |with, up_to| ReadMark {
            user: UserId::new(2).unwrap(),
            with: UserId::new(with),
            up_to: MessageId::new(up_to).unwrap(),
        };
        assert_eq!(mark(&mut app, 1, 7), (200, vec![moved(1, 0)]), "not beyond the last");
        assert_eq!(mark(&mut app, 1, 7), (200, vec![]));
        assert_eq!(mark(&mut app, 1, 0), (200, vec![]));
        assert_eq!(mark(&mut app, 0, 0), (200, vec![moved(0, 0)]));
        assert_eq!(mark(&mut app, 0, 1), (200, vec![moved(0, 1)]));
        assert_eq!(mark(&mut app, 2, 1), (404, vec![]), "nothing to himself");
        assert_eq!(mark(&mut app, 0, crate::model::MAX_ID + 1), (422, vec![]));
        assert_eq!(mark(&mut app, crate::model::MAX_ID + 1, 1), (404, vec![]));
    }
}
