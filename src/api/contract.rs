//! The contract of an endpoint, as data: its parameters and its responses.
//!
//! Each resource declares its [`Operation`]s beside its handlers, [`ROUTES`](super::routes::ROUTES)
//! joins the two, and [`super::openapi`] makes the document of them. A handler sees no query
//! parameter that its operation does not list.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::model::MAX_PAGE_LIMIT;
use crate::problem::ProblemType;

/// An operation: a method of a path.
#[derive(Clone, Copy)]
pub struct Operation {
    /// A unique name, which generated clients use.
    pub id: &'static str,
    /// The part of the documentation it belongs to.
    pub tag: Tag,
    /// A description in a line.
    pub summary: &'static str,
    /// The meaning of the `{…}` in its path, if there is one.
    pub segment: Option<PathSegment>,
    /// The query parameters that it reads. Others are ignored.
    pub query: &'static [Parameter],
    /// The highest `limit` that it takes, and the most items of its list.
    pub max_limit: usize,
    /// The JSON object that it reads.
    pub body: Option<SchemaRef>,
    /// `true` if it reads [`RequestHeader::IfNoneMatch`].
    pub conditional: bool,
    /// `true` if it reads [`RequestHeader::IfMatch`].
    pub guarded: bool,
    /// `true` if it reads [`RequestHeader::IdempotencyKey`].
    pub repeatable: bool,
    /// The responses on success.
    pub answers: &'static [ResponseSpec],
    /// The problems that it can have, besides those that [any request
    /// can](crate::problem::ANYWHERE).
    pub problems: &'static [&'static ProblemType],
}

impl Operation {
    /// An operation without parameters or responses.
    pub(super) const fn new(id: &'static str, tag: Tag, summary: &'static str) -> Operation {
        Operation {
            id,
            tag,
            summary,
            segment: None,
            query: &[],
            max_limit: MAX_PAGE_LIMIT,
            body: None,
            conditional: false,
            guarded: false,
            repeatable: false,
            answers: &[],
            problems: &[],
        }
    }

    /// The request fields that it reads, besides those of any request.
    pub fn heeds(&self) -> impl Iterator<Item = RequestHeader> {
        let heeds = [
            (self.conditional, RequestHeader::IfNoneMatch),
            (self.guarded, RequestHeader::IfMatch),
            (self.repeatable, RequestHeader::IdempotencyKey),
            (self.streams(), RequestHeader::LastEventId),
            (self.waits(), RequestHeader::Prefer),
        ];
        heeds.into_iter().filter_map(|(heeds, field)| heeds.then_some(field))
    }

    /// `true` if it can wait for an event, and so reads [`RequestHeader::Prefer`].
    #[must_use]
    pub fn waits(&self) -> bool {
        self.query.contains(&Parameter::Wait)
    }

    /// `true` if it can answer with a [stream](super::stream), and so reads
    /// [`RequestHeader::LastEventId`].
    #[must_use]
    pub fn streams(&self) -> bool {
        self.answers.iter().any(|answer| matches!(answer.content, ResponseContent::Stream(_)))
    }

    /// The status codes of its responses, in order.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let well = self.answers.iter().map(|answer| answer.status);
        let mut statuses: Vec<u16> =
            well.chain(self.problems.iter().map(|kind| kind.status)).collect();
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }
}

/// Declares the query parameters: each variant with its name in a query.
macro_rules! parameters {
    ($($(#[$about:meta])+ $variant:ident = $name:literal,)+) => {
        /// A query parameter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Parameter {
            $($(#[$about])+ $variant,)+
        }

        impl Parameter {
            /// The number of parameters. Each, as a number, is below it.
            pub(super) const COUNT: usize = [$(Parameter::$variant),+].len();

            /// The name in a query.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Parameter::$variant => $name,)+
                }
            }
        }
    };
}

parameters! {
    /// The most items that a page holds.
    Limit = "limit",
    /// The page below this id.
    Before = "before",
    /// The page above this id.
    After = "after",
    /// The epoch of the ids, that is, their store.
    Epoch = "epoch",
    /// Only the conversation with this user.
    With = "with",
    /// Only the account of this name.
    Username = "username",
    /// The seconds for which an empty page is held.
    Wait = "wait",
    /// Details to be added to the items.
    Expand = "expand",
}

/// The value of [`Parameter::Expand`] that asks for the names of messages' authors.
pub(super) const EXPAND_AUTHORS: &str = "from_user";

/// The expansion of the items of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expand {
    Nothing,
    /// The names of the messages' authors.
    Authors,
}

