//! The anchor home of the metadata: fetches the rows that an operation names from the ordered map, and writes changes.
//!
//! The thin layer between rules that know typed rows and a map that knows bytes. It decides nothing: which rows, in which
//! order, and no more. [`Reader`] is the half that reads, here and in `query`; [`Home`] also writes, here, in `operate`
//! (one command) and in `session` (exactly-once around a command). Every row passes `codec::open` (`STATE-4`).

mod bodies;
mod cluster;
mod lifecycle;
mod operate;
mod query;
mod session;

use super::attributes::{DocumentKind, VersionName, Versioning};
use super::codec::{self, Stored};
use super::command::{BucketName, ObjectName};
use super::keys::KeyRow;
use super::layout::{KeyParts, Layout, Range, Table};
use super::objects::retire::{self, FORGET_MAX};
use super::objects::rows::{
    BucketRow, Change, Changes, Content, Current, DocumentRow, KeyRows, NullRow, PartRow, PastRow, UploadRow,
    VersionRow, VersionUse,
};
use super::{Applied, MembershipRow, Moment};
use crate::rows::{Rows, RowsError, RowsMut, Scan};
use crate::types::{GroupId, LogIndex, Membership, TenantId, VersionId, WallTime};
use alloc::vec::Vec;

/// Typed reads of one group's rows.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    layout: Layout,
    rows: &'a dyn Rows,
}

