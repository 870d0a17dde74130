//! Limits on password hashes: their length, and the work that they may require.
//!
//! A hash in the PHC string format has its own parameters, and verifying it costs the work that
//! they require. So they are checked before a hash is verified, and before one is read from a file.

/// Longest hash that is kept, in bytes. This server's own have 97.
pub const MAX_PASSWORD_HASH_LEN: usize = 256;
/// Memory of a hash, in KiB: the least that OWASP's password storage cheat sheet recommends.
pub const HASH_MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
pub const HASH_PASSES: u32 = 2;
/// Lanes of the memory.
pub const HASH_LANES: u32 = 1;

/// `true` if verifying a hash would cost more than one of this server's own. Any string can be
/// tested: one that is no hash costs nothing, because nothing is computed for it.
#[must_use]
pub fn asks_too_much(hash: &str) -> bool {
    let options = hash.split('$').flat_map(|field| field.split(','));
    let more = |option: &str| {
        let Some((name, value)) = option.split_once('=') else { return false };
        let most = match name {
            "m" => HASH_MEMORY_KIB,
            "t" => HASH_PASSES,
            "p" => HASH_LANES,
            _ => return false,
        };
        // A number that cannot be parsed may be a large one.
        value.parse::<u32>().map_or(true, |value| value > most)
    };
    hash.len() > MAX_PASSWORD_HASH_LEN || options.into_iter().any(more)
}

/// Checks that a hash can be kept. Shorter, weaker and unreadable ones can: only their owner is
/// affected, who cannot log in with a string that is no hash.
pub fn check_password_hash(hash: &str) -> Result<(), &'static str> {
    if hash.len() > MAX_PASSWORD_HASH_LEN {
        return Err("the password hash is longer than 256 bytes");
    }
    if !hash.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err("the password hash is not printable ASCII");
    }
    if asks_too_much(hash) {
        return Err(
            "the password hash asks for more memory, passes or lanes than this server's own",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(parameters: &str) -> String {
        format!("$argon2id$v=19${parameters}$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
    }

    #[test]
    fn a_hash_asks_for_as_much_as_ours_and_no_more() {
        for good in ["m=19456,t=2,p=1", "m=8,t=1,p=1", "m=19456,t=1,p=1", "t=2,m=1,p=1"] {
            check_password_hash(&hash(good)).unwrap();
        }
        for bad in [
            "m=19457,t=2,p=1",
            "m=19456,t=3,p=1",
            "m=19456,t=2,p=2",
            "m=4294967295,t=2,p=1",
            "m=4294967296,t=2,p=1",
            "m=+19457,t=2,p=1",
            "m=8,t=2,p=1,m=4194304",
        ] {
            assert!(asks_too_much(&hash(bad)), "{bad}");
            assert!(asks_too_much(&format!("$argon2i${bad}$AAAA$AAAA")), "{bad}");
            check_password_hash(&hash(bad)).unwrap_err();
        }
    }

    #[test]
    fn what_is_no_hash_can_be_kept_if_it_is_short_and_printable() {
        for good in ["", "-", "a hash", "$x\"y", &"x".repeat(MAX_PASSWORD_HASH_LEN)] {
            check_password_hash(good).unwrap();
        }
        for bad in ["\u{1b}[2J", "ключ", &"x".repeat(MAX_PASSWORD_HASH_LEN + 1)] {
            check_password_hash(bad).unwrap_err();
        }
    }
}
