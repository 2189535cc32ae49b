//! What clients ask by habit about things that Anvil does not have, and who owns things.
//!
//! The answers are those of AWS for a bucket on which nothing was configured, so that clients go on.

use super::error::custom;
use super::gateway::{Gateway, Outcome};
use crate::users::{FIRST_ID, shown};
use http::StatusCode;
use s3s::dto::*;

/// An owner, by the id as it is stored. Names are shown where an access list is.
pub(super) fn owner(id: &str) -> Owner {
    let id = shown(id).to_owned();
    Owner { display_name: (id == FIRST_ID).then(|| id.clone()), id: Some(id) }
}

/// Who began an upload.
pub(super) fn initiator(id: &str) -> Initiator {
    let id = shown(id).to_owned();
    Initiator { display_name: (id == FIRST_ID).then(|| id.clone()), id: Some(id) }
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

/// `s3s` leaves out the attribute that says what a grantee is, and `s3cmd` cannot do without.
pub(super) fn complete_grants(xml: &str) -> String {
    const OF_USER: &str =
        "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">";
    const OF_GROUP: &str = "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\">";
    let mut pieces = xml.split("<Grantee>");
    let mut complete = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        complete.push_str(if piece.starts_with("<URI>") { OF_GROUP } else { OF_USER });
        complete.push_str(piece);
    }
    complete
}

impl Gateway {
    /// 404 with `code`, if the bucket is there.
    pub(super) async fn absent<T>(&self, bucket: String, code: &'static str, message: &'static str) -> Outcome<T> {
        self.require_bucket(bucket).await?;
        Err(custom(StatusCode::NOT_FOUND, code, message))
    }
}
