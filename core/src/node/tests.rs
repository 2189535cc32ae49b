//! One node with all its parts, from a client's request to the bytes on its drives and back.
//!
//! `world` is the runtime and `disks` are its drives. Here are the promises about objects, with one drive (`1+0`) and with
//! three (`2+1`); `durability` has those about the log, the state store and a restart.

#![allow(clippy::cast_possible_truncation, reason = "test bytes are cut to size on purpose")]
#![allow(clippy::wildcard_enum_match_arm, reason = "an answer of any other kind ends the test")]

mod disks;
mod durability;
mod members;
mod scrub;
mod world;

use crate::node::sweep::BATCH_MAX;
use crate::node::{DiskUser, Effect, Reply, Request, Unavailable};
#[cfg(debug_assertions)]
use crate::planted::Bug;
use crate::raft::Role;
use crate::state::{
    Answer, KeyCondition, KeyOperation, ObjectCondition, ObjectOperation, Operation, Query, QueryAnswer, Refusal,
};
use crate::stripe::{INLINE_MAX, STRIPE_SIZE};
use crate::types::{DriveId, GroupId, RequestId};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use world::{ONE, PREPARE_TTL, SWEEP, THREE, World, bucket, name, target, text};

const SMALL: usize = INLINE_MAX + 1;

#[test]
fn bodies_come_back_as_they_were_put() {
    for (profile, positions) in [(ONE, 1), (THREE, 3)] {
        let mut world = World::new(profile);
        let mut shards = 0;
        for (size, stripes) in [
            (0, 0),
            (1, 0),
            (INLINE_MAX, 0),
            (SMALL, 1),
            (STRIPE_SIZE, 1),
            (STRIPE_SIZE + 1, 2),
            (2 * STRIPE_SIZE + 77, 3),
        ] {
            let key = format!("{size}");
            world.put(&key, &text(1, size));
            assert_eq!(world.get(&key).as_deref(), Ok(&text(1, size)[..]), "{size} bytes, {profile:?}");
            shards += stripes * positions;
            assert_eq!(world.shards(), shards, "an inline body has no shards, a stripe one for each position");
        }
        let status = world.status();
        assert_eq!((status.writes, status.opens, status.undecided), (0, 0, 0));
        assert!(status.groups.iter().all(|group| group.role == Role::Leader));
        assert!(world.suspects.is_empty(), "{:?}", world.suspects);
    }
}

#[test]
fn an_object_that_is_not_there_is_refused() {
    let mut world = World::new(ONE);
    assert_eq!(world.get("nothing"), Err(Refusal::NoSuchKey));
}

#[test]
fn a_lost_drive_is_read_around_and_two_are_said_to_be_too_many() {
    let mut world = World::new(THREE);
    let bytes = text(1, 2 * STRIPE_SIZE + 5);
    world.put("a", &bytes);
    world.lose_drive(DriveId(1));
    let mut world = world.crash();
    assert_eq!(world.get("a").as_deref(), Ok(&bytes[..]));
    assert!(!world.suspects.is_empty(), "an operator hears of the positions that are missing");
    assert!(world.status().moved.repaired > 0, "what was missing is written again");

    // So the loss of another drive is read around as well; that of two at once is not.
    world.lose_drive(DriveId(2));
    let mut world = world.crash();
    assert_eq!(world.get("a").as_deref(), Ok(&bytes[..]));
    world.lose_drive(DriveId(0));
    world.lose_drive(DriveId(1));
    let mut world = world.crash();
    let (open, size) = world.open("a").expect("its row is there");
    assert!(matches!(world.read(open, size), Err(Unavailable::Damaged(_))));
}