/// A request field that some operations read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestHeader {
    /// The version that the client has (RFC 9110, section 13.1.2).
    IfNoneMatch,
    /// The version that is to be changed (RFC 9110, section 13.1.1).
    IfMatch,
    /// The key of a request that may be repeated (draft-ietf-httpapi-idempotency-key-header,
    /// section 2).
    IdempotencyKey,
    /// The last event that a stream's client has seen (WHATWG HTML, section 9.2.4).
    LastEventId,
    /// The time to wait (RFC 7240, section 4.3).
    Prefer,
}

impl RequestHeader {
    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RequestHeader::IfNoneMatch => "If-None-Match",
            RequestHeader::IfMatch => "If-Match",
            RequestHeader::IdempotencyKey => "Idempotency-Key",
            RequestHeader::LastEventId => "Last-Event-ID",
            RequestHeader::Prefer => "Prefer",
        }
    }
}

/// A part of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Registration and login.
    Accounts,
    /// The general chat.
    Messages,
    /// Messages between two users.
    PrivateMessages,
    /// Conversations, and how far each is read.
    Conversations,
    /// Events, in order.
    Events,
    /// The users.
    Users,
    /// Moderation by operators.
    Moderation,
    /// The documentation.
    Reference,
    /// Health checks.
    Health,
}

impl Tag {
    /// All tags, in the order of the documentation.
    pub const ALL: [Tag; 9] = [
        Tag::Accounts,
        Tag::Messages,
        Tag::PrivateMessages,
        Tag::Conversations,
        Tag::Events,
        Tag::Users,
        Tag::Moderation,
        Tag::Reference,
        Tag::Health,
    ];

    /// The title.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tag::Accounts => "Accounts",
            Tag::Messages => "The general chat",
            Tag::PrivateMessages => "Private messages",
            Tag::Conversations => "Conversations",
            Tag::Events => "Events",
            Tag::Users => "Users",
            Tag::Moderation => "Moderation",
            Tag::Reference => "Reference",
            Tag::Health => "Health",
        }
    }

    /// A description.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Tag::Accounts => "Registration, login, sessions and passwords",
            Tag::Messages => "The chat that all users read and write",
            Tag::PrivateMessages => "Messages that only their two parties can read",
            Tag::Conversations => "Your conversations and their unread messages",
            Tag::Events => "All changes, in one sequence",
            Tag::Users => "The list of users",
            Tag::Moderation => "Blocks of users, and registration",
            Tag::Reference => "This documentation",
            Tag::Health => "Health checks",
        }
    }
}

/// The segment of a path that varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSegment {
    /// A message's id.
    Message,
    /// A user's id, or `me`.
    User,
    /// The id of the user whom a conversation is with, or 0 for the general chat.
    Conversation,
    /// A session's id.
    Session,
    /// The slug of a kind of problem.
    ProblemKind,
    /// The name of a file of the reference page.
    ReferenceFile,
}

/// A response on success.
#[derive(Clone, Copy)]
pub struct ResponseSpec {
    /// The status code.
    pub status: u16,
    /// A description in a line.
    pub about: &'static str,
    /// The content.
    pub content: ResponseContent,
    /// The fields that it always has and that mean something for this operation.
    pub fields: &'static [Field],
    /// The fields that it may have.
    pub optional_fields: &'static [Field],
}

impl ResponseSpec {
    /// A response with a JSON object.
    pub(super) const fn json(status: u16, about: &'static str, shape: SchemaRef) -> ResponseSpec {
        ResponseSpec::new(status, about, ResponseContent::Json(shape))
    }

    /// 200 with a page of a list.
    pub(super) const fn list(about: &'static str, of: SchemaRef) -> ResponseSpec {
        ResponseSpec::new(200, about, ResponseContent::List(of))
    }

