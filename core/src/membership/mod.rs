//! Who replicates a group and who decides in it, as plain data and pure rules.
//!
//! A change of voters goes through a *joint* membership, in which the old and the new voters must both agree: at no moment
//! can two majorities decide without having a node in common. Learners receive everything and decide nothing. Whether a
//! node has caught up before it may vote is the caller's policy.
//!
//! - `MEMBER-1`: each list ascends strictly, learners do not vote, and only a group with voters is joint.
//! - `MEMBER-2`: a quorum is a majority of the voters and, while joint, also one of the outgoing voters. Nobody else
//!   counts, and an empty membership has no quorum.
//! - `MEMBER-3`: the voters change only from simple to joint and back, or all at once for nobody.
//!
//! Source: Ongaro and Ousterhout, "In search of an understandable consensus algorithm", §6; Ongaro's thesis, §4.3 (joint
//! consensus) and §4.2.1 (learners). The bytes: `docs/formats/membership.md`. Not here: when a membership is in force
//! (`raft`).

use crate::types::NodeId;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

/// The version that this build writes, and the only one that it reads.
const MEMBERSHIP_VERSION: u8 = 1;

/// Bytes before the nodes: the version and three counts.
const HEADER_SIZE: usize = 1 + 3 * 2;

/// Most nodes of each kind. A group is far smaller; the bound keeps what a peer sends small.
pub const NODES_MAX: usize = 1024;

