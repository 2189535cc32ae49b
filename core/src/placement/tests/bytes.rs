//! What must be the same in every build: the bytes of a table, and the hashes.

use super::model::{alike, any_cluster, any_profile};
use crate::placement::rendezvous::{group_draw, hash, start_draw, version_hash, wait};
use crate::placement::{GROUPS_MAX, Table, solve};
use crate::stripe::Profile;
use crate::types::{DriveId, VersionId};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const ONE_ONE: Profile = Profile { data: 1, parity: 1 };

fn golden() -> (Table, Vec<u8>) {
    let page = include_str!("../../../../docs/formats/placement.md");
    let golden = page.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has bytes");
    let bytes = golden.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect();
    let drives = [7, 300, 300, 7].map(DriveId).repeat(8);
    (Table::new(ONE_ONE, drives).expect("a table"), bytes)
}

// PLACE-5
#[test]
fn the_bytes_are_those_of_the_format_page() {
    let (table, bytes) = golden();
    assert_eq!(table.encode(), bytes, "{:02x?}", table.encode());
    for end in 0..bytes.len() {
        assert_eq!(Table::decode(&bytes[..end]), None, "cut at {end}");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        Table::decode(&bytes)
    };
    assert_eq!(with(0, 2), None, "another version");
    assert_eq!(with(1, 0), None, "no data shards");
    assert_eq!(with(3, 3), None, "bytes left over");
    assert_eq!(with(3, 255), None, "more groups than numbers");
    let twice = with(8, 7).map(|table| table.encode());
    assert_ne!(twice, Some(bytes.clone()));
    let mut same = bytes.clone();
    same.copy_within(4..8, 8);
    assert_eq!(Table::decode(&same), None, "a drive twice in a group");
    assert_eq!(Table::decode(&bytes), Some(table));
}

#[test]
fn tables_have_a_power_of_two_of_groups_within_bounds() {
    let of = |groups: usize| Table::new(ONE_ONE, [DriveId(1), DriveId(2)].repeat(groups)).is_some();
    let most = GROUPS_MAX as usize;
    assert_eq!([8, 16, 24, 32, most, most * 2].map(of), [false, true, false, true, true, false]);
    assert_eq!(Table::new(ONE_ONE, vec![DriveId(1); 32]), None);
    assert_eq!(Table::new(Profile { data: 30, parity: 9 }, (0..39).map(DriveId).collect::<Vec<_>>().repeat(16)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_table_decodes_from_what_it_encodes_to(drives in any_cluster(), profile in any_profile()) {
        if let Ok(table) = solve(None, &drives, profile) {
            prop_assert_eq!(Table::decode(&table.encode()), Some(table));
        }
    }
}

proptest! {
    // Sizes that fit their header are made likely, else nearly all bytes are refused for their length.
    #[test]
    fn bytes_that_decode_are_what_was_encoded(
        header in (0u8..3, 0u8..4, 0u8..4, 3u8..7),
        drives in proptest::collection::vec(0u8..8, 512),
        extra in 0usize..2,
    ) {
        let (version, data, parity, log) = header;
        let length = 4 * (1usize << log) * usize::from(data + parity) + extra;
        let small = |(at, byte): (usize, u8)| if at % 4 == 0 { byte } else { 0 };
        let body = drives.iter().copied().cycle().take(length).enumerate().map(small);
        let bytes: Vec<u8> = [version, data, parity, log].into_iter().chain(body).collect();
        if let Some(table) = Table::decode(&bytes) {
            prop_assert_eq!(table.encode(), bytes);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Table::decode(&bytes).is_none_or(|table| table.encode() == bytes));
    }
}

// PLACE-5
#[test]
fn the_hashes_are_fixed_for_ever() {
    // The first number of SplitMix64 with seed 0, and with the seed of its reference implementation's example.
    assert_eq!(hash(&[0]), 0xe220_a839_7b1d_cdaf);
    assert_eq!(hash(&[1_234_567]), 6_457_827_717_110_365_317);
    assert_eq!(hash(&[]), 0);
    assert_eq!(version_hash(VersionId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)), 0x4524_0359_ba67_225a);
    assert_eq!(group_draw(1, DriveId(2)), 0xbcd9_dbb4_9673_066b);
    assert_eq!(start_draw(DriveId(1), DriveId(2), 100), 66);
    assert_eq!(start_draw(DriveId(1), DriveId(2), 0), 0);
    let table = solve(None, &alike(24, 1, &[1]), Profile { data: 4, parity: 2 }).expect("feasible");
    let ids = [0, 1, u128::MAX, 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff];
    assert_eq!(ids.map(|id| table.group_of(VersionId(id)).0), [111, 270, 310, 90]);
}

/// A wait is the logarithm of a fraction: one half is 1, a quarter is 2, and the numbers between lie between.
#[test]
fn waits_are_logarithms() {
    let one = 1u64 << 32;
    assert_eq!([wait(1 << 63), wait(1 << 62), wait(0)], [one, 2 * one, 64 * one]);
    assert_eq!(wait(u64::MAX), 1);
    // log2 of the square root of one half.
    assert!(wait(0xb504_f333_f9de_6484).abs_diff(one / 2) <= 2);
}
