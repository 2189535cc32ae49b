//! One replica of a Raft group: agrees with its peers on one sequence of commands, and survives crashes without
//! forgetting what it promised.
//!
//! The replica is a machine without I/O: [`Raft::step`] takes a fact and pushes orders, [`Raft::deadline`] says when it
//! wants to be woken. Ordering is data: whatever must not be said before it is durable names the request that makes it
//! so (`durability`). Figures and sections are those of "In Search of an Understandable Consensus Algorithm" (extended
//! version); "thesis" is Ongaro's "Consensus: Bridging Theory and Practice".
//!
//! - `RAFT-1`: at most one leader per term: a replica votes at most once per term, and a quorum elects (§5.2).
//! - `RAFT-2`: no vote and no acknowledgement leaves before its record is on disk (figure 2, "persistent state").
//! - `RAFT-3`: a leader only appends; a follower replaces entries only on its leader's word (§5.3).
//! - `RAFT-4`: two logs with the same entry are the same up to it: an append names the entry before it (§5.3).
//! - `RAFT-5`: a leader commits by counting only entries of its own term (§5.4.2, figure 8).
//! - `RAFT-6`: a committed entry is never replaced.
//! - `RAFT-7`: a candidate asks for votes, and counts its own, only once its candidacy and its log are on disk. A
//!   candidate that forgot entries in a crash must not win with votes that were given for them.
//! - `RAFT-8`: a replica counts for an entry only when the entry is durable there, the leader's own included
//!   (thesis §10.2.1).
//! - `RAFT-9`: a read is answered with an index that was committed in the leader's own term, after a quorum
//!   acknowledged the leader in a round that began after the read arrived. Rounds are never reused (thesis §6.4).
//! - `RAFT-10`: a replica with a live leader does not help another candidate, and a leader without a quorum steps down
//!   (thesis §4.2.3, §6.2, §9.6).
//! - `RAFT-11`: entries are handed to the state machine in order, once, only when they are committed and durable here,
//!   and none while a snapshot is being installed. So the state machine is never ahead of the durable log.
//! - `RAFT-12`: a snapshot is acknowledged only when the state machine and the log both start from it durably.
//! - `RAFT-13`: the membership in force is that of the last membership entry in the log, committed or not (§6).
//! - `RAFT-14`: every quorum is one of the membership in force: of both sets of voters while it is joint, never of learners.
//! - `RAFT-15`: one change of membership at a time, from simple to joint to simple (§6, thesis §4.3).
//! - `RAFT-16`: who votes in no membership that its log may still need does not campaign; a leader that does not vote counts
//!   itself out, and steps down when its membership is committed (thesis §4.2.2).
//! - `RAFT-17`: a leader that hands over takes no proposals (thesis §3.10).
//! - `RAFT-18`: only a replica that was asked by its own leader campaigns past a live leader.
//! - `RAFT-19`, `RAFT-20`: what a follower asks of its leader, and hears, see `forward`.
//! - `RAFT-21`: a leader whose disk stands still gives the lead away, and does not campaign before the disk moves, see `stall`.
//! - `RAFT-22`, `RAFT-23`: what a lease of reads rests on, see `lease`.
//! - `RAFT-24`: a snapshot is put together from pieces of one and the same, see `chunks`.
//! - `RAFT-25`: a replica that lost its log does not vote before it has it back, see `repair`.
//!
//! A replica trusts its own disk, checked by whoever recovered it, and asserts. It does not trust a message: one that
//! cannot come from a correct replica is counted in [`Raft::suspect_messages`] and dropped. It does hear nodes that are not in
//! its membership, for it may be the one that lags behind: who may send at all is the transport's to know.
//!
//! Not here: what commands mean, how messages travel, and how the log is stored.

mod chunks;
mod durability;
mod election;
pub mod event;
mod following;
mod forward;
mod lease;
mod log_view;
mod members;
pub mod message;
mod progress;
mod reads;
mod repair;
mod replication;
mod role;
mod snapshots;
mod stall;
#[cfg(test)]
mod tests;
mod transfer;

pub use event::{Change, ChangeRefusal, Config, Effect, Event, Refusal, Restored, Role};
pub use message::{AppendOutcome, Ask, ForwardOutcome, InstallOutcome, Message, SnapshotChunk};

use crate::types::{Entry, HardState, LogIndex, LogPosition, Membership, NodeId, Term, Time};
use alloc::vec::Vec;
use chunks::Receiving;
use core::time::Duration;
use durability::Durability;
use election::Campaign;
use forward::Forward;
use log_view::LogView;
use members::Memberships;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use repair::Repair;
use role::{Following, Leader, RoleState};

