//! Requests of an operator, answered by one node: its learners come and go, and a restart remembers them. What several
//! replicas do about it is tested beside `raft` and in the simulator.

use super::world::{ONE, World};
use crate::disk::DiskError;
use crate::node::peer::{ShardOrder, ShardOutcome, ShardTicket};
use crate::node::{DiskUser, Effect, Reply, Request, Unavailable};
use crate::raft::{Change, ChangeRefusal};
use crate::shards::ShardKey;
use crate::types::{DriveId, GroupId, NodeId, VersionId, WallTime};
use alloc::vec;
use bytes::Bytes;

const GROUP: GroupId = GroupId::REGION;

fn change(world: &mut World, change: Change) -> Reply {
    world.ask(Request::ChangeMembership { group: GROUP, change })
}

fn is_refused(reply: &Reply, why: ChangeRefusal) -> bool {
    matches!(reply, Reply::Unavailable(Unavailable::Change(found)) if *found == why)
}

fn learners(world: &World) -> vec::Vec<NodeId> {
    let status = world.status();
    let group = status.groups.into_iter().find(|of| of.group == GROUP).expect("the node has the group");
    assert_eq!((group.voters, group.outgoing), (vec![NodeId(1)], vec![]));
    assert_eq!(group.matched.iter().map(|(node, _)| *node).collect::<vec::Vec<_>>(), group.learners);
    group.learners
}

#[test]
fn a_learner_is_added_shown_remembered_and_removed() {
    let mut world = World::new(ONE);
    assert!(matches!(change(&mut world, Change::AddLearner(NodeId(2))), Reply::Changed));
    assert_eq!(learners(&world), [NodeId(2)]);
    let mut world = world.crash();
    assert_eq!(learners(&world), [NodeId(2)], "the log remembers");
    world.pass(super::SWEEP * 721);
    let mut world = world.crash();
    assert_eq!(learners(&world), [NodeId(2)], "so does the state store");
    assert!(matches!(change(&mut world, Change::RemoveLearner(NodeId(2))), Reply::Changed));
    assert_eq!(learners(&world), []);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let mut world = World::new(ONE);
    let voters = |nodes: &[u64]| Change::SetVoters(nodes.iter().copied().map(NodeId).collect());
    for (wanted, why) in [
        (voters(&[]), ChangeRefusal::NoVoters),
        (voters(&[1]), ChangeRefusal::Unchanged),
        (voters(&[1, 2]), ChangeRefusal::NotCaughtUp { node: NodeId(2) }),
        (Change::RemoveLearner(NodeId(1)), ChangeRefusal::Unchanged),
        (Change::AddLearner(NodeId(1)), ChangeRefusal::Unchanged),
    ] {
        let reply = change(&mut world, wanted.clone());
        assert!(is_refused(&reply, why), "{wanted:?} was answered {reply:?}");
    }
    let mut transfer = |group, to| world.ask(Request::TransferLeader { group, to: NodeId(to) });
    assert!(is_refused(&transfer(GROUP, 1), ChangeRefusal::Unchanged));
    assert!(is_refused(&transfer(GROUP, 2), ChangeRefusal::NotVoter { node: NodeId(2) }));
    let elsewhere = transfer(GroupId(7), 1);
    assert!(matches!(elsewhere, Reply::Unavailable(Unavailable::NotLeader { leader: None })));
}

#[test]
fn what_peers_send_faster_than_a_drive_stores_is_refused() {
    // REMOTE-3
    let mut world = World::new(ONE);
    let put = |number: u64| ShardOrder::Put {
        ticket: ShardTicket { life: 1, number },
        drive: DriveId(0),
        key: ShardKey { version: VersionId(u128::from(number)), stripe: 0, position: 0 },
        expires: WallTime(u64::MAX),
        record: Bytes::from(vec![0; 20 << 10]),
    };
    world.hold(|effect| matches!(effect, Effect::Disk { user: DiskUser::Shards(_), .. }));
    (0..5).for_each(|number| world.order(put(number)));
    assert_eq!(world.outcomes, vec![ShardOutcome::Refused(DiskError::Unreachable); 2], "64 KiB hold three of them");
    world.release();
    assert_eq!(world.outcomes[2..], vec![ShardOutcome::Done; 3]);
    world.order(put(9));
    assert_eq!(world.outcomes[5..], vec![ShardOutcome::Done; 1], "there is room again");
}
