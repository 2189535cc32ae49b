//! Conditional requests: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`.
//!
//! Reads are judged here against what was opened; writes carry their condition into the decision, where alone it can be
//! judged without a race.
//!
//! Source: RFC 9110 §13.1 and the order of §13.2.2; AWS, GetObject, CopyObject and "conditional writes".

use super::error::{coded, from_refusal};
use super::names::{etag_text, parse_etag, timestamp_seconds};
use anvil_core::state::{ETag, Md5, ObjectCondition, Refusal};
use anvil_core::types::WallTime;
use http::{HeaderMap, HeaderName, header};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result};

/// The conditions of a read, or on the source of a copy.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadConditions {
    /// `If-Match`.
    pub(super) if_match: Option<ETagCondition>,
    /// `If-None-Match`.
    pub(super) if_none_match: Option<ETagCondition>,
    /// `If-Modified-Since`.
    pub(super) if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub(super) if_unmodified_since: Option<Timestamp>,
}

/// What the conditions of a read come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Proceed,
    /// The client has it already.
    NotModified,
    /// A precondition does not hold.
    Failed,
}

impl ReadConditions {
    /// Judges them (RFC 9110 §13.2.2: the entity tag goes before the date).
    pub(super) fn judge(&self, etag: ETag, modified: WallTime) -> Verdict {
        let modified = timestamp_seconds(modified);
        let holds = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => matches(condition, etag),
            (None, Some(since)) => modified <= *since,
            (None, None) => true,
        };
        if !holds {
            return Verdict::Failed;
        }
        let fresh = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches(condition, etag),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if fresh { Verdict::NotModified } else { Verdict::Proceed }
    }

    /// For the source of a copy, which is never "not modified": 412 in both cases.
    pub(super) fn check_source(&self, etag: ETag, modified: WallTime) -> S3Result<()> {
        match self.judge(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(failed()),
        }
    }
}

/// 412.
pub(super) fn failed() -> S3Error {
    from_refusal(Refusal::ConditionFailed)
}

fn matches(condition: &ETagCondition, etag: ETag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(given) => given.value().eq_ignore_ascii_case(&etag_text(etag)),
    }
}

/// The condition of a write, from the same headers for all kinds of writes. `s3s` has no field for those of a copy's
/// target or a deletion, and takes an empty header for none.
pub(super) fn of_headers(headers: &HeaderMap) -> S3Result<ObjectCondition> {
    let read = |name: HeaderName| -> S3Result<Option<ETagCondition>> {
        let Some(value) = headers.get(&name) else { return Ok(None) };
        let parsed = ETagCondition::parse_http_header(value.as_bytes());
        let message = || coded(S3ErrorCode::InvalidArgument, format!("The header {name} is not an entity tag."));
        parsed.map(Some).map_err(|_| message())
    };
    let (if_match, if_none_match) = (read(header::IF_MATCH)?, read(header::IF_NONE_MATCH)?);
    of_write(if_match.as_ref(), if_none_match.as_ref())
}

/// More parts than an object can have. What is missing where it is asked for is told apart from what is different.
const TAG_OF_NONE: ETag = ETag { md5: Md5([0; 16]), parts: u32::MAX };

/// The condition of a write.
pub(super) fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<ObjectCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(ObjectCondition::Any),
        (Some(ETagCondition::Any), None) => Ok(ObjectCondition::Present),
        (None, Some(ETagCondition::Any)) => Ok(ObjectCondition::Absent),
        // No object has a tag that is not of our form: the first can never hold, the second always does.
        (Some(ETagCondition::ETag(tag)), None) => {
            Ok(ObjectCondition::Match(parse_etag(tag.value()).unwrap_or(TAG_OF_NONE)))
        }
        (None, Some(ETagCondition::ETag(tag))) => {
            Ok(parse_etag(tag.value()).map_or(ObjectCondition::Any, ObjectCondition::NoneMatch))
        }
        (Some(_), Some(_)) => {
            Err(coded(S3ErrorCode::InvalidRequest, "If-Match and If-None-Match cannot be used together on a write."))
        }
    }
}
