//! What an endpoint promises, as data: what it takes, and all that it can answer.
//!
//! Each resource declares its [`Operation`]s beside its handlers, [`ROUTES`](super::routes::ROUTES)
//! joins the two, and [`super::openapi`] writes down what comes of it. A handler sees no query
//! parameter that its operation does not list.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::model::MAX_PAGE_LIMIT;
use crate::problem::ProblemType;

/// What can be asked of a path with a method.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Unique; what generated clients call it.
    pub id: &'static str,
    /// The part of the documentation it belongs to.
    pub tag: Tag,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What the `{…}` in its path stands for, if there is one.
    pub segment: Option<PathSegment>,
    /// The query parameters it knows. Others are ignored.
    pub query: &'static [Parameter],
    /// The highest `limit` that it takes, and the most items of its list.
    pub max_limit: usize,
    /// The JSON object it reads.
    pub body: Option<SchemaRef>,
    /// Whether it heeds [`RequestHeader::IfNoneMatch`].
    pub conditional: bool,
    /// Whether it heeds [`RequestHeader::IfMatch`].
    pub guarded: bool,
    /// Whether it heeds [`RequestHeader::IdempotencyKey`].
    pub repeatable: bool,
    /// How it answers when all is well.
    pub answers: &'static [ResponseSpec],
    /// How it answers otherwise, beside what [anything can](crate::problem::ANYWHERE).
    pub problems: &'static [&'static ProblemType],
}

impl Operation {
    /// One that takes nothing and, so far, answers nothing.
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

    /// The request fields that it looks at, beside those that any request can have.
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

    /// Whether it can be held until something comes, and so heeds [`RequestHeader::Prefer`].
    #[must_use]
    pub fn waits(&self) -> bool {
        self.query.contains(&Parameter::Wait)
    }

    /// Whether it can answer with a [stream](super::stream), and so heeds
    /// [`RequestHeader::LastEventId`].
    #[must_use]
    pub fn streams(&self) -> bool {
        self.answers.iter().any(|answer| matches!(answer.content, ResponseContent::Stream(_)))
    }

    /// Every status it can answer, in order.
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
    /// How many seconds an empty page is held.
    Wait = "wait",
    /// Details to be added to the items.
    Expand = "expand",
}

/// The value of [`Parameter::Expand`] that asks for the names of messages' authors.
pub(super) const EXPAND_AUTHORS: &str = "from_user";

/// What the items of a page are expanded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expand {
    Nothing,
    /// The names of the messages' authors.
    Authors,
}

/// A request field that some operations look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestHeader {
    /// What the client has already (RFC 9110, section 13.1.2).
    IfNoneMatch,
    /// What is to be changed (RFC 9110, section 13.1.1).
    IfMatch,
    /// What may have been sent before (draft-ietf-httpapi-idempotency-key-header, section 2).
    IdempotencyKey,
    /// Where a stream goes on (WHATWG HTML, section 9.2.4).
    LastEventId,
    /// For how long to wait (RFC 7240, section 4.3).
    Prefer,
}

impl RequestHeader {
    /// As it is written.
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
    /// Registering and logging in.
    Accounts,
    /// The general chat.
    Messages,
    /// Messages between two users.
    PrivateMessages,
    /// Whom one talks with, and how far one has read.
    Conversations,
    /// What happens, in order.
    Events,
    /// Who is who.
    Users,
    /// What operators do to keep order.
    Moderation,
    /// The documentation itself.
    Reference,
    /// How the server is.
    Health,
}

impl Tag {
    /// All of them, in the order in which a reader meets them.
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

    /// As it is shown.
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

    /// What is in it.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Tag::Accounts => "Registering and logging in",
            Tag::Messages => "What everybody reads and writes",
            Tag::PrivateMessages => "What only its two parties read",
            Tag::Conversations => "Whom one talks with, and what of it is unread",
            Tag::Events => "What happens, in one sequence",
            Tag::Users => "Who is who",
            Tag::Moderation => "What operators do to keep order",
            Tag::Reference => "This documentation",
            Tag::Health => "How the server is",
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

/// An answer when all is well.
#[derive(Clone, Copy)]
pub struct ResponseSpec {
    /// The status code.
    pub status: u16,
    /// What it means, in a line.
    pub about: &'static str,
    /// What it holds.
    pub content: ResponseContent,
    /// The fields that are always with it and mean something to this operation.
    pub fields: &'static [Field],
    /// The fields that may be with it.
    pub optional_fields: &'static [Field],
}

impl ResponseSpec {
    /// With a JSON object.
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

    /// 200 with what people read. `types` are the media types it can have.
    pub(super) const fn file(about: &'static str, types: &'static [&'static str]) -> ResponseSpec {
        ResponseSpec::new(200, about, ResponseContent::File(types))
    }

    /// 204: it is done, and there is nothing to say.
    pub(super) const NO_CONTENT: ResponseSpec =
        ResponseSpec::new(204, "It is done", ResponseContent::None);

    /// 304 to who has it already.
    pub(super) const NOT_MODIFIED: ResponseSpec = ResponseSpec {
        fields: &[Field::ETag],
        ..ResponseSpec::new(304, "What the client has is still good", ResponseContent::None)
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

/// What an answer holds.
#[derive(Clone, Copy)]
pub enum ResponseContent {
    /// Nothing.
    None,
    /// A JSON object.
    Json(SchemaRef),
    /// A JSON array of at most [`Operation::max_limit`] objects.
    List(SchemaRef),
    /// The same or, where that is asked for, a [stream](super::stream) without an end.
    Stream(SchemaRef),
    /// A file of one of these media types.
    File(&'static [&'static str]),
}

/// A response field that means something to a client of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The methods that a path knows (RFC 9110, section 10.2.1).
    Allow,
    /// How the content is compressed (RFC 9110, section 8.4).
    ContentEncoding,
    /// The version of what is shown (RFC 9110, section 8.8.3).
    ETag,
    /// That the answer was given before ([`Operation::repeatable`]).
    IdempotencyReplayed,
    /// A page's neighbours (RFC 8288).
    Link,
    /// Where what was created is (RFC 9110, section 10.2.2).
    Location,
    /// The preference that was heeded (RFC 7240, section 3).
    PreferenceApplied,
    /// How a client stands with a limit (draft-ietf-httpapi-ratelimit-headers, section 4).
    RateLimit,
    /// What the limit is (draft-ietf-httpapi-ratelimit-headers, section 3).
    RateLimitPolicy,
    /// After how many seconds to try again (RFC 9110, section 10.2.3).
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

    /// As it is written.
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
