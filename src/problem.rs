//! Every error a client can see, in one table: [`KINDS`].
//!
//! An error leaves as `application/problem+json` (RFC 9457). What the client is told is `detail`;
//! what the operator has to know is logged where it happened, and is never in here.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

/// A kind of error: its `type` is `/problems/` and the slug.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The last segment of the problem type.
    pub slug: &'static str,
    /// The HTTP status (RFC 9110, section 15).
    pub status: u16,
    /// The same for every problem of the kind.
    pub title: &'static str,
    /// When it happens.
    pub meaning: &'static str,
    /// What a client should do about it.
    pub advice: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:literal $slug:literal: $title:literal,
        $meaning:literal, $advice:literal;)*) => {
        $(#[doc = $title]
        pub const $name: &ProblemType = &ProblemType {
            slug: $slug, status: $status, title: $title, meaning: $meaning, advice: $advice,
        };)*

        /// All kinds, in order of status.
        pub const KINDS: &[&ProblemType] = &[$($name),*];
    };
}

kinds! {
    MALFORMED_REQUEST = 400 "malformed-request": "The request is malformed",
        "It is not clear where the body ends: lengths contradict each other, or the body ended \
         early.",
        "Say once, and truly, how long the body is. The connection is closed.";
    MALFORMED_BODY = 400 "malformed-body": "The body is not a JSON object",
        "The body could not be read as JSON, or is JSON of another kind than an object.",
        "Send a JSON object in UTF-8.";
    MALFORMED_IDEMPOTENCY_KEY = 400 "malformed-idempotency-key": "The idempotency key is malformed",
        "There is an `Idempotency-Key` field, but it is not one string of 1 to 255 visible ASCII \
         characters, in double quotes or without.",
        "Send one key, such as a random UUID in double quotes.";
    INVALID_PARAMETER = 400 "invalid-parameter": "A query parameter is invalid",
        "A parameter is out of range, of the wrong form, given twice, or given together with one \
         that excludes it.",
        "Correct the parameter that `parameter` names.";
    TOKEN_MISSING = 401 "token-missing": "An access token is needed",
        "There is no `Authorization` field, or not one of the form `Bearer TOKEN`.",
        "Log in and send the token as `Authorization: Bearer TOKEN`.";
    TOKEN_INVALID = 401 "token-invalid": "The access token is not valid",
        "The token has expired, its session was ended, or it is malformed, forged or of another \
         store.",
        "Log in again.";
    WRONG_CREDENTIALS = 401 "wrong-credentials": "The user name or the password is wrong",
        "No user has this name and this password.",
        "Correct one of them; which one is not said.";
    FORBIDDEN = 403 "forbidden": "This is not yours to see",
        "Private messages are for their two parties only.",
        "Nothing: another token would be needed.";
    NOT_THE_AUTHOR = 403 "not-the-author": "Only its author may change it",
        "A message is edited by who wrote it, and deleted by who wrote it or by an operator.",
        "Nothing: it is somebody else's.";
    ACCOUNT_BLOCKED = 403 "account-blocked": "The account is blocked",
        "The user name and the password are right, but an operator has blocked the account.",
        "Nothing, until an operator lets it in again.";
    BLOCKED_BY_RECEIVER = 403 "blocked-by-receiver": "The receiver takes no messages of yours",
        "The other user has blocked you: what you write or edit would reach them.",
        "Nothing: it is their choice. Nothing was changed.";
    NOT_AN_OPERATOR = 403 "not-an-operator": "Only operators may do this",
        "What keeps order on the server is for those whom its command line names.",
        "Ask an operator.";
    REGISTRATION_CLOSED = 403 "registration-closed": "Registration is closed",
        "No new accounts are made, because an operator has closed registration or the server was \
         started so.",
        "Ask an operator.";
    NOT_FOUND = 404 "not-found": "There is nothing here",
        "There is no such path, or nothing has the id in it.",
        "Correct the path or the id in it.";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed": "The resource does not support the method",
        "The path exists, but not for this method.",
        "Use one of the methods in the `Allow` header.";
    USERNAME_TAKEN = 409 "username-taken": "The user name is taken",
        "Somebody has registered this name already, in this or another case.",
        "Choose another name; case makes no difference.";
    MESSAGE_DELETED = 409 "message-deleted": "The message is deleted",
        "What is deleted cannot be edited any more.",
        "Write another message.";
    CANNOT_BE_BLOCKED = 409 "cannot-be-blocked": "This user cannot be blocked",
        "Operators cannot be blocked from the server, and nobody can block themselves.",
        "Nothing.";
    TOO_MANY_BLOCKS = 409 "too-many-blocks": "Too many users are blocked",
        "One user can block 1,000 others.",
        "Take a block back first.";
    CURSOR_LOST = 410 "cursor-lost": "The cursor leads nowhere",
        "The link that was followed comes from a store that is not served any more, or from a time \
         that was lost when this one was restored from a backup; or the id is above every one that \
         was ever given out.",
        "Forget what you have: it may not be here. Start again without a cursor.";
    PRECONDITION_FAILED = 412 "precondition-failed": "It was changed meanwhile",
        "The `If-Match` field names another version than the one there is (RFC 9110, section \
         13.1.1).",
        "Read it again, and decide anew with its `ETag`. Nothing was changed.";
    BODY_TOO_LARGE = 413 "body-too-large": "The body is too large",
        "No request needs a body of more than 32 KiB.",
        "Send at most 32 KiB.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type": "The body's type is not supported",
        "The body is declared to be something other than JSON.",
        "Send `Content-Type: application/json`.";
    INVALID_FIELD = 422 "invalid-field": "A field of the body is invalid",
        "The body is a JSON object, but a field is missing, of the wrong type or out of range.",
        "Correct the field that `field` names.";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency-key-reused": "The idempotency key is another message's",
        "You have sent another message under this `Idempotency-Key`, or the same to somebody else, \
         within a day. Or you have sent this message under a key that the server cannot compare with \
         any more: see whether it is there, and send it without a key if it is not.",
        "Take a new key for each message. Nothing was changed.";
    TOO_MANY_REQUESTS = 429 "too-many-requests": "Too many requests of this kind",
        "More was asked for than a limit allows to a user, an account or an address (RFC 6585, \
         section 4).",
        "Try again after the seconds that the `Retry-After` header gives. Nothing was changed.";
    INTERNAL_ERROR = 500 "internal-error": "The server failed",
        "The server's own fault. What went wrong is in its log.",
        "Try again later. Whether a change took effect is unknown.";
    OVERLOADED = 503 "overloaded": "The server is busy",
        "A queue for work of this kind is full.",
        "Try again after the seconds that the `Retry-After` header gives. Nothing was changed.";
    INSUFFICIENT_STORAGE = 507 "insufficient-storage": "The server has no room to write",
        "So little of its disk is free that nothing more is written (RFC 4918, section 11.5).",
        "Read on; write again when the operator has made room. Nothing was changed.";
}

