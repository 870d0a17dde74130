//! Passwords: hashed with Argon2id (RFC 9106) and kept in the PHC string format.

use argon2::{Config, Variant, Version};

use crate::model::{HASH_LANES, HASH_MEMORY_KIB, HASH_PASSES, asks_too_much};

/// Bytes of salt in a hash (RFC 9106, section 3.1, recommends 16).
pub const SALT_BYTES: usize = 16;

/// A hash that is verified for an unknown user, so that the answer takes as long. It was made with
/// [`config`], and no password matches it.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1\
    $AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The parameters: 19 MiB, two passes, one lane. No hash that requires more is ever verified.
fn config() -> Config<'static> {
    Config {
        variant: Variant::Argon2id,
        version: Version::Version13,
        mem_cost: HASH_MEMORY_KIB,
        time_cost: HASH_PASSES,
        lanes: HASH_LANES,
        hash_length: 32,
        ..Config::default()
    }
}

/// Hashes a password. Blocks for tens of milliseconds and takes 19 MiB. `salt` must be random.
pub fn hash(password: &str, salt: [u8; SALT_BYTES]) -> Result<Box<str>, argon2::Error> {
    argon2::hash_encoded(password.as_bytes(), &salt, &config()).map(Into::into)
}

/// `true` if the password matches the hash. For an unknown user, whose hash is `None`, the result
/// is `false` after the same time. It is the same for a hash that requires more memory or time than
/// this server's own, which could take all memory there is.
#[must_use]
pub fn verify(hash: Option<&str>, password: &str) -> bool {
    let hash = hash.filter(|hash| !asks_too_much(hash));
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

    /// One lane more, and so as harmless as a hash of its own parameters would be.
    #[test]
    fn a_hash_that_asks_for_more_is_not_computed() {
        let more = Config { lanes: HASH_LANES + 1, ..config() };
        let hash = argon2::hash_encoded(b"correct horse", &[3; SALT_BYTES], &more).unwrap();
        assert!(argon2::verify_encoded(&hash, b"correct horse").unwrap());
        assert!(!verify(Some(&hash), "correct horse"));
        let fewer = Config { mem_cost: 64, time_cost: 1, ..config() };
        let hash = argon2::hash_encoded(b"correct horse", &[3; SALT_BYTES], &fewer).unwrap();
        assert!(verify(Some(&hash), "correct horse"), "of an older version, say");
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
