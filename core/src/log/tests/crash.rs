//! Whatever the moment of a crash: all that was acknowledged is there, and nothing that was never asked for.

use super::world::*;
use crate::disk::{DiskOrder, File};
use crate::log::{Event, Log, RecoveredGroup};
use crate::types::{Entry, GroupId, HardState, LogIndex, LogPosition, NodeId, Payload, PersistId, Term};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;

/// One thing that happens, with numbers that are fitted to the state in which it happens.
#[derive(Clone, Debug)]
enum Action {
    Append { group: u32, back: u64, count: u64, size: usize, new_term: bool },
    Cut { group: u32, amount: u64 },
    Reset { group: u32, ahead: u64, is_held: bool },
    Complete { at: usize },
    Crash { seed: u64 },
}

fn action() -> impl Strategy<Value = Action> {
    let size = prop_oneof![8 => 0usize..200, 4 => 200usize..5000, 1 => 5000usize..30_000];
    prop_oneof![
        8 => (0u32..3, 0u64..6, 0u64..4, size, any::<bool>()).prop_map(|(group, back, count, size, new_term)| {
            Action::Append { group, back: back.saturating_sub(2), count, size, new_term }
        }),
        3 => (0u32..3, 0u64..8).prop_map(|(group, amount)| Action::Cut { group, amount }),
        1 => (0u32..3, 0u64..5, any::<bool>())
            .prop_map(|(group, ahead, is_held)| Action::Reset { group, ahead, is_held }),
        20 => (0usize..3).prop_map(|at| Action::Complete { at }),
        1 => any::<u64>().prop_map(|seed| Action::Crash { seed }),
    ]
}

/// The event that the action is in this state, as Raft would give it.
fn event(action: &Action, group: &RecoveredGroup, id: u64) -> Option<Event> {
    let last = group.entries.last().map_or(group.base, |entry| entry.position);
    let at = |index: LogIndex| group.entries.iter().find(|entry| entry.position.index == index);
    match *action {
        Action::Append { group: to, back, count, size, new_term } => {
            let term = Term(group.hard_state.term.0.max(last.term.0) + u64::from(new_term));
            let first = (last.index.0 + 1).saturating_sub(back).max(group.base.index.0 + 1);
            let entry = |index: u64| Entry {
                position: LogPosition { index: LogIndex(index), term },
                payload: match size {
                    0 => Payload::Noop,
                    // Zeros in the middle: a command may well look like an unwritten sector.
                    _ => Payload::Command((0..size).map(|at| u8::from(!(100..4000).contains(&at))).collect()),
                },
            };
            let hard_state = new_term.then_some(HardState { term, vote: Some(NodeId(id)), impaired: false });
            let entries = (first..first + count).map(entry).collect();
            Some(Event::Append { group: GroupId(to), id: PersistId(id), hard_state, entries })
        }
        Action::Cut { group: to, amount } => {
            let base = at(LogIndex(group.base.index.0 + amount))?.position;
            Some(Event::Cut { group: GroupId(to), base })
        }
        Action::Reset { group: to, ahead, is_held } => {
            let index = LogIndex(group.base.index.0 + ahead);
            let base = match (is_held, at(index)) {
                (true, Some(entry)) => entry.position,
                (true, None) => return None,
                (false, _) => LogPosition { index, term: Term(last.term.0 + 1) },
            };
            Some(Event::Reset { group: GroupId(to), id: PersistId(id), base })
        }
        Action::Complete { .. } | Action::Crash { .. } => None,
    }
}

fn target(action: &Action) -> GroupId {
    match action {
        Action::Append { group, .. } | Action::Cut { group, .. } | Action::Reset { group, .. } => GroupId(*group),
        Action::Complete { .. } | Action::Crash { .. } => GroupId(0),
    }
}

/// Crashes, recovers, and holds the outcome against the history.
fn crash_and_recover(mut node: Node, seed: u64) -> Result<Node, TestCaseError> {
    node.disk.crash(&mut Random(seed));
    let before = (node.history, node.acknowledged);
    let disk = Disk::of(&node.disk.segments());
    let node = Node::start(config(), disk).map_err(|error| TestCaseError::fail(alloc::format!("{error}")))?;
    let found = without_empty(&node.history[0]);
    let durable = before.0[before.1..].iter().any(|state| without_empty(state) == found);
    prop_assert!(durable, "recovered what was never a state after the acknowledged one: {found:?}");
    Ok(node)
}

proptest! {
    #[test]
    fn what_was_acknowledged_survives_and_nothing_is_invented(
        actions in prop::collection::vec(action(), 1..150),
        seed in any::<u64>(),
    ) {
        let mut node = Node::fresh(config());
        let mut id = 0;
        for action in &actions {
            id += 1;
            match action {
                Action::Crash { seed } => node = crash_and_recover(node, *seed)?,
                Action::Complete { at } => {
                    if !node.disk.orders.is_empty() {
                        node.complete(at % node.disk.orders.len());
                    }
                }
                Action::Append { .. } | Action::Cut { .. } | Action::Reset { .. } => {
                    let now = node.history.last().expect("never empty").get(&target(action)).cloned();
                    if let Some(event) = event(action, &now.unwrap_or_default(), id) {
                        node.tell(event);
                    }
                }
            }
        }
        // A crash in the middle, a crash in the recovery from it, and a quiet end.
        node = crash_and_recover(node, seed)?;
        node = crash_and_recover(node, seed.wrapping_add(1))?;
        node.settle();
        node = crash_and_recover(node, seed)?;
        let state = node.history[0].clone();
        node.settle();
        let (_, again, _) = Log::recover(config(), node.disk.segments()).expect("a log at rest recovers");
        prop_assert_eq!(state, again);
    }
}

