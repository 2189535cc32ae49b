//! What a leader knows of one follower, and what it may send to it.
//!
//! A follower is first *probed* (one append at a time) until the leader knows where the logs agree; then entries are
//! *replicated* in a pipeline of a few unanswered appends (thesis §10.2.2); one that needs entries that the leader has
//! cut waits for a *snapshot* (thesis §5). Loss needs no timer of its own: a heartbeat names the entry that the
//! follower should have by then, and its refusal leads back to probing.
//!
//! - `RAFT-8` (the leader's half): `matched` only grows, and only by what the follower said is durable.

use super::chunks::Sending;
use super::forward::Forwards;
use super::message::AppendOutcome;
use crate::types::{LogIndex, Time};
use alloc::collections::VecDeque;

/// One follower, as its leader sees it.
#[derive(Debug)]
pub(super) struct Progress {
    /// The follower's log is durable and equal to the leader's up to here.
    pub(super) matched: LogIndex,
    /// The next entry to send. Always after `matched`.
    pub(super) next: LogIndex,
    /// When the follower last answered in this term, or when the term began.
    pub(super) heard: Time,
    /// The latest ReadIndex round that the follower answered.
    pub(super) round: u64,
    /// When the last heartbeat round began that the follower answered; `None` before it has.
    pub(super) round_began: Option<Time>,
    /// The last entry that the follower waits for on behalf of its own clients.
    pub(super) asked: LogIndex,
    /// The last commit index that it was sent with entries, or because it waits.
    pub(super) told: LogIndex,
    /// The commands that it handed over.
    pub(super) forwards: Forwards,
    /// How to send.
    pub(super) state: ProgressState,
}

/// How a leader sends to a follower.
#[derive(Debug)]
pub(super) enum ProgressState {
    /// Where the logs agree is unknown: only probes and heartbeats, until one is answered.
    Probe,
    /// Entries flow. Holds the last index of each append that is not answered, oldest first.
    Replicate { in_flight: VecDeque<LogIndex> },
    /// Waits for a snapshot, or is sent one.
    Snapshot { sending: Option<Sending> },
}

impl Progress {
    pub(super) fn new(next: LogIndex, now: Time) -> Progress {
        Progress {
            matched: LogIndex(0),
            next,
            heard: now,
            round: 0,
            round_began: None,
            asked: LogIndex(0),
            told: LogIndex(0),
            forwards: Forwards::default(),
            state: ProgressState::Probe,
        }
    }

    /// Whether another append with entries may leave.
    pub(super) fn has_window(&self, appends_in_flight_max: usize) -> bool {
        match &self.state {
            ProgressState::Replicate { in_flight } => in_flight.len() < appends_in_flight_max,
            ProgressState::Probe | ProgressState::Snapshot { .. } => false,
        }
    }

    /// An append with entries up to `last` left.
    pub(super) fn on_sent(&mut self, last: LogIndex) {
        match &mut self.state {
            ProgressState::Replicate { in_flight } => in_flight.push_back(last),
            ProgressState::Probe | ProgressState::Snapshot { .. } => {
                unreachable!("only a replicating follower has a window")
            }
        }
        self.next = last.next();
    }

    /// Takes in an answer to an append, true if the follower should be sent more. `agreement` is where the leader's log
    /// may at most agree with the follower's, given the hint of a rejection; `base` is where the leader's log begins.
    pub(super) fn on_outcome(&mut self, outcome: AppendOutcome, agreement: LogIndex, base: LogIndex) -> bool {
        match outcome {
            AppendOutcome::Matched(matched) => self.on_matched(matched, base),
            AppendOutcome::Rejected { rejected, .. } => self.on_rejected(rejected, agreement),
        }
    }

    /// The follower is durable up to `matched`. True if it can take entries.
    pub(super) fn on_matched(&mut self, matched: LogIndex, base: LogIndex) -> bool {
        self.matched = self.matched.max(matched); // RAFT-8: an answer that was overtaken takes nothing back.
        match &mut self.state {
            ProgressState::Replicate { in_flight } => {
                while in_flight.front().is_some_and(|last| *last <= self.matched) {
                    in_flight.pop_front();
                }
                self.next = self.next.max(self.matched.next());
                true
            }
            ProgressState::Probe => {
                self.become_replicate();
                true
            }
            ProgressState::Snapshot { .. } => {
                let caught_up = self.matched >= base;
                if caught_up {
                    self.become_replicate();
                }
                caught_up
            }
        }
    }

    /// The follower does not have the entry at `rejected`. False when the answer is stale.
    fn on_rejected(&mut self, rejected: LogIndex, agreement: LogIndex) -> bool {
        let stale = match &self.state {
            ProgressState::Probe => rejected != self.next.prev() || rejected <= self.matched,
            ProgressState::Replicate { .. } => rejected <= self.matched || rejected >= self.next,
            ProgressState::Snapshot { .. } => true,
        };
        if stale {
            return false;
        }
        self.become_probe();
        // §5.3: step back, past a whole term at once, but never to what is known to match.
        self.next = rejected.min(agreement.next()).max(self.matched.next());
        true
    }

    pub(super) fn become_probe(&mut self) {
        self.state = ProgressState::Probe;
        self.next = self.next.max(self.matched.next());
    }

    pub(super) fn become_snapshot(&mut self) {
        self.state = ProgressState::Snapshot { sending: None };
    }

    fn become_replicate(&mut self) {
        self.state = ProgressState::Replicate { in_flight: VecDeque::new() };
        self.next = self.matched.next();
    }
}
