//! Registering and logging in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::body::{self, Field};
use super::{App, Failure, Job, Outcome, Reply, Request, Resume, to_json};
use crate::auth::{passwords, tokens};
use crate::model::{MAX_PASSWORD_BYTES, UserId, Username};
use crate::problem::{self, Problem};
use crate::store::NewUser;
use crate::sys::random;

#[derive(Deserialize)]
struct Credentials<'a> {
    #[serde(default, borrow)]
    username: Field<Cow<'a, str>>,
    #[serde(default, borrow)]
    password: Field<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Registered {
    id: UserId,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    token: &'a str,
    token_type: &'a str,
    expires_in: u64,
}

/// `POST /register`
pub(super) fn register(app: &mut App, request: &Request<'_>) -> Result<Outcome, Failure> {
    let credentials: Credentials<'_> = body::parse(request)?;
    let username = credentials.username.required("username")?;
    let password = credentials.password.required("password")?;
    let name = Username::parse(&username).map_err(|why| Problem::field("username", why))?;
    check_password(&password, app.min_password_length)?;
    // Asked again when it is written; a name that is taken is not worth a hash.
    if app.store.user_named(&name)?.is_some() {
        return Err(username_taken().into());
    }
    let password = password.into_owned();
    let salt = random(&mut *app.entropy);
    Ok(Outcome::Offload(Box::new(move || -> Resume {
        let hash = passwords::hash(&password, salt);
        Box::new(move |app| match hash {
            Ok(hash) => create(app, name, hash),
            Err(error) => {
                log::error!("hashing a password failed: {error}");
                Err(Problem::internal().into())
            }
        })
    })))
}

fn create(app: &mut App, name: Username, password_hash: Box<str>) -> Result<Reply, Failure> {
    let created_at = app.clock.now();
    let created = app.store.create_user(NewUser { name, password_hash, created_at })?;
    let id = created.ok_or_else(username_taken)?;
    let reply = Reply::json(201, to_json(&Registered { id }));
    Ok(reply.with("Location", format!("/api/users/{id}")))
}

/// The same for an unknown user and for a wrong password: one answer, in the same time.
///
/// `POST /login`
pub(super) fn login(app: &mut App, request: &Request<'_>) -> Result<Outcome, Failure> {
    let credentials: Credentials<'_> = body::parse(request)?;
    let username = credentials.username.required("username")?;
    let password = credentials.password.required("password")?.into_owned();
    let user = match Username::parse(&username) {
        Ok(name) => app.store.user_named(&name)?.map(|user| (user.id, user.password_hash.clone())),
        Err(_) => None,
    };
    let job: Job = Box::new(move || {
        let right = passwords::verify(user.as_ref().map(|(_, hash)| &**hash), &password);
        let id = user.map(|(id, _)| id).filter(|_| right);
        Box::new(move |app| {
            let why = "no user has this name and this password";
            let id = id.ok_or_else(|| Problem::new(problem::WRONG_CREDENTIALS, why))?;
            admit(app, id)
        })
    });
    Ok(Outcome::Offload(job))
}

fn admit(app: &mut App, user: UserId) -> Result<Reply, Failure> {
    let id = random::<{ tokens::TOKEN_ID_BYTES }>(&mut *app.entropy);
    let token = app.tokens.issue(user, app.clock.now(), id).map_err(|error| {
        log::error!("signing a token failed: {error}");
        Problem::internal()
    })?;
    let expires_in = app.tokens.ttl_seconds();
    let body = LoggedIn { token: &token, token_type: "Bearer", expires_in };
    // RFC 6750, section 5.3: tokens are not for caches.
    Ok(Reply::json(200, to_json(&body)).with("Cache-Control", "no-store"))
}

fn check_password(password: &str, min_length: usize) -> Result<(), Problem> {
    if password.chars().count() < min_length {
        let why = format!("must be at least {min_length} characters long");
        return Err(Problem::field("password", &why));
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(Problem::field("password", "must be at most 1024 bytes of UTF-8"));
    }
    Ok(())
}

fn username_taken() -> Problem {
    Problem::new(problem::USERNAME_TAKEN, "somebody has this name already, in this or another case")
}
