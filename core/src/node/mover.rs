//! Shards that are not where they should be, on their way there: off drives that left or are about to, onto drives that joined,
//! and anew where a reader found them damaged.
//!
//! The leader of the region looks at every body once after each change of topology or placement, page by page, and moves what
//! must or should move, a few bodies at a time. When nothing has changed it does nothing. Whoever reads a damaged shard has it
//! written again, whichever node that is.
//!
//! A shard is made anew rather than copied: the stripe is read, verified by its seal, and sealed again, which gives the same
//! bytes for each position. So damage is never handed on, and a drive that is gone needs no other treatment than one that is full.
//!
//! - `MOVER-1` A body's drives change only by a decision of the metadata (`MOVE-1`), after every copy is durable.
//! - `MOVER-2` What cannot be moved now is tried again later: a round counts only when nothing was left over.
//! - `MOVER-3` A body may be decided that was placed by an old topology, for as long as the old one may count (`CLUSTER-4`) and
//!   a preparation lives. So after a change there is one more round when that time is over.
//! - `MOVER-4` A target shares no node with the body's other shards while there are nodes for all.

use super::Node;
use super::clients::{Asker, Proposer, Work};
use super::event::{Effect, Task};
use super::objects::TicketUse;
use super::reading::{ReadFor, stripe_length};
use crate::placement;
use crate::shards::{self, ShardKey};
use crate::state::{Answer, Body, ObjectOperation, Operation, Place, Query, QueryAnswer};
use crate::stripe::{self, DataKey, StripeId};
use crate::types::{DriveId, GroupId, Time, Trace, VersionId, WallTime};
use crate::write;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// Versions that one page looks at.
const PAGE: usize = 256;

/// Bodies that wait to be moved, above which no further page is asked for.
const QUEUE_MAX: usize = 64;

/// Repairs that wait, at most. What is not repaired is found again by the next reader.
const REPAIRS_MAX: usize = 1024;

/// A body with the drives that it shall have in some of its slots. Slot `i` is the `i`th drive of the body.
#[derive(Debug)]
struct Plan {
    body: Body,
    changes: VecDeque<(usize, DriveId)>,
}

/// One slot of a body on its way.
#[derive(Debug)]
struct Move {
    plan: Plan,
    slot: usize,
    to: DriveId,
    key: DataKey,
    stripe: u32,
    expires: WallTime,
}

/// A look at all bodies.
#[derive(Debug)]
struct Round {
    number: u64,
    /// The epochs of topology and placement that it is for.
    wanted_by: (u64, u64),
    began: Time,
    after: Option<VersionId>,
    asking: bool,
    at_end: bool,
    left_over: bool,
    stuck: u64,
}

/// What the mover has done since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Slots of bodies that were moved to another drive.
    pub moved: u64,
    /// Slots of bodies that were written anew in their place.
    pub repaired: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Bodies that wait or are under way.
    pub waiting: u64,
    /// Bodies that the last look at all of them, by this node as leader, found out of place with no place to go: too few nodes
    /// are left for their profile, or those are down.
    pub stuck: u64,
}

#[derive(Debug)]
pub(super) struct Mover {
    due: Time,
    round: Option<Round>,
    /// The latest epochs, and since when this node knows them.
    known: ((u64, u64), Time),
    /// Rounds in a row that left something over, and when the next one may begin.
    failed_rounds: u32,
    again_at: Time,
    /// The epochs for which a round left nothing over, and those for which it was also late enough (`MOVER-3`).
    passed: Option<(u64, u64)>,
    settled: Option<(u64, u64)>,
    queue: VecDeque<Plan>,
    repairs: VecDeque<Plan>,
    moves: BTreeMap<u64, Move>,
    figures: Moved,
}

impl Mover {
    pub(super) fn new(now: Time) -> Mover {
        Mover {
            due: now,
            round: None,
            known: ((0, 0), now),
            failed_rounds: 0,
            again_at: now,
            passed: None,
            settled: None,
            queue: VecDeque::new(),
            repairs: VecDeque::new(),
            moves: BTreeMap::new(),
            figures: Moved::default(),
        }
    }

    pub(super) fn due(&self) -> Time {
        self.due
    }

    pub(super) fn figures(&self) -> Moved {
        let waiting = self.queue.len() + self.repairs.len() + self.moves.len();
        Moved { waiting: waiting as u64, ..self.figures }
    }

    /// Bodies that wait for their repair.
    pub(super) fn repairs_waiting(&self) -> usize {
        self.repairs.len()
    }

