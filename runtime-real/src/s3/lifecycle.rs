//! Lifecycle configurations: read and checked as AWS does it, and handed to the core in its own words.
//!
//! Source: AWS, PutBucketLifecycleConfiguration and "Lifecycle configuration elements".

use super::error::coded;
use super::names;
use anvil_core::state::rules::expires;
use anvil_core::state::{Attributes, Expiration, LifecycleFilter, NoncurrentExpiration};
use anvil_core::types::WallTime;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rules of one configuration.
const RULES_MAX: usize = 1000;
/// What stays as it is in an encoded name (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Characters of the name of a rule.
const ID_MAX: usize = 255;

fn malformed() -> S3Error {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    coded(S3ErrorCode::MalformedXML, message)
}

fn invalid(message: &str) -> S3Error {
    coded(S3ErrorCode::InvalidArgument, message)
}

/// Checks a configuration, and names the rules that have no name.
pub(super) fn check(configuration: &mut BucketLifecycleConfiguration) -> S3Result<()> {
    let rules = &mut configuration.rules;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(malformed());
    }
    let mut seen = BTreeSet::new();
    for (at, rule) in rules.iter_mut().enumerate() {
        check_rule(rule)?;
        let id = rule.id.get_or_insert_with(|| format!("rule-{}", at + 1)).clone();
        if !seen.insert(id) {
            return Err(invalid("Rule ID must be unique. Found same ID for more than one rule"));
        }
    }
    Ok(())
}

/// The rules of a configuration that was checked.
///
/// # Errors
/// `InvalidArgument` when a number is out of its range.
pub(super) fn rules(configuration: &BucketLifecycleConfiguration) -> S3Result<Vec<anvil_core::state::LifecycleRule>> {
    configuration.rules.iter().map(rule).collect()
}

fn rule(rule: &LifecycleRule) -> S3Result<anvil_core::state::LifecycleRule> {
    let expiration = rule.expiration.as_ref().map(expiration).transpose()?.flatten();
    let noncurrent = match &rule.noncurrent_version_expiration {
        Some(said) => Some(NoncurrentExpiration {
            days: number(said.noncurrent_days)?,
            keep: said.newer_noncurrent_versions.map_or(Ok(0), |count| number(Some(count)))?,
        }),
        None => None,
    };
    let abort = rule.abort_incomplete_multipart_upload.as_ref();
    Ok(anvil_core::state::LifecycleRule {
        id: rule.id.clone().unwrap_or_default(),
        enabled: rule.status.as_str() == "Enabled",
        filter: filter(rule)?,
        expiration,
        noncurrent,
        abort_days: abort.map(|abort| number(abort.days_after_initiation)).transpose()?,
    })
}

fn expiration(said: &LifecycleExpiration) -> S3Result<Option<Expiration>> {
    if let Some(date) = &said.date {
        let seconds = time::OffsetDateTime::from(date.clone()).unix_timestamp();
        let seconds = u64::try_from(seconds).map_err(|_| invalid("'Date' must not be before 1970"))?;
        return Ok(Some(Expiration::Date(WallTime(seconds.saturating_mul(1000)))));
    }
    if said.days.is_some() {
        return Ok(Some(Expiration::Days(number(said.days)?)));
    }
    Ok(said.expired_object_delete_marker.unwrap_or(false).then_some(Expiration::Marker))
}

