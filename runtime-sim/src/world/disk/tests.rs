//! Tests of the simulated drive: it must lose and keep exactly what its invariants say, or scenarios prove nothing.

use super::{DamageKind, Disk, Name, Treachery};
use crate::world::SimTime;
use crate::world::rates::DiskRates;
use anvil_core::disk::{DiskError, DiskOrder, DiskOutcome, File, Purpose};
use anvil_core::types::DriveId;
use bytes::Bytes;

const LOG: File = File::LogSegment(1);

fn disk(seed: u64) -> Disk {
    let rates = DiskRates { delay_micros: 10, sync_micros: 100, ..DiskRates::default() };
    Disk::new(seed, "test", rates, 1 << 20)
}

fn order(disk: &mut Disk, at: u64, order: DiskOrder) -> DiskOutcome {
    disk.carry_out(SimTime(at), SimTime(at + 1), &order)
}

fn write(disk: &mut Disk, at: u64, offset: u64, bytes: Vec<u8>) {
    let outcome = order(disk, at, DiskOrder::Write { file: LOG, offset, bytes: Bytes::from(bytes) });
    assert_eq!(outcome, DiskOutcome::Done);
}

#[test]
fn synced_bytes_survive_every_power_loss() {
    for seed in 0..200 {
        let mut disk = disk(seed);
        order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 8192, purpose: Purpose::Log });
        write(&mut disk, 2, 100, vec![7; 3000]);
        assert_eq!(order(&mut disk, 4, DiskOrder::Sync { file: LOG }), DiskOutcome::Done);
        write(&mut disk, 6, 3100, vec![9; 3000]);
        disk.lose_power(SimTime(8));
        let image = disk.read_whole(LOG).expect("readable");
        assert_eq!(&image[100..3100], vec![7; 3000].as_slice());
        assert!(image[3100..6100].iter().all(|byte| *byte == 0 || *byte == 9));
    }
}

#[test]
fn unsynced_bytes_are_lost_kept_and_torn_over_many_power_losses() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let mut disk = disk(seed);
        order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 8192, purpose: Purpose::Log });
        write(&mut disk, 2, 512, vec![9; 4096]);
        disk.lose_power(SimTime(8));
        let image = disk.read_whole(LOG).expect("readable");
        let survived: Vec<bool> = image[512..4608].chunks(512).map(|sector| sector[0] == 9).collect();
        assert!(image[512..4608].chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        match survived.iter().filter(|survived| **survived).count() {
            0 => lost += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 30 && kept > 30 && torn > 30, "{lost} lost, {kept} kept, {torn} torn");
}

#[test]
fn a_sync_ordered_before_a_write_completed_need_not_cover_it() {
    let lost = (0..100).filter(|seed| {
        let mut disk = disk(*seed);
        order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 4096, purpose: Purpose::Log });
        // The write completes at 20, but the sync was ordered at 10.
        let bytes = Bytes::from_static(&[5; 512]);
        disk.carry_out(SimTime(5), SimTime(20), &DiskOrder::Write { file: LOG, offset: 0, bytes });
        disk.carry_out(SimTime(10), SimTime(30), &DiskOrder::Sync { file: LOG });
        disk.lose_power(SimTime(40));
        disk.read_whole(LOG).expect("readable")[0] == 0
    });
    assert!(lost.count() > 10, "some are lost");
}

#[test]
fn a_dead_process_leaves_the_page_cache_and_a_later_power_loss_takes_it() {
    let mut seen_lost = false;
    for seed in 0..50 {
        let mut disk = disk(seed);
        order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 4096, purpose: Purpose::Log });
        write(&mut disk, 2, 0, vec![3; 512]);
        disk.lose_process();
        assert_eq!(disk.read_whole(LOG).expect("readable")[0], 3, "the page cache is intact");
        disk.lose_power(SimTime(9));
        seen_lost |= disk.read_whole(LOG).expect("readable")[0] == 0;
    }
    assert!(seen_lost);
}

