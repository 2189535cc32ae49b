//! Questions to the replicated state machine, and their answers. None of them enters the log.

use super::attributes::{Attributes, DocumentKind, VersionName};
use super::cluster::PlacementRow;
use super::command::{Body, BucketName, ETag, Expiry, KeyValue, Md5, Metadata, ObjectName, Refusal};
use super::objects::rows::{BucketRow, QueuePlace};
use super::rules::{Calendar, LifecycleRule};
use crate::topology::Topology;
use crate::types::{DriveId, LogIndex, TenantId, VersionId, WallTime};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A question to a group's state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Answer: `Key`.
    Key { key: Bytes },
    /// User keys that begin with `prefix`, after `start_after`, at most `limit`; the page ends with the key whose value
    /// brings it to `bytes_max`. Answer: `Keys`.
    Keys { prefix: Bytes, start_after: Bytes, limit: usize, bytes_max: usize },
    /// A bucket, and these documents about it. Answer: `Bucket`.
    Bucket { bucket: BucketName, documents: Vec<DocumentKind> },
    /// All buckets of the tenant, in name order. Answer: `Buckets`.
    Buckets { tenant: TenantId },
    /// A version, the newest one without a name, with the bodies of its parts. Answer: `Object`.
    Object { object: ObjectName, version: Option<VersionName> },
    /// A page of a bucket, as ListObjectsV2 defines it. Answer: `Listing`.
    List { bucket: BucketName, prefix: String, delimiter: String, start_after: String, limit: usize },
    /// A page of all versions in a bucket, as ListObjectVersions defines it. `after` is where it begins: behind this key, or
    /// behind this version of the key. Answer: `Versions`.
    Versions {
        bucket: BucketName,
        prefix: String,
        delimiter: String,
        after: (String, Option<VersionName>),
        limit: usize,
    },
    /// Parts of an upload, numbers above `after`, at most `limit`. Answer: `Parts`.
    Parts { object: ObjectName, upload: VersionId, after: u16, limit: usize },
    /// Uploads in progress in a bucket, in key order. Answer: `Uploads`.
    Uploads { bucket: BucketName, prefix: String, limit: usize },
    /// Entries of the reclaim queue behind `after`, the oldest first, at most `limit`. Answer: `Reclaimable`.
    Reclaimable { after: Option<QueuePlace>, limit: usize },
    /// The nodes of the cluster and the placement. Answer: `Topology`.
    Topology,
    /// Striped bodies in use, in the order of their versions, after `after`. Looks at no more than `limit` versions. Answer:
    /// `Bodies`.
    Bodies { after: Option<VersionId>, limit: usize },
    /// When lifecycle rules of any bucket were last set. Answer: `RulesSet`.
    RulesSet,
    /// What lifecycle rules want gone at that time, from that place on. Looks at no more than `limit` versions or uploads. Answer:
    /// `Expirable`.
    Expirable { after: Option<ExpiryPlace>, limit: usize, calendar: Calendar },
    /// The body that holds the bytes of a version in use; its own version is another one when it was re-coded. Answer: `Body`.
    Body { version: VersionId },
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// The key's value, if it exists.
    Key(Option<KeyValue>),
    /// In key order; `more` when a limit cut the answer.
    Keys { keys: Vec<(Bytes, KeyValue)>, more: bool },
    /// The bucket, each document that was asked for, and its lifecycle rules.
    Bucket { row: BucketRow, documents: Vec<Option<String>>, rules: Vec<LifecycleRule> },
    /// Name and row of each.
    Buckets(Vec<(String, BucketRow)>),
    /// The object.
    Object(Object),
    /// A page.
    Listing(Listing),
    /// A page of versions.
    Versions(VersionListing),
    /// A page of parts.
    Parts { parts: Vec<Part>, more: bool },
    /// A page of uploads.
    Uploads { uploads: Vec<Upload>, more: bool },
    /// Bodies to reclaim, oldest first. Inline bodies never enter the queue.
    Reclaimable(Vec<Reclaim>),
    /// The nodes, and the placement if there is one.
    Topology { topology: Topology, placement: Option<PlacementRow> },
    /// The bodies, each with the drives that still owe shards of it to the reclaim queue, and the last version that was looked at;
    /// `None` at the end.
    Bodies { bodies: Vec<(Body, Vec<DriveId>)>, last: Option<VersionId> },
    /// The command that last set rules which still hold; none where no bucket has any.
    RulesSet(Option<LogIndex>),
    /// What is due, and where the next page begins; `None` at the end.
    Expirable { due: Vec<(ObjectName, Expiry)>, next: Option<ExpiryPlace> },
    /// The body, if the version is in use.
    Body(Option<Body>),
    /// Refused.
    Refused(Refusal),
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its identity.
    pub version: VersionId,
    /// Bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// When it was decided, by replicated time.
    pub modified: WallTime,
    /// What the client said about it.
    pub metadata: Metadata,
    /// One body for a single put; one for each part, in order, for a multipart upload.
    pub bodies: Vec<Body>,
    /// Its name; none in a bucket that never kept versions.
    pub name: Option<VersionName>,
    /// What else it has.
    pub attributes: Box<Attributes>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object's key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// When it was decided.
    pub modified: WallTime,
    /// Who owns it, where that is not the owner of the bucket.
    pub owner: Option<String>,
}

