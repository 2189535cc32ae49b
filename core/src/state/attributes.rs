//! What a bucket and a version of an object have besides bytes and metadata: names of versions, tags, locks, access lists.
//!
//! These words stand in commands, in rows and in answers. Their rules are in `objects`; who may do what is judged in
//! `crate::access`. Source: Amazon S3 API reference.

use super::command::ObjectCondition;
use super::rules::LifecycleRule;
use crate::types::{LogIndex, VersionId, WallTime};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Names one version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VersionName {
    /// The one that was written while the bucket kept no versions. An object has at most one.
    Null,
    /// The version that was decided at an index.
    Id {
        /// The command that made it visible: versions of a key are ordered by it, and by nothing else.
        decided: LogIndex,
        /// Its identity.
        version: VersionId,
    },
}

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// It never did.
    #[default]
    Never,
    /// Every write makes a version.
    Enabled,
    /// Writes replace the null version; the others stay.
    Suspended,
}

/// How strongly a version is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetentionMode {
    /// Who may bypass governance may delete it and shorten the time.
    Governance,
    /// Nobody may.
    Compliance,
}

/// Until when a version may not be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// How strongly.
    pub mode: RetentionMode,
    /// Replicated time, the last moment included.
    pub until: WallTime,
}

/// The retention of versions that come without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRetention {
    /// How strongly.
    pub mode: RetentionMode,
    /// For how many days, or years of 365 days.
    pub period: Period,
}

/// A length of time as S3 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Period {
    /// 1 to 36,500.
    Days(u32),
    /// 1 to 100.
    Years(u32),
}

/// Object lock of a bucket. It is never switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockSettings {
    /// For versions that come without a retention.
    pub default: Option<DefaultRetention>,
}

/// Who owns what others put into a bucket, and whether access lists count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// The owner of the bucket owns everything, and access lists do not count.
    BucketOwnerEnforced,
    /// The owner of the bucket owns what comes with the canned list `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Who puts an object owns it.
    ObjectWriter,
}

/// What shields a bucket from being made public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "four switches, which S3 names and sets each by itself")]
pub struct PublicBlock {
    /// Public access lists are refused when they are set.
    pub block_acls: bool,
    /// Public grants of access lists do not count.
    pub ignore_acls: bool,
    /// Public policies are refused when they are set.
    pub block_policy: bool,
    /// A public policy admits nobody but users of the bucket's owner.
    pub restrict: bool,
}

/// To whom an access list grants something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grantee {
    /// A user, by canonical id.
    User(String),
    /// Everybody, signed or not.
    AllUsers,
    /// Everybody who signs.
    AuthenticatedUsers,
    /// Whoever delivers logs.
    LogDelivery,
}

/// What an access list grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permission {
    /// All of the others.
    FullControl,
    /// List a bucket, or read an object.
    Read,
    /// Put into a bucket and delete from it.
    Write,
    /// Read the list itself.
    ReadAcp,
    /// Write the list itself.
    WriteAcp,
}

/// An access list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// The owner's canonical id; empty for the first user of the tenant.
    pub owner: String,
    /// At most [`GRANTS_MAX`].
    pub grants: Vec<(Grantee, Permission)>,
}

impl Acl {
    /// The list that nobody asked for: the owner has full control.
    #[must_use]
    pub fn private(owner: &str) -> Acl {
        let grants = alloc::vec![(Grantee::User(String::from(owner)), Permission::FullControl)];
        Acl { owner: String::from(owner), grants }
    }
}

/// Grants of one access list (Amazon S3 user guide, "Access control list overview").
pub const GRANTS_MAX: usize = 100;

/// A key of the client's own, with which the gateway encrypted the bytes before they came here (SSE-C).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerKey {
    /// Drawn for the version.
    pub nonce: [u8; 16],
    /// HMAC-SHA-256 of the nonce under the key, by which the key is known again.
    pub check: [u8; 32],
}

