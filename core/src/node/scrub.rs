//! The search for damage: every shard that the drives of this node should hold is read again and again, and what is damaged or
//! missing is made anew before a reader, or the loss of another drive, needs it.
//!
//! The intuition: redundancy that nobody looks at is a guess. A pass follows the metadata rather than the drives, since a shard
//! that was lost altogether leaves nothing behind that could be read. Each node sees to its own drives, one shard at a time.
//!
//! - `SCRUB-1` Nothing is made anew before the metadata, asked again, still says that the drive should hold it: a body may have
//!   been moved or given up since its page was read.
//! - `SCRUB-2` No more bytes are read in a second than the pace allows; between two passes nothing is read at all.
//! - `SCRUB-3` A body that was found damaged is looked at again after its repair, until it is found whole, gone, or has been looked
//!   at [`LOOKS_MAX`] times: then it waits for the next pass.
//!
//! A process begins somewhere in the middle and goes on to the end, so that the shards of a node that never lives for a whole pass
//! are all read at some time. What follows are whole passes.
//!
//! Sources: Schwarz et al., "Disk Scrubbing in Large Archival Storage Systems" (MASCOTS 2004).
//!
//! Not here: how a shard is made anew (`mover`), and what a sound record is (`stripe`).

use super::Node;
use super::clients::{Asker, Work};
use super::config::ScrubPace;
use super::event::{Effect, Task};
use super::objects::TicketUse;
use super::reading::stripe_length;
use crate::disk::DiskError;
#[cfg(debug_assertions)]
use crate::planted::planted;
use crate::shards::{self, ShardKey};
use crate::state::{Body, Place, Query, QueryAnswer};
use crate::stripe::StripeId;
use crate::types::{DriveId, GroupId, Time, Trace, VersionId};
use crate::write;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// Versions that one page looks at.
const PAGE: usize = 64;

/// Bodies whose repair waits, above which the scrub waits as well: nothing that it finds shall be forgotten.
const REPAIRS_MAX: usize = 16;

/// When nothing is due by itself.
const NEVER: Time = Time(u64::MAX);

/// How often a damaged body is looked at again in one pass.
const LOOKS_MAX: u32 = 6;

/// What the scrub has done since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Shards that were read.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Shards that were found damaged or missing.
    pub damaged: u64,
    /// Passes over everything that have ended.
    pub passes: u64,
    /// Those of them that found nothing.
    pub clean_passes: u64,
    /// Bodies that the pass found damaged and not whole again yet.
    pub suspects: u64,
}

/// A body whose shards here are being read.
#[derive(Debug)]
struct Walk {
    body: Body,
    /// The slots that drives of this node have.
    slots: Vec<usize>,
    stripe: u32,
    /// Which of `slots` is next.
    at: usize,
    damaged: BTreeSet<usize>,
}

impl Walk {
    /// The next shard: its slot and its drive.
    fn next(&self) -> Option<(usize, DriveId, ShardKey)> {
        let Place::Striped { drives, .. } = &self.body.place else { return None };
        let slot = *self.slots.get(self.at)?;
        stripe_length(&self.body, self.stripe)?;
        let position = write::position_of(self.stripe, slot, drives.len());
        let position = u8::try_from(position).expect("a stripe has at most SHARDS_MAX positions");
        Some((slot, drives[slot], ShardKey { version: self.body.version, stripe: self.stripe, position }))
    }

    fn advance(&mut self) {
        self.at += 1;
        if self.at == self.slots.len() {
            (self.at, self.stripe) = (0, self.stripe + 1);
        }
    }
}

/// The scrub of one node.
#[derive(Debug)]
pub(super) struct Scrubber {
    /// When it goes on, unless it waits for an answer.
    due: Time,
    waits: bool,
    /// An operator wants a pass of its own.
    asked: bool,
    /// When the pass began, and whether it began with the first body.
    began: Time,
    whole: bool,
    /// The pass has come to here.
    after: Option<VersionId>,
    at_end: bool,
    page: VecDeque<Body>,
    walk: Option<Walk>,
    /// Found damaged (`SCRUB-3`): to be looked at in this round, and in the next.
    suspects: VecDeque<VersionId>,
    again: VecDeque<VersionId>,
    looks: u32,
    damaged_before: u64,
    figures: Scrubbed,
}

impl Scrubber {
    /// The first pass goes from `after` to the end.
    pub(super) fn new(now: Time, after: VersionId, pace: ScrubPace) -> Scrubber {
        Scrubber {
            due: if pace.interval.is_some() { now } else { NEVER },
            waits: false,
            asked: false,
            began: now,
            whole: false,
            after: Some(after),
            at_end: false,
            page: VecDeque::new(),
            walk: None,
            suspects: VecDeque::new(),
            again: VecDeque::new(),
            looks: 0,
            damaged_before: 0,
            figures: Scrubbed::default(),
        }
    }