/// Every way in which the sectors of one write can arrive or not.
fn every_torn_write(
    before: &[(u64, Bytes)],
    after: &[(u64, Bytes)],
    sequence: u64,
    mut check: impl FnMut(bool, Log, Model),
) {
    let find = |segments: &[(u64, Bytes)]| -> Vec<u8> {
        segments.iter().find(|(of, _)| *of == sequence).expect("the segment is there").1.to_vec()
    };
    let (old, new) = (find(before), find(after));
    let written: Vec<usize> =
        (0..old.len() / SECTOR).filter(|at| old[at * SECTOR..][..SECTOR] != new[at * SECTOR..][..SECTOR]).collect();
    assert!(written.len() >= 8 && written.len() <= 10, "one block, or a segment header and one block");
    for arrived in 0u32..1 << written.len() {
        let mut torn = old.clone();
        for (_, at) in written.iter().enumerate().filter(|(bit, _)| arrived >> bit & 1 == 1) {
            torn[at * SECTOR..][..SECTOR].copy_from_slice(&new[at * SECTOR..][..SECTOR]);
        }
        let mut segments = before.to_vec();
        segments.iter_mut().filter(|(of, _)| *of == sequence).for_each(|(_, bytes)| *bytes = torn.clone().into());
        let (log, groups, _) = Log::recover(config(), segments).expect("a torn write is not damage");
        check(arrived == (1 << written.len()) - 1, log, groups);
    }
}

#[test]
fn every_torn_write_of_a_batch_recovers_to_before_or_after_it() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"first")]));
    let before = node.disk.segments();
    node.tell_and_settle(append(1, 2, vec![entry(2, 1, &[0; 3000])]));
    let after = node.disk.segments();
    every_torn_write(&before, &after, 1, |is_whole, _, groups| {
        assert_eq!(groups[&GroupId(1)].entries.len(), 1 + usize::from(is_whole));
    });
}

#[test]
fn every_torn_write_of_a_new_segment_recovers_to_before_or_after_it() {
    let mut node = Node::fresh(config());
    for index in 1..=3 {
        node.tell_and_settle(append(1, index, vec![entry(index, 1, b"fills a block")]));
    }
    let before = node.disk.segments();
    assert_eq!(before.len(), 2, "the second segment is made ahead");
    node.tell_and_settle(append(1, 4, vec![entry(4, 1, b"in the second segment")]));
    let after = node.disk.segments();
    every_torn_write(&before, &after, 2, |is_whole, _, groups| {
        assert_eq!(groups[&GroupId(1)].entries.len(), 3 + usize::from(is_whole));
    });
}

#[test]
fn remains_of_a_torn_batch_are_gone_before_the_next_batch_is_written() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"first")]));
    let mut segments = node.disk.segments();
    node.tell_and_settle(append(1, 2, vec![entry(2, 1, &[7; 7000])]));
    let whole = node.disk.segments()[0].1.clone();
    // The second block of the batch arrived, the first did not.
    let mut torn = segments[0].1.to_vec();
    torn[3 * BLOCK..].copy_from_slice(&whole[3 * BLOCK..]);
    segments[0].1 = torn.into();

    let mut node = Node::start(config(), Disk::of(&segments)).expect("torn, not damaged");
    node.tell(append(1, 1, vec![entry(2, 1, b"another second")]));
    let zeros = Bytes::from(vec![0; 2 * BLOCK]);
    let file = File::LogSegment(1);
    let order = |node: &Node| node.disk.orders.iter().map(|(_, order)| order.clone()).collect::<Vec<_>>();
    assert_eq!(order(&node), vec![DiskOrder::Write { file, offset: 2 * BLOCK as u64, bytes: zeros }]);
    node.complete(0);
    assert_eq!(order(&node), vec![DiskOrder::Sync { file }]);
    node.settle();
    assert_eq!(node.answers, vec![(1, 1)]);
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("nothing stale confuses it");
    assert_eq!(groups[&GroupId(1)].entries, vec![entry(1, 1, b"first"), entry(2, 1, b"another second")]);
}

#[test]
fn a_torn_segment_is_gone_before_the_next_batch_is_written_elsewhere() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"one")]));
    node.tell_and_settle(append(1, 2, vec![entry(2, 1, b"two")]));
    let before = node.disk.segments();
    // One block is left, so a batch of two goes to the second segment. Its header arrives and its batch does not.
    node.tell_and_settle(append(1, 3, vec![entry(3, 1, &[5; 5000])]));
    let mut torn = before[1].1.to_vec();
    torn[..BLOCK].copy_from_slice(&node.disk.segments()[1].1[..BLOCK]);
    let segments = [before[0].clone(), (2, torn.into())];

    // A batch that fits the first segment has the sequence of the lost one, which the second still claims.
    let mut node = Node::start(config(), Disk::of(&segments)).expect("torn, not damaged");
    node.tell(append(1, 1, vec![entry(3, 1, b"fits")]));
    let orders: Vec<_> = node.disk.orders.iter().map(|(_, order)| order).collect();
    assert_eq!(orders, [&DiskOrder::Remove { file: File::LogSegment(2) }]);
    node.settle();
    assert_eq!(node.answers, [(1, 1)]);
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("nothing claims the batch");
    assert_eq!(groups[&GroupId(1)].entries.len(), 3);
}
