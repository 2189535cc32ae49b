//! The bytes of commands, rows and snapshots. A change here is a change of a format on disks and between peers: it needs
//! a new version, not a new constant.

use super::super::objects::rows::*;
use super::*;
use crate::types::{NodeId, SessionId};
use alloc::boxed::Box;
use alloc::string::String;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_all(name: &str, have: &[String], golden: &str) {
    let want: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(have, want, "{name}:\n{}\n", have.join("\n"));
}

fn an_acl() -> Acl {
    let user = Grantee::User("u".to_string());
    Acl { owner: "o".to_string(), grants: vec![(user, Permission::Read), (Grantee::AllUsers, Permission::WriteAcp)] }
}

fn some_attributes() -> Attributes {
    Attributes {
        tags: texts(&[("t", "v")]),
        retention: Some(Retention { mode: RetentionMode::Governance, until: WallTime(300) }),
        legal_hold: true,
        acl: Some(an_acl()),
        redirect: Some("/".to_string()),
        customer_key: Some(CustomerKey { nonce: [1; 16], check: [2; 32] }),
    }
}

fn a_rule() -> LifecycleRule {
    LifecycleRule {
        id: "r".to_string(),
        enabled: true,
        filter: LifecycleFilter {
            prefix: "p".to_string(),
            tags: texts(&[("t", "v")]),
            larger_than: Some(1),
            smaller_than: Some(300),
        },
        expiration: Some(Expiration::Date(WallTime(1000))),
        noncurrent: Some(NoncurrentExpiration { days: 3, keep: 4 }),
        abort_days: Some(5),
    }
}

fn configure(setting: BucketSetting) -> Operation {
    Operation::Object(ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting })
}

fn amend(amendment: Amendment) -> Operation {
    Operation::Object(ObjectOperation::Amend { object: object("a"), version: Some(VersionName::Null), amendment })
}

