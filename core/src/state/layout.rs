//! Under which key each row stands: `[group u32][table u8]` and then what the table is ordered by.
//!
//! All numbers are big-endian, so that byte order is number order; names are escaped (`codec`). An object version's key
//! ends in the bitwise inverse of the index that decided it, so that the newest version of an object is the first row
//! under its key. `docs/formats/rows.md` has the table of tables. Not here: what the values hold.

use super::attributes::DocumentKind;
use super::cluster::TokenHash;
use super::codec::{self, TEXT_AFTER, TEXT_END};
use super::command::{BucketName, ObjectName};
use super::objects::list::Seek;
use super::objects::rows::QueuePlace;
use crate::types::{DriveId, GroupId, LogIndex, SessionId, TenantId, VersionId, WallTime};
use alloc::string::String;
use alloc::vec::Vec;

/// What a row is about. The number is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Table {
    /// Applied position and replicated time; one row.
    Meta = 0x00,
    /// Who votes and who learns, once an entry has changed it; one row.
    Membership = 0x01,
    /// Open sessions by id.
    Sessions = 0x10,
    /// Open sessions by last use.
    SessionUses = 0x11,
    /// Recorded answers by session and sequence.
    SessionAnswers = 0x12,
    /// How many sessions are open; one row.
    SessionCount = 0x13,
    /// User keys.
    Keys = 0x20,
    /// Buckets by tenant and name.
    Buckets = 0x30,
    /// Object versions by bucket, key and age, the newest first.
    Versions = 0x31,
    /// What each version id is used for.
    VersionUses = 0x32,
    /// Uploads by bucket, key and id.
    Uploads = 0x33,
    /// Parts by tenant, upload and number.
    Parts = 0x34,
    /// Bodies to reclaim, in the order in which they were given up.
    Reclaim = 0x35,
    /// Past versions by the time from which they may be forgotten.
    Past = 0x36,
    /// Shards that a version in use has left behind: by version and drive, their place in the queue.
    Leaving = 0x37,
    /// Where null versions are that are not, or were not always, the newest of their key.
    Nulls = 0x38,
    /// Documents about buckets, by bucket and kind.
    Documents = 0x39,
    /// Lifecycle rules, by bucket.
    Lifecycles = 0x3a,
    /// The nodes of the cluster; one row.
    Topology = 0x40,
    /// One-time tokens by the hash of their secret.
    Tokens = 0x41,
    /// The placement; one row.
    Placement = 0x42,
}

/// The tables that make commands exactly-once.
pub(super) const SESSION_TABLES: [Table; 4] =
    [Table::Sessions, Table::SessionUses, Table::SessionAnswers, Table::SessionCount];

/// Bytes of the group number in front of every key.
pub(super) const GROUP_SIZE: usize = 4;

/// A half-open range of keys; `to` of `None` means to the end of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Vec<u8>,
    pub(super) to: Option<Vec<u8>>,
}

impl Range {
    fn under(prefix: Vec<u8>) -> Range {
        Range { to: codec::successor(&prefix), from: prefix }
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && self.to.as_deref().is_none_or(|to| key < to)
    }
}

/// The keys of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout(pub(super) GroupId);

