//! What the failure detector is told and what it orders.

use super::description::Description;
use super::message::{Message, UPDATES_MAX};
use crate::types::NodeId;
use alloc::collections::BTreeSet;
use core::time::Duration;

/// How a node watches the others. The same on all nodes, but for `node`; fixed while it lives.
///
/// # How long until a dead node is declared dead
///
/// With `n` nodes, the sum of three times:
///
/// 1. until somebody probes it: each of the others does so once in `n - 1` intervals, in an order of its own, so the first
///    of them after about one interval (SWIM §3.1: `e / (e - 1)` intervals for large `n`);
/// 2. until that probe has failed: the rest of the interval;
/// 3. the suspicion: `suspicion_min` intervals (times `log10(n)` beyond ten nodes) once three others confirm, and up to
///    `suspicion_max` times as much for as long as they do not. They confirm within their own round of `n - 1` intervals,
///    or two rounds when the order turns out badly.
///
/// With [`Config::lan`] and six nodes that is 0.3 s + 0.3 s + 2.4 s: about three seconds, and four at worst. The same
/// minimum is what a node that merely pauses has for its refutation.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// How often one node is probed, while this node trusts itself (`SWIM-4`).
    pub probe_interval: Duration,
    /// How long a ping may take before others are asked to help. At most half of the interval: the rest is for them.
    pub probe_timeout: Duration,
    /// Lifeguard's alpha: the shortest suspicion, in intervals times `max(1, log10(n))`.
    pub suspicion_min: u32,
    /// Lifeguard's beta: the longest suspicion, in shortest ones.
    pub suspicion_max: u32,
    /// How many nodes are asked to ping a node that does not answer (SWIM's k).
    pub indirect_probes: usize,
    /// SWIM's lambda: a rumor is sent this many times `log2(n + 1)` by each node that takes it up.
    pub retransmissions: u32,
    /// Most updates in one message. From 4 to [`UPDATES_MAX`].
    pub updates_per_message_max: usize,
}

impl Config {
    /// For nodes that answer each other within a few milliseconds.
    #[must_use]
    pub fn lan(node: NodeId) -> Config {
        Config {
            node,
            probe_interval: Duration::from_millis(300),
            probe_timeout: Duration::from_millis(120),
            suspicion_min: 8,
            suspicion_max: 4,
            indirect_probes: 3,
            retransmissions: 3,
            updates_per_message_max: 8,
        }
    }

    pub(super) fn check(&self) {
        assert!(self.probe_timeout > Duration::ZERO, "a ping takes time");
        assert!(self.probe_timeout * 2 <= self.probe_interval, "relays need as long as the direct ping at least");
        assert!(self.suspicion_min > 0 && self.suspicion_max > 0, "a suspected node needs time to refute");
        assert!(self.retransmissions > 0, "what is never sent does not spread");
        let updates = self.updates_per_message_max;
        assert!((4..=UPDATES_MAX).contains(&updates), "a message has from 4 to {UPDATES_MAX} updates");
    }
}

/// A fact for the failure detector.
#[derive(Clone, Debug)]
pub enum Event {
    /// The deadline it asked for has come (an early call does nothing).
    Deadline,
    /// A message arrived. The transport vouches for who sent it.
    Receive { from: NodeId, message: Message },
    /// The nodes of the cluster, as committed; this one included or not. New ones are taken for alive and probed first,
    /// and what was known of those who are gone is forgotten.
    Members(BTreeSet<NodeId>),
    /// What this node says of itself. Each change travels to every node, so it should come every few seconds at most.
    Describe(Description),
    /// This node is about to stop on purpose. It says so to several nodes at once, and answers as long as it lives.
    Leave,
}

/// An order of the failure detector. All are independent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send; may be lost.
    Send { to: NodeId, message: Message },
    /// A node is believed to be in another state than before.
    Became { node: NodeId, health: Health },
}

/// How a node is, as far as another one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers, or nothing speaks against it yet.
    Alive,
    /// It did not answer, and may yet refute.
    Suspect,
    /// It did not answer, nor refute in time. It is still asked now and then.
    Dead,
    /// It stopped on purpose.
    Left,
}
