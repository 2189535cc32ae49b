//! Damage to what was synced is reported, and never passes for a crash.

use super::world::*;
use crate::log::segment::{HeaderFound, SegmentHeader};
use crate::log::{Config, Damage, Log, RecoverError};
use crate::types::{GroupId, NodeId};
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// A log of two used segments of four blocks (the first full, the second with one batch) and a third that was made
/// ahead, if `with_spare`. Every kind of record is in it.
fn small_log(with_spare: bool) -> Vec<(u64, Bytes)> {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"one"), entry(2, 1, b"two")]));
    let everything = crate::log::Event::Append {
        group: GroupId(2),
        id: crate::types::PersistId(1),
        hard_state: Some(vote(3, 9)),
        entries: vec![entry(1, 3, &[0; 1000])],
    };
    node.tell_and_settle(everything);
    node.tell(crate::log::Event::Cut { group: GroupId(1), base: position(1, 1) });
    node.tell_and_settle(append(1, 2, vec![entry(2, 2, b"another two")]));
    let base = position(8, 4);
    node.tell_and_settle(crate::log::Event::Reset { group: GroupId(2), id: crate::types::PersistId(2), base });
    if with_spare {
        node.tell_and_settle(append(2, 3, vec![entry(9, 4, b"nine")]));
        node.tell_and_settle(append(2, 4, vec![entry(10, 4, b"ten")]));
    }
    node.disk.segments()
}

fn recover(segments: &[(u64, Bytes)]) -> Result<Model, RecoverError> {
    Log::recover(config(), segments.to_vec()).map(|(_, groups, _)| groups)
}

