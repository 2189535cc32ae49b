//! One replica of a group, with the road from "committed" to "applied and answered".
//!
//! - `GROUP-1` Entries are applied in log order, one batch at a time, each once.
//! - `GROUP-2` An answer goes to whoever proposed the entry only if the entry at that index has the proposal's term.
//! - `GROUP-3` A query runs only when the state machine has applied the index that ReadIndex named.

use super::Node;
use super::clock::ReplicatedClock;
use super::event::{DiskUser, Effect, Fatal};
use super::peer::PeerMessage;
use super::request::GroupStatus;
use crate::disk::{DiskError, DiskOutcome, OpId};
use crate::log::{self, CopyEffect};
use crate::raft::{self, Raft, Role};
use crate::state::{Answer, Applied};
use crate::types::{Entries, Entry, GroupId, LogIndex, LogPosition, Payload, RequestId, Snapshot, Term, Time, Trace};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

/// What the node must do for a group. Everything that a replica orders is either kept here or passed on.
#[derive(Debug)]
pub(super) enum Output {
    /// Passed on to the log, to a peer, or to the runtime, as it is.
    Order(raft::Effect),
    /// Apply this batch; one at a time.
    Apply(Entries),
    /// Replace the rows by this snapshot; never while a batch is applied.
    Install(Snapshot),
    /// The proposal's answer.
    Answered { id: RequestId, answer: Answer },
    /// The change of membership is complete, and applied here.
    Changed { id: RequestId },
    /// The lead is being handed over.
    TransferBegun { id: RequestId },
    /// The proposal or read came to nothing, or to nobody knows what.
    Refused { id: RequestId, reason: raft::Refusal },
    /// The read may run.
    Readable { id: RequestId },
    /// For people and checkers.
    Trace(Trace),
}

/// What the state store is doing for the group.
#[derive(Debug)]
enum RowsUse {
    Idle,
    /// A batch of this many bytes is applied; these wait for its answers, and these for its end.
    Applying {
        commands: BTreeMap<LogIndex, RequestId>,
        changes: Vec<RequestId>,
        bytes: usize,
    },
    Installing,
}

/// A replica and what waits for it.
#[derive(Debug)]
pub(super) struct Group {
    id: GroupId,
    pub(super) raft: Raft,
    /// Proposals by the index at which they stand.
    proposed: BTreeMap<LogIndex, (Term, RequestId)>,
    /// Reads by the index that must be applied first.
    reads: Vec<(LogIndex, RequestId)>,
    /// Committed and not yet handed over.
    committed: Entries,
    rows: RowsUse,
    /// A snapshot that waits for the batch under way.
    install: Option<Snapshot>,
    pub(super) applied: LogPosition,
    pub(super) clock: ReplicatedClock,
    /// Applied when the last completed checkpoint was ordered.
    pub(super) checkpointed: LogIndex,
    /// Bytes of commands applied since the last checkpoint was ordered.
    pub(super) uncheckpointed_bytes: usize,
    /// How often this replica gave the lead away because its disk stood still or failed.
    gave_way: u64,
}

impl Group {
    pub(super) fn new(id: GroupId, raft: Raft, applied: Applied, now: Time) -> Group {
        Group {
            id,
            raft,
            proposed: BTreeMap::new(),
            reads: Vec::new(),
            committed: Vec::new(),
            rows: RowsUse::Idle,
            install: None,
            applied: applied.position,
            clock: ReplicatedClock::new(applied.time, now),
            checkpointed: applied.position.index,
            uncheckpointed_bytes: 0,
            gave_way: 0,
        }
    }

    /// The group at this moment, as `/status` shows it.
    pub(super) fn status(&self) -> GroupStatus {
        let membership = self.raft.membership();
        GroupStatus {
            group: self.id,
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            commit: self.raft.commit(),
            applied: self.applied.index,
            checkpointed: self.checkpointed,
            voters: membership.voters().to_vec(),
            outgoing: membership.outgoing().to_vec(),
            learners: membership.learners().to_vec(),
            matched: self.raft.matched(),
            gave_way: self.gave_way,
            is_whole: self.raft.is_whole(),
        }
    }

    /// Steps the replica and drains its orders.
    pub(super) fn step(&mut self, now: Time, event: raft::Event, out: &mut Vec<Output>) {
        let mut effects = Vec::new();
        self.raft.step(now, event, &mut effects);
        for effect in effects {
            self.on_raft(effect, out);
        }
        self.use_rows(out);
    }

