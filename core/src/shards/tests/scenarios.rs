//! Single situations, each named as what must be so.

use super::drive::{Bench, Crash};
use super::*;
use crate::planted::Bug;
use alloc::format;
use alloc::string::String;

fn put(bench: &mut Bench, ticket: u64, key: ShardKey, record: Bytes) {
    bench.step(Event::Put { ticket: Ticket(ticket), key, expires: WallTime(1000 + ticket), record });
}

fn stored(bench: &mut Bench, ticket: u64, key: ShardKey, length: usize) -> Bytes {
    let record = record(key, length, ticket);
    put(bench, ticket, key, record.clone());
    bench.run_until_idle();
    assert!(bench.told.contains(&Effect::Stored { ticket: Ticket(ticket) }));
    record
}

fn deleted(bench: &mut Bench, ticket: u64, version: u128) {
    bench.step(Event::Delete { ticket: Ticket(ticket), version: VersionId(version) });
    bench.run_until_idle();
    assert!(bench.told.contains(&Effect::Deleted { ticket: Ticket(ticket) }));
}

/// The lines of a file that are not all zero.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{:05x} {hex}\n", line * 16);
    }
    text
}

#[test]
fn golden_bytes() {
    let mut bench = Bench::new(Config { extent_size: 20 << 10, compact_below_percent: 0, ..config() }, 1);
    stored(&mut bench, 1, key(0xA1, 7), 8);
    bench.step(Event::Commit { version: VersionId(0xA1) });
    put(&mut bench, 2, key(0xB2, 0), record(key(0xB2, 0), 8, 2));
    deleted(&mut bench, 3, 0xB2);
    // Does not fit any more, so that the first extent is sealed.
    stored(&mut bench, 4, key(0xC3, 0), 9000);
    assert_eq!(dump(bench.drive.bytes_mut(1)), include_str!("../testdata/extent.txt"));
}

#[test]
fn an_answer_comes_only_after_the_sync() {
    let mut bench = Bench::new(config(), 1);
    put(&mut bench, 1, key(1, 0), record(key(1, 0), 5000, 0));
    let mut synced = false;
    while bench.told.is_empty() {
        assert!(!synced, "nothing is left to wait for");
        synced = bench.orders.iter().any(|(_, order)| matches!(order, DiskOrder::Sync { .. }));
        assert!(!synced || bench.orders.len() == 1, "a sync is ordered after all writes ended");
        bench.end_one();
    }
    assert!(synced);
    assert_eq!(bench.told, [Effect::Stored { ticket: Ticket(1) }]);
}

#[test]
fn puts_that_gather_share_a_sync() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 10);
    for ticket in 2..12 {
        put(&mut bench, ticket, key(1, u32::try_from(ticket).expect("small")), record(key(1, 0), 100, ticket));
    }
    let mut syncs = 0;
    while !bench.orders.is_empty() {
        syncs += bench.orders.iter().filter(|(_, order)| matches!(order, DiskOrder::Sync { .. })).count();
        bench.end_one();
    }
    assert_eq!(syncs, 2, "one for the first put, one for the nine that waited");
}

#[test]
fn a_version_is_undecided_until_it_is_committed_or_deleted() {
    let mut bench = Bench::new(config(), 1);
    let undecided = |bench: &Bench| bench.store.undecided().map(|u| (u.version.0, u.expires.0)).collect::<Vec<_>>();
    stored(&mut bench, 1, key(1, 0), 10);
    stored(&mut bench, 2, key(1, 1), 10);
    stored(&mut bench, 3, key(2, 0), 10);
    assert_eq!(undecided(&bench), [(1, 1002), (2, 1003)]);
    bench.step(Event::Commit { version: VersionId(1) });
    assert_eq!(undecided(&bench), [(2, 1003)]);
    // The mark rides with the next batch, so it survives after that.
    deleted(&mut bench, 4, 2);
    bench.crash(Crash::Power);
    assert_eq!(undecided(&bench), []);
    assert!(bench.store.holds(VersionId(1)) && !bench.store.holds(VersionId(2)));
    assert_eq!(bench.store.shards_of(VersionId(1)).count(), 2);
}

#[test]
fn a_commit_reaches_puts_that_are_still_on_their_way() {
    let mut bench = Bench::new(config(), 1);
    put(&mut bench, 1, key(1, 0), record(key(1, 0), 10, 1));
    while !matches!(bench.orders[..], [(_, DiskOrder::Sync { .. })]) {
        bench.end_one();
    }
    put(&mut bench, 2, key(1, 1), record(key(1, 1), 10, 2));
    bench.step(Event::Commit { version: VersionId(1) });
    bench.run_until_idle();
    assert_eq!(bench.store.undecided().count(), 0);
    bench.crash(Crash::Power);
    assert_eq!(bench.store.undecided().count(), 0);
    assert_eq!(bench.store.shards_of(VersionId(1)).count(), 2);
}

