//! A key's hash slot: CRC-16 (XMODEM) of the key, or of its hash tag, modulo 16384.
//!
//! The hash tag is what stands between the first `{` and the first `}` after it, if that is not empty.
//! Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".

use crc16::{State, XMODEM};

/// How many hash slots there are.
pub const SLOTS: u16 = 16384;

/// The hash slot of a key (or of a sharded channel's name), below [`SLOTS`].
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    State::<XMODEM>::calculate(hashed_part(key)) % SLOTS
}

/// What of a key decides its slot: the hash tag if it has one, otherwise all of it.
#[inline]
fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        Some(close) if close > 0 => &after[..close],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // CLUSTER KEYSLOT of a Redis 7.0.15.
        assert_eq!(slot_of(b"123456789"), 12739);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b""), 0);
        assert_eq!(slot_of(b"somekey"), 11058);
    }

    #[test]
    fn a_hash_tag_decides_alone() {
        assert_eq!(
            slot_of(b"{user1000}.following"),
            slot_of(b"{user1000}.followers")
        );
        assert_eq!(slot_of(b"foo{hash_tag}"), slot_of(b"hash_tag"));
        assert_eq!(hashed_part(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hashed_part(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hashed_part(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hashed_part(b"foo}{bar"), b"foo}{bar");
    }
}
