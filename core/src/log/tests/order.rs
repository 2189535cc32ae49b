//! What is ordered when: batches, segments ahead of their need, removals, and failures.

use super::world::*;
use crate::disk::{DiskError, DiskOrder, DiskOutcome, File};
use crate::log::{Event, Log};
use crate::types::{GroupId, PersistId};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The orders that are not carried out yet, in short.
fn orders(node: &Node) -> Vec<String> {
    let name = |file: &File| match file {
        File::LogSegment(sequence) => *sequence,
        File::Extent(..) | File::HardStates => panic!("the log ordered something of another file"),
    };
    let short = |order: &DiskOrder| match order {
        DiskOrder::Create { file, size, .. } => alloc::format!("create {} {size}", name(file)),
        DiskOrder::Write { file, offset, bytes } => alloc::format!("write {} {offset} {}", name(file), bytes.len()),
        DiskOrder::Sync { file } => alloc::format!("sync {}", name(file)),
        DiskOrder::Remove { file } => alloc::format!("remove {}", name(file)),
        DiskOrder::Read { .. } => panic!("the log never reads"),
    };
    node.disk.orders.iter().map(|(_, order)| short(order)).collect()
}

#[test]
fn a_request_is_answered_after_create_write_and_sync() {
    let mut node = Node::fresh(config());
    assert_eq!(orders(&node), ["create 1 16384"]);
    node.tell(append(1, 1, vec![entry(1, 1, b"a")]));
    assert_eq!(orders(&node), ["create 1 16384"]);
    node.complete(0);
    assert_eq!(orders(&node), ["write 1 0 8192"]);
    node.complete(0);
    assert_eq!(orders(&node), ["sync 1"]);
    assert_eq!(node.answers, []);
    node.complete(0);
    assert_eq!(orders(&node), [""; 0]);
    assert_eq!(node.answers, [(1, 1)]);
}

#[test]
fn requests_that_arrive_while_a_batch_is_in_flight_share_the_next_one() {
    let mut node = Node::fresh(config());
    node.settle();
    node.tell(append(1, 1, vec![entry(1, 1, b"a")]));
    node.tell(append(1, 2, vec![entry(2, 1, b"b")]));
    node.tell(append(2, 1, vec![entry(1, 1, b"c")]));
    node.complete(0);
    node.tell(append(1, 3, vec![entry(3, 1, b"d")]));
    assert_eq!(orders(&node), ["sync 1"]);
    node.complete(0);
    assert_eq!(node.answers, [(1, 1)]);
    assert_eq!(orders(&node), ["write 1 8192 4096", "create 2 16384"]);
    node.settle();
    assert_eq!(node.answers, [(1, 1), (1, 3), (2, 1)]);
}

#[test]
fn a_cut_waits_for_the_next_batch_and_a_request_for_nothing_needs_none() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"a")]));
    node.tell(Event::Cut { group: GroupId(1), base: position(1, 1) });
    assert_eq!(orders(&node), [""; 0]);
    node.tell_and_settle(append(1, 2, vec![]));
    assert_eq!(node.answers, [(1, 1), (1, 2)]);
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("recovers");
    assert_eq!(groups[&GroupId(1)].base, position(1, 1));

    node.tell(append(1, 3, vec![]));
    assert_eq!(orders(&node), [""; 0], "nothing is to be written, and all before is durable");
    assert_eq!(node.answers.last(), Some(&(1, 3)));
}

#[test]
fn segments_are_made_ahead_and_removed_when_no_group_needs_them() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(2, 1, vec![entry(1, 1, b"holds the first segment")]));
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"a")]));
    let files = |node: &Node| node.disk.segments().iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>();
    assert_eq!(files(&node), [1, 2], "three quarters full");
    for index in 2..=8 {
        node.tell(Event::Cut { group: GroupId(1), base: position(index - 1, 1) });
        node.tell_and_settle(append(1, index, vec![entry(index, 1, b"a")]));
    }
    assert_eq!(files(&node), [1, 2, 3, 4], "group 2 needs the first, and only the oldest may go");
    node.tell(Event::Cut { group: GroupId(2), base: position(1, 1) });
    node.tell(append(1, 9, vec![entry(9, 1, b"a")]));
    node.complete(0);
    assert_eq!(orders(&node), ["sync 4"]);
    node.complete(0);
    assert_eq!(orders(&node), ["remove 1"], "one at a time");
    node.complete(0);
    assert_eq!(orders(&node), ["remove 2"]);
    node.settle();
    assert_eq!(files(&node), [3, 4]);
    let (_, groups, first) = Log::recover(config(), node.disk.segments()).expect("recovers");
    assert_eq!(groups[&GroupId(1)].entries, vec![entry(8, 1, b"a"), entry(9, 1, b"a")]);
    assert_eq!(groups[&GroupId(2)].base, position(1, 1));
    assert_eq!(first, [], "both segments are used, and the last has room");
}