#[test]
fn a_deleted_shard_stays_deleted_while_its_bytes_remain() {
    let mut bench = Bench::new(config(), 1);
    // The first extent holds the shard that goes and others that stay, so it is neither removed nor compacted.
    stored(&mut bench, 1, key(1, 0), 2000);
    let kept: Vec<Bytes> = (0..4).map(|stripe| stored(&mut bench, 10, key(2, stripe), 4500)).collect();
    deleted(&mut bench, 20, 1);
    // Tombstones fill extents of their own, which die and are compacted.
    for round in 0..200 {
        stored(&mut bench, 100 + round, key(3, 0), 10);
        deleted(&mut bench, 300 + round, 3);
        if round % 50 == 49 {
            bench.crash(Crash::Power);
            bench.run_until_idle();
            assert_eq!(bench.load(key(1, 0)), None);
            for (stripe, kept) in (0..).zip(&kept) {
                assert_eq!(bench.load(key(2, stripe)).as_ref(), Some(kept));
            }
        }
    }
    assert!(bench.store.usage().extents < 8, "{:?}", bench.store.usage());
}

#[test]
fn a_shard_put_after_the_deletion_of_its_version_stays() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 2000);
    stored(&mut bench, 2, key(2, 0), 9000);
    // All three in one batch.
    let again = record(key(1, 0), 50, 9);
    bench.step(Event::Delete { ticket: Ticket(3), version: VersionId(1) });
    put(&mut bench, 4, key(1, 0), again.clone());
    bench.run_until_idle();
    assert_eq!(bench.load(key(1, 0)), Some(again.clone()));
    bench.crash(Crash::Power);
    bench.run_until_idle();
    assert_eq!(bench.load(key(1, 0)), Some(again));
    assert_eq!(bench.store.undecided().count(), 2);
}

#[test]
fn a_full_drive_refuses_puts_and_still_deletes() {
    let mut bench = Bench::new(config(), 1);
    for version in 1..=6 {
        stored(&mut bench, 1, key(version, 0), 14_000);
    }
    let before = bench.store.usage();
    bench.told.clear();
    // No further extent can be made; what is allocated can be written.
    let full = |bench: &mut Bench| {
        while let Some(at) = bench.orders.iter().position(|(_, order)| matches!(order, DiskOrder::Create { .. })) {
            let (op, _) = bench.orders.swap_remove(at);
            bench.step(Event::Disk { op, outcome: DiskOutcome::Failed(DiskError::Full) });
        }
    };
    for ticket in 20..25 {
        put(&mut bench, ticket, key(9, 0), record(key(9, 0), 14_000, 0));
        full(&mut bench);
        assert_eq!(bench.told.pop(), Some(Effect::Refused { ticket: Ticket(ticket), error: DiskError::Full }));
    }
    for ticket in 1..=6u64 {
        bench.step(Event::Delete { ticket: Ticket(ticket), version: VersionId(u128::from(ticket)) });
        while !bench.orders.is_empty() {
            full(&mut bench);
            bench.end_one();
        }
        assert!(bench.told.contains(&Effect::Deleted { ticket: Ticket(ticket) }), "{ticket}: {:?}", bench.told);
    }
    assert!(bench.store.usage().extents < before.extents, "space came back");
    stored(&mut bench, 30, key(9, 0), 14_000);
}

#[test]
fn a_full_drive_can_be_emptied_after_a_restart() {
    let mut bench = Bench::new(config(), 1);
    for version in 1..=6 {
        stored(&mut bench, version, key(u128::from(version), 0), 14_000);
    }
    bench.crash(Crash::Power);
    bench.run_until_idle();
    // Something else has taken the rest of the drive. No extent is open, and none is kept back.
    let full = bench.store.usage();
    bench.drive.room = Some(full.total_bytes);
    put(&mut bench, 20, key(9, 0), record(key(9, 0), 14_000, 0));
    bench.run_until_idle();
    assert!(bench.told.contains(&Effect::Refused { ticket: Ticket(20), error: DiskError::Full }));
    for version in 1..=6 {
        deleted(&mut bench, 30 + version, u128::from(version));
    }
    assert!(bench.store.usage().total_bytes < full.total_bytes, "{:?} after {full:?}", bench.store.usage());
    stored(&mut bench, 40, key(9, 0), 14_000);
}

#[test]
fn an_extent_that_cannot_be_read_is_told() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 100);
    bench.told.clear();
    bench.drive.unreadable = 100;
    bench.recover().expect("damage is no reason not to start");
    let told = |told: &Effect| matches!(told, Effect::Suspect { what: "a part of an extent could not be read", .. });
    assert_eq!(bench.told.iter().filter(|effect| told(effect)).count(), bench.store.extents.len(), "{:?}", bench.told);
}

