//! Tables of the rules, on typed rows alone: no map is in sight.

use super::super::objects::rows::*;
use super::super::objects::{bucket as buckets, delete as deletes, multipart, put as puts, retire};
use super::decide_upload::{part, upload_row};
use super::*;
use alloc::boxed::Box;

pub(super) fn current(version: u128, body: Body, tag: u8) -> Current {
    let row = VersionRow {
        version: VersionId(version),
        decided: LogIndex(3),
        size: body.size,
        etag: etag(tag),
        modified: WallTime(1),
        metadata: Metadata::default(),
        content: Content::Single { body, expires: WallTime(50) },
        is_null: true,
        attributes: Attributes::default(),
    };
    Current { row, parts: vec![] }
}

fn a_bucket() -> Option<BucketRow> {
    Some(BucketRow::new(WallTime(1)))
}

/// The rows of a key in a bucket that never kept versions.
pub(super) fn key_rows(current: Option<Current>) -> KeyRows {
    KeyRows { bucket: a_bucket(), current, null: None }
}

#[test]
fn bucket_names_follow_the_rules_of_s3() {
    let longest = "a".repeat(63);
    for good in ["abc", "a-b", "a.b", "1.2.3", "1.2.3.x", "a--b", "0ab", longest.as_str(), "kvs", "statuses"] {
        assert_eq!(check_bucket_name(good), Ok(()), "{good}");
    }
    let too_long = "a".repeat(64);
    let bad = [
        "",
        "ab",
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "192.168.5.4",
        "xn--abc",
        "sthree-abc",
        "amzn-s3-demo-x",
        "abc-s3alias",
        "abc--ol-s3",
        "abc.mrap",
        "abc--x-s3",
        "status",
        "join",
        "remove",
        "käse",
        "a b",
        "a/b",
        "a\0b",
        too_long.as_str(),
    ];
    for name in bad {
        assert!(matches!(check_bucket_name(name), Err(Refusal::Invalid(_))), "{name}");
    }
}

#[test]
fn object_keys_have_1_to_1024_bytes() {
    for good in ["a", "a/b", "\0", &"ä".repeat(512)] {
        assert_eq!(check_object_key(good), Ok(()));
    }
    for bad in ["", &"a".repeat(1025), &"ä".repeat(513)] {
        assert!(matches!(check_object_key(bad), Err(Refusal::Invalid(_))));
    }
}

#[test]
fn buckets_are_created_once_and_deleted_when_empty() {
    let name = bucket("bkt");
    let options = BucketOptions { acl: Acl::private(""), ..BucketOptions::default() };
    let made = buckets::decide_create(None, &name, &options, moment(9, 4)).expect("it is new");
    assert_eq!(made.rows, [Change::PutBucket(name.clone(), Box::new(BucketRow::new(WallTime(9))))]);
    let create = |row, name: &BucketName, owner: &str| {
        let acl = Acl::private(owner);
        buckets::decide_create(row, name, &BucketOptions { acl, ..BucketOptions::default() }, moment(9, 4))
    };
    assert_eq!(create(a_bucket(), &name, ""), Err(Refusal::BucketExists));
    assert_eq!(create(a_bucket(), &name, "other"), Err(Refusal::BucketTaken));
    assert!(matches!(create(None, &bucket("x"), ""), Err(Refusal::Invalid(_))));

    for (row, has_objects, has_uploads, expected) in [
        (None, false, false, Some(Refusal::NoSuchBucket)),
        (a_bucket(), true, false, Some(Refusal::BucketNotEmpty)),
        (a_bucket(), false, true, Some(Refusal::BucketNotEmpty)),
        (a_bucket(), false, false, None),
    ] {
        let rows = buckets::DeleteRows { bucket: row, has_objects, has_uploads };
        let decided = buckets::decide_delete(&rows, &name);
        match expected {
            Some(refusal) => assert_eq!(decided, Err(refusal)),
            None => assert_eq!(decided.expect("it is empty").rows, [Change::RemoveBucket(name.clone())]),
        }
    }
}

