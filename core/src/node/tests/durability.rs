//! What the log and the state store promise together, and what a restart finds.

use super::world::{ONE, PREPARE_TTL, SWEEP, THREE, World, text};
use crate::node::{BootError, Effect, Reply, Request};
use crate::raft::Change;
use crate::state::{Answer, KeyCondition, KeyOperation, Operation, Query, QueryAnswer};
use crate::stripe::{INLINE_MAX, STRIPE_SIZE};
use crate::types::{GroupId, NodeId};
use alloc::collections::BTreeMap;
use alloc::format;
use bytes::Bytes;
use core::time::Duration;

fn put_key(world: &mut World, key: u32, value: usize) {
    let (key, value) = (Bytes::from(format!("key {key:04}")), Bytes::from(text(key as u8, value)));
    let answer = world.command(Operation::Key(KeyOperation::Put { key, value, condition: KeyCondition::Any }));
    assert!(matches!(answer, Answer::Key { .. }), "{answer:?}");
}

#[test]
fn a_checkpoint_cuts_the_log_and_no_restart_needs_what_was_cut() {
    // NODE-1
    let mut world = World::new(ONE);
    let mut segments_max = 0;
    for key in 0..600 {
        put_key(&mut world, key, 20_000);
        segments_max = segments_max.max(world.log_segments().len());
    }
    // 12 MB of commands in segments of 256 KiB: without a cut there would be more than 45.
    assert!(segments_max < 30, "{segments_max} segments at a time");
    assert!(!world.log_segments().contains(&1), "the first segment is long gone");
    let status = world.status();
    let region = status.groups.iter().find(|group| group.group == GroupId::REGION).expect("the node has it");
    assert!(region.checkpointed.0 > 500 && region.checkpointed < region.applied, "{region:?}");

    let mut world = world.crash();
    for key in 0..600u32 {
        let query = Query::Key { key: Bytes::from(format!("key {key:04}")) };
        let reply = world.ask(Request::Query { group: GroupId::REGION, query });
        let Reply::Queried(QueryAnswer::Key(Some(found))) = reply else { panic!("key {key}: {reply:?}") };
        assert_eq!(found.value, text(key as u8, 20_000), "key {key}");
    }
}

#[test]
fn a_checkpoint_comes_with_time_as_well() {
    let mut world = World::new(ONE);
    put_key(&mut world, 1, 10);
    world.pass(Duration::from_secs(3601));
    for group in world.status().groups {
        assert_eq!(group.checkpointed, group.applied);
    }
}

#[test]
fn what_is_applied_while_a_checkpoint_is_ordered_waits_for_the_next_one() {
    let mut world = World::new(ONE);
    world.hold(|effect| matches!(effect, Effect::Apply { .. }));
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    let operation = Operation::Key(KeyOperation::Put { key, value, condition: KeyCondition::Any });
    world.send(Request::Command { group: GroupId::REGION, session: None, operation });
    world.pass(Duration::from_secs(3601));
    world.release();
    let is_durable = |world: &World| world.status().groups.iter().all(|group| group.checkpointed == group.applied);
    assert!(!is_durable(&world));
    world.pass(Duration::from_secs(3601));
    assert!(is_durable(&world));
}

#[test]
fn a_state_store_older_than_the_log_is_not_started_on() {
    // NODE-1
    let mut world = World::new(ONE);
    for key in 0..600 {
        put_key(&mut world, key, 20_000);
    }
    world.lose_rows();
    let refused = world.try_crash().err();
    assert!(matches!(refused, Some(BootError::StateBehindLog { .. })), "{refused:?}");
}

#[test]
fn a_log_older_than_the_state_store_is_not_started_on() {
    // NODE-4
    for (is_lost, voters) in [(true, 1), (false, 1), (true, 3)] {
        let mut world = World::new(ONE);
        let log = if is_lost { BTreeMap::new() } else { world.log() };
        put_key(&mut world, 1, 10);
        world.pass(Duration::from_secs(3601));
        world.replace_log(log);
        if voters > 1 {
            world.expect_voters(&[1, 2, 3]);
        }
        let refused = world.try_crash().err();
        assert!(matches!(refused, Some(BootError::LogBehindState { .. })), "{voters} voters: {refused:?}");
    }
}

#[test]
fn only_a_replica_that_needs_others_may_be_ahead_of_its_log() {
    // NODE-4, by the membership that was applied, and before any by the first one.
    let learner = Change::AddLearner(NodeId(2));
    for (changed, voters, starts) in
        [(None, &[1, 2, 3][..], true), (None, &[], true), (None, &[1], false), (Some(learner), &[1, 2, 3], false)]
    {
        let mut world = World::new(ONE);
        let log = world.log();
        if let Some(change) = changed.clone() {
            let changed = world.ask(Request::ChangeMembership { group: GroupId::REGION, change });
            assert!(matches!(changed, Reply::Changed), "{changed:?}");
        }
        put_key(&mut world, 1, 10);
        world.pass(Duration::from_secs(3601));
        world.replace_log(log);
        world.expect_voters(voters);
        let started = world.try_crash();
        let fits = match started.as_ref().err() {
            None => starts,
            Some(BootError::LogBehindState { .. }) => !starts,
            Some(BootError::StateBehindLog { .. } | BootError::LogLost { .. }) => false,
        };
        assert!(fits, "{changed:?}, {voters:?}: {:?}", started.err());
    }
}

#[test]
fn a_restart_finds_everything_that_was_acknowledged() {
    for profile in [ONE, THREE] {
        let mut world = World::new(profile);
        let sizes = [0, 3, INLINE_MAX, INLINE_MAX + 1, STRIPE_SIZE + 1];
        for round in 0..3u8 {
            for (at, size) in sizes.into_iter().enumerate() {
                world.put(&format!("{at}"), &text(round + at as u8, size));
            }
            world.put(&format!("round {round}"), &text(round, INLINE_MAX + 1));
            world = world.crash();
            for (at, size) in sizes.into_iter().enumerate() {
                let bytes = world.get(&format!("{at}"));
                assert_eq!(bytes, Ok(text(round + at as u8, size)), "round {round}, {profile:?}");
            }
            for earlier in 0..=round {
                assert_eq!(world.get(&format!("round {earlier}")), Ok(text(earlier, INLINE_MAX + 1)));
            }
        }
        // The bodies that were replaced go, those of the last round stay.
        world.pass(PREPARE_TTL + 2 * SWEEP);
        let stripes = 1 + 2 + 3;
        assert_eq!(world.shards(), stripes * u64::from(profile.data + profile.parity));
        assert_eq!(world.status().undecided, 0);
    }
}
