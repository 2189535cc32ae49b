//! The rows that object operations decide over, and the changes that a decision makes to them.
//!
//! These are the records of every metadata home: values of the ordered map in anchor, columns of tables elsewhere. A row
//! does not repeat what names it. Not here: rules, and keys.

use super::super::attributes::{
    Acl, Attributes, DocumentKind, LockSettings, Ownership, PublicBlock, VersionName, Versioning,
};
use super::super::command::{Answer, Body, ETag, Md5, Metadata, ObjectName};
use super::super::rules::LifecycleRule;
use crate::types::{DriveId, LogIndex, TenantId, VersionId, WallTime};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::super::command::BucketName;

/// A bucket, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRow {
    /// Replicated time of its creation.
    pub created: WallTime,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Object lock, if it was made with it or got it later.
    pub lock: Option<LockSettings>,
    /// Its owner and its access list.
    pub acl: Acl,
    /// Whether access lists count; none is as [`Ownership::ObjectWriter`].
    pub ownership: Option<Ownership>,
    /// What shields it, if that was said.
    pub block: Option<PublicBlock>,
    /// Which documents there are about it, in the order of their kinds.
    pub documents: Vec<DocumentKind>,
}

/// A document about a bucket, by the bucket's name and the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRow {
    /// As the door wrote it.
    pub text: String,
}

/// The lifecycle rules of a bucket, by the bucket's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRow {
    /// The command that set them.
    pub set: LogIndex,
    /// At least one.
    pub rules: Vec<LifecycleRule>,
}

/// Where the null version of an object is, by the object's name. There is one for each null version that has, or had, a
/// newer one over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NullRow {
    /// The command that decided it.
    pub decided: LogIndex,
}

/// Where the bytes of an object are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// One body.
    Single {
        /// The body; its version is the object's, unless it was re-coded.
        body: Body,
        /// When its preparation expires.
        expires: WallTime,
    },
    /// The parts of a completed upload, in number order. Their rows stay where the upload put them, so completing
    /// 10,000 parts copies none of them. The upload's id is the object's version.
    Parts {
        /// How many rows there are.
        count: u32,
    },
    /// None: the version says that the object was deleted.
    Marker,
}

/// A version of an object, by the object's name and the index that decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Its identity: that of the body, or of the upload.
    pub version: VersionId,
    /// The command that made it visible.
    pub decided: LogIndex,
    /// Bytes of plaintext.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// Replicated time of the decision.
    pub modified: WallTime,
    /// What the client said.
    pub metadata: Metadata,
    /// The bytes.
    pub content: Content,
    /// Whether its name is `null`.
    pub is_null: bool,
    /// What else it has.
    pub attributes: Attributes,
}

impl VersionRow {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> VersionName {
        if self.is_null { VersionName::Null } else { VersionName::Id { decided: self.decided, version: self.version } }
    }

    /// Whether it is a delete marker.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        matches!(self.content, Content::Marker)
    }
}

/// An upload in progress, by the object's name and the upload's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// Replicated time of its creation.
    pub created: WallTime,
    /// What the client said when it began.
    pub metadata: Metadata,
    /// What else the object shall have.
    pub attributes: Attributes,
}

/// A part, by its upload and number: of an upload in progress, or of the object that the upload became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// The bytes.
    pub body: Body,
    /// MD5 of the plaintext.
    pub etag: Md5,
    /// Replicated time of the decision.
    pub modified: WallTime,
    /// When the preparation of the body expires.
    pub expires: WallTime,
    /// As in [`Metadata::checksums`].
    pub checksums: BTreeMap<String, String>,
}

/// A place in the reclaim queue. The order of places is the order in which bodies were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueuePlace {
    /// The command that gave the body up.
    pub retired: LogIndex,
    /// Counts the bodies that one command gave up, from 0.
    pub ordinal: u32,
}

/// A body in the reclaim queue, by its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimRow {
    /// Whose shards to delete.
    pub version: VersionId,
    /// The drives that hold them.
    pub drives: Vec<DriveId>,
}