    fn on_raft(&mut self, effect: raft::Effect, out: &mut Vec<Output>) {
        match effect {
            raft::Effect::Commit { entries } => self.on_commit(entries, out),
            raft::Effect::Proposed { id, position } => {
                let replaced = self.proposed.insert(position.index, (position.term, id));
                if let Some((_, id)) = replaced {
                    // The entry that stood there was overwritten in an older term and cannot be committed any more.
                    out.push(Output::Refused { id, reason: raft::Refusal::LostLead });
                }
            }
            raft::Effect::ReadReady { id, index } if index <= self.applied.index => out.push(Output::Readable { id }),
            // GROUP-3
            raft::Effect::ReadReady { id, index } => self.reads.push((index, id)),
            raft::Effect::Refused { id, reason } => out.push(Output::Refused { id, reason }),
            raft::Effect::TransferBegun { id } => out.push(Output::TransferBegun { id }),
            raft::Effect::Became { role, term, leader } => {
                if role != Role::Leader {
                    self.refuse_proposals(out);
                }
                if leader.is_none() {
                    self.refuse_reads(out);
                }
                let role = role_name(role);
                out.push(Output::Trace(Trace::Role { group: self.id, term, role, leader }));
            }
            order @ (raft::Effect::Send { .. }
            | raft::Effect::Persist { .. }
            | raft::Effect::Cut { .. }
            | raft::Effect::Reset { .. }
            | raft::Effect::TakeSnapshot) => out.push(Output::Order(order)),
            raft::Effect::InstallSnapshot { snapshot } => self.install = Some(snapshot),
            raft::Effect::Repaired { through } => {
                let note = format!("group {}: the log that was lost is whole again, up to entry {through}", self.id);
                out.push(Output::Trace(Trace::Note(note)));
            }
            raft::Effect::GaveWay { heir } => {
                self.gave_way += 1;
                let to = heir.map_or_else(|| "whoever is elected".into(), |heir| format!("node {heir}"));
                let note = format!("group {}: the log's disk stands still, so the lead goes to {to}", self.id);
                out.push(Output::Trace(Trace::Note(note)));
            }
        }
    }

    /// A node that lost the lead cannot promise anything for what it had proposed; it may still be committed. What is
    /// committed is answered when it is applied (`GROUP-2`).
    fn refuse_proposals(&mut self, out: &mut Vec<Output>) {
        for (_, (_, id)) in self.proposed.split_off(&self.raft.commit().next()) {
            out.push(Output::Refused { id, reason: raft::Refusal::LostLead });
        }
    }

    /// Without a leader nobody knows when what these reads wait for arrives.
    fn refuse_reads(&mut self, out: &mut Vec<Output>) {
        let commit = self.raft.commit();
        self.reads.retain(|&(index, id)| {
            if index > commit {
                out.push(Output::Refused { id, reason: raft::Refusal::NotLeader { leader: None } });
            }
            index <= commit
        });
    }

    fn on_commit(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        for entry in &entries {
            let Some((term, id)) = self.proposed.get(&entry.position.index).copied() else { continue };
            if term != entry.position.term {
                // GROUP-2: another leader's entry stands where ours would have been.
                self.proposed.remove(&entry.position.index);
                out.push(Output::Refused { id, reason: raft::Refusal::LostLead });
            }
        }
        self.committed.extend(entries);
    }

    fn use_rows(&mut self, out: &mut Vec<Output>) {
        // GROUP-1
        if !matches!(self.rows, RowsUse::Idle) {
            return;
        }
        if let Some(snapshot) = self.install.take() {
            self.rows = RowsUse::Installing;
            out.push(Output::Install(snapshot));
            return;
        }
        if self.committed.is_empty() {
            return;
        }
        let entries = core::mem::take(&mut self.committed);
        let (mut commands, mut changes) = (BTreeMap::new(), Vec::new());
        let mut bytes = 0;
        for entry in &entries {
            bytes += entry.payload.size() + 64;
            let Some((_, id)) = self.proposed.remove(&entry.position.index) else { continue };
            match &entry.payload {
                Payload::Membership(_) => changes.push(id),
                // Only a leader that errs says that a command stands here.
                Payload::Noop => out.push(Output::Refused { id, reason: raft::Refusal::LostLead }),
                Payload::Command(_) => {
                    commands.insert(entry.position.index, id);
                }
            }
        }
        self.rows = RowsUse::Applying { commands, changes, bytes };
        out.push(Output::Apply(entries));
    }

