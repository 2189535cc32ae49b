//! Versions: whether a bucket keeps them, and the listing of all of them.
//!
//! Source: AWS, ListObjectVersions, PutBucketVersioning.

use super::buckets::unexpected;
use super::caller::Caller;
use super::error::{coded, from_client};
use super::gateway::{Gateway, Outcome};
use super::listing::{KeyEncoding, count, page_size, prefixes, size};
use super::{access_lists, names};
use anvil_core::state::{BucketSetting, ListedVersion, Query, QueryAnswer, VersionListing, Versioning};
use anvil_core::types::GroupId;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Response};

impl Gateway {
    pub(super) async fn versioning_get(&self, input: GetBucketVersioningInput) -> Outcome<GetBucketVersioningOutput> {
        let row = self.require_bucket(input.bucket).await?;
        let status = match row.versioning {
            Versioning::Never => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        let status = status.map(BucketVersioningStatus::from_static);
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
    }

    pub(super) async fn versioning_put(&self, input: PutBucketVersioningInput) -> Outcome<PutBucketVersioningOutput> {
        let given = input.versioning_configuration;
        if given.mfa_delete.is_some_and(|mfa| mfa.as_str() == MFADelete::ENABLED) {
            return Err(coded(S3ErrorCode::NotImplemented, "Deleting with a second factor is not supported."));
        }
        let enabled = match given.status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => true,
            Some(BucketVersioningStatus::SUSPENDED) => false,
            Some(_) | None => {
                let message = "The Versioning element must be specified";
                return Err(coded(S3ErrorCode::IllegalVersioningConfigurationException, message));
            }
        };
        self.configure(input.bucket, BucketSetting::Versioning { enabled }).await?;
        Ok(S3Response::new(PutBucketVersioningOutput {}))
    }

    pub(super) async fn versions_list(
        &self,
        input: ListObjectVersionsInput,
        caller: Caller,
    ) -> Outcome<ListObjectVersionsOutput> {
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let (prefix, delimiter) = (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default());
        let key_marker = input.key_marker.clone().unwrap_or_default();
        let version_marker = names::version(input.version_id_marker.as_deref())?;
        if version_marker.is_some() && key_marker.is_empty() {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(coded(S3ErrorCode::InvalidArgument, message));
        }
        let listing = if limit == 0 {
            VersionListing::default()
        } else {
            let query = Query::Versions {
                bucket: names::bucket(input.bucket.clone()),
                prefix: prefix.clone(),
                delimiter: delimiter.clone(),
                after: (key_marker.clone(), version_marker),
                limit,
            };
            let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
            let QueryAnswer::Versions(listing) = answer else { return Err(unexpected("a page of versions")) };
            listing
        };
        let owner = caller.bucket.as_ref().map(|bucket| bucket.acl.owner.clone()).unwrap_or_default();
        let (markers, versions): (Vec<_>, Vec<_>) = listing.versions.into_iter().partition(|line| line.is_marker);
        let version = |line: ListedVersion| ObjectVersion {
            e_tag: Some(names::etag_dto(line.listed.etag)),
            is_latest: Some(line.is_latest),
            key: Some(encoding.write(&line.listed.key)),
            last_modified: Some(names::timestamp(line.listed.modified)),
            owner: Some(access_lists::listed_owner(line.listed.owner, &owner)),
            size: Some(size(line.listed.size)),
            storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
            version_id: Some(names::version_text(line.name)),
            ..Default::default()
        };
        let marker = |line: ListedVersion| DeleteMarkerEntry {
            is_latest: Some(line.is_latest),
            key: Some(encoding.write(&line.listed.key)),
            last_modified: Some(names::timestamp(line.listed.modified)),
            owner: Some(access_lists::listed_owner(line.listed.owner, &owner)),
            version_id: Some(names::version_text(line.name)),
        };
        let (next_key, next_version) = match listing.next {
            Some((key, version)) => (Some(encoding.write(&key)), version.map(names::version_text)),
            None => (None, None),
        };
        Ok(S3Response::new(ListObjectVersionsOutput {
            common_prefixes: Some(prefixes(&listing.prefixes, encoding)),
            delete_markers: Some(markers.into_iter().map(marker).collect()),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(&delimiter)),
            encoding_type: input.encoding_type,
            is_truncated: Some(next_key.is_some()),
            key_marker: Some(encoding.write(&key_marker)),
            max_keys: Some(count(limit)),
            name: Some(input.bucket),
            next_key_marker: next_key,
            next_version_id_marker: next_version,
            prefix: Some(encoding.write(&prefix)),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            versions: Some(versions.into_iter().map(version).collect()),
            ..Default::default()
        }))
    }
}
