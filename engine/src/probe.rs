//! What the simulator's checkers look at from outside: read-only, and only there with the feature `verify`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sha1::{Digest, Sha1};

use crate::command::context::condition;
use crate::engine::Engine;
use crate::store::{Object, ValueRef};

/// Where a node stands: cheap to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its files are still being read: its data means nothing yet.
    pub loading: bool,
    /// It is a primary.
    pub primary: bool,
    /// The replication id of its data.
    pub replid: [u8; 40],
    /// The replication offset of its data: what it executed or applied, not what it received.
    pub offset: u64,
    /// The id that its data had before, and the offset up to which both are one history.
    pub previous: Option<([u8; 40], u64)>,
    /// As a replica: the stream of its primary is being applied.
    pub link_up: bool,
    /// As a primary: what it executes moves its offset, because somebody reads the journal.
    pub journalling: bool,
    /// How often a primary's snapshot has replaced its data, since it started.
    pub full_syncs: u64,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            loading: true,
            primary: true,
            replid: [b'0'; 40],
            offset: 0,
            previous: None,
            link_up: false,
            journalling: false,
            full_syncs: 0,
        }
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DumpedKey {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Vec<u8>,
    /// A digest of type and value that does not depend on the encoding.
    pub digest: [u8; 20],
    /// When it expires, in Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// A cluster node's view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterProbe {
    /// Its name.
    pub my_id: String,
    /// The newest epoch that it has heard of.
    pub current_epoch: u64,
    /// Its own, or its primary's, config epoch.
    pub config_epoch: u64,
    /// The epoch of its last vote.
    pub last_vote_epoch: u64,
    /// Whether it serves.
    pub state_ok: bool,
    /// Whether it is a primary.
    pub primary: bool,
    /// Runs of slots with their owner, ascending.
    pub slots: Vec<(u16, u16, String)>,
}

impl Engine {
    /// Where it stands.
    pub fn standing(&self) -> Standing {
        let replication = &self.parts.replication;
        let mut replid = [b'0'; 40];
        let ids = replication.ids();
        replid.copy_from_slice(ids.current().as_str().as_bytes());
        let previous = u64::try_from(ids.second_offset() - 1).ok().map(|until| {
            let mut id = [b'0'; 40];
            id.copy_from_slice(ids.previous().as_str().as_bytes());
            (id, until)
        });
        Standing {
            loading: self.parts.is(condition::LOADING),
            primary: !replication.following(),
            replid,
            offset: self.parts.journal.end(),
            previous,
            link_up: replication.link_up(),
            journalling: self.parts.effects.wanted,
            full_syncs: self.full_copies,
        }
    }

    /// All keys, in order: O(n).
    pub fn dump(&self) -> Vec<DumpedKey> {
        let mut keys = Vec::new();
        for (db, database) in (0u32..).zip(self.parts.store.databases()) {
            let mut position = Some(0);
            while let Some(at) = position {
                position = database.table().walk(at, |_, entry| {
                    keys.push(DumpedKey {
                        db,
                        key: entry.key().to_vec(),
                        digest: digest(entry.value()),
                        expires_ms: entry.deadline(),
                    });
                });
            }
        }
        keys.sort();
        keys
    }

    /// Its view of the cluster, in cluster mode.
    pub fn cluster_probe(&self) -> Option<ClusterProbe> {
        let cluster = self.parts.cluster.as_ref()?;
        let nodes = cluster.nodes();
        let runs = nodes.slots.runs().into_iter();
        let (current_epoch, last_vote_epoch) = cluster.epochs();
        Some(ClusterProbe {
            my_id: nodes.me().id.as_str().to_string(),
            current_epoch,
            last_vote_epoch,
            config_epoch: nodes.me().config_epoch,
            state_ok: cluster.state(self.now) == crate::cluster::State::Ok,
            primary: !cluster.is_replica(),
            slots: runs
                .map(|(first, last, owner)| {
                    (first, last, nodes.node(owner).id.as_str().to_string())
                })
                .collect(),
        })
    }
}

fn digest(value: ValueRef<'_>) -> [u8; 20] {
    match value {
        ValueRef::Inline(bytes) => of_parts(b"string", [bytes]),
        ValueRef::Int(number) => of_parts(b"string", [number.to_string().as_bytes()]),
        ValueRef::Object(Object::Str(bytes)) => of_parts(b"string", [&bytes[..]]),
        ValueRef::Object(Object::Stream(stream)) => stream_digest(stream),
        ValueRef::Object(Object::List(list)) => {
            let mut sum = of_parts(b"list", []);
            list.visit(0, usize::MAX, crate::value::list::End::Front, |element| {
                sum = of_parts(b"element", [&sum[..], &text(element)[..]]);
                true
            });
            sum
        }
        ValueRef::Object(Object::Hash(hash)) => {
            let mut sum = of_parts(b"hash", []);
            for (field, value) in hash.iter() {
                let name = text(field);
                let time = hash.time(&name).unwrap_or(0).to_le_bytes();
                let pair = of_parts(b"pair", [&name[..], &text(value)[..], &time[..]]);
                sum.iter_mut()
                    .zip(pair)
                    .for_each(|(sum, byte)| *sum ^= byte);
            }
            sum
        }
        ValueRef::Object(Object::Set(set)) => {
            let mut sum = of_parts(b"set", []);
            for member in set.iter() {
                let member = of_parts(b"member", [&text(member)[..]]);
                sum.iter_mut()
                    .zip(member)
                    .for_each(|(sum, byte)| *sum ^= byte);
            }
            sum
        }
        ValueRef::Object(Object::ZSet(set)) => {
            let mut sum = of_parts(b"zset", []);
            for (member, score) in set.iter() {
                let pair = of_parts(b"pair", [&text(member)[..], &score.to_le_bytes()]);
                sum.iter_mut()
                    .zip(pair)
                    .for_each(|(sum, byte)| *sum ^= byte);
            }
            sum
        }
    }
}

/// A stream without what its replicas do not know: when consumers were seen and served, and how far the
/// groups' counters are (Redis does not tell them either).
fn stream_digest(stream: &crate::value::stream::Stream) -> [u8; 20] {
    let mut sha = Sha1::new();
    let mut add = |part: &[u8]| {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    };
    let entries = &stream.entries;
    add(b"stream");
    for id in [entries.last_id, entries.first_id, entries.max_deleted_id] {
        add(&id.to_bytes());
    }
    add(&entries.entries_added.to_le_bytes());
    for item in entries.iter() {
        add(&item.id.to_bytes());
        for (field, value) in item.pairs() {
            add(&text(field));
            add(&text(value));
        }
    }
    for (name, group) in stream.groups.iter() {
        add(name);
        add(&group.last_id.to_bytes());
        for (id, pending) in group.pending().iter() {
            add(&id.to_bytes());
            add(&pending.owner);
        }
    }
    sha.finalize().into()
}

fn of_parts<'a>(kind: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 20] {
    let mut sha = Sha1::new();
    sha.update(kind);
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

fn text(element: crate::value::listpack::Entry<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    element.write_to(&mut text);
    text
}