    pub(super) fn due(&self) -> Option<Time> {
        (!self.waits).then_some(self.due)
    }

    pub(super) fn figures(&self) -> Scrubbed {
        Scrubbed { suspects: (self.suspects.len() + self.again.len()) as u64, ..self.figures }
    }

    /// A whole pass, from `at` on.
    fn begin_again(&mut self, at: Time) {
        (self.asked, self.due, self.began, self.whole) = (false, at, at, true);
        (self.after, self.at_end, self.walk, self.looks) = (None, false, None, 0);
        self.page.clear();
        self.suspects.clear();
        self.again.clear();
        self.damaged_before = self.figures.damaged;
    }

    /// Everything was looked at, and what was damaged as often as it is in this pass.
    fn end_pass(&mut self, now: Time, interval: Option<Duration>) {
        if self.whole {
            self.figures.passes += 1;
            self.figures.clean_passes += u64::from(self.figures.damaged == self.damaged_before);
        }
        // SCRUB-2
        let next = match interval {
            None => NEVER,
            Some(interval) if self.whole => now.max(self.began.after(interval)),
            Some(_) => now,
        };
        self.begin_again(next);
    }
}

impl Node {
    /// Goes on until there is something to wait for.
    pub(super) fn scrub(&mut self, out: &mut Vec<Effect>) {
        let pace = self.config.scrub;
        if self.scrub.asked && !self.scrub.waits {
            self.scrub.begin_again(self.now.time);
        }
        while !self.scrub.waits && self.scrub.due <= self.now.time {
            if self.mover.repairs_waiting() >= REPAIRS_MAX {
                self.pause_scrub(self.config.sweep_interval);
            } else if let Some(walk) = &self.scrub.walk {
                match walk.next() {
                    Some((_, drive, key)) => {
                        let ticket = self.ticket(TicketUse::Scrub);
                        self.scrub.waits = true;
                        self.step_drive(drive, shards::Event::Get { ticket, key }, out);
                    }
                    None => self.end_walk(out),
                }
            } else if let Some(body) = self.scrub.page.pop_front() {
                self.begin_walk(body);
            } else if !self.scrub.at_end {
                let query = Query::Bodies { after: self.scrub.after, limit: PAGE };
                self.ask_for_scrub(query, Asker::ScrubPage, out);
            } else if let Some(version) = self.scrub.suspects.pop_front() {
                self.ask_for_scrub(Query::Body { version }, Asker::ScrubBody, out);
            } else if !self.scrub.again.is_empty() && self.scrub.looks < LOOKS_MAX {
                // SCRUB-3: ever later, since a drive that would have to take the repair may be away.
                self.pause_scrub(self.config.sweep_interval * (1 << self.scrub.looks));
                self.scrub.looks += 1;
                self.scrub.suspects = core::mem::take(&mut self.scrub.again);
            } else {
                self.scrub.end_pass(self.now.time, pace.interval);
            }
        }
    }

    /// An operator does not want to wait for the next pass.
    pub(super) fn scrub_now(&mut self, out: &mut Vec<Effect>) {
        self.scrub.asked = true;
        self.scrub(out);
    }

    fn pause_scrub(&mut self, pause: Duration) {
        self.scrub.due = self.now.time.after(pause);
    }

    fn ask_for_scrub(&mut self, query: Query, asker: Asker, out: &mut Vec<Effect>) {
        self.scrub.waits = true;
        self.ask(GroupId::REGION, query, asker, out);
    }

    /// The metadata does not answer: later.
    pub(super) fn on_scrub_refused(&mut self) {
        self.scrub.waits = false;
        self.pause_scrub(self.config.sweep_interval);
        // It was asked for a body that is damaged, or is to be looked at again: both are found again by looking.
        if let Some(walk) = self.scrub.walk.take() {
            self.scrub.again.push_back(walk.body.version);
        }
    }

    pub(super) fn on_scrub_page(&mut self, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let QueryAnswer::Bodies { bodies, last } = answer else {
            panic!("bodies were asked for, and the answer was {answer:?}")
        };
        self.scrub.waits = false;
        self.scrub.page = bodies.into_iter().map(|(body, _)| body).collect();
        self.scrub.at_end = last.is_none();
        self.scrub.after = last.or(self.scrub.after);
        self.scrub(out);
    }

