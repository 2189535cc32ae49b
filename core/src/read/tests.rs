//! Which shards a read asks for, in which order, and what it makes of them. The stripes are real ones, sealed and opened.

use super::{Effect, Event, Read};
use crate::planted::Planted;
use crate::shards::ShardKey;
use crate::stripe::{self, DataKey, Open, Profile, Seal, StripeId};
use crate::types::{DriveId, VersionId};
use crate::write::drive_of;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

const ID: StripeId = StripeId { version: VersionId(5), index: 1 };
const TEXT: &[u8] = b"the bytes of a stripe, which is a short one";

/// What a drive has for a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shard {
    Good,
    Missing,
    Damaged,
}
use Shard::{Damaged, Good, Missing};

fn profile(data: u8, parity: u8) -> Profile {
    Profile { data, parity }
}

fn drives(profile: Profile) -> Vec<DriveId> {
    (0..u32::from(profile.data + profile.parity)).map(DriveId).collect()
}

fn open(profile: Profile, key: u8) -> Open {
    let length = u32::try_from(TEXT.len()).expect("short");
    Open { id: ID, key: DataKey([key; 32]), profile, length, records: Vec::new() }
}

/// The records of the stripe as the drives would return them.
fn records(profile: Profile, shards: &[Shard]) -> Vec<Option<Bytes>> {
    let seal = Seal { id: ID, key: DataKey([1; 32]), profile, plaintext: Bytes::from_static(TEXT) };
    let records = stripe::seal(&seal).into_iter().zip(shards);
    let records = records.map(|(record, shard)| match shard {
        Good => Some(record),
        Missing => None,
        Damaged => {
            let mut bytes = record.to_vec();
            // The first byte of the first frame, which follows the header.
            bytes[40] ^= 1;
            Some(bytes.into())
        }
    });
    records.collect()
}

/// In which order the drives answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    First,
    Last,
}

/// What a read did: the positions that it asked for, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    asked: Vec<u8>,
    end: Result<(Bytes, Vec<u8>), String>,
}

/// Answers a read until it is over.
fn run(profile: Profile, key: u8, records: &[Option<Bytes>], order: Order) -> Course {
    let mut out = Vec::new();
    let drives = drives(profile);
    let mut read = Read::new(open(profile, key), drives.clone(), Vec::new(), &mut out);
    let (mut asked, mut loading, mut opening) = (Vec::new(), Vec::new(), None);
    loop {
        for effect in core::mem::take(&mut out) {
            match effect {
                Effect::Load { drive, key } => {
                    let expected = ShardKey { version: ID.version, stripe: ID.index, position: key.position };
                    assert_eq!(key, expected);
                    assert_eq!(drive, drive_of(&drives, ID.index, key.position));
                    asked.push(key.position);
                    loading.push(key.position);
                }
                Effect::Open(open) => {
                    assert!(loading.is_empty(), "a stripe is opened when all shards that were asked for have come");
                    assert_eq!(open.records.iter().flatten().count(), usize::from(profile.data));
                    assert!(opening.replace(open).is_none());
                }
                Effect::Done { plaintext, damaged } => {
                    assert!(loading.is_empty() && out.is_empty());
                    return Course { asked, end: Ok((plaintext, damaged)) };
                }
                Effect::Failed { why, .. } => {
                    assert!(loading.is_empty() && out.is_empty());
                    return Course { asked, end: Err(why) };
                }
            }
        }
        if let Some(open) = opening.take() {
            read.step(Event::Opened(stripe::open(&open, Planted::default())), &mut out);
        } else {
            assert!(!loading.is_empty(), "a read that is not over waits for something");
            let at = if order == Order::First { 0 } else { loading.len() - 1 };
            let position = loading.remove(at);
            let record = records[usize::from(position)].clone();
            read.step(Event::Loaded { position, record }, &mut out);
        }
    }
}

fn course(profile: Profile, shards: &[Shard]) -> Course {
    run(profile, 1, &records(profile, shards), Order::First)
}

fn read(asked: &[u8], damaged: &[u8]) -> Course {
    Course { asked: asked.to_vec(), end: Ok((Bytes::from_static(TEXT), damaged.to_vec())) }
}

#[test]
fn a_whole_stripe_is_read_from_its_data_shards_alone() {
    assert_eq!(course(profile(1, 0), &[Good]), read(&[0], &[]));
    assert_eq!(course(profile(2, 1), &[Good, Good, Good]), read(&[0, 1], &[]));
    assert_eq!(course(profile(2, 1), &[Good, Good, Damaged]), read(&[0, 1], &[]));
    assert_eq!(course(profile(4, 2), &[Good; 6]), read(&[0, 1, 2, 3], &[]));
}