    fn holds(&self, version: VersionId) -> bool {
        let waiting = self.queue.iter().chain(&self.repairs).chain(self.moves.values().map(|one| &one.plan));
        waiting.into_iter().any(|plan| plan.body.version == version)
    }
}

impl Node {
    /// Begins, goes on with, or ends a round.
    pub(super) fn keep_places(&mut self, out: &mut Vec<Effect>) {
        if self.now.time < self.mover.due {
            return;
        }
        self.mover.due = self.now.time.after(self.config.sweep_interval);
        self.start_moves(out);
        if self.config.steward_interval.is_none() || !self.leads(GroupId::REGION) {
            self.mover.round = None;
            self.mover.queue.clear();
            return;
        }
        let placement = self.placement.as_ref().map_or(0, |placement| placement.epoch);
        let epochs = (self.topology.epoch, placement);
        if self.mover.round.as_ref().is_some_and(|round| round.wanted_by != epochs) {
            self.mover.round = None;
            self.mover.queue.clear();
        }
        if self.mover.known.0 != epochs {
            self.mover.known = (epochs, self.now.time);
            (self.mover.failed_rounds, self.mover.again_at) = (0, self.now.time);
        }
        // MOVER-3
        let sure_at = self.mover.known.1.after(self.config.prepare_ttl * 2);
        let idle = self.mover.queue.is_empty() && self.mover.moves.is_empty();
        match &self.mover.round {
            None if self.mover.settled == Some(epochs) || placement == 0 => {}
            None if self.mover.passed == Some(epochs) && self.now.time < sure_at => {}
            None if self.now.time < self.mover.again_at => {}
            None => {
                let (asking, at_end, left_over) = (false, false, false);
                let (began, number) = (self.now.time, self.fresh_id());
                self.mover.round =
                    Some(Round { number, wanted_by: epochs, began, after: None, asking, at_end, left_over, stuck: 0 });
            }
            // MOVER-2
            Some(round) if round.at_end && idle => {
                let is_sure = round.began >= sure_at;
                self.mover.figures.stuck = round.stuck;
                if round.left_over {
                    // MOVER-2: ever more seldom, since what stands in the way may stay.
                    let pause = self.config.sweep_interval * (1 << self.mover.failed_rounds.min(5));
                    self.mover.failed_rounds += 1;
                    self.mover.again_at = self.now.time.after(pause);
                } else {
                    self.mover.failed_rounds = 0;
                    self.mover.passed = Some(epochs);
                    self.mover.settled = is_sure.then_some(epochs);
                }
                self.mover.round = None;
            }
            Some(_) => {}
        }
        self.ask_page(out);
    }

    fn ask_page(&mut self, out: &mut Vec<Effect>) {
        let waiting = self.mover.queue.len();
        let Some(round) = &mut self.mover.round else { return };
        if round.asking || round.at_end || waiting >= QUEUE_MAX {
            return;
        }
        round.asking = true;
        let number = round.number;
        let query = Query::Bodies { after: round.after, limit: PAGE };
        self.ask(GroupId::REGION, query, Asker::Mover(number), out);
    }

    /// The page could not be read.
    pub(super) fn on_no_bodies(&mut self, number: u64) {
        if let Some(round) = self.mover.round.as_mut().filter(|round| round.number == number) {
            (round.asking, round.left_over) = (false, true);
        }
    }

    pub(super) fn on_bodies(&mut self, number: u64, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let QueryAnswer::Bodies { bodies, last } = answer else {
            panic!("bodies were asked for, and the answer was {answer:?}")
        };
        // A page of a round that was given up says nothing about this one.
        if self.mover.round.as_ref().is_none_or(|round| round.number != number) {
            return;
        }
        let (mut plans, mut left_over, mut stuck) = (Vec::new(), false, 0);
        for (body, left) in bodies {
            if self.mover.holds(body.version) {
                left_over = true;
                continue;
            }
            let (changes, complete) = self.plan(&body, &left);
            left_over |= !complete;
            stuck += u64::from(!complete);
            if !changes.is_empty() {
                plans.push(Plan { body, changes });
            }
        }
        self.mover.queue.extend(plans);
        if let Some(round) = &mut self.mover.round {
            round.asking = false;
            round.left_over |= left_over;
            round.stuck += stuck;
            round.at_end = last.is_none();
            round.after = last.or(round.after);
        }
        self.start_moves(out);
        self.ask_page(out);
    }

