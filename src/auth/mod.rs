//! Authentication: [tokens], the [secret] that signs them, the [key](request_key) that is derived
//! from it, and [passwords]. Hashing a password blocks for tens of milliseconds, so the loop never
//! does it.

pub mod passwords;
pub mod request_key;
pub mod secret;
pub mod tokens;
