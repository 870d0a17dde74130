//! The key that hashes idempotency keys and the messages sent under them.
//!
//! The stored hash must not reveal the request. A short text, or a short key of the client's, could
//! be found by trying all, if the hash needed nothing that is not stored beside it. So the hash is
//! keyed (HMAC, RFC 2104), and its key is derived from the secret that signs tokens, which is in no
//! log, index, backup or export.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The purpose, which separates this use of the secret from all others.
const PURPOSE: &[u8] = b"veche: requests that may be sent again, 1";

/// Hashes requests.
#[derive(Clone)]
pub struct RequestKey(Hmac<Sha256>);

impl RequestKey {
    /// Derives the key from the secret that signs tokens.
    #[must_use]
    pub fn of(secret: &[u8]) -> RequestKey {
        let key = keyed(secret).chain_update(PURPOSE).finalize().into_bytes();
        RequestKey(keyed(&key))
    }

    /// The first half of the HMAC-SHA-256 of some parts. Their lengths are hashed too, so that they
    /// cannot be divided otherwise.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut hmac = self.0.clone();
        for part in parts {
            hmac.update(&(part.len() as u64).to_le_bytes());
            hmac.update(part);
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hmac.finalize().into_bytes()[..16]);
        half
    }

    /// A name of the key, which distinguishes it from others and reveals nothing else.
    #[must_use]
    pub fn name(&self) -> [u8; 16] {
        self.hash(&[])
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    Hmac::new_from_slice(key).expect("a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_needs_the_secret_and_every_part() {
        let (one, other) = (RequestKey::of(&[1; 32]), RequestKey::of(&[2; 32]));
        assert_eq!(one.hash(&[b"a", b"b"]), RequestKey::of(&[1; 32]).hash(&[b"a", b"b"]));
        let hashes = [
            one.hash(&[b"a", b"b"]),
            one.hash(&[b"ab", b""]),
            one.hash(&[b"ab"]),
            one.name(),
            other.name(),
            other.hash(&[b"a", b"b"]),
        ];
        for (place, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..place].contains(hash), "{place}");
        }
    }
}
