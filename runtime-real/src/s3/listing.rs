//! Listings: ListObjects, ListObjectsV2, ListMultipartUploads, in the words of S3.
//!
//! The order, prefixes and delimiters are the state machine's (`Query::List`); here are pages, markers and encodings.
//!
//! Source: AWS, ListObjectsV2 and ListObjects.

use super::buckets::unexpected;
use super::caller::Caller;
use super::error::{coded, from_client};
use super::gateway::{Gateway, Outcome};
use super::{access_lists, habits, names};
use anvil_core::state::{Listed, Listing, Query, QueryAnswer, Upload};
use anvil_core::types::GroupId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::BTreeSet;

/// Entries of one page, at most.
const PAGE_MAX: usize = 1000;

/// Uploads that one listing looks at. The state machine has no marker for them.
const UPLOADS_SEEN_MAX: usize = 100_000;

/// What `encoding-type=url` leaves as it is.
const URL_KEEPS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// How keys are written into a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyEncoding {
    /// As they are.
    Plain,
    /// Percent-encoded, for keys that XML cannot hold.
    Url,
}

impl KeyEncoding {
    pub(super) fn of(encoding: Option<&EncodingType>) -> S3Result<KeyEncoding> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(KeyEncoding::Plain),
            Some("url") => Ok(KeyEncoding::Url),
            Some(_) => Err(coded(S3ErrorCode::InvalidArgument, "Invalid Encoding Method specified in Request.")),
        }
    }

    /// Writes a key, prefix, delimiter or marker.
    pub(super) fn write(self, text: &str) -> String {
        match self {
            KeyEncoding::Plain => text.to_owned(),
            KeyEncoding::Url => utf8_percent_encode(text, URL_KEEPS).to_string(),
        }
    }
}

/// How many entries a page has.
pub(super) fn page_size(given: Option<i32>) -> S3Result<usize> {
    match usize::try_from(given.unwrap_or(1000)) {
        Ok(given) => Ok(given.min(PAGE_MAX)),
        Err(_) => Err(coded(S3ErrorCode::InvalidArgument, "A page size must not be negative.")),
    }
}

/// A count as S3 writes it.
pub(super) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A size as S3 writes it.
pub(super) fn size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn contents(objects: Vec<Listed>, encoding: KeyEncoding, owner: Option<&str>) -> ObjectList {
    let entry = |listed: Listed| Object {
        e_tag: Some(names::etag_dto(listed.etag)),
        key: Some(encoding.write(&listed.key)),
        last_modified: Some(names::timestamp(listed.modified)),
        owner: owner.map(|owner| access_lists::listed_owner(listed.owner, owner)),
        size: Some(size(listed.size)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    };
    objects.into_iter().map(entry).collect()
}

pub(super) fn prefixes(prefixes: &[String], encoding: KeyEncoding) -> CommonPrefixList {
    prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.write(prefix)) }).collect()
}

impl Gateway {
    async fn list(&self, bucket: &str, prefix: &str, delimiter: &str, after: &str, limit: usize) -> S3Result<Listing> {
        if limit == 0 {
            self.require_bucket(bucket.to_owned()).await?;
            return Ok(Listing::default());
        }
        let query = Query::List {
            bucket: names::bucket(bucket.to_owned()),
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            start_after: after.to_owned(),
            limit,
        };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Listing(listing) = answer else { return Err(unexpected("a page of a bucket")) };
        Ok(listing)
    }

