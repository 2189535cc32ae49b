//! Carrying out lifecycle rules.
//!
//! The leader of the region looks through the buckets that have rules once a day, and when rules were set, page by page, and
//! proposes the removal of what is due, a few at a time. Where no bucket has rules, or nothing was applied and no day has ended,
//! it does nothing at all.
//!
//! - `LIFE-3` (see `objects::lifecycle`) What is found is only a hint: the command judges again.
//! - `LIFE-4` A round counts for its day only when nothing was left over: whatever was refused is looked for again.
//! - `LIFE-5` Of one key the oldest versions go first: what covers a version is still there when that is judged.
//!
//! Not here: what rules say (`state::rules`), and which rows are looked at (`home::lifecycle`).

use super::Node;
use super::clients::{Asker, Proposer};
use super::event::Effect;
use crate::state::{Answer, Calendar, Expiry, ExpiryPlace, ObjectName, ObjectOperation, Operation, Query, QueryAnswer};
use crate::types::{GroupId, LogIndex, Time};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Versions or uploads that one page looks at.
const PAGE: usize = 256;
/// Removals that are proposed and not answered yet.
const UNDER_WAY_MAX: usize = 8;
/// Looks in a day at whether rules were set.
const LOOKS_A_DAY: u32 = 1440;

/// A look at everything that has rules.
#[derive(Debug)]
struct Round {
    number: u64,
    /// The day, counted from the epoch, and the setting of rules that it is for.
    wanted_by: (u64, LogIndex),
    after: Option<ExpiryPlace>,
    asking: bool,
    at_end: bool,
    left_over: bool,
}

#[derive(Debug)]
pub(super) struct Lifecycle {
    due: Time,
    /// Something was applied since it was last asked whether there are rules.
    changed: bool,
    /// It is asked whether there are rules.
    asking: bool,
    /// The day for which it was last asked.
    asked_on: Option<u64>,
    /// What the last round was for that left nothing over.
    done: Option<(u64, LogIndex)>,
    round: Option<Round>,
    queue: VecDeque<(ObjectName, Expiry)>,
    under_way: usize,
}

impl Lifecycle {
    pub(super) fn new(now: Time) -> Lifecycle {
        Lifecycle {
            due: now,
            changed: true,
            asking: false,
            asked_on: None,
            done: None,
            round: None,
            queue: VecDeque::new(),
            under_way: 0,
        }
    }

    pub(super) fn due(&self) -> Time {
        self.due
    }

    pub(super) fn note_applied(&mut self) {
        self.changed = true;
    }

    fn give_up(&mut self) {
        (self.changed, self.asked_on, self.done, self.round) = (true, None, None, None);
        self.queue.clear();
    }
}

impl Node {
    pub(super) fn keep_lifecycle(&mut self, out: &mut Vec<Effect>) {
        let Some(length) = self.config.lifecycle_day else { return };
        if self.now.time < self.lifecycle.due {
            return;
        }
        let pause = match self.lifecycle.round {
            Some(_) => self.config.sweep_interval,
            None => self.config.sweep_interval.max(length / LOOKS_A_DAY),
        };
        self.lifecycle.due = self.now.time.after(pause);
        if !self.leads(GroupId::REGION) {
            self.lifecycle.give_up();
            return;
        }
        if let Some(round) = &self.lifecycle.round {
            if round.at_end && self.lifecycle.under_way == 0 && self.lifecycle.queue.is_empty() {
                // LIFE-4
                self.lifecycle.done = (!round.left_over).then_some(round.wanted_by);
                self.lifecycle.changed |= round.left_over;
                self.lifecycle.round = None;
            } else {
                self.carry_out(out);
            }
            return;
        }
        let today = self.today(length);
        if self.lifecycle.asking || (!self.lifecycle.changed && self.lifecycle.asked_on == Some(today)) {
            return;
        }
        (self.lifecycle.asking, self.lifecycle.changed) = (true, false);
        self.lifecycle.asked_on = Some(today);
        self.ask(GroupId::REGION, Query::RulesSet, Asker::Rules, out);
    }

    fn today(&self, length: Duration) -> u64 {
        self.wall(GroupId::REGION).0 / milliseconds(length)
    }

    /// It is known when rules were last set, or the group did not answer.
    pub(super) fn on_rules_set(&mut self, answer: Option<QueryAnswer>, out: &mut Vec<Effect>) {
        self.lifecycle.asking = false;
        let set = match answer {
            Some(QueryAnswer::RulesSet(set)) => set,
            Some(other) => panic!("the setting of rules was asked for, and the answer was {other:?}"),
            None => {
                self.lifecycle.changed = true;
                return;
            }
        };
        let Some((set, today)) = set.zip(self.lifecycle.asked_on) else { return };
        let wanted_by = (today, set);
        if self.lifecycle.done == Some(wanted_by) || self.lifecycle.round.is_some() {
            return;
        }
        let (after, asking, at_end, left_over) = (None, false, false, false);
        let number = self.fresh_id();
        self.lifecycle.round = Some(Round { number, wanted_by, after, asking, at_end, left_over });
        self.lifecycle.due = self.now.time.after(self.config.sweep_interval);
        self.carry_out(out);
    }

    /// Proposes what waits, and asks for the next page when nothing does.
    fn carry_out(&mut self, out: &mut Vec<Effect>) {
        let Some(length) = self.config.lifecycle_day else { return };
        let day = milliseconds(length);
        while self.lifecycle.under_way < UNDER_WAY_MAX {
            let Some((object, what)) = self.lifecycle.queue.pop_front() else { break };
            let Some(round) = &self.lifecycle.round else { return };
            let proposer = Proposer::Expire(round.number);
            let marker = self.fresh_version();
            let operation = Operation::Object(ObjectOperation::Expire { object, what, marker, day });
            self.lifecycle.under_way += 1;
            self.propose(GroupId::REGION, None, operation, proposer, out);
        }
        let now = self.wall(GroupId::REGION);
        let waits = self.lifecycle.under_way > 0 || !self.lifecycle.queue.is_empty();
        let Some(round) = self.lifecycle.round.as_mut().filter(|round| !round.asking && !round.at_end && !waits) else {
            return;
        };
        round.asking = true;
        let number = round.number;
        let query = Query::Expirable { after: round.after.clone(), limit: PAGE, calendar: Calendar { now, day } };
        self.ask(GroupId::REGION, query, Asker::Expirable(number), out);
    }

    /// A page was read, or could not be.
    pub(super) fn on_expirable(&mut self, number: u64, answer: Option<QueryAnswer>, out: &mut Vec<Effect>) {
        let Some(round) = self.lifecycle.round.as_mut().filter(|round| round.number == number) else { return };
        round.asking = false;
        match answer {
            Some(QueryAnswer::Expirable { due, next }) => {
                round.at_end = next.is_none();
                round.after = next;
                // LIFE-5
                self.lifecycle.queue.extend(due.into_iter().rev());
                self.carry_out(out);
            }
            Some(other) => panic!("what is due was asked for, and the answer was {other:?}"),
            None => {}
        }
    }

    /// A removal was decided, or the group did not take it.
    pub(super) fn on_expired(&mut self, number: u64, answer: Option<&Answer>, out: &mut Vec<Effect>) {
        self.lifecycle.under_way -= 1;
        let Some(round) = self.lifecycle.round.as_mut().filter(|round| round.number == number) else { return };
        let is_done = matches!(answer, Some(Answer::Deleted { .. } | Answer::Done));
        round.left_over |= !is_done;
        if answer.is_some() {
            self.carry_out(out);
        }
    }
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1)
}
