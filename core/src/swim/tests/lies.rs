//! A node that hears nonsense neither panics nor leaves its own rules, and what cannot be true changes nothing.

use super::solo::{Solo, alive, ping, suspect, update};
use super::world::load;
use crate::swim::message::INCARNATION_MAX;
use crate::swim::{Claim, Effect, Event, Health, Incarnation, Kind, Message, ProbeId, UPDATES_MAX, Update};
use crate::types::NodeId;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;

const ABSURD: u64 = INCARNATION_MAX + 1;

#[test]
fn a_claim_that_no_correct_node_makes_is_counted_and_dropped() {
    let lies = [
        alive(99, 1),
        alive(2, ABSURD),
        alive(2, u64::MAX),
        suspect(2, INCARNATION_MAX, &[3]),
        suspect(2, 1, &[]),
        suspect(2, 1, &[2]),
        suspect(2, 1, &[3, 3]),
        suspect(2, 1, &[1, 3, 4, 5, 6]),
        suspect(2, 1, &[3, 99]),
        update(2, INCARNATION_MAX, Claim::Dead),
        update(2, ABSURD, Claim::Left),
        suspect(1, INCARNATION_MAX, &[3]),
        update(1, ABSURD, Claim::Alive(load(1))),
    ];
    for lie in lies {
        let mut solo = Solo::acquainted(7, 1);
        let answers = solo.hear(3, ping(0), vec![lie.clone(), alive(4, 2)]);
        assert_eq!(solo.swim.suspect_messages(), 1, "SWIM-1: {lie:?}");
        assert_eq!(solo.health(2), Health::Alive, "SWIM-1: {lie:?}");
        assert_eq!(solo.swim.description(NodeId(2)), Some(&load(1)));
        assert_eq!(answers[0].2[..], [alive(4, 2)], "what came with {lie:?} is taken, and it is not answered");
    }
}

#[test]
fn a_message_that_no_correct_node_sends_is_counted_and_dropped() {
    let message = |kind, heard, updates| Message { kind, heard, updates };
    let claims = |count: usize| vec![alive(2, 5); count];
    let request = |target| Kind::PingRequest { probe: ProbeId(1), target: NodeId(target) };
    let lies = [
        (1, message(ping(0), None, claims(1))),
        (99, message(ping(0), None, claims(1))),
        (3, message(ping(0), Some(Incarnation(ABSURD)), claims(1))),
        (3, message(ping(0), None, claims(UPDATES_MAX + 1))),
        (3, message(request(1), None, vec![])),
        (3, message(request(3), None, vec![])),
        (3, message(request(99), None, vec![])),
    ];
    for (from, lie) in lies {
        let mut solo = Solo::acquainted(7, 1);
        assert!(solo.hear_message(from, lie.clone()).is_empty(), "SWIM-1: {lie:?} is answered");
        assert_eq!(solo.swim.suspect_messages(), 1, "SWIM-1: {lie:?}");
        assert_eq!(solo.swim.description(NodeId(2)), Some(&load(1)), "SWIM-1: {lie:?}");
    }
    let mut solo = Solo::acquainted(7, 1);
    assert!(!solo.hear_message(3, message(ping(0), None, claims(UPDATES_MAX))).is_empty());
    assert_eq!(solo.swim.suspect_messages(), 0, "that much may be said");
}

#[test]
fn a_node_can_refute_the_highest_claim_about_it_that_others_take() {
    let mut solo = Solo::acquainted(4, 1);
    let answers = solo.hear(2, ping(0), vec![suspect(1, INCARNATION_MAX - 1, &[2])]);
    assert_eq!(answers[0].2[0].incarnation, Incarnation(INCARNATION_MAX));
    // Those who hear that take it, and what they say after it.
    let message = Message { kind: ping(0), heard: Some(Incarnation(INCARNATION_MAX)), updates: vec![] };
    assert!(!solo.hear_message(2, message).is_empty());
    let mut other = Solo::acquainted(4, 1);
    other.hear(3, ping(0), vec![suspect(2, INCARNATION_MAX - 1, &[3])]);
    assert_eq!(other.health(2), Health::Suspect);
    other.hear(2, ping(0), vec![update(2, INCARNATION_MAX, Claim::Alive(load(1)))]);
    assert_eq!(other.health(2), Health::Alive);
    assert_eq!((solo.swim.suspect_messages(), other.swim.suspect_messages()), (0, 0));
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0u64..6, 1 => Just(u64::MAX), 1 => Just(INCARNATION_MAX), 1 => Just(INCARNATION_MAX - 1)]
}

