//! Golden bytes, every loss pattern, every single flipped byte, and every wrong identity.

use super::*;
use crate::planted::{Bug, Planted};
use alloc::vec;
use proptest::prelude::*;

const PROFILES: [(u8, u8); 8] = [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (5, 3), (1, 2)];

fn key() -> DataKey {
    DataKey(core::array::from_fn(|i| u8::try_from(i).expect("32 fits")))
}

fn id() -> StripeId {
    StripeId { version: VersionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677), index: 3 }
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from((i * 31 + i / 256) % 256).expect("a remainder of 256")).collect()
}

fn job(profile: (u8, u8), length: usize) -> Seal {
    let profile = Profile { data: profile.0, parity: profile.1 };
    Seal { id: id(), key: key(), profile, plaintext: bytes(length) }
}

fn opening(job: &Seal, records: Vec<Option<Bytes>>) -> Open {
    let length = u32::try_from(job.plaintext.len()).expect("a stripe's length");
    Open { id: job.id, key: job.key.clone(), profile: job.profile, length, records }
}

fn sealed(job: &Seal) -> Vec<Option<Bytes>> {
    seal(job).into_iter().map(Some).collect()
}

fn flipped(record: &Bytes, at: usize, mask: u8) -> Bytes {
    let mut changed = record.to_vec();
    changed[at] ^= mask;
    changed.into()
}

#[test]
fn golden_bytes() {
    let records = seal(&Seal { plaintext: Bytes::from_static(b"an anvil"), ..job((2, 1), 8) });
    let hex: Vec<alloc::string::String> =
        records.iter().map(|record| record.iter().map(|byte| alloc::format!("{byte:02x}")).collect()).collect();
    assert_eq!(hex, include_str!("testdata/golden.txt").lines().collect::<Vec<_>>());
}

#[test]
fn inline_and_wrapped_golden_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect::<alloc::string::String>();
    let lines = [
        hex(&seal_inline(id().version, &key(), b"an anvil")),
        hex(&wrap(&RootKey([7; 32]), id().version, &key(), [9; 12]).0),
    ];
    assert_eq!(lines.as_slice(), include_str!("testdata/golden-keys.txt").lines().collect::<Vec<_>>());
}

#[test]
fn any_k_records_give_the_stripe_back() {
    for profile in PROFILES {
        for length in [1, 2, 15, 16, 17, 1000, 65_536 * usize::from(profile.0) - 16, 70_000 * usize::from(profile.0)] {
            let job = job(profile, length);
            let records = sealed(&job);
            let size = record_size(job.profile, u32::try_from(length).expect("small"));
            assert!(records.iter().flatten().all(|record| record.len() == size as usize));
            for lost in 0..1u32 << records.len() {
                let kept: Vec<Option<Bytes>> =
                    (0..).zip(&records).map(|(i, r)| r.clone().filter(|_| lost >> i & 1 == 0)).collect();
                let opened = open(&opening(&job, kept), Planted::default());
                if lost.count_ones() <= u32::from(profile.1) {
                    assert_eq!(
                        opened,
                        Ok(Opened { plaintext: job.plaintext.clone(), damaged: vec![] }),
                        "{profile:?} {lost:b}"
                    );
                } else {
                    let good =
                        u8::try_from(records.len()).expect("few") - u8::try_from(lost.count_ones()).expect("few");
                    assert_eq!(opened, Err(OpenError::TooFew { good, damaged: vec![] }));
                }
            }
        }
    }
}

#[test]
fn a_full_stripe_round_trips_with_the_widest_profiles() {
    for profile in [(4, 2), (16, 16), (1, 31), (31, 1)] {
        let job = job(profile, STRIPE_SIZE);
        let mut records = sealed(&job);
        records[..usize::from(profile.1.min(profile.0))].fill(None);
        assert_eq!(open(&opening(&job, records), Planted::default()).expect("k are left").plaintext, job.plaintext);
    }
}