    /// Which slots of a body shall have another drive, and whether that is all that should be done.
    fn plan(&self, body: &Body, left: &[DriveId]) -> (VecDeque<(usize, DriveId)>, bool) {
        let mut changes = VecDeque::new();
        let Place::Striped { profile, drives } = &body.place else { return (changes, true) };
        let table = self.placement.as_ref().filter(|placement| placement.profile == *profile);
        let table = table.map(|placement| &placement.table);
        let specs = &self.specs;
        let alive = |drive| self.is_drive_trusted(drive);
        // The table gives each slot its drive. A body of another profile has a set of drives, in whatever slots.
        let goal = placement::choose(table, body.version, &|_| true, specs, *profile).unwrap_or_default();
        let mut current = drives.clone();
        let mut complete = true;
        for slot in 0..current.len() {
            let leaves = !specs.iter().any(|spec| spec.drive == current[slot]);
            let is_home = match table {
                // A drive of the goal in another slot is home as well while its place is taken by one of the same body.
                Some(_) => goal.get(slot).is_none_or(|own| {
                    *own == current[slot] || (goal.contains(&current[slot]) && current.contains(own))
                }),
                None => goal.is_empty() || goal.contains(&current[slot]),
            };
            if is_home && !leaves {
                continue;
            }
            let wanted = match table {
                Some(_) => goal.get(slot..=slot).unwrap_or_default(),
                None => &goal[..],
            };
            let substitutes = leaves.then(|| placement::choose(table, body.version, &alive, specs, *profile));
            let substitutes = substitutes.and_then(Result::ok).unwrap_or_default();
            let candidates = wanted.iter().chain(&substitutes).copied();
            match candidates
                .filter(|drive| alive(*drive) && !left.contains(drive))
                .find(|drive| self.suits(&current, slot, *drive))
            {
                Some(to) => {
                    current[slot] = to;
                    changes.push_back((slot, to));
                }
                None => complete = false,
            }
        }
        (changes, complete)
    }

    /// `MOVER-4`
    fn suits(&self, current: &[DriveId], slot: usize, target: DriveId) -> bool {
        let node = |drive: DriveId| self.homes.get(&drive).copied();
        let others: Vec<DriveId> =
            current.iter().enumerate().filter(|(at, _)| *at != slot).map(|(_, drive)| *drive).collect();
        let crowded =
            self.topology.serving().count() >= current.len() && others.iter().any(|other| node(*other) == node(target));
        !others.contains(&target) && current[slot] != target && !crowded
    }

    /// A reader found shards of these slots damaged or missing: they are written anew where they are.
    pub(super) fn repair(&mut self, body: &Body, slots: BTreeSet<usize>, out: &mut Vec<Effect>) {
        let Place::Striped { drives, .. } = &body.place else { return };
        if self.mover.repairs.len() >= REPAIRS_MAX || self.mover.holds(body.version) {
            return;
        }
        let changes: VecDeque<(usize, DriveId)> = slots
            .into_iter()
            .map(|slot| (slot, drives[slot]))
            .filter(|(_, drive)| self.is_drive_trusted(*drive))
            .collect();
        if !changes.is_empty() {
            self.mover.repairs.push_back(Plan { body: body.clone(), changes });
            self.start_moves(out);
        }
    }

    fn start_moves(&mut self, out: &mut Vec<Effect>) {
        while self.mover.moves.len() < self.config.moves_max {
            let Some(plan) = self.mover.repairs.pop_front().or_else(|| self.mover.queue.pop_front()) else { break };
            self.begin_move(plan, out);
        }
    }

    fn begin_move(&mut self, mut plan: Plan, out: &mut Vec<Effect>) {
        let Some((slot, to)) = plan.changes.pop_front() else { return };
        match stripe::unwrap_key(&self.config.root_key, plan.body.version, &plan.body.key) {
            Ok(key) => {
                let id = self.fresh_id();
                let one = Move { plan, slot, to, key, stripe: 0, expires: WallTime(0) };
                self.mover.moves.insert(id, one);
                self.move_stripe(id, out);
            }
            Err(error) => {
                let note = format!("version {} cannot be moved: {error:?}", plan.body.version);
                out.push(Effect::Trace(Trace::Suspect(note)));
                self.note_left_over();
            }
        }
    }

