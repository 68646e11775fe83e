//! Replication ids: names of histories.
//!
//! A pair (id, offset) names one byte of one history for all time. A server tells its replicas the
//! *current* id; after a promotion it also remembers the id under which its data came about (the
//! *previous* one) and up to which offset that history is its own, so that its siblings may continue
//! with it. Source: the PSYNC2 protocol as documented on redis.io ("How Redis replication works").
//!
//! ```text
//! history A:  ──────────────────────┬──────▶ (bytes that only the dead primary had)
//!                                   │ promoted here
//! history B:                        └──────▶ current = B, previous = A up to this offset
//! ```
//!
//! Rules, so that no name ever means two bytes:
//! - a primary that stops counting its writes (its backlog is freed) takes a new id and forgets the previous;
//! - a promoted replica takes a new id and keeps the old one as previous, up to its own end;
//! - a full synchronisation replaces both by the primary's;
//! - a partial synchronisation with a renamed primary makes the old id the previous one, up to here.

use crate::planted::{self, Bug};
use core::fmt;
use core::str;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// The name of a history: 40 characters, usually hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplId([u8; ReplId::LEN]);

impl ReplId {
    /// Characters of an id.
    pub const LEN: usize = 40;

    /// The id that means that there is none: forty zeros.
    pub const NONE: ReplId = ReplId([b'0'; ReplId::LEN]);

    /// An id as it stands in a message or file: exactly 40 visible ASCII characters.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let id: [u8; ReplId::LEN] = text.try_into().ok()?;
        id.iter().all(u8::is_ascii_graphic).then_some(ReplId(id))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        // `parse` and the other constructors admit ASCII alone.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether a peer means this id: case does not count.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }

    fn random(rng: &mut ChaCha8Rng) -> ReplId {
        ReplId(hex(rng))
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The two ids of a server, and the randomness that makes new ones.
#[derive(Debug)]
pub struct Ids {
    rng: ChaCha8Rng,
    current: ReplId,
    previous: Option<Previous>,
}

#[derive(Clone, Copy, Debug)]
struct Previous {
    id: ReplId,
    /// The last offset (a position between bytes) that the two histories share.
    until: u64,
}

impl Ids {
    /// A new history. The seed must be this part's own.
    pub fn new(seed: [u8; 32]) -> Ids {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let current = ReplId::random(&mut rng);
        Ids {
            rng,
            current,
            previous: None,
        }
    }

    /// The id of the history that grows here: `master_replid`.
    pub fn current(&self) -> ReplId {
        self.current
    }

    /// `master_replid2`: the id that this history had before, or forty zeros.
    pub fn previous(&self) -> ReplId {
        self.previous.map_or(ReplId::NONE, |previous| previous.id)
    }

    /// `second_repl_offset`: the last byte, counted from one, that may be asked for by the previous id; -1 without one.
    pub fn second_offset(&self) -> i64 {
        self.previous
            .map_or(-1, |previous| previous.until as i64 + 1)
    }

    /// Whether history `id` up to position `offset` is a prefix of ours (as far as ids can tell; our
    /// own end is not looked at).
    pub fn shares(&self, id: &[u8], offset: u64) -> bool {
        self.current.matches(id)
            || planted::is(Bug::ContinuesAnything)
            || self
                .previous
                .is_some_and(|previous| previous.id.matches(id) && offset <= previous.until)
    }

    /// Starts a history without a past.
    pub fn renew(&mut self) {
        self.current = ReplId::random(&mut self.rng);
        self.previous = None;
    }

    /// Starts a history that goes on from the current one at `offset`: a promotion.
    pub fn shift(&mut self, offset: u64) {
        let id = ReplId::random(&mut self.rng);
        self.continue_as(id, offset);
    }

    /// The primary whose history we follow goes on under another id from `offset` on.
    pub fn continue_as(&mut self, id: ReplId, offset: u64) {
        self.previous = Some(Previous {
            id: self.current,
            until: offset,
        });
        self.current = id;
    }

    /// Takes over a primary's history after a full synchronisation (or a replica's from its own file).
    pub fn adopt(&mut self, id: ReplId) {
        self.current = id;
        self.previous = None;
    }

    /// A primary restarted from a file of history `id` up to `offset`, and grows a new history on it.
    pub fn descend_from(&mut self, id: ReplId, offset: u64) {
        self.previous = Some(Previous { id, until: offset });
    }

    /// Forty unguessable characters: the end mark of a streamed payload.
    pub(super) fn mark(&mut self) -> [u8; ReplId::LEN] {
        hex(&mut self.rng)
    }
}

fn hex(rng: &mut ChaCha8Rng) -> [u8; ReplId::LEN] {
    let mut bytes = [0; ReplId::LEN];
    rng.fill_bytes(&mut bytes);
    bytes.map(|byte| b"0123456789abcdef"[usize::from(byte & 15)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        Ids::new([7; 32])
    }

    #[test]
    fn ids_are_hexadecimal_and_differ() {
        let mut ids = ids();
        let first = ids.current();
        assert!(
            first
                .as_str()
                .bytes()
                .all(|b| b"0123456789abcdef".contains(&b))
        );
        ids.renew();
        assert_ne!(ids.current(), first);
        assert_eq!(ids.previous(), ReplId::NONE);
        assert_eq!(ids.second_offset(), -1);
    }

    #[test]
    fn a_promoted_replica_shares_its_past_and_nothing_more() {
        let mut ids = ids();
        let old = ids.current();
        ids.shift(50);
        assert_eq!((ids.previous(), ids.second_offset()), (old, 51));
        assert!(ids.shares(old.as_str().as_bytes(), 50));
        assert!(!ids.shares(old.as_str().as_bytes(), 51));
        assert!(ids.shares(ids.current().as_str().as_bytes(), 51));
        assert!(!ids.shares(&[b'0'; 40], 0));
        assert!(!ids.shares(b"?", 0));
        // A second promotion forgets the first.
        ids.shift(60);
        assert!(!ids.shares(old.as_str().as_bytes(), 10));
    }

    #[test]
    fn only_forty_visible_characters_are_an_id() {
        assert!(ReplId::parse(&[b'a'; 40]).is_some());
        assert!(ReplId::parse(&[b'a'; 39]).is_none());
        assert!(ReplId::parse(&[b'\n'; 40]).is_none());
        assert!(ReplId::parse(&[0xc3; 40]).is_none());
        assert!(ReplId::parse(&[b'F'; 40]).unwrap().matches(&[b'f'; 40]));
    }
}
