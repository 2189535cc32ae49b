//! Lifecycle configurations: read and checked as AWS does it.
//!
//! Source: AWS, PutBucketLifecycleConfiguration and "Lifecycle configuration elements".

use super::error::coded;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Result};
use std::collections::BTreeSet;

/// Rules of one configuration.
const RULES_MAX: usize = 1000;
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
