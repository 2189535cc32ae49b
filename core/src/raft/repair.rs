//! A replica whose log was lost: how it comes back without breaking what it had promised.
//!
//! A replica that forgot entries which it had acknowledged must not help to elect a leader that lacks them: each of those
//! entries may be committed because of its acknowledgement. What it promised beside its entries, term and vote, it still
//! knows (`log::HardStates`). So it goes on as a follower that does not vote: it takes entries, which count as those of
//! anybody, and asks its leader how far the leader's log reaches. Once its own log, durably and as the leader's, reaches
//! that far, it has whatever it had acknowledged and could still matter, and votes again.
//!
//! Why that is enough: let an entry be committed in term *T* with an acknowledgement from before the loss. The replica was in
//! term *T* then and still is, or in a later one, so the leader that it asks leads *T* or a later term. If *T*, the
//! leader had the entry in its log before it could be acknowledged. If a later one, the voters that elected it did so
//! without this replica's help after the loss, so one of them had the entry, and the leader has it too (§5.4.3). An
//! acknowledgement from before the loss that the network delivers late changes nothing in this: it says what the leader
//! will have given the replica by the time it votes.
//!
//! - `RAFT-25`: a replica that lost its log neither votes nor campaigns until its log durably holds all that the leader of its
//!   term held when it was asked, after the loss.
//!
//! Sources: Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage* (FAST 2018), §3; the question to the leader
//! is that of a recovering replica in Liskov and Cowling, *Viewstamped Replication Revisited* (2012), §4.3.

use super::event::{Effect, Role};
use super::message::{Ask, Message};
use super::progress::ProgressState;
use super::{Raft, RoleState};
use crate::types::{LogIndex, NodeId, Term, Time};
use alloc::vec::Vec;

/// How far a replica that lost its log has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repair {
    /// The last question to the leader of this term, and when it was put.
    asked: Option<(Ask, Time)>,
    /// What the leader of this term answered.
    target: Option<LogIndex>,
}

impl Raft {
    /// Whether its log has all that it ever acknowledged (`RAFT-25`).
    pub fn is_whole(&self) -> bool {
        !self.hard_state.impaired
    }

    /// A leader was heard. `matched`: the log equals the leader's up to here, or not at all where the leader looked.
    pub(super) fn repair(&mut self, leader: NodeId, matched: Option<LogIndex>, now: Time, out: &mut Vec<Effect>) {
        if self.is_whole() {
            return;
        }
        match (self.repair.target, matched) {
            (Some(target), Some(matched)) if matched >= target => {
                // RAFT-25: the request that makes this durable comes after those of the entries.
                self.hard_state.impaired = false;
                self.mark_hard_state();
                self.repair = Repair::default();
                out.push(Effect::Repaired { through: target });
            }
            (Some(_), Some(_)) => {}
            // The leader may think that the log is as it was, or it was told so by a message that came late.
            (None, _) | (Some(_), None) => {
                let again = |asked: Time| now >= asked.after(self.config.heartbeat_interval);
                if self.repair.asked.is_none_or(|(_, asked)| again(asked)) {
                    let ask = self.forward.ask();
                    self.repair = Repair { asked: Some((ask, now)), target: None };
                    let (term, last) = (self.hard_state.term, self.log.last().index);
                    out.push(Effect::Send { to: leader, message: Message::RecoverLog { term, ask, last } });
                }
            }
        }
    }

    /// Whatever another leader answered says nothing of this one.
    pub(super) fn forget_repair(&mut self) {
        self.repair = Repair::default();
    }

    /// A follower lost its log, but for what is up to `last`: all that it said before is void, as far as sending goes.
    /// Nothing that was committed with its word becomes uncommitted by that.
    pub(super) fn on_recover_log(
        &mut self,
        from: NodeId,
        term: Term,
        ask: Ask,
        last: LogIndex,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        if !self.serves(from, term) {
            return;
        }
        let own_last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        progress.matched = LogIndex(0);
        progress.next = progress.next.min(last.next());
        progress.state = ProgressState::Probe;
        out.push(Effect::Send { to: from, message: Message::RecoverLogResponse { term, ask, last: own_last } });
        self.resume(from, now, out);
    }

    pub(super) fn on_recover_log_response(&mut self, from: NodeId, term: Term, ask: Ask, last: LogIndex) {
        let is_ours = self.repair.asked.is_some_and(|(asked, _)| asked == ask);
        if is_ours && term == self.hard_state.term && self.role() == Role::Follower && self.leader() == Some(from) {
            self.repair.target = Some(last);
        }
    }
}
