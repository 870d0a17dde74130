//! The documentation's pages, and how their examples are run.
//!
//! The module knows pages, bash and curl, and no server. `tests/docs` runs the pages against
//! servers with empty stores and pins their responses. `veche docs-check` runs them against a
//! deployment and reports differences.

pub mod address;
pub mod check;
pub mod compare;
pub mod page;
pub mod plan;
pub mod session;
pub mod shell;
pub mod translate;
pub mod volatile;

/// A page that is run.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The prefix of its snapshots' names.
    pub name: &'static str,
    /// Its path in the repository.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Command-line arguments that its server needs, besides those of every test.
    pub arguments: &'static [&'static str],
}

/// Declares [`PAGES`].
macro_rules! pages {
    ($($name:ident: $path:literal, $arguments:expr;)*) => {
        /// Every page that is run, in the order in which to read them.
        pub const PAGES: &[Source] = &[$(Source {
            name: stringify!($name),
            path: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)),
            arguments: $arguments,
        }),*];
    };
}

pages! {
    readme: "README.md", &[];
    accounts: "docs/api/accounts.md", &[];
    sessions: "docs/api/sessions.md", &[];
    aliases: "docs/api/aliases.md", &[];
    messages: "docs/api/messages.md", &[];
    private_messages: "docs/api/private-messages.md", &[];
    conversations: "docs/api/conversations.md", &[];
    editing: "docs/api/editing.md", &[];
    events: "docs/api/events.md", &[];
    users: "docs/api/users.md", &[];
    blocks: "docs/api/blocks.md", &[];
    moderation: "docs/api/moderation.md", &["--operator", "olga"];
    paging: "docs/api/paging.md", &[];
    long_poll: "docs/api/long-poll.md", &[];
    errors: "docs/api/errors.md", &[];
    reference: "docs/api/reference.md", &[];
    retries: "docs/api/retries.md", &[];
    health: "docs/api/health.md", &[];
    limits: "docs/api/limits.md", &[
        "--login-limit", "1/d", "--registration-limit", "3/d", "--message-limit", "2/d",
    ];
    cors: "docs/api/cors.md", &["--cors-origin", "https://chat.example.org"];
}
