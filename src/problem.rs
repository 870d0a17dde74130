//! Every error a client can see, in one table: [`KINDS`].
//!
//! An error is sent as `application/problem+json` (RFC 9457). Its `detail` is for the client. What
//! only the operator may know is logged where the error happens, and is never part of a problem.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

/// A kind of error. Its `type` is `/problems/` followed by the slug.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The last segment of the problem type.
    pub slug: &'static str,
    /// The HTTP status (RFC 9110, section 15).
    pub status: u16,
    /// The same for every problem of the kind.
    pub title: &'static str,
    /// The cause.
    pub meaning: &'static str,
    /// Advice to the client.
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
        "The end of the body is not clear: the lengths contradict each other, or the body ended \
         early.",
        "Send the body with one correct length. The connection is closed.";
    MALFORMED_BODY = 400 "malformed-body": "The body is not a JSON object",
        "The body is not valid JSON, or its JSON is not an object.",
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
        "Correct the name or the password. The server does not say which of them is wrong.";
    FORBIDDEN = 403 "forbidden": "Access is forbidden",
        "Private messages can be read by their two parties only.",
        "None: it needs the token of one of them.";
    NOT_THE_AUTHOR = 403 "not-the-author": "Only the author may change a message",
        "A message can be edited by its author, and deleted by its author or by an operator.",
        "None: another user wrote the message.";
    ACCOUNT_BLOCKED = 403 "account-blocked": "The account is blocked",
        "The user name and the password are right, but an operator has blocked the account.",
        "Ask an operator to unblock the account.";
    BLOCKED_BY_RECEIVER = 403 "blocked-by-receiver": "The receiver has blocked you",
        "The other user takes no private messages from you, neither new nor edited ones.",
        "None: the other user decides. Nothing was changed.";
    NOT_AN_OPERATOR = 403 "not-an-operator": "Only operators may do this",
        "Moderation is reserved for the users that the server's command line names.",
        "Ask an operator.";
    REGISTRATION_CLOSED = 403 "registration-closed": "Registration is closed",
        "No accounts can be registered, because an operator has closed registration or the server \
         was started with it closed.",
        "Ask an operator.";
    NOT_FOUND = 404 "not-found": "Not found",
        "There is no such path, or there is no resource with the id in it.",
        "Correct the path or the id in it.";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed": "The resource does not support the method",
        "The path exists, but does not support this method.",
        "Use one of the methods in the `Allow` header.";
    USERNAME_TAKEN = 409 "username-taken": "The user name is taken",
        "Another user has registered this name, in this or another case.",
        "Choose another name. Names that differ only in case are the same.";
    MESSAGE_DELETED = 409 "message-deleted": "The message is deleted",
        "A deleted message cannot be edited.",
        "Write another message.";
    CANNOT_BE_BLOCKED = 409 "cannot-be-blocked": "This user cannot be blocked",
        "Operators cannot be blocked from the server, and users cannot block themselves.",
        "None.";
    TOO_MANY_BLOCKS = 409 "too-many-blocks": "Too many users are blocked",
        "A user can block at most 1,000 others.",
        "Unblock another user first.";
    CURSOR_LOST = 410 "cursor-lost": "The cursor is lost",
        "The cursor is from a store that is not served any more, or from a time that was lost when \
         the store was restored from a backup; or its id is above all ids that were ever assigned.",
        "Discard the data that you have, because the server may not have it. Start again without a \
         cursor.";
    PRECONDITION_FAILED = 412 "precondition-failed": "The resource was changed meanwhile",
        "The `If-Match` field names another version than the current one (RFC 9110, section \
         13.1.1).",
        "Read the resource again, and repeat the request with its new `ETag` if it still makes \
         sense. Nothing was changed.";
    BODY_TOO_LARGE = 413 "body-too-large": "The body is too large",
        "The body has more than 32 KiB.",
        "Send at most 32 KiB.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type": "The body's type is not supported",
        "The `Content-Type` of the body is not JSON.",
        "Send `Content-Type: application/json`.";
    INVALID_FIELD = 422 "invalid-field": "A field of the body is invalid",
        "The body is a JSON object, but a field is missing, of the wrong type or out of range.",
        "Correct the field that `field` names.";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency-key-reused": "The idempotency key was used for another message",
        "You have used this `Idempotency-Key` for another text or receiver within 24 hours. Or you \
         have sent this message under a key that the server cannot compare with any more.",
        "Use a new key for each message. In the second case check if the message was posted, and \
         send it without a key if it was not. Nothing was changed.";
    TOO_MANY_REQUESTS = 429 "too-many-requests": "Too many requests of this kind",
        "A rate limit of a user, an account or an address is exceeded (RFC 6585, section 4).",
        "Try again after the seconds in the `Retry-After` header. Nothing was changed.";
    INTERNAL_ERROR = 500 "internal-error": "The server failed",
        "The server has a fault, which is described in its log.",
        "Try again later. A change may or may not have taken effect.";
    OVERLOADED = 503 "overloaded": "The server is busy",
        "The queue for work of this kind is full.",
        "Try again after the seconds in the `Retry-After` header. Nothing was changed.";
    INSUFFICIENT_STORAGE = 507 "insufficient-storage": "The server has too little free space to write",
        "Too little space is free on the server's disk (RFC 4918, section 11.5).",
        "Write again when the operator has made room. Reading still works. Nothing was changed.";
}