/// What a version id is used for. One row for each id that was decided and is not forgotten yet; an id without a row is
/// unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionUse {
    /// The newest version of an object, and its null version.
    Object(ObjectName),
    /// An upload in progress.
    Upload(ObjectName),
    /// A part of an upload in progress, or of the object that the upload became.
    Part {
        /// The upload.
        upload: VersionId,
        /// The part's number.
        number: u16,
    },
    /// Given up, and waiting until its shards are gone.
    Reclaimable {
        /// Where in the queue.
        place: QueuePlace,
        /// When the preparation of the body expires.
        expires: WallTime,
    },
    /// Given up, and remembered so that a repeated command cannot bring it back (`STATE-6`).
    Past {
        /// The time in the key of its [`PastRow`].
        until: WallTime,
    },
    /// Never decided, and called void, so that its shards may be gone (`SWEEP-1`).
    Void {
        /// The time in the key of its [`PastRow`].
        until: WallTime,
    },
    /// A body that holds the bytes of a version whose put brought another one (`RECODE-2`).
    Recoded {
        /// That version.
        of: VersionId,
    },
    /// A version of an object, wherever in the order it is.
    Version {
        /// Which object.
        object: ObjectName,
        /// The command that decided it.
        decided: LogIndex,
        /// Whether its name is `null`.
        is_null: bool,
    },
}

/// A past or void version, by the time until which it is remembered, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRow {
    /// It is also remembered until this index.
    pub until_index: LogIndex,
}

/// A version of an object, with the rows of its parts when an upload made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The version.
    pub row: VersionRow,
    /// Its parts in number order; empty for [`Content::Single`].
    pub parts: Vec<(u16, PartRow)>,
}

/// The rows that every change to an object's versions is decided over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRows {
    /// The bucket.
    pub bucket: Option<BucketRow>,
    /// The newest version of the object, which may be a delete marker.
    pub current: Option<Current>,
    /// The null version, where that is another one.
    pub null: Option<Current>,
}

impl KeyRows {
    /// The newest version, unless it says that there is no object.
    #[must_use]
    pub fn live(&self) -> Option<&VersionRow> {
        self.current.as_ref().map(|current| &current.row).filter(|row| !row.is_marker())
    }

    /// Entity tag of the object as readers see it.
    #[must_use]
    pub fn etag(&self) -> Option<ETag> {
        self.live().map(|row| row.etag)
    }
}

/// One row written or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes a bucket.
    PutBucket(BucketName, Box<BucketRow>),
    /// Removes a bucket.
    RemoveBucket(BucketName),
    /// Writes a version of an object.
    PutVersion(ObjectName, Box<VersionRow>),
    /// Removes the version that was decided at an index.
    RemoveVersion(ObjectName, LogIndex),
    /// Writes an upload.
    PutUpload(ObjectName, VersionId, Box<UploadRow>),
    /// Removes an upload.
    RemoveUpload(ObjectName, VersionId),
    /// Writes a part.
    PutPart(TenantId, VersionId, u16, Box<PartRow>),
    /// Removes a part.
    RemovePart(TenantId, VersionId, u16),
    /// Writes an entry of the reclaim queue.
    PutReclaim(QueuePlace, ReclaimRow),
    /// Removes an entry of the reclaim queue.
    RemoveReclaim(QueuePlace),
    /// Writes what a version is used for.
    PutUse(VersionId, VersionUse),
    /// Forgets a version.
    RemoveUse(VersionId),
    /// Writes a past version.
    PutPast(WallTime, VersionId, PastRow),
    /// Removes a past version.
    RemovePast(WallTime, VersionId),
    /// Notes that a drive owes shards of a version that is in use elsewhere, and where in the queue.
    PutLeaving(VersionId, DriveId, QueuePlace),
    /// The drive owes them no more.
    RemoveLeaving(VersionId, DriveId),
    /// Notes where the null version of an object is.
    PutNull(ObjectName, NullRow),
    /// The object has no null version any more.
    RemoveNull(ObjectName),
    /// Writes a document about a bucket.
    PutDocument(BucketName, DocumentKind, DocumentRow),
    /// Removes a document about a bucket.
    RemoveDocument(BucketName, DocumentKind),
    /// Writes the lifecycle rules of a bucket.
    PutLifecycle(BucketName, LifecycleRow),
    /// The bucket has no lifecycle rules any more.
    RemoveLifecycle(BucketName),
}

/// What a decision does, to be written in one atomic step, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The rows.
    pub rows: Vec<Change>,
    /// What the client hears.
    pub answer: Answer,
    /// Entries that the decision put into the reclaim queue.
    queued: u32,
}

impl Changes {
    /// No change yet.
    #[must_use]
    pub fn answer(answer: Answer) -> Changes {
        Changes { rows: Vec::new(), answer, queued: 0 }
    }

    /// The next free place of the reclaim queue, for the command at `retired`.
    pub(super) fn next_place(&mut self, retired: LogIndex) -> QueuePlace {
        let place = QueuePlace { retired, ordinal: self.queued };
        self.queued += 1;
        place
    }
}
