//! What a replica is, with what it needs to be that (Raft §5.1, figure 4).

use super::event::{Effect, Refusal, Role};
use super::lease::Lease;
use super::progress::Progress;
use super::reads::Reads;
use super::transfer::Transfer;
use crate::types::{Membership, NodeId, PersistId, RequestId, Time};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

/// A replica's role and its data.
#[derive(Debug)]
pub(super) enum RoleState {
    /// Follows a leader, or waits for one.
    Follower {
        /// The leader of the term, once it has spoken.
        following: Option<Following>,
        /// When patience ends.
        election_at: Time,
    },
    /// Asks whether it would win (thesis §9.6).
    PreCandidate {
        /// Who would vote for it.
        granted: BTreeSet<NodeId>,
        /// When to ask again.
        election_at: Time,
    },
    /// Asks for votes.
    Candidate {
        /// Who voted for it. Itself only once the vote is durable.
        granted: BTreeSet<NodeId>,
        /// The request that makes its own vote durable.
        ballot: PersistId,
        /// When to give up.
        election_at: Time,
    },
    /// Leads its term.
    Leader(Box<Leader>),
}

/// Whom a follower follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Following {
    /// The leader.
    pub(super) leader: NodeId,
}

/// What only a leader has.
#[derive(Debug)]
pub(super) struct Leader {
    /// Everyone else who replicates the group, and who leaves it until that is committed.
    pub(super) peers: BTreeMap<NodeId, Progress>,
    /// When to speak next.
    pub(super) heartbeat_at: Time,
    /// Bytes of payload in the log that are not committed.
    pub(super) uncommitted_bytes: usize,
    /// Clients' reads that are not answered.
    pub(super) reads: Reads,
    /// Who asked for the change of membership whose last entry is not in the log yet.
    pub(super) change: Option<RequestId>,
    /// The transfer of the lead that is under way.
    pub(super) transfer: Option<Transfer>,
    /// What its lease of reads rests on.
    pub(super) lease: Lease,
}

impl RoleState {
    pub(super) fn role(&self) -> Role {
        match self {
            RoleState::Follower { .. } => Role::Follower,
            RoleState::PreCandidate { .. } => Role::PreCandidate,
            RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Whether a replica may go from this role to `next` (Raft figure 4, with a pre-candidate before each candidate).
    pub(super) fn may_become(&self, next: Role) -> bool {
        match (self.role(), next) {
            (_, Role::Follower)
            | (Role::Follower | Role::PreCandidate | Role::Candidate, Role::PreCandidate)
            | (Role::PreCandidate, Role::Candidate)
            // A leader that hands over asks for no pre-vote (thesis §3.10).
            | (Role::Follower, Role::Candidate)
            | (Role::Candidate, Role::Leader) => true,
            (Role::Leader, Role::PreCandidate | Role::Candidate | Role::Leader)
            | (Role::Candidate, Role::Candidate)
            | (Role::Follower | Role::PreCandidate, Role::Leader) => false,
        }
    }
}

impl Leader {
    /// When the leader, `own`, last knew a quorum behind it: the moment since which one has been heard. `None` when it
    /// needs nobody else.
    pub(super) fn quorum_heard(&self, membership: &Membership, own: NodeId) -> Option<Time> {
        let heard = |node| {
            let others = self.peers.get(&node).map_or(0, |progress| progress.heard.0);
            if node == own { u64::MAX } else { others }
        };
        membership.agreed(&heard).filter(|heard| *heard < u64::MAX).map(Time) // RAFT-14
    }

    /// When the leader must step down unless it hears from a quorum (thesis §6.2).
    pub(super) fn lease_ends(&self, membership: &Membership, own: NodeId, election_timeout: Duration) -> Option<Time> {
        self.quorum_heard(membership, own).map(|heard| heard.after(election_timeout))
    }

    /// The lead is lost, and with it the reads that nobody confirmed, and the change that its next leader may complete.
    pub(super) fn refuse_waiting(self, out: &mut Vec<Effect>) {
        let waiting = self.change.into_iter().chain(self.reads.into_ids());
        out.extend(waiting.map(|id| Effect::Refused { id, reason: Refusal::LostLead }));
    }
}
