//! What clients ask by habit about things that Anvil does not have: versioning, access lists, policies, tags.
//!
//! The answers are those of AWS for a bucket on which nothing was configured, so that clients go on.

use super::error::custom;
use super::gateway::{Gateway, Outcome};
use super::wishes::OWNER_ID;
use http::StatusCode;
use s3s::dto::*;

/// The one owner of everything.
pub(super) fn owner() -> Owner {
    Owner { display_name: Some(OWNER_ID.to_owned()), id: Some(OWNER_ID.to_owned()) }
}

/// The one owner, as who began an upload.
pub(super) fn initiator() -> Initiator {
    Initiator { display_name: Some(OWNER_ID.to_owned()), id: Some(OWNER_ID.to_owned()) }
}

/// The owner has full control, and nobody else anything.
pub(super) fn grants() -> Grants {
    let grantee = Grantee {
        display_name: Some(OWNER_ID.to_owned()),
        email_address: None,
        id: Some(OWNER_ID.to_owned()),
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    vec![Grant { grantee: Some(grantee), permission: Some(Permission::from_static(Permission::FULL_CONTROL)) }]
}

/// Every object is encrypted, with keys of the node.
pub(super) fn encryption() -> GetBucketEncryptionOutput {
    let default = ServerSideEncryptionByDefault {
        kms_master_key_id: None,
        sse_algorithm: ServerSideEncryption::from_static(ServerSideEncryption::AES256),
    };
    let rule = ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(default),
        bucket_key_enabled: Some(false),
    };
    GetBucketEncryptionOutput {
        server_side_encryption_configuration: Some(ServerSideEncryptionConfiguration { rules: vec![rule] }),
    }
}

/// There are no access lists: the owner of the bucket owns what is in it.
pub(super) fn ownership() -> GetBucketOwnershipControlsOutput {
    let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let rules = vec![OwnershipControlsRule { object_ownership }];
    GetBucketOwnershipControlsOutput { ownership_controls: Some(OwnershipControls { rules }) }
}

/// `s3s` leaves out the attribute that says what a grantee is, and `s3cmd` cannot do without.
pub(super) fn complete_grants(xml: &str) -> String {
    const COMPLETE: &str =
        "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">";
    xml.replace("<Grantee>", COMPLETE)
}

impl Gateway {
    /// 404 with `code`, if the bucket is there.
    pub(super) async fn absent<T>(&self, bucket: String, code: &'static str, message: &'static str) -> Outcome<T> {
        self.require_bucket(bucket).await?;
        Err(custom(StatusCode::NOT_FOUND, code, message))
    }
}
