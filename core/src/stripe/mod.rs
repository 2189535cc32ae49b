//! One stripe of an object: sealed with AES-256-GCM, cut into `k` data shards, `m` parity shards added, each framed
//! with checksums; and back again from any `k`.
//!
//! The intuition: two nets with different meshes. The checksum of each frame finds what disks and networks do to a
//! shard, and tells *which* shard it was, so that others can stand in for it. The seal over the whole stripe finds
//! what checksums cannot: bytes changed on purpose, or a stripe that stands where another belongs. Everything here is
//! a pure function of its arguments, so a runtime may call it on any core.
//!
//! - `STRIPE-1` No byte leaves [`open`] but of a stripe whose seal held.
//! - `STRIPE-2` Any `k` of the `k + m` records give the stripe back, whichever they are.
//! - `STRIPE-3` A record is taken only as the position, stripe, version, profile and length that its header names.
//! - `STRIPE-4` A nonce is never used twice with one key: stripes count from 0 in the low 32 bits of the nonce, the
//!   inline seal has a nonce of its own outside that range, and a key belongs to one version.
//!
//! Sources: NIST SP 800-38D (GCM, §8.2.1 deterministic nonces), RFC 3720 §12.1 (CRC-32C), Plank, "A tutorial on
//! Reed-Solomon coding for fault-tolerance". The bytes: `docs/formats/stripe.md`.
//!
//! Not here: where keys and nonces of wrapped keys come from (the node's generator), which positions to fetch
//! (`read`), where a record lives on a drive (`shards`).

mod frame;
mod keys;
mod open;
mod profile;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use frame::CRC32C;
#[cfg(debug_assertions)]
pub(crate) use frame::reframe;
pub use frame::verify;
pub use keys::{unwrap_key, wrap};
pub use open::{open, open_inline};
pub use profile::{ProfileError, SHARDS_MAX, record_size};
pub use seal::{seal, seal_inline};

use crate::types::VersionId;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of plaintext in a full stripe. The last stripe of an object is shorter; an empty object has none.
pub const STRIPE_SIZE: usize = 1 << 20;

/// Objects (and parts) up to this size live sealed in their metadata row.
pub const INLINE_MAX: usize = 16 << 10;

/// How many shards of a stripe hold data and how many parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `k`, at least 1.
    pub data: u8,
    /// `m`; any `m` positions may be lost.
    pub parity: u8,
}

/// A random 256-bit key, one per object version. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(pub [u8; 32]);

/// The key that wraps data keys. From `<dir>/keys/`. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKey(pub [u8; 32]);

/// A data key sealed under the root key, as metadata rows keep it: 12 bytes nonce, 32 bytes key, 16 bytes tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey(pub Vec<u8>);

/// What identifies a stripe. Bound into the seal as associated data, so that no stripe can stand for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeId {
    /// The version (or part) that the stripe belongs to.
    pub version: VersionId,
    /// From 0.
    pub index: u32,
}

/// A stripe to make.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Which stripe.
    pub id: StripeId,
    /// The version's key.
    pub key: DataKey,
    /// Into how many shards.
    pub profile: Profile,
    /// At most [`STRIPE_SIZE`] bytes, at least 1.
    pub plaintext: Bytes,
}

/// A stripe to read.
#[derive(Clone, Debug)]
pub struct Open {
    /// Which stripe.
    pub id: StripeId,
    /// The version's key.
    pub key: DataKey,
    /// How it was cut.
    pub profile: Profile,
    /// Bytes of plaintext that the stripe holds.
    pub length: u32,
    /// The framed record of each position, `k + m` of them; `None` for those not fetched.
    pub records: Vec<Option<Bytes>>,
}

/// Why a stripe could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Fewer than `k` good shards among those given (or a profile that cannot be). `damaged` failed their checks and must not be trusted again.
    TooFew { good: u8, damaged: Vec<u8> },
    /// Every checksum holds, but the seal does not: wrong key, wrong stripe, or bytes changed on purpose.
    Forged,
    /// The wrapped key does not open: it was wrapped under another root key or for another version, or is damaged.
    WrongRootKey,
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            OpenError::TooFew { good, damaged } => {
                write!(f, "only {good} good shards of the stripe; positions that failed their checks: {damaged:?}")
            }
            OpenError::Forged => f.write_str("the checksums hold but the seal does not: wrong key or changed bytes"),
            OpenError::WrongRootKey => f.write_str("the data key does not open under this node's root key"),
        }
    }
}

impl core::error::Error for OpenError {}

/// A stripe that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The bytes.
    pub plaintext: Bytes,
    /// Positions whose record was given but failed its checks: to be repaired.
    pub damaged: Vec<u8>,
}

impl core::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DataKey(hidden)")
    }
}

impl core::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RootKey(hidden)")
    }
}
