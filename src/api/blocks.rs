//! Who is blocked: by operators from the server, and by each user from writing to them.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::contract::{Answer, Field, Operation, Segment, Shape, Tag};
use super::names::Names;
use super::paging::{Links, Parameter};
use super::users::{PathUser, no_such_user};
use super::{App, Call, Failure, Outcome, Reply, to_json};
use crate::model::{Act, Block, Cursor, Page, Timestamp, User, UserId, Window};
use crate::problem::{self, Problem};

/// So many users can be blocked by another.
const MAX_BLOCKED_SENDERS: usize = 1000;

/// A user who is blocked.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Block)]
struct BlockBody<'a> {
    user: UserId,
    /// The user's name. Once the account has ended, one that nobody can have.
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$|^deleted~[1-9][0-9]*$")]
    username: &'a str,
    /// Who did it.
    by_user: UserId,
    at: Timestamp,
}

const PAGE: &[Parameter] =
    &[Parameter::Limit, Parameter::Before, Parameter::After, Parameter::Epoch];
const LISTED: &[Answer] =
    &[Answer::list("A page, in order of the users' ids", Shape::of::<BlockBody<'static>>())
        .with(&[Field::Link])];

pub(super) const LIST: Operation = Operation {
    query: PAGE,
    answers: LISTED,
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::CURSOR_LOST,
    ],
    ..Operation::new("listBlocks", Tag::Moderation, "List the users who are blocked")
};

pub(super) const BLOCK: Operation = Operation {
    segment: Some(Segment::User),
    answers: &[Answer::NO_CONTENT],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::NOT_FOUND,
        problem::CANNOT_BE_BLOCKED,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("block", Tag::Moderation, "Block a user from the server")
};

pub(super) const UNBLOCK: Operation = Operation {
    segment: Some(Segment::User),
    answers: &[Answer::NO_CONTENT],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::NOT_FOUND,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("unblock", Tag::Moderation, "Let a user in again")
};

pub(super) const LIST_OWN: Operation = Operation {
    query: PAGE,
    answers: LISTED,
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::CURSOR_LOST,
    ],
    ..Operation::new("listBlockedSenders", Tag::PrivateMessages, "List whom one has blocked")
};

pub(super) const BLOCK_SENDER: Operation = Operation {
    segment: Some(Segment::User),
    answers: &[Answer::NO_CONTENT],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_FOUND,
        problem::CANNOT_BE_BLOCKED,
        problem::TOO_MANY_BLOCKS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("blockSender", Tag::PrivateMessages, "Take no private messages of a user")
};

pub(super) const UNBLOCK_SENDER: Operation = Operation {
    segment: Some(Segment::User),
    answers: &[Answer::NO_CONTENT],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_FOUND,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("unblockSender", Tag::PrivateMessages, "Take a user's messages again")
};

impl App {
    /// 403 for what a user writes to another who does not want it.
    pub(super) fn expect_welcome(
        &mut self,
        from: UserId,
        to: Option<UserId>,
    ) -> Result<(), Failure> {
        match to {
            Some(to) if self.store.refuses(to, from)? => {
                let why = "this user takes no private messages of yours";
                Err(Problem::new(problem::BLOCKED_BY_RECEIVER, why).into())
            }
            _ => Ok(()),
        }
    }

    /// The user in the path, whose account has not ended.
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
    let window = call.query()?.window(app)?;
    let page = app.store.blocked_accounts(window)?;
    listed(app, call, window, &page)
}

/// `GET /api/users/me/blocks`
pub(super) fn list_own(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let window = call.query()?.window(app)?;
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
    let names = Names::of_users(&mut *app.store, items.iter().map(|block| block.user))?;
    let bodies = items.iter().map(|&Block { user, by, at }| {
        let username = names.of(user).unwrap_or_default();
        BlockBody { user, username, by_user: by, at }
    });
    let reply = Reply::json(200, to_json(&bodies.collect::<Vec<_>>()));
    let ids =
        items.first().zip(items.last()).map(|(first, last)| (first.user.get(), last.user.get()));
    let links = Links::new(call.request.path, window, app.store.epoch());
    Ok(Outcome::Reply(reply.with("Link", links.field(ids, *older))))
}

/// Whoever is blocked stays so, whoever says it again.
///
/// `PUT /api/blocks/{id}`
pub(super) fn block(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.expect_operator(call.caller)?;
    let user = app.present_user(call)?.into_owned();
    if app.settings.operators.includes(&user) {
        let why = "operators are named on the command line, and cannot be blocked";
        return Err(Problem::new(problem::CANNOT_BE_BLOCKED, why).into());
    }
    app.act(call.caller, Act::Block(user.id))?;
    app.live.end_all(user.id);
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `DELETE /api/blocks/{id}`
pub(super) fn unblock(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.expect_operator(call.caller)?;
    let user = path_user(call)?;
    app.store.user(user)?.ok_or_else(no_such_user)?;
    app.act(call.caller, Act::Unblock(user))?;
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `PUT /api/users/me/blocks/{id}`
pub(super) fn block_sender(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (user, by, at) = (app.present_user(call)?.id, call.caller, app.clock.now());
    if user == by {
        let why = "nobody can block themselves";
        return Err(Problem::new(problem::CANNOT_BE_BLOCKED, why).into());
    }
    if !app.store.refuses(by, user)? {
        let all = Window { cursor: Cursor::Newest, limit: MAX_BLOCKED_SENDERS };
        if app.store.refused_senders(by, all)?.items.len() >= MAX_BLOCKED_SENDERS {
            let why = "you have blocked 1,000 users already";
            return Err(Problem::new(problem::TOO_MANY_BLOCKS, why).into());
        }
        app.store.refuse_sender(Block { user, by, at }, true)?;
    }
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `DELETE /api/users/me/blocks/{id}`
pub(super) fn unblock_sender(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let (user, by, at) = (path_user(call)?, call.caller, app.clock.now());
    app.store.user(user)?.ok_or_else(no_such_user)?;
    app.store.refuse_sender(Block { user, by, at }, false)?;
    Ok(Outcome::Reply(Reply::empty(204)))
}