    /// The state store has taken the batch.
    pub(super) fn on_applied(
        &mut self,
        now: Time,
        through: Applied,
        answers: Vec<(LogIndex, Answer)>,
        out: &mut Vec<Output>,
    ) {
        let rows = core::mem::replace(&mut self.rows, RowsUse::Idle);
        let RowsUse::Applying { commands: mut waiting, changes, bytes } = rows else {
            panic!("a batch is applied only when one was ordered");
        };
        assert!(through.position.index > self.applied.index, "applying moves forward");
        self.applied = through.position;
        self.clock.on_applied(through.time, now);
        self.uncheckpointed_bytes += bytes;
        for (index, answer) in answers {
            if let Some(id) = waiting.remove(&index) {
                out.push(Output::Answered { id, answer });
            }
        }
        out.extend(changes.into_iter().map(|id| Output::Changed { id }));
        assert!(waiting.is_empty(), "every proposed command that was applied has an answer");
        self.release_reads(out);
        self.use_rows(out);
    }

    /// A snapshot replaced the rows. Whatever was committed before it is covered by it.
    pub(super) fn on_installed(&mut self, position: LogPosition, out: &mut Vec<Output>) {
        assert!(matches!(self.rows, RowsUse::Installing), "a snapshot is installed only when one was ordered");
        self.rows = RowsUse::Idle;
        self.applied = self.applied.max(position);
        self.checkpointed = self.checkpointed.max(position.index);
        self.committed.retain(|entry| entry.position.index > position.index);
        // What the snapshot covers is not applied here, so its answers are not known here.
        let behind = self.proposed.split_off(&position.index.next());
        for (_, (_, id)) in core::mem::replace(&mut self.proposed, behind) {
            out.push(Output::Refused { id, reason: raft::Refusal::LostLead });
        }
        self.release_reads(out);
        self.use_rows(out);
    }

    /// A snapshot was none. What was committed meanwhile is applied to the rows as they are.
    pub(super) fn on_install_refused(&mut self, out: &mut Vec<Output>) {
        assert!(matches!(self.rows, RowsUse::Installing), "a snapshot is refused only when one was ordered");
        self.rows = RowsUse::Idle;
        self.use_rows(out);
    }

    fn release_reads(&mut self, out: &mut Vec<Output>) {
        let applied = self.applied.index;
        self.reads.retain(|&(index, id)| {
            if index <= applied {
                out.push(Output::Readable { id });
            }
            index > applied
        });
    }
}

impl Node {
    pub(super) fn on_raft_order(&mut self, group: GroupId, order: raft::Effect, out: &mut Vec<Effect>) {
        match order {
            raft::Effect::Send { to, message } => {
                out.push(Effect::Send { to, message: PeerMessage::Raft { group, message } });
            }
            raft::Effect::Persist { id, hard_state, entries } => {
                self.order_log(log::Event::Append { group, id, hard_state, entries }, out);
            }
            raft::Effect::Cut { base } => self.order_log(log::Event::Cut { group, base }, out),
            raft::Effect::Reset { id, base } => self.order_log(log::Event::Reset { group, id, base }, out),
            raft::Effect::TakeSnapshot => out.push(Effect::TakeSnapshot { group }),
            raft::Effect::Commit { .. }
            | raft::Effect::Proposed { .. }
            | raft::Effect::ReadReady { .. }
            | raft::Effect::Refused { .. }
            | raft::Effect::TransferBegun { .. }
            | raft::Effect::InstallSnapshot { .. }
            | raft::Effect::GaveWay { .. }
            | raft::Effect::Repaired { .. }
            | raft::Effect::Became { .. } => panic!("a group keeps this order to itself: {order:?}"),
        }
    }

    /// A request of a group, on its way to the log (`HARD-1`).
    fn order_log(&mut self, request: log::Event, out: &mut Vec<Effect>) {
        if !self.hard_states.wants(&request) {
            self.step_log(request, out);
            return;
        }
        let mut effects = Vec::new();
        self.hard_states.take(request, &mut effects);
        self.on_copy_effects(effects, out);
    }

    pub(super) fn on_copy_disk(&mut self, op: OpId, outcome: DiskOutcome, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.hard_states.on_disk(op, outcome, &mut effects);
        self.on_copy_effects(effects, out);
    }

    fn on_copy_effects(&mut self, effects: Vec<CopyEffect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                CopyEffect::Disk { op, order } => out.push(Effect::Disk { user: DiskUser::HardStates, op, order }),
                CopyEffect::Pass(request) => self.step_log(request, out),
                CopyEffect::Failed { error } => self.on_log_failed(error, out),
            }
        }
    }

    /// What is durable is unknown, and nothing leaves the node after this: whoever leads says so first (`RAFT-21`).
    pub(super) fn on_log_failed(&mut self, error: DiskError, out: &mut Vec<Effect>) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            self.step_group(id, raft::Event::DiskFailed, out);
        }
        self.fatal(Fatal::Log(error), out);
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