#[test]
fn what_a_failed_write_left_behind_is_never_read() {
    let mut bench = Bench::new(config(), 1);
    let kept = stored(&mut bench, 1, key(1, 0), 100);
    bench.told.clear();
    bench.drive.full = 100;
    put(&mut bench, 2, key(2, 0), record(key(2, 0), 100, 0));
    bench.run_until_idle();
    assert_eq!(bench.told[0], Effect::Refused { ticket: Ticket(2), error: DiskError::Full });
    assert_eq!(bench.load(key(2, 0)), None);
    bench.drive.full = 0;
    stored(&mut bench, 3, key(3, 0), 100);
    assert_eq!(bench.load(key(1, 0)), Some(kept));
}

#[test]
fn an_index_that_hides_a_failed_batch_is_trusted_only_after_a_sync() {
    for seed in 0..40 {
        let mut bench = Bench::new(config(), seed);
        let kept = stored(&mut bench, 1, key(1, 0), 100);
        // The tombstone reaches the drive and is told to have failed; then the extent's index is written.
        bench.step(Event::Delete { ticket: Ticket(2), version: VersionId(1) });
        let (op, tombstone) = bench.orders.remove(0);
        assert_eq!(bench.drive.carry_out(tombstone, &mut bench.dice), DiskOutcome::Done);
        bench.step(Event::Disk { op, outcome: DiskOutcome::Failed(DiskError::Full) });
        let at = |order: &DiskOrder| matches!(order, DiskOrder::Write { file: File::Extent(_, 1), .. });
        let index = bench.orders.iter().position(|(_, order)| at(order)).expect("the extent is sealed");
        let (_, index) = bench.orders.remove(index);
        assert_eq!(bench.drive.carry_out(index, &mut bench.dice), DiskOutcome::Done);

        bench.recover().expect("the drive is ours");
        bench.run_until_idle();
        assert_eq!(bench.load(key(1, 0)), Some(kept.clone()));
        bench.crash(Crash::Power);
        assert_eq!(bench.load(key(1, 0)), Some(kept), "seed {seed}");
    }
}

#[test]
fn a_failed_sync_ends_the_store() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 100);
    bench.told.clear();
    bench.drive.broken_sync = true;
    put(&mut bench, 2, key(2, 0), record(key(2, 0), 100, 0));
    while !bench.orders.is_empty() {
        bench.end_one();
    }
    assert!(matches!(bench.told[..], [Effect::Failed { .. }]), "{:?}", bench.told);
    put(&mut bench, 3, key(3, 0), record(key(3, 0), 100, 0));
    assert!(bench.orders.is_empty() && bench.told.len() == 1);
}

#[test]
fn a_shard_that_cannot_be_read_is_told() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 100);
    bench.told.clear();
    bench.drive.unreadable = 100;
    assert_eq!(bench.load(key(1, 0)), None);
    assert!(matches!(bench.told[..], [Effect::Suspect { .. }]), "{:?}", bench.told);
}

/// Fills the first extent with three shards, and removes two so that the third would be moved.
fn half_dead(bench: &mut Bench, rot: bool) -> Bytes {
    let kept = stored(bench, 1, key(1, 0), 4500);
    stored(bench, 2, key(2, 0), 4500);
    stored(bench, 3, key(3, 0), 4500);
    stored(bench, 4, key(4, 0), 20_000);
    if rot {
        let bytes = bench.drive.bytes_mut(1);
        bytes[4096 + 64 + 1000] ^= 1;
        bench.drive.settle();
    }
    bench.told.clear();
    deleted(bench, 5, 2);
    deleted(bench, 6, 3);
    kept
}

#[test]
fn compaction_moves_what_is_live_and_gives_the_rest_back() {
    let mut bench = Bench::new(config(), 1);
    let kept = half_dead(&mut bench, false);
    let extents: Vec<u64> = bench.drive.listing().extents.iter().map(|(sequence, _)| *sequence).collect();
    assert!(!extents.contains(&1), "the first extent is gone: {extents:?}");
    assert_eq!(bench.load(key(1, 0)), Some(kept.clone()));
    bench.crash(Crash::Power);
    assert_eq!(bench.load(key(1, 0)), Some(kept));
}

