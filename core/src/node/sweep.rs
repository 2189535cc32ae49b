//! What is undecided, and what may be reclaimed.
//!
//! A crash, or a client that went away, leaves prepared shards that nobody will ever decide; an overwritten or deleted
//! body leaves shards that nobody can name any more. The sweep removes both, and asks the metadata home before each.
//!
//! - `SWEEP-1` Undecided shards go only after their preparation has expired *and* the metadata home, whose replicated
//!   time is past that expiry from then on, has said that it does not know the version. It refuses to decide the
//!   version ever after, so there is no race, whatever the clocks say (DESIGN section 6, step 3).
//! - `SWEEP-2` A version that this process is still writing or deciding is left alone: its expiry may yet move.
//! - `SWEEP-3` A body leaves the reclaim queue only when its shards are durably gone, so that a crash repeats the work
//!   instead of leaking space.
//! - `SWEEP-4` What cannot go (a reader has it open, or a drive refuses its tombstone) does not keep what stands behind it
//!   in the queue: batch follows batch to the queue's end, and what is left is tried again in the next round.
//! - `SWEEP-5` A verdict is about the preparation that was asked about: shards of the version that came since, with a later
//!   expiry, are those of another attempt to move it here, and stay until they are asked about.
//! - `OBJ-1` (see `objects`) A body is reclaimed only when no reader of any node has it open, and every open that began before
//!   the queue was read has been answered: later ones cannot see it, since their read is linearized after its removal. Each
//!   node is asked for its readers; one that is silent for long does not count any more, and a reader there may find its
//!   body gone, which is an error and never a wrong byte.

use super::Node;
use super::clients::{Asker, Proposer};
use super::event::Effect;
use super::objects::TicketUse;
use super::peer::{PeerMessage, PinAsk};
use crate::planted::planted;
use crate::shards;
use crate::state::{Answer, Fate, ObjectOperation, Operation, Query, QueryAnswer, QueuePlace, Reclaim};
use crate::types::{DriveId, GroupId, NodeId, RequestId, Time, VersionId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Most versions in one question, and most bodies in one reclaim batch.
pub(super) const BATCH_MAX: usize = 256;

/// The sweep's own state.
#[derive(Debug)]
pub(super) struct Sweep {
    due: Time,
    /// Drives whose undecided shards are asked about.
    resolving: BTreeSet<DriveId>,
    /// Something was applied since the reclaim queue was last seen empty.
    dirty: bool,
    /// The round of reclaiming has come to here. `None` when it has not begun.
    after: Option<QueuePlace>,
    reclaim: Reclaiming,
    /// Since when nodes have not said what their readers have open.
    silent: BTreeMap<NodeId, Time>,
    /// The latest question of each node for the readers here, that is not answered.
    questions: BTreeMap<NodeId, PinQuestion>,
}

/// Another node's question for what readers here have open.
#[derive(Debug)]
struct PinQuestion {
    ask: PinAsk,
    versions: Vec<VersionId>,
    /// Opens that had begun and are not answered.
    openings: BTreeSet<RequestId>,
}

#[derive(Debug)]
enum Reclaiming {
    Idle,
    /// The queue is being read.
    Asking,
    /// These wait for readers that may see them: opens in `openings` are not answered yet, and nodes in `asked` have not said
    /// what is open there.
    Waiting {
        bodies: Vec<Reclaim>,
        openings: BTreeSet<RequestId>,
        number: u64,
        asked: BTreeSet<NodeId>,
        pinned: BTreeSet<VersionId>,
        until: Time,
    },
    /// Shards are being deleted.
    Deleting {
        entries: BTreeMap<QueuePlace, Deletion>,
        gone: Vec<QueuePlace>,
    },
    /// The metadata home is told what is gone.
    Reporting,
}

/// The shards of one version on their way out: answers still to come, and whether a drive refused.
#[derive(Debug)]
struct Deletion {
    waiting: usize,
    failed: bool,
}

/// How a batch of reclaiming ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReclaimEnd {
    /// All was done that could be done about it: look for the next at once.
    Done,
    /// The queue ends here.
    End,
    /// The group did not answer: try again at the next interval.
    Refused,
}

impl Sweep {
    pub(super) fn new(now: Time) -> Sweep {
        let (silent, questions) = (BTreeMap::new(), BTreeMap::new());
        Sweep {
            due: now,
            resolving: BTreeSet::new(),
            dirty: true,
            after: None,
            reclaim: Reclaiming::Idle,
            silent,
            questions,
        }
    }

    pub(super) fn due(&self) -> Time {
        self.due
    }

    /// The node is not silent.
    pub(super) fn note_heard(&mut self, node: NodeId) {
        self.silent.remove(&node);
    }

    pub(super) fn note_applied(&mut self) {
        self.dirty = true;
    }

    pub(super) fn end_resolve(&mut self, drive: DriveId) {
        self.resolving.remove(&drive);
    }

