//! A leader's side of replication: sending entries, counting who has them, and committing.
//!
//! Entries leave at once, in parallel with the leader's own write (thesis §10.2.1), in a pipeline of a few unanswered
//! appends per follower (thesis §10.2.2). While a follower's window is full, entries accumulate and leave together.
//!
//! - `RAFT-3`: a leader only appends. - `RAFT-5`: it commits by counting only entries of its own term.
//! - `RAFT-8`: it counts itself, like everyone, only for what is durable. - `RAFT-14`: only voters count.

use super::event::{Effect, Refusal};
use super::message::{AppendOutcome, Message};
use super::progress::{Progress, ProgressState};
use super::{Raft, RoleState};
use crate::planted::planted;
use crate::types::{Entry, LogIndex, LogPosition, NodeId, Payload, RequestId, Term, Time};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// A follower that comes no further with its snapshot for this many election timeouts is probed again, and one whose snapshot the log
/// has left behind at once.
const SNAPSHOT_PATIENCE: u32 = 8;

impl Raft {
    pub(super) fn on_propose(&mut self, id: RequestId, command: Bytes, now: Time, out: &mut Vec<Effect>) {
        if !self.is_leader() {
            self.forward(id, Some(command), now, out);
            return;
        }
        // The leader's own clients hear where their command stands before anything can come of it.
        let at = out.len();
        let effect = match self.take_command(command, out) {
            Ok(position) => Effect::Proposed { id, position },
            Err(reason) => Effect::Refused { id, reason },
        };
        out.insert(at, effect);
    }

    /// Appends a command of whatever client, and says where it stands.
    pub(super) fn take_command(&mut self, command: Bytes, out: &mut Vec<Effect>) -> Result<LogPosition, Refusal> {
        let leader = self.leader();
        let position = LogPosition { index: self.log.last().index.next(), term: self.hard_state.term };
        let RoleState::Leader(state) = &mut self.role else { return Err(Refusal::NotLeader { leader }) };
        // A command larger than the limit is taken when it is alone, or it never would be.
        let bytes = state.uncommitted_bytes.saturating_add(command.len());
        let is_full = state.uncommitted_bytes > 0 && bytes > self.config.uncommitted_bytes_max;
        // RAFT-17
        if is_full || state.transfer.is_some() {
            return Err(Refusal::Busy);
        }
        state.uncommitted_bytes = bytes;
        self.append_own(Payload::Command(command), out);
        for to in self.peers() {
            self.send_window(to, out);
        }
        Ok(position)
    }

    /// RAFT-3: the leader's own entries only ever go to the end.
    pub(super) fn append_own(&mut self, payload: Payload, out: &mut Vec<Effect>) {
        let position = LogPosition { index: self.log.last().index.next(), term: self.hard_state.term };
        let entry = Entry { position, payload };
        self.push(entry.clone());
        self.persist(vec![entry], out);
    }

    /// Steps down without a quorum, or speaks to everyone.
    pub(super) fn on_leader_deadline(&mut self, now: Time, out: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let lease_ends = leader.lease_ends(self.memberships.in_force(), self.config.node, self.config.election_timeout);
        if lease_ends.is_some_and(|lease_ends| now >= lease_ends) {
            self.become_follower(self.hard_state.term, None, now, out); // RAFT-10
            return;
        }
        if self.disk_is_stalled(now) && !self.is_sole_voter() {
            self.give_way(now, out); // RAFT-21
            return;
        }
        self.begin_heartbeat_round(now);
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_at = now.after(self.config.heartbeat_interval);
        leader.transfer.take_if(|transfer| now >= transfer.until); // RAFT-17
        for to in self.peers() {
            self.send_heartbeat(to, now, out);
        }
    }

    /// Speaks to a follower, naming the entry that it should have by then: a refusal tells what was lost.
    fn send_heartbeat(&mut self, to: NodeId, now: Time, out: &mut Vec<Effect>) {
        let (timeout, chunk_bytes) = (self.config.election_timeout, self.config.snapshot_chunk_bytes);
        let in_flight_max = self.config.appends_in_flight_max;
        let (term, base) = (self.hard_state.term, self.log.base().index);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(&to) else { return };
        match &mut progress.state {
            ProgressState::Snapshot { sending: Some(sending) }
                if sending.is_given_up(now, timeout * SNAPSHOT_PATIENCE)
                    || sending.snapshot().position.index < base =>
            {
                progress.become_probe();
            }
            ProgressState::Snapshot { sending } => {
                if let Some(sending) = sending
                    && sending.go_back(now, timeout)
                {
                    let chunk = sending.next(chunk_bytes, in_flight_max).unwrap_or_else(|| sending.question());
                    out.push(Effect::Send { to, message: Message::InstallSnapshot { term, chunk } });
                }
                self.send_greeting(to, out);
                return;
            }
            ProgressState::Probe | ProgressState::Replicate { .. } => {}
        }
        let index = progress.next.prev();
        match self.log.term(index) {
            Some(term) => self.send(to, LogPosition { index, term }, Vec::new(), out),
            // The follower fell behind the log's beginning. Its answer will say how far it is.
            None => self.send_greeting(to, out),
        }
    }

    /// A heartbeat that every follower can accept, whatever its log: nothing after nothing.
    pub(super) fn send_greeting(&self, to: NodeId, out: &mut Vec<Effect>) {
        self.send(to, LogPosition::default(), Vec::new(), out);
    }

