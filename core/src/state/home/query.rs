//! Questions: which rows answer them, and in what form.
//!
//! A query reads a consistent view and changes nothing. Limits come from the caller, who bounds them.

use super::super::attributes::{DocumentKind, VersionName, Versioning};
use super::super::codec;
use super::super::command::{BucketName, ObjectName, Refusal};
use super::super::keys::KeyRow;
use super::super::layout::{KeyParts, Range, Table};
use super::super::objects::amend::shown;
use super::super::objects::list::{Page, Seek, Step};
use super::super::objects::rows::{BucketRow, Content, Current, PartRow, QueuePlace, ReclaimRow, UploadRow};
use super::super::objects::versions::VersionPage;
use super::super::question::{Object, Part, Query, QueryAnswer, Reclaim, Upload};
use super::Reader;
use crate::rows::{RowsError, Scan};
use crate::types::{LogIndex, TenantId, VersionId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

impl Reader<'_> {
    pub(in super::super) fn query(self, query: &Query) -> Result<QueryAnswer, RowsError> {
        match query {
            Query::Key { key } => Ok(QueryAnswer::Key(self.user_key(key)?.map(KeyRow::into_key_value))),
            Query::Keys { prefix, start_after, limit, bytes_max } => {
                self.query_keys(&self.layout.user_keys(prefix, start_after), *limit, *bytes_max)
            }
            Query::Bucket { bucket, documents } => self.query_bucket(bucket, documents),
            Query::Buckets { tenant } => self.query_buckets(*tenant),
            Query::Object { object, version } => self.query_object(object, *version),
            Query::List { bucket, prefix, delimiter, start_after, limit } => {
                self.query_list(bucket, prefix, Page::new(prefix, delimiter, start_after, *limit))
            }
            Query::Versions { bucket, prefix, delimiter, after, limit } => {
                self.query_versions(bucket, prefix, delimiter, after, *limit)
            }
            Query::Parts { object, upload, after, limit } => self.query_parts(object, *upload, *after, *limit),
            Query::Uploads { bucket, prefix, limit } => self.query_uploads(bucket, prefix, *limit),
            Query::Reclaimable { after, limit } => self.query_reclaimable(*after, *limit),
            Query::Bodies { after, limit } => self.query_bodies(*after, *limit),
            Query::Body { version } => self.query_body(*version),
            Query::RulesSet => self.query_rules_set(),
            Query::Expirable { after, limit, calendar } => self.query_expirable(after.as_ref(), *limit, *calendar),
            Query::Topology => Ok(QueryAnswer::Topology { topology: self.topology()?, placement: self.placement()? }),
        }
    }

    fn query_keys(self, range: &Range, limit: usize, bytes_max: usize) -> Result<QueryAnswer, RowsError> {
        let (mut keys, mut more, mut bytes) = (Vec::new(), false, 0);
        self.scan(range, |key, value| {
            if keys.len() == limit || bytes >= bytes_max {
                more = true;
                return Ok(Scan::Stop);
            }
            bytes += key.len() + value.len();
            let row: KeyRow = codec::open(key, value)?;
            keys.push((Bytes::copy_from_slice(KeyParts::new(key).rest()), row.into_key_value()));
            Ok(Scan::Continue)
        })?;
        Ok(QueryAnswer::Keys { keys, more })
    }

    fn query_buckets(self, tenant: TenantId) -> Result<QueryAnswer, RowsError> {
        let found: Vec<(String, BucketRow)> = self.collect(&self.layout.buckets(tenant), usize::MAX, |mut key| {
            key.number_u64()?; // The tenant, which the range names.
            key.text()
        })?;
        Ok(QueryAnswer::Buckets(found))
    }

    fn query_bucket(self, bucket: &BucketName, kinds: &[DocumentKind]) -> Result<QueryAnswer, RowsError> {
        let Some(row) = self.bucket(bucket)? else { return Ok(QueryAnswer::Refused(Refusal::NoSuchBucket)) };
        let mut documents = Vec::new();
        for kind in kinds {
            // The row says what there is, so that nothing is looked for in vain.
            let held = if row.documents.contains(kind) { self.document(bucket, *kind)? } else { None };
            documents.push(held.map(|held| held.text));
        }
        let has_rules = row.documents.contains(&DocumentKind::Lifecycle);
        let rules = if has_rules { self.lifecycle(bucket)? } else { None };
        let rules = rules.map_or_else(Vec::new, |held| held.rules);
        Ok(QueryAnswer::Bucket { row, documents, rules })
    }

    fn query_object(self, object: &ObjectName, version: Option<VersionName>) -> Result<QueryAnswer, RowsError> {
        let Some(bucket) = self.bucket(&object.bucket)? else {
            return Ok(QueryAnswer::Refused(Refusal::NoSuchBucket));
        };
        let row = match shown(self.named_or_newest(object, version)?, version) {
            Ok(row) => row,
            Err(refusal) => return Ok(QueryAnswer::Refused(refusal)),
        };
        let Current { row, parts } = self.whole(object, row)?;
        let name = (bucket.versioning != Versioning::Never).then(|| row.name());
        let bodies = match row.content {
            Content::Single { body, .. } => vec![body],
            Content::Parts { .. } => parts.into_iter().map(|(_, part)| part.body).collect(),
            Content::Marker => unreachable!("a delete marker is not shown"),
        };
        Ok(QueryAnswer::Object(Object {
            version: row.version,
            size: row.size,
            etag: row.etag,
            modified: row.modified,
            metadata: row.metadata,
            bodies,
            name,
            attributes: Box::new(row.attributes),
        }))
    }

    /// As [`Reader::query_list`], of all versions.
    fn query_versions(
        self,
        bucket: &BucketName,
        prefix: &str,
        delimiter: &str,
        after: &(String, Option<VersionName>),
        limit: usize,
    ) -> Result<QueryAnswer, RowsError> {
        if self.bucket(bucket)?.is_none() {
            return Ok(QueryAnswer::Refused(Refusal::NoSuchBucket));
        }
        let (key, name) = after;
        let object = ObjectName { bucket: bucket.clone(), key: key.clone() };
        let decided = match name {
            None => None,
            Some(VersionName::Id { decided, .. }) => Some(*decided),
            Some(VersionName::Null) => self.null_version(&object)?.map(|row| row.decided),
        };
        let newest = if decided.is_some() { self.newest(&object)?.map(|row| row.decided) } else { None };
        let version = decided.map(|decided| (decided, newest.unwrap_or(decided)));
        let (mut page, mut seek) = VersionPage::new(prefix, delimiter, (key, version), limit);
        let to = self.layout.in_bucket(Table::Versions, bucket, prefix).to;
        while let Some(place) = seek.take() {
            let range = Range { from: self.layout.seek(bucket, &place), to: to.clone() };
            self.scan(&range, |key, value| {
                let name = object_key(key).ok_or_else(|| RowsError::Damaged(key.to_vec()))?;
                Ok(match page.offer(&name, &codec::open(key, value)?) {
                    Step::Next => Scan::Continue,
                    Step::Seek(place) => {
                        seek = Some(place);
                        Scan::Stop
                    }
                    Step::Full => Scan::Stop,
                })
            })?;
        }
        Ok(QueryAnswer::Versions(page.finish()))
    }

    /// Fills a page. A jump ends a scan and starts the next one, so the page costs as many steps as it has lines.
    fn query_list(
        self,
        bucket: &BucketName,
        prefix: &str,
        (mut page, start): (Page, Option<Seek>),
    ) -> Result<QueryAnswer, RowsError> {
        if self.bucket(bucket)?.is_none() {
            return Ok(QueryAnswer::Refused(Refusal::NoSuchBucket));
        }
        let to = self.layout.in_bucket(Table::Versions, bucket, prefix).to;
        let mut seek = start;
        while let Some(place) = seek.take() {
            let range = Range { from: self.layout.seek(bucket, &place), to: to.clone() };
            let mut last: Option<String> = None;
            self.scan(&range, |key, value| {
                let name = object_key(key).ok_or_else(|| RowsError::Damaged(key.to_vec()))?;
                if last.as_deref() == Some(name.as_str()) {
                    // An older version: the newest one stands first and was offered.
                    seek = Some(Seek::After(name));
                    return Ok(Scan::Stop);
                }
                Ok(match page.offer(&name, &codec::open(key, value)?) {
                    Step::Next => {
                        last = Some(name);
                        Scan::Continue
                    }
                    Step::Seek(place) => {
                        seek = Some(place);
                        Scan::Stop
                    }
                    Step::Full => Scan::Stop,
                })
            })?;
        }
        Ok(QueryAnswer::Listing(page.finish()))
    }

    fn query_parts(
        self,
        object: &ObjectName,
        upload: VersionId,
        after: u16,
        limit: usize,
    ) -> Result<QueryAnswer, RowsError> {
        if self.upload(object, upload)?.is_none() {
            return Ok(QueryAnswer::Refused(Refusal::NoSuchUpload));
        }
        let mut found = self.parts(object.bucket.tenant, upload, after, limit.saturating_add(1))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let part = |(number, row): (u16, PartRow)| Part {
            number,
            size: row.body.size,
            etag: row.etag,
            modified: row.modified,
            checksums: row.checksums,
        };
        Ok(QueryAnswer::Parts { parts: found.into_iter().map(part).collect(), more })
    }

    fn query_uploads(self, bucket: &BucketName, prefix: &str, limit: usize) -> Result<QueryAnswer, RowsError> {
        if self.bucket(bucket)?.is_none() {
            return Ok(QueryAnswer::Refused(Refusal::NoSuchBucket));
        }
        let range = self.layout.in_bucket(Table::Uploads, bucket, prefix);
        let (found, more) = self.page(&range, limit, |mut key| {
            key.bucket()?;
            Some((key.text()?, VersionId(key.number_u128()?)))
        })?;
        let upload =
            |((key, upload), row): ((String, VersionId), UploadRow)| Upload { key, upload, created: row.created };
        Ok(QueryAnswer::Uploads { uploads: found.into_iter().map(upload).collect(), more })
    }

    fn query_reclaimable(self, after: Option<QueuePlace>, limit: usize) -> Result<QueryAnswer, RowsError> {
        let found = self.collect(&self.layout.reclaim_after(after), limit, |mut key| {
            Some(QueuePlace { retired: LogIndex(key.number_u64()?), ordinal: key.number_u32()? })
        })?;
        let reclaim =
            |(place, row): (QueuePlace, ReclaimRow)| Reclaim { place, version: row.version, drives: row.drives };
        Ok(QueryAnswer::Reclaimable(found.into_iter().map(reclaim).collect()))
    }

    /// At most `limit` rows of a range, and whether there are more.
    fn page<N, T: codec::Stored>(
        self,
        range: &Range,
        limit: usize,
        name: impl FnMut(KeyParts<'_>) -> Option<N>,
    ) -> Result<(Vec<(N, T)>, bool), RowsError> {
        let mut found = self.collect(range, limit.saturating_add(1), name)?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }
}

/// The object's key in the key of a version row.
fn object_key(key: &[u8]) -> Option<String> {
    let mut key = KeyParts::new(key);
    key.bucket()?;
    key.text()
}
