//! Object lock: the lock of a bucket, the retention and the legal hold of a version.
//!
//! What may be changed and removed is decided by the state machine (`LOCK-1`, `LOCK-2`); here is what it is called.
//!
//! Source: AWS, "Locking objects with Object Lock".

use super::caller::Caller;
use super::error::{coded, custom};
use super::gateway::{Gateway, Outcome};
use super::{error, names};
use anvil_core::state::{
    Amendment, BucketSetting, DefaultRetention, LockSettings, Period, Refusal, Retention, RetentionMode,
};
use anvil_core::types::WallTime;
use http::StatusCode;
use s3s::dto::{self, *};
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result};

fn malformed() -> S3Error {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    coded(S3ErrorCode::MalformedXML, message)
}

fn no_body() -> S3Error {
    custom(StatusCode::BAD_REQUEST, "MissingRequestBodyError", "Request Body is empty")
}

/// Reads a mode of a header.
pub(super) fn mode(text: &str) -> S3Result<RetentionMode> {
    parse_mode(text).ok_or_else(|| coded(S3ErrorCode::InvalidArgument, "Unknown wormMode directive."))
}

fn parse_mode(text: &str) -> Option<RetentionMode> {
    match text {
        ObjectLockRetentionMode::GOVERNANCE => Some(RetentionMode::Governance),
        ObjectLockRetentionMode::COMPLIANCE => Some(RetentionMode::Compliance),
        _ => None,
    }
}

/// Writes a mode.
pub(super) fn mode_text(mode: RetentionMode) -> &'static str {
    match mode {
        RetentionMode::Governance => ObjectLockRetentionMode::GOVERNANCE,
        RetentionMode::Compliance => ObjectLockRetentionMode::COMPLIANCE,
    }
}

/// Reads the date of a header.
pub(super) fn until(text: &str) -> S3Result<WallTime> {
    let parsed = Timestamp::parse(TimestampFormat::DateTime, text);
    let invalid = |_| coded(S3ErrorCode::InvalidArgument, "The retain until date must be provided in ISO 8601 format");
    parsed.map(names::wall_time).map_err(invalid)
}

/// Reads a legal hold of a header.
pub(super) fn hold(text: &str) -> S3Result<bool> {
    match text {
        ObjectLockLegalHoldStatus::ON => Ok(true),
        ObjectLockLegalHoldStatus::OFF => Ok(false),
        _ => Err(coded(S3ErrorCode::InvalidArgument, "Legal Hold must be either of 'ON' or 'OFF'")),
    }
}

fn settings(configuration: ObjectLockConfiguration) -> S3Result<LockSettings> {
    if configuration.object_lock_enabled.as_ref().is_none_or(|enabled| enabled.as_str() != "Enabled") {
        return Err(malformed());
    }
    let Some(rule) = configuration.rule else { return Ok(LockSettings { default: None }) };
    let given = rule.default_retention.ok_or_else(malformed)?;
    let mode = given.mode.as_ref().and_then(|mode| parse_mode(mode.as_str())).ok_or_else(malformed)?;
    let positive = |count: i32| {
        u32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
            coded(S3ErrorCode::InvalidArgument, "Default retention period must be a positive integer value.")
        })
    };
    let period = match (given.days, given.years) {
        (Some(days), None) => Period::Days(positive(days)?),
        (None, Some(years)) => Period::Years(positive(years)?),
        (None, None) | (Some(_), Some(_)) => return Err(malformed()),
    };
    Ok(LockSettings { default: Some(DefaultRetention { mode, period }) })
}

impl Gateway {
    pub(super) async fn lock_put(
        &self,
        input: PutObjectLockConfigurationInput,
    ) -> Outcome<PutObjectLockConfigurationOutput> {
        let settings = settings(input.object_lock_configuration.ok_or_else(no_body)?)?;
        self.configure(input.bucket, BucketSetting::Lock(settings)).await?;
        Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
    }

