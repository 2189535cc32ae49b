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
//! - `MOVER-5` When nodes that were away are there again, all bodies are looked at too: what was written meanwhile has substitutes.
//! - `MOVER-6` Bodies of another profile than that of the cluster are cut anew (`recode`): at once where a drive that leaves has no
//!   successor for their shards, and otherwise when the cluster has been as it is for a while, since nodes often join in a row.
//! - `MOVER-7` A node that did not reach another one for a moment writes for fewer nodes, and the leader may not have noticed. So where
//!   anything was applied, all bodies are looked at again after a longer rest.
//!
//! Not here: which drive a shard should be on (`targets`).

use super::Node;
use super::clients::{Asker, Proposer, Work};
use super::event::{Effect, Task};
use super::objects::TicketUse;
use super::reading::{ReadFor, stripe_length};
use super::recode::Recode;
use crate::planted::planted;
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
    /// Bodies of another profile are cut anew, also where they could stay.
    recodes: bool,
}

/// What the mover has done since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Slots of bodies that were moved to another drive.
    pub moved: u64,
    /// Slots of bodies that were written anew in their place.
    pub repaired: u64,
    /// Bodies that were cut anew for another profile.
    pub recoded: u64,
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
    /// Whether all nodes of the cluster are there. What is written while some are not is cut and placed for those that are.
    is_complete: bool,
    /// Something was applied since the last round began.
    changed: bool,
    /// When the last round began that left nothing over for the epochs that are known.
    passed: Option<Time>,
    queue: VecDeque<Plan>,
    repairs: VecDeque<Plan>,
    to_recode: VecDeque<Body>,
    moves: BTreeMap<u64, Move>,
    pub(super) recodes: BTreeMap<u64, Recode>,
    pub(super) figures: Moved,
}

impl Mover {
    pub(super) fn new(now: Time) -> Mover {
        Mover {
            due: now,
            round: None,
            known: ((0, 0), now),
            failed_rounds: 0,
            again_at: now,
            is_complete: false,
            changed: true,
            passed: None,
            queue: VecDeque::new(),
            repairs: VecDeque::new(),
            to_recode: VecDeque::new(),
            moves: BTreeMap::new(),
            recodes: BTreeMap::new(),
            figures: Moved::default(),
        }
    }

    pub(super) fn due(&self) -> Time {
        self.due
    }

    pub(super) fn figures(&self) -> Moved {
        let waiting = self.queue_len() + self.repairs.len() + self.under_way();
        Moved { waiting: waiting as u64, ..self.figures }
    }

    pub(super) fn note_applied(&mut self) {
        self.changed = true;
    }

    /// Bodies that wait for their repair.
    pub(super) fn repairs_waiting(&self) -> usize {
        self.repairs.len()
    }

    fn holds(&self, version: VersionId) -> bool {
        let plans = self.queue.iter().chain(&self.repairs).chain(self.moves.values().map(|one| &one.plan));
        let recodes = self.to_recode.iter().chain(self.recodes.values().map(|one| &one.body));
        plans.map(|plan| &plan.body).chain(recodes).any(|body| body.version == version)
    }

    fn queue_len(&self) -> usize {
        self.queue.len() + self.to_recode.len()
    }

    fn under_way(&self) -> usize {
        self.moves.len() + self.recodes.len()
    }

    fn give_up_round(&mut self) {
        self.round = None;
        self.queue.clear();
        self.to_recode.clear();
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
            self.mover.give_up_round();
            return;
        }
        let placement = self.placement.as_ref().map_or(0, |placement| placement.epoch);
        let epochs = (self.topology.epoch, placement);
        if self.mover.round.as_ref().is_some_and(|round| round.wanted_by != epochs) {
            self.mover.give_up_round();
        }
        let is_complete = self.topology.serving().all(|(node, _)| self.is_trusted(node));
        let is_back = is_complete && !self.mover.is_complete;
        self.mover.is_complete = is_complete;
        // MOVER-5
        if self.mover.known.0 != epochs || is_back {
            self.mover.known = (epochs, self.now.time);
            self.mover.passed = None;
            (self.mover.failed_rounds, self.mover.again_at) = (0, self.now.time);
        }
        // MOVER-3, MOVER-6: a round for each of these times, and one for all that are past.
        let since = self.mover.known.1;
        let recode_at = since.after(self.config.recode_after);
        let wanted = [since, since.after(self.config.prepare_ttl * 2), recode_at];
        let next = wanted.into_iter().filter(|at| self.mover.passed.is_none_or(|began| began < *at)).min();
        // MOVER-7
        let rest = self.config.recode_after * 6 + self.config.sweep_interval * 8;
        // The planted bug would be mended by this look before it does harm.
        let looks_again = self.mover.changed && !planted!(self.config.planted, StaleTopology);
        let again = self.mover.passed.filter(|_| looks_again).map(|began| began.after(rest));
        let next = next.or(again);
        let idle = self.mover.queue_len() == 0 && self.mover.under_way() == 0;
        match &self.mover.round {
            None if placement == 0 || next.is_none_or(|next| self.now.time < next) => {}
            None if self.now.time < self.mover.again_at => {}
            None => {
                let (asking, at_end, left_over) = (false, false, false);
                let (began, number, recodes) = (self.now.time, self.fresh_id(), self.now.time >= recode_at);
                let (wanted_by, after, stuck) = (epochs, None, 0);
                self.mover.changed = false;
                self.mover.round =
                    Some(Round { number, wanted_by, began, after, asking, at_end, left_over, stuck, recodes });
            }
            // MOVER-2
            Some(round) if round.at_end && idle => {
                self.mover.figures.stuck = round.stuck;
                if round.left_over {
                    // MOVER-2: ever more seldom, since what stands in the way may stay.
                    let pause = self.config.sweep_interval * (1 << self.mover.failed_rounds.min(5));
                    self.mover.failed_rounds += 1;
                    self.mover.again_at = self.now.time.after(pause);
                } else {
                    self.mover.failed_rounds = 0;
                    self.mover.passed = Some(round.began);
                }
                self.mover.round = None;
            }
            Some(_) => {}
        }
        self.ask_page(out);
    }

    fn ask_page(&mut self, out: &mut Vec<Effect>) {
        let waiting = self.mover.queue_len();
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
        let recodes = self.mover.round.as_ref().is_some_and(|round| round.recodes);
        let (mut plans, mut left_over, mut stuck) = (Vec::new(), false, 0);
        for (body, left) in bodies {
            if self.mover.holds(body.version) {
                left_over = true;
                continue;
            }
            let (changes, complete) = self.plan(&body, &left);
            // MOVER-6
            if (recodes || !complete) && self.is_of_another_profile(&body) {
                self.mover.to_recode.push_back(body);
                continue;
            }
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

    pub(super) fn start_moves(&mut self, out: &mut Vec<Effect>) {
        while self.mover.under_way() < self.config.moves_max {
            if let Some(plan) = self.mover.repairs.pop_front().or_else(|| self.mover.queue.pop_front()) {
                self.begin_move(plan, out);
            } else if let Some(body) = self.mover.to_recode.pop_front() {
                self.begin_recode(body, out);
            } else {
                break;
            }
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

    pub(super) fn note_left_over(&mut self) {
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