fn node() -> impl Strategy<Value = NodeId> {
    (0u64..8).prop_map(NodeId)
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![
        (0u32..4).prop_map(|thousandths| Claim::Alive(load(thousandths))),
        proptest::collection::vec(node(), 0..6).prop_map(Claim::Suspect),
        Just(Claim::Dead),
        Just(Claim::Left),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let probe = || (0u64..4).prop_map(ProbeId);
    prop_oneof![
        probe().prop_map(|probe| Kind::Ping { probe }),
        (probe(), node()).prop_map(|(probe, target)| Kind::PingRequest { probe, target }),
        probe().prop_map(|probe| Kind::Ack { probe }),
        probe().prop_map(|probe| Kind::Nack { probe }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let update = (node(), number(), claim());
    let update =
        update.prop_map(|(node, incarnation, claim)| Update { node, incarnation: Incarnation(incarnation), claim });
    let heard = proptest::option::of(number().prop_map(Incarnation));
    (kind(), heard, proptest::collection::vec(update, 0..9)).prop_map(|(kind, heard, updates)| Message {
        kind,
        heard,
        updates,
    })
}

#[derive(Clone, Debug)]
enum Deed {
    Hear(NodeId, Message),
    Elapse(u64),
    Members(Vec<NodeId>),
    Describe(u32),
    Leave,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        60 => (node(), message()).prop_map(|(from, message)| Deed::Hear(from, message)),
        20 => (0u64..2_000).prop_map(Deed::Elapse),
        3 => proptest::collection::vec(node(), 0..8).prop_map(Deed::Members),
        3 => (0u32..9).prop_map(Deed::Describe),
        1 => Just(Deed::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_from_peers_is_survived(deeds in proptest::collection::vec(deed(), 1..80)) {
        let mut solo = Solo::new(6, 1);
        let mut listed: Vec<NodeId> = (1..=6).map(NodeId).collect();
        for deed in deeds {
            let own = solo.swim.own.incarnation;
            let effects = match deed {
                Deed::Hear(from, message) => solo.step(Event::Receive { from, message }),
                Deed::Elapse(ms) => {
                    solo.sleep(Duration::from_millis(ms));
                    solo.step(Event::Deadline)
                }
                Deed::Members(nodes) => {
                    listed.clone_from(&nodes);
                    solo.step(Event::Members(nodes.into_iter().collect()))
                }
                Deed::Describe(thousandths) => solo.step(Event::Describe(load(thousandths))),
                Deed::Leave => solo.step(Event::Leave),
            };
            for effect in effects {
                match effect {
                    Effect::Send { to, message } => {
                        prop_assert!(to != NodeId(1) && listed.contains(&to), "SWIM-14: {to} is spoken to");
                        prop_assert!(message.is_plausible() && message.updates.len() <= 8);
                        prop_assert!(message.updates.iter().all(Update::is_plausible), "SWIM-1: {message:?}");
                    }
                    Effect::Became { node, .. } => prop_assert!(node != NodeId(1) && listed.contains(&node)),
                }
            }
            prop_assert!(solo.swim.own.incarnation >= own, "SWIM-10: an incarnation never falls");
            let owed = solo.swim.members.values().flat_map(|member| member.owed.iter().copied());
            let told = owed.chain(solo.swim.rumors.by_novelty());
            let mut known = solo.swim.members.keys().chain(&solo.swim.round).copied().chain(told);
            prop_assert!(known.all(|node| node == NodeId(1) || listed.contains(&node)), "SWIM-14: more is remembered");
        }
    }
}