/// Terms and indexes above this do not occur in the life of a cluster: such a message is a lie, and additions to what
/// is below it cannot overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// How far a term may lie ahead of a replica's own. A group holds at most a few elections in a second, so no replica is that far
/// behind; and a single lie does not use up the terms that there are, after which nobody could be elected.
const TERMS_AHEAD_MAX: u64 = 1 << 32;

/// One replica of a Raft group. See the module's description.
#[derive(Debug)]
pub struct Raft {
    config: Config,
    random: ChaCha8Rng,
    hard_state: HardState,
    log: LogView,
    memberships: Memberships,
    /// Known to be committed.
    commit: LogIndex,
    /// Handed to the state machine.
    delivered: LogIndex,
    durability: Durability,
    role: RoleState,
    /// The latest ReadIndex round. Grows as long as the process lives, and a term has one process as its leader.
    round: u64,
    /// The snapshot that the state machine is being replaced by, and the membership that it changed to, if any.
    installing: Option<(LogPosition, Option<Membership>)>,
    /// What has come of the snapshot that the leader sends.
    receiving: Option<Receiving>,
    /// The state machine was asked for a snapshot and has not answered.
    taking: bool,
    /// The state machine was durable up to here at the last checkpoint.
    compacted: LogIndex,
    /// The durable log may hold entries that the state machine's snapshot has overtaken: restart it first.
    reset_pending: bool,
    forward: Forward,
    repair: Repair,
    /// Until then it helps no candidate that its leader did not ask (`RAFT-23`).
    promised_until: Time,
    suspects: u64,
}

impl Raft {
    /// A replica as it was when its process ended. `seed` feeds the jitter of election timeouts, `now` is the clock's
    /// time. A group's only voter wants to be woken at once; any other waits for a leader first.
    ///
    /// # Panics
    /// When the configuration or what was restored contradicts itself; see [`Config`], [`Restored`] and
    /// [`Restored::reconcile`].
    pub fn new(config: Config, restored: Restored, seed: u64, now: Time) -> Raft {
        check_config(&config);
        let Restored { hard_state, unsaved, base, entries, applied, membership } = restored;
        // RAFT-23: an earlier life may have heard a leader just before it ended. None did in term 0.
        let promised_until = if hard_state.term > Term(0) { now.after(config.election_timeout) } else { now };
        let reset_pending = entries.is_empty() && base.index > LogIndex(0);
        let mut memberships = Memberships::new(applied, config.membership_or_first(membership));
        // RAFT-13: what the log says after the applied position overrides it.
        entries.iter().filter(|entry| entry.position.index > applied).for_each(|entry| memberships.note(entry));
        let log = LogView::new(base, entries);
        let last = log.last();
        assert!(applied >= base.index, "applied {applied} lies before the log's base {}", base.index);
        assert!(applied <= last.index, "applied {applied} lies after the log's end {}: reconcile first", last.index);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let forward = Forward::new(random.next_u64()); // RAFT-19
        let mut raft = Raft {
            random,
            forward,
            hard_state,
            commit: applied,
            delivered: applied,
            // RAFT-12: until the log is restarted, only the state machine vouches for the base.
            durability: Durability::new(if reset_pending { LogIndex(0) } else { last.index }),
            log,
            memberships,
            role: RoleState::Follower { following: None, election_at: now },
            round: 0,
            installing: None,
            receiving: None,
            taking: false,
            compacted: LogIndex(0),
            reset_pending,
            promised_until,
            repair: Repair::default(),
            suspects: 0,
            config,
        };
        if unsaved {
            raft.mark_hard_state();
        }
        if raft.hard_state.term < last.term {
            // A snapshot became durable before the term in which it came. Nothing was said in that term yet, for that
            // waits for the disk, so the replica has not voted in it.
            raft.hard_state = HardState { term: last.term, vote: None, ..raft.hard_state };
            raft.mark_hard_state();
        }
        if !raft.is_sole_voter() {
            raft.role = RoleState::Follower { following: None, election_at: raft.random_election_at(now) };
        }
        raft
    }