/// A page of a bucket: objects and common prefixes, each in UTF-8 binary order, together at most `limit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects whose key has no delimiter after the prefix.
    pub objects: Vec<Listed>,
    /// Prefixes up to and including the delimiter.
    pub prefixes: Vec<String>,
    /// `start_after` for the next page; `None` when this is the last. After a common prefix it is that prefix, and a
    /// listing that starts after a common prefix of its own delimiter skips everything under it.
    pub next: Option<String>,
}

/// One line of a listing of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// The object.
    pub listed: Listed,
    /// The version.
    pub name: VersionName,
    /// Where it stands in the order of all commands.
    pub decided: LogIndex,
    /// Whether it is a delete marker.
    pub is_marker: bool,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
}

/// A page of the versions of a bucket: keys in UTF-8 binary order, the versions of each from the newest on, and common
/// prefixes, together at most `limit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionListing {
    /// Versions and delete markers.
    pub versions: Vec<ListedVersion>,
    /// Prefixes up to and including the delimiter.
    pub prefixes: Vec<String>,
    /// `after` for the next page; `None` when this is the last.
    pub next: Option<(String, Option<VersionName>)>,
}

/// Where a search for what lifecycle rules want gone goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryPlace {
    /// In which bucket.
    pub bucket: BucketName,
    /// Where in it.
    pub stage: ExpiryStage,
}

/// What of a bucket is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpiryStage {
    /// Its versions, behind one, or from the first on.
    Versions(Option<Covering>),
    /// Its uploads, behind one, or from the first on.
    Uploads(Option<(String, VersionId)>),
}

/// The version that was looked at last: it may cover the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covering {
    /// Of this key.
    pub key: String,
    /// The index that decided it.
    pub decided: LogIndex,
    /// When that was.
    pub modified: WallTime,
    /// Noncurrent versions of the key down to it.
    pub newer: u32,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u16,
    /// Bytes.
    pub size: u64,
    /// MD5.
    pub etag: Md5,
    /// When it was decided.
    pub modified: WallTime,
    /// Its checksums, as in [`Metadata::checksums`].
    pub checksums: BTreeMap<String, String>,
}

/// An upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The object's key.
    pub key: String,
    /// Its id.
    pub upload: VersionId,
    /// When it began.
    pub created: WallTime,
}

/// A body whose version is gone and whose shards may be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reclaim {
    /// Where it stands in the queue.
    pub place: QueuePlace,
    /// The version whose shards to delete.
    pub version: VersionId,
    /// The drives that hold them.
    pub drives: Vec<DriveId>,
}