impl Layout {
    fn table(self, table: Table) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        key.extend_from_slice(&self.0.0.to_be_bytes());
        key.push(table as u8);
        key
    }

    fn bucket_prefix(self, table: Table, bucket: &BucketName) -> Vec<u8> {
        let mut key = self.table(table);
        key.extend_from_slice(&bucket.tenant.0.to_be_bytes());
        codec::escape(bucket.name.as_bytes(), &mut key);
        key.extend_from_slice(&TEXT_END);
        key
    }

    fn object_prefix(self, table: Table, object: &ObjectName) -> Vec<u8> {
        let mut key = self.bucket_prefix(table, &object.bucket);
        codec::escape(object.key.as_bytes(), &mut key);
        key.extend_from_slice(&TEXT_END);
        key
    }

    /// Every row of the group.
    pub(super) fn group_rows(self) -> Range {
        Range::under(self.0.0.to_be_bytes().to_vec())
    }

    /// Every row of one table.
    pub(super) fn table_rows(self, table: Table) -> Range {
        Range::under(self.table(table))
    }

    pub(super) fn meta(self) -> Vec<u8> {
        self.table(Table::Meta)
    }

    pub(super) fn membership(self) -> Vec<u8> {
        self.table(Table::Membership)
    }

    pub(super) fn topology(self) -> Vec<u8> {
        self.table(Table::Topology)
    }

    pub(super) fn token(self, hash: &TokenHash) -> Vec<u8> {
        let mut key = self.table(Table::Tokens);
        key.extend_from_slice(hash);
        key
    }

    pub(super) fn placement(self) -> Vec<u8> {
        self.table(Table::Placement)
    }

    pub(super) fn session(self, session: SessionId) -> Vec<u8> {
        let mut key = self.table(Table::Sessions);
        key.extend_from_slice(&session.0.to_be_bytes());
        key
    }

    pub(super) fn session_use(self, used: WallTime, session: SessionId) -> Vec<u8> {
        let mut key = self.table(Table::SessionUses);
        key.extend_from_slice(&used.0.to_be_bytes());
        key.extend_from_slice(&session.0.to_be_bytes());
        key
    }

    pub(super) fn session_answer(self, session: SessionId, sequence: u64) -> Vec<u8> {
        let mut key = self.table(Table::SessionAnswers);
        key.extend_from_slice(&session.0.to_be_bytes());
        key.extend_from_slice(&sequence.to_be_bytes());
        key
    }

    /// Answers of `session`; those below `below` only, when it is given.
    pub(super) fn session_answers(self, session: SessionId, below: Option<u64>) -> Range {
        let mut prefix = self.table(Table::SessionAnswers);
        prefix.extend_from_slice(&session.0.to_be_bytes());
        match below {
            Some(below) => Range { from: prefix, to: Some(self.session_answer(session, below)) },
            None => Range::under(prefix),
        }
    }

    pub(super) fn session_count(self) -> Vec<u8> {
        self.table(Table::SessionCount)
    }

    /// A user key. It stands last, so it needs no escape and keeps its order.
    pub(super) fn user_key(self, user_key: &[u8]) -> Vec<u8> {
        let mut key = self.table(Table::Keys);
        key.extend_from_slice(user_key);
        key
    }

    /// User keys that begin with `prefix` and are greater than `after`.
    pub(super) fn user_keys(self, prefix: &[u8], after: &[u8]) -> Range {
        let mut range = Range::under(self.user_key(prefix));
        let mut behind = self.user_key(after);
        behind.push(0);
        range.from = range.from.max(behind);
        range
    }

    pub(super) fn bucket(self, bucket: &BucketName) -> Vec<u8> {
        self.bucket_prefix(Table::Buckets, bucket)
    }

    pub(super) fn buckets(self, tenant: TenantId) -> Range {
        let mut prefix = self.table(Table::Buckets);
        prefix.extend_from_slice(&tenant.0.to_be_bytes());
        Range::under(prefix)
    }

    pub(super) fn version(self, object: &ObjectName, decided: LogIndex) -> Vec<u8> {
        let mut key = self.object_prefix(Table::Versions, object);
        key.extend_from_slice(&(!decided.0).to_be_bytes());
        key
    }

    pub(super) fn null(self, object: &ObjectName) -> Vec<u8> {
        self.object_prefix(Table::Nulls, object)
    }

    pub(super) fn document(self, bucket: &BucketName, kind: DocumentKind) -> Vec<u8> {
        let mut key = self.bucket_prefix(Table::Documents, bucket);
        key.push(kind as u8);
        key
    }

    pub(super) fn lifecycle(self, bucket: &BucketName) -> Vec<u8> {
        self.bucket_prefix(Table::Lifecycles, bucket)
    }

    /// All versions of one object, the newest first.
    pub(super) fn versions_of(self, object: &ObjectName) -> Range {
        Range::under(self.object_prefix(Table::Versions, object))
    }

    /// Object versions, or uploads, of a bucket whose object key begins with `prefix`.
    pub(super) fn in_bucket(self, table: Table, bucket: &BucketName, prefix: &str) -> Range {
        let mut key = self.bucket_prefix(table, bucket);
        codec::escape(prefix.as_bytes(), &mut key);
        Range::under(key)
    }

    /// Where a listing goes on.
    pub(super) fn seek(self, bucket: &BucketName, seek: &Seek) -> Vec<u8> {
        let mut key = self.bucket_prefix(Table::Versions, bucket);
        match seek {
            Seek::At(text) => codec::escape(text.as_bytes(), &mut key),
            Seek::After(text) => {
                codec::escape(text.as_bytes(), &mut key);
                key.extend_from_slice(&TEXT_AFTER);
            }
            Seek::AfterVersion(text, decided) => {
                codec::escape(text.as_bytes(), &mut key);
                key.extend_from_slice(&TEXT_END);
                key.extend_from_slice(&(!decided.0).to_be_bytes());
                key.push(0);
            }
            Seek::Past(prefix) => {
                codec::escape(prefix.as_bytes(), &mut key);
                key = codec::successor(&key).expect("the table's byte is not FF");
            }
        }
        key
    }

    pub(super) fn version_use(self, version: VersionId) -> Vec<u8> {
        let mut key = self.table(Table::VersionUses);
        key.extend_from_slice(&version.0.to_be_bytes());
        key
    }

    pub(super) fn upload(self, object: &ObjectName, upload: VersionId) -> Vec<u8> {
        let mut key = self.object_prefix(Table::Uploads, object);
        key.extend_from_slice(&upload.0.to_be_bytes());
        key
    }

    pub(super) fn part(self, tenant: TenantId, upload: VersionId, number: u16) -> Vec<u8> {
        let mut key = self.table(Table::Parts);
        key.extend_from_slice(&tenant.0.to_be_bytes());
        key.extend_from_slice(&upload.0.to_be_bytes());
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    /// Parts of an upload whose number is greater than `after`.
    pub(super) fn parts(self, tenant: TenantId, upload: VersionId, after: u16) -> Range {
        let mut prefix = self.table(Table::Parts);
        prefix.extend_from_slice(&tenant.0.to_be_bytes());
        prefix.extend_from_slice(&upload.0.to_be_bytes());
        let mut range = Range::under(prefix);
        range.from = self.part(tenant, upload, after);
        range.from.push(0);
        range
    }

    pub(super) fn reclaim(self, place: QueuePlace) -> Vec<u8> {
        let mut key = self.table(Table::Reclaim);
        key.extend_from_slice(&place.retired.0.to_be_bytes());
        key.extend_from_slice(&place.ordinal.to_be_bytes());
        key
    }

    /// The reclaim queue behind a place, or all of it.
    pub(super) fn reclaim_after(self, after: Option<QueuePlace>) -> Range {
        let mut range = self.table_rows(Table::Reclaim);
        if let Some(place) = after {
            range.from = self.reclaim(place);
            range.from.push(0);
        }
        range
    }

    pub(super) fn leaving(self, version: VersionId, drive: DriveId) -> Vec<u8> {
        let mut key = self.table(Table::Leaving);
        key.extend_from_slice(&version.0.to_be_bytes());
        key.extend_from_slice(&drive.0.to_be_bytes());
        key
    }

    /// All drives that a version has left.
    pub(super) fn leaving_of(self, version: VersionId) -> Range {
        let mut key = self.table(Table::Leaving);
        key.extend_from_slice(&version.0.to_be_bytes());
        Range::under(key)
    }

    /// What each version after `after` is used for, in order.
    pub(super) fn version_uses(self, after: Option<VersionId>) -> Range {
        let mut range = self.table_rows(Table::VersionUses);
        if let Some(after) = after {
            range.from = self.version_use(after);
            range.from.push(0);
        }
        range
    }

    pub(super) fn past(self, until: WallTime, version: VersionId) -> Vec<u8> {
        let mut key = self.table(Table::Past);
        key.extend_from_slice(&until.0.to_be_bytes());
        key.extend_from_slice(&version.0.to_be_bytes());
        key
    }
}

/// The parts of a key behind group and table, from the left. Each method is `None` when the key has no such part: a
/// key can be damaged as well as a value.
pub(super) struct KeyParts<'k>(&'k [u8]);

impl<'k> KeyParts<'k> {
    pub(super) fn new(key: &'k [u8]) -> KeyParts<'k> {
        KeyParts(key.get(GROUP_SIZE + 1..).unwrap_or_default())
    }

    pub(super) fn number_u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn number_u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn number_u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn number_u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(codec::unescape(&mut self.0)?).ok()
    }

    /// The tenant and the name of a bucket.
    pub(super) fn bucket(&mut self) -> Option<BucketName> {
        Some(BucketName { tenant: TenantId(self.number_u64()?), name: self.text()? })
    }

    pub(super) fn rest(self) -> &'k [u8] {
        self.0
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}
