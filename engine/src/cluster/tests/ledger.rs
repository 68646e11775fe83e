//! What must hold over all time, across crashes: each packet is entered as it is sent, and what contradicts an
//! earlier one is found there.

use super::super::bus::{self, Body};
use super::super::node::NodeId;
use super::super::slots::SlotSet;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// See the module's documentation.
#[derive(Default)]
pub struct Ledger {
    /// Claims are not looked at: two owners of a slot in one epoch are what a test is about.
    pub claims_unchecked: bool,
    /// (voter, epoch) → candidate: one vote an epoch (C3).
    votes: BTreeMap<(NodeId, u64), usize>,
    /// The highest epoch that each node told (C4).
    told: BTreeMap<NodeId, u64>,
    /// The claim of each epoch (C1).
    claims: BTreeMap<u64, BTreeMap<u16, NodeId>>,
    /// Each node's last claim, which need not be looked at twice.
    last: BTreeMap<NodeId, (u64, Vec<u8>)>,
}

impl Ledger {
    /// Enters a packet that a host sends to another.
    pub fn enter(&mut self, to: Option<usize>, bytes: &[u8]) {
        let packet = bus::decode(bytes).expect("what we send is well-formed");
        let header = &packet.header;
        let (sender, epoch) = (header.sender, header.current_epoch);
        let told = self.told.entry(sender).or_default();
        *told = (*told).max(epoch);
        if packet.body == Body::AuthAck
            && let Some(to) = to
        {
            let first = *self.votes.entry((sender, epoch)).or_insert(to);
            assert_eq!(first, to, "{sender:?} voted twice in epoch {epoch}");
        }
        if self.claims_unchecked || header.primary.is_some() || header.config_epoch == 0 {
            return;
        }
        let claim = (header.config_epoch, header.slots.to_vec());
        if self.last.get(&sender) == Some(&claim) {
            return;
        }
        self.last.insert(sender, claim);
        let claims = self.claims.entry(header.config_epoch).or_default();
        for slot in SlotSet::from_bitmap(header.slots).iter() {
            let owner = *claims.entry(slot).or_insert(sender);
            assert_eq!(
                owner, sender,
                "slot {slot} has two owners in epoch {}",
                header.config_epoch
            );
        }
    }

    /// The highest epoch that a node told.
    pub fn told(&self, node: NodeId) -> Option<u64> {
        self.told.get(&node).copied()
    }
}
