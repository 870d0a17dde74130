//! Registration and login.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::App;
use super::body::{self, JsonField};
use super::client::Network;
use super::contract::{Field, Operation, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::limits::QuotaState;
use super::outcome::{Job, Outcome, Resume};
use super::rendering::to_json;
use super::reply::Reply;
use super::request::OpenCall;
use super::sessions::LoggedIn;
use crate::auth::passwords;
use crate::model::{MAX_PASSWORD_BYTES, UserId, Username, asks_too_much};
use crate::problem::{self, Problem};
use crate::store::NewUser;
use crate::sys::random;

/// A user name and a password.
#[derive(Deserialize, ToSchema)]
struct Credentials<'a> {
    /// The name, in any case.
    #[serde(default, borrow)]
    #[schema(
        value_type = String, required, min_length = 1, max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$", example = "alice"
    )]
    username: JsonField<Cow<'a, str>>,
    /// The password. The operator sets its minimum length, by default 3 characters; its maximum is
    /// 1,024 bytes of UTF-8.
    #[serde(default, borrow)]
    #[schema(
        value_type = String, required, format = Password, min_length = 1, max_length = 1024,
        example = "correct horse"
    )]
    password: JsonField<Cow<'a, str>>,
}

/// A new account.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registered {
    id: UserId,
}

