//! Golden bytes, scenarios, and a random history against a dumb model.

mod drive;
mod history;
mod scenarios;

use super::*;
use crate::planted::Planted;
use crate::stripe::{DataKey, Profile, Seal, StripeId, seal};

fn config() -> Config {
    Config {
        drive: DriveId(1),
        cluster: 0xC1,
        extent_size: 32 << 10,
        compact_below_percent: 50,
        planted: Planted::default(),
    }
}

fn key(version: u128, stripe: u32) -> ShardKey {
    ShardKey { version: VersionId(version), stripe, position: 0 }
}

/// A framed record for the shard, about `length` bytes, `salt` deciding what is in it.
fn record(key: ShardKey, length: usize, salt: u64) -> Bytes {
    let [low, ..] = salt.to_le_bytes();
    let job = Seal {
        id: StripeId { version: key.version, index: key.stripe },
        key: DataKey([low; 32]),
        profile: Profile { data: 1, parity: 2 },
        plaintext: alloc::vec![low; length].into(),
    };
    seal(&job).swap_remove(usize::from(key.position))
}
