//! Who leads: pre-votes, votes, and the change from one role to another.
//!
//! A follower that hears nothing first asks whether it would win (thesis §9.6) and raises its term only if a quorum says
//! yes, so a replica that was cut off does not depose a good leader when it returns. A replica whose leader is alive
//! does not even listen (thesis §4.2.3).
//!
//! - `RAFT-1`: one vote per term. - `RAFT-2`: the vote is durable before it leaves. - `RAFT-7`: so is the candidacy.
//! - `RAFT-10`: no help to a candidate while the leader is alive, unless (`RAFT-18`) the leader itself asked it to campaign.
//! - `RAFT-23`: who has heard a leader, in this life or the last, helps no other within the least time after which it would
//!   campaign itself, whatever becomes of its term.
//! - `RAFT-14`: votes are counted by the membership in force. Whom a voter helps does not depend on its membership: its log
//!   may lack the entry by which it, or the candidate, votes (Raft §6; thesis §4.2.3).

use super::event::{Effect, Role};
use super::lease::Lease;
use super::message::Message;
use super::progress::Progress;
use super::reads::Reads;
use super::{Following, Leader, Raft, RoleState};
use crate::planted::planted;
use crate::types::{HardState, LogPosition, NodeId, Payload, PersistId, Term, Time};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Why a replica stands for election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// It heard of no leader, and a quorum would vote for it.
    Patience,
    /// Its leader asked it to take over.
    Handover,
}

impl Raft {
    /// Patience ended without a leader.
    pub(super) fn on_election_deadline(&mut self, now: Time, out: &mut Vec<Effect>) {
        if !self.may_campaign() {
            self.become_follower(self.hard_state.term, None, now, out); // RAFT-16: it only forgets the leader.
            return;
        }
        if self.must_wait() || self.disk_is_stalled(now) {
            let later = self.random_election_at(now);
            match &mut self.role {
                RoleState::Follower { election_at, .. }
                | RoleState::PreCandidate { election_at, .. }
                | RoleState::Candidate { election_at, .. } => *election_at = later,
                RoleState::Leader(_) => unreachable!("a leader has no election deadline"),
            }
            return;
        }
        self.become_pre_candidate(now, out);
    }

    /// RAFT-16: whoever learns in the middle of its campaign that it has left the group gives up.
    pub(super) fn stand_down_if_gone(&mut self, now: Time, out: &mut Vec<Effect>) {
        if matches!(self.role(), Role::PreCandidate | Role::Candidate) && !self.may_campaign() {
            self.become_follower(self.hard_state.term, None, now, out);
        }
    }

