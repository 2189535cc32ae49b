//! Single rules about claims and what a node says, each on one node.

use super::solo::{Sent, Solo, alive, ping, probe_of, sent, suspect, update};
use super::world::{load, ms};
use crate::swim::description::{CAPABILITIES_MAX, DRIVES_MAX};
use crate::swim::{Claim, Description, DriveSpace, Effect, Event, Health, Incarnation, Kind, Message, ProbeId, Update};
use crate::types::{DriveId, NodeId};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

#[test]
fn a_suspected_node_refutes_in_its_answer() {
    let mut solo = Solo::acquainted(4, 1);
    solo.step(Event::Describe(load(5)));
    let answers = solo.hear(2, ping(9), vec![suspect(1, 1, &[2])]);
    let (to, kind, updates) = &answers[0];
    assert_eq!((*to, *kind), (NodeId(2), Kind::Ack { probe: ProbeId(9) }));
    assert_eq!(updates[..], [update(1, 2, Claim::Alive(load(5)))]);
    assert_eq!(solo.swim.health_multiplier(), 2, "SWIM-4: it is a sign");
}

#[test]
fn what_is_said_of_an_older_incarnation_is_corrected_and_not_taken() {
    let mut solo = Solo::acquainted(4, 1);
    solo.step(Event::Describe(load(5)));
    solo.step(Event::Describe(load(6)));
    solo.hear(3, ping(0), vec![alive(3, 8)]);
    solo.tell_all_rumors();
    assert!(solo.hear(2, ping(9), vec![])[0].2.is_empty(), "nothing is told by itself any more");
    let own = solo.hear(2, ping(9), vec![suspect(1, 1, &[2])]);
    assert_eq!(own[0].2[..], [update(1, 2, Claim::Alive(load(6)))]);
    assert_eq!(solo.swim.health_multiplier(), 1, "it is no sign");
    solo.tell_all_rumors();
    let others = solo.hear(2, ping(9), vec![suspect(3, 7, &[2])]);
    assert_eq!(others[0].2[..], [alive(3, 8)]);
    assert!(solo.hear(2, ping(9), vec![])[0].2.is_empty(), "one correction is enough");
}

#[test]
fn nobody_is_told_that_it_is_alive() {
    let mut solo = Solo::acquainted(4, 1);
    solo.hear(2, ping(9), vec![alive(2, 2)]);
    assert!(solo.hear(2, ping(9), vec![])[0].2.is_empty());
    assert_eq!(solo.hear(3, ping(9), vec![])[0].2[..], [alive(2, 2)]);
}

#[test]
fn a_new_life_goes_beyond_what_others_have_heard_of_the_former() {
    let mut solo = Solo::new(4, 1);
    let message = Message { kind: ping(9), heard: Some(Incarnation(57)), updates: vec![] };
    let answers = solo.hear_message(3, message);
    assert_eq!(answers[0].2[..], [update(1, 58, Claim::Alive(Description::default()))]);
}

#[test]
fn two_lives_of_one_incarnation_and_different_descriptions_are_told_apart() {
    // At the node itself.
    let mut solo = Solo::new(4, 1);
    solo.step(Event::Describe(load(5)));
    let answers = solo.hear(2, ping(9), vec![update(1, 1, Claim::Alive(load(4)))]);
    assert_eq!(answers[0].2[..], [update(1, 2, Claim::Alive(load(5)))]);
    let answers = solo.hear(2, ping(9), vec![update(1, 2, Claim::Alive(load(5)))]);
    assert_eq!(answers[0].2[0].incarnation, Incarnation(2), "its own words are no contradiction");
    // At another node, which tells it and keeps to what it knows.
    let mut other = Solo::acquainted(4, 1);
    let answers = other.hear(2, ping(9), vec![update(2, 1, Claim::Alive(load(77)))]);
    assert_eq!(answers[0].2[..], [alive(2, 1)]);
    assert_eq!(other.swim.description(NodeId(2)), Some(&load(1)));
}

#[test]
fn a_higher_rank_replaces_a_lower_and_is_told_to_who_has_the_lower() {
    let claims = |incarnation| {
        let dead = update(2, incarnation, Claim::Dead);
        let left = update(2, incarnation, Claim::Left);
        [alive(2, incarnation), suspect(2, incarnation, &[3]), dead, left]
    };
    let healths = [Health::Alive, Health::Suspect, Health::Dead, Health::Left];
    let ranked: Vec<(Update, Health)> =
        (1..=2).flat_map(|incarnation| claims(incarnation).into_iter().zip(healths)).collect();
    for (first, (earlier, health)) in ranked.iter().enumerate() {
        for (second, (later, later_health)) in ranked.iter().enumerate() {
            let mut solo = Solo::acquainted(5, 1);
            solo.hear(3, ping(0), vec![earlier.clone()]);
            assert_eq!(solo.health(2), *health);
            let answers = solo.hear(4, ping(0), vec![later.clone()]);
            let wins = if second > first { later_health } else { health };
            assert_eq!(solo.health(2), *wins, "SWIM-6: {later:?} after {earlier:?}");
            if second < first {
                assert!(answers[0].2.contains(earlier), "{later:?} is not corrected to {earlier:?}");
            }
        }
    }
}

