//! A shard as it travels and rests: a header that says what it is, then frames with a checksum each.
//!
//! A frame is small enough that checking and copying it stays in the processor's cache, and that a later ranged read
//! need not fetch a whole shard. The checksum of a frame also covers the header's checksum and the frame's number, so
//! that an intact frame of another record, or of another place in this one, does not pass.
//!
//! The bytes: `docs/formats/stripe.md`.

use super::{Profile, StripeId};
use crate::types::VersionId;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C (Castagnoli), sixteen bytes at a time.
pub(crate) static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Payload bytes of a frame; the last frame of a record may have fewer.
pub(super) const FRAME_SIZE: usize = 64 << 10;

/// Bytes before the first frame.
pub(super) const HEADER_SIZE: usize = 40;

const MAGIC: [u8; 4] = *b"ANSR";
const FORMAT: u8 = 1;
const CRC_SIZE: usize = 4;

/// Everything that a record's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Which stripe of which version.
    pub(crate) id: StripeId,
    /// How the stripe was cut. A version that was re-coded has records of two profiles for a while.
    pub(crate) profile: Profile,
    /// Which of its positions.
    pub(crate) position: u8,
    /// Bytes of plaintext in the stripe.
    pub(crate) length: u32,
}

impl Identity {
    /// Bytes of the shard without framing.
    fn payload_size(&self) -> u64 {
        self.profile.shard_size(self.length)
    }

    fn encode(&self) -> [u8; HEADER_SIZE] {
        let payload_size = u32::try_from(self.payload_size()).expect("a stripe is at most STRIPE_SIZE bytes");
        let mut header = [0; HEADER_SIZE];
        let mut rest = &mut header[..];
        rest.put_slice(&MAGIC);
        rest.put_u8(FORMAT);
        rest.put_u8(self.position);
        rest.put_u8(self.profile.data);
        rest.put_u8(self.profile.parity);
        rest.put_u128_le(self.id.version.0);
        rest.put_u32_le(self.id.index);
        rest.put_u32_le(payload_size);
        rest.put_u32_le(self.length);
        let crc = CRC32C.checksum(&header[..HEADER_SIZE - CRC_SIZE]);
        header[HEADER_SIZE - CRC_SIZE..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Reads a record's header; `None` when it is not one, or its checksum fails, or it contradicts itself.
    pub(crate) fn decode(record: &[u8]) -> Option<Identity> {
        let (covered, crc) = record.get(..HEADER_SIZE)?.split_at(HEADER_SIZE - CRC_SIZE);
        if CRC32C.checksum(covered).to_le_bytes() != crc || covered[..4] != MAGIC || covered[4] != FORMAT {
            return None;
        }
        let mut rest = &covered[5..];
        let position = rest.get_u8();
        let profile = Profile { data: rest.get_u8(), parity: rest.get_u8() };
        let id = StripeId { version: VersionId(rest.get_u128_le()), index: rest.get_u32_le() };
        let payload_size = rest.get_u32_le();
        let identity = Identity { id, profile, position, length: rest.get_u32_le() };
        let sound = profile.check().is_ok()
            && usize::from(position) < profile.total()
            && identity.payload_size() == u64::from(payload_size);
        sound.then_some(identity)
    }
}

/// Makes a record of a shard.
pub(super) fn frame(identity: &Identity, payload: &[u8]) -> Bytes {
    assert_eq!(payload.len() as u64, identity.payload_size(), "a shard has the size that its header says");
    let header = identity.encode();
    let mut record =
        BytesMut::with_capacity(HEADER_SIZE + payload.len() + CRC_SIZE * payload.len().div_ceil(FRAME_SIZE));
    record.put_slice(&header);
    for (index, chunk) in payload.chunks(FRAME_SIZE).enumerate() {
        record.put_slice(chunk);
        record.put_u32_le(frame_crc(&header, index, chunk));
    }
    record.freeze()
}

/// Checks every frame of a record whose header was read as `identity`.
pub(super) fn frames_hold(record: &[u8], identity: &Identity) -> bool {
    let (header, body) = record.split_at(HEADER_SIZE);
    has_size(record, identity)
        && frames(body).enumerate().all(|(index, (chunk, crc))| frame_crc(header, index, chunk).to_le_bytes() == crc)
}

/// Whether the record is as long as its header says.
pub(super) fn has_size(record: &[u8], identity: &Identity) -> bool {
    record.len() == super::record_size(identity.profile, identity.length) as usize
}

/// A record's payload, frame by frame, without framing. The record must have passed [`has_size`].
pub(super) fn payloads(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    frames(&record[HEADER_SIZE..]).map(|(chunk, _)| chunk)
}

/// Copies a record's payload, without framing, into `shard`. The record must have passed [`has_size`].
pub(super) fn unframe(record: &[u8], shard: &mut [u8]) {
    for (chunk, to) in payloads(record).zip(shard.chunks_mut(FRAME_SIZE)) {
        to.copy_from_slice(chunk);
    }
}

/// Whether `record` is the intact record of this stripe and position: header, length and every frame. What the seal
/// protects is not checked here, so the shard store and the scrubber need no key.
#[must_use]
pub fn verify(record: &[u8], id: StripeId, position: u8) -> bool {
    Identity::decode(record).is_some_and(|identity| {
        // STRIPE-3: an intact record of another shard is as wrong as a damaged one.
        identity.id == id && identity.position == position && frames_hold(record, &identity)
    })
}

/// What a planted bug does to a damaged record: the same payload, framed as if it were sound.
#[cfg(debug_assertions)]
pub(crate) fn reframe(record: &[u8], id: StripeId, position: u8, profile: Profile, length: u32) -> Option<Bytes> {
    let identity = Identity { id, profile, position, length };
    if !has_size(record, &identity) {
        return None;
    }
    let mut payload = alloc::vec![0; usize::try_from(identity.payload_size()).ok()?];
    unframe(record, &mut payload);
    Some(frame(&identity, &payload))
}

fn frames(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    body.chunks(FRAME_SIZE + CRC_SIZE).map(|frame| frame.split_at(frame.len().saturating_sub(CRC_SIZE)))
}

fn frame_crc(header: &[u8], index: usize, chunk: &[u8]) -> u32 {
    let index = u32::try_from(index).expect("a shard has fewer than 2^32 frames");
    let mut digest = CRC32C.digest();
    digest.update(&header[HEADER_SIZE - CRC_SIZE..HEADER_SIZE]);
    digest.update(&index.to_le_bytes());
    digest.update(chunk);
    digest.finalize()
}
