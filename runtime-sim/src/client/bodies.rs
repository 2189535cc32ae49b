//! What the clients of objects share: the names and entity tags of simulated objects, and how a body is read and checked.

use super::Desk;
use crate::check::keys::WriteId;
use anvil_core::node::Request;
use anvil_core::state::{BucketName, ETag, Md5, Object, ObjectName, Place};
use anvil_core::stripe::STRIPE_SIZE;
use anvil_core::types::{RequestId, TenantId};
use bytes::Bytes;
use std::collections::BTreeSet;

/// The bucket of all simulated objects.
pub(super) fn bucket() -> BucketName {
    BucketName { tenant: TenantId::DEFAULT, name: "simulated".to_string() }
}

/// The name of an object.
pub(super) fn object_name(key: u64) -> ObjectName {
    ObjectName { bucket: bucket(), key: format!("object-{key}") }
}

/// The entity tag of a put: its number twice. The node takes the client's word for it, as it does from a gateway.
pub(super) fn etag_of(write: WriteId) -> ETag {
    let mut md5 = [0; 16];
    md5[..8].copy_from_slice(&write.0.to_le_bytes());
    md5[8..].copy_from_slice(&write.0.to_be_bytes());
    ETag { md5: Md5(md5), parts: 0 }
}

/// The put that an entity tag names.
pub(super) fn writer_of(etag: &ETag) -> WriteId {
    WriteId(u64::from_le_bytes(etag.md5.0[..8].try_into().expect("eight bytes")))
}

/// The requests that read an open object, with the stripe number of each. Simulated objects have one body.
pub(super) fn read_requests(open: RequestId, object: &Object) -> Vec<(u32, Request)> {
    let mut requests = Vec::new();
    for (body, part) in (0..).zip(&object.bodies) {
        let stripes = u32::try_from(part.size.div_ceil(STRIPE_SIZE as u64)).expect("simulated objects are small");
        requests.extend((0..stripes).map(|stripe| (stripe, Request::ReadStripe { open, body, stripe })));
    }
    requests
}

/// Whether the bytes of a stripe are those of the body.
pub(super) fn check_stripe(body: &Bytes, stripe: u32, bytes: &Bytes) -> Result<(), String> {
    let start = stripe as usize * STRIPE_SIZE;
    let end = (start + STRIPE_SIZE).min(body.len());
    let expected = body.get(start..end).unwrap_or_default();
    if expected == bytes {
        return Ok(());
    }
    let differs = expected.iter().zip(bytes).position(|(a, b)| a != b);
    Err(format!(
        "stripe {stripe} has {} bytes and should have {}, the first difference is at {differs:?}",
        bytes.len(),
        expected.len()
    ))
}

/// Complains about a body with two shards of a stripe in one node: the node's loss would take both.
pub(super) fn check_domains(object: &Object, desk: &mut Desk<'_>) {
    let Some(drives_per_node) = desk.drives_per_node else { return };
    for body in &object.bodies {
        let Place::Striped { drives, .. } = &body.place else { continue };
        let nodes: BTreeSet<u32> = drives.iter().map(|drive| drive.0 / drives_per_node).collect();
        if nodes.len() < drives.len() {
            let what = format!("version {} has {} shards of a stripe in nodes {nodes:?}", body.version, drives.len());
            desk.complain("no two shards of a stripe share a failure domain", what);
        }
    }
}