    /// Takes a fact in and pushes what follows from it. `now` never goes back.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Effect>) {
        if core::mem::take(&mut self.reset_pending) {
            self.persist_reset(self.log.base(), out);
        }
        match event {
            Event::Deadline => self.on_deadline(now, out),
            Event::Receive { from, message } => self.on_receive(from, message, now, out),
            Event::Persisted { id } => self.on_persisted(id, now, out),
            Event::Propose { id, command } => self.on_propose(id, command, now, out),
            Event::Read { id } => self.on_read(id, now, out),
            Event::Change { id, change } => self.on_change(id, &change, now, out),
            Event::Transfer { id, to } => self.on_transfer(id, to, now, out),
            Event::SnapshotTaken { snapshot } => self.on_snapshot_taken(&snapshot, now, out),
            Event::SnapshotInstalled { position } => self.on_snapshot_installed(position, out),
            Event::SnapshotRefused => self.on_snapshot_refused(),
            Event::Compact { through } => self.on_compact(through, out),
            Event::DiskFailed => self.on_disk_failed(now, out),
        }
        self.persist_hard_state(out);
        self.durability.watch(now);
        self.check_positions();
    }

    /// When the replica wants [`Event::Deadline`]. `None` when only other events can change it.
    pub fn deadline(&self) -> Option<Time> {
        [self.role_deadline(), self.forward.deadline()].into_iter().flatten().min()
    }

    fn role_deadline(&self) -> Option<Time> {
        match &self.role {
            // RAFT-16: all that time does to such a replica is that it forgets its leader.
            RoleState::Follower { following, election_at } if !self.may_campaign() => following.map(|_| *election_at),
            RoleState::Follower { election_at, .. }
            | RoleState::PreCandidate { election_at, .. }
            | RoleState::Candidate { election_at, .. } => Some(*election_at),
            RoleState::Leader(leader) => {
                let timeout = self.config.election_timeout;
                let lease_ends = leader.lease_ends(self.membership(), self.config.node, timeout);
                let heartbeat_at = (!leader.peers.is_empty()).then_some(leader.heartbeat_at);
                let transfer_ends = leader.transfer.map(|transfer| transfer.until);
                let gives_way_at = self.stalled_at().filter(|_| !self.is_sole_voter());
                [lease_ends, heartbeat_at, transfer_ends, gives_way_at].into_iter().flatten().min()
            }
        }
    }

    /// What the replica is.
    pub fn role(&self) -> Role {
        self.role.role()
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Its term and its vote in it, as they are in memory; the disk may lag behind.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Who leads its term, if it knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Follower { following, .. } => following.map(|following| following.leader),
            RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => None,
            RoleState::Leader(_) => Some(self.config.node),
        }
    }

    /// The last entry that it knows to be committed.
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The last entry of its log, durable or not.
    pub fn last(&self) -> LogPosition {
        self.log.last()
    }

    /// The entry before the first one that it holds.
    pub fn base(&self) -> LogPosition {
        self.log.base()
    }

    /// Its log is durable up to here.
    pub fn durable(&self) -> LogIndex {
        self.durability.index
    }

    /// The term of the entry at `index`, also at the base; `None` where it holds nothing.
    pub fn entry_term(&self, index: LogIndex) -> Option<Term> {
        self.log.term(index)
    }

    /// The entries that it holds in memory, in order.
    pub fn entries_in_memory(&self) -> impl Iterator<Item = &Entry> {
        self.log.entries()
    }

    /// How many messages were dropped because no correct replica of the group sends them.
    pub fn suspect_messages(&self) -> u64 {
        self.suspects
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.expire_forwards(now, out);
        if self.role_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.role {
            RoleState::Leader(_) => self.on_leader_deadline(now, out),
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => {
                self.on_election_deadline(now, out);
            }
        }
    }

    fn on_receive(&mut self, from: NodeId, message: Message, now: Time, out: &mut Vec<Effect>) {
        if from == self.config.node || !message.is_plausible(NUMBER_MAX) || self.is_far_ahead(message.term()) {
            self.suspects += 1;
            return;
        }
        match message {
            Message::PreVote { term, last_log } => self.on_pre_vote(from, term, last_log, now, out),
            Message::PreVoteResponse { term, granted } => self.on_pre_vote_response(from, term, granted, now, out),
            Message::RequestVote { term, last_log, handover } => {
                let campaign = if handover { Campaign::Handover } else { Campaign::Patience };
                self.on_request_vote(from, term, last_log, campaign, now, out);
            }
            Message::RequestVoteResponse { term, granted } => {
                self.on_request_vote_response(from, term, granted, now, out);
            }
            Message::AppendEntries { term, previous, entries, commit, round } => {
                let append = following::Append { previous, entries, commit, round };
                self.on_append_entries(from, term, append, now, out);
            }
            Message::AppendEntriesResponse { term, outcome, round } => {
                if self.is_answer_to_leader(from, term, now, out) {
                    self.on_append_response(from, outcome, round, now, out);
                }
            }
            Message::InstallSnapshot { term, chunk } => self.on_install_snapshot(from, term, chunk, now, out),
            Message::InstallSnapshotResponse { term, outcome } => {
                if self.is_answer_to_leader(from, term, now, out) {
                    self.on_install_response(from, outcome, now, out);
                }
            }
            Message::TimeoutNow { term } => self.on_timeout_now(from, term, now, out),
            Message::Forward { term, ask, command } => self.on_forward(from, term, ask, command, out),
            Message::ForwardResponse { term, ask, outcome } => self.on_forward_response(term, ask, outcome, out),
            Message::ReadIndex { term, ask } => self.on_read_index(from, term, ask, now, out),
            Message::ReadIndexResponse { ask, index, .. } => self.on_read_index_response(ask, index, out),
            Message::RecoverLog { term, ask, last } => self.on_recover_log(from, term, ask, last, now, out),
            Message::RecoverLogResponse { term, ask, last } => self.on_recover_log_response(from, term, ask, last),
        }
    }

    /// Whether no correct replica can be in this term. One that has heard of no term yet believes any.
    fn is_far_ahead(&self, term: Term) -> bool {
        let own = self.hard_state.term;
        own > Term(0) && term.0 > own.0.saturating_add(TERMS_AHEAD_MAX)
    }

    /// Whether a response of `term` is for this replica as the leader of its term. A newer term ends the lead (§5.1).
    fn is_answer_to_leader(&mut self, from: NodeId, term: Term, now: Time, out: &mut Vec<Effect>) -> bool {
        if matches!(&self.role, RoleState::Leader(leader) if !leader.peers.contains_key(&from)) {
            return false; // RAFT-14: who has left the group has no say in it, and ends nobody's lead.
        }
        if term > self.hard_state.term {
            self.become_follower(term, None, now, out);
        }
        term == self.hard_state.term && self.role() == Role::Leader
    }

    /// Whether this replica is a quorum by itself.
    fn is_sole_voter(&self) -> bool {
        self.membership().has_quorum(&|node| node == self.config.node)
    }

    /// A random moment in `[now + election_timeout, now + 2 * election_timeout)` (§5.2).
    fn random_election_at(&mut self, now: Time) -> Time {
        let timeout = self.config.election_timeout;
        let micros = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX).max(1);
        now.after(timeout).after(Duration::from_micros(self.random.next_u64() % micros))
    }

    /// Hands what is committed and durable to the state machine.
    fn deliver(&mut self, out: &mut Vec<Effect>) {
        let through = self.commit.min(self.durability.index);
        if self.receiving.as_ref().is_some_and(|receiving| receiving.position().index <= self.commit) {
            self.receiving = None;
        }
        // RAFT-11: in order, once, durable, and not under a snapshot that is being installed.
        if self.installing.is_some() || through <= self.delivered {
            return;
        }
        out.push(Effect::Commit { entries: self.log.range(self.delivered, through) });
        self.delivered = through;
        self.memberships.forget_before(through);
    }

    /// The positions stand in the order that the rules give them.
    fn check_positions(&self) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        assert!(base <= self.delivered, "entries are held until the state machine has them");
        assert!(self.delivered <= self.commit, "RAFT-11: only committed entries are delivered");
        assert!(self.commit <= last, "RAFT-6: committed entries are in the log");
        assert!(self.durability.index <= last, "RAFT-8: what is durable is in the log");
        let campaigns = matches!(self.role(), Role::PreCandidate | Role::Candidate);
        assert!(!campaigns || self.may_campaign(), "RAFT-16, RAFT-25: a replica that may not campaign does");
        assert!(self.memberships.since() <= last, "RAFT-13: the membership in force is in the log, or before it");
    }
}

fn check_config(config: &Config) {
    let distinct: alloc::collections::BTreeSet<NodeId> = config.voters.iter().copied().collect();
    assert!(distinct.len() == config.voters.len(), "a voter is listed twice");
    assert!(config.heartbeat_interval > Duration::ZERO, "a leader must be able to rest between heartbeats");
    assert!(
        config.heartbeat_interval * 3 <= config.election_timeout,
        "a follower must outlast two lost heartbeats: the interval is at most a third of the election timeout"
    );
    assert!(config.appends_in_flight_max > 0, "replication needs a window");
    assert!(config.snapshot_chunk_bytes > 0, "a snapshot is sent in pieces that have something");
    let drift = config.clock_drift_ppm_max.unwrap_or_default();
    assert!(drift < lease::PARTS / 2, "a clock that may run at half the pace of time bounds nothing");
}