    pub(super) fn on_scrub_body(&mut self, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let QueryAnswer::Body(body) = answer else { panic!("a body was asked for, and the answer was {answer:?}") };
        self.scrub.waits = false;
        match self.scrub.walk.take() {
            Some(walk) => self.confirm_damage(walk, body, out),
            None => body.into_iter().for_each(|body| self.begin_walk(body)),
        }
        self.scrub(out);
    }

    fn begin_walk(&mut self, body: Body) {
        let Place::Striped { drives, .. } = &body.place else { return };
        let is_here = |slot: &usize| self.stores.contains_key(&drives[*slot]);
        let slots: Vec<usize> = (0..drives.len()).filter(is_here).collect();
        if !slots.is_empty() {
            self.scrub.walk = Some(Walk { body, slots, stripe: 0, at: 0, damaged: BTreeSet::new() });
        }
    }

    pub(super) fn on_scrub_loaded(&mut self, record: Result<Option<Bytes>, DiskError>, out: &mut Vec<Effect>) {
        let Some((_, _, key)) = self.scrub.walk.as_ref().and_then(Walk::next) else {
            panic!("a shard was read that the scrub did not ask for")
        };
        self.scrub.figures.shards += 1;
        match record {
            Ok(Some(record)) => {
                let pace = self.config.scrub.bytes_per_second.max(1);
                self.scrub.figures.bytes += record.len() as u64;
                // SCRUB-2
                self.pause_scrub(Duration::from_micros((record.len() as u64).saturating_mul(1_000_000) / pace));
                let id = StripeId { version: key.version, index: key.stripe };
                let work = self.begin_work(Work::Verify { record: record.clone() });
                out.push(Effect::Compute { work, task: Task::Verify { record, id, position: key.position } });
            }
            Ok(None) | Err(_) => self.note_scrubbed(false, out),
        }
    }

    pub(super) fn on_scrub_verified(&mut self, is_sound: bool, record: Bytes, out: &mut Vec<Effect>) {
        #[cfg(debug_assertions)]
        if !is_sound && planted!(self.config.planted, ScrubTrustsDamage) {
            self.heal_from_damage(record, out);
            return;
        }
        drop(record);
        self.note_scrubbed(is_sound, out);
    }

    fn note_scrubbed(&mut self, is_sound: bool, out: &mut Vec<Effect>) {
        self.scrub.waits = false;
        let Some(walk) = &mut self.scrub.walk else { panic!("only a shard of a body is scrubbed") };
        if !is_sound && let Some((slot, _, _)) = walk.next() {
            walk.damaged.insert(slot);
            self.scrub.figures.damaged += 1;
        }
        walk.advance();
        self.scrub(out);
    }

    /// All shards of the body here were read.
    fn end_walk(&mut self, out: &mut Vec<Effect>) {
        let Some(walk) = &self.scrub.walk else { return };
        if walk.damaged.is_empty() {
            self.scrub.walk = None;
        } else {
            // SCRUB-1
            let version = walk.body.version;
            self.ask_for_scrub(Query::Body { version }, Asker::ScrubBody, out);
        }
    }

    fn confirm_damage(&mut self, walk: Walk, body: Option<Body>, out: &mut Vec<Effect>) {
        // SCRUB-1
        let Some(body) = body.filter(|body| body.place == walk.body.place) else { return };
        let Place::Striped { drives, .. } = &body.place else { return };
        let drives: Vec<DriveId> = walk.damaged.iter().map(|slot| drives[*slot]).collect();
        let note =
            format!("the scrub found shards of version {} damaged or missing on drives {drives:?}", body.version);
        out.push(Effect::Trace(Trace::Suspect(note)));
        self.repair(&body, walk.damaged, out);
        self.scrub.again.push_back(body.version);
    }

    /// What the planted bug does: the damaged bytes get sound checksums.
    #[cfg(debug_assertions)]
    fn heal_from_damage(&mut self, record: Bytes, out: &mut Vec<Effect>) {
        let expires = self.wall(GroupId::REGION).after(self.config.prepare_ttl);
        let Some(walk) = &self.scrub.walk else { return };
        let Place::Striped { profile, .. } = walk.body.place else { return };
        let (Some((_, drive, key)), Some(length)) = (walk.next(), stripe_length(&walk.body, walk.stripe)) else {
            return;
        };
        let id = StripeId { version: key.version, index: key.stripe };
        if let Some(record) = crate::stripe::reframe(&record, id, key.position, profile, length) {
            let ticket = self.ticket(TicketUse::Discard);
            self.step_drive(drive, shards::Event::Put { ticket, key, expires, record }, out);
        }
        self.note_scrubbed(true, out);
    }
}
