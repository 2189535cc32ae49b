//! Tests of the state store over a simulated drive: what a power loss in the middle of a commit leaves.

use super::SimBackend;
use crate::chance::Chance;
use crate::world::SimTime;
use crate::world::disk::Disk;
use crate::world::rates::DiskRates;
use anvil_core::planted::Planted;
use anvil_core::state::{Command, KeyCondition, KeyOperation, Operation};
use anvil_core::types::{Entry, GroupId, LogIndex, LogPosition, Payload, Term, WallTime};
use anvil_state_store::StateStore;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

const CACHE: usize = 64 << 10;

type AllRows = Vec<(Vec<u8>, Vec<u8>)>;

fn drive(seed: u64) -> Arc<Mutex<Disk>> {
    Arc::new(Mutex::new(Disk::new(seed, "store", DiskRates::default(), 64 << 20)))
}

fn entry(index: u64, chance: &mut Chance) -> Entry {
    let key = Bytes::from(format!("key-{}", chance.below(40)));
    let value = Bytes::from(vec![7; chance.index(300)]);
    let operation = Operation::Key(KeyOperation::Put { key, value, condition: KeyCondition::Any });
    let command = Command { time: WallTime(index), session: None, operation };
    let position = LogPosition { index: LogIndex(index), term: Term(1) };
    Entry { position, payload: Payload::Command(command.encode()) }
}

/// Applies entries and checkpoints until a power loss, sometimes in the middle of a commit, and reopens (`STORE-1`).
#[test]
fn after_any_power_loss_the_store_is_at_a_checkpoint() {
    let (mut cut, mut moved) = (0, 0);
    for seed in 0..600 {
        let drive = drive(seed);
        let mut chance = Chance::named(seed, "plan");
        let mut allowed: Vec<AllRows> = vec![Vec::new()];
        for _ in 0..4 {
            let store = StateStore::with_backend(SimBackend::new(Arc::clone(&drive)), CACHE).expect("it reopens");
            let found = store.rows().expect("readable");
            assert!(allowed.contains(&found), "seed {seed}: the state is no checkpoint's");
            moved += usize::from(found != allowed[0]);
            allowed = vec![found];
            let mut index = store.applied(GroupId::REGION).expect("readable").position.index.0;
            let in_a_commit = chance.below(2) == 0;
            for _ in 0..chance.between(1, 20) {
                index += 1;
                if store.apply(GroupId::REGION, &[entry(index, &mut chance)], Planted::default()).is_err() {
                    break;
                }
                if chance.below(5) == 0 {
                    let Ok(state) = store.rows() else { break };
                    allowed.push(state);
                    if in_a_commit {
                        drive.lock().expect("unpoisoned").light_fuse(u32::try_from(chance.below(30)).expect("small"));
                    }
                    if store.checkpoint().is_err() {
                        break;
                    }
                    allowed.drain(..allowed.len() - 1);
                }
            }
            cut += usize::from(drive.lock().expect("unpoisoned").put_fuse_out());
            drive.lock().expect("unpoisoned").lose_power(SimTime(1));
            drop(store);
        }
    }
    assert!(cut > 5 && moved > 5, "power went in the middle {cut} times, a commit under way survived {moved} times");
}