/// The segments with bytes of one of them changed.
fn with(segments: &[(u64, Bytes)], which: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<(u64, Bytes)> {
    let mut segments = segments.to_vec();
    let mut bytes = segments[which].1.to_vec();
    change(&mut bytes);
    segments[which].1 = bytes.into();
    segments
}

fn corrupt(segment: u64, offset: usize, what: Damage) -> Result<Model, RecoverError> {
    Err(RecoverError::Corrupt { segment, offset: offset as u64, what })
}

#[test]
fn every_flipped_byte_is_reported_or_changes_nothing() {
    let segments = small_log(false);
    let state = recover(&segments).expect("undamaged");
    assert_eq!(segments.len(), 2);
    let used = [4 * BLOCK, 2 * BLOCK];
    for (which, used) in used.into_iter().enumerate() {
        let mut file = segments[which].1.to_vec();
        assert!(file[used..].iter().all(|byte| *byte == 0));
        for at in 0..file.len() {
            for flip in [1 << (at % 8), 0xff] {
                file[at] ^= flip;
                let mut damaged = segments.clone();
                damaged[which].1 = Bytes::copy_from_slice(&file);
                file[at] ^= flip;
                let found = recover(&damaged);
                if at < used {
                    let named = matches!(&found, Err(RecoverError::Corrupt { segment, offset, .. })
                        if *segment == segments[which].0 && at as u64 / BLOCK as u64 == offset / BLOCK as u64);
                    assert!(named, "segment {which}, byte {at}: {found:?}");
                } else {
                    assert_eq!(found.as_ref(), Ok(&state), "segment {which}, byte {at}");
                }
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_spare_segment_is_reported_or_changes_nothing() {
    let segments = small_log(true);
    let state = recover(&segments).expect("undamaged");
    let mut file = segments[2].1.to_vec();
    assert!(file.iter().all(|byte| *byte == 0));
    for at in 0..file.len() {
        file[at] = 1;
        let found = recover(&[segments[0].clone(), segments[1].clone(), (3, Bytes::copy_from_slice(&file))]);
        file[at] = 0;
        match at < SECTOR {
            true => assert_eq!(found, corrupt(3, 0, Damage::SegmentHeader)),
            false => assert_eq!(found.as_ref(), Ok(&state), "byte {at}"),
        }
    }
}

#[test]
fn every_truncation_of_a_used_segment_is_reported() {
    for with_spare in [false, true] {
        let segments = small_log(with_spare);
        for which in 0..2 {
            // A last segment of size 0 is one whose creation a crash cut short: nothing tells them apart.
            let from = usize::from(!with_spare && which == 1);
            for size in from..segments[which].1.len() {
                let found = recover(&with(&segments, which, |bytes| bytes.truncate(size)));
                let segment = segments[which].0;
                let expected = match size {
                    0 => corrupt(segment, 0, Damage::SegmentMissing),
                    _ => corrupt(segment, size, Damage::Truncated),
                };
                assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn every_truncation_of_a_spare_segment_changes_nothing() {
    let segments = small_log(true);
    let state = recover(&segments).expect("undamaged");
    for size in 0..segments[2].1.len() {
        assert_eq!(recover(&with(&segments, 2, |bytes| bytes.truncate(size))).as_ref(), Ok(&state));
    }
}

#[test]
fn damage_in_the_last_synced_batch_is_not_a_torn_tail() {
    let segments = small_log(false);
    let garbage = |bytes: &mut Vec<u8>| bytes[BLOCK..2 * BLOCK].fill(0xa5);
    assert_eq!(recover(&with(&segments, 1, garbage)), corrupt(2, BLOCK, Damage::Sector));
}

#[test]
fn an_unwritten_sector_in_a_batch_that_others_follow_is_damage() {
    let segments = small_log(false);
    for sector in 0..8 {
        let at = BLOCK + sector * SECTOR;
        let found = recover(&with(&segments, 0, |bytes| bytes[at..at + SECTOR].fill(0)));
        assert_eq!(found, corrupt(1, BLOCK, Damage::BatchMissing));
    }
}

#[test]
fn the_header_sector_lost_under_two_batches_is_damage() {
    let mut node = Node::fresh(config());
    node.tell_and_settle(append(1, 1, vec![entry(1, 1, b"one")]));
    node.tell_and_settle(append(1, 2, vec![entry(2, 1, b"two")]));
    let lost = with(&node.disk.segments(), 0, |bytes| bytes[..SECTOR].fill(0));
    assert_eq!(recover(&lost), corrupt(1, 0, Damage::SegmentMissing), "there is a spare after it");
    assert_eq!(recover(&lost[..1]), corrupt(1, 2 * BLOCK, Damage::SectorMisplaced));
}

#[test]
fn a_batch_that_the_drive_wrote_elsewhere_is_damage() {
    let segments = small_log(false);
    let to_the_tail = with(&segments, 1, |bytes| {
        bytes.copy_within(BLOCK..2 * BLOCK, 2 * BLOCK);
        bytes[BLOCK..2 * BLOCK].fill(0);
    });
    assert_eq!(recover(&to_the_tail), corrupt(2, 2 * BLOCK, Damage::SectorMisplaced));
    let over_another = with(&segments, 0, |bytes| bytes.copy_within(3 * BLOCK..4 * BLOCK, 2 * BLOCK));
    assert_eq!(recover(&over_another), corrupt(1, 2 * BLOCK, Damage::Sector));
}

#[test]
fn a_batch_of_another_history_does_not_pass() {
    // Two logs that differ in their first batch only: the same sequences, another chain.
    let log = |command: &[u8]| {
        let mut node = Node::fresh(config());
        node.tell_and_settle(append(1, 1, vec![entry(1, 1, command)]));
        node.tell_and_settle(append(1, 2, vec![entry(2, 1, b"same")]));
        node.disk.segments()
    };
    let (one, other) = (log(b"one"), log(b"other"));
    let mixed = with(&one, 0, |bytes| bytes[2 * BLOCK..].copy_from_slice(&other[0].1[2 * BLOCK..]));
    assert_eq!(recover(&mixed), corrupt(1, 2 * BLOCK, Damage::Chain));
}

#[test]
fn a_missing_segment_is_reported() {
    let segments = small_log(true);
    let (one, two, three) = (segments[0].clone(), segments[1].clone(), segments[2].clone());
    // Group 1 has an entry in the first segment only: its absence is noticed although the second is whole.
    let entries_missing = corrupt(1, 0, Damage::EntriesMissing(GroupId(1)));
    assert_eq!(recover(&[two.clone(), three.clone()]), entries_missing);
    assert_eq!(recover(&[one.clone(), three.clone()]), corrupt(2, 0, Damage::SegmentMissing));
    assert_eq!(recover(&[three]), corrupt(3, 0, Damage::SegmentMissing));
    assert_eq!(recover(&[one.clone(), one.clone(), two.clone()]), corrupt(2, 0, Damage::SegmentMissing));
    let swapped = [(1, two.1), (2, one.1)];
    assert_eq!(recover(&swapped), corrupt(1, 0, Damage::SegmentMisplaced));
}

#[test]
fn a_segment_that_lost_its_end_is_noticed_by_the_next_one() {
    let segments = small_log(false);
    let erased = with(&segments, 0, |bytes| bytes[3 * BLOCK..].fill(0));
    assert_eq!(recover(&erased), corrupt(1, 3 * BLOCK, Damage::BatchMissing));
}

#[test]
fn a_foreign_segment_is_refused() {
    let segments = small_log(false);
    for config in [Config { node: NodeId(8), ..config() }, Config { cluster: 1, ..config() }] {
        let error = Log::recover(config, segments.clone()).map(|_| ()).expect_err("foreign");
        let expected = RecoverError::Foreign { segment: 1, cluster: super::world::config().cluster, node: NodeId(7) };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("log/0000000000000001.log was written by node 7"));
    }
}

#[test]
fn a_newer_format_is_refused_and_not_taken_for_damage() {
    let newer = with(&small_log(false), 1, |bytes| {
        bytes[8] = 2;
        let sum = crate::log::codec::checksum(&bytes[..SECTOR - 4]);
        bytes[SECTOR - 4..SECTOR].copy_from_slice(&sum.to_le_bytes());
    });
    let error = recover(&newer).expect_err("newer");
    assert_eq!(error, RecoverError::Version { segment: 2, version: 2 });
    assert!(error.to_string().contains("is of format 2, and this build reads format 1"));
}

#[test]
fn a_header_that_verifies_and_makes_no_sense_is_damage() {
    let header =
        SegmentHeader { cluster: 1, node: NodeId(2), sequence: 3, size: 4 * BLOCK as u64, first_batch: 5, chain: 6 };
    let found = |header: SegmentHeader| {
        let mut file = Vec::new();
        header.encode(&mut file);
        file.resize(4 * BLOCK, 0);
        SegmentHeader::find(&file)
    };
    assert_eq!(found(header), HeaderFound::Header(header));
    let damaged = HeaderFound::Damaged { offset: 0, what: Damage::SegmentHeader };
    assert_eq!(found(SegmentHeader { size: BLOCK as u64, ..header }), damaged);
    assert_eq!(found(SegmentHeader { size: 3 * BLOCK as u64 + 1, ..header }), damaged);
    assert_eq!(found(SegmentHeader { first_batch: 0, ..header }), damaged);
    let longer = HeaderFound::Damaged { offset: 4 * BLOCK, what: Damage::Truncated };
    assert_eq!(found(SegmentHeader { size: !0xfff, ..header }), longer);
}

#[test]
fn an_error_names_the_file_the_offset_and_what_to_do() {
    let error = corrupt(0x1f, 8192, Damage::Sector).expect_err("an error");
    let text = format!("{error}");
    assert!(text.starts_with("log/000000000000001f.log is damaged at byte 8192: a sector that was synced"), "{text}");
    assert!(text.contains("join again") && text.contains("backup"), "{text}");
}
