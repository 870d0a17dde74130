//! Registration: open or closed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::App;
use super::body::{self, JsonField};
use super::contract::{Operation, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::outcome::Outcome;
use super::rendering::to_json;
use super::reply::Reply;
use super::request::{Call, OpenCall};
use crate::model::ModerationAction;
use crate::problem::{self, Problem};

/// Registration: `open` is `true` if new accounts can be made.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Registration)]
struct RegistrationBody {
    open: bool,
}

/// A change of registration.
#[derive(Deserialize, ToSchema)]
struct RegistrationDraft {
    #[serde(default)]
    #[schema(value_type = bool, required, example = true)]
    open: JsonField<bool>,
}

pub(super) const SHOW: Operation = Operation {
    answers: &[ANSWER],
    ..Operation::new("showRegistration", Tag::Moderation, "Show if registration is open")
};

pub(super) const CHANGE: Operation = Operation {
    body: Some(SchemaRef::of::<RegistrationDraft>()),
    answers: &[ANSWER],
    problems: &[
        problem::MALFORMED_BODY,
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_AN_OPERATOR,
        problem::REGISTRATION_CLOSED,
        problem::BODY_TOO_LARGE,
        problem::UNSUPPORTED_MEDIA_TYPE,
        problem::INVALID_FIELD,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("changeRegistration", Tag::Moderation, "Close registration, or open it again")
};

const ANSWER: ResponseSpec =
    ResponseSpec::json(200, "The state of registration", SchemaRef::of::<RegistrationBody>());

impl App {
    /// 403 if registration is closed, by the command line or by an operator.
    pub(super) fn expect_registration_open(&mut self) -> Result<(), Failure> {
        if self.registration_is_open()? {
            return Ok(());
        }
        let why = "registration is closed on this server";
        Err(Problem::new(problem::REGISTRATION_CLOSED, why).into())
    }

    fn registration_is_open(&mut self) -> Result<bool, Failure> {
        Ok(self.settings.registration_open && !self.store.registration_is_closed()?)
    }

    fn registration(&mut self) -> Result<Outcome, Failure> {
        let open = self.registration_is_open()?;
        Ok(Outcome::Reply(Reply::json(200, to_json(&RegistrationBody { open }))))
    }
}

/// `GET /api/registration`
pub(super) fn show(app: &mut App, _: &OpenCall<'_>) -> Result<Outcome, Failure> {
    app.registration()
}

/// Registration that the command line closed cannot be opened.
///
/// `PUT /api/registration`
pub(super) fn change(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.expect_operator(call.caller)?;
    let draft: RegistrationDraft = body::parse(call.request)?;
    let open = draft.open.required("open")?;
    if open && !app.settings.registration_open {
        let why = "the server was started with registration closed";
        return Err(Problem::new(problem::REGISTRATION_CLOSED, why).into());
    }
    let act =
        if open { ModerationAction::OpenRegistration } else { ModerationAction::CloseRegistration };
    app.act(call.caller, act)?;
    app.registration()
}
