//! A leader whose disk stands still, or failed, gives the lead away.
//!
//! The others may commit without the leader's disk, but its clients wait for it: nothing is applied here before it is
//! durable here (`RAFT-11`). Heartbeats need no disk, so nobody else would ever notice. So the leader watches its own disk.
//!
//! - `RAFT-21`: a leader whose disk has had work for [`STALL_PATIENCE`] election timeouts and finished none of it tells the
//!   voter with the most of its log to campaign, and steps down; it and anyone else whose disk stands still does not
//!   campaign, whoever asks, until the disk finishes something. Safety does not depend on it: the heir wins a vote or does not.
//!
//! A group's only voter keeps the lead: nobody could take it. Not here: who syncs and how long that takes (`crate::log`).

use super::event::Effect;
use super::message::Message;
use super::{Raft, RoleState};
use crate::types::{NodeId, Time};
use alloc::vec::Vec;

/// Election timeouts that a disk may take without finishing anything. Less would make a drive that pauses now and then
/// (collecting garbage, say) cost more in elections than it does in waiting.
const STALL_PATIENCE: u32 = 2;

impl Raft {
    /// Whether the disk has worked for too long and finished nothing.
    pub(super) fn disk_is_stalled(&self, now: Time) -> bool {
        self.stalled_at().is_some_and(|at| now >= at)
    }

    /// When the disk is taken to stand still, unless it finishes something before.
    pub(super) fn stalled_at(&self) -> Option<Time> {
        self.durability.busy_since().map(|since| since.after(self.config.election_timeout * STALL_PATIENCE))
    }

    /// RAFT-21: hands the lead over without waiting for anything, since nothing may come.
    pub(super) fn give_way(&mut self, now: Time, out: &mut Vec<Effect>) {
        let heir = self.heir(now);
        out.push(Effect::GaveWay { heir });
        let term = self.hard_state.term;
        out.extend(heir.map(|to| Effect::Send { to, message: Message::TimeoutNow { term } }));
        self.become_follower(term, None, now, out);
    }

    /// The log's disk failed under a leader, whose process is about to end.
    pub(super) fn on_disk_failed(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.is_leader() && !self.is_sole_voter() {
            self.give_way(now, out); // RAFT-21
        }
    }

    /// Of the other voters that were heard lately, the one with the most of this log.
    fn heir(&self, now: Time) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let is_heard = |heard: Time| now < heard.after(self.config.election_timeout);
        let voters = leader.peers.iter().filter(|(peer, _)| self.membership().is_voter(**peer));
        let heard = voters.filter(|(_, progress)| is_heard(progress.heard));
        heard.max_by_key(|(_, progress)| progress.matched).map(|(peer, _)| *peer)
    }
}
