//! Users, as others see them.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::contract::{Field, Operation, Parameter, PathSegment, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::outcome::Outcome;
use super::paging::{Links, number};
use super::rendering::to_json;
use super::reply::Reply;
use super::request::Call;
use crate::model::{Page, User, UserId, Username};
use crate::problem::{self, Problem};
use crate::store::IdKind;

/// A user, as others see them.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = User)]
struct UserBody<'a> {
    id: UserId,
    /// The name as its owner wrote it. For a deleted account it is a name that nobody can register.
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$|^deleted~[1-9][0-9]*$")]
    username: Cow<'a, str>,
    /// `true` if the account is deleted, and absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    deleted: bool,
}

pub(super) const LIST: Operation = Operation {
    query: &[
        Parameter::Limit,
        Parameter::Before,
        Parameter::After,
        Parameter::Epoch,
        Parameter::Username,
    ],
    answers: &[ResponseSpec::list(
        "A page of users, in order of id; with `username`, an array of one or none",
        SchemaRef::of::<UserBody<'static>>(),
    )
    .perhaps_with(&[Field::Link])],
    problems: &[
        problem::INVALID_PARAMETER,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::CURSOR_LOST,
    ],
    ..Operation::new("listUsers", Tag::Users, "List the users, or find one by name")
};

pub(super) const SHOW: Operation = Operation {
    segment: Some(PathSegment::User),
    answers: &[ResponseSpec::json(200, "The user", SchemaRef::of::<UserBody<'static>>())],
    problems: &[problem::TOKEN_MISSING, problem::TOKEN_INVALID, problem::NOT_FOUND],
    ..Operation::new("showUser", Tag::Users, "Show a user")
};

impl<'a> From<&'a User> for UserBody<'a> {
    fn from(user: &'a User) -> Self {
        UserBody { id: user.id, username: user.shown_name(), deleted: user.ended_at.is_some() }
    }
}

/// The `{id}` in the path of a user.
pub(super) enum PathUser {
    /// `me`
    Caller,
    /// A number.
    Id(UserId),
}

impl PathUser {
    /// `None` for a segment that cannot be a user.
    pub(super) fn parse(segment: &str) -> Option<PathUser> {
        match segment {
            "me" => Some(PathUser::Caller),
            id => number(id).and_then(UserId::new).map(PathUser::Id),
        }
    }

    /// The user that the segment means in a request of `caller`.
    pub(super) fn id(&self, caller: UserId) -> UserId {
        match *self {
            PathUser::Caller => caller,
            PathUser::Id(id) => id,
        }
    }
}

/// 404 for the `{id}` in the path of a user.
pub(super) fn no_such_user() -> Problem {
    Problem::not_found("there is no user with this id")
}

/// `GET /api/users/{id}`
pub(super) fn show(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let id = PathUser::parse(call.segment).ok_or_else(no_such_user)?.id(call.caller);
    let user = app.store.user(id)?.ok_or_else(no_such_user)?;
    Ok(Outcome::Reply(Reply::json(200, to_json(&UserBody::from(&*user)))))
}

/// With `username`, an array of one user or none, whatever page was requested; otherwise a page of
/// all users.
///
/// `GET /api/users`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let query = call.query()?;
    let window = query.window(app, IdKind::Users)?;
    if let Some(username) = query.get(Parameter::Username) {
        let found = match Username::parse(username) {
            // A deleted account is not found by its former name.
            Ok(name) => app.store.user_named(&name)?.filter(|user| user.ended_at.is_none()),
            // An invalid name is no error: a client may be searching while the user types.
            Err(_) => None,
        };
        let bodies: Vec<UserBody<'_>> = found.iter().map(|user| (&**user).into()).collect();
        return Ok(Outcome::Reply(Reply::json(200, to_json(&bodies))));
    }
    let links = Links::new(call.request.path, window, app.store.store_id());
    let Page { items, older } = app.store.users(window)?;
    let ids = items.first().zip(items.last()).map(|(first, last)| (first.id.get(), last.id.get()));
    let bodies: Vec<UserBody<'_>> = items.iter().map(|item| (&**item).into()).collect();
    let page = call.request.render_mode().json(&bodies);
    let reply = Reply::json(200, page).with("Link", links.field(ids, older));
    Ok(Outcome::Reply(reply))
}
