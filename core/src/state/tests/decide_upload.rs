//! Tables of the rules of uploads, of fates and of reclaimed bodies, on typed rows alone.

use super::super::objects::rows::*;
use super::super::objects::{multipart, resolve as resolves, retire};
use super::decide::{current, key_rows};
use super::*;
use alloc::boxed::Box;
use alloc::string::String;

pub(super) fn part(version: u128, size: u64, tag: u8) -> PartRow {
    PartRow {
        body: striped(version, size),
        etag: md5(tag),
        modified: WallTime(1),
        expires: WallTime(50),
        checksums: BTreeMap::new(),
    }
}

pub(super) fn upload_row(metadata: Metadata) -> UploadRow {
    UploadRow { created: WallTime(1), metadata, attributes: Attributes::default() }
}

/// Completes upload 4, which has parts 1 (5 MiB, tag 1), 2 (5 MiB, tag 2), 3 (1 byte, tag 3), with `listed`.
fn complete_4(listed: &[(u16, ETag)], open: bool, current: Option<Current>) -> Result<Changes, Refusal> {
    let parts = vec![(1, part(11, 5 << 20, 1)), (2, part(12, 5 << 20, 2)), (3, part(13, 1, 3))];
    let begin = Metadata {
        content_type: Some(String::from("begin")),
        content_language: Some(String::from("begin")),
        user: texts(&[("a", "begin"), ("b", "begin")]),
        ..Metadata::default()
    };
    let upload = open.then_some(upload_row(begin));
    let end = Metadata {
        content_type: Some(String::from("end")),
        user: texts(&[("b", "end")]),
        checksums: texts(&[("crc32", "x")]),
        ..Metadata::default()
    };
    let complete = multipart::Complete {
        object: &object("k"),
        upload: VersionId(4),
        parts: listed,
        metadata: &end,
        condition: ObjectCondition::Any,
    };
    let made = current.clone().map(|made| (made, VersionUse::Object(object("k"))));
    let rows = multipart::CompleteRows { upload, key: key_rows(current), made, parts };
    multipart::decide_complete(&rows, &complete, moment(60, 9))
}

#[test]
fn a_completion_checks_its_list() {
    let tagged = |tag, parts| ETag { md5: md5(tag), parts };
    let invalid = || Refusal::Invalid(String::new());
    let cases: [(&[(u16, ETag)], bool, Option<Refusal>); 13] = [
        (&[(1, etag(1)), (2, etag(2)), (3, etag(3))], true, None),
        (&[(1, etag(1)), (3, etag(3))], true, None),
        (&[(3, etag(3))], true, None),
        (&[], true, Some(invalid())),
        (&[(0, etag(1))], true, Some(invalid())),
        (&[(10_001, etag(1))], true, Some(invalid())),
        (&[(2, etag(2)), (1, etag(1))], true, Some(Refusal::InvalidPartOrder)),
        (&[(1, etag(1)), (1, etag(1))], true, Some(Refusal::InvalidPartOrder)),
        (&[(1, etag(1)), (4, etag(4))], true, Some(Refusal::InvalidPart(4))),
        (&[(1, etag(2))], true, Some(Refusal::InvalidPart(1))),
        (&[(1, tagged(1, 1))], true, Some(Refusal::InvalidPart(1))),
        (&[(1, etag(1))], false, Some(Refusal::NoSuchUpload)),
        (&[], false, Some(invalid())),
    ];
    for (listed, open, expected) in cases {
        match (complete_4(listed, open, None), expected) {
            (Ok(_), None) | (Err(Refusal::Invalid(_)), Some(Refusal::Invalid(_))) => {}
            (Err(refusal), Some(expected)) => assert_eq!(refusal, expected, "{listed:?}"),
            (other, expected) => panic!("{listed:?}: {other:?}, not {expected:?}"),
        }
    }
}

#[test]
fn every_part_but_the_last_has_5_mib() {
    for (sizes, expected) in [
        (vec![5 << 20, 1], None),
        (vec![1], None),
        (vec![(5 << 20) - 1, 5 << 20], Some(Refusal::PartTooSmall(1))),
        (vec![5 << 20, 1, 1], Some(Refusal::PartTooSmall(2))),
    ] {
        let parts: Vec<(u16, PartRow)> =
            (1..).zip(&sizes).map(|(number, size)| (number, part(u128::from(number), *size, 1))).collect();
        let listed: Vec<(u16, ETag)> = parts.iter().map(|(number, _)| (*number, etag(1))).collect();
        let upload = Some(upload_row(Metadata::default()));
        let rows = multipart::CompleteRows { upload, key: key_rows(None), made: None, parts };
        let complete = multipart::Complete {
            object: &object("k"),
            upload: VersionId(4),
            parts: &listed,
            metadata: &Metadata::default(),
            condition: ObjectCondition::Any,
        };
        assert_eq!(multipart::decide_complete(&rows, &complete, moment(60, 9)).err(), expected, "{sizes:?}");
    }
}

