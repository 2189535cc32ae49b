//! Which version each row is written in, and what its earlier versions looked like.
//!
//! A row that gained fields keeps its older form here, under which it is read for ever; it is written in the newest one.
//! `docs/formats/rows.md` has the table of versions, golden bytes are in `tests/golden.rs`.

use super::attributes::{Acl, Attributes, Versioning};
use super::cluster::{PlacementRow, TokenRow};
use super::codec::{Stored, exactly};
use super::command::{Answer, ETag, Metadata};
use super::keys::KeyRow;
use super::objects::rows::{
    BucketRow, Content, DocumentRow, LifecycleRow, NullRow, PartRow, PastRow, QueuePlace, ReclaimRow, UploadRow,
    VersionRow, VersionUse,
};
use super::sessions::SessionRow;
use super::{Applied, MembershipRow};
use crate::topology::{NodeInfo, Topology};
use crate::types::{LogIndex, NodeId, VersionId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet};
use serde::{Deserialize, Serialize};

macro_rules! never_changed {
    ($($row:ty),* $(,)?) => { $(impl Stored for $row {})* };
}

never_changed!(
    (),
    u32,
    Answer,
    Applied,
    DocumentRow,
    KeyRow,
    LifecycleRow,
    MembershipRow,
    NullRow,
    PartRow,
    PastRow,
    PlacementRow,
    QueuePlace,
    ReclaimRow,
    SessionRow,
    TokenRow,
    VersionUse,
);

/// Version 1 of [`Topology`]: drives left with their nodes only.
#[derive(Serialize, Deserialize)]
struct Topology1 {
    epoch: u64,
    next_drive: u32,
    nodes: BTreeMap<NodeId, NodeInfo>,
}

impl Stored for Topology {
    const VERSION: u8 = 2;

    fn open_earlier(version: u8, payload: &[u8]) -> Option<Topology> {
        let Topology1 { epoch, next_drive, nodes } = exactly(payload).filter(|_| version == 1)?;
        Some(Topology { epoch, next_drive, nodes, leaving: BTreeSet::new() })
    }
}

/// Version 1 of [`BucketRow`].
#[derive(Serialize, Deserialize)]
struct BucketRow1 {
    created: WallTime,
}

impl Stored for BucketRow {
    const VERSION: u8 = 2;

    fn open_earlier(version: u8, payload: &[u8]) -> Option<BucketRow> {
        let BucketRow1 { created } = exactly(payload).filter(|_| version == 1)?;
        Some(BucketRow::new(created))
    }
}

impl BucketRow {
    /// A bucket of the tenant's first user, on which nothing was set.
    #[must_use]
    pub fn new(created: WallTime) -> BucketRow {
        BucketRow {
            created,
            versioning: Versioning::Never,
            lock: None,
            acl: Acl::private(""),
            ownership: None,
            block: None,
            documents: alloc::vec::Vec::new(),
        }
    }
}

/// Version 1 of [`VersionRow`]: the only version of its key.
#[derive(Serialize, Deserialize)]
struct VersionRow1 {
    version: VersionId,
    decided: LogIndex,
    size: u64,
    etag: ETag,
    modified: WallTime,
    metadata: Metadata,
    content: Content,
}

impl Stored for VersionRow {
    const VERSION: u8 = 2;

    fn open_earlier(version: u8, payload: &[u8]) -> Option<VersionRow> {
        let earlier: VersionRow1 = exactly(payload).filter(|_| version == 1)?;
        let VersionRow1 { version, decided, size, etag, modified, metadata, content } = earlier;
        let (is_null, attributes) = (true, Attributes::default());
        Some(VersionRow { version, decided, size, etag, modified, metadata, content, is_null, attributes })
    }
}

/// Version 1 of [`UploadRow`].
#[derive(Serialize, Deserialize)]
struct UploadRow1 {
    created: WallTime,
    metadata: Metadata,
}

impl Stored for UploadRow {
    const VERSION: u8 = 2;

    fn open_earlier(version: u8, payload: &[u8]) -> Option<UploadRow> {
        let UploadRow1 { created, metadata } = exactly(payload).filter(|_| version == 1)?;
        Some(UploadRow { created, metadata, attributes: Attributes::default() })
    }
}
