//! Linearizable reads without a log entry: ReadIndex (thesis §6.4).
//!
//! A leader may have been replaced without knowing it. So it notes its commit index, lets a quorum confirm that it still
//! leads, and answers with that index. Confirmations come in numbered rounds: one round is under way at a time, reads
//! that arrive meanwhile share the next one, and every message that leaves during a round carries its number, so a lost
//! heartbeat costs one heartbeat interval.
//!
//! - `RAFT-9`: a round counts only answers to messages sent after it began, and it begins after its reads arrived.
//!
//! Where the operator bounds the drift of clocks, a lease spares most reads their round (`lease`).
//!
//! Not here: waiting until the state machine has applied the index.

use super::event::Effect;
use super::message::{Ask, Message};
use super::{Raft, RoleState};
use crate::planted::planted;
use crate::types::{LogIndex, NodeId, RequestId, Time};
use alloc::vec::Vec;

/// Reads that a leader has not answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The round under way.
    round: Option<Round>,
    /// Reads that wait for the next round.
    waiting: Vec<Reader>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    /// What was committed when the round began.
    index: LogIndex,
    readers: Vec<Reader>,
}

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    /// A client of this node.
    Own(RequestId),
    /// A client of another replica, which asks for it.
    Peer(NodeId, Ask),
}

impl Reads {
    /// All reads of this node's clients, oldest first. Other replicas hear of the next leader by themselves.
    pub(super) fn into_ids(self) -> impl Iterator<Item = RequestId> {
        let readers = self.round.into_iter().flat_map(|round| round.readers).chain(self.waiting);
        readers.filter_map(|reader| match reader {
            Reader::Own(id) => Some(id),
            Reader::Peer(..) => None,
        })
    }
}

impl Raft {
    pub(super) fn on_read(&mut self, id: RequestId, now: Time, out: &mut Vec<Effect>) {
        if self.is_leader() {
            self.take_read(Reader::Own(id), now, out);
        } else {
            self.forward(id, None, now, out);
        }
    }

    /// A read that the lease answers, or else the next round.
    pub(super) fn take_read(&mut self, reader: Reader, now: Time, out: &mut Vec<Effect>) {
        // RAFT-9: a new leader does not know yet what is committed.
        if self.has_committed_own_term() && self.holds_lease(now) {
            self.answer(reader, self.commit, out); // RAFT-22
            self.tell_commit(out);
            return;
        }
        let RoleState::Leader(state) = &mut self.role else { return };
        state.reads.waiting.push(reader);
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
        let readers = core::mem::take(&mut leader.reads.waiting);
        leader.reads.round = Some(Round { number: self.round, index: self.commit, readers });
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
        for reader in round.readers {
            self.answer(reader, index, out);
        }
        self.tell_commit(out);
        self.start_round(out);
    }

    fn answer(&mut self, reader: Reader, index: LogIndex, out: &mut Vec<Effect>) {
        let term = self.hard_state.term;
        match reader {
            Reader::Own(id) => out.push(Effect::ReadReady { id, index }),
            Reader::Peer(to, ask) => {
                out.push(Effect::Send { to, message: Message::ReadIndexResponse { term, ask, index } });
                self.note_asked(to, index);
            }
        }
    }
}