#[test]
fn changes_of_health_are_told_once() {
    let mut solo = Solo::acquainted(5, 1);
    let mut said = Vec::new();
    for claim in [suspect(2, 1, &[3]), suspect(2, 1, &[4]), alive(2, 2), alive(2, 3), update(2, 3, Claim::Dead)] {
        let message = Message { kind: Kind::Ack { probe: ProbeId(0) }, heard: None, updates: vec![claim] };
        said.extend(solo.step(Event::Receive { from: NodeId(3), message }));
    }
    let became =
        [Health::Suspect, Health::Alive, Health::Dead].map(|health| Effect::Became { node: NodeId(2), health });
    assert_eq!(said, became);
}

#[test]
fn a_suspicion_ends_in_death_after_the_timeout_that_its_accusers_give() {
    // With eight nodes the shortest suspicion is 2.4 s and the longest 9.6 s.
    for (accusers, timeout) in
        [(vec![3], 9_600), (vec![3, 4], 6_000), (vec![3, 4, 5], 3_894), (vec![3, 4, 5, 6], 2_400)]
    {
        let mut solo = Solo::acquainted(8, 1);
        // Heard one by one, so that each counts from the first on.
        for accuser in &accusers {
            solo.hear(3, ping(0), vec![suspect(2, 1, &[*accuser])]);
        }
        let accused_at = solo.now;
        while solo.health(2) == Health::Suspect {
            // The others answer, so that no accusation of this node comes to those.
            let answered: Vec<Sent> = sent(solo.wait());
            for (to, kind, _) in answered {
                match kind {
                    Kind::Ping { probe } | Kind::PingRequest { probe, .. } if to != NodeId(2) => {
                        solo.hear(to.0, Kind::Ack { probe }, vec![]);
                    }
                    Kind::Ping { .. } | Kind::PingRequest { .. } | Kind::Ack { .. } | Kind::Nack { .. } => {}
                }
            }
        }
        let taken = solo.now.since(accused_at);
        assert_eq!(solo.health(2), Health::Dead);
        let near = |expected: u64| taken.as_millis().abs_diff(u128::from(expected)) <= 5;
        assert!(near(timeout), "SWIM-3: accused by {accusers:?}, it was dead after {taken:?}");
    }
}

#[test]
fn a_suspect_is_told_first_and_asked_again_in_each_interval() {
    let mut solo = Solo::acquainted(6, 1);
    solo.hear(3, ping(0), vec![suspect(2, 1, &[3])]);
    let (mut pings, until) = (0, solo.now.after(ms(2_000)));
    while solo.now < until {
        for (to, kind, updates) in solo.next_pings() {
            if to == NodeId(2) {
                assert_eq!(updates[0].node, NodeId(2), "SWIM-8");
                assert!(matches!(updates[0].claim, Claim::Suspect(_)));
                pings += 1;
            } else {
                solo.hear(to.0, Kind::Ack { probe: probe_of(kind) }, vec![]);
            }
        }
    }
    assert!(pings >= 6, "SWIM-13: {pings} pings in two seconds");
}

#[test]
fn who_leaves_says_so_at_once_and_judges_nobody_any_more() {
    let mut solo = Solo::acquainted(6, 1);
    let told: Vec<Sent> = sent(solo.step(Event::Leave));
    let to: BTreeSet<NodeId> = told.iter().map(|(to, ..)| *to).collect();
    assert_eq!(to, (2..=6).map(NodeId).collect());
    assert!(told.iter().all(|(_, _, updates)| updates[..] == [update(1, 1, Claim::Left)]));
    assert!(solo.step(Event::Leave).is_empty() && solo.step(Event::Describe(load(3))).is_empty());
    assert_eq!(solo.health(1), Health::Left);
    assert!(!solo.swim.alive().any(|node| node == NodeId(1)));
    assert!(solo.pass(Duration::from_secs(5)).is_empty(), "nobody is probed");
    let updates = solo.hear(2, ping(9), vec![suspect(1, 1, &[3])]);
    assert_eq!(updates[0].2[..], [update(1, 2, Claim::Left)], "that it is suspected does not bring it back");
}

#[test]
fn a_description_is_small_and_unambiguous() {
    let drive = |id, free_bytes, total_bytes| DriveSpace { drive: DriveId(id), free_bytes, total_bytes };
    let names = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect::<Vec<String>>();
    let one = Description::new(7, vec![drive(2, 1, 1), drive(1, 0, 9)], names(&["wasm", "gpu"]));
    let same = Description::new(7, vec![drive(1, 0, 9), drive(2, 1, 1)], names(&["gpu", "wasm"]));
    assert!(one.is_some() && one == same);
    let bad_drives =
        [vec![drive(1, 2, 1)], vec![drive(1, 0, 0), drive(1, 1, 1)], (0..=64).map(|id| drive(id, 0, 0)).collect()];
    assert_eq!(bad_drives[2].len(), DRIVES_MAX + 1);
    assert!(bad_drives.into_iter().all(|drives| Description::new(0, drives, vec![]).is_none()));
    let many: Vec<String> = ('a'..='q').map(String::from).collect();
    assert_eq!(many.len(), CAPABILITIES_MAX + 1);
    let bad_names = [names(&[""]), names(&["a", "a"]), vec!["x".repeat(33)], many];
    assert!(bad_names.into_iter().all(|names| Description::new(0, vec![], names).is_none()));
}
