//! The rules of joining and leaving, case by case.

use super::*;
use crate::types::LogIndex;
use alloc::vec;

fn at(time: u64) -> Moment {
    Moment { time: WallTime(time), index: LogIndex(1) }
}

fn info(name: &str, first_drive: u32, drives: u32) -> NodeInfo {
    let drive = |number| DriveInfo { drive: DriveId(number), weight: 10 };
    NodeInfo {
        name: name.to_string(),
        zone: "a".to_string(),
        address: "127.0.0.1:8000".to_string(),
        key: [u8::try_from(first_drive).expect("small"); 32],
        drives: (first_drive..first_drive + drives).map(drive).collect(),
        draining: false,
    }
}

fn founded() -> ClusterRows {
    let mut rows = ClusterRows::default();
    let found = ClusterOperation::Found { nodes: vec![(NodeId(1), info("one", 0, 2))] };
    assert_eq!(decide(&mut rows, &found, at(1)), Ok(Answer::Done));
    let token = ClusterOperation::AddToken { hash: [9; 32], expires: WallTime(100) };
    assert_eq!(decide(&mut rows, &token, at(1)), Ok(Answer::Done));
    rows
}

fn join(token: u8, node: u64, info: &NodeInfo) -> ClusterOperation {
    ClusterOperation::Join { token: [token; 32], node: NodeId(node), info: info.clone() }
}

#[test]
fn a_token_admits_one_node_and_numbers_its_drives() {
    let mut rows = founded();
    // What the joiner calls its drives does not count.
    let two = info("two", 0, 3);
    let joined = Ok(Answer::Joined { first_drive: DriveId(2) });
    assert_eq!(decide(&mut rows, &join(9, 2, &two), at(50)), joined);
    let drives: Vec<u32> = rows.topology.nodes[&NodeId(2)].drives.iter().map(|drive| drive.drive.0).collect();
    assert_eq!(drives, [2, 3, 4]);
    assert_eq!((rows.topology.epoch, rows.topology.next_drive), (2, 5));
    // CLUSTER-1
    let before = rows.clone();
    assert_eq!(decide(&mut rows, &join(9, 2, &two), at(500)), joined);
    let other_key = NodeInfo { key: [77; 32], ..two };
    assert_eq!(decide(&mut rows, &join(9, 2, &other_key), at(50)), Err(refused(TokenUsed)));
    assert_eq!(decide(&mut rows, &join(9, 3, &info("three", 0, 1)), at(50)), Err(refused(TokenUsed)));
    assert_eq!(rows, before);
}

#[test]
fn a_join_is_refused_for_what_is_wrong_with_it() {
    let rows = founded();
    let refusal_of = |operation: &ClusterOperation, time| {
        let mut after = rows.clone();
        let refusal = decide(&mut after, operation, at(time)).expect_err("it is refused");
        assert_eq!(after, rows);
        refusal
    };
    assert_eq!(refusal_of(&join(8, 2, &info("two", 0, 1)), 1), refused(TokenUnknown));
    assert_eq!(refusal_of(&join(9, 2, &info("two", 0, 1)), 101), refused(TokenExpired));
    assert_eq!(refusal_of(&join(9, 2, &info("one", 0, 1)), 1), refused(NameTaken));
    assert_eq!(refusal_of(&join(9, 1, &info("two", 0, 1)), 1), refused(NameTaken));
    assert!(matches!(refusal_of(&join(9, 2, &info("two", 0, 0)), 1), Refusal::Invalid(_)));
    assert!(matches!(refusal_of(&join(9, 2, &info("", 0, 1)), 1), Refusal::Invalid(_)));
    let weightless = NodeInfo { drives: vec![DriveInfo { drive: DriveId(0), weight: 0 }], ..info("two", 0, 1) };
    assert!(matches!(refusal_of(&join(9, 2, &weightless), 1), Refusal::Invalid(_)));
}

