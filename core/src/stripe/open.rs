//! From records to plaintext.
//!
//! The payloads of the data shards are copied next to each other, which gives the sealed stripe; a missing one is
//! rebuilt in its place; the stripe is then decrypted where it lies and handed out without another copy.
//!
//! The seal says more than the frames' checksums do, and has to be checked anyway. So where all data shards are there, the frames
//! are looked at only if the seal does not hold: they say which shard is damaged. Rot in a checksum alone is left to the scrub.

use super::frame::{Identity, frames_hold, has_size, payloads, unframe};
use super::keys::{Sealer, TAG_SIZE};
use super::{DataKey, Open, OpenError, Opened, Profile};
use crate::planted::{Planted, planted};
use crate::types::VersionId;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// Reads a stripe from any `k` good records, rebuilding data shards that are missing or damaged.
pub fn open(job: &Open, planted: Planted) -> Result<Opened, OpenError> {
    let Open { id, profile, length, records, .. } = job;
    if profile.check().is_err() {
        return Err(OpenError::TooFew { good: 0, damaged: Vec::new() });
    }
    assert_eq!(records.len(), profile.total(), "one place per position of the stripe");

    let mut shards: Vec<Option<&[u8]>> = vec![None; records.len()];
    let mut damaged = Vec::new();
    let expected = |position| Identity { id: *id, profile: *profile, position, length: *length };
    for (position, record) in (0u8..).zip(records) {
        let Some(record) = record else { continue };
        // STRIPE-3: compared as a whole, so that nothing in a header can be ignored.
        if fits(record, &expected(position), planted) {
            shards[usize::from(position)] = Some(record);
        } else {
            damaged.push(position);
        }
    }
    if has_data(&shards, *profile)
        && let Some(plaintext) = unseal(job, &shards)
    {
        return Ok(Opened { plaintext, damaged });
    }

    if !planted!(planted, ChecksumNotVerified) {
        for (position, shard) in (0u8..).zip(&mut shards) {
            if shard.is_some_and(|record| !frames_hold(record, &expected(position))) {
                *shard = None;
                damaged.push(position);
            }
        }
        damaged.sort_unstable();
    }
    let good = shards.iter().flatten().count();
    if good < usize::from(profile.data) {
        let good = u8::try_from(good).expect("fewer than k, which is a u8");
        return Err(OpenError::TooFew { good, damaged });
    }
    #[cfg(debug_assertions)]
    if planted!(planted, ChecksumNotVerified) || planted!(planted, MixedVersions) {
        let mut sealed = assemble(job, &shards);
        sealed.truncate(*length as usize);
        Sealer::stripe(&job.key, *id, *profile, *length).open_unchecked(&mut sealed);
        return Ok(Opened { plaintext: sealed.freeze(), damaged });
    }
    let plaintext = unseal(job, &shards).ok_or(OpenError::Forged)?;
    Ok(Opened { plaintext, damaged })
}

/// Whether a record is as long as its header says, which is that of the expected shard.
fn fits(record: &[u8], expected: &Identity, planted: Planted) -> bool {
    let found = Identity::decode(record);
    let found =
        if planted!(planted, MixedVersions) { found.map(|of| Identity { id: expected.id, ..of }) } else { found };
    found.as_ref() == Some(expected) && has_size(record, expected)
}

/// Whether nothing has to be rebuilt.
fn has_data(shards: &[Option<&[u8]>], profile: Profile) -> bool {
    match profile.data {
        1 => shards.iter().any(Option::is_some),
        data => shards[..usize::from(data)].iter().all(Option::is_some),
    }
}

/// The plaintext of a stripe of which at least `k` shards fit, if the seal holds.
fn unseal(job: &Open, shards: &[Option<&[u8]>]) -> Option<Bytes> {
    let mut sealed = assemble(job, shards);
    let length = job.length as usize;
    // STRIPE-1: the seal is checked before any byte is decrypted.
    if !Sealer::stripe(&job.key, job.id, job.profile, job.length).open(&mut sealed, length) {
        return None;
    }
    sealed.truncate(length);
    Some(sealed.freeze())
}

/// Puts the data shards next to each other. `good` holds at least `k` records that fit.
fn assemble(job: &Open, good: &[Option<&[u8]>]) -> BytesMut {
    let k = usize::from(job.profile.data);
    // A record of this length exists, so the length is one that a stripe can have.
    let shard_size = usize::try_from(job.profile.shard_size(job.length)).expect("no larger than a record in memory");
    // With one data shard all positions hold the same.
    let whole: Vec<&[u8]> = match k {
        1 => good.iter().flatten().take(1).copied().collect(),
        k => good[..k].iter().flatten().copied().collect(),
    };
    if whole.len() == k {
        let mut sealed = BytesMut::with_capacity(k * shard_size);
        for payload in whole.into_iter().flat_map(payloads) {
            sealed.extend_from_slice(payload);
        }
        return sealed;
    }
    let mut sealed = BytesMut::zeroed(k * shard_size);
    let (data, parity) = good.split_at(k);
    for (record, shard) in data.iter().zip(sealed.chunks_exact_mut(shard_size)) {
        if let Some(record) = record {
            unframe(record, shard);
        }
    }
    // STRIPE-2: as many parity shards as data shards are missing.
    let mut missing = data.iter().filter(|record| record.is_none()).count();
    let mut spares: Vec<(Vec<u8>, bool)> = Vec::with_capacity(parity.len());
    for record in parity {
        match record {
            Some(record) if missing > 0 => {
                let mut shard = vec![0; shard_size];
                unframe(record, &mut shard);
                spares.push((shard, true));
                missing -= 1;
            }
            Some(_) | None => spares.push((Vec::new(), false)),
        }
    }
    let slots = sealed.chunks_exact_mut(shard_size).zip(data).map(|(shard, record)| (shard, record.is_some()));
    let mut slots: Vec<(&mut [u8], bool)> =
        slots.chain(spares.iter_mut().map(|(shard, present)| (shard.as_mut_slice(), *present))).collect();
    let code = ReedSolomon::new(k, parity.len()).expect("a checked profile is within the code's limits");
    code.reconstruct_data(&mut slots).expect("k shards of the same size are present");
    sealed
}

/// Opens what `seal_inline` made. Fails with [`OpenError::Forged`].
pub fn open_inline(version: VersionId, key: &DataKey, sealed: &[u8]) -> Result<Bytes, OpenError> {
    let length = sealed.len().checked_sub(TAG_SIZE).ok_or(OpenError::Forged)?;
    let mut bytes = BytesMut::from(sealed);
    if !Sealer::inline(key, version, length).open(&mut bytes, length) {
        return Err(OpenError::Forged);
    }
    bytes.truncate(length);
    Ok(bytes.freeze())
}