#[test]
fn every_flipped_byte_of_a_record_is_found_and_repaired_around() {
    // With its tag of 16 bytes the stripe fills two shards of 33 bytes.
    let job = job((2, 1), 50);
    let records = sealed(&job);
    for position in 0..3u8 {
        let record = records[usize::from(position)].clone().expect("just sealed");
        for at in 0..record.len() {
            for mask in [0x01, 0x80, 0xFF] {
                let bad = flipped(&record, at, mask);
                assert!(!verify(&bad, job.id, position), "byte {at}");
                let mut given = records.clone();
                given[usize::from(position)] = Some(bad);
                let opened = open(&opening(&job, given.clone()), Planted::default()).expect("two are good");
                // Where nothing has to be rebuilt, the seal takes the place of the frames' checksums, parity is not looked at.
                let counts = at < 40 || (at < 73 && position < 2);
                let named = if counts { vec![position] } else { vec![] };
                assert_eq!((opened.plaintext, opened.damaged), (job.plaintext.clone(), named), "byte {at}");
                // Where something has, every frame counts.
                let other = usize::from((position + 1) % 3);
                given[other] = None;
                let opened = open(&opening(&job, given), Planted::default());
                let has_data = other == 2 && !counts;
                let damaged = Err(OpenError::TooFew { good: 1, damaged: vec![position] });
                assert_eq!(opened.map(|_| ()), if has_data { Ok(()) } else { damaged }, "byte {at}");
            }
        }
    }
}

#[test]
fn a_record_cut_short_or_grown_is_damaged() {
    let job = job((1, 0), 70_000);
    let record = seal(&job).remove(0);
    for length in [0, 1, 39, 40, 41, 65_576, 65_580, record.len() - 1] {
        assert!(!verify(&record[..length], job.id, 0), "{length} bytes");
        let opened = open(&opening(&job, vec![Some(record.slice(..length))]), Planted::default());
        assert_eq!(opened, Err(OpenError::TooFew { good: 0, damaged: vec![0] }));
    }
    let grown: Bytes = record.iter().copied().chain([0; 4]).collect();
    assert!(!verify(&grown, job.id, 0));
    assert!(verify(&record, job.id, 0));
}

#[test]
fn a_record_of_another_shard_is_damaged() {
    let ours = job((2, 1), 50);
    let records = sealed(&ours);
    let others = [
        Seal { id: StripeId { index: 4, ..ours.id }, ..ours.clone() },
        Seal { id: StripeId { version: VersionId(1), ..ours.id }, ..ours.clone() },
        Seal { profile: Profile { data: 2, parity: 2 }, ..ours.clone() },
        Seal { plaintext: bytes(49), ..ours.clone() },
    ];
    for other in others {
        let mut given = records.clone();
        given[1] = sealed(&other)[1].clone();
        assert_eq!(open(&opening(&ours, given), Planted::default()).expect("two are good").damaged, vec![1]);
    }
    let mut swapped = records;
    swapped.swap(0, 2);
    let opened = open(&opening(&ours, swapped), Planted::default());
    assert_eq!(opened, Err(OpenError::TooFew { good: 1, damaged: vec![0, 2] }));
}

#[test]
fn a_frame_moved_within_its_record_is_found() {
    let job = job((1, 0), 3 * 65_536 - 16);
    let record = seal(&job).remove(0);
    let (header, body) = record.split_at(40);
    let frames: Vec<&[u8]> = body.chunks(65_540).collect();
    assert_eq!(frames.len(), 3);
    let moved = [header, frames[1], frames[0], frames[2]].concat();
    assert!(!verify(&moved, job.id, 0));
}

#[test]
fn the_seal_binds_key_and_identity() {
    let job = job((1, 0), 50);
    let records = sealed(&job);
    let wrong_key = Open { key: DataKey([0; 32]), ..opening(&job, records.clone()) };
    assert_eq!(open(&wrong_key, Planted::default()), Err(OpenError::Forged));

    // Someone who can compute checksums moves a shard's payload under another header.
    let payload = &records[0].as_ref().expect("just sealed")[40..106];
    let other = StripeId { index: 9, ..job.id };
    let forged = frame::frame(&frame::Identity { id: other, profile: job.profile, position: 0, length: 50 }, payload);
    assert!(verify(&forged, other, 0));
    let opened = open(&Open { id: other, ..opening(&job, vec![Some(forged)]) }, Planted::default());
    assert_eq!(opened, Err(OpenError::Forged));
}