    pub(super) fn end_reclaim(&mut self, end: ReclaimEnd) {
        self.reclaim = Reclaiming::Idle;
        match end {
            ReclaimEnd::Done => (self.due, self.dirty) = (Time(0), true),
            // SWEEP-4: a round that passed something by is followed by another. One that found the queue empty waits
            // until something is applied that may fill it.
            ReclaimEnd::End => self.dirty |= self.after.take().is_some(),
            ReclaimEnd::Refused => self.dirty = true,
        }
    }
}

impl Node {
    pub(super) fn sweep_if_due(&mut self, out: &mut Vec<Effect>) {
        if self.now.time < self.sweep.due {
            return;
        }
        self.sweep.due = self.now.time.after(self.config.sweep_interval);
        // Each node sees to the drives that it has; the queue of the region is its leader's.
        let drives: Vec<DriveId> = self.stores.keys().copied().collect();
        for drive in drives {
            if !self.sweep.resolving.contains(&drive) {
                self.resolve_expired(drive, out);
            }
        }
        if !self.leads(GroupId::REGION) {
            // What waited was for a leader to decide, and so is what is known of silent nodes.
            if matches!(self.sweep.reclaim, Reclaiming::Waiting { .. }) {
                self.sweep.end_reclaim(ReclaimEnd::Refused);
            }
            self.sweep.silent.clear();
            return;
        }
        self.give_up_pins(out);
        if self.sweep.dirty && matches!(self.sweep.reclaim, Reclaiming::Idle) {
            self.sweep.dirty = false;
            self.sweep.reclaim = Reclaiming::Asking;
            let query = Query::Reclaimable { after: self.sweep.after, limit: BATCH_MAX };
            self.ask(GroupId::REGION, query, Asker::Reclaim, out);
        }
    }

    // Undecided shards.

    fn resolve_expired(&mut self, drive: DriveId, out: &mut Vec<Effect>) {
        let mut expired: BTreeMap<VersionId, WallTime> = BTreeMap::new();
        let now = self.wall(GroupId::REGION);
        let hasty = planted!(self.config.planted, SweepInFlight);
        for undecided in self.stores[&drive].undecided() {
            // SWEEP-2
            if hasty || (!self.alive.contains(&undecided.version) && undecided.expires < now) {
                let expires = expired.entry(undecided.version).or_default();
                *expires = undecided.expires.max(*expires);
            }
            if expired.len() == BATCH_MAX {
                break;
            }
        }
        if expired.is_empty() {
            return;
        }
        if planted!(self.config.planted, ParticipantAborts) {
            for version in expired.into_keys() {
                self.discard(drive, version, out);
            }
            return;
        }
        let versions: Vec<(VersionId, WallTime)> = expired.into_iter().collect();
        self.sweep.resolving.insert(drive);
        let operation = Operation::Object(ObjectOperation::ResolveOn { drive, versions: versions.clone() });
        self.propose(GroupId::REGION, None, operation, Proposer::Resolve(drive, versions), out);
    }

    pub(super) fn on_resolved(
        &mut self,
        drive: DriveId,
        versions: &[(VersionId, WallTime)],
        answer: Answer,
        out: &mut Vec<Effect>,
    ) {
        self.sweep.end_resolve(drive);
        let Answer::Resolved(fates) = answer else { panic!("a question for fates was answered by {answer:?}") };
        assert_eq!(fates.len(), versions.len(), "one fate for each version asked");
        for (&(version, asked), fate) in versions.iter().zip(fates) {
            // SWEEP-5
            let is_renewed = self.stores[&drive].expires_after(version, asked);
            match fate {
                Fate::Committed => self.step_store(drive, shards::Event::Commit { version }, out),
                // SWEEP-1, and OBJ-1: nobody reads what was never decided, or went through the reclaim queue.
                Fate::Void if is_renewed => {}
                Fate::Void => self.discard(drive, version, out),
                Fate::Pending if planted!(self.config.planted, SweepInFlight) => self.discard(drive, version, out),
                Fate::Pending => {}
            }
        }
    }

    // Bodies to reclaim.

    pub(super) fn on_reclaimable(&mut self, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let QueryAnswer::Reclaimable(bodies) = answer else {
            panic!("the reclaim queue was asked for, and the answer was {answer:?}")
        };
        let Some(last) = bodies.last() else {
            self.sweep.end_reclaim(ReclaimEnd::End);
            return;
        };
        self.sweep.after = Some(last.place);
        let number = self.fresh_id();
        let ask = PinAsk { life: self.life, number };
        let versions: Vec<VersionId> = bodies.iter().map(|body| body.version).collect();
        let asked: BTreeSet<NodeId> =
            self.topology.nodes.keys().copied().filter(|node| *node != self.config.node).collect();
        for &to in &asked {
            out.push(Effect::Send { to, message: PeerMessage::Pins { ask, versions: versions.clone() } });
        }
        let (openings, pinned) = (self.opening.clone(), BTreeSet::new());
        let until = self.now.time.after(self.config.peer_timeout);
        self.sweep.reclaim = Reclaiming::Waiting { bodies, openings, number, asked, pinned, until };
        self.reclaim_unpinned(out);
    }

