//! A bucket policy as JSON: read strictly, into what `anvil_core::access` judges by.
//!
//! Source: AWS IAM user guide, "IAM JSON policy elements reference"; Amazon S3 user guide, "Bucket policies". A policy that
//! says anything that is not understood here is refused when it is put: a condition that is not known must not be passed
//! over, for it may be all that stands between the public and an object.

use super::error::coded;
use anvil_core::access::policy::{Comparison, Condition, Patterns, Policy, Principals, Quantifier, Statement};
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde_json::{Map, Value};

/// Largest policy, in bytes.
pub(super) const POLICY_MAX: usize = 20 << 10;

fn malformed(message: impl Into<String>) -> S3Error {
    coded(S3ErrorCode::MalformedPolicy, message)
}

/// Reads the policy of `bucket`.
pub(super) fn parse(text: &str, bucket: &str) -> S3Result<Policy> {
    if text.len() > POLICY_MAX {
        return Err(malformed("Policies must not be larger than 20 KiB."));
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|_| malformed("Policies must be valid JSON and the first byte must be '{'"))?;
    let Value::Object(document) = value else {
        return Err(malformed("Policies must be valid JSON and the first byte must be '{'"));
    };
    for (name, value) in &document {
        match (name.as_str(), value) {
            ("Version", Value::String(version)) if ["2012-10-17", "2008-10-17"].contains(&version.as_str()) => {}
            ("Version", _) => return Err(malformed("The policy must contain a valid version string")),
            ("Id", Value::String(_)) | ("Statement", _) => {}
            _ => return Err(malformed(format!("Unknown field {name}"))),
        }
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        Some(_) | None => return Err(malformed("Missing required field Statement")),
    };
    if statements.is_empty() {
        return Err(malformed("Could not parse the policy: Statement is empty!"));
    }
    let statements = statements.into_iter().map(|value| statement(value, bucket)).collect::<S3Result<Vec<_>>>()?;
    Ok(Policy { statements })
}

/// Whether a policy asks about the tags of the object.
pub(super) fn names_object_tags(policy: &Policy) -> bool {
    let asks = |condition: &Condition| condition.key.starts_with("s3:existingobjecttag/");
    policy.statements.iter().any(|statement| statement.conditions.iter().any(asks))
}

fn statement(value: &Value, bucket: &str) -> S3Result<Statement> {
    let Value::Object(fields) = value else { return Err(malformed("A statement must be an object")) };
    const KNOWN: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    if let Some(name) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(malformed(format!("Unknown field {name}")));
    }
    let allows = match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        Some(other) => return Err(malformed(format!("Invalid effect: {other}"))),
        None => return Err(malformed("Missing required field Effect")),
    };
    let principals = match (fields.get("Principal"), fields.get("NotPrincipal")) {
        (Some(value), None) => principals(value)?.map_or(Principals::Anybody, Principals::Users),
        (None, Some(value)) => Principals::NotUsers(principals(value)?.unwrap_or_default()),
        (None, None) => return Err(malformed("Missing required field Principal")),
        (Some(_), Some(_)) => return Err(malformed("Principal and NotPrincipal cannot be used together")),
    };
    let actions = patterns(fields, "Action", "NotAction")?;
    let (Patterns::Any(list) | Patterns::None(list)) = &actions;
    if let Some(action) = list.iter().find(|action| **action != "*" && !action.to_lowercase().starts_with("s3:")) {
        return Err(malformed(format!("Policy has invalid action: {action}")));
    }
    let resources = patterns(fields, "Resource", "NotResource")?;
    let (Patterns::Any(list) | Patterns::None(list)) = &resources;
    let own = |resource: &String| {
        let rest = resource.strip_prefix("arn:aws:s3:::").unwrap_or("");
        let name = rest.split('/').next().unwrap_or("");
        resource == "*" || (!rest.is_empty() && anvil_core::access::policy::is_like(name, bucket))
    };
    if !list.iter().all(own) {
        return Err(malformed("Policy has invalid resource"));
    }
    let conditions = match fields.get("Condition") {
        None => Vec::new(),
        Some(Value::Object(operators)) => conditions(operators)?,
        Some(_) => return Err(malformed("A condition must be an object")),
    };
    Ok(Statement { allows, principals, actions, resources, conditions })
}

