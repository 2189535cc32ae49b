//! Object lock: which versions may not be removed, and how their retention may change.
//!
//! - `LOCK-1`: a version under a legal hold, or whose retention has not ended by replicated time, is removed by no command
//!   and by no path; only governance gives way to who may bypass it. Every removal passes [`check_removal`].
//! - `LOCK-2`: a retention of compliance is never shortened and never weakened.
//!
//! Source: Amazon S3 user guide, "Locking objects with Object Lock". Not here: who may bypass governance (`crate::access`).

use super::super::Moment;
use super::super::attributes::{Attributes, DefaultRetention, Period, Retention, RetentionMode};
use super::super::command::Refusal;
use super::rows::{BucketRow, VersionRow};
use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest default retention, in days (Amazon S3 user guide).
const DAYS_MAX: u32 = 36_500;
/// Longest default retention, in years.
const YEARS_MAX: u32 = 100;

/// `LOCK-1`
///
/// # Errors
/// `Locked`.
pub(super) fn check_removal(row: &VersionRow, bypass: bool, moment: Moment) -> Result<(), Refusal> {
    if row.is_marker() {
        return Ok(());
    }
    let is_retained = row.attributes.retention.is_some_and(|retention| {
        let gives_way = bypass && retention.mode == RetentionMode::Governance;
        retention.until >= moment.time && !gives_way
    });
    if is_retained || row.attributes.legal_hold { Err(Refusal::Locked) } else { Ok(()) }
}

/// Checks that a version may be given another retention.
///
/// # Errors
/// `NoLock`, `Invalid` for a time that has passed, `Locked`.
pub(super) fn check_change(
    bucket: &BucketRow,
    row: &VersionRow,
    wanted: Option<Retention>,
    bypass: bool,
    moment: Moment,
) -> Result<(), Refusal> {
    check_given(bucket, wanted, moment)?;
    let Some(held) = row.attributes.retention.filter(|held| held.until >= moment.time) else { return Ok(()) };
    let is_weaker = match wanted {
        None => true,
        Some(wanted) => wanted.until < held.until || wanted.mode != held.mode,
    };
    // LOCK-2
    let may = !is_weaker || (bypass && held.mode == RetentionMode::Governance);
    if may { Ok(()) } else { Err(Refusal::Locked) }
}

/// Checks a retention that comes with a command.
///
/// # Errors
/// `NoLock`, `Invalid` for a time that has passed.
fn check_given(bucket: &BucketRow, wanted: Option<Retention>, moment: Moment) -> Result<(), Refusal> {
    if bucket.lock.is_none() {
        return Err(Refusal::NoLock);
    }
    if wanted.is_some_and(|wanted| wanted.until <= moment.time) {
        return Err(Refusal::Invalid("The retain until date must be in the future!".to_string()));
    }
    Ok(())
}

/// The attributes of a new version, with the bucket's default retention if it brings none.
///
/// # Errors
/// `NoLock` when it brings a lock and the bucket has none; `Invalid` for a time that has passed.
pub(super) fn complete(bucket: &BucketRow, attributes: &Attributes, moment: Moment) -> Result<Attributes, Refusal> {
    if attributes.retention.is_some() || attributes.legal_hold {
        check_given(bucket, attributes.retention, moment)?;
    }
    let mut complete = attributes.clone();
    let default = bucket.lock.and_then(|lock| lock.default);
    complete.retention = complete.retention.or_else(|| {
        default.map(|default| Retention { mode: default.mode, until: moment.time.after(length(default.period)) })
    });
    Ok(complete)
}

fn length(period: Period) -> Duration {
    match period {
        Period::Days(days) => DAY * days,
        Period::Years(years) => DAY * 365 * years,
    }
}

/// Checks a default retention.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_default(default: Option<DefaultRetention>) -> Result<(), Refusal> {
    let fits = match default.map(|default| default.period) {
        None => true,
        Some(Period::Days(days)) => (1..=DAYS_MAX).contains(&days),
        Some(Period::Years(years)) => (1..=YEARS_MAX).contains(&years),
    };
    if fits {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("a default retention is 1 to {DAYS_MAX} days or 1 to {YEARS_MAX} years")))
    }
}