    /// Reads the next stripe, or decides when there is none.
    fn move_stripe(&mut self, id: u64, out: &mut Vec<Effect>) {
        let Some(one) = self.mover.moves.get(&id) else { return };
        let Some(length) = stripe_length(&one.plan.body, one.stripe) else {
            self.end_copy(id, out);
            return;
        };
        let (body, key, stripe) = (one.plan.body.clone(), one.key.clone(), one.stripe);
        self.read_body(ReadFor::Move(id), body, key, stripe, length, None, out);
    }

    /// The stripe was read, and its seal held.
    pub(super) fn on_move_read(&mut self, id: u64, plaintext: Bytes, out: &mut Vec<Effect>) {
        let Some(one) = self.mover.moves.get(&id) else { return };
        let Place::Striped { profile, .. } = &one.plan.body.place else { return };
        let stripe_id = StripeId { version: one.plan.body.version, index: one.stripe };
        let seal = stripe::Seal { id: stripe_id, key: one.key.clone(), profile: *profile, plaintext };
        let work = self.begin_work(Work::SealMove { id });
        out.push(Effect::Compute { work, task: Task::Seal(seal) });
    }

    pub(super) fn on_move_sealed(&mut self, id: u64, mut records: Vec<Bytes>, out: &mut Vec<Effect>) {
        let expires = self.wall(GroupId::REGION).after(self.config.prepare_ttl);
        let Some(one) = self.mover.moves.get_mut(&id) else { return };
        let count = records.len();
        let position = write::position_of(one.stripe, one.slot, count);
        let record = records.swap_remove(position);
        one.expires = expires;
        let position = u8::try_from(position).expect("a stripe has at most SHARDS_MAX positions");
        let key = ShardKey { version: one.plan.body.version, stripe: one.stripe, position };
        let to = one.to;
        let ticket = self.ticket(TicketUse::Move { id });
        self.step_drive(to, shards::Event::Put { ticket, key, expires, record }, out);
    }

    pub(super) fn on_move_stored(&mut self, id: u64, stored: bool, out: &mut Vec<Effect>) {
        if !stored {
            self.fail_move(id, out);
            return;
        }
        if let Some(one) = self.mover.moves.get_mut(&id) {
            one.stripe += 1;
        }
        self.move_stripe(id, out);
    }

    /// MOVER-1: every copy is durable.
    fn end_copy(&mut self, id: u64, out: &mut Vec<Effect>) {
        let Some(one) = self.mover.moves.get(&id) else { return };
        let (from, to, version, expires) = (one.from(), one.to, one.plan.body.version, one.expires);
        if from == to {
            self.mover.figures.repaired += 1;
            self.go_on(id, out);
            return;
        }
        let operation = Operation::Object(ObjectOperation::Relocate { version, from, to, expires });
        self.propose(GroupId::REGION, None, operation, Proposer::Move(id), out);
    }

    pub(super) fn on_relocated(&mut self, id: u64, answer: &Answer, out: &mut Vec<Effect>) {
        if *answer != Answer::Done {
            self.fail_move(id, out);
            return;
        }
        let Some(one) = self.mover.moves.get_mut(&id) else { return };
        let (slot, to, version) = (one.slot, one.to, one.plan.body.version);
        if let Place::Striped { drives, .. } = &mut one.plan.body.place {
            drives[slot] = to;
        }
        self.mover.figures.moved += 1;
        self.step_drive(to, shards::Event::Commit { version }, out);
        self.go_on(id, out);
    }

    /// The next slot of the same body, or the next body.
    fn go_on(&mut self, id: u64, out: &mut Vec<Effect>) {
        if let Some(one) = self.mover.moves.remove(&id) {
            self.begin_move(one.plan, out);
        }
        self.start_moves(out);
    }

    /// The move did not happen, or nobody knows. Its copies stay until the sweep finds them: it may be decided yet, or another
    /// node may have moved the same body to the same drive, and made them count.
    pub(super) fn fail_move(&mut self, id: u64, out: &mut Vec<Effect>) {
        self.mover.moves.remove(&id);
        self.note_left_over();
        self.start_moves(out);
    }

    fn note_left_over(&mut self) {
        self.mover.figures.failed += 1;
        if let Some(round) = &mut self.mover.round {
            round.left_over = true;
        }
    }
}

impl Move {
    /// The drive that the body names in the slot.
    fn from(&self) -> DriveId {
        match &self.plan.body.place {
            Place::Striped { drives, .. } => drives[self.slot],
            Place::Inline(_) => unreachable!("only striped bodies are planned"),
        }
    }
}