/// One text or several.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    if let Value::Array(list) = value {
        return list.iter().map(text).collect();
    }
    text(value).map(|text| vec![text])
}

/// None for everybody.
fn principals(value: &Value) -> S3Result<Option<Vec<String>>> {
    let invalid = || malformed("Invalid principal in policy");
    if value == "*" {
        return Ok(None);
    }
    let Value::Object(kinds) = value else { return Err(invalid()) };
    if kinds.is_empty() {
        return Err(invalid());
    }
    let mut users = Vec::new();
    for (kind, value) in kinds {
        if !["AWS", "CanonicalUser"].contains(&kind.as_str()) {
            return Err(invalid());
        }
        users.extend(texts(value).ok_or_else(invalid)?);
    }
    Ok(if users.iter().any(|user| user == "*") { None } else { Some(users) })
}

fn patterns(fields: &Map<String, Value>, name: &str, not_name: &str) -> S3Result<Patterns> {
    let (value, negated) = match (fields.get(name), fields.get(not_name)) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Err(malformed(format!("Missing required field {name}"))),
        (Some(_), Some(_)) => return Err(malformed(format!("{name} and {not_name} cannot be used together"))),
    };
    let list = texts(value).filter(|list| !list.is_empty() && list.iter().all(|text| !text.is_empty()));
    let list = list.ok_or_else(|| malformed(format!("Policy has invalid {}", name.to_lowercase())))?;
    Ok(if negated { Patterns::None(list) } else { Patterns::Any(list) })
}

fn conditions(operators: &Map<String, Value>) -> S3Result<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let (quantifier, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::ForAll, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::ForAny, rest),
            Some(_) => return Err(malformed(format!("Invalid condition type: {operator}"))),
            None => (Quantifier::One, operator.as_str()),
        };
        let (rest, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |rest| (rest, true));
        let (comparison, negated) =
            comparison(rest).ok_or_else(|| malformed(format!("Invalid Condition type: {operator}")))?;
        let Value::Object(keys) = keys else { return Err(malformed("A condition must name a key")) };
        for (key, operands) in keys {
            if !["aws:", "s3:"].iter().any(|prefix| key.to_lowercase().starts_with(prefix)) {
                return Err(malformed("Policy has an invalid condition key"));
            }
            let operands = texts(operands).ok_or_else(|| malformed("Policy has an invalid condition value"))?;
            let key = key.to_lowercase();
            conditions.push(Condition { comparison, negated, if_exists, quantifier, key, operands });
        }
    }
    Ok(conditions)
}

fn comparison(operator: &str) -> Option<(Comparison, bool)> {
    Some(match operator {
        "StringEquals" | "BinaryEquals" => (Comparison::Equals, false),
        "StringNotEquals" => (Comparison::Equals, true),
        "StringEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, false),
        "StringNotEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, true),
        "StringLike" | "ArnLike" | "ArnEquals" => (Comparison::Like, false),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Comparison::Like, true),
        "NumericEquals" => (Comparison::NumericEquals, false),
        "NumericNotEquals" => (Comparison::NumericEquals, true),
        "NumericLessThan" => (Comparison::NumericLess, false),
        "NumericLessThanEquals" => (Comparison::NumericLessEquals, false),
        "NumericGreaterThan" => (Comparison::NumericGreater, false),
        "NumericGreaterThanEquals" => (Comparison::NumericGreaterEquals, false),
        "DateEquals" => (Comparison::DateEquals, false),
        "DateNotEquals" => (Comparison::DateEquals, true),
        "DateLessThan" => (Comparison::DateLess, false),
        "DateLessThanEquals" => (Comparison::DateLessEquals, false),
        "DateGreaterThan" => (Comparison::DateGreater, false),
        "DateGreaterThanEquals" => (Comparison::DateGreaterEquals, false),
        "Bool" => (Comparison::Bool, false),
        "IpAddress" => (Comparison::IpAddress, false),
        "NotIpAddress" => (Comparison::IpAddress, true),
        "Null" => (Comparison::Null, false),
        _ => return None,
    })
}
