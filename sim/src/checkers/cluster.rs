//! C1–C5: slots, epochs and votes, seen from the bus and from the nodes' own views.
//!
//! C3 and C4 are judged by what leaves a node on the bus, across its restarts: a vote is what it sent, whatever it
//! remembers. C1, C2 and C5 are judged by the nodes' views.

use super::Violation;
use crate::network::{EndRef, Host};
use crate::probe::ClusterProbe;
use crate::time::Micros;
use std::collections::{BTreeMap, BTreeSet};

/// Follows the bus and the views.
#[derive(Debug, Default)]
pub struct Cluster {
    streams: BTreeMap<EndRef, Vec<u8>>,
    /// For each voter and epoch: who got its vote.
    votes: BTreeMap<(u16, u64), Host>,
    /// What each node has bound itself to in this life, and in earlier ones.
    bound: BTreeMap<u16, [Bound; 2]>,
    /// Who claimed a slot as primary with a config epoch.
    claims: BTreeMap<(u64, u16), String>,
}

/// The newest epochs that a node has bound itself to. An epoch that it only heard of may be forgotten in a crash; one
/// in which it stood for election, voted, or owned its slots, may not (C4).
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    /// Named as the current epoch in a request for votes or a vote.
    current: u64,
    /// Named as its own config epoch while a primary.
    config: u64,
}

/// Offsets in the bus message header (`clusterMsg`).
const LENGTH: usize = 4;
const TYPE: usize = 12;
const CURRENT_EPOCH: usize = 16;
const CONFIG_EPOCH: usize = 24;
const FLAGS: usize = 2250;
const SHORTEST: usize = 2256;
/// Bit 0 of the flags; bit 1 is a replica's.
const PRIMARY: u16 = 1;
const REQUEST: u16 = 5;
const VOTE: u16 = 6;

impl Cluster {
    /// A process is gone: what it bound itself to binds its successors.
    pub fn gone(&mut self, node: u16) {
        let [now, before] = self.bound.entry(node).or_default();
        before.current = before.current.max(now.current);
        before.config = before.config.max(now.config);
        *now = Bound::default();
    }

    /// A node sent bytes to a peer on a connection. Those that are no bus traffic are passed over.
    pub fn sniff(
        &mut self,
        node: u16,
        peer: Host,
        at: Micros,
        end: EndRef,
        bytes: &[u8],
    ) -> Option<Violation> {
        let stream = match self.streams.get_mut(&end) {
            Some(stream) => stream,
            None if bytes.starts_with(b"RCmb") => self.streams.entry(end).or_default(),
            None => return None,
        };
        stream.extend_from_slice(bytes);
        let mut found = None;
        loop {
            let word = |offset: usize| stream.get(offset..offset + 4);
            let Some(length) = word(LENGTH).and_then(|bytes| bytes.try_into().ok()) else {
                break;
            };
            let length = u32::from_be_bytes(length) as usize;
            if length < 16 || stream.len() < length {
                break;
            }
            let message: Vec<u8> = stream.drain(..length).collect();
            let checked = judge(&mut self.votes, &mut self.bound, node, peer, at, &message);
            found = found.or(checked);
        }
        found
    }

    /// A node shows its view.
    pub fn observe(&mut self, node: u16, at: Micros, probe: &ClusterProbe) -> Option<Violation> {
        if !probe.primary {
            return None;
        }
        for (first, last, owner) in &probe.slots {
            if *owner != probe.my_id {
                continue;
            }
            for slot in *first..=*last {
                let claim = self
                    .claims
                    .entry((probe.config_epoch, slot))
                    .or_insert_with(|| owner.clone());
                if claim != owner {
                    let text = format!(
                        "node {node} ({owner}) and {claim} both own slot {slot} in epoch {}",
                        probe.config_epoch
                    );
                    return Some(Violation::safety("C1", at, text));
                }
            }
        }
        None
    }

    /// Whether all nodes serve, and see the same owners (C5).
    pub fn converged(views: &[ClusterProbe]) -> bool {
        views.iter().all(|view| view.state_ok)
            && views.windows(2).all(|pair| pair[0].slots == pair[1].slots)
    }

    /// After convergence: the owners' epochs differ (C2).
    pub fn audit(at: Micros, views: &[ClusterProbe]) -> Option<Violation> {
        let owners: BTreeSet<&str> = views
            .iter()
            .flat_map(|view| view.slots.iter().map(|(.., owner)| owner.as_str()))
            .collect();
        let mut epochs: BTreeMap<u64, &str> = BTreeMap::new();
        for view in views
            .iter()
            .filter(|view| view.primary && owners.contains(view.my_id.as_str()))
        {
            if let Some(other) = epochs.insert(view.config_epoch, &view.my_id) {
                let text = format!(
                    "{other} and {} share epoch {}",
                    view.my_id, view.config_epoch
                );
                return Some(Violation::safety("C2", at, text));
            }
        }
        None
    }
}