#[test]
fn creation_and_removal_are_durable_once_complete_and_open_before() {
    let (mut half_made, mut half_removed) = ([false; 2], [false; 2]);
    for seed in 0..100 {
        let mut disk = disk(seed);
        disk.carry_out(SimTime(0), SimTime(10), &DiskOrder::Create { file: LOG, size: 512, purpose: Purpose::Log });
        disk.carry_out(
            SimTime(0),
            SimTime(10),
            &DiskOrder::Create { file: File::LogSegment(2), size: 512, purpose: Purpose::Log },
        );
        disk.lose_power(SimTime(5));
        half_made[usize::from(disk.read_whole(LOG).is_ok())] = true;

        let mut disk = self::disk(seed);
        disk.carry_out(SimTime(0), SimTime(10), &DiskOrder::Create { file: LOG, size: 512, purpose: Purpose::Log });
        disk.lose_power(SimTime(10));
        assert!(disk.read_whole(LOG).is_ok(), "durable at completion");
        disk.carry_out(SimTime(20), SimTime(30), &DiskOrder::Remove { file: LOG });
        assert_eq!(disk.read_whole(LOG), Err(DiskError::Missing));
        disk.lose_power(SimTime(25));
        half_removed[usize::from(disk.read_whole(LOG).is_ok())] = true;
    }
    assert_eq!((half_made, half_removed), ([true; 2], [true; 2]));
}

#[test]
fn a_full_drive_refuses_and_keeps_what_it_has() {
    let mut disk = disk(1);
    disk.set_capacity(4096);
    order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 4096, purpose: Purpose::Log });
    let more = DiskOrder::Create { file: File::LogSegment(2), size: 1, purpose: Purpose::Log };
    assert_eq!(order(&mut disk, 2, more), DiskOutcome::Failed(DiskError::Full));
    let grow = DiskOrder::Write { file: LOG, offset: 4000, bytes: Bytes::from_static(&[1; 200]) };
    assert_eq!(order(&mut disk, 4, grow), DiskOutcome::Failed(DiskError::Full));
    write(&mut disk, 6, 0, vec![1; 4096]);
}

#[test]
fn an_unreadable_sector_fails_reads_until_it_is_written() {
    let mut disk = disk(2);
    order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 1024, purpose: Purpose::Log });
    write(&mut disk, 2, 0, vec![1; 1024]);
    order(&mut disk, 4, DiskOrder::Sync { file: LOG });
    let damage = disk.damage(DamageKind::UnreadableSector, Name::is_log).expect("something is there");
    assert!(disk.read_whole(LOG).is_err());
    write(&mut disk, 6, damage.offset / 512 * 512, vec![2; 512]);
    assert!(disk.read_whole(LOG).is_ok());
}

#[test]
fn rot_changes_one_bit_of_what_is_durable() {
    let mut disk = disk(3);
    order(&mut disk, 0, DiskOrder::Create { file: LOG, size: 1024, purpose: Purpose::Log });
    write(&mut disk, 2, 0, vec![0xff; 1024]);
    order(&mut disk, 4, DiskOrder::Sync { file: LOG });
    disk.damage(DamageKind::Rot, Name::is_log).expect("something is there");
    disk.lose_power(SimTime(9));
    let image = disk.read_whole(LOG).expect("readable");
    assert_eq!(image.iter().map(|byte| byte.count_zeros()).sum::<u32>(), 1);
}

#[test]
fn a_lying_sync_loses_extents_and_never_the_log() {
    let extent = File::Extent(DriveId(0), 1);
    let mut extent_lost = false;
    for seed in 0..30 {
        let mut disk = disk(seed);
        disk.set_treachery(Treachery { lying_sync_per_million: 1_000_000, ..Treachery::default() });
        for file in [LOG, extent] {
            order(&mut disk, 0, DiskOrder::Create { file, size: 512, purpose: Purpose::Log });
            order(&mut disk, 2, DiskOrder::Write { file, offset: 0, bytes: Bytes::from_static(&[1; 512]) });
            order(&mut disk, 4, DiskOrder::Sync { file });
        }
        disk.lose_power(SimTime(9));
        assert_eq!(disk.read_whole(LOG).expect("readable")[0], 1);
        extent_lost |= disk.read_whole(extent).expect("readable")[0] == 0;
    }
    assert!(extent_lost);
}