#[test]
fn inline_objects_round_trip_and_refuse_changes() {
    for length in [0, 1, 16, INLINE_MAX] {
        let plaintext = bytes(length);
        let sealed = seal_inline(id().version, &key(), &plaintext);
        assert_eq!(open_inline(id().version, &key(), &sealed), Ok(plaintext));
        assert_eq!(open_inline(VersionId(1), &key(), &sealed), Err(OpenError::Forged));
        assert_eq!(open_inline(id().version, &DataKey([0; 32]), &sealed), Err(OpenError::Forged));
        assert_eq!(open_inline(id().version, &key(), &sealed[..sealed.len() - 1]), Err(OpenError::Forged));
        assert_eq!(open_inline(id().version, &key(), &flipped(&sealed, length, 1)), Err(OpenError::Forged));
    }
    assert_eq!(open_inline(id().version, &key(), b"short"), Err(OpenError::Forged));
}

#[test]
fn wrapped_keys_open_only_under_their_root_key_and_version() {
    let root = RootKey([7; 32]);
    let wrapped = wrap(&root, id().version, &key(), [9; 12]);
    assert_eq!(wrapped.0.len(), 60);
    assert!(unwrap_key(&root, id().version, &wrapped) == Ok(key()));
    assert_eq!(unwrap_key(&RootKey([8; 32]), id().version, &wrapped), Err(OpenError::WrongRootKey));
    assert_eq!(unwrap_key(&root, VersionId(1), &wrapped), Err(OpenError::WrongRootKey));
    for at in 0..60 {
        let mut changed = wrapped.clone();
        changed.0[at] ^= 1;
        assert_eq!(unwrap_key(&root, id().version, &changed), Err(OpenError::WrongRootKey));
    }
    for length in [0, 59] {
        let cut = WrappedKey(wrapped.0[..length].to_vec());
        assert_eq!(unwrap_key(&root, id().version, &cut), Err(OpenError::WrongRootKey));
    }
}

#[test]
fn profiles_follow_the_number_of_drives() {
    let of = |drives| {
        let profile = Profile::for_drives(drives);
        assert_eq!(profile.check(), Ok(()));
        (profile.data, profile.parity)
    };
    let table = [(1, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (4, 2)];
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 100].map(of), table);
    assert_eq!(Profile { data: 0, parity: 2 }.check(), Err(ProfileError::NoData));
    assert_eq!(Profile { data: 30, parity: 3 }.check(), Err(ProfileError::TooMany(33)));
    assert_eq!(Profile { data: 255, parity: 255 }.check(), Err(ProfileError::TooMany(510)));
}

#[test]
fn an_impossible_profile_or_length_is_an_error_not_a_panic() {
    let job = job((1, 0), 50);
    let records = sealed(&job);
    let open_with =
        |profile, length| open(&Open { profile, length, ..opening(&job, records.clone()) }, Planted::default());
    let none = Err(OpenError::TooFew { good: 0, damaged: vec![] });
    assert_eq!(open_with(Profile { data: 0, parity: 1 }, 50), none);
    let mismatch = Err(OpenError::TooFew { good: 0, damaged: vec![0] });
    for length in [0, 49, 51, u32::MAX] {
        assert_eq!(open_with(job.profile, length), mismatch);
    }
}

#[test]
fn the_planted_bug_hands_out_damaged_bytes() {
    let job = job((2, 1), 50);
    let mut records = sealed(&job);
    records[2] = None;
    let buggy = Planted::arm(Bug::ChecksumNotVerified);
    let whole = open(&opening(&job, records.clone()), buggy).expect("nothing is damaged");
    assert_eq!(whole.plaintext, job.plaintext);

    let record = records[0].clone().expect("just sealed");
    records[0] = Some(flipped(&record, 40 + 5, 0xFF));
    let read = open(&opening(&job, records.clone()), buggy).expect("the bug lets it pass");
    assert_eq!(read.plaintext, flipped(&job.plaintext, 5, 0xFF));
    assert!(open(&opening(&job, records), Planted::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn garbage_is_never_taken_for_a_record(garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!verify(&garbage, id(), 0));
    }
}
