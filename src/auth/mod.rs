//! Who is asking: [tokens], the [secret] they are signed with, the [key](request_key) that is made of it, and [passwords]. Hashing blocks,
//! for tens of milliseconds, so the loop never calls it.

pub mod passwords;
pub mod request_key;
pub mod secret;
pub mod tokens;
