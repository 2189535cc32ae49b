//! How bad each part of a world is: drawn once per seed (swarm), so that many seeds together cover combinations that
//! no hand-written scenario would.
//!
//! Rates are per million and intervals in microseconds; 0 switches a fault off.

use crate::chance::Chance;
use crate::world::{MILLIS, SECONDS};

/// The temper of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkRates {
    /// Typical one-way delay.
    pub delay_micros: u64,
    /// Messages lost.
    pub drop_per_million: u64,
    /// Messages that arrive twice.
    pub duplicate_per_million: u64,
}

/// The temper of a drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskRates {
    /// Typical time of a read or write.
    pub delay_micros: u64,
    /// Typical time of a sync.
    pub sync_micros: u64,
    /// Orders that take a hundred times as long.
    pub stall_per_million: u64,
    /// Syncs that fail (fatal for the node, `DISK-3`).
    pub sync_error_per_million: u64,
    /// Writes that fail, having done nothing, half or all of their work.
    pub write_error_per_million: u64,
}

/// How often things happen to the whole cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TroubleRates {
    /// Mean time between power losses of one node.
    pub power_loss_micros: u64,
    /// Mean time between deaths of one process (the page cache survives).
    pub death_micros: u64,
    /// Longest time that a node stays down.
    pub down_micros_max: u64,
    /// Mean time between pauses of one process.
    pub pause_micros: u64,
    /// Longest pause.
    pub pause_micros_max: u64,
    /// Mean time between changes of the partition.
    pub partition_micros: u64,
    /// How often a node that just became leader is cut off from the others soon after.
    pub depose_per_million: u64,
    /// How soon, at the latest.
    pub depose_micros_max: u64,
    /// How often it stands still meanwhile, so that it does not know what it missed when it wakes.
    pub depose_pause_per_million: u64,
    /// How often some node loses power for a moment soon after a node became a candidate, when votes are under way.
    pub upset_per_million: u64,
    /// Mean time between stalls of the drive under the log of the region's leader.
    pub stall_micros: u64,
    /// Longest such stall.
    pub stall_micros_max: u64,
    /// How often those who gain by a change of members are cut off from the rest just then.
    pub split_per_million: u64,
    /// How soon after the change was asked for, at the latest.
    pub split_micros_max: u64,
    /// Mean time between jumps of one wall clock.
    pub jump_micros: u64,
    /// Largest jump, in milliseconds.
    pub jump_ms_max: u64,
    /// Mean time between damages to data at rest (the atlas says where).
    pub damage_micros: u64,
    /// Power is cut in the middle of this share of checkpoints, snapshots and applies.
    pub cut_per_million: u64,
}

impl NetworkRates {
    /// A network somewhere between a rack and a bad day.
    pub fn draw(chance: &mut Chance) -> NetworkRates {
        NetworkRates {
            delay_micros: *chance.pick(&[100, 500, 2_000, 8_000]),
            drop_per_million: *chance.pick(&[0, 0, 1_000, 20_000, 100_000]),
            duplicate_per_million: *chance.pick(&[0, 0, 10_000, 100_000]),
        }
    }
}

impl DiskRates {
    /// A drive without errors, fast or slow.
    pub fn draw(chance: &mut Chance) -> DiskRates {
        DiskRates {
            delay_micros: *chance.pick(&[20, 100, 1_000]),
            sync_micros: *chance.pick(&[200, 1_000, 5_000, 20_000]),
            stall_per_million: *chance.pick(&[0, 0, 2_000, 20_000]),
            sync_error_per_million: *chance.pick(&[0, 0, 0, 500]),
            write_error_per_million: *chance.pick(&[0, 0, 0, 500]),
        }
    }
}

impl TroubleRates {
    /// Trouble for a run that lasts `span_micros`, so that each kind strikes several times or never.
    pub fn draw(chance: &mut Chance, span_micros: u64) -> TroubleRates {
        let often = |chance: &mut Chance| *chance.pick(&[0, span_micros / 8, span_micros / 3, span_micros]);
        TroubleRates {
            power_loss_micros: often(chance),
            death_micros: often(chance),
            down_micros_max: *chance.pick(&[50 * MILLIS, 500 * MILLIS, 3 * SECONDS]),
            pause_micros: often(chance),
            pause_micros_max: *chance.pick(&[20 * MILLIS, 300 * MILLIS, 2 * SECONDS]),
            partition_micros: *chance.pick(&[0, span_micros / 10, span_micros / 4]),
            depose_per_million: *chance.pick(&[0, 0, 100_000, 400_000]),
            depose_micros_max: *chance.pick(&[2 * MILLIS, 10 * MILLIS, 60 * MILLIS, 400 * MILLIS]),
            depose_pause_per_million: *chance.pick(&[0, 500_000]),
            upset_per_million: *chance.pick(&[0, 0, 50_000, 200_000]),
            stall_micros: 0,
            stall_micros_max: 0,
            split_per_million: 0,
            split_micros_max: 0,
            jump_micros: *chance.pick(&[0, 0, span_micros / 3]),
            jump_ms_max: *chance.pick(&[100, 5_000, 600_000]),
            damage_micros: *chance.pick(&[0, span_micros / 6, span_micros / 3]),
            cut_per_million: *chance.pick(&[0, 0, 10_000, 100_000]),
        }
    }
}