#[test]
fn nobody_joins_before_the_cluster_is_founded() {
    let mut rows = ClusterRows::default();
    let token = ClusterOperation::AddToken { hash: [9; 32], expires: WallTime(100) };
    assert_eq!(decide(&mut rows, &token, at(1)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &join(9, 2, &info("two", 0, 1)), at(1)), Err(refused(NotFounded)));
    assert_eq!(decide(&mut rows, &ClusterOperation::Remove { node: NodeId(2) }, at(1)), Err(refused(NotFounded)));
}

#[test]
fn a_removed_drive_number_is_not_used_again() {
    let mut rows = founded();
    assert!(decide(&mut rows, &join(9, 2, &info("two", 0, 3)), at(50)).is_ok());
    assert_eq!(decide(&mut rows, &ClusterOperation::Remove { node: NodeId(2) }, at(51)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &join(9, 2, &info("two", 0, 3)), at(52)), Err(refused(TokenUsed)));
    let token = ClusterOperation::AddToken { hash: [7; 32], expires: WallTime(100) };
    assert_eq!(decide(&mut rows, &token, at(52)), Ok(Answer::Done));
    let joined = Ok(Answer::Joined { first_drive: DriveId(5) });
    assert_eq!(decide(&mut rows, &join(7, 2, &info("two", 0, 3)), at(53)), joined);
    assert_eq!(decide(&mut rows, &ClusterOperation::Remove { node: NodeId(9) }, at(54)), Err(refused(NoSuchNode)));
}

#[test]
fn the_last_node_neither_drains_nor_leaves() {
    let mut rows = founded();
    let drain = |node, draining| ClusterOperation::SetDraining { node: NodeId(node), draining };
    assert_eq!(decide(&mut rows, &drain(1, true), at(1)), Err(refused(LastNode)));
    assert_eq!(decide(&mut rows, &ClusterOperation::Remove { node: NodeId(1) }, at(1)), Err(refused(LastNode)));
    assert!(decide(&mut rows, &join(9, 2, &info("two", 0, 1)), at(1)).is_ok());
    assert_eq!(decide(&mut rows, &drain(1, true), at(1)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &drain(2, true), at(1)), Err(refused(LastNode)));
    assert_eq!(rows.topology.epoch, 3);
    assert_eq!(decide(&mut rows, &drain(1, true), at(1)), Ok(Answer::Done));
    assert_eq!(rows.topology.epoch, 3, "nothing changed");
}

#[test]
fn a_placement_replaces_the_one_that_it_was_solved_from() {
    let mut rows = founded();
    let profile = Profile { data: 1, parity: 1 };
    let table = Bytes::from_static(b"table");
    let place = |base, topology| ClusterOperation::SetPlacement { base, topology, profile, table: table.clone() };
    assert_eq!(decide(&mut rows, &place(1, 1), at(1)), Err(refused(Stale)));
    assert_eq!(decide(&mut rows, &place(0, 2), at(1)), Err(refused(Stale)));
    assert_eq!(decide(&mut rows, &place(0, 1), at(1)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &place(0, 1), at(1)), Err(refused(Stale)));
    assert_eq!(rows.placement.as_ref().map(|placement| placement.epoch), Some(1));
}

#[test]
fn expired_tokens_make_room() {
    let mut rows = founded();
    for number in 0..u8::MAX {
        let hash = [number; 32];
        if number != 9 {
            let token = ClusterOperation::AddToken { hash, expires: WallTime(200) };
            assert_eq!(decide(&mut rows, &token, at(1)), Ok(Answer::Done));
        }
    }
    let more = |time, rows: &mut ClusterRows| {
        let mut hash = [1; 32];
        hash[0] = 2;
        decide(rows, &ClusterOperation::AddToken { hash, expires: WallTime(900) }, at(time))
    };
    rows.tokens.insert([255; 32], TokenRow { expires: WallTime(200), used: None });
    assert_eq!(more(1, &mut rows), Err(refused(Full)));
    assert_eq!(more(101, &mut rows), Ok(Answer::Done), "one had expired");
}

