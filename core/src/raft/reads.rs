//! Linearizable reads without a log entry: ReadIndex (thesis §6.4).
//!
//! A leader may have been replaced without knowing it. So it notes its commit index, lets a quorum confirm that it still
//! leads, and answers with that index. Confirmations come in numbered rounds: one round is under way at a time, reads
//! that arrive meanwhile share the next one, and every message that leaves during a round carries its number, so a lost
//! heartbeat costs one heartbeat interval.
//!
//! - `RAFT-9`: a round counts only answers to messages sent after it began, and it begins after its reads arrived.
//!
//! Not here: waiting until the state machine has applied the index.

use super::event::{Effect, Refusal};
use super::{Raft, RoleState};
use crate::planted::planted;
use crate::types::{LogIndex, RequestId};
use alloc::vec::Vec;

/// Reads that a leader has not answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The round under way.
    round: Option<Round>,
    /// Reads that wait for the next round.
    waiting: Vec<RequestId>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    /// What was committed when the round began.
    index: LogIndex,
    ids: Vec<RequestId>,
}

impl Reads {
    /// All reads, oldest first.
    pub(super) fn into_ids(self) -> impl Iterator<Item = RequestId> {
        self.round.into_iter().flat_map(|round| round.ids).chain(self.waiting)
    }
}

impl Raft {
    pub(super) fn on_read(&mut self, id: RequestId, out: &mut Vec<Effect>) {
        let leader = self.leader();
        let RoleState::Leader(state) = &mut self.role else {
            out.push(Effect::Refused { id, reason: Refusal::NotLeader { leader } });
            return;
        };
        state.reads.waiting.push(id);
        self.start_round(out);
    }

    /// Starts a round for the reads that wait, unless one is under way or it is too early in the term.
    pub(super) fn start_round(&mut self, out: &mut Vec<Effect>) {
        let may_read = self.has_committed_own_term(); // RAFT-9: a new leader does not know yet what is committed.
        let RoleState::Leader(leader) = &mut self.role else { return };
        if !may_read || leader.reads.round.is_some() || leader.reads.waiting.is_empty() {
            return;
        }
        self.round += 1; // RAFT-9: never reused.
        let ids = core::mem::take(&mut leader.reads.waiting);
        leader.reads.round = Some(Round { number: self.round, index: self.commit, ids });
        for to in self.peers() {
            self.send_greeting(to, out);
        }
        self.finish_round(out);
    }

    /// Answers the reads of the round under way if a quorum has confirmed it.
    pub(super) fn finish_round(&mut self, out: &mut Vec<Effect>) {
        let (membership, own) = (self.memberships.in_force(), self.config.node);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let peers = &leader.peers;
        let Some(round) = leader.reads.round.take_if(|round| {
            // RAFT-9, RAFT-14
            let confirms =
                |node| node == own || peers.get(&node).is_some_and(|progress| progress.round >= round.number);
            membership.has_quorum(&confirms) || planted!(self.config.planted, ReadWithoutQuorum)
        }) else {
            return;
        };
        let index = round.index;
        out.extend(round.ids.into_iter().map(|id| Effect::ReadReady { id, index }));
        self.start_round(out);
    }
}
