//! Promise: each object is a linearizable register with conditional puts, and what is read is byte for byte what one
//! put wrote: never a mix, never half.
//!
//! The intuition: a body is a function of its put's number, so whoever reads bytes can say whose they are, or that they
//! are nobody's.

use super::Complaint;
use super::keys::WriteId;
use super::linearizable::{Model, Operation, Verdict, check, story};
use crate::chance::Chance;
use crate::world::SimTime;
use std::collections::BTreeMap;

/// The bytes that put number `write` stores: its number first, then noise from its own stream.
pub fn body_of(seed: u64, write: WriteId, size: usize) -> Vec<u8> {
    let mut body = vec![0; size];
    Chance::named(seed, &format!("body {}", write.0)).fill(&mut body);
    for (byte, mark) in body.iter_mut().zip(write.0.to_le_bytes()) {
        *byte = mark;
    }
    body
}

/// When a put or delete may happen, in the checker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Only if there is no object.
    Absent,
    /// Only if there is one.
    Present,
    /// Only if the current one is of this put.
    Is(WriteId),
    /// Only if the current one is not of this put.
    IsNot(WriteId),
}

/// What a client did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectAction {
    /// Put the body of this write.
    Put(WriteId, When),
    /// Delete.
    Delete(When),
    /// Read, or ask for the head.
    Get,
}

/// What it heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOutcome {
    /// Done.
    Done,
    /// The condition did not hold.
    ConditionFailed,
    /// There was no object.
    Absent,
    /// The object of this put.
    Found(WriteId),
}

/// One operation of a client on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectInput {
    /// What it was.
    pub action: ObjectAction,
    /// What was heard; `None` when nothing was.
    pub outcome: Option<ObjectOutcome>,
}

/// The history of all objects.
#[derive(Debug, Default)]
pub struct ObjectHistory {
    objects: BTreeMap<String, Vec<Operation<ObjectInput>>>,
}

impl ObjectHistory {
    /// Notes an operation. A read that heard nothing says nothing and is left out.
    pub fn note(&mut self, key: &str, call: SimTime, end: Option<SimTime>, input: ObjectInput) {
        assert_eq!(end.is_some(), input.outcome.is_some(), "an operation ends with an outcome");
        if end.is_some() || input.action != ObjectAction::Get {
            self.objects.entry(key.to_string()).or_default().push(Operation { call, end, input });
        }
    }

    /// Operations with a known outcome.
    pub fn completed(&self) -> usize {
        self.objects.values().flatten().filter(|operation| operation.end.is_some()).count()
    }

    /// Judges every object. `Ok` carries the number of objects whose search was given up.
    pub fn check(&self) -> Result<usize, Complaint> {
        let mut undecided = 0;
        for (key, operations) in &self.objects {
            match check(&Objects, None, operations) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Broken { placed } => {
                    return Err(Complaint::new(
                        "objects are linearizable",
                        story(&format!("object {key:?}"), operations, placed, said),
                    ));
                }
            }
        }
        Ok(undecided)
    }
}

fn said(input: &ObjectInput) -> String {
    format!("{:?} -> {:?}", input.action, input.outcome)
}

struct Objects;

pub(super) fn holds(state: Option<WriteId>, when: When) -> bool {
    match when {
        When::Always => true,
        When::Absent => state.is_none(),
        When::Present => state.is_some(),
        When::Is(write) => state == Some(write),
        When::IsNot(write) => state != Some(write),
    }
}

impl Model for Objects {
    type State = Option<WriteId>;
    type Input = ObjectInput;

    fn step(&self, state: &Option<WriteId>, input: &ObjectInput) -> Option<Option<WriteId>> {
        let state = *state;
        let change = match input.action {
            ObjectAction::Put(write, when) => Some((when, Some(write))),
            ObjectAction::Delete(when) => Some((when, None)),
            ObjectAction::Get => None,
        };
        match (change, input.outcome) {
            (Some((when, after)), None) => Some(if holds(state, when) { after } else { state }),
            (Some((when, after)), Some(ObjectOutcome::Done)) => holds(state, when).then_some(after),
            (Some((when, _)), Some(ObjectOutcome::ConditionFailed)) => (!holds(state, when)).then_some(state),
            (Some(_), Some(ObjectOutcome::Absent | ObjectOutcome::Found(_))) => None,
            (None, None) => Some(state),
            (None, Some(ObjectOutcome::Found(write))) => (state == Some(write)).then_some(state),
            (None, Some(ObjectOutcome::Absent)) => state.is_none().then_some(state),
            (None, Some(ObjectOutcome::Done | ObjectOutcome::ConditionFailed)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ObjectAction, ObjectHistory, ObjectInput, ObjectOutcome, When, body_of};
    use crate::check::keys::WriteId;
    use crate::world::SimTime;

    fn history(operations: &[(u64, Option<u64>, ObjectAction, Option<ObjectOutcome>)]) -> ObjectHistory {
        let mut history = ObjectHistory::default();
        for (call, end, action, outcome) in operations {
            let input = ObjectInput { action: *action, outcome: *outcome };
            history.note("o", SimTime(*call), end.map(SimTime), input);
        }
        history
    }

    const ONE: WriteId = WriteId(1);
    const TWO: WriteId = WriteId(2);

    #[test]
    fn only_one_of_two_puts_that_want_no_object_succeeds() {
        let both = |second| {
            history(&[
                (1, Some(9), ObjectAction::Put(ONE, When::Absent), Some(ObjectOutcome::Done)),
                (1, Some(9), ObjectAction::Put(TWO, When::Absent), Some(second)),
            ])
            .check()
        };
        both(ObjectOutcome::ConditionFailed).expect("one of them");
        both(ObjectOutcome::Done).expect_err("both of them");
    }

    #[test]
    fn an_acknowledged_object_that_is_gone_is_found() {
        history(&[
            (1, Some(2), ObjectAction::Put(ONE, When::Always), Some(ObjectOutcome::Done)),
            (3, None, ObjectAction::Delete(When::Is(ONE)), None),
            (5, Some(6), ObjectAction::Get, Some(ObjectOutcome::Absent)),
        ])
        .check()
        .expect("the unheard delete took it");
        history(&[
            (1, Some(2), ObjectAction::Put(ONE, When::Always), Some(ObjectOutcome::Done)),
            (3, None, ObjectAction::Delete(When::Is(TWO)), None),
            (5, Some(6), ObjectAction::Get, Some(ObjectOutcome::Absent)),
        ])
        .check()
        .expect_err("nobody took it");
    }

    #[test]
    fn bodies_of_different_puts_differ() {
        assert_ne!(body_of(1, ONE, 40), body_of(1, TWO, 40));
        assert_eq!(body_of(1, ONE, 40), body_of(1, ONE, 40));
    }
}