#[test]
fn a_member_gets_drives_with_numbers_that_nobody_had() {
    let mut rows = founded();
    let add = |node: u64, numbers: &[u32]| {
        let drives = numbers.iter().map(|number| DriveInfo { drive: DriveId(*number), weight: 7 }).collect();
        ClusterOperation::AddDrives { node: NodeId(node), drives }
    };
    assert_eq!(decide(&mut rows, &add(5, &[2]), at(1)), Err(refused(NoSuchNode)));
    assert_eq!(decide(&mut rows, &add(1, &[4, 6]), at(1)), Ok(Answer::Done));
    let drives: Vec<u32> = rows.topology.nodes[&NodeId(1)].drives.iter().map(|drive| drive.drive.0).collect();
    assert_eq!((drives, rows.topology.next_drive, rows.topology.epoch), (vec![0, 1, 4, 6], 7, 2));
    let before = rows.clone();
    // A repeat, and one that knows an older topology.
    assert_eq!(decide(&mut rows, &add(1, &[4, 6]), at(1)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &add(1, &[5]), at(1)), Err(refused(Stale)));
    assert_eq!(decide(&mut rows, &add(1, &[9, 5]), at(1)), Err(refused(Stale)));
    let too_many: Vec<u32> = (7..300).collect();
    assert!(matches!(decide(&mut rows, &add(1, &too_many), at(1)), Err(Refusal::Invalid(_))));
    assert_eq!(rows, before);
}

#[test]
fn a_drive_leaves_when_another_can_hold_what_is_new() {
    let mut rows = founded();
    let leaving = |drive, leaving| ClusterOperation::SetLeaving { drive: DriveId(drive), leaving };
    let remove = |drive, force| ClusterOperation::RemoveDrive { drive: DriveId(drive), force };
    assert_eq!(decide(&mut rows, &leaving(7, true), at(2)), Err(refused(NoSuchDrive)));
    assert_eq!(decide(&mut rows, &remove(1, false), at(2)), Err(refused(NotLeaving)));
    assert_eq!(decide(&mut rows, &leaving(1, true), at(2)), Ok(Answer::Done));
    assert_eq!((rows.topology.epoch, rows.topology.leaving.len()), (2, 1));
    // Again it changes nothing, and the first one, with the log, has to stay.
    assert_eq!(decide(&mut rows, &leaving(1, true), at(2)), Ok(Answer::Done));
    assert_eq!(rows.topology.epoch, 2);
    assert_eq!(decide(&mut rows, &leaving(0, true), at(2)), Err(refused(FirstDrive)));
    assert_eq!(decide(&mut rows, &remove(0, true), at(2)), Err(refused(FirstDrive)));
    assert_eq!(decide(&mut rows, &remove(1, false), at(2)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &remove(1, true), at(2)), Err(refused(NoSuchDrive)));
    assert_eq!((rows.topology.epoch, rows.topology.leaving.len(), rows.topology.next_drive), (3, 0, 2));
    // A drive that is lost goes at once, and what nodes that drain have does not count as a place.
    assert_eq!(
        decide(&mut rows, &join(9, 2, &info("two", 0, 2)), at(3)),
        Ok(Answer::Joined { first_drive: DriveId(2) })
    );
    let drain = |node, draining| ClusterOperation::SetDraining { node: NodeId(node), draining };
    assert_eq!(decide(&mut rows, &drain(1, true), at(3)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &leaving(3, true), at(3)), Ok(Answer::Done));
    assert_eq!(rows.topology.serving().count(), 1);
    assert_eq!(decide(&mut rows, &leaving(3, false), at(3)), Ok(Answer::Done));
    assert_eq!(decide(&mut rows, &remove(3, true), at(3)), Ok(Answer::Done));
}
