//! The rules of a membership against a model that counts heads, and its bytes.

use super::{Membership, NODES_MAX};
use crate::types::NodeId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use proptest::prelude::*;

fn ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn membership(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
    Membership::from_lists(ids(voters), ids(outgoing), ids(learners)).expect("the lists make a membership")
}

/// Every subset of the nodes 1 to 5, drawn by its bits.
fn subset(bits: u8) -> BTreeSet<NodeId> {
    (0..5).filter(|bit| bits & (1 << bit) != 0).map(|bit| NodeId(bit + 1)).collect()
}

fn list(bits: u8) -> Vec<NodeId> {
    subset(bits).into_iter().collect()
}

/// The dumb model: more than half of a set, counted head by head.
fn is_majority(of: &BTreeSet<NodeId>, yes: &BTreeSet<NodeId>) -> bool {
    of.iter().filter(|node| yes.contains(node)).count() * 2 > of.len()
}

fn any_membership() -> impl Strategy<Value = Membership> {
    (1u8..32, 0u8..32, 0u8..32).prop_map(|(voters, outgoing, learners)| {
        let learners = learners & !(voters | outgoing);
        Membership::from_lists(list(voters), list(outgoing), list(learners)).expect("learners do not vote")
    })
}

proptest! {
    // MEMBER-2
    #[test]
    fn a_quorum_is_a_majority_of_each_set_of_voters(of in any_membership(), yes in 0u8..32) {
        let yes = subset(yes);
        let voters: BTreeSet<NodeId> = of.voters().iter().copied().collect();
        let outgoing: BTreeSet<NodeId> = of.outgoing().iter().copied().collect();
        let expected = is_majority(&voters, &yes) && (outgoing.is_empty() || is_majority(&outgoing, &yes));
        prop_assert_eq!(of.has_quorum(&|node| yes.contains(&node)), expected);
    }

    // MEMBER-2
    #[test]
    fn what_is_agreed_is_the_largest_number_that_a_quorum_reached(
        of in any_membership(),
        reached in proptest::collection::vec(0u64..6, 5),
    ) {
        let reached = |node: NodeId| reached[usize::try_from(node.0 - 1).expect("small")];
        let expected = (0..6).rev().find(|number| of.has_quorum(&|node| reached(node) >= *number));
        prop_assert_eq!(of.agreed(&reached), expected);
    }

    // MEMBER-3: this is why a change may be made in this way: the quorums of two memberships in a row meet.
    #[test]
    fn quorums_of_a_membership_and_of_the_next_have_a_node_in_common(
        first in any_membership(),
        second in any_membership(),
        one in 0u8..32,
        other in 0u8..32,
    ) {
        let (one, other) = (subset(one), subset(other));
        let both = first.has_quorum(&|node| one.contains(&node)) && second.has_quorum(&|node| other.contains(&node));
        if first.may_become(&second) && both {
            prop_assert!(!one.is_disjoint(&other));
        }
    }

    #[test]
    fn a_change_goes_through_a_joint_membership(of in any_membership(), target in 1u8..32) {
        let simple = of.finish();
        let target = subset(target);
        let joint = simple.begin(&target);
        let done = joint.finish();
        prop_assert!(joint.is_joint() && simple.may_become(&joint) && joint.may_become(&done));
        prop_assert!(done.voters().iter().eq(&target));
        prop_assert!(!joint.may_become(&joint));
        prop_assert_eq!(joint.may_become(&simple), done == simple);
        prop_assert_eq!(simple.may_become(&done), simple.voters() == done.voters());
        prop_assert_eq!(Membership::decode(&joint.encode()), Some(joint));
    }

    #[test]
    fn what_decodes_is_what_was_encoded(bytes in proptest::collection::vec(0u8..4, 0..60)) {
        if let Some(decoded) = Membership::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}

#[test]
fn an_empty_membership_has_no_quorum_and_is_nowhere_led_to() {
    let empty = Membership::default();
    assert!(!empty.has_quorum(&|_| true));
    assert_eq!(empty.agreed(&|_| 9), None);
    assert!(!membership(&[1], &[], &[]).may_become(&empty));
    assert_eq!(Membership::decode(&empty.encode()), Some(empty));
}

#[test]
fn learners_come_and_go_one_by_one() {
    let of = membership(&[1, 3], &[], &[4]);
    assert_eq!(of.with_learner(NodeId(2)), Some(membership(&[1, 3], &[], &[2, 4])));
    assert_eq!((of.with_learner(NodeId(3)), of.with_learner(NodeId(4))), (None, None));
    assert_eq!(of.without_learner(NodeId(4)), Some(membership(&[1, 3], &[], &[])));
    assert_eq!(of.without_learner(NodeId(1)), None);
}

#[test]
fn a_learner_that_will_vote_and_a_voter_that_leaves_stand_in_one_list_only() {
    let joint = membership(&[1, 2, 3], &[], &[4, 5]).begin(&ids(&[3, 4]).into_iter().collect());
    assert_eq!(joint, membership(&[3, 4], &[1, 2, 3], &[5]));
    assert_eq!(joint.finish(), membership(&[3, 4], &[], &[5]));
}

#[test]
fn lists_that_contradict_each_other_make_no_membership() {
    // MEMBER-1
    let of = |voters: &[u64], outgoing: &[u64], learners: &[u64]| {
        Membership::from_lists(ids(voters), ids(outgoing), ids(learners))
    };
    assert_eq!(of(&[2, 1], &[], &[]), None);
    assert_eq!(of(&[1, 1], &[], &[]), None);
    assert_eq!(of(&[1], &[], &[1]), None);
    assert_eq!(of(&[1], &[2], &[2]), None);
    assert_eq!(of(&[], &[1], &[]), None);
    assert_eq!(of(&[], &[], &[1]), None);
    let many: Vec<u64> = (0..=NODES_MAX as u64).collect();
    assert_eq!(of(&many, &[], &[]), None);
    assert!(of(&many[1..], &[], &[]).is_some());
}

#[test]
fn the_bytes_are_those_of_the_format_page() {
    let page = include_str!("../../../docs/formats/membership.md");
    let golden = page.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has bytes");
    let bytes: Vec<u8> =
        golden.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect();
    let of = membership(&[1, 2, 300], &[1, 2], &[7]);
    assert_eq!(of.encode(), bytes, "{:02x?}", of.encode());
    assert_eq!(Membership::decode(&bytes), Some(of));
    for end in 0..bytes.len() {
        assert_eq!(Membership::decode(&bytes[..end]), None, "cut at {end}");
    }
    let mut next = bytes.clone();
    next[0] = 2;
    assert_eq!(Membership::decode(&next), None, "another version");
    next[0] = 1;
    next.push(0);
    assert_eq!(Membership::decode(&next), None, "bytes left over");
}