pub(super) const REGISTER: Operation = Operation {
    body: Some(SchemaRef::of::<Credentials<'static>>()),
    answers: &[ResponseSpec::json(201, "The account is registered", SchemaRef::of::<Registered>())
        .with(&[Field::Location])
        .perhaps_with(&[Field::RateLimit, Field::RateLimitPolicy])],
    problems: &[
        problem::MALFORMED_BODY,
        problem::REGISTRATION_CLOSED,
        problem::USERNAME_TAKEN,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("register", Tag::Accounts, "Register an account")
};

pub(super) const REGISTER_ALIAS: Operation = Operation {
    id: "registerAlias",
    summary: "Register an account: an alias of POST /register",
    ..REGISTER
};

pub(super) const LOGIN: Operation = Operation {
    body: Some(SchemaRef::of::<Credentials<'static>>()),
    answers: &[ResponseSpec::json(200, "A token", SchemaRef::of::<LoggedIn<'static>>())],
    problems: &[
        problem::MALFORMED_BODY,
        problem::WRONG_CREDENTIALS,
        problem::ACCOUNT_BLOCKED,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::TOO_MANY_REQUESTS,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("login", Tag::Accounts, "Log in: get an access token")
};

pub(super) const LOGIN_ALIAS: Operation =
    Operation { id: "loginAlias", summary: "Log in: an alias of POST /login", ..LOGIN };

/// `POST /register`
pub(super) fn register(app: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    let credentials: Credentials<'_> = body::parse(call.request)?;
    let username = credentials.username.required("username")?;
    let password = credentials.password.required("password")?;
    let name = Username::parse(&username).map_err(|why| Problem::field("username", why))?;
    check_password("password", &password, app.settings.min_password_length)?;
    app.expect_registration_open()?;
    // Checked again when the account is written. Here it saves a hash.
    if app.store.user_named(&name)?.is_some() {
        return Err(username_taken().into());
    }
    let from = Network::of_client(call.request.client);
    let quota = app.limiters.registrations.count(from, &*app.clock)?;
    let password = password.into_owned();
    let salt = random(&mut *app.entropy);
    let work = move || -> Resume {
        let hash = passwords::hash(&password, salt);
        Box::new(move |app| {
            let created = match hash {
                Ok(hash) => create(app, name, hash, quota),
                Err(error) => {
                    log::error!("hashing a password failed: {error}");
                    Err(Problem::internal().into())
                }
            };
            if created.is_err() {
                app.limiters.registrations.uncount(from, quota, &*app.clock);
            }
            created
        })
    };
    Ok(Outcome::Offload(Job::new(work).or_else(move |app| {
        app.limiters.registrations.uncount(from, quota, &*app.clock);
    })))
}

fn create(
    app: &mut App,
    name: Username,
    password_hash: Box<str>,
    quota: Option<QuotaState>,
) -> Result<Reply, Failure> {
    // Registration may have been closed since.
    app.expect_registration_open()?;
    let created_at = app.clock.now();
    let created = app.store.create_user(NewUser { name, password_hash, created_at })?;
    let id = created.ok_or_else(username_taken)?;
    let reply = Reply::json(201, to_json(&Registered { id }));
    Ok(reply.with("Location", format!("/api/users/{id}")).with_quota(quota))
}

/// An unknown user and a wrong password get the same answer, after the same time.
///
/// `POST /login`
pub(super) fn login(app: &mut App, call: &OpenCall<'_>) -> Result<Outcome, Failure> {
    let credentials: Credentials<'_> = body::parse(call.request)?;
    let username = credentials.username.required("username")?;
    let password = credentials.password.required("password")?.into_owned();
    // Counted before the user is looked up, and before the hash that it may save.
    let attempt = app.limiters.begin_login(&username, call.request.client, &*app.clock)?;
    let user = match Username::parse(&username) {
        Ok(name) => app.store.user_named(&name)?,
        Err(_) => None,
    };
    // A deleted account cannot be logged in to.
    let user = user.filter(|user| user.ended_at.is_none());
    let user = user.map(|user| (user.id, user.password_hash.clone()));
    if let Some((id, hash)) = &user {
        report_costly_hash(*id, hash);
    }
    let user_agent = call.user_agent();
    let work = move || -> Resume {
        let right = passwords::verify(user.as_ref().map(|(_, hash)| &**hash), &password);
        let user = user.filter(|_| right);
        Box::new(move |app| {
            let wrong = || {
                let why = "no user has this name and this password";
                Problem::new(problem::WRONG_CREDENTIALS, why)
            };
            let (id, seen) = user.ok_or_else(wrong)?;
            let session = app.new_session(id, user_agent);
            let room = app.end_expired_sessions(id);
            let begun = room.and_then(|()| app.store.begin_session(session.clone(), &seen));
            let was_refused = matches!(begun, Ok(None));
            let is_blocked = was_refused
                && app.store.account_block(id)?.is_some()
                && app.store.user(id)?.is_some_and(|user| user.password_hash == seen);
            // A right password is no guess, even if the store has no room.
            if is_blocked || !was_refused {
                app.limiters.login_succeeded(attempt, &*app.clock);
            }
            if is_blocked {
                let why = "an operator has blocked this account";
                return Err(Problem::new(problem::ACCOUNT_BLOCKED, why).into());
            }
            // The password may have been changed since it was verified, or the account deleted.
            let ended = begun?.ok_or_else(wrong)?;
            for ended in ended {
                app.sessions.end(id, ended);
            }
            app.sessions.begin(&session, app.clock.read());
            app.token_of(&session)
        })
    };
    Ok(Outcome::Offload(Job::new(work).or_else(move |app| {
        app.limiters.login_declined(attempt, &*app.clock);
    })))
}

/// Logs that nobody can log in to an account, because its password hash requires too much work. The
/// client gets the answer to a wrong password.
pub(super) fn report_costly_hash(user: UserId, hash: &str) {
    if asks_too_much(hash) {
        log::error!(
            "the password hash of user {user} requires more memory or time than this server's own, so \
             it is never verified and nobody can log in to the account; `veche check` shows its \
             position"
        );
    }
}

/// 422 for a password that cannot be registered. `field` is the body's field that has it.
pub(super) fn check_password(
    field: &'static str,
    password: &str,
    min_length: usize,
) -> Result<(), Problem> {
    if password.chars().count() < min_length {
        let why = format!("must be at least {min_length} characters long");
        return Err(Problem::field(field, &why));
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(Problem::field(field, "must be at most 1024 bytes of UTF-8"));
    }
    Ok(())
}

fn username_taken() -> Problem {
    Problem::new(problem::USERNAME_TAKEN, "another user has this name, in this or another case")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::api::app::Settings;
    use crate::api::limits::{Limit, Limits};
    use crate::api::request::{Body, Request};
    use crate::auth::tokens::Tokens;
    use crate::model::{ModerationAction, StoreId, Timestamp};
    use crate::store::MemoryStore;
    use crate::sys::{FixedClock, SeededEntropy};

    fn app() -> App {
        let limit = Limit::parse("2/d").unwrap();
        let limits = Limits { login: limit, registration: limit, message: limit };
        let settings = Settings { limits, ..Settings::default() };
        App::new(
            Box::new(MemoryStore::new(StoreId(1))),
            Tokens::new(&[7; 32], 3600, StoreId(1)),
            Box::new(FixedClock(Timestamp::from_millis(1_767_323_045_678))),
            Box::new(SeededEntropy(1)),
            settings,
        )
    }

    fn post(app: &mut App, path: &str, password: &str) -> Outcome {
        post_as("ann", app, path, password)
    }

    fn post_as(name: &str, app: &mut App, path: &str, password: &str) -> Outcome {
        let body = format!("{{\"username\":\"{name}\",\"password\":\"{password}\"}}");
        let (_, outcome) = app.handle(&Request {
            body: Body::Bytes(body.as_bytes()),
            ..Request::new("POST", path, Ipv4Addr::LOCALHOST.into())
        });
        outcome
    }

    /// With a worker, or without one.
    fn answered(app: &mut App, outcome: Outcome, by_worker: bool) -> u16 {
        match outcome {
            Outcome::Reply(reply) => reply.status,
            Outcome::Offload(job) if by_worker => app.resume((job.work)()).status,
            Outcome::Offload(job) => app.resume(job.declined).status,
            Outcome::Park(_) | Outcome::Stream(_) => unreachable!("nobody waits for an account"),
        }
    }

    #[test]
    fn what_finds_no_worker_does_not_count() {
        let mut app = app();
        let mut ask = |path, password, by_worker| {
            let outcome = post(&mut app, path, password);
            answered(&mut app, outcome, by_worker)
        };
        for _ in 0..10 {
            assert_eq!(ask("/register", "right", false), 503);
        }
        assert_eq!(ask("/register", "right", true), 201);
        for _ in 0..10 {
            assert_eq!(ask("/login", "wrong", false), 503);
            assert_eq!(ask("/login", "right", true), 200);
        }
        let guesses = [(); 3].map(|()| ask("/login", "wrong", true));
        assert_eq!(guesses, [401, 401, 429]);
    }

    /// An operator's action takes effect while a password is being hashed.
    #[test]
    fn who_was_late_is_refused() {
        let mut app = app();
        let registered = post(&mut app, "/register", "right");
        assert_eq!(answered(&mut app, registered, true), 201);
        let ann = UserId::FIRST;
        let late = post(&mut app, "/login", "right");
        app.act(ann, ModerationAction::Block(ann)).unwrap();
        assert_eq!(answered(&mut app, late, true), 403);
        let wrong = post(&mut app, "/login", "wrong");
        assert_eq!(answered(&mut app, wrong, true), 401);
        app.act(ann, ModerationAction::Unblock(ann)).unwrap();
        let again = post(&mut app, "/login", "right");
        assert_eq!(answered(&mut app, again, true), 200);
        // A client with an earlier password is not told of the block.
        let late = post(&mut app, "/login", "right");
        let seen = app.store.user(ann).unwrap().unwrap().password_hash.clone();
        let fresh = app.new_session(ann, "".into());
        assert!(app.store.change_password(fresh.clone(), &seen, "another".into()).unwrap());
        app.act(ann, ModerationAction::Block(ann)).unwrap();
        assert_eq!(answered(&mut app, late, true), 401);
        app.act(ann, ModerationAction::Unblock(ann)).unwrap();
        assert!(app.store.change_password(fresh, "another", seen).unwrap());

        let late = post_as("bob", &mut app, "/register", "right");
        app.act(ann, ModerationAction::CloseRegistration).unwrap();
        assert_eq!(answered(&mut app, late, true), 403);
        app.act(ann, ModerationAction::OpenRegistration).unwrap();
        let again = post_as("bob", &mut app, "/register", "right");
        assert_eq!(answered(&mut app, again, true), 201, "it was not counted");
        let third = post_as("carol", &mut app, "/register", "right");
        assert_eq!(answered(&mut app, third, true), 429);
    }
}