#[test]
fn conditions_are_checked_against_the_current_version() {
    use ObjectCondition::{Absent, Any, Match, NoneMatch, Present};
    for (has, condition, holds) in [
        (None, Any, true),
        (None, Absent, true),
        (None, Present, false),
        (None, Match(etag(1)), false),
        (None, NoneMatch(etag(1)), true),
        (Some(1), Any, true),
        (Some(1), Absent, false),
        (Some(1), Present, true),
        (Some(1), Match(etag(1)), true),
        (Some(1), Match(etag(2)), false),
        (Some(1), Match(ETag { md5: md5(1), parts: 1 }), false),
        (Some(1), NoneMatch(etag(1)), false),
        (Some(1), NoneMatch(etag(2)), true),
    ] {
        let expected = if holds { Ok(()) } else { Err(Refusal::ConditionFailed) };
        let current = has.map(|tag| current(7, striped(7, 1), tag));
        let name = object("k");
        let put = puts::Put {
            object: &name,
            body: &striped(8, 1),
            etag: etag(3),
            metadata: &Metadata::default(),
            attributes: &Attributes::default(),
            condition,
            expires: WallTime(99),
        };
        let rows = key_rows(current);
        // What a write hears that wants an object where there is none.
        let expected = match has {
            None => expected.map_err(|_| Refusal::NoSuchKey),
            Some(_) => expected,
        };
        assert_eq!(deletes::decide_unversioned(&rows, &name, condition, moment(9, 4)).map(drop), expected, "delete");
        let put_rows = puts::PutRows { key: rows.clone(), used: None };
        assert_eq!(puts::decide(&put_rows, &put, moment(9, 4)).map(drop), expected, "put {has:?} {condition:?}");
        let rows = multipart::CompleteRows {
            upload: Some(upload_row(Metadata::default())),
            key: rows,
            made: None,
            parts: vec![(1, part(5, 1, 6))],
        };
        let complete = multipart::Complete {
            object: &name,
            upload: VersionId(4),
            parts: &[(1, etag(6))],
            metadata: &Metadata::default(),
            condition,
        };
        assert_eq!(multipart::decide_complete(&rows, &complete, moment(9, 4)).map(drop), expected, "complete");
    }
}

/// A put of version 8 at time 60, index 4.
fn put_8(body: &Body, used: Option<VersionUse>, current: Option<Current>, expires: u64) -> Result<Changes, Refusal> {
    let put = puts::Put {
        object: &object("k"),
        body,
        etag: etag(3),
        metadata: &Metadata::default(),
        attributes: &Attributes::default(),
        condition: ObjectCondition::Any,
        expires: WallTime(expires),
    };
    puts::decide(&puts::PutRows { key: key_rows(current), used }, &put, moment(60, 4))
}

#[test]
fn a_put_writes_its_version_and_owes_the_replaced_shards_to_the_queue() {
    let changes = put_8(&striped(8, 5), None, Some(current(7, striped(7, 1), 1)), 60).expect("it is in time");
    assert_eq!(changes.answer, Answer::Put { etag: etag(3), version: VersionId(8) });
    let place = QueuePlace { retired: LogIndex(4), ordinal: 0 };
    let drives = vec![DriveId(0), DriveId(1), DriveId(2)];
    let row = VersionRow {
        version: VersionId(8),
        decided: LogIndex(4),
        size: 5,
        etag: etag(3),
        modified: WallTime(60),
        metadata: Metadata::default(),
        content: Content::Single { body: striped(8, 5), expires: WallTime(60) },
        is_null: true,
        attributes: Attributes::default(),
    };
    assert_eq!(
        changes.rows,
        [
            Change::RemoveVersion(object("k"), LogIndex(3)),
            Change::PutReclaim(place, ReclaimRow { version: VersionId(7), drives }),
            Change::PutUse(VersionId(7), VersionUse::Reclaimable { place, expires: WallTime(50) }),
            Change::PutVersion(object("k"), Box::new(row)),
            Change::PutUse(VersionId(8), VersionUse::Object(object("k"))),
        ]
    );
}