/// Who votes in a group, who did before the change that is under way, and who only listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl Membership {
    /// A simple membership of these voters. None is the membership of a node that waits to be added.
    ///
    /// # Panics
    /// When there are more than [`NODES_MAX`].
    #[must_use]
    pub fn of(voters: &[NodeId]) -> Membership {
        assert!(voters.len() <= NODES_MAX, "a group has at most {NODES_MAX} voters");
        let distinct: BTreeSet<NodeId> = voters.iter().copied().collect();
        Membership { voters: distinct.into_iter().collect(), ..Membership::default() }
    }

    /// The membership of these lists, or `None` when they make none (`MEMBER-1`).
    #[must_use]
    pub fn from_lists(voters: Vec<NodeId>, outgoing: Vec<NodeId>, learners: Vec<NodeId>) -> Option<Membership> {
        // MEMBER-1
        let is_list = |list: &[NodeId]| list.len() <= NODES_MAX && list.windows(2).all(|pair| pair[0] < pair[1]);
        let membership = Membership { voters, outgoing, learners };
        let Membership { voters, outgoing, learners } = &membership;
        let is_whole = is_list(voters)
            && is_list(outgoing)
            && is_list(learners)
            && !learners.iter().any(|learner| membership.is_voter(*learner))
            && !(voters.is_empty() && membership.contains_any());
        is_whole.then_some(membership)
    }

    /// Who votes, or, while joint, who will.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Who voted before the change under way; empty unless joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Who receives everything and never counts.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Whether nobody votes: the membership of a node that waits to be added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether a change of voters is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the node's vote counts, in one majority or in both.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok() || self.outgoing.binary_search(&node).is_ok()
    }

    /// Whether the node replicates the group, as whatever.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.binary_search(&node).is_ok()
    }

    fn contains_any(&self) -> bool {
        !(self.voters.is_empty() && self.outgoing.is_empty() && self.learners.is_empty())
    }

    /// All whose votes count.
    #[must_use]
    pub fn all_voters(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).copied().collect()
    }

    /// All who replicate the group.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// Whether those of whom `agrees` is true make a quorum.
    #[must_use]
    pub fn has_quorum(&self, agrees: &dyn Fn(NodeId) -> bool) -> bool {
        self.agreed(&|node| u64::from(agrees(node))) == Some(1)
    }

    /// The largest number that a quorum has reached, where `reached` says how far each node is. `None` without voters.
    #[must_use]
    pub fn agreed(&self, reached: &dyn Fn(NodeId) -> u64) -> Option<u64> {
        // MEMBER-2
        let incoming = majority_reached(&self.voters, reached)?;
        Some(majority_reached(&self.outgoing, reached).map_or(incoming, |outgoing| outgoing.min(incoming)))
    }

    /// The joint membership that leads to these voters. Learners that become voters are learners no more.
    ///
    /// # Panics
    /// When the membership is joint, when there are no voters, or when there are more than [`NODES_MAX`].
    #[must_use]
    pub fn begin(&self, voters: &BTreeSet<NodeId>) -> Membership {
        assert!(!self.is_joint(), "MEMBER-3: one change at a time");
        assert!(!voters.is_empty() && voters.len() <= NODES_MAX, "a group has voters, and not too many");
        let outgoing = self.voters.clone();
        let votes = |node: &NodeId| voters.contains(node) || outgoing.contains(node);
        let learners = self.learners.iter().copied().filter(|node| !votes(node)).collect();
        Membership { voters: voters.iter().copied().collect(), outgoing, learners }
    }

    /// What a joint membership leads to.
    #[must_use]
    pub fn finish(&self) -> Membership {
        Membership { outgoing: Vec::new(), ..self.clone() }
    }

    /// With one more learner; `None` when the node is a member already, or there are too many.
    #[must_use]
    pub fn with_learner(&self, node: NodeId) -> Option<Membership> {
        if self.contains(node) || self.learners.len() >= NODES_MAX {
            return None;
        }
        let mut learners = self.learners.clone();
        learners.push(node);
        learners.sort_unstable();
        Some(Membership { learners, ..self.clone() })
    }

    /// With one learner less; `None` when the node is none.
    #[must_use]
    pub fn without_learner(&self, node: NodeId) -> Option<Membership> {
        let at = self.learners.binary_search(&node).ok()?;
        let mut next = self.clone();
        next.learners.remove(at);
        Some(next)
    }

    /// Whether one entry may lead from this membership to `next`.
    #[must_use]
    pub fn may_become(&self, next: &Membership) -> bool {
        // MEMBER-3
        if next.is_empty() {
            return false;
        }
        match (self.is_joint(), next.is_joint()) {
            (false, true) => next.outgoing == self.voters,
            (true, false) => *next == self.finish(),
            (false, false) => next.voters == self.voters,
            (true, true) => false,
        }
    }

    /// Bytes that [`Membership::encode`] makes.
    #[must_use]
    pub fn encoded_size(&self) -> usize {
        HEADER_SIZE + 8 * (self.voters.len() + self.outgoing.len() + self.learners.len())
    }

    /// The membership as a log entry and a row carry it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![MEMBERSHIP_VERSION];
        for list in [&self.voters, &self.outgoing, &self.learners] {
            let count = u16::try_from(list.len()).expect("MEMBER-1: a list has at most NODES_MAX nodes");
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        for node in self.voters.iter().chain(&self.outgoing).chain(&self.learners) {
            bytes.extend_from_slice(&node.0.to_le_bytes());
        }
        bytes
    }

    /// The membership that [`Membership::encode`] wrote; `None` for any other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Membership> {
        let (header, nodes) = bytes.split_first_chunk::<HEADER_SIZE>()?;
        let [version, counts @ ..] = header;
        let (counts, _) = counts.as_chunks::<2>();
        let (mut nodes, rest) = nodes.as_chunks::<8>();
        if *version != MEMBERSHIP_VERSION || !rest.is_empty() {
            return None;
        }
        let mut lists = counts.iter().map(|count| {
            let (list, others) = nodes.split_at_checked(usize::from(u16::from_le_bytes(*count)))?;
            nodes = others;
            Some(list.iter().map(|node| NodeId(u64::from_le_bytes(*node))).collect::<Vec<NodeId>>())
        });
        let membership = Membership::from_lists(lists.next()??, lists.next()??, lists.next()??);
        membership.filter(|_| nodes.is_empty())
    }
}

/// The largest number that more than half of the nodes have reached; `None` of none.
fn majority_reached(nodes: &[NodeId], reached: &dyn Fn(NodeId) -> u64) -> Option<u64> {
    let mut numbers: Vec<u64> = nodes.iter().map(|node| reached(*node)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.get(nodes.len() / 2).copied()
}

#[cfg(test)]
mod tests;
