//! Snapshots for followers that are too far behind, and forgetting entries that nobody needs (§7, figure 13).
//!
//! A leader asks its state machine for a snapshot when a follower that answers needs entries that were cut. A follower
//! replaces its state machine first and its log second: were it the other way round, a crash between would leave a state
//! machine that lacks entries which the log no longer has. [`super::Restored::reconcile`] mends a crash between.
//!
//! - `RAFT-11`: nothing is delivered while a snapshot is being installed.
//! - `RAFT-13`: with the log's restart, the snapshot's membership is in force.
//! - `RAFT-12`: a snapshot is acknowledged when state machine and log both start from it durably.

use super::chunks::{Receiving, Sending};
use super::event::Effect;
use super::members::Memberships;
use super::message::{InstallOutcome, Message, SnapshotChunk};
use super::progress::ProgressState;
use super::{Raft, RoleState};
use crate::types::{LogIndex, LogPosition, NodeId, Snapshot, Term, Time};
use alloc::vec::Vec;

/// Most bytes of payload after a snapshot that is on its way which are kept for its receiver, or as many as it has itself.
const HELD_BYTES_MAX: usize = 64 << 20;

impl Raft {
    /// Sends those who wait for a snapshot the one that another follower is being sent, or asks for one.
    pub(super) fn provide_snapshot(&mut self, now: Time, out: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &self.role else { return };
        let of_others = leader.peers.values().filter_map(|progress| match &progress.state {
            ProgressState::Snapshot { sending: Some(sending) } => Some(sending.snapshot()),
            ProgressState::Snapshot { .. } | ProgressState::Probe | ProgressState::Replicate { .. } => None,
        });
        let newest = of_others.max_by_key(|snapshot| snapshot.position.index);
        match newest.filter(|snapshot| self.log.term(snapshot.position.index).is_some()).cloned() {
            Some(snapshot) => self.send_snapshot(&snapshot, now, out),
            None => self.take_snapshot(out),
        }
    }

    /// Asks the state machine for a snapshot, unless it has been asked.
    fn take_snapshot(&mut self, out: &mut Vec<Effect>) {
        if !core::mem::replace(&mut self.taking, true) {
            out.push(Effect::TakeSnapshot);
        }
    }

    pub(super) fn on_snapshot_taken(&mut self, snapshot: &Snapshot, now: Time, out: &mut Vec<Effect>) {
        self.taking = false;
        let is_overtaken = snapshot.position.index < self.log.base().index;
        let RoleState::Leader(leader) = &self.role else { return };
        let is_wanted =
            leader.peers.values().any(|progress| matches!(progress.state, ProgressState::Snapshot { sending: None }));
        if !is_wanted {
            return;
        }
        if is_overtaken {
            // The log was cut past it while it was taken: the follower could not go on from it.
            self.take_snapshot(out);
        } else {
            self.send_snapshot(snapshot, now, out);
        }
    }

    /// Begins to send the snapshot to all who wait for one.
    fn send_snapshot(&mut self, snapshot: &Snapshot, now: Time, out: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let mut receivers = Vec::new();
        for (to, progress) in &mut leader.peers {
            if let ProgressState::Snapshot { sending: sending @ None } = &mut progress.state {
                *sending = Some(Sending::new(snapshot.clone(), now));
                receivers.push(*to);
            }
        }
        for to in receivers {
            self.send_chunks(to, out);
        }
    }

    /// Sends a follower as much of its snapshot as may be on its way.
    fn send_chunks(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let (chunk_bytes, in_flight_max) = (self.config.snapshot_chunk_bytes, self.config.appends_in_flight_max);
        let term = self.hard_state.term;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(ProgressState::Snapshot { sending: Some(sending) }) =
            leader.peers.get_mut(&to).map(|progress| &mut progress.state)
        else {
            return;
        };
        while let Some(chunk) = sending.next(chunk_bytes, in_flight_max) {
            out.push(Effect::Send { to, message: Message::InstallSnapshot { term, chunk } });
        }
    }

    pub(super) fn on_install_response(
        &mut self,
        from: NodeId,
        outcome: InstallOutcome,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        match outcome {
            InstallOutcome::Installed(matched) if matched > last => self.suspects += 1,
            InstallOutcome::Installed(matched) => {
                progress.heard = now;
                if !progress.on_matched(matched, base) {
                    progress.become_probe(); // The log was cut past the snapshot meanwhile.
                }
                self.advance_commit(now, out);
                self.resume(from, now, out);
                self.hand_over(out);
            }
            InstallOutcome::Received { position, bytes } => {
                progress.heard = now;
                if let ProgressState::Snapshot { sending: Some(sending) } = &mut progress.state {
                    sending.on_received(position, bytes, now);
                    self.send_chunks(from, out);
                }
            }
        }
    }