#[test]
fn an_inline_body_is_remembered_but_never_queued() {
    let changes = put_8(&inline(8), None, Some(current(7, inline(7), 1)), 0).expect("inline bodies do not expire");
    let until = WallTime(60).after(retire::MEMORY);
    let until_index = LogIndex(4 + retire::MEMORY_ENTRIES);
    assert_eq!(changes.rows[1], Change::PutPast(until, VersionId(7), PastRow { until_index }));
    assert_eq!(changes.rows[2], Change::PutUse(VersionId(7), VersionUse::Past { until }));
    assert!(!changes.rows.iter().any(|change| matches!(change, Change::PutReclaim(..))));
}

#[test]
fn a_striped_put_expires_strictly_after_its_time() {
    assert_eq!(put_8(&striped(8, 1), None, None, 59), Err(Refusal::Expired));
    assert!(put_8(&striped(8, 1), None, None, 60).is_ok());
    assert!(put_8(&inline(8), None, None, 0).is_ok());
}

#[test]
fn a_version_that_is_known_is_not_decided_again() {
    let place = QueuePlace { retired: LogIndex(3), ordinal: 0 };
    let repeat = Answer::Put { etag: etag(3), version: VersionId(8) };
    for used in [
        VersionUse::Object(object("k")),
        VersionUse::Reclaimable { place, expires: WallTime(0) },
        VersionUse::Past { until: WallTime(0) },
    ] {
        // Also when it would be refused as expired: it was in time when it was decided.
        let changes = put_8(&striped(8, 1), Some(used), Some(current(7, striped(7, 1), 1)), 0).expect("a repeat");
        assert_eq!((changes.rows, changes.answer), (vec![], repeat.clone()));
    }
    for used in [
        VersionUse::Object(object("other")),
        VersionUse::Upload(object("k")),
        VersionUse::Part { upload: VersionId(1), number: 1 },
    ] {
        assert!(matches!(put_8(&striped(8, 1), Some(used), None, 99), Err(Refusal::Invalid(_))));
    }
}

#[test]
fn what_a_row_cannot_hold_is_invalid() {
    let long = |size: usize| Some("x".repeat(size));
    let user = |size: usize| Metadata { user: texts(&[("n", &"x".repeat(size))]), ..Metadata::default() };
    let wrong_count = Place::Striped { profile: Profile { data: 2, parity: 1 }, drives: vec![DriveId(0); 2] };
    let no_data = Place::Striped { profile: Profile { data: 0, parity: 1 }, drives: vec![DriveId(0)] };
    let large = Place::Inline(Bytes::from(vec![0; 17 << 10]));
    let cases: [(Metadata, Body, bool); 9] = [
        (user(2047), striped(8, 1), true),
        (user(2048), striped(8, 1), false),
        (Metadata { content_type: long(8 << 10), ..Metadata::default() }, striped(8, 1), true),
        (Metadata { content_type: long(1 + (8 << 10)), ..Metadata::default() }, striped(8, 1), false),
        (Metadata::default(), Body { place: wrong_count, ..striped(8, 1) }, false),
        (Metadata::default(), Body { place: no_data, ..striped(8, 1) }, false),
        (Metadata::default(), Body { place: large, ..inline(8) }, false),
        (Metadata::default(), Body { size: 17 << 10, ..inline(8) }, false),
        (Metadata::default(), Body { key: WrappedKey(vec![0; 257]), ..inline(8) }, false),
    ];
    for (at, (metadata, body, good)) in cases.into_iter().enumerate() {
        let name = object("k");
        let put = puts::Put {
            object: &name,
            body: &body,
            etag: etag(3),
            metadata: &metadata,
            attributes: &Attributes::default(),
            condition: ObjectCondition::Any,
            expires: WallTime(99),
        };
        let rows = puts::PutRows { key: key_rows(None), used: None };
        let decided = puts::decide(&rows, &put, moment(9, 4));
        assert_eq!(decided.is_ok(), good, "case {at}");
        assert!(good || matches!(decided, Err(Refusal::Invalid(_))), "case {at}");
    }
}