/// What can happen to any request, whatever it asks for.
pub const ANYWHERE: &[&ProblemType] = &[MALFORMED_REQUEST, INTERNAL_ERROR, OVERLOADED];

/// One error, as its client is told of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Of which kind.
    pub kind: &'static ProblemType,
    /// What was wrong with this request.
    pub detail: Cow<'static, str>,
    /// The query parameter that is to blame.
    pub parameter: Option<&'static str>,
    /// The field of the body that is to blame.
    pub field: Option<&'static str>,
    /// Response fields that the status asks for.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
}

/// The challenge of RFC 6750, section 3, to who brought no token at all.
const CHALLENGE: &str = "Bearer realm=\"veche\"";
/// The same to who brought a bad one.
const CHALLENGE_INVALID_TOKEN: &str = "Bearer realm=\"veche\", error=\"invalid_token\"";
/// After how many seconds an overloaded server may be asked again.
const RETRY_AFTER_SECONDS: &str = "1";

impl Problem {
    /// A problem without further members. The status's own response fields come along.
    pub fn new(kind: &'static ProblemType, detail: impl Into<Cow<'static, str>>) -> Problem {
        let headers = match kind.slug {
            "token-invalid" => vec![("WWW-Authenticate", CHALLENGE_INVALID_TOKEN.into())],
            _ if kind.status == 401 => vec![("WWW-Authenticate", CHALLENGE.into())],
            _ if kind.status == 503 => vec![("Retry-After", RETRY_AFTER_SECONDS.into())],
            _ => Vec::new(),
        };
        Problem { kind, detail: detail.into(), parameter: None, field: None, headers }
    }

    /// 507: the store has no room.
    #[must_use]
    pub fn no_room() -> Problem {
        Problem::new(INSUFFICIENT_STORAGE, "there is too little room left for anything new")
    }

    /// 400: a query parameter is to blame. `why` goes on from its name.
    #[must_use]
    pub fn parameter(name: &'static str, why: &str) -> Problem {
        let detail = format!("{name} {why}");
        Problem { parameter: Some(name), ..Problem::new(INVALID_PARAMETER, detail) }
    }

    /// 422: a field of the body is to blame. `why` goes on from its name.
    #[must_use]
    pub fn field(name: &'static str, why: &str) -> Problem {
        let detail = format!("{name} {why}");
        Problem { field: Some(name), ..Problem::new(INVALID_FIELD, detail) }
    }

    /// 404.
    #[must_use]
    pub fn not_found(what: &'static str) -> Problem {
        Problem::new(NOT_FOUND, what)
    }

    /// 405, with the methods that the resource does support.
    #[must_use]
    pub fn method_not_allowed(allow: String) -> Problem {
        let detail = format!("this path knows {allow}");
        let mut problem = Problem::new(METHOD_NOT_ALLOWED, detail);
        problem.headers.push(("Allow", allow.into()));
        problem
    }

    /// 429, and after how many seconds it can be tried again.
    #[must_use]
    pub fn too_many_requests(why: impl Into<Cow<'static, str>>, retry_after: u64) -> Problem {
        let mut problem = Problem::new(TOO_MANY_REQUESTS, why);
        problem.headers.push(("Retry-After", retry_after.to_string().into()));
        problem
    }

    /// 500. It says nothing of the inside.
    #[must_use]
    pub fn internal() -> Problem {
        Problem::new(INTERNAL_ERROR, "the request failed; the operator has been told")
    }

    /// 503, when a queue is full.
    #[must_use]
    pub fn overloaded() -> Problem {
        Problem::new(OVERLOADED, "too many requests of this kind are waiting")
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let body = ProblemBody {
            r#type: format!("/problems/{}", self.kind.slug),
            title: self.kind.title,
            status: self.kind.status,
            detail: &self.detail,
            parameter: self.parameter,
            field: self.field,
        };
        // Strings and a number: there is nothing in it that could fail to serialize.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// A problem as RFC 9457 lays it out.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Where it is explained. Programs go by this; it does not change.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// The kind of problem in words.
    title: &'a str,
    /// The status of the response once more.
    status: u16,
    /// What was wrong with this request, for people. The words may change.
    detail: &'a str,
    /// The query parameter that is to blame, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<&'a str>,
    /// The field of the body that is to blame, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
}