#[test]
fn the_shards_of_a_deleted_or_replaced_body_are_reclaimed() {
    for profile in [ONE, THREE] {
        let positions = u64::from(profile.data + profile.parity);
        let mut world = World::new(profile);
        for key in ["a", "b", "c"] {
            world.put(key, &text(1, SMALL));
        }
        assert_eq!(world.shards(), 3 * positions);
        world.delete("a");
        world.put("b", b"small, so it has no shards");
        assert_eq!(world.get("a"), Err(Refusal::NoSuchKey));
        world.pass(2 * SWEEP);
        assert_eq!(world.shards(), positions, "{profile:?}");
        assert_eq!(world.get("c"), Ok(text(1, SMALL)));
        let left =
            world.ask(Request::Query { group: GroupId::REGION, query: Query::Reclaimable { after: None, limit: 9 } });
        assert!(matches!(left, Reply::Queried(QueryAnswer::Reclaimable(bodies)) if bodies.is_empty()));

        let mut world = world.crash();
        assert_eq!(world.shards(), positions, "what is reclaimed stays so");
        world.delete("b");
        world.delete("c");
        world.pass(2 * SWEEP);
        let operation = ObjectOperation::DeleteBucket { bucket: bucket() };
        assert_eq!(world.command(Operation::Object(operation)), Answer::Done);
        assert_eq!(world.shards(), 0);
    }
}

#[test]
fn an_open_object_outlives_its_replacement_until_it_is_closed() {
    // OBJ-1
    for profile in [ONE, THREE] {
        let positions = u64::from(profile.data + profile.parity);
        let mut world = World::new(profile);
        let (old, new) = (text(1, STRIPE_SIZE + 9), text(2, SMALL));
        world.put("a", &old);
        let (open, size) = world.open("a").expect("it was put");
        let (second, _) = world.open("a").expect("it was put");
        world.put("a", &new);
        world.pass(3 * PREPARE_TTL);
        assert_eq!(world.read(open, size), Ok(old.clone()));
        world.close(open);
        world.pass(2 * SWEEP);
        assert_eq!(world.read(second, size), Ok(old), "the last reader counts");
        assert_eq!(world.get("a"), Ok(new));
        world.close(second);
        world.pass(2 * SWEEP);
        assert_eq!(world.shards(), positions, "the old body is gone");
        let gone = world.ask(Request::ReadStripe { open, body: 0, stripe: 0 });
        assert!(matches!(gone, Reply::Unavailable(Unavailable::UnknownHandle)));
    }
}

#[test]
fn open_objects_do_not_keep_what_was_deleted_after_them() {
    // More than one batch of the reclaim queue is pinned, and still comes to its end when the readers close.
    let mut world = World::new(ONE);
    let pinned: Vec<RequestId> = (0..BATCH_MAX + 1)
        .map(|at| {
            let key = format!("{at}");
            world.put(&key, &text(1, SMALL));
            let (open, _) = world.open(&key).expect("it was put");
            world.delete(&key);
            open
        })
        .collect();
    world.put("last", &text(2, SMALL));
    world.delete("last");
    world.pass(2 * SWEEP);
    assert_eq!(world.shards(), pinned.len() as u64, "only what is open is left");
    pinned.into_iter().for_each(|open| world.close(open));
    world.pass(3 * SWEEP);
    assert_eq!(world.shards(), 0);
}

#[test]
fn a_drive_that_refuses_a_tombstone_keeps_that_body_only() {
    // SWEEP-3
    let mut world = World::new(ONE);
    for key in ["a", "b"] {
        world.put(key, &text(1, SMALL));
    }
    for key in ["a", "b"] {
        world.delete(key);
    }
    // A store tries a tombstone twice.
    world.refuse_tombstones(2);
    world.pass(SWEEP);
    let query = Query::Reclaimable { after: None, limit: 9 };
    let left = world.ask(Request::Query { group: GroupId::REGION, query });
    assert!(matches!(&left, Reply::Queried(QueryAnswer::Reclaimable(bodies)) if bodies.len() == 1), "{left:?}");
    world.pass(2 * SWEEP);
    assert_eq!(world.shards(), 0, "it is tried again");
}

#[test]
fn an_open_object_whose_mark_was_lost_outlives_its_deletion() {
    // OBJ-1: the sweep asks about shards that are not marked as decided, and hears that they may go.
    let mut world = World::new(THREE);
    let bytes = text(1, SMALL);
    world.put("a", &bytes);
    let mut world = world.crash();
    assert_eq!(world.status().undecided, 3, "marks wait for company, and were lost");
    let (open, size) = world.open("a").expect("it was put");
    world.delete("a");
    world.pass(3 * PREPARE_TTL);
    assert_eq!(world.read(open, size), Ok(bytes));
    world.close(open);
    world.pass(2 * SWEEP);
    assert_eq!((world.shards(), world.status().undecided), (0, 0));
}