/// What a version has besides bytes and metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// At most [`TAGS_MAX`].
    pub tags: BTreeMap<String, String>,
    /// Until when it may not be removed.
    pub retention: Option<Retention>,
    /// It may not be removed until this is lifted.
    pub legal_hold: bool,
    /// Its access list; without one the owner of the bucket has full control.
    pub acl: Option<Acl>,
    /// `x-amz-website-redirect-location`.
    pub redirect: Option<String>,
    /// With which key of the client the bytes are encrypted.
    pub customer_key: Option<CustomerKey>,
}

/// Tags of an object (Amazon S3 user guide, "Categorizing your objects using tags").
pub const TAGS_MAX: usize = 10;
/// Characters of a tag's key.
pub const TAG_KEY_MAX: usize = 128;
/// Characters of a tag's value.
pub const TAG_VALUE_MAX: usize = 256;

/// A change to a version that leaves its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Amendment {
    /// These tags in place of those that it has.
    Tags(BTreeMap<String, String>),
    /// Another retention; none removes it. `bypass` as in [`Removal::bypass`].
    Retention { retention: Option<Retention>, bypass: bool },
    /// Lays or lifts a legal hold.
    LegalHold(bool),
    /// Another access list.
    Acl(Acl),
}

/// When a version may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteCondition {
    /// By its entity tag.
    pub etag: ObjectCondition,
    /// Only if it has so many bytes.
    pub size: Option<u64>,
    /// Only if it was decided in this second, since the epoch.
    pub modified_second: Option<u64>,
}

impl DeleteCondition {
    /// No condition.
    pub const NONE: DeleteCondition = DeleteCondition { etag: ObjectCondition::Any, size: None, modified_second: None };
}

/// What shall be removed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// This version for good; without a name the object, as its bucket's versioning has it.
    pub version: Option<VersionName>,
    /// The identity of a delete marker, should one be needed. Random.
    pub marker: VersionId,
    /// When.
    pub condition: DeleteCondition,
    /// Governance does not stop it.
    pub bypass: bool,
}

/// What a bucket is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketOptions {
    /// Its owner and its access list.
    pub acl: Acl,
    /// With object lock, and so with versions.
    pub lock: bool,
    /// Whether access lists count; none is as [`Ownership::ObjectWriter`], and says so to nobody.
    pub ownership: Option<Ownership>,
}

/// A document about a bucket that is kept as text. The number is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum DocumentKind {
    /// Its tags.
    Tags = 0,
    /// Its CORS configuration.
    Cors = 1,
    /// Its policy.
    Policy = 2,
    /// Its lifecycle.
    Lifecycle = 3,
    /// Its default encryption.
    Encryption = 4,
    /// Its website.
    Website = 5,
    /// Where its access log goes.
    Logging = 6,
    /// Who is told of what happens in it.
    Notification = 7,
    /// Who pays.
    RequestPayment = 8,
}

impl DocumentKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [DocumentKind; 9] = [
        DocumentKind::Tags,
        DocumentKind::Cors,
        DocumentKind::Policy,
        DocumentKind::Lifecycle,
        DocumentKind::Encryption,
        DocumentKind::Website,
        DocumentKind::Logging,
        DocumentKind::Notification,
        DocumentKind::RequestPayment,
    ];
}

/// Largest document about a bucket, in bytes. Well above what S3 allows for any of them.
pub const DOCUMENT_SIZE_MAX: usize = 512 << 10;

/// A change to a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketSetting {
    /// Keeps versions from here on, or not.
    Versioning { enabled: bool },
    /// Object lock, with another default. It needs versions.
    Lock(LockSettings),
    /// Another access list.
    Acl(Acl),
    /// Whether access lists count.
    Ownership(Option<Ownership>),
    /// Another shield.
    PublicBlock(Option<PublicBlock>),
    /// Another document; none removes it.
    Document { kind: DocumentKind, text: Option<String> },
    /// Lifecycle rules, and the document that says the same.
    Lifecycle { text: String, rules: Vec<LifecycleRule> },
}
