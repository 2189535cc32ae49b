//! What a message carries beside its question or answer: claims, chosen for whom it goes to.
//!
//! A claim that is news travels as a rumor: each node that takes it up passes it on a bounded number of times, which
//! reaches everyone with high probability and then ceases. What must not be left to chance is *owed* instead, to one node,
//! and goes with the next message to it.
//!
//! - `SWIM-7`: a rumor is sent `lambda * log2(n + 1)` times at most by a node, unless it changes. Nothing else repeats by
//!   itself, so a cluster in which nothing happens sends pings and acks without any claim.
//! - `SWIM-8`: a node that is not believed to be alive is told so with every message to it, before anything else, so that
//!   it can refute without waiting for a rumor (Lifeguard §IV-C, buddy system).
//! - `SWIM-9`: no message carries more than `updates_per_message_max` claims.
//!
//! Source: SWIM §4.1 (piggy-backing, rumors sent less often first).

use super::Swim;
use super::event::{Effect, Health};
use super::message::{Claim, Kind, Message, Update};
use crate::types::NodeId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Whom the rumors are about, and how often each was sent. What they say is whatever is believed when they are sent.
#[derive(Debug, Default)]
pub(super) struct Rumors {
    sent: BTreeMap<NodeId, u32>,
}

impl Rumors {
    /// Begins to tell about a node, or begins again.
    pub(super) fn start(&mut self, about: NodeId) {
        self.sent.insert(about, 0);
    }

    /// Stops to tell about a node.
    pub(super) fn forget(&mut self, about: NodeId) {
        self.sent.remove(&about);
    }

    /// Whom there are rumors about, those that were sent less often first.
    pub(super) fn by_novelty(&self) -> impl Iterator<Item = NodeId> {
        let mut rumors: Vec<(u32, NodeId)> = self.sent.iter().map(|(about, sent)| (*sent, *about)).collect();
        rumors.sort_unstable();
        rumors.into_iter().map(|(_, about)| about)
    }

    fn on_sent(&mut self, about: NodeId, transmissions_max: u32) {
        if let Some(sent) = self.sent.get_mut(&about) {
            *sent += 1;
            // SWIM-7
            if *sent >= transmissions_max {
                self.sent.remove(&about);
            }
        }
    }
}

impl Swim {
    /// Sends to a member, with the claims that it should hear.
    pub(super) fn say(&mut self, to: NodeId, kind: Kind, out: &mut Vec<Effect>) {
        let member = self.members.get_mut(&to).expect("only members are spoken to");
        let room = self.config.updates_per_message_max;
        let mut about: Vec<NodeId> = Vec::new();
        // SWIM-8
        if member.health() != Health::Alive {
            about.push(to);
        }
        while about.len() < room
            && let Some(owed) = member.owed.pop_first()
        {
            if !about.contains(&owed) {
                about.push(owed);
            }
        }
        let heard = member.heard();
        let rumors = self.rumors.by_novelty().filter(|rumor| *rumor != to && !about.contains(rumor));
        let rumors: Vec<NodeId> = rumors.take(room - about.len()).collect();
        about.extend(rumors);
        // SWIM-9
        assert!(about.len() <= room, "a message has room for {room} updates");
        let transmissions_max = self.transmissions_max();
        about.iter().for_each(|node| self.rumors.on_sent(*node, transmissions_max));
        let updates = about.into_iter().filter_map(|node| self.update_about(node)).collect();
        out.push(Effect::Send { to, message: Message { kind, heard, updates } });
    }

    /// What is believed of a node, this one included. `None` when it is nothing, or the node is not on the list.
    fn update_about(&self, node: NodeId) -> Option<Update> {
        if node == self.config.node {
            let claim = if self.own.has_left { Claim::Left } else { Claim::Alive(self.own.description.clone()) };
            return Some(Update { node, incarnation: self.own.incarnation, claim });
        }
        let member = self.members.get(&node)?;
        let update = Update { node, incarnation: member.incarnation, claim: member.claim()? };
        // SWIM-1: nobody would take an accusation of the last incarnation that there is, so it remains this node's own.
        Some(update).filter(Update::is_plausible)
    }

    /// How often a rumor is sent (`SWIM-7`).
    pub(super) fn transmissions_max(&self) -> u32 {
        let nodes = self.members.len() + 1;
        self.config.retransmissions.saturating_mul(usize::BITS - nodes.leading_zeros())
    }
}