    /// One append from the follower's next entry on, whatever its window; it does not count as sent.
    pub(super) fn send_append(&self, to: NodeId, out: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &self.role else { return };
        let Some(Progress { next, .. }) = leader.peers.get(&to) else { return };
        let next = *next;
        if let Some(term) = self.log.term(next.prev()) {
            let entries = self.log.batch(next, self.config.append_bytes_max);
            self.send(to, LogPosition { index: next.prev(), term }, entries, out);
        }
    }

    /// As many appends as the follower's window takes.
    fn send_window(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        loop {
            let RoleState::Leader(leader) = &mut self.role else { return };
            let Some(progress) = leader.peers.get_mut(&to) else { return };
            let index = progress.next.prev();
            let is_due = progress.has_window(self.config.appends_in_flight_max) && index < self.log.last().index;
            let Some(term) = self.log.term(index).filter(|_| is_due) else { return };
            let entries = self.log.batch(progress.next, self.config.append_bytes_max);
            progress.on_sent(entries.last().expect("a batch before the end has an entry").position.index);
            progress.told = self.commit;
            self.send(to, LogPosition { index, term }, entries, out);
        }
    }

    pub(super) fn send(&self, to: NodeId, previous: LogPosition, entries: Vec<Entry>, out: &mut Vec<Effect>) {
        let (term, commit, round) = (self.hard_state.term, self.commit, self.round);
        out.push(Effect::Send { to, message: Message::AppendEntries { term, previous, entries, commit, round } });
    }

    pub(super) fn on_append_response(
        &mut self,
        from: NodeId,
        outcome: AppendOutcome,
        round: u64,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        let (is_lie, agreement) = match outcome {
            AppendOutcome::Matched(matched) => (matched > last, LogIndex(0)),
            AppendOutcome::Rejected { rejected, hint } => (rejected > last, self.agreement_with(hint)),
        };
        if is_lie || round > self.round {
            self.suspects += 1;
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        progress.heard = now;
        progress.round = progress.round.max(round);
        let began =
            if planted!(self.config.planted, LeaseIgnoresDrift) { Some(now) } else { leader.lease.began(round) };
        progress.round_began = progress.round_began.max(began); // RAFT-22
        let is_ready = progress.on_outcome(outcome, agreement, base);
        self.advance_commit(now, out);
        if is_ready {
            self.resume(from, now, out);
        }
        self.finish_round(out);
        self.hand_over(out);
    }

    /// Where this log may at most agree with one that has `hint`.
    fn agreement_with(&self, hint: LogPosition) -> LogIndex {
        if hint.index < self.log.base().index { hint.index } else { self.log.agreement(hint.index, hint.term).index }
    }

    /// Sends a follower that has just answered what it needs next, of whatever kind.
    pub(super) fn resume(&mut self, to: NodeId, now: Time, out: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(&to) else { return };
        let is_cut = self.log.term(progress.next.prev()).is_none();
        match &progress.state {
            ProgressState::Probe | ProgressState::Replicate { .. } if is_cut => {
                progress.become_snapshot();
                self.provide_snapshot(now, out);
            }
            ProgressState::Snapshot { .. } | ProgressState::Probe | ProgressState::Replicate { .. } => {
                self.prompt(to, out);
            }
        }
    }

    /// Sends a follower entries, if it can take some. Not a snapshot: that is for one who has just answered, and has
    /// therefore made the term durable.
    pub(super) fn prompt(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &self.role else { return };
        match leader.peers.get(&to).map(|progress| &progress.state) {
            Some(ProgressState::Snapshot { .. }) | None => {}
            Some(ProgressState::Probe) => self.send_append(to, out),
            Some(ProgressState::Replicate { .. }) => self.send_window(to, out),
        }
    }

    /// Commits what a quorum has on disk (figure 2, last rule for leaders).
    pub(super) fn advance_commit(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(index) = self.replicated().filter(|index| *index > self.commit) else { return };
        let RoleState::Leader(leader) = &mut self.role else { return };
        // RAFT-5: an older term's entry on a quorum may still be replaced; one of the own term protects all before it.
        let counts = self.log.term(index) == Some(self.hard_state.term) || planted!(self.config.planted, CommitOldTerm);
        if !counts {
            return;
        }
        leader.uncommitted_bytes -= self.log.payload_bytes(self.commit, index);
        self.commit = index;
        self.deliver(out);
        self.start_round(out);
        self.settle_membership(now, out);
        // A smaller quorum may have confirmed the round already, and nobody is left who would say so again.
        self.finish_round(out);
        self.tell_commit(out);
    }

    /// How much of the log a quorum has on disk.
    fn replicated(&self) -> Option<LogIndex> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let matched = |node| {
            let own = (node == self.config.node).then_some(self.durability.index); // RAFT-8
            own.or(leader.peers.get(&node).map(|progress| progress.matched)).unwrap_or_default().0
        };
        let membership = self.memberships.in_force();
        if planted!(self.config.planted, LearnerCounted) {
            let mut all: Vec<u64> = membership.nodes().into_iter().map(matched).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            return all.get(membership.voters().len() / 2).copied().map(LogIndex);
        }
        if planted!(self.config.planted, JointOneMajority) {
            return membership.finish().agreed(&matched).map(LogIndex);
        }
        membership.agreed(&matched).map(LogIndex) // RAFT-14
    }

    /// Whether an entry of the leader's own term is committed: only then does it know all that is (§8).
    pub(super) fn has_committed_own_term(&self) -> bool {
        let own: Option<Term> = Some(self.hard_state.term);
        self.is_leader() && self.log.term(self.commit) == own
    }
}