    /// Whether campaigning (again) could not end well: the log is about to be replaced by a snapshot, or the disk has
    /// not even taken the vote of the campaign that is under way.
    fn must_wait(&self) -> bool {
        match &self.role {
            RoleState::Candidate { ballot, .. } => !self.durability.is_done(*ballot),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } => self.installing.is_some(),
            RoleState::Leader(_) => false,
        }
    }

    /// "Would you vote for me?" Changes nothing here (thesis §9.6).
    pub(super) fn on_pre_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last_log: LogPosition,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        if self.has_live_leader(now) {
            return; // RAFT-10
        }
        let own = self.hard_state.term;
        let is_free = term > own || (term == own && self.may_vote_for(from));
        let granted = self.may_vote() && self.is_up_to_date(last_log) && is_free;
        if granted {
            out.push(Effect::Send { to: from, message: Message::PreVoteResponse { term, granted } });
        } else {
            // The own term lets a candidate that lags behind catch up.
            let response = Message::PreVoteResponse { term: own, granted };
            self.promise(from, response, self.durability.hard_state, out);
        }
    }

    pub(super) fn on_pre_vote_response(
        &mut self,
        from: NodeId,
        term: Term,
        granted: bool,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let own = self.hard_state.term;
        if !granted && term > own {
            self.become_follower(term, None, now, out);
            return;
        }
        if let RoleState::PreCandidate { granted: yes, .. } = &mut self.role
            && granted
            && term == Term(own.0 + 1)
        {
            yes.insert(from);
            // RAFT-14
            if self.memberships.in_force().has_quorum(&|node| yes.contains(&node)) {
                self.become_candidate(Campaign::Patience, now, out);
            }
        }
    }

    /// Asked for a vote (figure 2, "RequestVote RPC").
    pub(super) fn on_request_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last_log: LogPosition,
        campaign: Campaign,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        if campaign == Campaign::Patience && self.has_live_leader(now) {
            return; // RAFT-10, and RAFT-18 for the exception: not even the term is looked at.
        }
        if term > self.hard_state.term {
            self.become_follower(term, None, now, out);
        }
        // RAFT-1: one vote per term, and only for a log that has all that is committed (§5.4.1).
        let is_free = term == self.hard_state.term && self.may_vote_for(from);
        let granted = self.may_vote() && is_free && self.is_up_to_date(last_log);
        if granted {
            if self.hard_state.vote.is_none() {
                self.hard_state.vote = Some(from);
                self.mark_hard_state();
            }
            self.become_follower(term, None, now, out);
        }
        let message = Message::RequestVoteResponse { term: self.hard_state.term, granted };
        if planted!(self.config.planted, VoteBeforeDurable) {
            out.push(Effect::Send { to: from, message });
        } else {
            self.promise(from, message, self.durability.hard_state, out); // RAFT-2
        }
    }

    pub(super) fn on_request_vote_response(
        &mut self,
        from: NodeId,
        term: Term,
        granted: bool,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        if term > self.hard_state.term {
            self.become_follower(term, None, now, out);
        } else if term == self.hard_state.term && granted {
            self.count_vote(from, now, out);
        }
    }

    /// The candidate's own vote may be durable now.
    pub(super) fn on_ballot_persisted(&mut self, now: Time, out: &mut Vec<Effect>) {
        if let RoleState::Candidate { ballot, .. } = &self.role
            && self.durability.is_done(*ballot)
        {
            self.count_vote(self.config.node, now, out); // RAFT-7
        }
    }

    fn count_vote(&mut self, from: NodeId, now: Time, out: &mut Vec<Effect>) {
        if let RoleState::Candidate { granted, .. } = &mut self.role {
            granted.insert(from);
            // RAFT-14
            if self.memberships.in_force().has_quorum(&|node| granted.contains(&node)) {
                self.become_leader(now, out);
            }
        }
    }

    /// Whether a leader was heard, or may have been, within the least time after which anyone may campaign.
    fn has_live_leader(&self, now: Time) -> bool {
        // RAFT-23. A leader steps down by itself when it loses its quorum.
        self.is_leader() || now < self.promised_until
    }

    /// RAFT-25
    fn may_vote(&self) -> bool {
        self.is_whole() || planted!(self.config.planted, LostLogVotes)
    }

    fn may_vote_for(&self, candidate: NodeId) -> bool {
        match self.hard_state.vote {
            Some(vote) => vote == candidate,
            None => self.leader().is_none(),
        }
    }

    /// §5.4.1: the log that ends in the later term, or is longer in the same one, is the more up-to-date.
    fn is_up_to_date(&self, last_log: LogPosition) -> bool {
        let own = self.log.last();
        (last_log.term, last_log.index) >= (own.term, own.index)
    }

    /// Follows `following`, or nobody yet, in `term`.
    pub(super) fn become_follower(
        &mut self,
        term: Term,
        following: Option<Following>,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        self.enter_term(term, None);
        let election_at = self.random_election_at(now);
        self.change_role(RoleState::Follower { following, election_at }, now, out);
    }

    /// Asks whether it would win, without raising its term (thesis §9.6).
    fn become_pre_candidate(&mut self, now: Time, out: &mut Vec<Effect>) {
        let election_at = self.random_election_at(now);
        let granted = BTreeSet::from([self.config.node]);
        self.change_role(RoleState::PreCandidate { granted, election_at }, now, out);
        if self.is_sole_voter() {
            self.become_candidate(Campaign::Patience, now, out);
            return;
        }
        let message = Message::PreVote { term: Term(self.hard_state.term.0 + 1), last_log: self.log.last() };
        out.extend(self.electors().into_iter().map(|to| Effect::Send { to, message: message.clone() }));
    }

    /// Stands for election (§5.2). Its request and its own vote wait for the disk.
    pub(super) fn become_candidate(&mut self, campaign: Campaign, now: Time, out: &mut Vec<Effect>) {
        assert!(self.may_campaign(), "RAFT-16: a replica that is not needed campaigns");
        self.enter_term(Term(self.hard_state.term.0 + 1), Some(self.config.node));
        let ballot = self.durability.hard_state;
        let election_at = self.random_election_at(now);
        self.change_role(RoleState::Candidate { granted: BTreeSet::new(), ballot, election_at }, now, out);
        let (term, last_log) = (self.hard_state.term, self.log.last());
        let message = Message::RequestVote { term, last_log, handover: campaign == Campaign::Handover };
        for to in self.electors() {
            // RAFT-7: the ballot is on disk after every entry that `last_log` boasts of.
            self.promise(to, message.clone(), ballot, out);
        }
    }

    /// A quorum voted for this replica. Its first entry is a no-op, for it may commit nothing older by itself (§8).
    fn become_leader(&mut self, now: Time, out: &mut Vec<Effect>) {
        let next = self.log.last().index.next();
        let peers = self.peers().into_iter().map(|peer| (peer, Progress::new(next, now))).collect();
        let leader = Leader {
            peers,
            heartbeat_at: now.after(self.config.heartbeat_interval),
            uncommitted_bytes: self.log.payload_bytes(self.commit, self.log.last().index),
            reads: Reads::default(),
            change: None,
            transfer: None,
            lease: Lease::default(),
        };
        self.change_role(RoleState::Leader(Box::new(leader)), now, out);
        self.append_own(Payload::Noop, out);
        for to in self.peers() {
            self.send_append(to, out);
        }
        self.settle_membership(now, out);
    }

    /// Moves to `term` with `vote` if it is newer; what was to be said in the older one stays unsaid.
    fn enter_term(&mut self, term: Term, vote: Option<NodeId>) {
        assert!(term >= self.hard_state.term, "terms never fall");
        if term > self.hard_state.term {
            self.hard_state = HardState { term, vote, ..self.hard_state };
            self.forget_repair();
            self.mark_hard_state();
            self.durability.drop_held();
        }
    }

    /// The one place where the role changes.
    fn change_role(&mut self, next: RoleState, now: Time, out: &mut Vec<Effect>) {
        let role = next.role();
        assert!(self.role.may_become(role), "a {:?} cannot become a {role:?}", self.role());
        let (role_before, leader_before) = (self.role(), self.leader());
        let before = core::mem::replace(&mut self.role, next);
        let term = self.hard_state.term;
        let leader = self.leader();
        if role != role_before || leader != leader_before {
            out.push(Effect::Became { role, term, leader });
        }
        match before {
            RoleState::Leader(leader) => leader.refuse_waiting(out),
            // RAFT-7: requests for votes that wait for the disk boast of a log that a leader may replace.
            RoleState::Candidate { .. } => self.durability.drop_held(),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } => {}
        }
        if role != role_before || leader != leader_before {
            self.reroute(now, out);
        }
    }

    /// Whether a leader of `term` (at least the own) is believed; from then on it is followed and patience starts anew.
    pub(super) fn follow(&mut self, leader: NodeId, term: Term, now: Time, out: &mut Vec<Effect>) -> bool {
        let is_second = term == self.hard_state.term && self.leader().is_some_and(|known| known != leader);
        if is_second {
            self.suspects += 1; // RAFT-1 says that this does not happen.
            return false;
        }
        if term > self.hard_state.term {
            // The same leader in another term is another leader: what it said in the old one is void.
            self.become_follower(term, None, now, out);
        }
        self.promised_until = now.after(self.config.election_timeout); // RAFT-23
        self.become_follower(term, Some(Following { leader }), now, out);
        true
    }

    /// The request that makes the current term durable: an answer given in the term waits for it.
    pub(super) fn term_request(&self) -> PersistId {
        self.durability.hard_state
    }

    /// Whether this replica leads.
    pub(super) fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }
}
