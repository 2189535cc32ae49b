//! What makes replicas identical: batches, repeats, snapshots; and what damage does.

use super::super::layout::Table;
use super::actions::some_actions;
use super::model::commands;
use super::*;
#[cfg(debug_assertions)]
use crate::planted::Bug;
use crate::types::{Membership, NodeId, SessionId};
use proptest::prelude::*;

/// A log of random commands, some of them in a session, with no-ops and one entry that does not decode.
fn a_log() -> impl Strategy<Value = Vec<Entry>> {
    (some_actions(), proptest::collection::vec(0_u8..8, 60)).prop_map(|(actions, kinds)| {
        let open = Command { time: WallTime(0), session: None, operation: Operation::OpenSession };
        let mut log = vec![
            entry(1, &open),
            noop(2),
            Entry { position: at(3), payload: Payload::Command(Bytes::from_static(b"?")) },
        ];
        let mut sequence = 0;
        for (mut command, kind) in commands(&actions).into_iter().zip(kinds) {
            if kind < 3 {
                sequence += u64::from(kind > 0);
                let stamp =
                    SessionStamp { session: SessionId(1), sequence, answered_below: sequence.saturating_sub(3) };
                command.session = Some(stamp);
            }
            let index = u64::try_from(log.len()).expect("small") + 1;
            log.push(if kind == 7 { noop(index) } else { entry(index, &command) });
        }
        log
    })
}

fn applied_rows(log: &[Entry]) -> (MemoryRows, Vec<(LogIndex, Answer)>) {
    let mut rows = MemoryRows::default();
    let answers = apply(GROUP, log, Planted::default(), &mut rows).expect("memory does not fail");
    (rows, answers)
}

proptest! {
    #[test]
    fn batches_and_repeats_make_no_difference(log in a_log(), cuts in proptest::collection::vec((0_usize..64, 0_usize..8), 0..6)) {
        let (whole, expected) = applied_rows(&log);
        let mut rows = MemoryRows::default();
        let mut answers = Vec::new();
        let mut ends: Vec<(usize, usize)> = cuts;
        ends.push((log.len(), 0));
        ends.sort_unstable();
        let mut done = 0;
        for (end, overlap) in ends {
            let end = end.min(log.len());
            // Each batch begins a little before what is applied: entries that a restart delivers again.
            let from = done.min(end).saturating_sub(overlap);
            answers.extend(apply(GROUP, &log[from..end], Planted::default(), &mut rows).expect("memory does not fail"));
            done = done.max(end);
        }
        prop_assert_eq!(&answers, &expected);
        prop_assert_eq!(&rows, &whole);
        prop_assert_eq!(applied(GROUP, &rows).map(|applied| applied.position), Ok(at(u64::try_from(log.len()).expect("small"))));
        prop_assert_eq!(apply(GROUP, &log, Planted::default(), &mut rows), Ok(vec![]));
        prop_assert_eq!(rows, whole);
    }

    #[test]
    fn a_replica_from_a_snapshot_goes_on_alike(log in a_log(), cut in 0_usize..64) {
        let (head, tail) = log.split_at(cut.min(log.len()));
        let (mut rows, _) = applied_rows(head);
        let taken = snapshot(GROUP, &rows, Planted::default()).expect("memory does not fail");
        // The receiver has rows of another history, and those of another group, which stay.
        let (mut other, _) = applied_rows(&log[..log.len() / 2]);
        let neighbour = { let mut key = GroupId::GLOBAL.0.to_be_bytes().to_vec(); key.push(9); key };
        other.0.insert(neighbour.clone(), vec![1]);
        prop_assert_eq!(install(GROUP, &taken, &mut other), Ok(()));
        prop_assert_eq!(other.0.remove(&neighbour), Some(vec![1]));
        prop_assert_eq!(&other, &rows);
        prop_assert_eq!(apply(GROUP, tail, Planted::default(), &mut other), apply(GROUP, tail, Planted::default(), &mut rows));
        prop_assert_eq!(other, rows);
    }

    #[test]
    fn groups_of_one_map_do_not_meet(log in a_log()) {
        let (mut rows, answers) = applied_rows(&log);
        let alone = rows.clone();
        prop_assert_eq!(apply(GroupId::GLOBAL, &log, Planted::default(), &mut rows), Ok(answers));
        let prefix = GROUP.0.to_be_bytes();
        rows.0.retain(|key, _| key.starts_with(&prefix));
        prop_assert_eq!(rows, alone);
    }

    #[test]
    fn arbitrary_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), good_version in any::<bool>()) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (good_version, bytes.first_mut()) {
            *first = 1;
        }
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn cut_and_changed_commands_decode_or_are_refused(actions in some_actions(), at in any::<usize>(), byte in any::<u8>()) {
        for command in commands(&actions) {
            let encoded = command.encode();
            prop_assert_eq!(Command::decode(&encoded), Ok(command));
            let at = at % encoded.len();
            prop_assert!(Command::decode(&encoded[..at]).is_err(), "a cut command decoded");
            let mut longer = encoded.to_vec();
            longer.push(byte);
            prop_assert_eq!(Command::decode(&longer), Err(DecodeError::Trailing(1)));
            let mut changed = encoded.to_vec();
            changed[at] = byte;
            let _ = Command::decode(&changed);
        }
    }
}

