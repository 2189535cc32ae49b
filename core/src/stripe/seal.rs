//! From plaintext to records.
//!
//! Each byte is written twice: once by the cipher, which reads the caller's bytes and writes its own buffer, and once
//! when the shard is framed.

use super::frame::{Identity, frame};
use super::keys::{Sealer, TAG_SIZE};
use super::{DataKey, STRIPE_SIZE, Seal};
use crate::types::VersionId;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// Makes the `k + m` records of a stripe, in the order of their positions.
#[must_use]
pub fn seal(job: &Seal) -> Vec<Bytes> {
    let Seal { id, key, profile, plaintext } = job;
    assert!(profile.check().is_ok(), "a profile is checked where it enters: {profile:?}");
    assert!((1..=STRIPE_SIZE).contains(&plaintext.len()), "a stripe holds 1 to {STRIPE_SIZE} bytes");
    let length = u32::try_from(plaintext.len()).expect("just checked against STRIPE_SIZE");
    let shard_size = usize::try_from(profile.shard_size(length)).expect("a shard is no larger than its stripe");

    let mut sealed = vec![0; shard_size * usize::from(profile.data)];
    Sealer::stripe(key, *id, *profile, length).seal(plaintext, &mut sealed);
    let data: Vec<&[u8]> = sealed.chunks_exact(shard_size).collect();
    let parity = parity(&data, usize::from(profile.parity), shard_size);

    // With one data shard the code's parity is a copy of it.
    let copies = core::iter::repeat_n(data[0], if data.len() == 1 { usize::from(profile.parity) } else { 0 });
    let shards = data.iter().copied().chain(parity.iter().map(Vec::as_slice)).chain(copies);
    (0..)
        .zip(shards)
        .map(|(position, shard)| frame(&Identity { id: *id, profile: *profile, position, length }, shard))
        .collect()
}

fn parity(data: &[&[u8]], count: usize, shard_size: usize) -> Vec<Vec<u8>> {
    if count == 0 || data.len() == 1 {
        return Vec::new();
    }
    let mut parity = vec![vec![0; shard_size]; count];
    let code = ReedSolomon::new(data.len(), count).expect("a checked profile is within the code's limits");
    code.encode_sep(data, &mut parity).expect("all shards have the same size, which is not 0");
    parity
}

/// Seals an object (or part) that is kept in its metadata row: the ciphertext followed by the tag.
#[must_use]
pub fn seal_inline(version: VersionId, key: &DataKey, plaintext: &[u8]) -> Bytes {
    let mut sealed = BytesMut::zeroed(plaintext.len() + TAG_SIZE);
    Sealer::inline(key, version, plaintext.len()).seal(plaintext, &mut sealed);
    sealed.freeze()
}