#[test]
fn a_mark_that_was_lost_is_asked_for_again() {
    // SWEEP-1
    let mut world = World::new(THREE);
    world.put("a", &text(1, SMALL));
    let mut world = world.crash();
    assert_eq!(world.status().undecided, 3);
    world.pass(PREPARE_TTL + 2 * SWEEP);
    assert_eq!((world.shards(), world.status().undecided), (3, 0));
    assert_eq!(world.get("a"), Ok(text(1, SMALL)));
}

#[test]
fn a_client_that_leaves_before_its_open_is_answered_pins_nothing() {
    let mut world = World::new(ONE);
    world.put("a", &text(1, SMALL));
    world.hold(|effect| matches!(effect, Effect::Query { query: Query::Object { .. }, .. }));
    let open = world.send(Request::Open { object: name("a"), version: None });
    world.close(open);
    world.release();
    assert!(matches!(world.reply(open), Some(Reply::Unavailable(Unavailable::UnknownHandle))));
    assert_eq!(world.status().opens, 0);
    world.delete("a");
    world.pass(2 * SWEEP);
    assert_eq!(world.shards(), 0);
}

#[test]
fn an_open_that_is_not_answered_yet_keeps_what_it_may_see() {
    // OBJ-1
    let mut world = World::new(ONE);
    world.put("a", &text(1, SMALL));
    world.hold(|effect| matches!(effect, Effect::Reply { .. } | Effect::Query { query: Query::Object { .. }, .. }));
    let open = world.send(Request::Open { object: name("a"), version: None });
    let operation = ObjectOperation::DeleteObject { object: name("a"), condition: ObjectCondition::Any };
    let operation = Operation::Object(operation);
    world.send(Request::Command { group: GroupId::REGION, session: None, operation });
    world.pass(3 * SWEEP);
    assert_eq!(world.shards(), 1, "the open may still be answered from before the deletion");
    world.release();
    // The snapshot that answered it was taken late, so it did not see the object.
    assert!(matches!(world.reply(open), Some(Reply::Refused(Refusal::NoSuchKey))));
    world.pass(2 * SWEEP);
    assert_eq!(world.shards(), 0);
}

#[test]
fn a_write_that_was_given_up_leaves_nothing() {
    for profile in [ONE, THREE] {
        let mut world = World::new(profile);
        let write = world.prepare(&text(1, STRIPE_SIZE + 3));
        assert!(world.shards() > 0);
        assert!(matches!(world.ask(Request::AbortWrite { write }), Reply::Closed));
        assert_eq!((world.shards(), world.status().writes, world.status().undecided), (0, 0, 0));
        let late = world.ask(Request::DecideWrite { write, target: target("a", ObjectCondition::Any) });
        assert!(matches!(late, Reply::Unavailable(Unavailable::UnknownHandle)));
        assert!(matches!(world.ask(Request::AbortWrite { write }), Reply::Closed), "giving up twice is no mistake");
        let mut world = world.crash();
        assert_eq!(world.shards(), 0);
        assert_eq!(world.get("a"), Err(Refusal::NoSuchKey));
    }
}

#[test]
fn shards_still_on_their_way_when_a_write_is_given_up_are_removed() {
    let holds: [fn(&Effect) -> bool; 2] = [
        |effect| matches!(effect, Effect::Compute { .. }),
        |effect| matches!(effect, Effect::Disk { user: DiskUser::Shards(_), .. }),
    ];
    for hold in holds {
        let mut world = World::new(THREE);
        let write = world.send(Request::BeginWrite);
        world.hold(hold);
        let stripe = world.send(Request::WriteStripe { write, index: 0, bytes: Bytes::from(text(1, SMALL)) });
        assert!(matches!(world.ask(Request::AbortWrite { write }), Reply::Closed));
        world.release();
        // NODE-2
        let answer = world.reply(stripe);
        assert!(matches!(answer, Some(Reply::Unavailable(Unavailable::UnknownHandle))), "{answer:?}");
        assert_eq!((world.shards(), world.status().undecided), (0, 0));
    }
}