#[test]
fn a_claim_of_many_elements_does_not_allocate_them() {
    // `Reclaimed` with a count of 2^63 versions, and a key of 2^63 bytes.
    let mut huge = vec![1, 0, 0, 2, 9];
    huge.extend_from_slice(&[0xFF; 9]);
    huge.push(0x01);
    assert_eq!(Command::decode(&huge), Err(DecodeError::Malformed));
    let mut huge = vec![1, 0, 0, 1, 0];
    huge.extend_from_slice(&[0xFF; 9]);
    huge.push(0x01);
    assert_eq!(Command::decode(&huge), Err(DecodeError::Malformed));
    assert_eq!(Command::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(Command::decode(&[2, 0, 0, 0]), Err(DecodeError::Version(2)));
}

/// A map with a row in every table.
fn full() -> Replica {
    let mut replica = Replica::with_bucket();
    replica.run(1, Operation::OpenSession);
    let stamp = SessionStamp { session: SessionId(2), sequence: 1, answered_below: 1 };
    let operation = Operation::Key(key_put(b"key", b"value", KeyCondition::Any));
    replica.apply(&Command { time: WallTime(1), session: Some(stamp), operation });
    for operation in [
        put("a", inline(1), 1, 0),
        put("a", striped(2, 9), 2, 99),
        put("a", striped(3, 9), 3, 99),
        create_upload("b", 70),
        put_part("b", 70, 1, striped(4, 9), 4, 99),
        complete("b", 70, &[(1, 4)]),
        create_upload("c", 71),
        put_part("c", 71, 1, striped(5, 9), 5, 99),
    ] {
        assert!(!matches!(replica.object(2, operation), Answer::Refused(_)));
    }
    replica.change(&members());
    replica
}

fn members() -> Membership {
    Membership::of(&[NodeId(1), NodeId(2)])
}

#[test]
fn the_last_membership_that_was_applied_is_a_row_and_travels_in_snapshots() {
    // STATE-7
    let mut replica = Replica::with_bucket();
    assert_eq!(membership(GROUP, &replica.rows), Ok(None));
    replica.change(&Membership::of(&[NodeId(1)]));
    replica.change(&members());
    assert_eq!(membership(GROUP, &replica.rows), Ok(Some(members())));
    assert_eq!(membership(GroupId::GLOBAL, &replica.rows), Ok(None), "of another group");

    let taken = snapshot(GROUP, &replica.rows, Planted::default()).expect("memory does not fail");
    assert_eq!(taken.membership, Some(members()));
    let mut rows = MemoryRows::default();
    assert_eq!(install(GROUP, &taken, &mut rows), Ok(()));
    assert_eq!(membership(GROUP, &rows), Ok(Some(members())));
    // SNAP-1: what the sender claims and what the rows hold are one.
    for membership in [None, Some(Membership::of(&[NodeId(3)]))] {
        let lie = Snapshot { membership, ..taken.clone() };
        assert_eq!(install(GROUP, &lie, &mut rows), Err(InstallError::Malformed));
    }
    let bare = snapshot(GROUP, &Replica::with_bucket().rows, Planted::default()).expect("memory does not fail");
    let lie = Snapshot { membership: Some(members()), ..bare };
    assert_eq!(install(GROUP, &lie, &mut rows), Err(InstallError::Malformed));
}

#[cfg(debug_assertions)]
#[test]
fn the_planted_bug_forgets_who_votes() {
    let taken =
        snapshot(GROUP, &full().rows, Planted::arm(Bug::MembershipNotInSnapshot)).expect("memory does not fail");
    let mut rows = MemoryRows::default();
    assert_eq!(install(GROUP, &taken, &mut rows), Ok(()));
    assert_eq!(membership(GROUP, &rows), Ok(None));
}

#[test]
fn every_table_is_in_the_full_map() {
    let tables: alloc::collections::BTreeSet<u8> = full().rows.0.keys().map(|key| key[layout::GROUP_SIZE]).collect();
    let all = [0x00, 0x01, 0x10, 0x11, 0x12, 0x13, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36];
    assert_eq!(tables.into_iter().collect::<Vec<u8>>(), all);
}

/// Every question about the full map.
fn questions() -> Vec<Query> {
    let mut questions = vec![
        Query::Key { key: Bytes::from_static(b"key") },
        Query::Keys { prefix: Bytes::new(), start_after: Bytes::new(), limit: 9, bytes_max: usize::MAX },
        Query::Bucket { bucket: bucket("bkt"), documents: vec![] },
        Query::Buckets { tenant: TenantId::DEFAULT },
        Query::Parts { object: object("c"), upload: VersionId(71), after: 0, limit: 9 },
        Query::Uploads { bucket: bucket("bkt"), prefix: "".to_string(), limit: 9 },
        Query::Reclaimable { after: None, limit: 9 },
    ];
    questions.extend(["a", "b"].map(|key| Query::Object { object: object(key), version: None }));
    questions.extend(["", "/"].map(|delimiter| Query::List {
        bucket: bucket("bkt"),
        prefix: "".to_string(),
        delimiter: delimiter.to_string(),
        start_after: "".to_string(),
        limit: 9,
    }));
    questions
}

#[test]
fn every_changed_byte_of_a_value_is_found_when_the_row_is_read() {
    let replica = full();
    let good: Vec<QueryAnswer> = questions().iter().map(|question| replica.query(question)).collect();
    let layout = layout::Layout(GROUP);
    let asked = [Table::Keys, Table::Buckets, Table::Versions, Table::Uploads, Table::Parts, Table::Reclaim];
    for (key, value) in &replica.rows.0 {
        let is_asked = asked.iter().any(|table| layout.table_rows(*table).contains(key));
        for at in 0..value.len() {
            let mut rows = replica.rows.clone();
            let mut flipped = value.clone();
            flipped[at] ^= 1 << (at % 8);
            let damaged = RowsError::Damaged(key.clone());
            assert_eq!(codec::verify(key, &flipped), Err(damaged.clone()), "byte {at}");
            rows.0.insert(key.clone(), flipped);
            assert_eq!(snapshot(GROUP, &rows, Planted::default()), Err(damaged.clone()));
            let mut refused = false;
            for (question, good) in questions().iter().zip(&good) {
                match query(GROUP, question, &rows) {
                    Ok(answer) => assert_eq!(answer, *good, "a changed row was believed"),
                    Err(error) => {
                        assert_eq!(error, damaged);
                        refused = true;
                    }
                }
            }
            assert_eq!(refused, is_asked, "the questions read the row");
        }
    }
}

#[test]
fn a_row_under_another_key_is_damage() {
    let replica = full();
    for (key, value) in &replica.rows.0 {
        for at in 0..key.len() {
            let mut moved = key.clone();
            moved[at] ^= 1 << (at % 8);
            assert_eq!(codec::verify(&moved, value), Err(RowsError::Damaged(moved.clone())));
        }
        for size in 0..value.len() {
            assert_eq!(codec::verify(key, &value[..size]), Err(RowsError::Damaged(key.clone())));
        }
    }
}

#[test]
fn damage_in_a_row_that_a_command_needs_stops_it() {
    let replica = full();
    let layout = layout::Layout(GROUP);
    for (key, operation) in [
        (layout.meta(), delete("zz")),
        (layout.bucket(&bucket("bkt")), delete("zz")),
        (layout.version_use(VersionId(3)), put("d", striped(3, 1), 1, 99)),
        (layout.part(TenantId::DEFAULT, VersionId(70), 1), delete("b")),
        (layout.upload(&object("c"), VersionId(71)), abort("c", 71)),
    ] {
        let mut rows = replica.rows.clone();
        let value = rows.0.get_mut(&key).expect("the row is there");
        *value.last_mut().expect("it has a payload") ^= 1;
        let command = Command { time: WallTime(3), session: None, operation: Operation::Object(operation) };
        let result = apply(GROUP, &[entry(replica.next + 1, &command)], Planted::default(), &mut rows);
        assert_eq!(result, Err(RowsError::Damaged(key)));
    }
}

#[test]
fn a_damaged_snapshot_changes_nothing() {
    let replica = full();
    let taken = snapshot(GROUP, &replica.rows, Planted::default()).expect("memory does not fail");
    let mut rows = Replica::with_bucket().rows;
    let before = rows.clone();
    for at in 0..taken.rows.len() {
        let mut flipped = taken.rows.to_vec();
        flipped[at] ^= 1 << (at % 8);
        let flipped = Snapshot { rows: Bytes::from(flipped), ..taken.clone() };
        assert_eq!(install(GROUP, &flipped, &mut rows), Err(InstallError::Checksum), "byte {at}");
        let cut = Snapshot { rows: taken.rows.slice(..at), ..taken.clone() };
        assert!(install(GROUP, &cut, &mut rows).is_err(), "{at} bytes");
    }
    assert_eq!(install(GroupId::GLOBAL, &taken, &mut rows), Err(InstallError::Malformed), "another group");
    let moved = Snapshot { position: at(1), ..taken.clone() };
    assert_eq!(install(GROUP, &moved, &mut rows), Err(InstallError::Malformed), "another position");
    assert_eq!(rows, before);
    assert_eq!(install(GROUP, &taken, &mut rows), Ok(()));
    assert_eq!(rows, replica.rows);
}

/// Puts a right checksum under changed content, as a peer with a bug would.
fn resealed(mut content: Vec<u8>, position: LogPosition, membership: Option<Membership>) -> Snapshot {
    let checksum = codec::crc32c(&[&content]);
    content.extend_from_slice(&checksum.to_be_bytes());
    Snapshot { position, membership, rows: Bytes::from(content) }
}

#[test]
fn a_whole_snapshot_of_bad_rows_changes_nothing() {
    let replica = full();
    let taken = snapshot(GROUP, &replica.rows, Planted::default()).expect("memory does not fail");
    let content = &taken.rows[..taken.rows.len() - 4];
    let mut rows = MemoryRows::default();
    for at in 0..content.len() {
        let mut changed = content.to_vec();
        changed[at] ^= 1 << (at % 8);
        let result = install(GROUP, &resealed(changed, taken.position, taken.membership.clone()), &mut rows);
        assert!(result.is_err(), "byte {at} of a row was believed");
        let _ = install(GROUP, &resealed(content[..at].to_vec(), taken.position, None), &mut MemoryRows::default());
    }
    assert_eq!(rows, MemoryRows::default());
    assert_eq!(
        install(GROUP, &resealed(content.to_vec(), taken.position, taken.membership.clone()), &mut rows),
        Ok(())
    );
}

#[test]
fn an_empty_group_has_a_snapshot() {
    let taken = snapshot(GROUP, &MemoryRows::default(), Planted::default()).expect("memory does not fail");
    assert_eq!(taken.position, LogPosition::default());
    let mut rows = full().rows;
    assert_eq!(install(GROUP, &taken, &mut rows), Ok(()));
    assert_eq!(rows, MemoryRows::default());
}

#[cfg(debug_assertions)]
#[test]
fn the_planted_bug_makes_a_command_happen_twice() {
    let replica = full();
    let stamp = SessionStamp { session: SessionId(2), sequence: 1, answered_below: 1 };
    let operation = Operation::Key(key_put(b"key", b"value", KeyCondition::Any));
    let repeat = entry(replica.next + 1, &Command { time: WallTime(1), session: Some(stamp), operation });
    let index = LogIndex(replica.next + 1);
    for (planted, expected) in [
        (Planted::default(), Answer::Key { revision: 3 }),
        (Planted::arm(Bug::SessionsNotInSnapshot), Answer::SessionExpired),
    ] {
        let taken = snapshot(GROUP, &replica.rows, planted).expect("memory does not fail");
        let mut rows = MemoryRows::default();
        assert_eq!(install(GROUP, &taken, &mut rows), Ok(()));
        assert_eq!(
            apply(GROUP, core::slice::from_ref(&repeat), Planted::default(), &mut rows),
            Ok(vec![(index, expected)])
        );
    }
}

#[test]
fn replicated_time_never_goes_back() {
    let mut replica = Replica::with_bucket();
    replica.object(500, put("a", inline(1), 1, 0));
    replica.object(100, put("b", inline(2), 1, 0));
    match replica.query(&Query::Object { object: object("b"), version: None }) {
        QueryAnswer::Object(object) => assert_eq!(object.modified, WallTime(500)),
        other => panic!("{other:?}"),
    }
}

#[test]
#[should_panic(expected = "does not follow")]
fn a_gap_in_the_log_is_a_bug_of_the_caller() {
    let _ = apply(GROUP, &[noop(1), noop(3)], Planted::default(), &mut MemoryRows::default());
}