/// The problems that any request can have.
pub const ANYWHERE: &[&ProblemType] = &[MALFORMED_REQUEST, INTERNAL_ERROR, OVERLOADED];

/// An error, as it is sent to the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of error.
    pub kind: &'static ProblemType,
    /// The fault of this request.
    pub detail: Cow<'static, str>,
    /// The query parameter at fault.
    pub parameter: Option<&'static str>,
    /// The field of the body at fault.
    pub field: Option<&'static str>,
    /// Response fields that the status requires.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
}

/// The challenge of RFC 6750, section 3, for a request without a token.
const CHALLENGE: &str = "Bearer realm=\"veche\"";
/// The challenge for a request with an invalid token.
const CHALLENGE_INVALID_TOKEN: &str = "Bearer realm=\"veche\", error=\"invalid_token\"";
/// `Retry-After` of an overloaded server, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

impl Problem {
    /// A problem without further members, but with the response fields of its status.
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
        Problem::new(INSUFFICIENT_STORAGE, "there is too little free space to write")
    }

    /// 400: a query parameter is invalid. `why` continues a sentence that begins with its name.
    #[must_use]
    pub fn parameter(name: &'static str, why: &str) -> Problem {
        let detail = format!("{name} {why}");
        Problem { parameter: Some(name), ..Problem::new(INVALID_PARAMETER, detail) }
    }

    /// 422: a field of the body is invalid. `why` continues a sentence that begins with its name.
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

    /// 405, with the methods of the path.
    #[must_use]
    pub fn method_not_allowed(allow: String) -> Problem {
        let detail = format!("this path supports {allow}");
        let mut problem = Problem::new(METHOD_NOT_ALLOWED, detail);
        problem.headers.push(("Allow", allow.into()));
        problem
    }

    /// 429, with the seconds until the next attempt.
    #[must_use]
    pub fn too_many_requests(why: impl Into<Cow<'static, str>>, retry_after: u64) -> Problem {
        let mut problem = Problem::new(TOO_MANY_REQUESTS, why);
        problem.headers.push(("Retry-After", retry_after.to_string().into()));
        problem
    }

    /// 500. It reveals nothing of the cause.
    #[must_use]
    pub fn internal() -> Problem {
        Problem::new(INTERNAL_ERROR, "the request failed; the cause is in the server's log")
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
        // Strings and a number cannot fail to serialize.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// The JSON form of a problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// The address of its explanation. Programs decide by it; it does not change.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// The kind of problem in words.
    title: &'a str,
    /// The status of the response.
    status: u16,
    /// The fault of this request, for people. The words may change.
    detail: &'a str,
    /// The query parameter at fault, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<&'a str>,
    /// The field of the body at fault, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
}