#[test]
fn what_a_crash_leaves_undecided_goes_when_it_has_expired() {
    // SWEEP-1
    for profile in [ONE, THREE] {
        let positions = u64::from(profile.data + profile.parity);
        let mut world = World::new(profile);
        world.put("kept", &text(1, SMALL));
        world.prepare(&text(2, SMALL));
        let mut world = world.crash();
        world.pass(PREPARE_TTL / 2);
        assert_eq!(world.shards(), 2 * positions, "its preparation has not expired");
        world.pass(PREPARE_TTL);
        assert_eq!((world.shards(), world.status().undecided), (positions, 0));
        assert_eq!(world.get("kept"), Ok(text(1, SMALL)));
    }
}

#[test]
fn what_a_crash_leaves_undecided_goes_while_objects_are_opened() {
    let mut world = World::new(ONE);
    world.put("kept", &text(1, SMALL));
    world.prepare(&text(2, SMALL));
    let mut world = world.crash();
    world.hold(|effect| matches!(effect, Effect::Query { query: Query::Object { .. }, .. }));
    let open = world.send(Request::Open { object: name("kept"), version: None });
    world.pass(PREPARE_TTL + 2 * SWEEP);
    assert_eq!((world.shards(), world.status().undecided), (1, 0), "an open that is under way keeps nothing of it");
    world.release();
    assert!(matches!(world.reply(open), Some(Reply::Opened(_))));
}

#[test]
fn a_wall_clock_that_jumped_back_does_not_make_writes_expire() {
    // TIME-1
    const HOURS: i64 = 8 * 3_600_000;
    let mut world = World::new(THREE);
    world.jump(HOURS);
    world.put("ahead", &text(1, SMALL));
    world.jump(-HOURS);
    world.put("back", &text(2, SMALL));
    let mut world = world.crash();
    world.put("after a restart", &text(3, SMALL));
    // TIME-2: what is left undecided goes, long before the wall clock is where it was.
    world.prepare(&text(4, SMALL));
    let mut world = world.crash();
    world.pass(2 * PREPARE_TTL + 2 * SWEEP);
    assert_eq!((world.shards(), world.status().undecided), (9, 0));
    assert_eq!(world.get("back"), Ok(text(2, SMALL)));
}

#[test]
fn a_slow_client_keeps_its_shards_but_may_not_decide_after_their_expiry() {
    // SWEEP-2, and WRITE-3 for the refusal.
    let mut world = World::new(THREE);
    let write = world.prepare(&text(1, SMALL));
    world.pass(2 * PREPARE_TTL);
    assert_eq!(world.shards(), 3, "the process still writes it");
    let late = world.ask(Request::DecideWrite { write, target: target("a", ObjectCondition::Any) });
    assert!(matches!(late, Reply::Answer(Answer::Refused(Refusal::Expired))), "{late:?}");
    assert_eq!(world.shards(), 0);
    assert_eq!(world.get("a"), Err(Refusal::NoSuchKey));
}

#[test]
#[cfg(debug_assertions)]
fn the_planted_sweep_of_what_is_in_flight_loses_an_acknowledged_body() {
    // SWEEP-2, seen from the other side: the switch breaks what the tests above promise.
    let mut world = World::with_bug(THREE, Bug::SweepInFlight);
    let write = world.prepare(&text(1, SMALL));
    world.pass(2 * SWEEP);
    let decided = world.ask(Request::DecideWrite { write, target: target("a", ObjectCondition::Any) });
    assert!(matches!(decided, Reply::Answer(Answer::Put { .. })), "{decided:?}");
    let (open, size) = world.open("a").expect("it was decided");
    assert!(matches!(world.read(open, size), Err(Unavailable::Damaged(_))));
}

#[test]
fn a_decision_that_did_not_reach_the_log_is_void() {
    // SWEEP-1
    let mut world = World::new(ONE);
    let write = world.prepare(&text(1, SMALL));
    world.hold(|effect| matches!(effect, Effect::Disk { user: DiskUser::Log, .. }));
    let decision = world.send(Request::DecideWrite { write, target: target("a", ObjectCondition::Any) });
    let mut world = world.crash();
    assert!(world.reply(decision).is_none(), "the process died before it could answer");
    world.pass(PREPARE_TTL + 2 * SWEEP);
    assert_eq!((world.get("a"), world.shards()), (Err(Refusal::NoSuchKey), 0));
}

