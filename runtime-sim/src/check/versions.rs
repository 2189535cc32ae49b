//! Promise: the versions of a key, with what switches their keeping on and off, are one linearizable thing: every read, list and
//! condition sees the versions in the order in which they were decided, and a delete marker hides those under it and no other.
//!
//! The intuition: each key has a bucket of its own, so that the switch is part of the key's state and keys are judged one by one.
//! The model is deterministic: a state and an action make the next state and the one answer that fits.

use super::Complaint;
use super::keys::WriteId;
use super::linearizable::{Model, Operation, Verdict, check, story};
use super::objects::{When, holds};
use crate::world::SimTime;
use std::collections::BTreeMap;

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The body of this put.
    Body(WriteId),
    /// The delete marker with this number; 0 for a null one, which shows none.
    Marker(u64),
}

/// A version as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Whether its name is `null`.
    pub is_null: bool,
    /// What it is.
    pub thing: Thing,
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionAction {
    /// Switched the keeping of versions on, or suspended it.
    Switch {
        /// Which of the two.
        enabled: bool,
    },
    /// Put the body of this write.
    Put(WriteId, When),
    /// Deleted without the name of a version; the marker has this number.
    Delete(u64, When),
    /// Removed the version of this name.
    Remove(Version),
    /// Asked for the newest version.
    Get,
    /// Asked for the version of this name.
    GetVersion(Version),
    /// Listed all versions.
    List,
}

/// What it heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionOutcome {
    /// Done.
    Done,
    /// There is a new version on top, whose name is `null` or not.
    Placed {
        /// Whether it is.
        is_null: bool,
    },
    /// The condition did not hold.
    ConditionFailed,
    /// There is no such version.
    Absent,
    /// It is a delete marker.
    Marker,
    /// It is this version.
    Found(Version),
    /// These, the newest first.
    Listed(Vec<Version>),
}

/// One operation of a client on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInput {
    /// What it was.
    pub action: VersionAction,
    /// What was heard; `None` when nothing was.
    pub outcome: Option<VersionOutcome>,
}

/// The history of all keys.
#[derive(Debug, Default)]
pub struct VersionHistory {
    keys: BTreeMap<u64, Vec<Operation<VersionInput>>>,
}

impl VersionHistory {
    /// Notes an operation. A read that heard nothing says nothing and is left out.
    pub fn note(&mut self, key: u64, call: SimTime, end: Option<SimTime>, input: VersionInput) {
        assert_eq!(end.is_some(), input.outcome.is_some(), "an operation ends with an outcome");
        let reads = matches!(input.action, VersionAction::Get | VersionAction::GetVersion(_) | VersionAction::List);
        if end.is_some() || !reads {
            self.keys.entry(key).or_default().push(Operation { call, end, input });
        }
    }

    /// Operations with a known outcome.
    pub fn completed(&self) -> usize {
        self.keys.values().flatten().filter(|operation| operation.end.is_some()).count()
    }

    /// Judges every key. `Ok` carries the number of keys whose search was given up.
    pub fn check(&self) -> Result<usize, Complaint> {
        let mut undecided = 0;
        for (key, operations) in &self.keys {
            match judge(operations) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Broken { placed } => {
                    return Err(Complaint::new(
                        "versions are linearizable",
                        story(&format!("key {key}"), operations, placed, said),
                    ));
                }
            }
        }
        Ok(undecided)
    }
}

/// Judges the history of one key.
///
/// A put or a marker of unknown outcome that somebody saw took effect before whoever saw it first had heard of it. One that nobody
/// saw is left out at first, since it may have happened never (`LIN-1`); only where no order fits without is it tried with.
fn judge(operations: &[Operation<VersionInput>]) -> Verdict {
    let mut first_seen: BTreeMap<Thing, SimTime> = BTreeMap::new();
    for Operation { end, input, .. } in operations {
        let shown = match &input.outcome {
            Some(VersionOutcome::Listed(versions)) => versions.as_slice(),
            Some(VersionOutcome::Found(version)) => std::slice::from_ref(version),
            _ => &[],
        };
        for version in shown {
            let end = end.expect("what was heard has ended");
            first_seen.entry(version.thing).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
    }
    let mut bounded = operations.to_vec();
    let mut unseen = vec![false; bounded.len()];
    for (operation, unseen) in bounded.iter_mut().zip(&mut unseen).filter(|(operation, _)| operation.end.is_none()) {
        let thing = match operation.input.action {
            VersionAction::Put(write, _) => Thing::Body(write),
            VersionAction::Delete(mark, _) => Thing::Marker(mark),
            VersionAction::Switch { .. }
            | VersionAction::Remove(_)
            | VersionAction::Get
            | VersionAction::GetVersion(_)
            | VersionAction::List => continue,
        };
        operation.end = first_seen.get(&thing).map(|end| operation.call.max(*end));
        *unseen = operation.end.is_none();
    }
    let seen = bounded.iter().zip(unseen).filter(|(_, unseen)| !unseen).map(|(operation, _)| operation.clone());
    match check(&Versions, State::default(), &seen.collect::<Vec<_>>()) {
        Verdict::Linearizable => Verdict::Linearizable,
        Verdict::Broken { .. } | Verdict::Undecided => check(&Versions, State::default(), &bounded),
    }
}

fn said(input: &VersionInput) -> String {
    format!("{:?} -> {:?}", input.action, input.outcome)
}

struct Versions;

/// A key between operations. Nothing is written before the keeping of versions was switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    suspended: bool,
    /// The newest first.
    versions: Vec<Version>,
}

