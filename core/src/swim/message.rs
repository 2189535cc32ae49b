//! What nodes say to each other: four kinds of message, each with a bounded list of claims about nodes.
//!
//! A claim is about one node and names one of its *incarnations*, a number that only the node itself raises. So any two
//! claims about a node have an order that all nodes agree on (SWIM §4.2), whichever way and however often they travel.
//!
//! Beside the claims, each message says which incarnation of the *receiver* the sender knows. A receiver that is ahead
//! tells the sender of itself again, and one that is behind is a new life of a node whose former life got further. That
//! closes the gap that a bounded number of retransmissions leaves: two nodes that talk end up with the same.
//!
//! - `SWIM-1`: a message or a claim that no correct node sends is counted and dropped, and nothing else comes of it.
//!
//! Source: Das, Gupta, Motivala, "SWIM: scalable weakly-consistent infection-style process group membership protocol",
//! DSN 2002, §3.1 (ping, ping-req, ack) and §4.1 (piggy-backing); Dadgar, Phillips, Currey, "Lifeguard: local health
//! awareness for more accurate failure detection", DSN 2018 workshops, for the nack and for who suspects. Not here: bytes.

use super::description::Description;
use super::suspicion::ACCUSERS_MAX;
use crate::types::NodeId;
use alloc::vec::Vec;

/// Incarnations above this do not occur in the life of a cluster: such a claim is a lie, and additions to what is below
/// it cannot overflow.
pub(super) const INCARNATION_MAX: u64 = 1 << 62;

/// Most updates in a message, however a node is configured.
pub const UPDATES_MAX: usize = 64;

/// Which statement of a node about itself. Raised by the node alone: to refute, and to describe itself anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

/// Names a probe of the node that sent the ping or the request, and comes back in the answer. Opaque to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId(pub u64);

/// A message between two nodes of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is asked or answered.
    pub kind: Kind,
    /// The incarnation in which the receiver described itself, as far as the sender has heard.
    pub heard: Option<Incarnation>,
    /// Claims, those that matter most to the receiver first.
    pub updates: Vec<Update>,
}

/// What a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// "Are you there?" Answered by `Ack`.
    Ping { probe: ProbeId },
    /// "Ask for me whether this node is there." Answered by `Ack` when it is, and by `Nack` when it does not answer.
    PingRequest { probe: ProbeId, target: NodeId },
    /// The node that was asked for is there.
    Ack { probe: ProbeId },
    /// The sender is there, and heard nothing of the node it was asked to ping. It may do so yet.
    Nack { probe: ProbeId },
}

/// A claim about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Whom it is about.
    pub node: NodeId,
    /// Which incarnation of that node.
    pub incarnation: Incarnation,
    /// What is claimed.
    pub claim: Claim,
}

/// What is claimed of an incarnation of a node. The order of the variants is the order in which one overrides another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The node said so itself, and how it is.
    Alive(Description),
    /// These did not reach it, independently of each other. One to four nodes, each once.
    Suspect(Vec<NodeId>),
    /// It was suspected for too long.
    Dead,
    /// The node said so itself.
    Left,
}

impl Message {
    /// Whether a correct node could have sent this, whatever it knows.
    pub(super) fn is_plausible(&self) -> bool {
        // SWIM-1
        self.updates.len() <= UPDATES_MAX && self.heard.is_none_or(|heard| heard.0 <= INCARNATION_MAX)
    }
}

impl Update {
    /// Whether a correct node could claim this, whatever it knows.
    pub(super) fn is_plausible(&self) -> bool {
        // SWIM-1: what others may claim stays below what the node itself may, so that it can always refute.
        match &self.claim {
            Claim::Alive(_) | Claim::Left => self.incarnation.0 <= INCARNATION_MAX,
            Claim::Suspect(accusers) => {
                let distinct = accusers.iter().enumerate().all(|(at, accuser)| !accusers[..at].contains(accuser));
                self.incarnation.0 < INCARNATION_MAX
                    && (1..=ACCUSERS_MAX).contains(&accusers.len())
                    && distinct
                    && !accusers.contains(&self.node)
            }
            Claim::Dead => self.incarnation.0 < INCARNATION_MAX,
        }
    }
}

impl Incarnation {
    /// The one after this, as far as they go.
    pub(super) fn next(self) -> Incarnation {
        Incarnation((self.0 + 1).min(INCARNATION_MAX))
    }
}