impl<'a> Reader<'a> {
    pub(super) fn new(group: GroupId, rows: &'a dyn Rows) -> Reader<'a> {
        Reader { layout: Layout(group), rows }
    }

    pub(super) fn meta(self) -> Result<Applied, RowsError> {
        Ok(self.get(&self.layout.meta())?.unwrap_or_default())
    }

    pub(super) fn membership(self) -> Result<Option<Membership>, RowsError> {
        let key = self.layout.membership();
        self.get::<MembershipRow>(&key)?.map(|row| row.open(&key)).transpose()
    }

    fn get<T: Stored>(self, key: &[u8]) -> Result<Option<T>, RowsError> {
        self.rows.get(key)?.map(|value| codec::open(key, &value)).transpose()
    }

    /// Visits the rows of a range with their values still closed. An error of the visitor ends the scan.
    pub(super) fn scan(
        self,
        range: &Range,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<Scan, RowsError>,
    ) -> Result<(), RowsError> {
        let mut failure = None;
        self.rows.scan(&range.from, range.to.as_deref(), &mut |key, value| {
            visit(key, value).unwrap_or_else(|error| {
                failure = Some(error);
                Scan::Stop
            })
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// At most `limit` rows of a range: what `name` makes of each key, and the row.
    fn collect<N, T: Stored>(
        self,
        range: &Range,
        limit: usize,
        mut name: impl FnMut(KeyParts<'_>) -> Option<N>,
    ) -> Result<Vec<(N, T)>, RowsError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.scan(range, |key, value| {
            let row = codec::open(key, value)?;
            let name = name(KeyParts::new(key)).ok_or_else(|| RowsError::Damaged(key.to_vec()))?;
            found.push((name, row));
            Ok(if found.len() == limit { Scan::Stop } else { Scan::Continue })
        })?;
        Ok(found)
    }

    /// Whether a range holds any row.
    fn any(self, range: &Range) -> Result<bool, RowsError> {
        let mut any = false;
        self.scan(range, |key, value| {
            codec::verify(key, value)?;
            any = true;
            Ok(Scan::Stop)
        })?;
        Ok(any)
    }

    fn user_key(self, key: &[u8]) -> Result<Option<KeyRow>, RowsError> {
        self.get(&self.layout.user_key(key))
    }

    fn bucket(self, bucket: &BucketName) -> Result<Option<BucketRow>, RowsError> {
        self.get(&self.layout.bucket(bucket))
    }

    fn document(self, bucket: &BucketName, kind: DocumentKind) -> Result<Option<DocumentRow>, RowsError> {
        self.get(&self.layout.document(bucket, kind))
    }

    /// The newest version of an object, without its parts.
    fn newest(self, object: &ObjectName) -> Result<Option<VersionRow>, RowsError> {
        let newest = self.collect(&self.layout.versions_of(object), 1, |mut key| {
            key.bucket()?;
            key.text()?;
            key.number_u64()
        })?;
        let Some((inverted, row)) = newest.into_iter().next() else { return Ok(None) };
        let row: VersionRow = row;
        if row.decided != LogIndex(!inverted) {
            return Err(RowsError::Damaged(self.layout.version(object, LogIndex(!inverted))));
        }
        Ok(Some(row))
    }

    /// The version that was decided at an index, without its parts.
    fn version_at(self, object: &ObjectName, decided: LogIndex) -> Result<Option<VersionRow>, RowsError> {
        let key = self.layout.version(object, decided);
        let row: Option<VersionRow> = self.get(&key)?;
        match row {
            Some(row) if row.decided != decided => Err(RowsError::Damaged(key)),
            row => Ok(row),
        }
    }

    /// The null version of an object (`VERSION-2`).
    fn null_version(self, object: &ObjectName) -> Result<Option<VersionRow>, RowsError> {
        let newest = self.newest(object)?;
        if newest.as_ref().is_some_and(|row| row.is_null) {
            return Ok(newest);
        }
        let key = self.layout.null(object);
        let Some(NullRow { decided }) = self.get(&key)? else { return Ok(None) };
        self.version_at(object, decided)?.filter(|row| row.is_null).map(Some).ok_or(RowsError::Damaged(key))
    }

    /// The version of that name.
    fn named(self, object: &ObjectName, name: VersionName) -> Result<Option<VersionRow>, RowsError> {
        match name {
            VersionName::Null => self.null_version(object),
            VersionName::Id { decided, version } => {
                Ok(self.version_at(object, decided)?.filter(|row| row.version == version))
            }
        }
    }

    /// The version of that name, or the newest one.
    fn named_or_newest(self, object: &ObjectName, name: Option<VersionName>) -> Result<Option<VersionRow>, RowsError> {
        name.map_or_else(|| self.newest(object), |name| self.named(object, name))
    }

    /// A version with its parts.
    fn whole(self, object: &ObjectName, row: VersionRow) -> Result<Current, RowsError> {
        let parts = match &row.content {
            Content::Single { .. } | Content::Marker => Vec::new(),
            Content::Parts { count } => {
                let parts = self.parts(object.bucket.tenant, row.version, 0, usize::MAX)?;
                if u32::try_from(parts.len()) != Ok(*count) {
                    return Err(RowsError::Damaged(self.layout.version(object, row.decided)));
                }
                parts
            }
        };
        Ok(Current { row, parts })
    }

    /// The rows that a change to an object is decided over.
    fn key_rows(self, object: &ObjectName) -> Result<KeyRows, RowsError> {
        let bucket = self.bucket(&object.bucket)?;
        let versioning = bucket.as_ref().map(|bucket| bucket.versioning);
        let current = match self.newest(object)? {
            // Nothing on top of it replaces it, so its parts, which can be many, are not needed.
            Some(row) if versioning == Some(Versioning::Enabled) => Some(Current { row, parts: Vec::new() }),
            Some(row) => Some(self.whole(object, row)?),
            None => None,
        };
        // Only a write to a bucket that stopped keeping versions replaces a null version that is covered.
        let null = match &current {
            Some(current) if versioning == Some(Versioning::Suspended) && !current.row.is_null => {
                self.null_version(object)?.map(|row| self.whole(object, row)).transpose()?
            }
            Some(_) | None => None,
        };
        Ok(KeyRows { bucket, current, null })
    }

    fn upload(self, object: &ObjectName, upload: VersionId) -> Result<Option<UploadRow>, RowsError> {
        self.get(&self.layout.upload(object, upload))
    }

    fn part(self, tenant: TenantId, upload: VersionId, number: u16) -> Result<Option<PartRow>, RowsError> {
        self.get(&self.layout.part(tenant, upload, number))
    }

    /// Parts whose number is above `after`, in number order.
    fn parts(
        self,
        tenant: TenantId,
        upload: VersionId,
        after: u16,
        limit: usize,
    ) -> Result<Vec<(u16, PartRow)>, RowsError> {
        self.collect(&self.layout.parts(tenant, upload, after), limit, |mut key| {
            key.number_u64()?; // The tenant and the upload, which the range names.
            key.number_u128()?;
            key.number_u16()
        })
    }

    fn version_use(self, version: VersionId) -> Result<Option<VersionUse>, RowsError> {
        self.get(&self.layout.version_use(version))
    }

    /// The past versions that may be forgotten first.
    fn oldest_past(self) -> Result<Vec<(WallTime, VersionId, PastRow)>, RowsError> {
        let found = self.collect(&self.layout.table_rows(Table::Past), FORGET_MAX, |mut key| {
            Some((WallTime(key.number_u64()?), VersionId(key.number_u128()?)))
        })?;
        Ok(found.into_iter().map(|((until, version), row)| (until, version, row)).collect())
    }
}

/// Typed reads and writes of one group's rows.
pub(super) struct Home<'a> {
    layout: Layout,
    rows: &'a mut dyn RowsMut,
}

impl<'a> Home<'a> {
    pub(super) fn new(group: GroupId, rows: &'a mut dyn RowsMut) -> Home<'a> {
        Home { layout: Layout(group), rows }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { layout: self.layout, rows: &*self.rows }
    }

    pub(super) fn put_meta(&mut self, meta: &Applied) -> Result<(), RowsError> {
        self.put(&self.layout.meta(), meta)
    }

    pub(super) fn put_membership(&mut self, membership: &Membership) -> Result<(), RowsError> {
        self.put(&self.layout.membership(), &MembershipRow::of(membership))
    }

    /// Takes a bounded share of what time has made obsolete: idle sessions and past versions.
    pub(super) fn keep_house(&mut self, moment: Moment) -> Result<(), RowsError> {
        self.expire_sessions(moment)?;
        let oldest = self.reader().oldest_past()?;
        self.write(&retire::forget(&oldest, moment))
    }

    fn put<T: Stored>(&mut self, key: &[u8], row: &T) -> Result<(), RowsError> {
        self.rows.put(key, &codec::seal(key, row))
    }

    fn write(&mut self, changes: &Changes) -> Result<(), RowsError> {
        changes.rows.iter().try_for_each(|change| self.write_one(change))
    }

    fn write_one(&mut self, change: &Change) -> Result<(), RowsError> {
        let layout = self.layout;
        match change {
            Change::PutBucket(bucket, row) => self.put(&layout.bucket(bucket), row.as_ref()),
            Change::RemoveBucket(bucket) => self.rows.remove(&layout.bucket(bucket)),
            Change::PutVersion(object, row) => self.put(&layout.version(object, row.decided), row.as_ref()),
            Change::RemoveVersion(object, decided) => self.rows.remove(&layout.version(object, *decided)),
            Change::PutUpload(object, upload, row) => self.put(&layout.upload(object, *upload), row.as_ref()),
            Change::RemoveUpload(object, upload) => self.rows.remove(&layout.upload(object, *upload)),
            Change::PutPart(tenant, upload, number, row) => {
                self.put(&layout.part(*tenant, *upload, *number), row.as_ref())
            }
            Change::RemovePart(tenant, upload, number) => self.rows.remove(&layout.part(*tenant, *upload, *number)),
            Change::PutReclaim(place, row) => self.put(&layout.reclaim(*place), row),
            Change::RemoveReclaim(place) => self.rows.remove(&layout.reclaim(*place)),
            Change::PutUse(version, used) => self.put(&layout.version_use(*version), used),
            Change::RemoveUse(version) => self.rows.remove(&layout.version_use(*version)),
            Change::PutPast(until, version, row) => self.put(&layout.past(*until, *version), row),
            Change::RemovePast(until, version) => self.rows.remove(&layout.past(*until, *version)),
            Change::PutLeaving(version, drive, place) => self.put(&layout.leaving(*version, *drive), place),
            Change::RemoveLeaving(version, drive) => self.rows.remove(&layout.leaving(*version, *drive)),
            Change::PutNull(object, row) => self.put(&layout.null(object), row),
            Change::RemoveNull(object) => self.rows.remove(&layout.null(object)),
            Change::PutDocument(bucket, kind, row) => self.put(&layout.document(bucket, *kind), row),
            Change::RemoveDocument(bucket, kind) => self.rows.remove(&layout.document(bucket, *kind)),
            Change::PutLifecycle(bucket, row) => self.put(&layout.lifecycle(bucket), row),
            Change::RemoveLifecycle(bucket) => self.rows.remove(&layout.lifecycle(bucket)),
        }
    }
}