    /// The same, or a stream of events that have these objects as their data.
    pub(super) const fn stream(about: &'static str, of: SchemaRef) -> ResponseSpec {
        ResponseSpec::new(200, about, ResponseContent::Stream(of))
    }

    /// 200 with a file for people to read. `types` are its possible media types.
    pub(super) const fn file(about: &'static str, types: &'static [&'static str]) -> ResponseSpec {
        ResponseSpec::new(200, about, ResponseContent::File(types))
    }

    /// 204: the request succeeded, and there is nothing to send.
    pub(super) const NO_CONTENT: ResponseSpec =
        ResponseSpec::new(204, "Success", ResponseContent::None);

    /// 304 to a client that has the content already.
    pub(super) const NOT_MODIFIED: ResponseSpec = ResponseSpec {
        fields: &[Field::ETag],
        ..ResponseSpec::new(304, "The client's copy is current", ResponseContent::None)
    };

    pub(super) const fn with(self, fields: &'static [Field]) -> ResponseSpec {
        ResponseSpec { fields, ..self }
    }

    pub(super) const fn perhaps_with(self, optional_fields: &'static [Field]) -> ResponseSpec {
        ResponseSpec { optional_fields, ..self }
    }

    const fn new(status: u16, about: &'static str, content: ResponseContent) -> ResponseSpec {
        ResponseSpec { status, about, content, fields: &[], optional_fields: &[] }
    }
}

/// The content of a response.
#[derive(Clone, Copy)]
pub enum ResponseContent {
    /// Nothing.
    None,
    /// A JSON object.
    Json(SchemaRef),
    /// A JSON array of at most [`Operation::max_limit`] objects.
    List(SchemaRef),
    /// The same or, on request, a [stream](super::stream) without an end.
    Stream(SchemaRef),
    /// A file of one of these media types.
    File(&'static [&'static str]),
}

/// A response field that means something to a client of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The methods of a path (RFC 9110, section 10.2.1).
    Allow,
    /// The coding of the content (RFC 9110, section 8.4).
    ContentEncoding,
    /// The version of the content (RFC 9110, section 8.8.3).
    ETag,
    /// The mark of an answer that was given before ([`Operation::repeatable`]).
    IdempotencyReplayed,
    /// A page's neighbours (RFC 8288).
    Link,
    /// The address of what was created (RFC 9110, section 10.2.2).
    Location,
    /// The preference that was applied (RFC 7240, section 3).
    PreferenceApplied,
    /// The state of a client's quota (draft-ietf-httpapi-ratelimit-headers, section 4).
    RateLimit,
    /// The limit (draft-ietf-httpapi-ratelimit-headers, section 3).
    RateLimitPolicy,
    /// The seconds until the next attempt (RFC 9110, section 10.2.3).
    RetryAfter,
    /// The challenge of RFC 6750, section 3.
    WwwAuthenticate,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 11] = [
        Field::Allow,
        Field::ContentEncoding,
        Field::ETag,
        Field::IdempotencyReplayed,
        Field::Link,
        Field::Location,
        Field::PreferenceApplied,
        Field::RateLimit,
        Field::RateLimitPolicy,
        Field::RetryAfter,
        Field::WwwAuthenticate,
    ];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Field::Allow => "Allow",
            Field::ContentEncoding => "Content-Encoding",
            Field::ETag => "ETag",
            Field::IdempotencyReplayed => "Idempotency-Replayed",
            Field::Link => "Link",
            Field::Location => "Location",
            Field::PreferenceApplied => "Preference-Applied",
            Field::RateLimit => "RateLimit",
            Field::RateLimitPolicy => "RateLimit-Policy",
            Field::RetryAfter => "Retry-After",
            Field::WwwAuthenticate => "WWW-Authenticate",
        }
    }
}

/// The schema of a type, for constants.
#[derive(Clone, Copy)]
pub struct SchemaRef {
    pub(super) name: fn() -> Cow<'static, str>,
    pub(super) schema: fn() -> RefOr<Schema>,
    /// Adds the schemas that this one refers to.
    pub(super) nested: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl SchemaRef {
    pub(super) const fn of<T: ToSchema>() -> SchemaRef {
        SchemaRef { name: T::name, schema: T::schema, nested: T::schemas }
    }
}