#[test]
fn a_decision_that_was_never_proposed_leaves_no_shards() {
    // OBJ-2
    let mut world = World::new(THREE);
    let write = world.prepare(&text(1, SMALL));
    world.hold(|effect| matches!(effect, Effect::Disk { user: DiskUser::Log, .. }));
    // What the log does not take waits for its commit, until the group takes nothing more, however small.
    for size in [INLINE_MAX, 1000, 0] {
        loop {
            let value = Bytes::from(text(1, size));
            let operation =
                Operation::Key(KeyOperation::Put { key: value.slice(..0), value, condition: KeyCondition::Any });
            let put = world.send(Request::Command { group: GroupId::REGION, session: None, operation });
            if matches!(world.reply(put), Some(Reply::Unavailable(Unavailable::Busy))) {
                break;
            }
        }
    }
    let refused = world.ask(Request::DecideWrite { write, target: target("a", ObjectCondition::Any) });
    assert!(matches!(refused, Reply::Unavailable(Unavailable::Busy)), "{refused:?}");
    assert_eq!((world.shards(), world.status().undecided), (0, 0));
}

#[test]
fn a_refused_condition_leaves_the_object_and_removes_the_shards() {
    for profile in [ONE, THREE] {
        let positions = u64::from(profile.data + profile.parity);
        let mut world = World::new(profile);
        world.put("a", &text(1, SMALL));
        for bytes in [text(2, SMALL), text(2, 5)] {
            let answer = world.put_if("a", &bytes, ObjectCondition::Absent);
            assert_eq!(answer, Answer::Refused(Refusal::ConditionFailed));
            assert_eq!((world.shards(), world.status().undecided), (positions, 0));
        }
        assert_eq!(world.get("a"), Ok(text(1, SMALL)));
    }
}

#[test]
fn a_write_that_is_not_whole_is_refused_and_removed() {
    let mut world = World::new(THREE);
    let write = world.prepare(&text(1, SMALL));
    let bytes = Bytes::from(text(1, SMALL));
    assert!(matches!(world.ask(Request::WriteStripe { write, index: 2, bytes }), Reply::StripeStored));
    let reply = world.ask(Request::DecideWrite { write, target: target("a", ObjectCondition::Any) });
    assert!(matches!(reply, Reply::Unavailable(Unavailable::Misuse(_))), "{reply:?}");
    assert_eq!((world.shards(), world.status().writes), (0, 0));
    assert_eq!(world.get("a"), Err(Refusal::NoSuchKey));
}

#[test]
fn a_handle_that_is_not_one_is_refused() {
    let mut world = World::new(ONE);
    let (write, open) = (RequestId(900), RequestId(901));
    let bytes = Bytes::from_static(b"x");
    let too_large = Bytes::from(text(1, SMALL));
    world.put("a", b"one stripe");
    let (opened, _) = world.open("a").expect("it was put");
    let unknown = [
        Request::WriteStripe { write, index: 0, bytes },
        Request::DecideWrite { write, target: target("a", ObjectCondition::Any) },
        Request::ReadStripe { open, body: 0, stripe: 0 },
    ];
    for request in unknown {
        let reply = world.ask(request);
        assert!(matches!(reply, Reply::Unavailable(Unavailable::UnknownHandle)), "{reply:?}");
    }
    let misuse = [
        Request::ReadStripe { open: opened, body: 1, stripe: 0 },
        Request::ReadStripe { open: opened, body: 0, stripe: 1 },
        Request::PutInline { target: target("b", ObjectCondition::Any), bytes: too_large },
    ];
    for request in misuse {
        let reply = world.ask(request);
        assert!(matches!(reply, Reply::Unavailable(Unavailable::Misuse(_))), "{reply:?}");
    }
    let elsewhere =
        world.ask(Request::Query { group: GroupId(7), query: Query::Reclaimable { after: None, limit: 1 } });
    assert!(matches!(elsewhere, Reply::Unavailable(Unavailable::NotLeader { leader: None })));
}
