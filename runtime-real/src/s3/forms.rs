//! Uploads by an HTML form: its fields become the headers of a put.
//!
//! `s3s` verifies the signature of the form's policy and holds the fields against its conditions. A form without a policy is
//! an anonymous put, which passes where the bucket lets everybody write.
//!
//! Source: AWS, "Browser-based uploads using POST".

use super::error::coded;
use super::form_fields::Unread;
use super::gateway::{Gateway, Outcome};
use super::wishes;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

/// The tag in the redirection of a form that wants one is in quotes (AWS, "POST Object": response); `s3s` leaves them out.
pub(super) fn quote_tag(headers: &mut HeaderMap) {
    let Some(location) = headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let Some((before, tag)) = location.rsplit_once("etag=") else { return };
    if tag.contains("%22") || tag.contains('&') {
        return;
    }
    if let Ok(quoted) = HeaderValue::from_str(&format!("{before}etag=%22{tag}%22")) {
        headers.insert(http::header::LOCATION, quoted);
    }
}

/// The headers that a put with these fields would have.
fn headers(input: &PostObjectInput, unread: &Unread) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: Option<String>| -> S3Result<()> {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                coded(S3ErrorCode::InvalidArgument, format!("The field {name} is not the value of a header."))
            })?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(())
    };
    set("content-type", input.content_type.as_ref().map(ToString::to_string))?;
    set("cache-control", input.cache_control.clone())?;
    set("content-disposition", input.content_disposition.clone())?;
    set("content-encoding", input.content_encoding.clone())?;
    set("content-language", input.content_language.clone())?;
    set("x-amz-acl", input.acl.as_ref().map(|acl| acl.as_str().to_owned()).or(unread.acl.clone()))?;
    let tags = input.tagging.as_ref().or(unread.tagging.as_ref());
    set("x-amz-tagging", tags.map(|tags| tagging(tags)).transpose()?)?;
    set("x-amz-website-redirect-location", input.website_redirect_location.clone())?;
    set("content-md5", input.content_md5.clone())?;
    set("x-amz-checksum-crc32", input.checksum_crc32.clone())?;
    set("x-amz-checksum-crc32c", input.checksum_crc32c.clone())?;
    set("x-amz-checksum-crc64nvme", input.checksum_crc64nvme.clone())?;
    set("x-amz-checksum-sha1", input.checksum_sha1.clone())?;
    set("x-amz-checksum-sha256", input.checksum_sha256.clone())?;
    set("x-amz-storage-class", input.storage_class.as_ref().map(|class| class.as_str().to_owned()))?;
    set("x-amz-server-side-encryption", input.server_side_encryption.as_ref().map(|kind| kind.as_str().to_owned()))?;
    set("x-amz-server-side-encryption-customer-algorithm", input.sse_customer_algorithm.clone())?;
    set("x-amz-server-side-encryption-customer-key", input.sse_customer_key.clone())?;
    set("x-amz-server-side-encryption-aws-kms-key-id", input.ssekms_key_id.clone())?;
    let locks = input.object_lock_mode.is_some()
        || input.object_lock_retain_until_date.is_some()
        || input.object_lock_legal_hold_status.is_some();
    let grants = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write_acp.is_some();
    // S3-6: what would not happen is refused.
    if locks || grants {
        return Err(coded(S3ErrorCode::NotImplemented, "Locks and grants in a form are not supported."));
    }
    wishes::check(&headers)?;
    Ok(headers)
}

/// The sentence of AWS for a refusal of `s3s` that means a condition of the form's policy does not hold.
pub(super) fn failed_condition(xml: &str) -> Option<String> {
    let message = xml.split_once("<Message>")?.1.split_once("</Message>")?.0;
    let is_condition = message.starts_with("Policy condition ") || message.starts_with("Bucket in form field ");
    let is_ours = xml.contains("<Code>InvalidPolicyDocument</Code>") && is_condition;
    is_ours.then(|| "Invalid according to Policy: a Policy Condition failed.".to_owned())
}

/// A form has its tags as XML, a header as a query string.
fn tagging(text: &str) -> S3Result<String> {
    if !text.trim_start().starts_with('<') {
        return Ok(text.to_owned());
    }
    let malformed = |_| coded(S3ErrorCode::MalformedXML, "The tags of the form are not well-formed.");
    let mut reader = s3s::xml::Deserializer::new(text.as_bytes());
    let set: Tagging = s3s::xml::Deserialize::deserialize(&mut reader).map_err(malformed)?;
    let tags = super::tags::of_set(set.tag_set)?;
    serde_urlencoded::to_string(tags).map_err(s3s::S3Error::internal_error)
}

impl Gateway {
    pub(super) async fn object_post(&self, req: S3Request<PostObjectInput>) -> Outcome<PostObjectOutput> {
        let headers = headers(&req.input, req.extensions.get().unwrap_or(&Unread::default()))?;
        let PostObjectInput { bucket, key, body, content_length, metadata, .. } = req.input;
        let mut input = PutObjectInput::builder();
        input.set_bucket(bucket);
        input.set_key(key);
        input.set_body(body);
        // An empty file has no length there.
        input.set_content_length(Some(content_length.unwrap_or(0)));
        input.set_metadata(metadata);
        let put = S3Request {
            input: input.build().map_err(S3Error::internal_error)?,
            headers,
            method: req.method,
            uri: req.uri,
            extensions: req.extensions,
            credentials: req.credentials,
            region: req.region,
            service: req.service,
            trailing_headers: req.trailing_headers,
        };
        let stored = self.object_put(put).await?.output;
        // What else the form wants to hear is `s3s`'s to write.
        let output = PostObjectOutput { e_tag: stored.e_tag, version_id: stored.version_id, ..Default::default() };
        Ok(S3Response::new(output))
    }
}
