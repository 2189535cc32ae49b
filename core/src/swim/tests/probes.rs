//! Single rules about who is asked and when, each on one node.

use super::solo::{Solo, alive, ping, probe_of, sent, suspect, update};
use super::world::ms;
use crate::swim::{Claim, Effect, Event, Health, Kind, ProbeId};
use crate::types::NodeId;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn who_does_not_answer_is_asked_for_through_three_others_and_accused() {
    let mut solo = Solo::acquainted(8, 1);
    let (target, kind, _) = solo.next_ping();
    let pinged_at = solo.now;
    let probe = probe_of(kind);
    let asked = sent(solo.wait());
    assert_eq!(solo.now.since(pinged_at), ms(120));
    let relays: BTreeSet<NodeId> = asked.iter().map(|(to, ..)| *to).collect();
    assert!(relays.len() == 3 && !relays.contains(&target));
    assert!(asked.iter().all(|(_, kind, _)| *kind == Kind::PingRequest { probe, target }));
    let effects = solo.wait();
    assert_eq!(solo.now.since(pinged_at), ms(300));
    assert!(effects.contains(&Effect::Became { node: target, health: Health::Suspect }));
    assert_eq!(solo.swim.health_multiplier(), 4, "three relays did not even send a nack");
}

#[test]
fn relays_have_their_time_even_when_they_are_asked_late() {
    let mut solo = Solo::acquainted(8, 1);
    let (target, ..) = solo.next_ping();
    // Late twice in a period: the second time nothing is forgiven (SWIM-5).
    solo.sleep(ms(1_000));
    assert!(solo.step(Event::Deadline).is_empty());
    solo.sleep(ms(1_000));
    assert_eq!(sent(solo.step(Event::Deadline)).len(), 3);
    // Lateness is a sign, so all times are doubled.
    solo.pass(ms(359));
    assert_eq!(solo.health(target.0), Health::Alive);
    solo.pass(ms(2));
    assert_eq!(solo.health(target.0), Health::Suspect);
}

#[test]
fn who_goes_while_it_is_probed_or_asked_to_relay_speaks_against_nobody() {
    let without = |gone: NodeId| Event::Members((1..=8).map(NodeId).filter(|node| *node != gone).collect());
    let mut solo = Solo::acquainted(8, 1);
    let (target, ..) = solo.next_ping();
    solo.step(without(target));
    assert!(sent(solo.pass(ms(179))).is_empty(), "SWIM-14: nobody is asked about one who is gone");
    assert_eq!(solo.swim.health_multiplier(), 1);
    let mut solo = Solo::acquainted(8, 1);
    let (_, kind, _) = solo.next_ping();
    let asked = sent(solo.wait());
    for (relay, ..) in &asked[1..] {
        solo.hear(relay.0, Kind::Nack { probe: probe_of(kind) }, vec![]);
    }
    solo.step(without(asked[0].0));
    solo.wait();
    assert_eq!(solo.swim.health_multiplier(), 1, "SWIM-14: a nack of one who is gone is not missed");
}

#[test]
fn an_ack_through_a_relay_or_a_late_one_saves_the_target() {
    for late in [false, true] {
        let mut solo = Solo::acquainted(8, 1);
        let (target, kind, _) = solo.next_ping();
        let asked = sent(solo.wait());
        let from = if late { target } else { asked[0].0 };
        // One who was not asked does not know.
        let stranger = (2..=8).map(NodeId).find(|id| *id != target && asked.iter().all(|(relay, ..)| relay != id));
        solo.hear(stranger.expect("three of six were asked").0, Kind::Ack { probe: probe_of(kind) }, vec![]);
        assert!(matches!(solo.swim.period.probe, crate::swim::probe::Probe::ExpectAnyAck { .. }));
        solo.hear(from.0, Kind::Ack { probe: probe_of(kind) }, vec![]);
        solo.wait();
        assert_eq!(solo.health(target.0), Health::Alive);
        assert_eq!(solo.swim.health_multiplier(), 1);
    }
}

#[test]
fn missing_nacks_speak_against_the_node_itself_and_good_probes_for_it() {
    for (nacks, multiplier) in [(3, 1), (2, 2), (0, 4)] {
        let mut solo = Solo::acquainted(8, 1);
        let target = solo.fail_probe(nacks);
        assert_eq!(solo.health(target.0), Health::Suspect);
        assert_eq!(solo.swim.health_multiplier(), multiplier, "SWIM-4: {nacks} nacks");
    }
    let mut solo = Solo::acquainted(12, 1);
    for _ in 0..6 {
        solo.fail_probe(0);
    }
    assert_eq!(solo.swim.health_multiplier(), 9, "SWIM-4: that is the most");
    let number = solo.swim.period.number;
    while solo.swim.period.number == number {
        solo.wait();
    }
    assert_eq!(solo.swim.period.ends_at, solo.now.after(ms(2_700)), "a node that doubts itself is slower");
    for node in 2..=12 {
        solo.hear(node, ping(0), vec![alive(node, 9)]);
    }
    for _ in 0..120 {
        solo.period_with_answer();
    }
    assert_eq!(solo.swim.health_multiplier(), 1, "SWIM-4: good probes take the signs back");
}