#[test]
fn commands() {
    let full = Metadata {
        content_type: Some("text/plain".to_string()),
        user: texts(&[("n", "v")]),
        checksums: texts(&[("crc32", "AAAA")]),
        ..Metadata::default()
    };
    let operations = [
        Operation::OpenSession,
        Operation::Key(key_put(b"k", b"v", KeyCondition::Revision(300))),
        Operation::Key(KeyOperation::Delete { key: Bytes::from_static(b"k"), condition: KeyCondition::Absent }),
        Operation::Object(ObjectOperation::CreateBucket { bucket: bucket("bkt") }),
        Operation::Object(ObjectOperation::DeleteBucket { bucket: bucket("bkt") }),
        Operation::Object(put_if("a", inline(1), 2, 3, ObjectCondition::Absent)),
        Operation::Object(put_if("a", striped(1 << 127, 4), 2, 3, ObjectCondition::Match(etag(5)))),
        Operation::Object(ObjectOperation::DeleteObject { object: object("a"), condition: ObjectCondition::Present }),
        Operation::Object(ObjectOperation::CreateUpload { object: object("a"), upload: VersionId(6), metadata: full }),
        Operation::Object(put_part("a", 6, 300, inline(7), 8, 9)),
        Operation::Object(complete("a", 6, &[(300, 8)])),
        Operation::Object(abort("a", 6)),
        Operation::Object(resolve(&[(1, 3)])),
        Operation::Object(reclaimed(&[1, 2])),
        Operation::Object(ObjectOperation::CreateBucketWith {
            bucket: bucket("bkt"),
            options: BucketOptions { acl: an_acl(), lock: true, ownership: Some(Ownership::ObjectWriter) },
        }),
        configure(BucketSetting::Versioning { enabled: true }),
        configure(BucketSetting::Lock(LockSettings {
            default: Some(DefaultRetention { mode: RetentionMode::Compliance, period: Period::Years(3) }),
        })),
        configure(BucketSetting::Acl(an_acl())),
        configure(BucketSetting::Ownership(None)),
        configure(BucketSetting::PublicBlock(Some(PublicBlock { restrict: true, ..PublicBlock::default() }))),
        configure(BucketSetting::Document { kind: DocumentKind::Policy, text: Some("{}".to_string()) }),
        Operation::Object(ObjectOperation::PutVersion {
            object: object("a"),
            body: inline(1),
            etag: etag(2),
            metadata: Metadata::default(),
            attributes: Box::new(some_attributes()),
            condition: ObjectCondition::Any,
            expires: WallTime(3),
        }),
        Operation::Object(ObjectOperation::Remove {
            object: object("a"),
            removal: Removal {
                version: Some(VersionName::Id { decided: LogIndex(300), version: VersionId(5) }),
                marker: VersionId(6),
                condition: DeleteCondition { size: Some(7), modified_second: Some(8), ..DeleteCondition::NONE },
                bypass: true,
            },
        }),
        Operation::Object(ObjectOperation::CreateUploadWith {
            object: object("a"),
            upload: VersionId(6),
            metadata: Metadata::default(),
            attributes: Box::new(Attributes { redirect: Some("/".to_string()), ..Attributes::default() }),
        }),
        amend(Amendment::Tags(texts(&[("t", "v")]))),
        amend(Amendment::Retention { retention: None, bypass: true }),
        amend(Amendment::LegalHold(true)),
        amend(Amendment::Acl(an_acl())),
        configure(BucketSetting::Lifecycle { text: "x".to_string(), rules: vec![a_rule()] }),
        Operation::Object(ObjectOperation::Expire {
            object: object("a"),
            what: Expiry::Version { decided: LogIndex(300), version: VersionId(5), covered_by: Some(LogIndex(301)) },
            marker: VersionId(6),
            day: 86_400_000,
        }),
        Operation::Object(ObjectOperation::Expire {
            object: object("a"),
            what: Expiry::Upload { upload: VersionId(7) },
            marker: VersionId(6),
            day: 1,
        }),
    ];
    let mut have = Vec::new();
    for (at, operation) in operations.into_iter().enumerate() {
        let stamp = SessionStamp { session: SessionId(1), sequence: 2, answered_below: 1 };
        let command = Command { time: WallTime(1000), session: (at == 1).then_some(stamp), operation };
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes), Ok(command));
        have.push(hex(&bytes));
    }
    check_all("commands", &have, include_str!("testdata/commands.hex"));
}

#[test]
fn rows_of_every_table() {
    let mut replica = Replica::with_bucket();
    replica.run(1000, Operation::OpenSession);
    let stamp = SessionStamp { session: SessionId(2), sequence: 1, answered_below: 1 };
    let operation = Operation::Key(key_put(b"key", b"value", KeyCondition::Any));
    replica.apply(&Command { time: WallTime(1000), session: Some(stamp), operation });
    for operation in [
        put("a\0b", inline(1), 1, 0),
        put("a\0b", striped(2, 9), 2, 5000),
        put("a\0b", striped(3, 9), 3, 5000),
        create_upload("b", 70),
        put_part("b", 70, 1, striped(4, 9), 4, 5000),
        complete("b", 70, &[(1, 4)]),
        create_upload("c", 71),
        ObjectOperation::ConfigureBucket {
            bucket: bucket("bkt"),
            setting: BucketSetting::Document { kind: DocumentKind::Cors, text: Some("c".to_string()) },
        },
        ObjectOperation::ConfigureBucket {
            bucket: bucket("bkt"),
            setting: BucketSetting::Lifecycle { text: "x".to_string(), rules: vec![a_rule()] },
        },
    ] {
        assert!(!matches!(replica.object(2000, operation), Answer::Refused(_)));
    }
    replica.change(&Membership::of(&[NodeId(1), NodeId(300)]));
    let have: Vec<String> = replica.rows.0.iter().map(|(key, value)| format!("{} {}", hex(key), hex(value))).collect();
    check_all("rows", &have, include_str!("testdata/rows.hex"));
    // Read back from the golden bytes, not from what this build wrote: those of this version, and those of version 1.
    check_read(include_str!("testdata/rows.hex"));
    check_read(include_str!("testdata/rows-1.hex"));
}