#[test]
fn parity_takes_the_place_of_missing_shards_in_the_order_of_positions() {
    assert_eq!(course(profile(2, 1), &[Missing, Good, Good]), read(&[0, 1, 2], &[0]));
    assert_eq!(course(profile(2, 2), &[Good, Missing, Good, Good]), read(&[0, 1, 2], &[1]));
    assert_eq!(course(profile(2, 2), &[Missing, Missing, Good, Good]), read(&[0, 1, 2, 3], &[0, 1]));
    assert_eq!(course(profile(2, 2), &[Missing, Good, Missing, Good]), read(&[0, 1, 2, 3], &[0, 2]));
    assert_eq!(course(profile(1, 1), &[Missing, Good]), read(&[0, 1], &[0]));
}

#[test]
fn a_damaged_shard_is_replaced_and_named_for_repair() {
    assert_eq!(course(profile(2, 1), &[Good, Damaged, Good]), read(&[0, 1, 2], &[1]));
    assert_eq!(course(profile(2, 2), &[Damaged, Damaged, Good, Good]), read(&[0, 1, 2, 3], &[0, 1]));
    assert_eq!(course(profile(2, 2), &[Damaged, Good, Damaged, Good]), read(&[0, 1, 2, 3], &[0, 2]));
    assert_eq!(course(profile(2, 2), &[Missing, Good, Damaged, Good]), read(&[0, 1, 2, 3], &[0, 2]));
    assert_eq!(course(profile(1, 1), &[Damaged, Good]), read(&[0, 1], &[0]));
}

#[test]
fn a_stripe_is_refused_only_when_every_position_was_tried() {
    // READ-2
    let refused = |why: &str| Err(String::from(why));
    let end = course(profile(2, 1), &[Missing, Good, Missing]);
    assert_eq!(end.asked, [0, 1, 2]);
    assert_eq!(end.end, refused("stripe 1 has 1 readable shards and needs 2"));
    let end = course(profile(2, 2), &[Damaged, Damaged, Damaged, Good]);
    assert_eq!(end.asked, [0, 1, 2, 3]);
    assert_eq!(end.end, refused("stripe 1 has 1 readable shards and needs 2"));
    let end = course(profile(1, 0), &[Damaged]);
    assert_eq!((end.asked, end.end), (vec![0], refused("stripe 1 has 0 readable shards and needs 1")));
}

#[test]
fn nothing_is_opened_while_a_drive_still_thinks() {
    let mut out = Vec::new();
    let profile = profile(2, 1);
    let records = records(profile, &[Missing, Good, Missing]);
    let mut read = Read::new(open(profile, 1), drives(profile), Vec::new(), &mut out);
    assert_eq!(out.drain(..).count(), 2, "the data shards");
    read.step(Event::Loaded { position: 0, record: None }, &mut out);
    assert!(matches!(out[..], [Effect::Load { .. }]), "parity is asked for at once: {out:?}");
    out.clear();
    read.step(Event::Loaded { position: 2, record: None }, &mut out);
    assert!(out.is_empty(), "position 1 has not answered: {out:?}");
    read.step(Event::Loaded { position: 1, record: records[1].clone() }, &mut out);
    assert!(matches!(out[..], [Effect::Failed { .. }]), "one shard is too few: {out:?}");
}

#[test]
fn a_seal_that_does_not_hold_gives_no_bytes() {
    // READ-1
    let profile = profile(2, 1);
    let end = run(profile, 2, &records(profile, &[Good; 3]), Order::First);
    assert_eq!(end.end, Err(String::from("Forged")));
}

#[test]
fn any_two_good_shards_of_four_are_enough_whatever_the_others_are() {
    let profile = profile(2, 2);
    let kinds = [Good, Missing, Damaged];
    for pattern in 0..81usize {
        let shards = [1, 3, 9, 27].map(|power| kinds[pattern / power % 3]);
        let records = records(profile, &shards);
        for order in [Order::First, Order::Last] {
            let Course { mut asked, end } = run(profile, 1, &records, order);
            asked.sort_unstable();
            assert!(asked.is_sorted_by(|a, b| a < b), "no position is asked twice: {shards:?}");
            let bad: Vec<u8> = asked.iter().copied().filter(|at| shards[usize::from(*at)] != Good).collect();
            match end {
                Ok((plaintext, mut damaged)) => {
                    damaged.sort_unstable();
                    assert_eq!(plaintext, TEXT, "{shards:?}");
                    assert_eq!(damaged, bad, "each bad shard that was seen is named: {shards:?}");
                    assert_eq!(asked.len() - bad.len(), 2, "no more is asked than is needed: {shards:?}");
                }
                Err(why) => {
                    assert!(shards.iter().filter(|shard| **shard == Good).count() < 2, "{shards:?}: {why}");
                    assert_eq!(asked, [0, 1, 2, 3], "READ-2: {shards:?}");
                }
            }
        }
    }
}
