//! Cross-origin requests: which origins a bucket lets in, and what their browsers are told.
//!
//! - `CORS-1` A preflight is answered here and never reaches an operation; it needs no signature, and tells nothing but what
//!   the bucket's configuration says.
//!
//! Source: AWS, "Configuring cross-origin resource sharing"; WHATWG Fetch §3.3.

use super::error::coded;
use s3s::dto::{CORSConfiguration, CORSRule};
use s3s::{S3ErrorCode, S3Result};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Rules of one configuration.
const RULES_MAX: usize = 100;

/// Checks a configuration when it is put.
pub(super) fn check(configuration: &CORSConfiguration) -> S3Result<()> {
    let rules = &configuration.cors_rules;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(coded(S3ErrorCode::MalformedXML, "A CORS configuration has 1 to 100 rules."));
    }
    for rule in rules {
        if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
            return Err(coded(S3ErrorCode::MalformedXML, "A CORS rule names at least one method and one origin."));
        }
        for method in &rule.allowed_methods {
            if !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.as_str()) {
                let message = format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}");
                return Err(coded(S3ErrorCode::InvalidRequest, message));
            }
        }
        let texts = rule.allowed_origins.iter().chain(rule.allowed_headers.iter().flatten());
        if let Some(text) = texts.into_iter().find(|text| text.matches('*').count() > 1) {
            let message = format!("\"{text}\" can not have more than one wildcard.");
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
        if let Some(text) = rule.expose_headers.iter().flatten().find(|text| text.contains('*')) {
            let message = format!("ExposeHeader \"{text}\" contains wildcard. We currently do not support wildcard");
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
    }
    Ok(())
}

/// What a browser asks.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    /// `Origin`.
    pub(super) origin: &'a str,
    /// The method of the request itself.
    pub(super) method: &'a str,
    /// `Access-Control-Request-Headers` of a preflight.
    pub(super) headers: &'a str,
    /// Whether it is a preflight.
    pub(super) is_preflight: bool,
}

/// The headers of the first rule that fits.
pub(super) fn answer(configuration: &CORSConfiguration, asked: &Asked<'_>) -> Option<HeaderMap> {
    let rule = configuration.cors_rules.iter().find(|rule| fits(rule, asked))?;
    let everybody = rule.allowed_origins.iter().any(|origin| origin == "*");
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, if everybody { "*" } else { asked.origin });
    if !everybody {
        set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    }
    let methods: Vec<&str> = rule.allowed_methods.iter().map(AsRef::as_ref).collect();
    set(header::ACCESS_CONTROL_ALLOW_METHODS, &methods.join(", "));
    if asked.is_preflight && !asked.headers.is_empty() {
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, &asked.headers.to_ascii_lowercase());
    }
    let exposed = rule.expose_headers.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
    if !exposed.is_empty() {
        set(header::ACCESS_CONTROL_EXPOSE_HEADERS, &exposed);
    }
    if let Some(seconds) = rule.max_age_seconds.filter(|_| asked.is_preflight) {
        set(header::ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
    }
    set(header::VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
    Some(headers)
}

fn fits(rule: &CORSRule, asked: &Asked<'_>) -> bool {
    let like = |pattern: &str, text: &str| match pattern.split_once('*') {
        Some((start, end)) => text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end),
        None => pattern == text,
    };
    let origin = rule.allowed_origins.iter().any(|pattern| like(pattern, asked.origin));
    let method = rule.allowed_methods.iter().any(|method| method.as_str() == asked.method);
    let named = asked.headers.split(',').map(str::trim).filter(|name| !name.is_empty());
    let header = |name: &str| {
        let mut allowed = rule.allowed_headers.iter().flatten();
        allowed.any(|pattern| like(&pattern.to_ascii_lowercase(), &name.to_ascii_lowercase()))
    };
    origin && method && named.into_iter().all(header)
}
