//! Reads without a round: the lease of a leader (thesis §6.4.1), where the operator bounds the drift of clocks.
//!
//! A follower that has heard its leader helps nobody else for an election timeout. So a leader that knows when a quorum
//! heard it knows until when there is no other leader, and may answer reads from what it has committed. It knows only when
//! it *sent* what the quorum answered, which is earlier, and its clock may be slow where theirs are fast: if no clock runs
//! at less than `1 - d` or more than `1 + d` of true time, an election timeout of a follower takes at least `T / (1 + d)`, and
//! a lease of `T (1 - d) / (1 + d)` on the leader's clock takes at most as long.
//!
//! - `RAFT-22`: a leader answers a read by its lease only before the lease's end, counted from the beginning of the latest
//!   heartbeat round that a quorum answered, and never after it told anyone to campaign: a `TimeoutNow` may arrive at any
//!   time, and who obeys it is helped by everyone (`RAFT-18`). Its term ends without a lease then.
//! - `RAFT-23`: a replica that has heard a leader helps no candidate for an election timeout, but for one that its leader
//!   asked. What it hears of other terms does not free it, and neither does a restart: it begins by waiting as if it had
//!   heard a leader just before it died. This holds whether or not this replica's own operator states a bound.
//!
//! The read is linearizable at the moment at which the clock was read for the step: the parent reads it after the request
//! came. A quorum that answered the leader shares a voter with every quorum that could elect another before the lease ends,
//! also where the membership changes: the membership in force is the newest that the leader knows, and older ones are held
//! back by the same voters (`RAFT-14`, `RAFT-15`).
//!
//! Not here: confirming the lead by a round (`reads`), which is what happens when there is no lease.

use super::{Raft, RoleState};
use crate::planted::planted;
use crate::types::Time;
use alloc::collections::VecDeque;
use core::time::Duration;

/// The unit of a clock's drift.
pub(super) const PARTS: u32 = 1_000_000;

/// Heartbeat rounds whose beginning is remembered: more than there are in an election timeout of any sensible ratio.
const ROUNDS_MAX: usize = 64;

/// What a leader's lease rests on, beside what its followers answered.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The number of each of the latest heartbeat rounds, and when it began.
    rounds: VecDeque<(u64, Time)>,
    /// Somebody was told to campaign in this term.
    is_given_up: bool,
}

impl Lease {
    /// When the heartbeat round began before which a message that carries this number did not leave.
    pub(super) fn began(&self, round: u64) -> Option<Time> {
        self.rounds.iter().rev().find(|(number, _)| *number <= round).map(|(_, began)| *began)
    }

    /// There is no lease in this term any more.
    pub(super) fn give_up(&mut self) {
        self.is_given_up = true;
    }
}

impl Raft {
    /// Heartbeats leave now: they name a round whose beginning is known, so that their answers extend the lease.
    pub(super) fn begin_heartbeat_round(&mut self, now: Time) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if self.config.clock_drift_ppm_max.is_none() {
            return;
        }
        self.round += 1; // RAFT-9: numbers are never used again.
        leader.lease.rounds.push_back((self.round, now));
        if leader.lease.rounds.len() > ROUNDS_MAX {
            leader.lease.rounds.pop_front();
        }
    }

    /// Whether no other leader can have been elected by `now` (`RAFT-22`).
    pub(super) fn holds_lease(&self, now: Time) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let Some(length) = self.lease_length().filter(|_| !leader.lease.is_given_up) else { return false };
        let own = self.config.node;
        // Moments are counted from 1, so that 0 stands for never.
        let answered = |node| {
            let began = leader.peers.get(&node).and_then(|progress| progress.round_began);
            if node == own { u64::MAX } else { began.map_or(0, |began| began.0 + 1) }
        };
        // RAFT-14. A sole voter needs no clock.
        self.membership().agreed(&answered).is_some_and(|answered| {
            let is_sole = answered == u64::MAX;
            is_sole || (answered > 0 && now < Time(answered - 1).after(length))
        })
    }

    /// How long a lease lasts on this clock; `None` where clocks are not trusted.
    fn lease_length(&self) -> Option<Duration> {
        let drift = self.config.clock_drift_ppm_max?;
        let timeout = self.config.election_timeout;
        let drift = if planted!(self.config.planted, LeaseIgnoresDrift) { 0 } else { drift };
        let micros = timeout.as_micros() * u128::from(PARTS - drift) / u128::from(PARTS + drift);
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}
