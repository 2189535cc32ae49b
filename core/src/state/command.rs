//! The commands of the replicated state machine, and their answers.
//!
//! A [`Command`] is what a Raft entry carries. Its encoding is `postcard` behind a version byte; `docs/formats/` has
//! the page and `state/tests.rs` the golden bytes. What only reads is in `question`.

use super::attributes::{Amendment, Attributes, BucketOptions, BucketSetting, Removal, VersionName};
use super::cluster::{ClusterOperation, ClusterRefusal};
use super::objects::rows::QueuePlace;
use crate::stripe::{Profile, WrappedKey};
use crate::types::{DriveId, LogIndex, SessionId, TenantId, VersionId, WallTime};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One command for a group's state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The proposer's wall clock. The replicated time is the largest seen, so it never goes back.
    pub time: WallTime,
    /// Present when the client wants exactly-once (thesis §6.3).
    pub session: Option<SessionStamp>,
    /// What to do.
    pub operation: Operation,
}

/// Marks a command as the `sequence`th of a session. Applied once: a repeat returns the recorded answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStamp {
    /// From the answer to [`Operation::OpenSession`].
    pub session: SessionId,
    /// From 1, each used once.
    pub sequence: u64,
    /// The client has the answers to all sequences below: they may be forgotten.
    pub answered_below: u64,
}

/// What a command does.
#[allow(clippy::large_enum_variant, reason = "nearly every command is the large one, and it is decoded once")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Opens a session. Answer: [`Answer::Session`].
    OpenSession,
    /// Changes a user key.
    Key(KeyOperation),
    /// Changes buckets, objects or uploads.
    Object(ObjectOperation),
    /// Changes the cluster itself. In the group *global* only.
    Cluster(ClusterOperation),
}

/// Changes to user keys. Keys are 1 to [`KEY_SIZE_MAX`] bytes, values up to [`VALUE_SIZE_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOperation {
    /// Sets the value. Answer: [`Answer::Key`] with the new revision, or `Conflict`.
    Put { key: Bytes, value: Bytes, condition: KeyCondition },
    /// Removes the key. Answer: [`Answer::Key`]; `NotFound` when it is not there.
    Delete { key: Bytes, condition: KeyCondition },
}

/// When a change to a key may happen. The revision of a key is the log index of the entry that last wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyCondition {
    /// Always.
    Any,
    /// Only if the key does not exist.
    Absent,
    /// Only if the key exists.
    Present,
    /// Only if the key's modification revision is this.
    Revision(u64),
}

/// Largest user key, in bytes.
pub const KEY_SIZE_MAX: usize = 1024;
/// Largest value of a user key, in bytes.
pub const VALUE_SIZE_MAX: usize = 1 << 20;

/// A key's value and when it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The value.
    pub value: Bytes,
    /// Index of the entry that wrote this value.
    pub revision: u64,
    /// Index of the entry that created the key.
    pub created: u64,
}

/// Names a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketName {
    /// Whose.
    pub tenant: TenantId,
    /// Valid by `state::objects::check_bucket_name`.
    pub name: String,
}

/// Names an object's key in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// Where.
    pub bucket: BucketName,
    /// 1 to 1,024 bytes of UTF-8.
    pub key: String,
}

/// What a client says about an object besides its bytes; returned as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as text.
    pub expires: Option<String>,
    /// `x-amz-meta-*`, names in lower case without the prefix. At most 2 KiB in all.
    pub user: BTreeMap<String, String>,
    /// Checksums that the client gave and the gateway verified: algorithm name (`crc32`, `crc32c`, `crc64nvme`, `sha1`,
    /// `sha256`) to the base64 value.
    pub checksums: BTreeMap<String, String>,
}

/// MD5 of the plaintext, as the entity tag of a single-part object shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Md5(pub [u8; 16]);

/// An object's entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ETag {
    /// MD5 of the bytes, or of the parts' MD5s in sequence.
    pub md5: Md5,
    /// The number of parts of a multipart upload, 0 for a single put. Shown as `md5-parts` when not 0.
    pub parts: u32,
}

/// Where the bytes of one put, or of one part, are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Identity of the bytes: part of the seal, and the name of the shards.
    pub version: VersionId,
    /// Bytes of plaintext.
    pub size: u64,
    /// The data key, wrapped.
    pub key: WrappedKey,
    /// Where.
    pub place: Place,
}

/// In the row, or on drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The sealed bytes themselves (ciphertext and tag), at most `stripe::INLINE_MAX` of plaintext.
    Inline(Bytes),
    /// In stripes of `stripe::STRIPE_SIZE`. Position `p` of stripe `s` is on `drives[(p + s) % drives.len()]`, and
    /// `drives.len()` is `k + m`.
    Striped { profile: Profile, drives: Vec<DriveId> },
}

