//! The S3 gateway: `s3s` between rules that it lacks and a node that stores.
//!
//! The intuition: a request passes `layer` (identity of the request, errors, CORS), which asks `policy` (may this be an
//! S3 request at all?) and wraps the body in `chunks` (bounded, timed, framed); then `s3s` verifies the signature and
//! parses; `wishes` refuses what Anvil does not have; `gateway` picks the module that answers, which speaks to the node
//! through `client`. Types of `s3s` are known in this folder only.
//!
//! Invariants: `S3-1` to `S3-5` in `policy.rs`, `S3-6` in `wishes.rs`, `CHUNK-*` in `chunks.rs`, `SUM-*` in
//! `digests.rs`, `FORM-1` in `form_fields.rs`, `IN-*` in `intake.rs`, `OUT-*` in `outflow.rs`,
//! `S3-7`, `S3-11` in `access.rs`, `S3-8` to `S3-10` in `layer.rs`, `CORS-1` in `cors.rs`, `HOST-1` in `domains.rs`.
//!
//! Source: AWS, "Amazon S3 API Reference"; DESIGN section 8. Not here: tenants, `/kv` (`front`). What is
//! supported, and what not, is listed in `docs/s3.md`.

mod access;
mod access_lists;
mod buckets;
mod caller;
mod chunks;
mod conditions;
mod copy;
mod cors;
mod digests;
mod domains;
mod error;
mod error_details;
mod form_fields;
mod forms;
mod gateway;
mod habits;
mod intake;
mod layer;
mod lifecycle;
mod listing;
mod locks;
mod multipart;
mod names;
mod object_attributes;
mod objects;
mod outflow;
mod policy;
mod policy_text;
mod removal;
mod rights;
mod settings;
mod tags;
mod versions;
mod wishes;

#[cfg(test)]
mod tests;

pub use domains::Domains;
pub use layer::S3Door;

/// Who may use S3 on this node.
#[derive(Clone)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half. Not shown by `Debug`.
    pub secret_access_key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}