#[test]
fn a_void_version_is_never_put() {
    let void = VersionUse::Void { until: WallTime(99) };
    assert_eq!(put_8(&striped(8, 1), Some(void), None, 99), Err(Refusal::Expired));
}

#[test]
fn past_versions_are_forgotten_by_time_and_by_index() {
    let row = |index| PastRow { until_index: LogIndex(index) };
    let forgotten = |oldest: &[(WallTime, VersionId, PastRow)]| retire::forget(oldest, moment(60, 40)).rows.len() / 2;
    let v = VersionId;
    assert_eq!(forgotten(&[]), 0);
    assert_eq!(forgotten(&[(WallTime(59), v(1), row(39)), (WallTime(59), v(2), row(0))]), 2);
    assert_eq!(forgotten(&[(WallTime(60), v(1), row(39))]), 0);
    assert_eq!(forgotten(&[(WallTime(59), v(1), row(40)), (WallTime(59), v(2), row(0))]), 0);
}

#[test]
fn user_keys_compare_and_set() {
    use KeyCondition::{Absent, Any, Present, Revision};
    let row = keys::KeyRow { value: Bytes::from_static(b"old"), revision: 5, created: 2 };
    let conflict = |revision| Some(Refusal::Conflict { revision });
    for (has, condition, put, delete) in [
        (false, Any, None, Some(Refusal::NotFound)),
        (false, Absent, None, Some(Refusal::NotFound)),
        (false, Present, conflict(0), Some(Refusal::NotFound)),
        (false, Revision(5), conflict(0), Some(Refusal::NotFound)),
        (false, Revision(0), None, Some(Refusal::NotFound)),
        (true, Any, None, None),
        (true, Absent, conflict(5), conflict(5)),
        (true, Present, None, None),
        (true, Revision(5), None, None),
        (true, Revision(2), conflict(5), conflict(5)),
    ] {
        let row = has.then_some(&row);
        let decided = keys::decide(row, &key_put(b"k", b"new", condition), moment(1, 9));
        match put {
            Some(refusal) => assert_eq!(decided, Err(refusal)),
            None => {
                let created = if has { 2 } else { 9 };
                let expected = keys::KeyRow { value: Bytes::from_static(b"new"), revision: 9, created };
                let change = keys::KeyChange { row: Some(expected), answer: Answer::Key { revision: 9 } };
                assert_eq!(decided, Ok(change), "{condition:?}");
            }
        }
        let decided =
            keys::decide(row, &KeyOperation::Delete { key: Bytes::from_static(b"k"), condition }, moment(1, 9));
        match delete {
            Some(refusal) => assert_eq!(decided, Err(refusal)),
            None => assert_eq!(decided, Ok(keys::KeyChange { row: None, answer: Answer::Key { revision: 9 } })),
        }
    }
}

#[test]
fn user_keys_and_values_have_a_size() {
    for (key, value, good) in
        [(1, 0, true), (1024, 1 << 20, true), (0, 1, false), (1025, 1, false), (1, 1 + (1 << 20), false)]
    {
        let operation = key_put(&vec![1; key], &vec![2; value], KeyCondition::Any);
        let decided = keys::decide(None, &operation, moment(1, 9));
        assert_eq!(decided.is_ok(), good, "{key} {value}");
        assert!(good || matches!(decided, Err(Refusal::Invalid(_))));
    }
}