#[test]
fn a_relay_pings_passes_the_ack_on_and_sends_a_nack_in_time() {
    let request = |target| Kind::PingRequest { probe: ProbeId(77), target: NodeId(target) };
    let mut solo = Solo::acquainted(6, 1);
    let pinged = solo.hear(2, request(3), vec![]);
    assert_eq!(pinged[0].0, NodeId(3));
    let ours = probe_of(pinged[0].1);
    let passed_on = solo.hear(3, Kind::Ack { probe: ours }, vec![]);
    assert_eq!((passed_on[0].0, passed_on[0].1), (NodeId(2), Kind::Ack { probe: ProbeId(77) }));
    assert!(solo.hear(3, Kind::Ack { probe: ours }, vec![]).is_empty(), "an errand is done once");
    let ours = probe_of(solo.hear(2, request(3), vec![])[0].1);
    let nack = |effects: Vec<Effect>| {
        sent(effects).iter().any(|(to, kind, _)| *to == NodeId(2) && *kind == Kind::Nack { probe: ProbeId(77) })
    };
    assert!(!nack(solo.pass(ms(95))) && nack(solo.pass(ms(2))), "a nack after 80% of the timeout");
    assert!(!solo.hear(3, Kind::Ack { probe: ours }, vec![]).is_empty(), "an ack is passed on after the nack too");
    // SWIM-15: a second request replaces the first.
    let first = probe_of(solo.hear(2, request(3), vec![])[0].1);
    solo.hear(2, request(4), vec![]);
    assert!(solo.hear(3, Kind::Ack { probe: first }, vec![]).is_empty());
    assert_eq!(solo.swim.errands.len(), 1);
    solo.pass(ms(1_000));
    assert!(solo.swim.errands.is_empty(), "errands end by themselves");
}

#[test]
fn each_round_probes_all_in_an_order_of_its_own() {
    let mut solo = Solo::acquainted(9, 1);
    while !solo.swim.round.is_empty() {
        solo.period_with_answer();
    }
    let rounds: Vec<Vec<NodeId>> = (0..20).map(|_| (0..8).map(|_| solo.period_with_answer()).collect()).collect();
    let all: BTreeSet<NodeId> = (2..=9).map(NodeId).collect();
    assert!(rounds.iter().all(|round| round.iter().copied().collect::<BTreeSet<NodeId>>() == all), "SWIM-11");
    assert!(rounds.windows(2).all(|pair| pair[0] != pair[1]), "SWIM-11: the order is new each time");
    let orders = |seed| {
        let mut solo = Solo::acquainted(9, seed);
        (0..16).map(|_| solo.period_with_answer()).collect::<Vec<NodeId>>()
    };
    assert!(orders(5) == orders(5) && orders(5) != orders(6), "the seed decides, and nothing else");
}

#[test]
fn a_new_node_is_probed_first_and_one_that_is_gone_is_forgotten() {
    let mut solo = Solo::acquainted(9, 1);
    solo.hear(3, ping(0), vec![suspect(4, 1, &[3])]);
    let without_four = (1..=11).filter(|id| *id != 4).map(NodeId).collect();
    assert!(solo.step(Event::Members(without_four)).is_empty());
    let first: BTreeSet<NodeId> = (0..2).map(|_| solo.period_with_answer()).collect();
    assert_eq!(first, BTreeSet::from([NodeId(10), NodeId(11)]));
    assert_eq!((solo.health(10), solo.health(4)), (Health::Alive, Health::Left));
    assert!(solo.swim.description(NodeId(10)).is_none() && solo.swim.description(NodeId(4)).is_none());
    let alive: Vec<u64> = solo.swim.alive().map(|node| node.0).collect();
    assert_eq!(alive, [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
    for _ in 0..40 {
        assert_ne!(solo.period_with_answer(), NodeId(4), "SWIM-14");
    }
    let suspects = solo.swim.suspect_messages();
    assert!(solo.hear(4, ping(0), vec![]).is_empty());
    assert_eq!(solo.swim.suspect_messages(), suspects + 1);
    // It comes back as one of whom nothing is known.
    solo.step(Event::Members((1..=11).map(NodeId).collect()));
    assert_eq!(solo.health(4), Health::Alive);
    assert_eq!(solo.period_with_answer(), NodeId(4));
}

#[test]
fn the_dead_are_pinged_now_and_then_and_told_why() {
    let mut solo = Solo::acquainted(4, 1);
    solo.hear(3, ping(0), vec![update(2, 1, Claim::Dead)]);
    let (mut pings, last) = (0, solo.swim.period.number + 40);
    while solo.swim.period.number < last {
        for (to, kind, updates) in solo.next_pings() {
            if to == NodeId(2) {
                pings += 1;
                assert_eq!(updates[0], update(2, 1, Claim::Dead), "SWIM-8");
            } else {
                solo.hear(to.0, Kind::Ack { probe: probe_of(kind) }, vec![]);
            }
        }
    }
    assert_eq!(pings, 10, "SWIM-12");
    let answers = solo.hear(2, ping(0), vec![alive(2, 2)]);
    assert!(!answers.is_empty() && solo.health(2) == Health::Alive);
}

#[test]
fn a_node_that_was_not_woken_in_time_waits_for_its_mail_first() {
    let mut solo = Solo::acquainted(4, 1);
    solo.hear(3, ping(0), vec![suspect(2, 1, &[3, 4])]);
    solo.sleep(ms(10_000));
    assert!(!solo.step(Event::Deadline).iter().any(|effect| matches!(effect, Effect::Became { .. })), "SWIM-5");
    assert_eq!(solo.swim.health_multiplier(), 2, "it is a sign");
    solo.hear(2, ping(0), vec![alive(2, 2)]);
    assert_eq!(solo.health(2), Health::Alive);
    // One that is late all the time is forgiven once in a period, and so it notices a death in the end.
    let mut late = 0;
    while solo.health(2) != Health::Dead && late < 200 {
        let deadline = solo.swim.deadline().expect("the detector always waits");
        solo.now = solo.now.max(deadline);
        solo.sleep(ms(130));
        solo.step(Event::Deadline);
        late += 1;
    }
    assert!(late < 200, "SWIM-5: a node that is always late never judges");
}