    /// Another node wants to reclaim these.
    pub(super) fn on_pins(&mut self, from: NodeId, ask: PinAsk, versions: Vec<VersionId>, out: &mut Vec<Effect>) {
        let openings = self.opening.clone();
        self.sweep.questions.insert(from, PinQuestion { ask, versions, openings });
        self.answer_pins(out);
    }

    /// OBJ-1: says what is open here, once every open that had begun is answered.
    fn answer_pins(&mut self, out: &mut Vec<Effect>) {
        if self.sweep.questions.is_empty() {
            return;
        }
        let pinned = self.pinned();
        let opening = &self.opening;
        self.sweep.questions.retain(|to, question| {
            question.openings.retain(|id| opening.contains(id));
            if question.openings.is_empty() {
                let versions = question.versions.iter().copied().filter(|version| pinned.contains(version)).collect();
                out.push(Effect::Send { to: *to, message: PeerMessage::Pinned { ask: question.ask, versions } });
            }
            !question.openings.is_empty()
        });
    }

    /// What readers of another node have open.
    pub(super) fn on_pinned(&mut self, from: NodeId, ask: PinAsk, versions: Vec<VersionId>, out: &mut Vec<Effect>) {
        let Reclaiming::Waiting { number, asked, pinned, .. } = &mut self.sweep.reclaim else { return };
        // REMOTE-1
        if ask.life == self.life && ask.number == *number && asked.remove(&from) {
            self.sweep.silent.remove(&from);
            pinned.extend(versions);
            self.reclaim_unpinned(out);
        }
    }

    /// Some nodes have not answered in time: the batch is tried again, or goes on without nodes that have been silent for long.
    pub(super) fn give_up_pins(&mut self, out: &mut Vec<Effect>) {
        let now = self.now.time;
        let Reclaiming::Waiting { asked, until, .. } = &mut self.sweep.reclaim else { return };
        if asked.is_empty() || now < *until {
            return;
        }
        let (silent, patience) = (&mut self.sweep.silent, self.config.pin_patience);
        let nodes = &self.topology.nodes;
        asked.retain(|node| {
            let since = *silent.entry(*node).or_insert(now);
            nodes.contains_key(node) && now < since.after(patience)
        });
        if asked.is_empty() {
            self.reclaim_unpinned(out);
        } else {
            self.sweep.end_reclaim(ReclaimEnd::Refused);
        }
    }

    /// Bodies that a client has open.
    fn pinned(&self) -> BTreeSet<VersionId> {
        self.opens.values().flat_map(|open| &open.object.bodies).map(|body| body.version).collect()
    }

    /// Deletes what waits and is pinned by nobody. Called whenever an open was answered or closed.
    pub(super) fn reclaim_unpinned(&mut self, out: &mut Vec<Effect>) {
        self.answer_pins(out);
        let Reclaiming::Waiting { openings, asked, .. } = &mut self.sweep.reclaim else { return };
        openings.retain(|id| self.opening.contains(id));
        if !openings.is_empty() || !asked.is_empty() {
            return;
        }
        if !self.leads(GroupId::REGION) {
            self.sweep.end_reclaim(ReclaimEnd::Refused);
            return;
        }
        let waited = core::mem::replace(&mut self.sweep.reclaim, Reclaiming::Idle);
        let Reclaiming::Waiting { bodies, mut pinned, .. } = waited else { return };
        // OBJ-1
        pinned.extend(self.pinned());
        let free: Vec<Reclaim> = bodies.into_iter().filter(|body| !pinned.contains(&body.version)).collect();
        if free.is_empty() {
            self.sweep.end_reclaim(ReclaimEnd::Done);
            return;
        }
        let deletion = |body: &Reclaim| (body.place, Deletion { waiting: body.drives.len(), failed: false });
        let entries = free.iter().map(deletion).collect();
        self.sweep.reclaim = Reclaiming::Deleting { entries, gone: Vec::new() };
        for body in free {
            for drive in body.drives {
                let ticket = self.ticket(TicketUse::Reclaim { place: body.place });
                self.step_drive(drive, shards::Event::Delete { ticket, version: body.version }, out);
            }
        }
    }

    pub(super) fn on_reclaim_deleted(&mut self, place: QueuePlace, deleted: bool, out: &mut Vec<Effect>) {
        let Reclaiming::Deleting { entries, gone } = &mut self.sweep.reclaim else {
            panic!("shards are reclaimed only by a reclaim batch");
        };
        let deletion = entries.get_mut(&place).expect("only entries of the batch are reclaimed");
        deletion.waiting -= 1;
        // The drive refused the tombstone (it may be full): the body stays in the queue.
        deletion.failed |= !deleted;
        if deletion.waiting > 0 {
            return;
        }
        if !deletion.failed {
            gone.push(place);
        }
        entries.remove(&place);
        if !entries.is_empty() {
            return;
        }
        // SWEEP-3
        let places = core::mem::take(gone);
        if places.is_empty() {
            self.sweep.end_reclaim(ReclaimEnd::Done);
            return;
        }
        self.sweep.reclaim = Reclaiming::Reporting;
        let operation = Operation::Object(ObjectOperation::ReclaimedAt { places });
        self.propose(GroupId::REGION, None, operation, Proposer::Reclaimed, out);
    }
}
