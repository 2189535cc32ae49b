//! Tests of the state machine, and the words that they share.
//!
//! - `decide`, `decide_upload`: tables of the rules, one row of a table for each case.
//! - `actions`, `model`: random operations against a model that is too simple to be wrong.
//! - `listing`: pages of a bucket, their content and their cost.
//! - `replica`: what makes replicas identical: batches, repeats, snapshots, damage.
//! - `session`, `repeat`: exactly-once, and repeats without a session.
//! - `recode`: bodies that are cut anew.
//! - `versions`: buckets that keep versions, against a model of their own.
//! - `lifecycle`: rules, against a reference that goes through lists.
//! - `golden`: the bytes of commands, rows and snapshots.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "another answer fails a test; a table has its type beside it"
)]

mod actions;
mod decide;
mod decide_upload;
mod golden;
mod lifecycle;
mod listing;
mod model;
mod recode;
mod repeat;
mod replica;
mod session;
mod versions;

use super::*;
use crate::planted::Planted;
use crate::rows::MemoryRows;
use crate::stripe::{Profile, WrappedKey};
use crate::types::{DriveId, Snapshot, TenantId, Term, VersionId};
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;
use bytes::Bytes;

const GROUP: GroupId = GroupId::REGION;

/// One replica with a map of its own.
#[derive(Clone, Debug, Default)]
struct Replica {
    rows: MemoryRows,
    next: u64,
}

impl Replica {
    /// A replica that holds the bucket `bkt`.
    fn with_bucket() -> Replica {
        let mut replica = Replica::default();
        assert_eq!(replica.object(0, ObjectOperation::CreateBucket { bucket: bucket("bkt") }), Answer::Done);
        replica
    }

    fn apply(&mut self, command: &Command) -> Answer {
        self.next += 1;
        let entry = entry(self.next, command);
        let mut answers =
            apply(GROUP, &[entry], Planted::default(), &mut self.rows).expect("a map in memory does not fail");
        assert_eq!(answers.len(), 1);
        let (index, answer) = answers.remove(0);
        assert_eq!(index.0, self.next);
        answer
    }

    fn run(&mut self, time: u64, operation: Operation) -> Answer {
        self.apply(&Command { time: WallTime(time), session: None, operation })
    }

    fn object(&mut self, time: u64, operation: ObjectOperation) -> Answer {
        self.run(time, Operation::Object(operation))
    }

    /// Moves the log on without commands.
    fn skip(&mut self, count: u64) {
        let entries: Vec<Entry> = (0..count).map(|at| noop(self.next + 1 + at)).collect();
        self.next += count;
        assert_eq!(apply(GROUP, &entries, Planted::default(), &mut self.rows), Ok(vec![]));
    }

    /// Changes who replicates the group.
    fn change(&mut self, membership: &Membership) {
        self.next += 1;
        let entry = Entry { position: at(self.next), payload: Payload::Membership(membership.clone()) };
        assert_eq!(apply(GROUP, &[entry], Planted::default(), &mut self.rows), Ok(vec![]));
    }

    fn query(&self, question: &Query) -> QueryAnswer {
        query(GROUP, question, &self.rows).expect("a map in memory does not fail")
    }

    fn reclaimable(&self) -> Vec<VersionId> {
        match self.query(&Query::Reclaimable { after: None, limit: usize::MAX }) {
            QueryAnswer::Reclaimable(queue) => queue.into_iter().map(|entry| entry.version).collect(),
            other => panic!("not a queue: {other:?}"),
        }
    }

    /// The current version of an object of `bkt`.
    fn version(&self, key: &str) -> Option<VersionId> {
        match self.query(&Query::Object { object: object(key), version: None }) {
            QueryAnswer::Object(object) => Some(object.version),
            QueryAnswer::Refused(Refusal::NoSuchKey | Refusal::NoSuchBucket) => None,
            other => panic!("not an object: {other:?}"),
        }
    }
}

fn at(index: u64) -> crate::types::LogPosition {
    crate::types::LogPosition { index: LogIndex(index), term: Term(1) }
}

fn entry(index: u64, command: &Command) -> Entry {
    Entry { position: at(index), payload: Payload::Command(command.encode()) }
}

fn noop(index: u64) -> Entry {
    Entry { position: at(index), payload: Payload::Noop }
}

fn moment(time: u64, index: u64) -> Moment {
    Moment { time: WallTime(time), index: LogIndex(index) }
}

fn bucket(name: &str) -> BucketName {
    BucketName { tenant: TenantId::DEFAULT, name: name.to_string() }
}

fn object(key: &str) -> ObjectName {
    ObjectName { bucket: bucket("bkt"), key: key.to_string() }
}

fn md5(seed: u8) -> Md5 {
    Md5([seed; 16])
}

fn etag(seed: u8) -> ETag {
    ETag { md5: md5(seed), parts: 0 }
}

fn inline(version: u128) -> Body {
    let place = Place::Inline(Bytes::from_static(b"sealed"));
    Body { version: VersionId(version), size: 6, key: WrappedKey(vec![7; 60]), place }
}

fn striped(version: u128, size: u64) -> Body {
    let place =
        Place::Striped { profile: Profile { data: 2, parity: 1 }, drives: vec![DriveId(0), DriveId(1), DriveId(2)] };
    Body { version: VersionId(version), size, key: WrappedKey(vec![7; 60]), place }
}

fn put(key: &str, body: Body, tag: u8, expires: u64) -> ObjectOperation {
    put_if(key, body, tag, expires, ObjectCondition::Any)
}

fn put_if(key: &str, body: Body, tag: u8, expires: u64, condition: ObjectCondition) -> ObjectOperation {
    ObjectOperation::PutObject {
        object: object(key),
        body,
        etag: etag(tag),
        metadata: Metadata::default(),
        condition,
        expires: WallTime(expires),
    }
}

fn delete(key: &str) -> ObjectOperation {
    ObjectOperation::DeleteObject { object: object(key), condition: ObjectCondition::Any }
}

fn create_upload(key: &str, upload: u128) -> ObjectOperation {
    ObjectOperation::CreateUpload { object: object(key), upload: VersionId(upload), metadata: Metadata::default() }
}

fn put_part(key: &str, upload: u128, number: u16, body: Body, tag: u8, expires: u64) -> ObjectOperation {
    ObjectOperation::PutPart {
        object: object(key),
        upload: VersionId(upload),
        number,
        body,
        etag: md5(tag),
        metadata: Metadata::default(),
        expires: WallTime(expires),
    }
}

fn complete(key: &str, upload: u128, parts: &[(u16, u8)]) -> ObjectOperation {
    ObjectOperation::CompleteUpload {
        object: object(key),
        upload: VersionId(upload),
        parts: parts.iter().map(|(number, tag)| (*number, etag(*tag))).collect(),
        metadata: Metadata::default(),
        condition: ObjectCondition::Any,
    }
}

fn abort(key: &str, upload: u128) -> ObjectOperation {
    ObjectOperation::AbortUpload { object: object(key), upload: VersionId(upload) }
}

fn resolve(versions: &[(u128, u64)]) -> ObjectOperation {
    ObjectOperation::Resolve { versions: versions.iter().map(|(v, e)| (VersionId(*v), WallTime(*e))).collect() }
}

fn reclaimed(versions: &[u128]) -> ObjectOperation {
    ObjectOperation::Reclaimed { versions: versions.iter().copied().map(VersionId).collect() }
}

fn key_put(key: &[u8], value: &[u8], condition: KeyCondition) -> KeyOperation {
    KeyOperation::Put { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value), condition }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<alloc::string::String, alloc::string::String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
