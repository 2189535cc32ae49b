//! Who votes, as the log says, and how a leader changes that: one learner at a time, or through a joint membership.
//!
//! A membership counts from the moment that its entry stands in the log, committed or not (Raft §6): a leader must not
//! count by an old rule what a later one will judge by a new rule. So the replica remembers which entries of its log
//! changed the membership, and forgets them with the entries.
//!
//! - `RAFT-13`: the membership in force is the one of the last membership entry in the log, from the entry's appending to
//!   its replacement; without one, what the state machine or the snapshot knew at its position.
//! - `RAFT-14`: whatever needs a quorum (commit, votes, pre-votes, the leader's lease, reads) takes it from the membership in
//!   force, both majorities while joint. Learners and strangers never count.
//! - `RAFT-15`: one change at a time: a leader begins one only when the last is committed and simple, and it finishes a
//!   joint one as soon as that is committed, whoever began it.
//! - `RAFT-16`: who votes neither in the last membership that it knows to be committed nor in a later one of its log does not
//!   campaign; a candidate or leader that does not vote in the membership in force counts itself out of every majority, and
//!   such a leader steps down when that membership is committed. (Who is about to leave must be able to campaign until
//!   then: it may be the only one that has the entry by which it leaves, thesis §4.2.2.)
//!
//! Source: Raft §6; thesis §4.2.1 (learners, "catching up new servers"), §4.2.2 (removing the leader), §4.3. Not here: the
//! rules of a membership itself (`crate::membership`).

use super::event::{Change, ChangeRefusal, Effect, Refusal};
use super::message::Message;
use super::progress::Progress;
use super::{Raft, RoleState};
use crate::membership::NODES_MAX;
use crate::planted::planted;
use crate::types::{Entry, LogIndex, LogPosition, Membership, NodeId, Payload, RequestId, Time};
use alloc::vec::Vec;
use core::time::Duration;

/// A learner may become a voter when it lacks at most so many entries of the leader's log: few enough to send while clients
/// wait, for until it has them it can stand in the way of a commit.
const CATCH_UP_ENTRIES_MAX: u64 = 64;

/// The memberships of the log, oldest first: the last one that is known to be committed, and all after it.
#[derive(Debug)]
pub(super) struct Memberships {
    history: Vec<(LogIndex, Membership)>,
}

impl Memberships {
    /// What is in force at `index`, whatever the log says after it.
    pub(super) fn new(index: LogIndex, membership: Membership) -> Memberships {
        Memberships { history: [(index, membership)].into() }
    }

    /// An entry was appended (`RAFT-13`).
    pub(super) fn note(&mut self, entry: &Entry) {
        if let Payload::Membership(membership) = &entry.payload {
            self.history.push((entry.position.index, membership.clone()));
        }
    }

    /// The entry at `from` and all after it were removed (`RAFT-13`).
    pub(super) fn truncate(&mut self, from: LogIndex) {
        assert!(self.history[0].0 < from, "RAFT-6: a committed membership would be replaced");
        self.history.retain(|(index, _)| *index < from);
    }

    /// Forgets what later committed entries have replaced.
    pub(super) fn forget_before(&mut self, commit: LogIndex) {
        let replaced = self.history.iter().skip(1).take_while(|(index, _)| *index <= commit).count();
        self.history.drain(..replaced);
    }

    pub(super) fn in_force(&self) -> &Membership {
        &self.last().1
    }

    /// The entry that put the membership into force.
    pub(super) fn since(&self) -> LogIndex {
        self.last().0
    }

    /// Whether the node votes in the last committed membership, or in one that may yet be replaced.
    pub(super) fn may_need(&self, node: NodeId) -> bool {
        self.history.iter().any(|(_, membership)| membership.is_voter(node))
    }

    fn last(&self) -> &(LogIndex, Membership) {
        self.history.last().expect("a membership is replaced, never removed")
    }
}

impl Raft {
    /// Who votes and who learns, as this replica's log says.
    pub fn membership(&self) -> &Membership {
        self.memberships.in_force()
    }

    /// How far each follower's log is known to be durable and equal; nothing unless this replica leads.
    pub fn matched(&self) -> Vec<(NodeId, LogIndex)> {
        match &self.role {
            RoleState::Leader(leader) => {
                leader.peers.iter().map(|(peer, progress)| (*peer, progress.matched)).collect()
            }
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => Vec::new(),
        }
    }

    /// Followers that have not answered for `patience`; nobody unless this replica leads.
    pub fn silent(&self, now: Time, patience: Duration) -> impl Iterator<Item = NodeId> {
        let peers = match &self.role {
            RoleState::Leader(leader) => Some(&leader.peers),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => None,
        };
        let silent = move |progress: &Progress| now >= progress.heard.after(patience);
        peers.into_iter().flatten().filter(move |(_, progress)| silent(progress)).map(|(peer, _)| *peer)
    }

    /// Whether this replica votes in its own membership.
    pub(super) fn is_voter(&self) -> bool {
        self.membership().is_voter(self.config.node)
    }

    /// Whether this replica may stand for election (`RAFT-16`, `RAFT-25`).
    pub(super) fn may_campaign(&self) -> bool {
        let is_able = self.is_whole() || planted!(self.config.planted, LostLogVotes);
        is_able && self.memberships.may_need(self.config.node)
    }

    /// Everyone else whose vote counts.
    pub(super) fn electors(&self) -> Vec<NodeId> {
        self.membership().all_voters().into_iter().filter(|voter| *voter != self.config.node).collect()
    }