    /// A follower receives a piece of a state machine (figure 13).
    pub(super) fn on_install_snapshot(
        &mut self,
        from: NodeId,
        term: Term,
        chunk: SnapshotChunk,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let position = chunk.position;
        if term < self.hard_state.term {
            // The newer term frees a leader that does not know of it.
            self.answer_install(from, InstallOutcome::Received { position, bytes: 0 }, out);
            return;
        }
        if !self.follow(from, term, now, out) {
            return;
        }
        if let Some((installing, _)) = &self.installing {
            if *installing == position {
                self.answer_install(from, InstallOutcome::Received { position, bytes: chunk.size }, out);
            }
            return;
        }
        if self.log.has(position) || position.index <= self.commit {
            // Figure 13, step 6: the log leads up to it already and keeps what follows. It is committed all the same.
            self.commit = self.commit.max(position.index);
            self.deliver(out);
            self.answer_install(from, InstallOutcome::Installed(self.commit), out);
            return;
        }
        let receiving = match self.receiving.take() {
            Some(receiving) if receiving.is_of(&chunk) || !receiving.gives_way_to(&chunk, term) => receiving,
            Some(_) | None => Receiving::new(&chunk, term),
        };
        let receiving = self.receiving.insert(receiving);
        if !receiving.is_of(&chunk) {
            return; // An overtaken piece of what the leader sent before.
        }
        let snapshot = receiving.take(&chunk, term);
        let bytes = if snapshot.is_some() { chunk.size } else { receiving.bytes() };
        self.answer_install(from, InstallOutcome::Received { position, bytes }, out);
        if let Some(snapshot) = snapshot {
            self.receiving = None;
            self.installing = Some((position, snapshot.membership.clone()));
            out.push(Effect::InstallSnapshot { snapshot });
        }
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
            self.answer_install(leader, InstallOutcome::Installed(position.index), out);
        }
    }

    /// The state machine refused the snapshot: log and state machine stay as they are.
    pub(super) fn on_snapshot_refused(&mut self) {
        self.installing.take().expect("a snapshot is refused only when one was ordered");
        self.suspects += 1;
    }

    fn answer_install(&mut self, to: NodeId, outcome: InstallOutcome, out: &mut Vec<Effect>) {
        let request = match outcome {
            InstallOutcome::Installed(matched) => self.durability.request_for(matched).max(self.term_request()), // RAFT-12
            InstallOutcome::Received { .. } => self.term_request(),
        };
        let message = Message::InstallSnapshotResponse { term: self.hard_state.term, outcome };
        self.promise(to, message, request, out);
    }

    /// The state machine is durable up to `through`: forget what is older, but for a tail that spares a follower which
    /// is a little behind a whole snapshot. The tail begins after the previous checkpoint at the earliest, or a group
    /// with little to say would hold the oldest segment of the log, which all groups share, for ever. What follows on a
    /// snapshot that is on its way is held as well, or a follower that takes long for it could not go on from it.
    pub(super) fn on_compact(&mut self, through: LogIndex, out: &mut Vec<Effect>) {
        let through = through.min(self.delivered);
        let previous = core::mem::replace(&mut self.compacted, through);
        if through <= self.log.base().index || self.installing.is_some() {
            return;
        }
        let tail = self.config.tail_entries_max;
        let base = if self.peers().is_empty() { through } else { self.log.tail_base(through, tail).max(previous) };
        let base = base.min(self.snapshot_on_its_way().unwrap_or(base));
        if base > self.log.base().index {
            self.log.cut(base);
            out.push(Effect::Cut { base: self.log.base() });
        }
    }

    /// The earliest position of a snapshot that a follower is being sent, unless the entries after it have become too many.
    fn snapshot_on_its_way(&self) -> Option<LogIndex> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let sent = leader.peers.values().filter_map(|progress| match &progress.state {
            ProgressState::Snapshot { sending: Some(sending) } => Some(sending.snapshot()),
            ProgressState::Snapshot { .. } | ProgressState::Probe | ProgressState::Replicate { .. } => None,
        });
        let is_held = |snapshot: &&Snapshot| {
            let (index, size) = (snapshot.position.index, snapshot.rows.len());
            let is_in_log = self.log.base().index <= index;
            is_in_log && self.log.payload_bytes(index, self.log.last().index) <= HELD_BYTES_MAX.max(size)
        };
        sent.filter(is_held).map(|snapshot| snapshot.position.index).min()
    }
}
