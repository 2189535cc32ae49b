//! Lifecycle: the rows that a rule is judged by, and the search for what is due.
//!
//! The search goes through the buckets that have rules, page by page: the versions of each, then its uploads. A page looks at a
//! bounded number of rows and says where the next one begins, so nothing is held between pages.

use super::super::Moment;
use super::super::command::{BucketName, Expiry, ObjectName, Refusal};
use super::super::layout::{KeyParts, Range, Table};
use super::super::objects::lifecycle::{self, ExpireRows};
use super::super::objects::multipart::AbortRows;
use super::super::objects::rows::{Changes, LifecycleRow, UploadRow, VersionRow};
use super::super::question::{Covering, ExpiryPlace, ExpiryStage, QueryAnswer};
use super::super::rules::{Calendar, KEPT_VERSIONS_MAX, LifecycleRule, Standing, is_upload_due};
use super::{Home, Reader};
use crate::rows::RowsError;
use crate::types::{LogIndex, VersionId};
use alloc::string::String;
use alloc::vec::Vec;

impl Home<'_> {
    pub(super) fn decide_expire(
        &self,
        object: &ObjectName,
        what: Expiry,
        marker: VersionId,
        day: u64,
        moment: Moment,
    ) -> Result<Result<Changes, Refusal>, RowsError> {
        let home = self.reader();
        let rules = home.lifecycle(&object.bucket)?.map_or_else(Vec::new, |row| row.rules);
        Ok(match what {
            Expiry::Version { decided, version, covered_by } => {
                let row = home.version_at(object, decided)?.filter(|row| row.version == version);
                let standing = home.standing(object, decided, covered_by, &rules)?;
                let found = match row.zip(standing) {
                    Some((row, standing)) => Some((home.whole(object, row)?, standing)),
                    None => None,
                };
                let rows = ExpireRows { rules, key: home.key_rows(object)?, found, used: home.version_use(marker)? };
                lifecycle::decide(&rows, object, marker, day, moment)
            }
            Expiry::Upload { upload } => {
                let row = home.upload(object, upload)?;
                let tenant = object.bucket.tenant;
                let parts = if row.is_some() { home.parts(tenant, upload, 0, usize::MAX)? } else { Vec::new() };
                let rows = AbortRows { upload: row, parts };
                lifecycle::decide_upload(&rules, &rows, object, upload, day, moment)
            }
        })
    }
}