    /// Everyone else who replicates the group. A leader's include those who are leaving.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        match &self.role {
            RoleState::Leader(leader) => leader.peers.keys().copied().collect(),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => {
                self.membership().nodes().into_iter().filter(|node| *node != self.config.node).collect()
            }
        }
    }

    /// The log grows by an entry, in memory.
    pub(super) fn push(&mut self, entry: Entry) {
        self.memberships.note(&entry); // RAFT-13
        self.log.push(entry);
    }

    /// The log loses the entry at `from` and all after it, in memory.
    pub(super) fn truncate(&mut self, from: LogIndex) {
        self.memberships.truncate(from); // RAFT-13
        self.log.truncate(from);
    }

    pub(super) fn on_change(&mut self, id: RequestId, change: &Change, now: Time, out: &mut Vec<Effect>) {
        let reason = match &self.role {
            RoleState::Leader(state) if state.transfer.is_some() => Refusal::Busy, // RAFT-17
            RoleState::Leader(_) => match self.changed_by(change, now) {
                Ok(next) => return self.begin_change(id, next, now, out),
                Err(reason) => Refusal::Change(reason),
            },
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => {
                Refusal::NotLeader { leader: self.leader() }
            }
        };
        out.push(Effect::Refused { id, reason });
    }

    /// The membership that a change leads to first.
    fn changed_by(&self, change: &Change, now: Time) -> Result<Membership, ChangeRefusal> {
        let membership = self.membership();
        // RAFT-15
        if self.memberships.since() > self.commit || membership.is_joint() {
            return Err(ChangeRefusal::InProgress);
        }
        match change {
            Change::AddLearner(node) => membership.with_learner(*node).ok_or(ChangeRefusal::Unchanged),
            Change::RemoveLearner(node) => membership.without_learner(*node).ok_or(ChangeRefusal::Unchanged),
            Change::SetVoters(voters) if voters.is_empty() => Err(ChangeRefusal::NoVoters),
            Change::SetVoters(voters) if voters.len() > NODES_MAX => Err(ChangeRefusal::TooMany),
            Change::SetVoters(voters) if voters.iter().eq(membership.voters()) => Err(ChangeRefusal::Unchanged),
            Change::SetVoters(voters) => {
                let lags = |node: &&NodeId| !membership.is_voter(**node) && !self.has_caught_up(**node, now);
                match voters.iter().find(lags) {
                    Some(node) => Err(ChangeRefusal::NotCaughtUp { node: *node }),
                    None => Ok(membership.begin(voters)),
                }
            }
        }
    }

    /// Whether a node has answered in this term and lately, and lacks little: one that is down would take the quorum of a
    /// small group with it.
    fn has_caught_up(&self, node: NodeId, now: Time) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.peers.get(&node).is_some_and(|progress| {
            let matched = progress.matched;
            matched > LogIndex(0)
                && matched.0 + CATCH_UP_ENTRIES_MAX >= self.log.last().index.0
                && now < progress.heard.after(self.config.election_timeout)
        })
    }

    fn begin_change(&mut self, id: RequestId, next: Membership, now: Time, out: &mut Vec<Effect>) {
        let index = self.log.last().index.next();
        let RoleState::Leader(leader) = &mut self.role else { return };
        for node in next.nodes() {
            if node != self.config.node {
                leader.peers.entry(node).or_insert_with(|| Progress::new(index, now));
            }
        }
        leader.change = Some(id);
        self.append_membership(next, out);
    }

    /// Appends a membership, and says where it stands if that is the last of a change.
    fn append_membership(&mut self, next: Membership, out: &mut Vec<Effect>) {
        assert!(self.membership().may_become(&next), "MEMBER-3: {:?} to {next:?}", self.membership());
        let position = LogPosition { index: self.log.last().index.next(), term: self.hard_state.term };
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_add(next.encoded_size());
        if let Some(id) = leader.change.take_if(|_| !next.is_joint()) {
            out.push(Effect::Proposed { id, position });
        }
        self.append_own(Payload::Membership(next), out);
        for to in self.peers() {
            self.prompt(to, out);
        }
    }

    /// Goes on from the membership in force once it is committed.
    pub(super) fn settle_membership(&mut self, now: Time, out: &mut Vec<Effect>) {
        if !self.is_leader() || self.memberships.since() > self.commit {
            return;
        }
        if self.membership().is_joint() {
            let next = self.membership().finish();
            self.append_membership(next, out); // RAFT-15
            return;
        }
        // Who left hears that it is committed, if the network will have it, so that it stops asking for votes.
        let gone: Vec<NodeId> = self.peers().into_iter().filter(|peer| !self.membership().contains(*peer)).collect();
        for peer in gone {
            self.send_append(peer, out);
            let RoleState::Leader(leader) = &mut self.role else { return };
            leader.peers.remove(&peer);
        }
        if !self.is_voter() {
            self.leave(now, out);
        }
    }

    /// RAFT-16: a leader that does not vote has led its group out of its own hands. A voter with the whole log takes over
    /// at once (thesis §3.10), or whoever runs out of patience first.
    fn leave(&mut self, now: Time, out: &mut Vec<Effect>) {
        let (term, last) = (self.hard_state.term, self.log.last().index);
        let heir =
            self.matched().into_iter().find(|(peer, matched)| *matched == last && self.membership().is_voter(*peer));
        out.extend(heir.map(|(to, _)| Effect::Send { to, message: Message::TimeoutNow { term } }));
        self.become_follower(term, None, now, out);
    }
}