    pub(super) async fn objects_list(&self, req: S3Request<ListObjectsInput>) -> Outcome<ListObjectsOutput> {
        let owner = bucket_owner(&req.extensions);
        let input = req.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let (prefix, delimiter, marker) =
            (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default(), input.marker.unwrap_or_default());
        let listing = self.list(&input.bucket, &prefix, &delimiter, &marker, limit).await?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.write(&prefix)),
            marker: Some(encoding.write(&marker)),
            max_keys: Some(count(limit)),
            is_truncated: Some(listing.next.is_some()),
            // AWS gives it only with a delimiter; without one, clients take the last key, which is the same.
            next_marker: listing.next.as_deref().map(|next| encoding.write(next)),
            contents: Some(contents(listing.objects, encoding, Some(&owner))),
            common_prefixes: Some(prefixes(&listing.prefixes, encoding)),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(&delimiter)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) async fn objects_list_v2(&self, req: S3Request<ListObjectsV2Input>) -> Outcome<ListObjectsV2Output> {
        let owner = bucket_owner(&req.extensions);
        let input = req.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let (prefix, delimiter) = (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default());
        let after = match input.continuation_token.as_deref().filter(|token| !token.is_empty()) {
            Some(token) => names::start_after(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listing = self.list(&input.bucket, &prefix, &delimiter, &after, limit).await?;
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.write(&prefix)),
            max_keys: Some(count(limit)),
            key_count: Some(count(listing.objects.len() + listing.prefixes.len())),
            continuation_token: input.continuation_token,
            is_truncated: Some(listing.next.is_some()),
            next_continuation_token: listing.next.as_deref().map(names::token),
            contents: Some(contents(listing.objects, encoding, input.fetch_owner.unwrap_or(false).then_some(&owner))),
            common_prefixes: Some(prefixes(&listing.prefixes, encoding)),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(&delimiter)),
            encoding_type: input.encoding_type,
            start_after: input.start_after.map(|after| encoding.write(&after)),
            ..Default::default()
        }))
    }

    pub(super) async fn uploads_list(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Outcome<ListMultipartUploadsOutput> {
        let owner = bucket_owner(&req.extensions);
        let input = req.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_uploads)?;
        let prefix = input.prefix.unwrap_or_default();
        let query = Query::Uploads {
            bucket: names::bucket(input.bucket.clone()),
            prefix: prefix.clone(),
            limit: UPLOADS_SEEN_MAX,
        };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Uploads { uploads: all, .. } = answer else { return Err(unexpected("uploads")) };
        let delimiter = input.delimiter.clone().unwrap_or_default();
        let after = UploadMarker { key: input.key_marker.clone(), upload: input.upload_id_marker.clone() };
        let page = upload_page(all, &prefix, &delimiter, &after, limit);
        let entry = |upload: Upload| MultipartUpload {
            initiated: Some(names::timestamp(upload.created)),
            initiator: Some(habits::initiator(&owner)),
            key: Some(encoding.write(&upload.key)),
            owner: Some(habits::owner(&owner)),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(names::upload_text(upload.upload)),
            ..Default::default()
        };
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            common_prefixes: Some(prefixes(&page.prefixes, encoding)),
            delimiter: input.delimiter.map(|delimiter| encoding.write(&delimiter)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            key_marker: Some(input.key_marker.map(|key| encoding.write(&key)).unwrap_or_default()),
            max_uploads: Some(count(limit)),
            next_key_marker: page.next.as_ref().and_then(|next| next.key.as_deref()).map(|key| encoding.write(key)),
            next_upload_id_marker: page.next.and_then(|next| next.upload),
            prefix: Some(encoding.write(&prefix)),
            upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
            uploads: Some(page.uploads.into_iter().map(entry).collect()),
            ..Default::default()
        }))
    }
}

/// The owner of the bucket of a request, as it is stored.
fn bucket_owner(extensions: &http::Extensions) -> String {
    Caller::of(extensions).bucket.map(|bucket| bucket.acl.owner.clone()).unwrap_or_default()
}

/// Where a page of uploads begins, or the next one would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UploadMarker {
    /// After the uploads of this key, or among them.
    pub(super) key: Option<String>,
    /// After this upload of the key.
    pub(super) upload: Option<String>,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UploadPage {
    /// Uploads without the delimiter after the prefix.
    pub(super) uploads: Vec<Upload>,
    /// Prefixes up to the delimiter.
    pub(super) prefixes: Vec<String>,
    /// Where the next page begins.
    pub(super) next: Option<UploadMarker>,
}

/// Cuts a page of at most `limit` entries out of `all`, which is in key order.
pub(super) fn upload_page(
    mut all: Vec<Upload>,
    prefix: &str,
    delimiter: &str,
    after: &UploadMarker,
    limit: usize,
) -> UploadPage {
    all.sort_by(|one, other| (&one.key, one.upload).cmp(&(&other.key, other.upload)));
    let mut page = UploadPage::default();
    let mut seen = BTreeSet::new();
    let mut last = None;
    for upload in all {
        let text = names::upload_text(upload.upload);
        let passed = match (&after.key, &after.upload) {
            (None, _) => false,
            (Some(key), Some(id)) if !id.is_empty() => (&upload.key, &text) <= (key, id),
            (Some(key), _) => upload.key <= *key,
        };
        let rest = upload.key.get(prefix.len()..).unwrap_or("");
        let group = match rest.find(delimiter) {
            Some(at) if !delimiter.is_empty() => Some(upload.key[..prefix.len() + at + delimiter.len()].to_owned()),
            Some(_) | None => None,
        };
        let group_passed = group.as_ref().is_some_and(|group| after.key.as_ref().is_some_and(|key| group <= key));
        if passed || group_passed || group.as_ref().is_some_and(|group| seen.contains(group)) {
            continue;
        }
        if page.uploads.len() + page.prefixes.len() == limit {
            page.next = last;
            break;
        }
        match group {
            Some(group) => {
                last = Some(UploadMarker { key: Some(group.clone()), upload: None });
                seen.insert(group.clone());
                page.prefixes.push(group);
            }
            None => {
                last = Some(UploadMarker { key: Some(upload.key.clone()), upload: Some(text) });
                page.uploads.push(upload);
            }
        }
    }
    page
}