impl Reader<'_> {
    pub(super) fn lifecycle(self, bucket: &BucketName) -> Result<Option<LifecycleRow>, RowsError> {
        self.get(&self.layout.lifecycle(bucket))
    }

    /// The first versions of an object in a range, with the index that decided each.
    fn some_versions(self, range: &Range, limit: usize) -> Result<Vec<VersionRow>, RowsError> {
        let found: Vec<((), VersionRow)> = self.collect(range, limit, |_| Some(()))?;
        Ok(found.into_iter().map(|((), row)| row).collect())
    }

    /// How the version that was decided at `decided` stands, if it stands under `covered_by`, or is the newest without that.
    fn standing(
        self,
        object: &ObjectName,
        decided: LogIndex,
        covered_by: Option<LogIndex>,
        rules: &[LifecycleRule],
    ) -> Result<Option<Standing>, RowsError> {
        let all = self.layout.versions_of(object);
        let Some(covered_by) = covered_by else {
            let top = self.some_versions(&all, 2)?;
            let is_newest = top.first().is_some_and(|row| row.decided == decided);
            return Ok(is_newest.then_some(Standing::Newest { alone: top.len() == 1 }));
        };
        let from = self.layout.version(object, covered_by);
        let pair = self.some_versions(&Range { from, to: all.to.clone() }, 2)?;
        let [over, under] = pair.as_slice() else { return Ok(None) };
        if (over.decided, under.decided) != (covered_by, decided) {
            return Ok(None);
        }
        let counts = rules.iter().any(|rule| rule.noncurrent.is_some_and(|noncurrent| noncurrent.keep > 0));
        let newer = if counts { self.newer_noncurrent(&all, decided)? } else { 0 };
        Ok(Some(Standing::Covered { since: over.modified, newer }))
    }

    /// Noncurrent versions that are newer than the one decided at `decided`, which is noncurrent itself, as far as that matters.
    fn newer_noncurrent(self, all: &Range, decided: LogIndex) -> Result<u32, RowsError> {
        // The newest version, those that may be kept, and one more.
        let top = self.some_versions(all, KEPT_VERSIONS_MAX as usize + 2)?;
        let newer = top.iter().take_while(|row| row.decided > decided).count();
        Ok(u32::try_from(newer.saturating_sub(1)).unwrap_or(u32::MAX))
    }

    /// When rules of any bucket were last set.
    pub(super) fn query_rules_set(self) -> Result<QueryAnswer, RowsError> {
        let rows = self.layout.table_rows(Table::Lifecycles);
        let all: Vec<((), LifecycleRow)> = self.collect(&rows, usize::MAX, |_| Some(()))?;
        Ok(QueryAnswer::RulesSet(all.into_iter().map(|((), row)| row.set).max()))
    }

    pub(super) fn query_expirable(
        self,
        after: Option<&ExpiryPlace>,
        limit: usize,
        calendar: Calendar,
    ) -> Result<QueryAnswer, RowsError> {
        let mut due = Vec::new();
        let here = match after {
            None => self.next_with_rules(None)?.map(|(bucket, row)| (bucket, row, ExpiryStage::Versions(None))),
            Some(place) => match self.lifecycle(&place.bucket)? {
                Some(row) => Some((place.bucket.clone(), row, place.stage.clone())),
                None => self
                    .next_with_rules(Some(&place.bucket))?
                    .map(|(bucket, row)| (bucket, row, ExpiryStage::Versions(None))),
            },
        };
        let Some((bucket, row, stage)) = here else { return Ok(QueryAnswer::Expirable { due, next: None }) };
        let stage = match stage {
            ExpiryStage::Versions(from) => {
                let next = self.due_versions(&bucket, &row.rules, from, limit, calendar, &mut due)?;
                let aborts = row.rules.iter().any(|rule| rule.enabled && rule.abort_days.is_some());
                next.map(|next| ExpiryStage::Versions(Some(next))).or(aborts.then_some(ExpiryStage::Uploads(None)))
            }
            ExpiryStage::Uploads(from) => {
                let next = self.due_uploads(&bucket, &row.rules, from, limit, calendar, &mut due)?;
                next.map(|next| ExpiryStage::Uploads(Some(next)))
            }
        };
        let next = match stage {
            Some(stage) => Some(ExpiryPlace { bucket, stage }),
            None => self
                .next_with_rules(Some(&bucket))?
                .map(|(bucket, _)| ExpiryPlace { bucket, stage: ExpiryStage::Versions(None) }),
        };
        Ok(QueryAnswer::Expirable { due, next })
    }

    /// The first bucket after `after` that has rules.
    fn next_with_rules(self, after: Option<&BucketName>) -> Result<Option<(BucketName, LifecycleRow)>, RowsError> {
        let mut range = self.layout.table_rows(Table::Lifecycles);
        if let Some(after) = after {
            range.from = self.layout.lifecycle(after);
            range.from.push(0);
        }
        Ok(self.collect(&range, 1, |mut key| key.bucket())?.pop())
    }

    /// Where the next page begins; `None` at the end.
    fn due_versions(
        self,
        bucket: &BucketName,
        rules: &[LifecycleRule],
        from: Option<Covering>,
        limit: usize,
        calendar: Calendar,
        due: &mut Vec<(ObjectName, Expiry)>,
    ) -> Result<Option<Covering>, RowsError> {
        let Some(row) = self.bucket(bucket)? else { return Ok(None) };
        let mut range = self.layout.in_bucket(Table::Versions, bucket, common_prefix(rules));
        if let Some(last) = &from {
            let object = ObjectName { bucket: bucket.clone(), key: last.key.clone() };
            range.from = self.layout.version(&object, last.decided);
            range.from.push(0);
        }
        let found: Vec<(String, VersionRow)> = self.collect(&range, limit, object_key)?;
        let more = found.len() == limit;
        let mut last = from;
        for (key, version) in found {
            let over = last.take().filter(|last| last.key == key);
            let object = ObjectName { bucket: bucket.clone(), key };
            let standing = match &over {
                Some(over) => Standing::Covered { since: over.modified, newer: over.newer },
                // Only of a marker it matters whether it is alone.
                None if version.is_marker() => {
                    Standing::Newest { alone: self.some_versions(&self.layout.versions_of(&object), 2)?.len() == 1 }
                }
                None => Standing::Newest { alone: false },
            };
            let newer = over.as_ref().map_or(0, |over| over.newer.saturating_add(1));
            if lifecycle::due(rules, &row, &object.key, &version, standing, calendar).is_some() {
                let (decided, version) = (version.decided, version.version);
                let covered_by = over.map(|over| over.decided);
                due.push((object.clone(), Expiry::Version { decided, version, covered_by }));
            }
            last = Some(Covering { key: object.key, decided: version.decided, modified: version.modified, newer });
        }
        Ok(last.filter(|_| more))
    }

    fn due_uploads(
        self,
        bucket: &BucketName,
        rules: &[LifecycleRule],
        from: Option<(String, VersionId)>,
        limit: usize,
        calendar: Calendar,
        due: &mut Vec<(ObjectName, Expiry)>,
    ) -> Result<Option<(String, VersionId)>, RowsError> {
        let mut range = self.layout.in_bucket(Table::Uploads, bucket, common_prefix(rules));
        if let Some((key, upload)) = from {
            range.from = self.layout.upload(&ObjectName { bucket: bucket.clone(), key }, upload);
            range.from.push(0);
        }
        let found: Vec<((String, VersionId), UploadRow)> = self.collect(&range, limit, |mut key| {
            key.bucket()?;
            Some((key.text()?, VersionId(key.number_u128()?)))
        })?;
        let next = found.last().filter(|_| found.len() == limit).map(|(place, _)| place.clone());
        for ((key, upload), row) in found {
            if is_upload_due(rules, &key, &row, calendar) {
                due.push((ObjectName { bucket: bucket.clone(), key }, Expiry::Upload { upload }));
            }
        }
        Ok(next)
    }
}

fn object_key(mut key: KeyParts<'_>) -> Option<String> {
    key.bucket()?;
    key.text()
}

/// What all rules that act want a key to begin with.
fn common_prefix(rules: &[LifecycleRule]) -> &str {
    let mut prefixes = rules.iter().filter(|rule| rule.enabled).map(|rule| rule.filter.prefix.as_str());
    let first = prefixes.next().unwrap_or_default();
    prefixes.fold(first, |common, prefix| {
        let shared = common.char_indices().zip(prefix.chars()).find(|((_, a), b)| a != b);
        let end = shared.map_or(common.len().min(prefix.len()), |((at, _), _)| at);
        &common[..end]
    })
}
