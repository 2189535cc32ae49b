//! GetObjectAttributes: what is known of an object, without its bytes.
//!
//! Source: AWS, GetObjectAttributes.

use super::error::coded;
use super::gateway::{Gateway, Outcome};
use super::listing::{count, page_size, size};
use super::names;
use super::objects::ChecksumFields;
use anvil_core::state::Object;
use s3s::dto::{self, *};
use s3s::{S3ErrorCode, S3Response, S3Result};

impl Gateway {
    pub(super) async fn attributes_get(&self, input: GetObjectAttributesInput) -> Outcome<GetObjectAttributesOutput> {
        const KNOWN: [&str; 5] = [
            ObjectAttributes::CHECKSUM,
            ObjectAttributes::ETAG,
            ObjectAttributes::OBJECT_PARTS,
            ObjectAttributes::OBJECT_SIZE,
            ObjectAttributes::STORAGE_CLASS,
        ];
        // Some clients name all in one header, others send a header for each (RFC 9110, 5.3).
        let names = input.object_attributes.iter().flat_map(|line| line.as_str().split(','));
        let wanted: Vec<&str> = names.map(str::trim).collect();
        if wanted.is_empty() || wanted.iter().any(|name| !KNOWN.contains(name)) {
            return Err(coded(S3ErrorCode::InvalidArgument, "Invalid attribute name specified."));
        }
        let wants = |name: &str| wanted.contains(&name);
        let object = self.require_object(input.bucket, input.key, input.version_id.as_deref()).await?;
        let fields = ChecksumFields::of(&object.metadata.checksums);
        let has_checksum = fields.kind.is_some();
        let checksum = Checksum {
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            checksum_type: fields.kind,
        };
        let is_multipart = object.etag.parts > 0;
        let parts = match is_multipart && wants(ObjectAttributes::OBJECT_PARTS) {
            true => Some(parts(&object, input.part_number_marker, input.max_parts)?),
            false => None,
        };
        Ok(S3Response::new(GetObjectAttributesOutput {
            checksum: (has_checksum && wants(ObjectAttributes::CHECKSUM)).then_some(checksum),
            // Without quotes, as AWS has it here.
            e_tag: wants(ObjectAttributes::ETAG).then(|| names::etag_dto(object.etag)),
            last_modified: Some(names::timestamp(object.modified)),
            object_parts: parts,
            object_size: wants(ObjectAttributes::OBJECT_SIZE).then(|| size(object.size)),
            storage_class: wants(ObjectAttributes::STORAGE_CLASS)
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            version_id: object.name.map(names::version_text),
            ..Default::default()
        }))
    }
}

/// Parts are numbered as they follow each other: the numbers that the upload had are not kept with the object.
fn parts(object: &Object, marker: Option<i32>, max: Option<i32>) -> S3Result<GetObjectAttributesParts> {
    let limit = page_size(max)?;
    let marker = marker.unwrap_or(0);
    let numbered = (1..).zip(&object.bodies).filter(|(number, _)| *number > marker);
    let mut page: Vec<ObjectPart> = numbered
        .take(limit.saturating_add(1))
        .map(|(number, body)| ObjectPart {
            part_number: Some(number),
            size: Some(size(body.size)),
            ..Default::default()
        })
        .collect();
    let more = page.len() > limit;
    page.truncate(limit);
    Ok(GetObjectAttributesParts {
        is_truncated: Some(more),
        max_parts: Some(count(limit)),
        next_part_number_marker: page.last().and_then(|part: &dto::ObjectPart| part.part_number),
        part_number_marker: Some(marker),
        // AWS shows single parts only with their checksums.
        parts: (!object.metadata.checksums.is_empty()).then_some(page),
        total_parts_count: Some(count(object.bodies.len())),
    })
}