impl State {
    fn live(&self) -> Option<WriteId> {
        match self.versions.first().map(|version| version.thing) {
            Some(Thing::Body(write)) => Some(write),
            Some(Thing::Marker(_)) | None => None,
        }
    }

    fn place(&mut self, thing: Thing) -> VersionOutcome {
        let is_null = self.suspended;
        self.versions.retain(|version| !(is_null && version.is_null));
        self.versions.insert(0, Version { is_null, thing });
        VersionOutcome::Placed { is_null }
    }

    fn act(&mut self, action: VersionAction) -> VersionOutcome {
        match action {
            VersionAction::Switch { enabled } => {
                self.suspended = !enabled;
                VersionOutcome::Done
            }
            VersionAction::Put(_, when) | VersionAction::Delete(_, when) if !holds(self.live(), when) => {
                VersionOutcome::ConditionFailed
            }
            VersionAction::Put(write, _) => self.place(Thing::Body(write)),
            VersionAction::Delete(mark, _) => self.place(Thing::Marker(if self.suspended { 0 } else { mark })),
            VersionAction::Remove(named) => {
                self.versions.retain(|version| !is_named(version, &named));
                VersionOutcome::Done
            }
            VersionAction::Get => shown(self.versions.first()),
            VersionAction::GetVersion(named) => shown(self.versions.iter().find(|version| is_named(version, &named))),
            VersionAction::List => VersionOutcome::Listed(self.versions.clone()),
        }
    }
}

fn is_named(version: &Version, name: &Version) -> bool {
    version == name || (version.is_null && name.is_null)
}

fn shown(version: Option<&Version>) -> VersionOutcome {
    match version {
        None => VersionOutcome::Absent,
        Some(Version { thing: Thing::Marker(_), .. }) => VersionOutcome::Marker,
        Some(version) => VersionOutcome::Found(*version),
    }
}

impl Model for Versions {
    type State = State;
    type Input = VersionInput;

    fn step(&self, state: &State, input: &VersionInput) -> Option<State> {
        let mut after = state.clone();
        let fits = after.act(input.action);
        let is_heard = match &input.outcome {
            None => true,
            // The repeat of a delete whose marker is gone already hears that it is done.
            Some(VersionOutcome::Done) => matches!(fits, VersionOutcome::Done | VersionOutcome::Placed { .. }),
            Some(heard) => *heard == fits,
        };
        is_heard.then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::{Thing, Version, VersionAction, VersionHistory, VersionInput, VersionOutcome};
    use crate::check::keys::WriteId;
    use crate::check::objects::When;
    use crate::world::SimTime;

    const ONE: WriteId = WriteId(1);
    const TWO: WriteId = WriteId(2);

    fn body(write: WriteId) -> Version {
        Version { is_null: false, thing: Thing::Body(write) }
    }

    /// Operations one after the other.
    fn holds(operations: &[(VersionAction, VersionOutcome)]) -> bool {
        let mut history = VersionHistory::default();
        for (at, (action, outcome)) in (0..).zip(operations) {
            let input = VersionInput { action: *action, outcome: Some(outcome.clone()) };
            history.note(0, SimTime(2 * at), Some(SimTime(2 * at + 1)), input);
        }
        history.check().is_ok()
    }

    const PLACED: VersionOutcome = VersionOutcome::Placed { is_null: false };

    fn puts() -> Vec<(VersionAction, VersionOutcome)> {
        vec![(VersionAction::Put(ONE, When::Always), PLACED), (VersionAction::Put(TWO, When::Is(ONE)), PLACED)]
    }

    #[test]
    fn the_order_of_versions_is_that_of_the_puts() {
        let listed = |versions: Vec<Version>| {
            let mut operations = puts();
            operations.push((VersionAction::List, VersionOutcome::Listed(versions)));
            holds(&operations)
        };
        assert!(listed(vec![body(TWO), body(ONE)]));
        assert!(!listed(vec![body(ONE), body(TWO)]));
    }

    #[test]
    fn a_marker_hides_what_is_under_it_and_not_what_comes_after() {
        let read = |outcome| {
            let delete = (VersionAction::Delete(9, When::Always), PLACED);
            let put = (VersionAction::Put(ONE, When::Absent), PLACED);
            holds(&[delete, put, (VersionAction::Get, outcome)])
        };
        assert!(read(VersionOutcome::Found(body(ONE))));
        assert!(!read(VersionOutcome::Marker));
    }

    #[test]
    fn two_puts_with_the_same_condition_do_not_both_succeed() {
        let second = |outcome| {
            let mut operations = puts();
            operations.push((VersionAction::Put(WriteId(3), When::Is(ONE)), outcome));
            holds(&operations)
        };
        assert!(second(VersionOutcome::ConditionFailed));
        assert!(!second(PLACED));
    }

    #[test]
    fn a_suspended_key_replaces_its_null_version_and_leaves_the_others() {
        let null = |write| Version { is_null: true, thing: Thing::Body(write) };
        let placed = VersionOutcome::Placed { is_null: true };
        let mut operations = vec![
            (VersionAction::Put(ONE, When::Always), PLACED),
            (VersionAction::Switch { enabled: false }, VersionOutcome::Done),
            (VersionAction::Put(TWO, When::Present), placed.clone()),
            (VersionAction::Put(WriteId(3), When::Is(TWO)), placed),
        ];
        operations.push((VersionAction::List, VersionOutcome::Listed(vec![null(WriteId(3)), body(ONE)])));
        assert!(holds(&operations));
        operations.pop();
        let kept = vec![null(WriteId(3)), null(TWO), body(ONE)];
        operations.push((VersionAction::List, VersionOutcome::Listed(kept)));
        assert!(!holds(&operations));
    }
}
