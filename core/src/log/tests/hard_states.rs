//! The second copy of terms and votes: what it holds back, what it remembers, and its bytes.

use super::golden::dump;
use super::world::*;
use crate::disk::{DiskError, DiskOrder, DiskOutcome, File, OpId};
use crate::log::{CopyEffect, Event, HardStates};
use crate::types::{GroupId, HardState, NodeId, PersistId, Term};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const PAGE: &str = include_str!("../../../../docs/formats/hard-state.md");

/// A copy on a drive that does one order at a time.
struct Copy {
    states: HardStates,
    file: Option<Vec<u8>>,
    unsynced: Option<(u64, Vec<u8>)>,
    orders: Vec<(OpId, DiskOrder)>,
    passed: Vec<Event>,
    failed: Option<DiskError>,
}

fn recovered(file: Option<&[u8]>) -> HardStates {
    HardStates::recover(config().cluster, config().node, file)
}

impl Copy {
    fn on(file: Option<Vec<u8>>) -> Copy {
        let states = recovered(file.as_deref());
        Copy { states, file, unsynced: None, orders: vec![], passed: vec![], failed: None }
    }

    fn take(&mut self, request: Event) {
        if !self.states.wants(&request) {
            self.passed.push(request);
            return;
        }
        let mut effects = Vec::new();
        self.states.take(request, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<CopyEffect>) {
        for effect in effects {
            match effect {
                CopyEffect::Disk { op, order } => self.orders.push((op, order)),
                CopyEffect::Pass(request) => self.passed.push(request),
                CopyEffect::Failed { error } => self.failed = Some(error),
            }
        }
    }

    /// Ends the order that was given last; `false` when there is none.
    fn step(&mut self) -> bool {
        let Some((op, order)) = self.orders.pop() else { return false };
        assert!(self.orders.is_empty(), "one order at a time");
        match order {
            DiskOrder::Create { file: File::HardStates, size, .. } => {
                self.file = Some(vec![0; usize::try_from(size).expect("small")]);
            }
            DiskOrder::Write { file: File::HardStates, offset, bytes } => {
                self.unsynced = Some((offset, bytes.to_vec()));
            }
            DiskOrder::Sync { file: File::HardStates } => {
                let (offset, bytes) = self.unsynced.take().expect("a sync follows a write");
                self.write(offset, &bytes);
            }
            other @ (DiskOrder::Create { .. }
            | DiskOrder::Write { .. }
            | DiskOrder::Sync { .. }
            | DiskOrder::Read { .. }
            | DiskOrder::Remove { .. }) => panic!("the copy orders {other:?}"),
        }
        self.tell(op, DiskOutcome::Done);
        true
    }

    fn tell(&mut self, op: OpId, outcome: DiskOutcome) {
        let mut effects = Vec::new();
        self.states.on_disk(op, outcome, &mut effects);
        self.carry_out(effects);
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).expect("small");
        self.file.as_mut().expect("it was made")[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn settle(&mut self) {
        while self.step() {}
    }
}

fn promises(group: u32, id: u64, hard_state: HardState) -> Event {
    Event::Append { group: GroupId(group), id: PersistId(id), hard_state: Some(hard_state), entries: vec![] }
}

/// The requests by group and number.
fn ids(requests: &[Event]) -> Vec<(u32, u64)> {
    let ids = requests.iter().map(|request| match request {
        Event::Append { group, id, .. } | Event::Reset { group, id, .. } => (group.0, id.0),
        Event::Cut { group, base } => (group.0, base.index.0),
        Event::Disk { .. } => panic!("no request"),
    });
    ids.collect()
}

/// A copy of two groups that was written `count` times, at most once more for each term.
fn written(count: u64) -> Copy {
    let mut copy = Copy::on(None);
    for term in 1..=count {
        copy.take(promises(1, term, vote(term, 7)));
        copy.settle();
    }
    copy
}

#[test]
fn a_term_reaches_the_log_when_it_is_durable_in_the_copy_and_what_follows_waits() {
    let mut copy = Copy::on(None);
    copy.take(append(1, 1, vec![entry(1, 1, b"before")]));
    copy.take(promises(1, 2, vote(2, 7)));
    copy.take(append(1, 3, vec![entry(2, 2, b"after")]));
    copy.take(append(2, 4, vec![entry(1, 1, b"another group")]));
    copy.take(Event::Cut { group: GroupId(1), base: position(5, 2) });
    assert_eq!(ids(&copy.passed), [(1, 1), (2, 4)]);
    while copy.passed.len() == 2 {
        assert!(!ids(&copy.passed).contains(&(1, 2)));
        assert!(copy.step(), "HARD-1: nothing is lost either");
    }
    let state = recovered(copy.file.as_deref()).reconcile(GroupId(1), HardState::default());
    assert_eq!(state, (vote(2, 7), true), "HARD-1");
    assert_eq!(ids(&copy.passed), [(1, 1), (2, 4), (1, 2), (1, 3), (1, 5)]);
}

#[test]
fn a_drive_that_fails_under_the_copy_is_told() {
    let mut copy = Copy::on(None);
    copy.take(promises(1, 1, vote(2, 7)));
    let (op, _) = copy.orders.pop().expect("the file is made");
    copy.tell(op, DiskOutcome::Failed(DiskError::Io("EIO".into())));
    assert!(copy.failed.is_some() && copy.passed.is_empty());
    copy.take(promises(1, 2, vote(3, 7)));
    assert!(copy.orders.is_empty() && copy.passed.is_empty());
}

#[test]
fn the_copy_is_certain_unless_a_slot_is_torn_or_rotten() {
    assert!(!recovered(None).is_certain());
    for count in 1..6 {
        let copy = written(count);
        let file = copy.file.expect("it was written");
        let whole = recovered(Some(&file));
        assert!(whole.is_certain(), "HARD-2, after {count}");
        assert_eq!(whole.reconcile(GroupId(1), HardState::default()).0, vote(count, 7));
        for slot in [0, 4096] {
            for byte in (0..512).step_by(5) {
                let mut rotten = file.clone();
                rotten[slot + byte] ^= 0x10;
                let found = recovered(Some(&rotten));
                assert!(!found.is_certain(), "HARD-2, after {count}, byte {byte} of the slot at {slot}");
                let (state, _) = found.reconcile(GroupId(1), HardState::default());
                assert!(state == HardState::default() || state == vote(count, 7) || state == vote(count - 1, 7));
            }
        }
    }
}

#[test]
fn a_copy_of_another_node_is_none() {
    let file = written(3).file.expect("it was written");
    let foreign = HardStates::recover(config().cluster, NodeId(8), Some(&file));
    assert!(!foreign.is_certain());
    assert_eq!(foreign.reconcile(GroupId(1), vote(1, 2)), (vote(1, 2), true));
}

#[test]
fn the_later_promise_holds_wherever_it_stands() {
    let states = recovered(Some(&written(4).file.expect("it was written")));
    let none = |term| HardState { term: Term(term), ..HardState::default() };
    let of = |logged| states.reconcile(GroupId(1), logged);
    assert_eq!(of(vote(4, 7)), (vote(4, 7), false));
    assert_eq!(of(none(4)), (vote(4, 7), true));
    assert_eq!(of(vote(3, 9)), (vote(4, 7), true));
    assert_eq!(of(none(5)), (none(5), true));
}

#[test]
fn a_lost_log_is_remembered_until_the_group_has_it_back() {
    let mut copy = written(3);
    let (offset, bytes) = copy.states.impair(&[GroupId(1), GroupId(2)]);
    copy.write(offset, &bytes);
    let again = recovered(copy.file.as_deref());
    assert!(again.is_any_impaired() && again.is_certain());
    let impaired = HardState { impaired: true, ..vote(3, 7) };
    assert_eq!(again.reconcile(GroupId(1), HardState::default()), (impaired, true));
    let mut copy = Copy::on(copy.file);
    copy.take(promises(1, 1, vote(3, 7)));
    copy.settle();
    assert!(copy.states.is_any_impaired(), "group 2 has not");
    copy.take(promises(2, 2, vote(1, 1)));
    copy.settle();
    assert!(!recovered(copy.file.as_deref()).is_any_impaired());
}

proptest! {
    /// HARD-1: whenever the power goes, the copy that is found is at least as new as all that reached the log.
    #[test]
    fn what_passed_is_remembered(
        terms in prop::collection::vec((1u32..4, any::<bool>(), 0usize..5), 1..30),
        torn in 0usize..=512,
    ) {
        let mut copy = Copy::on(None);
        let mut latest = BTreeMap::new();
        for (id, (group, brings, steps)) in (1..).zip(terms) {
            if brings {
                let state = vote(id, 7);
                latest.insert(group, state);
                copy.take(promises(group, id, state));
            } else {
                copy.take(append(group, id, vec![]));
            }
            for _ in 0..steps {
                copy.step();
            }
        }
        // Requests of each group pass in the order in which they came.
        for group in 1..4 {
            let of_group: Vec<_> = ids(&copy.passed).into_iter().filter(|(of, _)| *of == group).collect();
            prop_assert!(of_group.is_sorted());
        }
        // The power goes; a part of what was not synced may be there.
        let mut file = copy.file.clone();
        if let (Some(file), Some((offset, bytes))) = (&mut file, &copy.unsynced) {
            let at = usize::try_from(*offset).expect("small");
            file[at..at + torn].copy_from_slice(&bytes[..torn]);
        }
        let found = recovered(file.as_deref());
        for request in &copy.passed {
            if let Event::Append { group, hard_state: Some(state), .. } = request {
                prop_assert!(found.reconcile(*group, HardState::default()).0.term >= state.term);
            }
        }
        // And without a crash everything passes in the end.
        copy.settle();
        let found = recovered(copy.file.as_deref());
        for (group, state) in latest {
            prop_assert_eq!(found.reconcile(GroupId(group), HardState::default()).0, state);
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_format_page() {
    let mut copy = written(2);
    let (offset, bytes) = copy.states.impair(&[GroupId(0)]);
    copy.write(offset, &bytes);
    let dumped = dump(&copy.file.expect("it was written"));
    let golden = PAGE.split("```hexdump\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(golden, Some(&dumped[..]), "the format changed; the bytes are\n{dumped}");
}
