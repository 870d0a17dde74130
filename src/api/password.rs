//! Changes of one's password, and deletion of one's account.

use std::borrow::Cow;

use serde::Deserialize;
use utoipa::ToSchema;

use super::accounts::{check_password, report_costly_hash};
use super::app::App;
use super::body::{self, JsonField};
use super::contract::{Operation, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::limits::LoginAttempt;
use super::outcome::{Job, Outcome, Resume};
use super::reply::Reply;
use super::request::Call;
use super::sessions::LoggedIn;
use super::users::no_such_user;
use crate::auth::passwords;
use crate::problem::{self, Problem};
use crate::sys::random;

/// A change of password.
#[derive(Deserialize, ToSchema)]
struct NewPassword<'a> {
    #[serde(default, borrow)]
    #[schema(value_type = String, required, format = Password, example = "correct horse")]
    old_password: JsonField<Cow<'a, str>>,
    /// The new password, with the limits of registration.
    #[serde(default, borrow)]
    #[schema(
        value_type = String, required, format = Password, min_length = 1, max_length = 1024,
        example = "battery staple"
    )]
    new_password: JsonField<Cow<'a, str>>,
}

/// The confirmation that an account is to be deleted.
#[derive(Deserialize, ToSchema)]
#[schema(as = Farewell)]
struct AccountDeletion<'a> {
    /// The user's password, so that a stolen token does not suffice to delete an account.
    #[serde(default, borrow)]
    #[schema(value_type = String, required, format = Password, example = "correct horse")]
    password: JsonField<Cow<'a, str>>,
}

const PROBLEMS: &[&problem::ProblemType] = &[
    problem::MALFORMED_BODY,
    problem::TOKEN_MISSING,
    problem::TOKEN_INVALID,
    problem::WRONG_CREDENTIALS,
    problem::BODY_TOO_LARGE,
    problem::UNSUPPORTED_MEDIA_TYPE,
    problem::INVALID_FIELD,
    problem::TOO_MANY_REQUESTS,
    problem::INSUFFICIENT_STORAGE,
];

pub(super) const CHANGE: Operation = Operation {
    body: Some(SchemaRef::of::<NewPassword<'static>>()),
    answers: &[ResponseSpec::json(200, "A new token", SchemaRef::of::<LoggedIn<'static>>())],
    problems: PROBLEMS,
    ..Operation::new("changePassword", Tag::Accounts, "Change your password")
};

pub(super) const DELETE: Operation = Operation {
    body: Some(SchemaRef::of::<AccountDeletion<'static>>()),
    answers: &[ResponseSpec::NO_CONTENT],
    problems: PROBLEMS,
    ..Operation::new("deleteAccount", Tag::Accounts, "Delete your account permanently")
};

/// A password check that was counted.
struct PasswordCheck {
    hash: Box<str>,
    attempt: Option<LoginAttempt>,
}

/// Begins a check of the caller's password. It counts as a login attempt: a guess is a guess, with
/// a token or without.
fn begin_check(app: &mut App, call: &Call<'_>) -> Result<PasswordCheck, Failure> {
    let user = app.store.user(call.caller)?.ok_or_else(no_such_user)?;
    let (name, hash) = (user.name.clone(), user.password_hash.clone());
    report_costly_hash(call.caller, &hash);
    let attempt = app.limiters.begin_login(name.as_str(), call.request.client, &*app.clock)?;
    Ok(PasswordCheck { hash, attempt })
}

fn wrong() -> Problem {
    Problem::new(problem::WRONG_CREDENTIALS, "this is not your password")
}

/// `PUT /api/users/me/password`
pub(super) fn change(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let body: NewPassword<'_> = body::parse(call.request)?;
    let old = body.old_password.required("old_password")?.into_owned();
    let new = body.new_password.required("new_password")?.into_owned();
    check_password("new_password", &new, app.settings.min_password_length)?;
    let PasswordCheck { hash: seen, attempt } = begin_check(app, call)?;
    let (bearer, user_agent) = (call.bearer(), call.user_agent());
    let salt = random(&mut *app.entropy);
    let work = move || -> Resume {
        let right = passwords::verify(Some(&seen), &old);
        let hashed = right.then(|| passwords::hash(&new, salt));
        Box::new(move |app| {
            let hash = hashed.ok_or_else(wrong)?.map_err(|error| {
                log::error!("hashing a password failed: {error}");
                Problem::internal()
            })?;
            app.limiters.login_succeeded(attempt, &*app.clock);
            app.expect_live(bearer)?;
            let fresh = app.new_session(bearer.user, user_agent);
            if !app.store.change_password(fresh.clone(), &seen, hash)? {
                return Err(wrong().into());
            }
            app.sessions.end_all(bearer.user);
            app.sessions.begin(&fresh, app.clock.read());
            app.token_of(&fresh)
        })
    };
    Ok(Outcome::Offload(Job::new(work).or_else(move |app| {
        app.limiters.login_declined(attempt, &*app.clock);
    })))
}

/// `POST /api/users/me/deletion`
pub(super) fn delete(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let body: AccountDeletion<'_> = body::parse(call.request)?;
    let password = body.password.required("password")?.into_owned();
    let PasswordCheck { hash: seen, attempt } = begin_check(app, call)?;
    let bearer = call.bearer();
    let work = move || -> Resume {
        let right = passwords::verify(Some(&seen), &password);
        Box::new(move |app| {
            if !right {
                return Err(wrong().into());
            }
            app.limiters.login_succeeded(attempt, &*app.clock);
            app.expect_live(bearer)?;
            if !app.store.end_account(bearer.user, &seen, app.clock.now())? {
                return Err(wrong().into());
            }
            app.sessions.end_all(bearer.user);
            Ok(Reply::empty(204))
        })
    };
    Ok(Outcome::Offload(Job::new(work).or_else(move |app| {
        app.limiters.login_declined(attempt, &*app.clock);
    })))
}
