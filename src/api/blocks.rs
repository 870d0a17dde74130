//! Blocks: of users from the server, by operators, and of senders, by each user.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::contract::{Field, Operation, Parameter, PathSegment, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::names::Names;
use super::outcome::Outcome;
use super::paging::Links;
use super::reply::Reply;
use super::request::Call;
use super::users::{PathUser, no_such_user};
use crate::model::{Block, Cursor, ModerationAction, Page, Timestamp, User, UserId, Window};
use crate::problem::{self, Problem};
use crate::store::IdKind;

/// Most users that one user can block.
const MAX_BLOCKED_SENDERS: usize = 1000;

/// A user who is blocked.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Block)]
struct BlockBody<'a> {
    user: UserId,
    /// The user's name. For a deleted account it is a name that nobody can register.
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$|^deleted~[1-9][0-9]*$")]
    username: &'a str,
    /// The operator, or the user who takes no messages.
    by_user: UserId,
    at: Timestamp,
}

pub(super) const LIST_OWN: Operation = Operation {
    query: &[Parameter::Limit, Parameter::Before, Parameter::After, Parameter::Epoch],
    answers: &[ResponseSpec::list(
        "A page, in order of the users' ids",
        SchemaRef::of::<BlockBody<'static>>(),
    )
    .with(&[Field::Link])],
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::CURSOR_LOST,
    ],
    ..Operation::new("listBlockedSenders", Tag::PrivateMessages, "List the users you have blocked")
};

pub(super) const BLOCK_SENDER: Operation = Operation {
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_FOUND,
        problem::CANNOT_BE_BLOCKED,
        problem::TOO_MANY_BLOCKS,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..change("blockSender", Tag::PrivateMessages, "Block a user from sending you private messages")
};

pub(super) const UNBLOCK_SENDER: Operation = Operation {
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_FOUND,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..change("unblockSender", Tag::PrivateMessages, "Unblock a sender of private messages")
};

pub(super) const LIST: Operation = Operation {
    id: "listBlocks",
    tag: Tag::Moderation,
    summary: "List the users who are blocked from the server",
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::CURSOR_LOST,
    ],
    ..LIST_OWN
};

pub(super) const BLOCK: Operation = Operation {
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::NOT_FOUND,
        problem::CANNOT_BE_BLOCKED,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..change("block", Tag::Moderation, "Block a user from the server")
};

pub(super) const UNBLOCK: Operation = Operation {
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::NOT_FOUND,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..change("unblock", Tag::Moderation, "Unblock a user")
};

/// A change of a user's block, which may be repeated.
const fn change(id: &'static str, tag: Tag, summary: &'static str) -> Operation {
    Operation {
        segment: Some(PathSegment::User),
        answers: &[ResponseSpec::NO_CONTENT],
        ..Operation::new(id, tag, summary)
    }
}

impl App {
    /// 403 if the receiver has blocked the author. A deleted account blocks nobody.
    pub(super) fn expect_not_blocked(
        &mut self,
        from: UserId,
        to: Option<UserId>,
    ) -> Result<(), Failure> {
        match to {
            Some(to) if self.store.refuses(to, from)? && self.is_present(to)? => {
                let why = "this user takes no private messages from you";
                Err(Problem::new(problem::BLOCKED_BY_RECEIVER, why).into())
            }
            _ => Ok(()),
        }
    }

    fn is_present(&mut self, user: UserId) -> Result<bool, Failure> {
        Ok(self.store.user(user)?.is_some_and(|user| user.ended_at.is_none()))
    }

    /// Changes a user's block of a sender. It counts as a message, because it takes as much of the
    /// disk.
    fn change_sender_block(&mut self, block: Block, refused: bool) -> Result<Outcome, Failure> {
        let quota = self.limiters.messages.count(block.by, &*self.clock)?;
        let changed = self.store.refuse_sender(block, refused);
        if !matches!(changed, Ok(true)) {
            self.limiters.messages.uncount(block.by, quota, &*self.clock);
        }
        changed?;
        Ok(Outcome::Reply(Reply::empty(204)))
    }

