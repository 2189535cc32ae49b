//! The planted bugs do what they say. They exist only where debug assertions do.

use super::world::*;
use crate::disk::DiskOrder;
use crate::log::{Config, Log};
use crate::planted::{Bug, Planted};
use crate::types::GroupId;
use alloc::vec;

#[test]
fn planted_ack_before_sync_answers_when_written() {
    for (planted, answered) in [(Planted::default(), 0), (Planted::arm(Bug::AckBeforeSync), 1)] {
        let mut node = Node::fresh(Config { planted, ..config() });
        node.settle();
        node.tell(append(1, 1, vec![entry(1, 1, b"a")]));
        node.complete(0);
        assert!(matches!(node.disk.orders[..], [(_, DiskOrder::Sync { .. })]), "{:?}", node.disk.orders);
        assert_eq!(node.answers.len(), answered);
        node.settle();
        assert_eq!(node.answers.len(), 1);
    }
}

#[test]
fn planted_ack_before_sync_loses_what_was_acknowledged() {
    let lost = |planted| {
        let loses = |seed| {
            let config = Config { planted, ..config() };
            let mut node = Node::fresh(config);
            node.settle();
            node.tell(append(1, 1, vec![entry(1, 1, b"a")]));
            node.complete(0);
            node.disk.crash(&mut Random(seed));
            let (_, groups, _) = Log::recover(config, node.disk.segments()).expect("torn, not damaged");
            node.acknowledged > 0 && groups.is_empty()
        };
        (0..20).filter(|seed| loses(*seed)).count()
    };
    assert_eq!(lost(Planted::default()), 0);
    assert!(lost(Planted::arm(Bug::AckBeforeSync)) > 0);
}

#[test]
fn planted_torn_tail_is_accepted_as_far_as_it_parses() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"a")]));
    node.tell_and_settle(append(1, 2, vec![entry(2, 1, b"b"), entry(3, 1, &[9; 1500]), entry(4, 1, b"d")]));
    let mut segments = node.disk.segments();
    let mut torn = segments[0].1.to_vec();
    torn[2 * BLOCK + 2 * SECTOR..2 * BLOCK + 4 * SECTOR].fill(0);
    segments[0].1 = torn.into();
    for (planted, count) in [(Planted::default(), 1), (Planted::arm(Bug::TornTailAccepted), 3)] {
        let config = Config { planted, ..config() };
        let (_, groups, _) = Log::recover(config, segments.clone()).expect("torn, not damaged");
        assert_eq!(groups[&GroupId(1)].entries.len(), count, "{planted:?}");
    }
}