fn filter(rule: &LifecycleRule) -> S3Result<LifecycleFilter> {
    let mut wanted = LifecycleFilter { prefix: rule.prefix.clone().unwrap_or_default(), ..LifecycleFilter::default() };
    let Some(said) = &rule.filter else { return Ok(wanted) };
    let and = said.and.as_ref();
    let prefix = said.prefix.as_ref().or(and.and_then(|and| and.prefix.as_ref()));
    wanted.prefix = prefix.cloned().unwrap_or_default();
    let tags = said.tag.iter().chain(and.and_then(|and| and.tags.as_ref()).into_iter().flatten());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    wanted.tags = tags.map(|tag| (text(&tag.key), text(&tag.value))).collect::<BTreeMap<String, String>>();
    let larger = said.object_size_greater_than.or(and.and_then(|and| and.object_size_greater_than));
    let smaller = said.object_size_less_than.or(and.and_then(|and| and.object_size_less_than));
    let bytes = |size: i64| u64::try_from(size).map_err(|_| invalid("An object size must not be negative"));
    wanted.larger_than = larger.map(bytes).transpose()?;
    wanted.smaller_than = smaller.map(bytes).transpose()?;
    Ok(wanted)
}

fn number(said: Option<i32>) -> S3Result<u32> {
    said.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| invalid("A number is out of its range"))
}

/// The header `x-amz-expiration` of the newest version of an object, when a rule lets it expire.
pub(super) fn expiration_header(
    rules: &[anvil_core::state::LifecycleRule],
    day: Duration,
    key: &str,
    size: u64,
    attributes: &Attributes,
    modified: WallTime,
) -> Option<String> {
    let day = u64::try_from(day.as_millis()).unwrap_or(u64::MAX);
    let (at, id) = expires(rules, key, size, &attributes.tags, modified, day)?;
    let mut date = Vec::new();
    names::timestamp(at).format(TimestampFormat::HttpDate, &mut date).ok()?;
    let date = String::from_utf8(date).ok()?;
    Some(format!("expiry-date=\"{date}\", rule-id=\"{}\"", utf8_percent_encode(id, UNRESERVED)))
}

fn check_rule(rule: &LifecycleRule) -> S3Result<()> {
    if rule.id.as_ref().is_some_and(|id| id.is_empty() || id.chars().count() > ID_MAX) {
        return Err(invalid("ID length should not exceed allowed limit of 255"));
    }
    if !["Enabled", "Disabled"].contains(&rule.status.as_str()) {
        return Err(malformed());
    }
    if rule.filter.is_some() && rule.prefix.is_some() {
        return Err(malformed());
    }
    let transitions =
        rule.transitions.iter().flatten().count() + rule.noncurrent_version_transitions.iter().flatten().count();
    if transitions > 0 {
        // There is one class only, so nothing would ever be moved.
        return Err(coded(S3ErrorCode::InvalidStorageClass, "The only storage class is STANDARD."));
    }
    let acts = rule.expiration.is_some()
        || rule.noncurrent_version_expiration.is_some()
        || rule.abort_incomplete_multipart_upload.is_some();
    if !acts {
        return Err(coded(S3ErrorCode::InvalidRequest, "At least one action needs to be specified in a rule"));
    }
    if let Some(expiration) = &rule.expiration {
        let said =
            [expiration.date.is_some(), expiration.days.is_some(), expiration.expired_object_delete_marker.is_some()];
        if said.into_iter().filter(|said| *said).count() != 1 {
            return Err(malformed());
        }
        if expiration.days.is_some_and(|days| days < 1) {
            return Err(invalid("'Days' for Expiration action must be a positive integer"));
        }
        if let Some(date) = &expiration.date {
            let date = time::OffsetDateTime::from(date.clone());
            if date.time() != time::Time::MIDNIGHT {
                return Err(invalid("'Date' must be at midnight GMT"));
            }
        }
    }
    if let Some(expiration) = &rule.noncurrent_version_expiration {
        if expiration.noncurrent_days.is_none_or(|days| days < 1) {
            return Err(invalid("'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer"));
        }
        if expiration.newer_noncurrent_versions.is_some_and(|count| !(1..=100).contains(&count)) {
            return Err(invalid("'NewerNoncurrentVersions' must be between 1 and 100"));
        }
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload
        && abort.days_after_initiation.is_none_or(|days| days < 1)
    {
        return Err(invalid("'DaysAfterInitiation' for AbortIncompleteMultipartUpload must be a positive integer"));
    }
    Ok(())
}