#[test]
fn a_completion_moves_no_part_and_owes_unlisted_ones_to_the_queue() {
    let changes = complete_4(&[(1, etag(1)), (3, etag(3))], true, None).expect("the list is right");
    let place = QueuePlace { retired: LogIndex(9), ordinal: 0 };
    let drives = vec![DriveId(0), DriveId(1), DriveId(2)];
    // md5(01 sixteen times, then 03 sixteen times), computed with md5sum.
    let md5 = Md5(0xf0bc_f233_bc7a_1938_a185_71a4_3cb5_c60f_u128.to_be_bytes());
    let row = VersionRow {
        version: VersionId(4),
        decided: LogIndex(9),
        size: (5 << 20) + 1,
        etag: ETag { md5, parts: 2 },
        modified: WallTime(60),
        metadata: Metadata {
            content_type: Some(String::from("end")),
            content_language: Some(String::from("begin")),
            user: texts(&[("a", "begin"), ("b", "end")]),
            checksums: texts(&[("crc32", "x")]),
            ..Metadata::default()
        },
        content: Content::Parts { count: 2 },
        is_null: true,
        attributes: Attributes::default(),
    };
    assert_eq!(
        changes.rows,
        [
            Change::RemovePart(TenantId::DEFAULT, VersionId(4), 2),
            Change::PutReclaim(place, ReclaimRow { version: VersionId(12), drives }),
            Change::PutUse(VersionId(12), VersionUse::Reclaimable { place, expires: WallTime(50) }),
            Change::RemoveUpload(object("k"), VersionId(4)),
            Change::PutVersion(object("k"), Box::new(row)),
            Change::PutUse(VersionId(4), VersionUse::Object(object("k"))),
        ]
    );
}

#[test]
fn a_completion_is_repeated_only_with_the_same_parts() {
    let listed = [(1, etag(1)), (3, etag(3))];
    let first = complete_4(&listed, true, None).expect("the list is right");
    let mut made = current(4, striped(4, 1), 0);
    made.row.content = Content::Parts { count: 2 };
    made.parts = vec![(1, part(11, 5 << 20, 1)), (3, part(13, 1, 3))];
    let repeat = complete_4(&listed, false, Some(made.clone())).expect("it is the current one");
    assert_eq!((repeat.rows, repeat.answer), (vec![], first.answer));
    for other in [&listed[..1], &[(1, etag(1)), (2, etag(3))], &[(1, etag(1)), (3, etag(4))]] {
        assert_eq!(complete_4(other, false, Some(made.clone())), Err(Refusal::NoSuchUpload));
    }
    let replaced = current(9, striped(9, 1), 0);
    assert_eq!(complete_4(&listed, false, Some(replaced)), Err(Refusal::NoSuchUpload));
}

#[test]
fn fates() {
    let place = QueuePlace { retired: LogIndex(3), ordinal: 0 };
    let part = VersionUse::Part { upload: VersionId(1), number: 1 };
    for (used, expires, expected) in [
        (None, 59, Fate::Void),
        (None, 60, Fate::Pending), // A decision at this very time would not be refused.
        (None, 61, Fate::Pending),
        (Some(VersionUse::Object(object("k"))), 0, Fate::Committed),
        (Some(part), 0, Fate::Committed),
        (Some(VersionUse::Reclaimable { place, expires: WallTime(99) }), 99, Fate::Committed),
        (Some(VersionUse::Past { until: WallTime(99) }), 99, Fate::Void),
        (Some(VersionUse::Void { until: WallTime(99) }), 99, Fate::Void),
    ] {
        let remembered = used.is_none() && expected == Fate::Void;
        let changes = resolves::decide(&[(VersionId(1), WallTime(expires), used.clone())], moment(60, 4));
        assert_eq!(changes.answer, Answer::Resolved(vec![expected]), "{used:?}");
        let until = WallTime(60).after(retire::MEMORY);
        let until_index = LogIndex(4 + retire::MEMORY_ENTRIES);
        let rows = vec![
            Change::PutPast(until, VersionId(1), PastRow { until_index }),
            Change::PutUse(VersionId(1), VersionUse::Void { until }),
        ];
        assert_eq!(changes.rows, if remembered { rows } else { vec![] }, "{used:?}");
    }
}

#[test]
fn a_void_version_never_becomes_a_part() {
    let void = || Some(VersionUse::Void { until: WallTime(99) });
    let part = multipart::PutPart {
        object: &object("k"),
        upload: VersionId(4),
        number: 1,
        body: &striped(8, 1),
        etag: md5(1),
        metadata: &Metadata::default(),
        expires: WallTime(99),
    };
    let upload = Some(upload_row(Metadata::default()));
    let rows = multipart::PutPartRows { upload, replaced: None, used: void() };
    assert_eq!(multipart::decide_part(&rows, &part, moment(60, 4)), Err(Refusal::Expired));
}

#[test]
fn a_reclaimed_version_is_remembered_at_least_until_its_preparation_expired() {
    let place = QueuePlace { retired: LogIndex(3), ordinal: 2 };
    for (expires, until) in [(59, WallTime(60).after(retire::MEMORY)), (1 << 40, WallTime(1 << 40))] {
        let used = Some(VersionUse::Reclaimable { place, expires: WallTime(expires) });
        let twice = [(VersionId(1), used.clone()), (VersionId(1), used), (VersionId(2), None)];
        let until_index = LogIndex(4 + retire::MEMORY_ENTRIES);
        let expected = vec![
            Change::RemoveReclaim(place),
            Change::PutPast(until, VersionId(1), PastRow { until_index }),
            Change::PutUse(VersionId(1), VersionUse::Past { until }),
        ];
        assert_eq!(resolves::decide_reclaimed(&twice, moment(60, 4)).rows, expected);
    }
}
