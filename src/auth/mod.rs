//! Who is asking: [tokens], the [secret] they are signed with, and [passwords]. Hashing blocks,
//! for tens of milliseconds, so the loop never calls it.

pub mod passwords;
pub mod secret;
pub mod tokens;
