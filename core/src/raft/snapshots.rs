//! Snapshots for followers that are too far behind, and forgetting entries that nobody needs (§7, figure 13).
//!
//! A leader asks its state machine for a snapshot when a follower that answers needs entries that were cut. A follower
//! replaces its state machine first and its log second: were it the other way round, a crash between would leave a state
//! machine that lacks entries which the log no longer has. [`super::Restored::reconcile`] mends a crash between.
//!
//! - `RAFT-11`: nothing is delivered while a snapshot is being installed.
//! - `RAFT-13`: with the log's restart, the snapshot's membership is in force.
//! - `RAFT-12`: a snapshot is acknowledged when state machine and log both start from it durably.

use super::event::Effect;
use super::members::Memberships;
use super::message::Message;
use super::progress::ProgressState;
use super::{Raft, RoleState};
use crate::types::{LogIndex, LogPosition, NodeId, Snapshot, Term, Time};
use alloc::vec::Vec;

impl Raft {
    /// Asks the state machine for a snapshot, unless it has been asked.
    pub(super) fn take_snapshot(&mut self, out: &mut Vec<Effect>) {
        if !core::mem::replace(&mut self.taking, true) {
            out.push(Effect::TakeSnapshot);
        }
    }

    /// Sends the snapshot to all who wait for one.
    pub(super) fn on_snapshot_taken(&mut self, snapshot: &Snapshot, now: Time, out: &mut Vec<Effect>) {
        self.taking = false;
        let is_overtaken = snapshot.position.index < self.log.base().index;
        let term = self.hard_state.term;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let mut is_wanted = false;
        for (to, progress) in &mut leader.peers {
            if let ProgressState::Snapshot { sent: sent @ None } = &mut progress.state {
                is_wanted = true;
                if !is_overtaken {
                    *sent = Some(now);
                    let message = Message::InstallSnapshot { term, snapshot: snapshot.clone() };
                    out.push(Effect::Send { to: *to, message });
                }
            }
        }
        if is_wanted && is_overtaken {
            // The log was cut past it while it was taken: the follower could not go on from it.
            self.take_snapshot(out);
        }
    }

    pub(super) fn on_install_response(&mut self, from: NodeId, matched: LogIndex, now: Time, out: &mut Vec<Effect>) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else { return };
        if matched > last {
            self.suspects += 1;
            return;
        }
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        progress.heard = now;
        if !progress.on_matched(matched, base) {
            progress.become_probe(); // The log was cut past the snapshot meanwhile.
        }
        self.advance_commit(now, out);
        self.resume(from, out);
        self.hand_over(out);
    }

    /// A follower receives a state machine (figure 13).
    pub(super) fn on_install_snapshot(
        &mut self,
        from: NodeId,
        term: Term,
        snapshot: Snapshot,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        if term < self.hard_state.term {
            self.answer_install(from, LogIndex(0), out);
            return;
        }
        if !self.follow(from, term, now, out) || self.installing.is_some() {
            return;
        }
        let position = snapshot.position;
        if self.log.has(position) || position.index <= self.commit {
            // Figure 13, step 6: the log leads up to it already and keeps what follows. It is committed all the same.
            self.commit = self.commit.max(position.index);
            self.deliver(out);
            self.answer_install(from, self.commit, out);
            return;
        }
        self.installing = Some((position, snapshot.membership.clone()));
        out.push(Effect::InstallSnapshot { snapshot });
    }

    /// The state machine is durable at `position`: the log follows.
    pub(super) fn on_snapshot_installed(&mut self, position: LogPosition, out: &mut Vec<Effect>) {
        let (ordered, membership) = self.installing.take().expect("a snapshot is installed only when one was ordered");
        assert!(ordered == position, "a snapshot at {} was not ordered", position.index);
        assert!(position.index > self.commit, "a snapshot replaces a state machine only by a later one");
        // Entries that were not committed are void; no append came in between, so none of them is the snapshot's.
        self.durability.void_after(self.commit);
        self.log.reset(position);
        // RAFT-13
        self.memberships = Memberships::new(position.index, self.config.membership_or_first(membership));
        self.commit = position.index;
        self.delivered = position.index;
        self.persist_reset(position, out);
        if let Some(leader) = self.leader() {
            self.answer_install(leader, position.index, out);
        }
    }

    /// The state machine refused the snapshot: log and state machine stay as they are.
    pub(super) fn on_snapshot_refused(&mut self) {
        self.installing.take().expect("a snapshot is refused only when one was ordered");
        self.suspects += 1;
    }

    fn answer_install(&mut self, to: NodeId, matched: LogIndex, out: &mut Vec<Effect>) {
        let request = self.durability.request_for(matched).max(self.term_request()); // RAFT-12
        let message = Message::InstallSnapshotResponse { term: self.hard_state.term, matched };
        self.promise(to, message, request, out);
    }

    /// The state machine is durable up to `through`: forget what is older, but for a tail that spares a follower which
    /// is a little behind a whole snapshot. The tail begins after the previous checkpoint at the earliest, or a group
    /// with little to say would hold the oldest segment of the log, which all groups share, for ever.
    pub(super) fn on_compact(&mut self, through: LogIndex, out: &mut Vec<Effect>) {
        let through = through.min(self.delivered);
        let previous = core::mem::replace(&mut self.compacted, through);
        if through <= self.log.base().index || self.installing.is_some() {
            return;
        }
        let tail = self.config.tail_entries_max;
        let base = if self.peers().is_empty() { through } else { self.log.tail_base(through, tail).max(previous) };
        if base > self.log.base().index {
            self.log.cut(base);
            out.push(Effect::Cut { base: self.log.base() });
        }
    }
}