    pub(super) async fn lock_get(
        &self,
        input: GetObjectLockConfigurationInput,
    ) -> Outcome<GetObjectLockConfigurationOutput> {
        let row = self.require_bucket(input.bucket).await?;
        let lock = row.lock.ok_or_else(|| {
            let message = "Object Lock configuration does not exist for this bucket";
            coded(S3ErrorCode::ObjectLockConfigurationNotFoundError, message)
        })?;
        let rule = lock.default.map(|default| {
            let (days, years) = match default.period {
                Period::Days(days) => (i32::try_from(days).ok(), None),
                Period::Years(years) => (None, i32::try_from(years).ok()),
            };
            let mode = Some(ObjectLockRetentionMode::from_static(mode_text(default.mode)));
            ObjectLockRule { default_retention: Some(dto::DefaultRetention { days, mode, years }) }
        });
        let enabled = Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
        let object_lock_configuration = Some(ObjectLockConfiguration { object_lock_enabled: enabled, rule });
        Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration }))
    }

    pub(super) async fn retention_put(&self, input: PutObjectRetentionInput) -> Outcome<PutObjectRetentionOutput> {
        let given = input.retention.ok_or_else(malformed)?;
        let retention = match (given.mode, given.retain_until_date) {
            (None, None) => None,
            (Some(mode), Some(date)) => {
                let mode = parse_mode(mode.as_str()).ok_or_else(malformed)?;
                Some(Retention { mode, until: names::wall_time(date) })
            }
            (Some(_), None) | (None, Some(_)) => return Err(malformed()),
        };
        // The right to it was checked with the header.
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let amendment = Amendment::Retention { retention, bypass };
        self.amend(input.bucket, input.key, input.version_id.as_deref(), amendment).await?;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    pub(super) async fn retention_get(
        &self,
        input: GetObjectRetentionInput,
        caller: Caller,
    ) -> Outcome<GetObjectRetentionOutput> {
        require_lock(&caller)?;
        let object = self.require_object(input.bucket, input.key, input.version_id.as_deref()).await?;
        let held = object.attributes.retention.ok_or_else(no_lock_of_object)?;
        let retention = ObjectLockRetention {
            mode: Some(ObjectLockRetentionMode::from_static(mode_text(held.mode))),
            retain_until_date: Some(names::timestamp(held.until)),
        };
        Ok(S3Response::new(GetObjectRetentionOutput { retention: Some(retention) }))
    }

    pub(super) async fn hold_put(&self, input: PutObjectLegalHoldInput) -> Outcome<PutObjectLegalHoldOutput> {
        let status = input.legal_hold.and_then(|hold| hold.status).ok_or_else(malformed)?;
        let held = hold(status.as_str()).map_err(|_| malformed())?;
        let amendment = Amendment::LegalHold(held);
        self.amend(input.bucket, input.key, input.version_id.as_deref(), amendment).await?;
        Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
    }

    pub(super) async fn hold_get(
        &self,
        input: GetObjectLegalHoldInput,
        caller: Caller,
    ) -> Outcome<GetObjectLegalHoldOutput> {
        require_lock(&caller)?;
        let object = self.require_object(input.bucket, input.key, input.version_id.as_deref()).await?;
        let status = hold_text(object.attributes.legal_hold);
        let status = Some(ObjectLockLegalHoldStatus::from_static(status));
        let legal_hold = Some(ObjectLockLegalHold { status });
        Ok(S3Response::new(GetObjectLegalHoldOutput { legal_hold }))
    }
}

/// Writes a legal hold.
pub(super) fn hold_text(held: bool) -> &'static str {
    if held { ObjectLockLegalHoldStatus::ON } else { ObjectLockLegalHoldStatus::OFF }
}

fn require_lock(caller: &Caller) -> S3Result<()> {
    let has = caller.bucket.as_ref().is_some_and(|bucket| bucket.lock.is_some());
    if has { Ok(()) } else { Err(error::from_refusal(Refusal::NoLock)) }
}

fn no_lock_of_object() -> S3Error {
    let message = "The specified object does not have a ObjectLock configuration";
    coded(S3ErrorCode::NoSuchObjectLockConfiguration, message)
}