fn judge(
    votes: &mut BTreeMap<(u16, u64), Host>,
    bound: &mut BTreeMap<u16, [Bound; 2]>,
    node: u16,
    peer: Host,
    at: Micros,
    message: &[u8],
) -> Option<Violation> {
    if message.len() < SHORTEST {
        return None; // The light header carries no epoch.
    }
    let short = |offset: usize| {
        Some(u16::from_be_bytes(
            message.get(offset..offset + 2)?.try_into().ok()?,
        ))
    };
    let long = |offset: usize| {
        Some(u64::from_be_bytes(
            message.get(offset..offset + 8)?.try_into().ok()?,
        ))
    };
    let (kind, flags) = (short(TYPE)?, short(FLAGS)?);
    let (epoch, config) = (long(CURRENT_EPOCH)?, long(CONFIG_EPOCH)?);
    // Within a life, messages of several connections may leave in another order than they were made.
    let [now, before] = bound.entry(node).or_default();
    if epoch < before.current {
        let text = format!(
            "node {node} names epoch {epoch} after an election of {}",
            before.current
        );
        return Some(Violation::safety("C4", at, text));
    }
    if matches!(kind, REQUEST | VOTE) {
        now.current = now.current.max(epoch);
    }
    if flags & PRIMARY != 0 {
        if config < before.config {
            let text = format!(
                "node {node} is a primary of epoch {config} after one of {}",
                before.config
            );
            return Some(Violation::safety("C4", at, text));
        }
        now.config = now.config.max(config);
    }
    if kind != VOTE {
        return None;
    }
    match votes.insert((node, epoch), peer) {
        Some(other) if other != peer => {
            let text =
                format!("node {node} voted twice in epoch {epoch}: for {other} and for {peer}");
            Some(Violation::safety("C3", at, text))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{NetSettings, Network};
    use crate::rng::Rng;

    fn end() -> EndRef {
        Network::new(2, NetSettings::default(), Rng::from_state(0)).connect(0, 0, 1, 1)
    }

    const PONG: u16 = 1;

    fn message(kind: u16, epoch: u64) -> Vec<u8> {
        let mut bytes = vec![0; SHORTEST];
        bytes[..4].copy_from_slice(b"RCmb");
        bytes[LENGTH..LENGTH + 4].copy_from_slice(&(SHORTEST as u32).to_be_bytes());
        bytes[TYPE..TYPE + 2].copy_from_slice(&kind.to_be_bytes());
        bytes[CURRENT_EPOCH..CURRENT_EPOCH + 8].copy_from_slice(&epoch.to_be_bytes());
        bytes[CONFIG_EPOCH..CONFIG_EPOCH + 8].copy_from_slice(&epoch.to_be_bytes());
        bytes[FLAGS..FLAGS + 2]
            .copy_from_slice(&if kind == PONG { PRIMARY } else { 0 }.to_be_bytes());
        bytes
    }

    fn found(sent: &[(Host, u16, u64)]) -> Option<&'static str> {
        let mut cluster = Cluster::default();
        let bytes: Vec<_> = sent
            .iter()
            .map(|&(peer, kind, epoch)| (peer, message(kind, epoch)))
            .collect();
        let mut sniff = |(peer, bytes): &(Host, Vec<u8>)| {
            cluster.gone(0);
            // In two pieces, as the network might have it.
            let first = cluster.sniff(0, *peer, 1, end(), &bytes[..100]);
            first.or(cluster.sniff(0, *peer, 1, end(), &bytes[100..]))
        };
        bytes
            .iter()
            .find_map(&mut sniff)
            .map(|violation| violation.invariant)
    }

    #[test]
    fn a_second_vote_in_an_epoch_and_an_epoch_that_goes_back_are_found() {
        assert_eq!(
            found(&[(1, VOTE, 5), (1, VOTE, 5), (2, VOTE, 6), (2, 0, 6)]),
            None
        );
        assert_eq!(found(&[(1, VOTE, 5), (2, VOTE, 5)]), Some("C3"));
        assert_eq!(found(&[(1, REQUEST, 5), (2, 0, 4)]), Some("C4"));
        assert_eq!(found(&[(1, PONG, 5), (2, PONG, 4)]), Some("C4"));
        assert_eq!(found(&[(1, 0, 5), (2, 0, 4)]), None);
    }

    fn view(id: &str, epoch: u64, slots: &[(u16, u16, &str)]) -> ClusterProbe {
        ClusterProbe {
            my_id: id.into(),
            config_epoch: epoch,
            state_ok: true,
            primary: true,
            slots: slots
                .iter()
                .map(|&(first, last, owner)| (first, last, owner.into()))
                .collect(),
            ..ClusterProbe::default()
        }
    }

    #[test]
    fn two_owners_of_a_slot_in_one_epoch_and_shared_epochs_are_found() {
        let mut cluster = Cluster::default();
        assert_eq!(
            cluster.observe(0, 1, &view("a", 1, &[(0, 9, "a"), (10, 19, "b")])),
            None
        );
        assert_eq!(cluster.observe(1, 1, &view("b", 2, &[(0, 19, "b")])), None);
        assert!(
            cluster
                .observe(2, 1, &view("c", 1, &[(9, 9, "c")]))
                .is_some()
        );

        let slots = [(0, 9, "a"), (10, 19, "b")];
        assert!(Cluster::converged(&[
            view("a", 1, &slots),
            view("b", 2, &slots)
        ]));
        assert!(!Cluster::converged(&[
            view("a", 1, &slots),
            view("b", 2, &slots[..1])
        ]));
        assert_eq!(
            Cluster::audit(1, &[view("a", 1, &slots), view("b", 2, &slots)]),
            None
        );
        assert!(Cluster::audit(1, &[view("a", 2, &slots), view("b", 2, &slots)]).is_some());
    }
}
