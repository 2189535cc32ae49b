//! Handing the lead to a chosen voter (thesis §3.10): for a node that is about to be stopped, or for one that is better
//! placed.
//!
//! The leader stops taking proposals, waits until all that it took is committed and in its successor's log, and tells the
//! successor to campaign at once. So whoever proposed something hears what became of it, and not that nobody knows. The
//! successor skips the pre-vote, which everyone with a live leader would leave unanswered, and its request for votes says
//! that the leader itself wanted it. Nothing here is needed for safety: the successor wins a vote of its term or does not.
//!
//! - `RAFT-17`: a leader that hands over takes no proposals and no changes, for one election timeout at most.
//! - `RAFT-18`: only whom its own live leader asked campaigns past a live leader: a `TimeoutNow` of another term or of another
//!   node is ignored, and so is one to a replica that may not campaign.

use super::event::{ChangeRefusal, Effect, Refusal};
use super::message::Message;
use super::{Raft, RoleState};
use crate::types::{NodeId, RequestId, Term, Time};
use alloc::vec::Vec;

/// A transfer of the lead under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// The successor.
    to: NodeId,
    /// When the leader takes proposals again, if it still leads.
    pub(super) until: Time,
}

impl Raft {
    pub(super) fn on_transfer(&mut self, id: RequestId, to: NodeId, now: Time, out: &mut Vec<Effect>) {
        let refused = |reason| Effect::Refused { id, reason };
        let leader = self.leader();
        let is_voter = self.membership().voters().contains(&to);
        let RoleState::Leader(state) = &mut self.role else {
            out.push(refused(Refusal::NotLeader { leader }));
            return;
        };
        if to == self.config.node {
            out.push(refused(Refusal::Change(ChangeRefusal::Unchanged)));
        } else if !is_voter {
            out.push(refused(Refusal::Change(ChangeRefusal::NotVoter { node: to })));
        } else if state.transfer.is_some() {
            out.push(refused(Refusal::Busy));
        } else {
            state.transfer = Some(Transfer { to, until: now.after(self.config.election_timeout) });
            out.push(Effect::TransferBegun { id });
            self.hand_over(out);
        }
    }

    /// Tells the successor to campaign if it has the whole log and all of it is committed; it is told again with each of its
    /// answers.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Effect>) {
        let (term, last) = (self.hard_state.term, self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { to, .. }) = leader.transfer else { return };
        if self.commit == last && leader.peers.get(&to).is_some_and(|progress| progress.matched == last) {
            leader.lease.give_up(); // RAFT-22: whoever this reaches, and whenever, campaigns past the leader.
            out.push(Effect::Send { to, message: Message::TimeoutNow { term } });
        }
    }

    /// The leader wants this replica to take over.
    pub(super) fn on_timeout_now(&mut self, from: NodeId, term: Term, now: Time, out: &mut Vec<Effect>) {
        let follows = matches!(&self.role, RoleState::Follower { following: Some(known), .. } if known.leader == from);
        // RAFT-18
        let is_able = self.is_voter() && self.may_campaign() && self.installing.is_none() && !self.disk_is_stalled(now); // RAFT-16, RAFT-21
        if follows && term == self.hard_state.term && is_able {
            self.become_candidate(super::election::Campaign::Handover, now, out);
        }
    }
}