#[test]
fn a_group_whose_entries_were_overwritten_does_not_hold_a_segment() {
    let mut node = Node::fresh(config());
    for index in 1..=3 {
        node.tell_and_settle(append(1, index, vec![entry(index, 1, b"old")]));
    }
    node.tell_and_settle(append(1, 4, vec![entry(1, 2, b"new")]));
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("recovers");
    assert_eq!(node.disk.segments()[0].0, 2);
    assert_eq!(groups[&GroupId(1)].entries, vec![entry(1, 2, b"new")]);
}

#[test]
fn a_request_larger_than_a_segment_gets_a_segment_of_its_own_size() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"small")]));
    let large = vec![3; 50_000];
    node.tell(append(1, 2, vec![entry(2, 1, &large)]));
    assert_eq!(orders(&node), ["create 2 57344"]);
    node.settle();
    node.tell_and_settle(append(1, 3, vec![entry(3, 1, b"small")]));
    node.tell_and_settle(append(1, 4, vec![entry(4, 1, b"small")]));
    assert_eq!(node.disk.segments().len(), 4, "the fourth is made ahead");
    node.tell(append(1, 5, vec![entry(5, 1, &large)]));
    node.settle();
    assert_eq!(node.answers.last(), Some(&(1, 5)));
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("recovers");
    assert_eq!(groups[&GroupId(1)].entries.len(), 5);
    assert_eq!(groups[&GroupId(1)].entries[4], entry(5, 1, &large));
}

#[test]
fn a_failed_order_is_reported_once_and_nothing_follows() {
    for failing in 0..3 {
        let mut node = Node::fresh(config());
        node.tell(append(1, 1, vec![entry(1, 1, b"a")]));
        (0..failing).for_each(|_| node.complete(0));
        let (op, _) = node.disk.orders.remove(0);
        node.step(Event::Disk { op, outcome: DiskOutcome::Failed(DiskError::Full) });
        node.tell(append(1, 2, vec![entry(2, 1, b"b")]));
        node.step(Event::Disk { op, outcome: DiskOutcome::Done });
        assert_eq!((node.failures, node.answers.len(), node.disk.orders.len()), (1, 0, 0));
    }
}

#[test]
fn a_reset_keeps_what_follows_from_its_base_even_after_the_base_is_gone_from_the_disk() {
    let mut node = Node::fresh(config());
    for index in 1..=3 {
        node.tell_and_settle(append(1, index, vec![entry(index, 1, b"first segment")]));
    }
    node.tell_and_settle(append(1, 4, vec![entry(4, 1, b"second segment")]));
    node.tell_and_settle(Event::Reset { group: GroupId(1), id: PersistId(5), base: position(3, 1) });
    assert_eq!(node.disk.segments()[0].0, 2, "the first segment, which held the base, is gone");
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("recovers");
    assert_eq!(groups[&GroupId(1)].entries, vec![entry(4, 1, b"second segment")]);
    node.tell_and_settle(Event::Reset { group: GroupId(1), id: PersistId(6), base: position(4, 2) });
    let (_, groups, _) = Log::recover(config(), node.disk.segments()).expect("recovers");
    assert_eq!((groups[&GroupId(1)].base, groups[&GroupId(1)].entries.len()), (position(4, 2), 0));
}

#[test]
#[should_panic(expected = "leaves a gap")]
fn a_gap_between_entries_is_a_bug() {
    let mut node = Node::fresh(config());
    node.settle();
    node.tell(append(1, 1, vec![entry(2, 1, b"a")]));
}
