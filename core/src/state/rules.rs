//! Lifecycle rules of a bucket: their words, and what they say of one version or upload.
//!
//! Pure judgement over times, sizes and tags. A day has the length that the cluster was given, and what is due is due when a
//! day ends: S3 adds the days to the time that counts and rounds up to the next midnight UTC.
//!
//! - `LIFE-1`: a rule acts only on what its filter matches: every one of its terms.
//! - `LIFE-2`: a version counts as noncurrent since the one that covers it was decided.
//!
//! Source: Amazon S3 user guide, "Lifecycle configuration elements". Not here: what a removal does (`objects::lifecycle`),
//! what may not go (`objects::lock`), and the XML (the gateway).

use super::objects::rows::{UploadRow, VersionRow};
use crate::types::WallTime;
use alloc::collections::BTreeMap;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Rules of one bucket.
pub const LIFECYCLE_RULES_MAX: usize = 1000;
/// Most noncurrent versions that a rule may keep.
pub const KEPT_VERSIONS_MAX: u32 = 100;

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRule {
    /// Its name, unique in the bucket.
    pub id: String,
    /// A rule that is not does nothing.
    pub enabled: bool,
    /// What it is about.
    pub filter: LifecycleFilter,
    /// When objects expire.
    pub expiration: Option<Expiration>,
    /// When noncurrent versions go.
    pub noncurrent: Option<NoncurrentExpiration>,
    /// Days after which an upload that was not completed is aborted.
    pub abort_days: Option<u32>,
}

/// What a rule is about: whatever all of these match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleFilter {
    /// The key begins with it.
    pub prefix: String,
    /// The version has all of these tags. Uploads and delete markers have none.
    pub tags: BTreeMap<String, String>,
    /// It has more bytes than this. Uploads and delete markers have no size.
    pub larger_than: Option<u64>,
    /// It has fewer bytes than this.
    pub smaller_than: Option<u64>,
}

/// When an object expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// So many days after it was made.
    Days(u32),
    /// From this time on.
    Date(WallTime),
    /// Never; but a delete marker under which nothing is left goes.
    Marker,
}

/// When noncurrent versions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncurrentExpiration {
    /// So many days after they were covered.
    pub days: u32,
    /// So many of the newest noncurrent ones stay; at most [`KEPT_VERSIONS_MAX`].
    pub keep: u32,
}

/// What time it is for rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Replicated time.
    pub now: WallTime,
    /// Milliseconds of a day; 0 counts as 1.
    pub day: u64,
}

impl Calendar {
    /// When `days` days after `from` are over: at the end of a day.
    #[must_use]
    pub fn due(self, from: WallTime, days: u32) -> WallTime {
        let day = self.day.max(1);
        let exact = from.0.saturating_add(u64::from(days).saturating_mul(day));
        WallTime(exact.div_ceil(day).saturating_mul(day))
    }

    fn is_over(self, from: WallTime, days: u32) -> bool {
        self.now >= self.due(from, days)
    }
}

/// How a version stands among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the newest one.
    Newest {
        /// There is no other.
        alone: bool,
    },
    /// It is noncurrent.
    Covered {
        /// When the version on top of it was decided.
        since: WallTime,
        /// Noncurrent versions of the key that are newer. More than [`KEPT_VERSIONS_MAX`] need not be counted.
        newer: u32,
    },
}

/// What rules want done with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The object expires: it is deleted as a client would delete it, without naming a version.
    Expire,
    /// The version goes for good.
    Remove,
}

impl LifecycleFilter {
    /// `LIFE-1`, of a version that holds an object.
    #[must_use]
    pub fn matches(&self, key: &str, size: u64, tags: &BTreeMap<String, String>) -> bool {
        key.starts_with(&self.prefix)
            && self.tags.iter().all(|(name, value)| tags.get(name) == Some(value))
            && self.larger_than.is_none_or(|bound| size > bound)
            && self.smaller_than.is_none_or(|bound| size < bound)
    }

    /// `LIFE-1`, of what has neither size nor tags.
    fn matches_bare(&self, key: &str) -> bool {
        let is_bare = self.tags.is_empty() && self.larger_than.is_none() && self.smaller_than.is_none();
        is_bare && key.starts_with(&self.prefix)
    }

    fn matches_row(&self, key: &str, row: &VersionRow) -> bool {
        if row.is_marker() { self.matches_bare(key) } else { self.matches(key, row.size, &row.attributes.tags) }
    }
}

/// What `rules` want done with a version now.
#[must_use]
pub fn due(
    rules: &[LifecycleRule],
    key: &str,
    row: &VersionRow,
    standing: Standing,
    calendar: Calendar,
) -> Option<Due> {
    let mut rules = rules.iter().filter(|rule| rule.enabled && rule.filter.matches_row(key, row));
    match standing {
        Standing::Newest { .. } if !row.is_marker() => {
            let is_over = |expiration| match expiration {
                Expiration::Days(days) => calendar.is_over(row.modified, days),
                Expiration::Date(date) => calendar.now >= date,
                Expiration::Marker => false,
            };
            rules.any(|rule| rule.expiration.is_some_and(is_over)).then_some(Due::Expire)
        }
        Standing::Newest { alone } => {
            let is_over = |expiration| match expiration {
                // S3 lets an old marker that is alone go under a rule of days, too.
                Expiration::Days(days) => calendar.is_over(row.modified, days),
                Expiration::Date(_) => false,
                Expiration::Marker => true,
            };
            (alone && rules.any(|rule| rule.expiration.is_some_and(is_over))).then_some(Due::Remove)
        }
        // LIFE-2
        Standing::Covered { since, newer } => {
            let is_over = |rule: NoncurrentExpiration| newer >= rule.keep && calendar.is_over(since, rule.days);
            rules.any(|rule| rule.noncurrent.is_some_and(is_over)).then_some(Due::Remove)
        }
    }
}

/// Whether `rules` want an upload aborted now.
#[must_use]
pub fn is_upload_due(rules: &[LifecycleRule], key: &str, row: &UploadRow, calendar: Calendar) -> bool {
    let mut rules = rules.iter().filter(|rule| rule.enabled && rule.filter.matches_bare(key));
    rules.any(|rule| rule.abort_days.is_some_and(|days| calendar.is_over(row.created, days)))
}

/// When an object that is the newest of its key expires, and the name of the rule that wants it first.
#[must_use]
pub fn expires<'r>(
    rules: &'r [LifecycleRule],
    key: &str,
    size: u64,
    tags: &BTreeMap<String, String>,
    modified: WallTime,
    day: u64,
) -> Option<(WallTime, &'r str)> {
    let calendar = Calendar { now: modified, day };
    let rules = rules.iter().filter(|rule| rule.enabled && rule.filter.matches(key, size, tags));
    let at = |rule: &'r LifecycleRule| match rule.expiration? {
        Expiration::Days(days) => Some((calendar.due(modified, days), rule.id.as_str())),
        Expiration::Date(date) => Some((date, rule.id.as_str())),
        Expiration::Marker => None,
    };
    rules.filter_map(at).min_by_key(|(at, _)| *at)
}