fn check_read(text: &str) {
    let mut golden = MemoryRows::default();
    let parse = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(' ').expect("key and value");
        golden.0.insert(parse(key), parse(value));
    }
    let QueryAnswer::Object(found) =
        query(GROUP, &Query::Object { object: object("b"), version: None }, &golden).expect("golden rows are whole")
    else {
        panic!("not an object")
    };
    assert_eq!((found.version, found.bodies), (VersionId(70), vec![striped(4, 9)]));
    assert_eq!((found.name, *found.attributes), (None, Attributes::default()));
    // And worked with: the version that an older build wrote is the null version of a bucket that keeps versions.
    let mut replica = Replica { rows: golden, next: 13 };
    replica.next = applied(GROUP, &replica.rows).expect("golden rows are whole").position.index.0;
    let enabled = BucketSetting::Versioning { enabled: true };
    let answer = replica.object(3000, ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting: enabled });
    assert_eq!(answer, Answer::Done);
    let answer = replica.object(3000, put("b", striped(9, 9), 1, 5000));
    assert!(matches!(answer, Answer::PutVersion { name: VersionName::Id { .. }, .. }), "{answer:?}");
    let null = replica.query(&Query::Object { object: object("b"), version: Some(VersionName::Null) });
    assert!(matches!(null, QueryAnswer::Object(object) if object.version == VersionId(70)));
    let answer = replica.object(3000, complete("b", 70, &[(1, 4)]));
    assert!(matches!(answer, Answer::PutVersion { name: VersionName::Null, .. }), "a late repeat: {answer:?}");
    let answer = replica.object(3000, put_part("c", 71, 1, striped(5, 9), 4, 5000));
    assert!(matches!(answer, Answer::Put { .. }), "an upload that an older build began: {answer:?}");
}

#[test]
fn a_row_is_version_checksum_and_payload() {
    let key = layout::Layout(GroupId(1)).bucket(&bucket("bkt"));
    assert_eq!(hex(&key), "00000001300000000000000001626b740000");
    let value = codec::seal(&key, &NullRow { decided: LogIndex(300) });
    assert_eq!(value[0], 1);
    assert_eq!(value[5..], [0xAC, 0x02], "300 as a varint");
    // CRC-32C, bit by bit, as RFC 3720 has it.
    let mut crc = u32::MAX;
    for byte in key.iter().chain(&[1, 0xAC, 0x02]) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    assert_eq!(value[1..5], (!crc).to_le_bytes());
}

#[test]
fn an_empty_snapshot() {
    let mut rows = MemoryRows::default();
    apply(GROUP, &[noop(1)], Planted::default(), &mut rows).expect("memory does not fail");
    let taken = snapshot(GROUP, &rows, Planted::default()).expect("memory does not fail");
    let golden = include_str!("testdata/snapshot.hex");
    check_all("snapshot", &[hex(&taken.rows)], golden);
}

#[test]
fn a_snapshot_of_version_1_is_read() {
    let golden = include_str!("testdata/snapshot-1.hex").lines().rfind(|line| !line.starts_with('#'));
    let golden = golden.expect("the file has a snapshot");
    let byte = |at: usize| u8::from_str_radix(&golden[at..at + 2], 16).expect("hex");
    let rows: Bytes = (0..golden.len()).step_by(2).map(byte).collect();
    let taken = Snapshot { position: at(1), membership: None, rows };
    let mut rows = MemoryRows::default();
    assert_eq!(install(GROUP, &taken, &mut rows), Ok(()));
    assert_eq!(
        (applied(GROUP, &rows).map(|applied| applied.position), membership(GROUP, &rows)),
        (Ok(at(1)), Ok(None))
    );
}