    /// The user in the path. 404 if the account is deleted.
    fn present_user(&mut self, call: &Call<'_>) -> Result<Cow<'_, User>, Failure> {
        let user = self.store.user(path_user(call)?)?;
        let present = user.filter(|user| user.ended_at.is_none());
        Ok(present.ok_or_else(no_such_user)?)
    }
}

fn path_user(call: &Call<'_>) -> Result<UserId, Problem> {
    Ok(PathUser::parse(call.segment).ok_or_else(no_such_user)?.id(call.caller))
}

/// `GET /api/blocks`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.expect_operator(call.caller)?;
    let window = call.query()?.window(app, IdKind::Users)?;
    let page = app.store.blocked_accounts(window)?;
    listed(app, call, window, &page)
}

/// `GET /api/users/me/blocks`
pub(super) fn list_own(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let window = call.query()?.window(app, IdKind::Users)?;
    let page = app.store.refused_senders(call.caller, window)?;
    listed(app, call, window, &page)
}

fn listed(
    app: &mut App,
    call: &Call<'_>,
    window: Window,
    page: &Page<Block>,
) -> Result<Outcome, Failure> {
    let Page { items, older } = page;
    let names = Names::of_users(&*app.store, items.iter().map(|block| block.user))?;
    let bodies = items.iter().map(|&Block { user, by, at }| {
        let username = names.of(user).unwrap_or_default();
        BlockBody { user, username, by_user: by, at }
    });
    let page = call.request.render_mode().json(&bodies.collect::<Vec<_>>());
    let reply = Reply::json(200, page);
    let ids =
        items.first().zip(items.last()).map(|(first, last)| (first.user.get(), last.user.get()));
    let links = Links::new(call.request.path, window, app.store.store_id());
    Ok(Outcome::Reply(reply.with("Link", links.field(ids, *older))))
}

/// Blocking a blocked user changes nothing.
///
/// `PUT /api/blocks/{id}`
pub(super) fn block(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.expect_operator(call.caller)?;
    let user = app.present_user(call)?.into_owned();
    if app.settings.operators.includes(&user) {
        let why = "this user is an operator, and operators cannot be blocked";
        return Err(Problem::new(problem::CANNOT_BE_BLOCKED, why).into());
    }
    if app.act(call.caller, ModerationAction::Block(user.id))? {
        app.sessions.end_all(user.id);
    }
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `DELETE /api/blocks/{id}`
pub(super) fn unblock(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.expect_operator(call.caller)?;
    let user = path_user(call)?;
    app.store.user(user)?.ok_or_else(no_such_user)?;
    app.act(call.caller, ModerationAction::Unblock(user))?;
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `PUT /api/users/me/blocks/{id}`
pub(super) fn block_sender(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (user, by, at) = (app.present_user(call)?.id, call.caller, app.clock.now());
    if user == by {
        let why = "you cannot block yourself";
        return Err(Problem::new(problem::CANNOT_BE_BLOCKED, why).into());
    }
    if !app.store.refuses(by, user)? {
        let all = Window { cursor: Cursor::Newest, limit: MAX_BLOCKED_SENDERS };
        if app.store.refused_senders(by, all)?.items.len() >= MAX_BLOCKED_SENDERS {
            let why = "you have blocked 1,000 users already";
            return Err(Problem::new(problem::TOO_MANY_BLOCKS, why).into());
        }
    }
    app.change_sender_block(Block { user, by, at }, true)
}

/// `DELETE /api/users/me/blocks/{id}`
pub(super) fn unblock_sender(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (user, by, at) = (path_user(call)?, call.caller, app.clock.now());
    app.store.user(user)?.ok_or_else(no_such_user)?;
    app.change_sender_block(Block { user, by, at }, false)
}
