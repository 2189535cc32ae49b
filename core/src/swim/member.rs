//! What a node believes of another one.

use super::description::Description;
use super::event::Health;
use super::message::{Claim, Incarnation, Update};
use super::suspicion::Suspicion;
use crate::types::NodeId;
use alloc::collections::BTreeSet;

/// Another node of the list.
#[derive(Debug)]
pub(super) struct Member {
    /// Which incarnation the belief is about.
    pub(super) incarnation: Incarnation,
    pub(super) belief: Belief,
    /// What it last said of itself, and in which incarnation.
    pub(super) described: Option<(Incarnation, Description)>,
    /// Of whom it knows less than this node does: to be told with the next message to it.
    pub(super) owed: BTreeSet<NodeId>,
}

/// What is believed of a node's incarnation.
#[derive(Debug)]
pub(super) enum Belief {
    /// It is on the list, and nothing was heard of it.
    Unheard,
    Alive,
    Suspect(Suspicion),
    Dead,
    Left,
}

/// How far a claim goes. Of one incarnation, the later overrides the earlier (SWIM §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Alive,
    Suspect,
    Dead,
    Left,
}

/// The place of a claim in the order of all claims about a node (`SWIM-6`).
pub(super) type Rank = (Incarnation, Stage);

impl Update {
    pub(super) fn rank(&self) -> Rank {
        let stage = match self.claim {
            Claim::Alive(_) => Stage::Alive,
            Claim::Suspect(_) => Stage::Suspect,
            Claim::Dead => Stage::Dead,
            Claim::Left => Stage::Left,
        };
        (self.incarnation, stage)
    }
}

impl Member {
    /// A node that was put on the list.
    pub(super) fn unheard() -> Member {
        Member { incarnation: Incarnation::default(), belief: Belief::Unheard, described: None, owed: BTreeSet::new() }
    }

    /// Forgets what was to be told about a node.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.owed.remove(&node);
    }

    pub(super) fn health(&self) -> Health {
        match self.belief {
            Belief::Unheard | Belief::Alive => Health::Alive,
            Belief::Suspect(_) => Health::Suspect,
            Belief::Dead => Health::Dead,
            Belief::Left => Health::Left,
        }
    }

    /// Whether the node belongs in the round of probes.
    pub(super) fn is_probed(&self) -> bool {
        match self.belief {
            Belief::Unheard | Belief::Alive | Belief::Suspect(_) => true,
            Belief::Dead | Belief::Left => false,
        }
    }

    /// `None` of a node of which nothing is claimed.
    pub(super) fn rank(&self) -> Option<Rank> {
        let stage = match self.belief {
            Belief::Unheard => return None,
            Belief::Alive => Stage::Alive,
            Belief::Suspect(_) => Stage::Suspect,
            Belief::Dead => Stage::Dead,
            Belief::Left => Stage::Left,
        };
        Some((self.incarnation, stage))
    }

    /// The belief, as other nodes may hear it.
    pub(super) fn claim(&self) -> Option<Claim> {
        match &self.belief {
            Belief::Unheard => None,
            Belief::Alive => self.described.as_ref().map(|(_, description)| Claim::Alive(description.clone())),
            Belief::Suspect(suspicion) => Some(Claim::Suspect(suspicion.accusers())),
            Belief::Dead => Some(Claim::Dead),
            Belief::Left => Some(Claim::Left),
        }
    }

    /// The last incarnation in which the node spoke for itself.
    pub(super) fn heard(&self) -> Option<Incarnation> {
        match self.belief {
            Belief::Left => Some(self.incarnation),
            Belief::Unheard | Belief::Alive | Belief::Suspect(_) | Belief::Dead => {
                self.described.as_ref().map(|(incarnation, _)| *incarnation)
            }
        }
    }
}
