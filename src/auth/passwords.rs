//! Passwords: hashed with Argon2id (RFC 9106) and kept in the PHC string format.

use argon2::{Config, Variant, Version};

/// Bytes of salt in a hash (RFC 9106, section 3.1, recommends 16).
pub const SALT_BYTES: usize = 16;

/// What is verified in place of an unknown user's hash, so that the answer takes as long. Made
/// with [`config`]; no password leads to it.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1\
    $AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The least that OWASP's password storage cheat sheet recommends: 19 MiB, two passes, one lane.
fn config() -> Config<'static> {
    Config {
        variant: Variant::Argon2id,
        version: Version::Version13,
        mem_cost: 19 * 1024,
        time_cost: 2,
        lanes: 1,
        hash_length: 32,
        ..Config::default()
    }
}

/// Hashes a password. Blocks for tens of milliseconds and takes 19 MiB. `salt` must be random.
pub fn hash(password: &str, salt: [u8; SALT_BYTES]) -> Result<Box<str>, argon2::Error> {
    argon2::hash_encoded(password.as_bytes(), &salt, &config()).map(Into::into)
}

/// Whether the password is the one that was hashed. `None` stands for an unknown user: `false`,
/// and as long in coming.
#[must_use]
pub fn verify(hash: Option<&str>, password: &str) -> bool {
    let verified = argon2::verify_encoded(hash.unwrap_or(NOBODYS_HASH), password.as_bytes());
    hash.is_some() && verified.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_right() {
        let hash = hash("correct horse", [3; SALT_BYTES]).unwrap();
        assert!(verify(Some(&hash), "correct horse"));
        assert!(!verify(Some(&hash), "correct horsE"));
        assert!(!verify(Some("not a hash"), "correct horse"));
        assert!(!verify(None, "correct horse"));
    }

    /// Otherwise an unknown user would be answered in another time.
    #[test]
    fn nobodys_hash_costs_what_a_real_one_costs() {
        let parameters =
            |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parameters(NOBODYS_HASH), parameters(&hash("x", [0; SALT_BYTES]).unwrap()));
        assert_eq!(argon2::verify_encoded(NOBODYS_HASH, b"x"), Ok(false));
    }
}
