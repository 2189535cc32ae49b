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
//! - `OBJ-1` (see `objects`) A body is reclaimed only when no reader has it open, and every open that began before the
//!   queue was read has been answered: later ones cannot see it, since their read is linearized after its removal.

use super::Node;
use super::clients::{Asker, Proposer};
use super::event::Effect;
use super::objects::TicketUse;
use crate::planted::planted;
use crate::shards;
use crate::state::{Answer, Fate, ObjectOperation, Operation, Query, QueryAnswer, QueuePlace, Reclaim};
use crate::types::{GroupId, RequestId, Time, VersionId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Most versions in one question, and most bodies in one reclaim batch.
pub(super) const BATCH_MAX: usize = 256;

/// The sweep's own state.
#[derive(Debug)]
pub(super) struct Sweep {
    due: Time,
    resolving: bool,
    /// Something was applied since the reclaim queue was last seen empty.
    dirty: bool,
    /// The round of reclaiming has come to here. `None` when it has not begun.
    after: Option<QueuePlace>,
    reclaim: Reclaiming,
}

#[derive(Debug)]
enum Reclaiming {
    Idle,
    /// The queue is being read.
    Asking,
    /// These wait for readers that may see them: opens in `openings` are not answered yet.
    Waiting {
        bodies: Vec<Reclaim>,
        openings: BTreeSet<RequestId>,
    },
    /// Shards are being deleted.
    Deleting {
        versions: BTreeMap<VersionId, Deletion>,
        gone: Vec<VersionId>,
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
        Sweep { due: now, resolving: false, dirty: true, after: None, reclaim: Reclaiming::Idle }
    }

    pub(super) fn due(&self) -> Time {
        self.due
    }

    pub(super) fn note_applied(&mut self) {
        self.dirty = true;
    }

    pub(super) fn end_resolve(&mut self) {
        self.resolving = false;
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
        if !self.leads(GroupId::REGION) {
            return;
        }
        if !self.sweep.resolving {
            self.resolve_expired(out);
        }
        if self.sweep.dirty && matches!(self.sweep.reclaim, Reclaiming::Idle) {
            self.sweep.dirty = false;
            self.sweep.reclaim = Reclaiming::Asking;
            let query = Query::Reclaimable { after: self.sweep.after, limit: BATCH_MAX };
            self.ask(GroupId::REGION, query, Asker::Reclaim, out);
        }
    }

    // Undecided shards.

    fn resolve_expired(&mut self, out: &mut Vec<Effect>) {
        let mut expired: BTreeMap<VersionId, WallTime> = BTreeMap::new();
        let now = self.wall(GroupId::REGION);
        let hasty = planted!(self.config.planted, SweepInFlight);
        for undecided in self.stores.values().flat_map(|store| store.undecided()) {
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
        let versions: Vec<(VersionId, WallTime)> = expired.into_iter().collect();
        let names: Vec<VersionId> = versions.iter().map(|(version, _)| *version).collect();
        self.sweep.resolving = true;
        let operation = Operation::Object(ObjectOperation::Resolve { versions });
        self.propose(GroupId::REGION, None, operation, Proposer::Resolve(names), out);
    }

    pub(super) fn on_resolved(&mut self, versions: &[VersionId], answer: Answer, out: &mut Vec<Effect>) {
        self.sweep.end_resolve();
        let Answer::Resolved(fates) = answer else { panic!("a question for fates was answered by {answer:?}") };
        assert_eq!(fates.len(), versions.len(), "one fate for each version asked");
        let drives: Vec<_> = self.stores.keys().copied().collect();
        for (&version, fate) in versions.iter().zip(fates) {
            for &drive in &drives {
                match fate {
                    Fate::Committed => self.step_store(drive, shards::Event::Commit { version }, out),
                    // SWEEP-1, and OBJ-1: nobody reads what was never decided, or went through the reclaim queue.
                    Fate::Void => self.discard(drive, version, out),
                    Fate::Pending if planted!(self.config.planted, SweepInFlight) => self.discard(drive, version, out),
                    Fate::Pending => {}
                }
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
        self.sweep.reclaim = Reclaiming::Waiting { bodies, openings: self.opening.clone() };
        self.reclaim_unpinned(out);
    }

    /// Bodies that a client has open.
    fn pinned(&self) -> BTreeSet<VersionId> {
        self.opens.values().flat_map(|open| &open.object.bodies).map(|body| body.version).collect()
    }

    /// Deletes what waits and is pinned by nobody. Called whenever an open was answered or closed.
    pub(super) fn reclaim_unpinned(&mut self, out: &mut Vec<Effect>) {
        let Reclaiming::Waiting { openings, .. } = &mut self.sweep.reclaim else { return };
        openings.retain(|id| self.opening.contains(id));
        if !openings.is_empty() {
            return;
        }
        let Reclaiming::Waiting { bodies, .. } = core::mem::replace(&mut self.sweep.reclaim, Reclaiming::Idle) else {
            return;
        };
        // OBJ-1
        let pinned = self.pinned();
        let free: Vec<Reclaim> = bodies.into_iter().filter(|body| !pinned.contains(&body.version)).collect();
        if free.is_empty() {
            self.sweep.end_reclaim(ReclaimEnd::Done);
            return;
        }
        let deletion = |body: &Reclaim| (body.version, Deletion { waiting: body.drives.len(), failed: false });
        let versions = free.iter().map(deletion).collect();
        self.sweep.reclaim = Reclaiming::Deleting { versions, gone: Vec::new() };
        for body in free {
            for drive in body.drives {
                let ticket = self.ticket(TicketUse::Reclaim { version: body.version });
                self.step_store(drive, shards::Event::Delete { ticket, version: body.version }, out);
            }
        }
    }

    pub(super) fn on_reclaim_deleted(&mut self, version: VersionId, deleted: bool, out: &mut Vec<Effect>) {
        let Reclaiming::Deleting { versions, gone } = &mut self.sweep.reclaim else {
            panic!("shards are reclaimed only by a reclaim batch");
        };
        let deletion = versions.get_mut(&version).expect("only versions of the batch are reclaimed");
        deletion.waiting -= 1;
        // The drive refused the tombstone (it may be full): the body stays in the queue.
        deletion.failed |= !deleted;
        if deletion.waiting > 0 {
            return;
        }
        if !deletion.failed {
            gone.push(version);
        }
        versions.remove(&version);
        if !versions.is_empty() {
            return;
        }
        // SWEEP-3
        let versions = core::mem::take(gone);
        if versions.is_empty() {
            self.sweep.end_reclaim(ReclaimEnd::Done);
            return;
        }
        self.sweep.reclaim = Reclaiming::Reporting;
        let operation = Operation::Object(ObjectOperation::Reclaimed { versions });
        self.propose(GroupId::REGION, None, operation, Proposer::Reclaimed, out);
    }
}