#[test]
fn a_damaged_shard_is_not_copied() {
    let mut bench = Bench::new(config(), 1);
    let kept = half_dead(&mut bench, true);
    let suspects = bench.told.iter().filter(|told| matches!(told, Effect::Suspect { .. })).count();
    assert_eq!(suspects, 1, "{:?}", bench.told);
    let read = bench.load(key(1, 0)).expect("it is still where it was");
    assert_ne!(read, kept);
    // Repair puts it again; then the extent with the damage goes.
    assert_eq!(bench.drive.listing().extents[0].0, 1, "the extent stays for the shard's sake");
    put(&mut bench, 7, key(1, 0), kept.clone());
    bench.run_until_idle();
    assert_eq!(bench.load(key(1, 0)), Some(kept));
    assert_ne!(bench.drive.listing().extents[0].0, 1, "nothing in it is live any more");
}

#[test]
fn the_planted_bug_copies_damage() {
    let buggy = Config { planted: Planted::arm(Bug::ChecksumNotVerified), ..config() };
    let mut bench = Bench::new(buggy, 1);
    half_dead(&mut bench, true);
    assert!(!bench.told.iter().any(|told| matches!(told, Effect::Suspect { .. })), "{:?}", bench.told);
}

#[test]
fn a_damaged_record_costs_no_other_record_even_without_the_index() {
    // In the header of the third record, and in its payload.
    for (at, told_at) in [(20, 8192 + 64 + 160), (120, 12_288)] {
        let mut bench = Bench::new(config(), 1);
        let records: Vec<Bytes> = (0..6).map(|stripe| stored(&mut bench, 1, key(1, stripe), 100)).collect();
        stored(&mut bench, 2, key(2, 0), 25_000);
        bench.told.clear();
        let bytes = bench.drive.bytes_mut(1);
        let trailer = bytes.len() - 1;
        bytes[trailer] ^= 1;
        bytes[3 * 4096 + at] ^= 1;
        bench.drive.settle();
        // Twice: without an index, and with the one that the first recovery wrote.
        for _ in 0..2 {
            bench.recover().expect("damage is no reason to refuse");
            bench.run_until_idle();
            for (stripe, record) in (0..).zip(&records) {
                assert_eq!(bench.load(key(1, stripe)), (stripe != 2).then(|| record.clone()), "stripe {stripe}");
            }
        }
        let [Effect::Suspect { offset, .. }] = bench.told[..] else { panic!("{:?}", bench.told) };
        assert_eq!(offset, told_at);
    }
}

#[test]
fn a_damaged_index_costs_nothing() {
    let mut bench = Bench::new(config(), 1);
    let records: Vec<Bytes> = (0..6).map(|stripe| stored(&mut bench, 1, key(1, stripe), 100)).collect();
    stored(&mut bench, 2, key(2, 0), 25_000);
    let good = bench.drive.bytes_mut(1).clone();
    let index = good.len() - 4096;
    for at in (index..index + 6 * 64).chain(good.len() - 64..good.len()) {
        bench.drive.bytes_mut(1)[at] ^= 0x10;
        bench.drive.settle();
        bench.recover().expect("damage is no reason to refuse");
        bench.run_until_idle();
        for (stripe, record) in (0..).zip(&records) {
            assert_eq!(bench.load(key(1, stripe)).as_ref(), Some(record), "stripe {stripe}");
        }
        assert_eq!(*bench.drive.bytes_mut(1), good, "the index is as before");
    }
}

#[test]
fn an_extent_that_cannot_be_read_for_a_while_is_kept() {
    let mut bench = Bench::new(config(), 1);
    let records: Vec<Bytes> = (0..6).map(|stripe| stored(&mut bench, 1, key(1, stripe), 100)).collect();
    stored(&mut bench, 2, key(2, 0), 25_000);
    for unreadable in [100, 60, 30] {
        bench.drive.unreadable = unreadable;
        bench.recover().expect("an unreadable extent is no reason to refuse");
        bench.drive.unreadable = 0;
        bench.run_until_idle();
        stored(&mut bench, 3, key(3, 0), 100);
        deleted(&mut bench, 4, 3);
    }
    bench.recover().expect("all is well again");
    for (stripe, record) in (0..).zip(&records) {
        assert_eq!(bench.load(key(1, stripe)).as_ref(), Some(record));
    }
}

#[test]
fn a_directory_of_another_cluster_or_drive_is_refused() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 100);
    for other in [Config { cluster: 0xC2, ..config() }, Config { drive: DriveId(2), ..config() }] {
        bench.config = other;
        let refused = bench.recover();
        assert!(matches!(refused, Err(RecoverError::Foreign { cluster: 0xC1, drive: DriveId(1), .. })), "{refused:?}");
    }
}

#[test]
fn an_extent_of_a_later_format_is_refused() {
    let mut bench = Bench::new(config(), 1);
    stored(&mut bench, 1, key(1, 0), 100);
    let bytes = bench.drive.bytes_mut(1);
    bytes[4] = 2;
    let crc = crate::stripe::CRC32C.checksum(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    assert_eq!(bench.recover(), Err(RecoverError::Format { extent: 1, format: 2 }));
}
