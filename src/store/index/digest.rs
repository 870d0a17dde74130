//! The digest of an index, which shows whether it has all of its entries and no others.

/// The digest of a set of entries, in no order: so that a change to one is a subtraction and an
/// addition.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64);

impl Digest {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(entry_digest(key, value));
    }

    pub(super) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(entry_digest(key, value));
    }
}

/// The checksums of key and value, spread over all bits as `SplitMix64` does it, so that those of
/// several entries do not cancel each other out.
fn entry_digest(key: &[u8], value: &[u8]) -> u64 {
    let checksums = u64::from(crc32c::crc32c(key)) << 32 | u64::from(crc32c::crc32c(value));
    let mut mixed = checksums.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_knows_its_entries_whatever_their_order() {
        let of = |entries: &[(&str, &str)]| {
            let mut digest = Digest::default();
            for (key, value) in entries {
                digest.add(key.as_bytes(), value.as_bytes());
            }
            digest
        };
        let all = of(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(all, of(&[("c", "3"), ("a", "1"), ("b", "2")]));
        assert_ne!(all, of(&[("a", "1"), ("b", "2")]));
        assert_ne!(all, of(&[("a", "2"), ("b", "1"), ("c", "3")]));
        let mut fewer = all;
        fewer.remove(b"c", b"3");
        assert_eq!(fewer, of(&[("a", "1"), ("b", "2")]));
    }
}