/// When a write to an object may happen, decided where the version becomes visible (RFC 9110 §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectCondition {
    /// Always.
    Any,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match: *`.
    Present,
    /// `If-Match: "etag"`.
    Match(ETag),
    /// `If-None-Match: "etag"`.
    NoneMatch(ETag),
}

/// The expiry that the decision of an inline body carries: it has no shards, so there is nothing to expire.
pub const INLINE_EXPIRES: WallTime = WallTime(u64::MAX);

/// Changes to buckets, objects and uploads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectOperation {
    /// Answer: `Done`, or `BucketExists`.
    CreateBucket { bucket: BucketName },
    /// Answer: `Done`, `NoSuchBucket`, or `BucketNotEmpty` (objects or uploads).
    DeleteBucket { bucket: BucketName },
    /// The decision of a put. Refused with `Expired` when `body` is striped and the replicated time is past `expires`.
    /// Answer: `Put`. Repeating it (same `body.version`) answers as the first time and changes nothing.
    PutObject {
        object: ObjectName,
        body: Body,
        etag: ETag,
        metadata: Metadata,
        condition: ObjectCondition,
        expires: WallTime,
    },
    /// Answer: `Done`, whether the object was there or not; `ConditionFailed`, `NoSuchKey` by its condition.
    DeleteObject { object: ObjectName, condition: ObjectCondition },
    /// Answer: `Done`. `upload` is random, from the node's generator.
    CreateUpload { object: ObjectName, upload: VersionId, metadata: Metadata },
    /// The decision of a part; replaces an earlier part of the same number. Answer: `Put`, `NoSuchUpload`, `Expired`.
    PutPart {
        object: ObjectName,
        upload: VersionId,
        number: u16,
        body: Body,
        etag: Md5,
        metadata: Metadata,
        expires: WallTime,
    },
    /// Makes the listed parts one object. Parts not listed are reclaimed. Answer: `Put`; `NoSuchUpload`, `InvalidPart`,
    /// `InvalidPartOrder`, `PartTooSmall` (under 5 MiB and not the last). Repeating a completed one with the same
    /// parts answers as the first time while its object is the current one.
    CompleteUpload {
        object: ObjectName,
        upload: VersionId,
        parts: Vec<(u16, ETag)>,
        metadata: Metadata,
        condition: ObjectCondition,
    },
    /// Answer: `Done`, `NoSuchUpload`.
    AbortUpload { object: ObjectName, upload: VersionId },
    /// A sweep asks about versions whose preparation expired, wherever their shards are. Known for the sake of logs that hold
    /// it; `ResolveOn` asks for one drive. Answer: `Resolved`, one fate each. Being in the log, it
    /// moves the replicated time past their expiry, so that no later `PutObject` can decide them (`SWEEP-1`).
    Resolve { versions: Vec<(VersionId, WallTime)> },
    /// The shards of these versions are gone from every drive: drop them from the reclaim queue. Answer: `Done`. Known for
    /// the sake of logs that hold it; `ReclaimedAt` says the same of single entries.
    Reclaimed { versions: Vec<VersionId> },
    /// A body names drive `to` in place of `from`, whose shards are owed to the reclaim queue. The copies on `to` are prepared
    /// until `expires`. Answer: `Done`; `NoSuchKey`, `Expired`, `Cluster(Stale)`.
    Relocate { version: VersionId, from: DriveId, to: DriveId, expires: WallTime },
    /// As `Resolve`, for shards on one drive: committed are those of a version that names the drive, or that the drive owes to
    /// the reclaim queue.
    ResolveOn { drive: DriveId, versions: Vec<(VersionId, WallTime)> },
    /// The shards of these entries of the reclaim queue are gone. Answer: `Done`.
    ReclaimedAt { places: Vec<QueuePlace> },
    /// The row that names the body of `version` names `body` in its place, which has the same bytes; the shards of the old one are
    /// owed to the reclaim queue. Answer: `Done`; `NoSuchKey`, `Expired`, `Invalid`.
    Recode { version: VersionId, body: Body, expires: WallTime },
    /// As `CreateBucket`, and says more about it. Answer: `Done`, `BucketExists`, `BucketTaken`.
    CreateBucketWith { bucket: BucketName, options: BucketOptions },
    /// Changes a bucket. Answer: `Done`; `NoSuchBucket`, `BucketState`, `Invalid`.
    ConfigureBucket { bucket: BucketName, setting: BucketSetting },
    /// As `PutObject`, with what else the version shall have. Answer: `Put`, or `PutVersion` where the bucket keeps versions.
    PutVersion {
        object: ObjectName,
        body: Body,
        etag: ETag,
        metadata: Metadata,
        attributes: Box<Attributes>,
        condition: ObjectCondition,
        expires: WallTime,
    },
    /// Removes an object or one of its versions. Answer: `Deleted`; `ConditionFailed`, `NoSuchKey`, `Locked`.
    Remove { object: ObjectName, removal: Removal },
    /// As `CreateUpload`, with what else the version shall have.
    CreateUploadWith { object: ObjectName, upload: VersionId, metadata: Metadata, attributes: Box<Attributes> },
    /// Changes a version, the newest one without a name. Answer: `Amended`; `NoSuchKey`, `NoSuchVersion`, `DeleteMarker`,
    /// `NoLock`, `Locked`.
    Amend { object: ObjectName, version: Option<VersionName>, amendment: Amendment },
    /// Carries out a lifecycle rule, if one still wants it (`LIFE-3`). `marker` as in [`Removal::marker`]; `day` is in
    /// milliseconds. Answer: `Deleted`, or `Done` of an upload; `ConditionFailed`, `NoSuchUpload`, `NoSuchBucket`.
    Expire { object: ObjectName, what: Expiry, marker: VersionId, day: u64 },
}

/// What a lifecycle rule was found to want gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiry {
    /// The version that was decided at an index, where it stands.
    Version {
        /// The index.
        decided: LogIndex,
        /// Its identity.
        version: VersionId,
        /// The version right above it; none over the newest.
        covered_by: Option<LogIndex>,
    },
    /// An upload in progress.
    Upload {
        /// Which.
        upload: VersionId,
    },
}

/// What the metadata knows of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Decided: its shards belong to an object, a part or the reclaim queue.
    Committed,
    /// Unknown, or already reclaimed, and it can never be decided any more: its shards may go, for nobody reads them.
    Void,
    /// Not decided, but its preparation has not expired by replicated time. Ask again later.
    Pending,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, and there is nothing to say.
    Done,
    /// The session's id.
    Session(SessionId),
    /// The command belongs to a session that is not open (any more): this copy of it was not applied. An earlier copy
    /// may have been, while the session was open; with the session its answer was forgotten.
    SessionExpired,
    /// The revision that the change made.
    Key { revision: u64 },
    /// The object or part is in place.
    Put { etag: ETag, version: VersionId },
    /// One fate for each version asked.
    Resolved(Vec<Fate>),
    /// Refused by the state as it is; nothing changed.
    Refused(Refusal),
    /// The node belongs to the cluster; its drives are numbered from here.
    Joined { first_drive: DriveId },
    /// The object is in place, as a version of its own.
    PutVersion { etag: ETag, version: VersionId, name: VersionName },
    /// It is removed. The name is that of the version that is gone, or of the delete marker that was made; `marker` says
    /// that it is a delete marker.
    Deleted { name: Option<VersionName>, marker: bool },
    /// The version is changed. Its name, where the bucket keeps versions.
    Amended { name: Option<VersionName> },
}

/// Why the state machine refused a command or a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No such user key.
    NotFound,
    /// The key's condition does not hold; the current revision, 0 when the key is absent.
    Conflict { revision: u64 },
    /// A name, key, value or number is out of its range. Says which.
    Invalid(String),
    /// No such bucket.
    NoSuchBucket,
    /// The bucket exists.
    BucketExists,
    /// The bucket holds objects or uploads.
    BucketNotEmpty,
    /// No such object.
    NoSuchKey,
    /// The object's condition does not hold.
    ConditionFailed,
    /// No such upload.
    NoSuchUpload,
    /// A part is missing or its entity tag differs. Carries its number.
    InvalidPart(u16),
    /// Part numbers do not ascend.
    InvalidPartOrder,
    /// A part other than the last is smaller than 5 MiB. Carries its number.
    PartTooSmall(u16),
    /// The preparation expired before the decision: the write must start again.
    Expired,
    /// The cluster stays as it is.
    Cluster(ClusterRefusal),
    /// The bucket exists, and somebody else owns it.
    BucketTaken,
    /// The bucket is not in a state in which this can be. Says why.
    BucketState(String),
    /// The object has no such version.
    NoSuchVersion,
    /// The version is a delete marker: the newest one, or the one that was named.
    DeleteMarker { name: VersionName, modified: WallTime, named: bool },
    /// The bucket has no object lock.
    NoLock,
    /// A retention or a legal hold stands against it.
    Locked,
    /// Tags break a rule. Says which.
    InvalidTag(String),
}
