use super::{Durable, SimBackend, Store};
use crate::chance::Chance;
use crate::world::SimTime;
use crate::world::disk::Disk;
use crate::world::rates::DiskRates;
use anvil_core::rows::{MemoryRows, Rows, RowsError, RowsMut, Scan};
use std::sync::{Arc, Mutex};

const CACHE: usize = 64 << 10;

fn drive(seed: u64) -> Arc<Mutex<Disk>> {
    Arc::new(Mutex::new(Disk::new(seed, "store", DiskRates::default(), 64 << 20)))
}

fn dump(rows: &dyn Rows) -> Result<MemoryRows, RowsError> {
    let mut model = MemoryRows::default();
    rows.scan(&[], None, &mut |key, value| {
        model.0.insert(key.to_vec(), value.to_vec());
        Scan::Continue
    })?;
    Ok(model)
}

fn change(rows: &mut dyn RowsMut, chance: &mut Chance) -> Result<(), RowsError> {
    for _ in 0..chance.between(1, 6) {
        let key = [b'k', u8::try_from(chance.below(40)).expect("below 40")];
        if chance.below(4) == 0 {
            rows.remove(&key)?;
        } else {
            let size = chance.index(300);
            let mut value = vec![0; size];
            chance.fill(&mut value);
            rows.put(&key, &value)?;
        }
    }
    Ok(())
}

#[test]
fn the_store_agrees_with_the_dumb_model() {
    let store = Store::open(SimBackend::new(drive(1)), CACHE).expect("opens");
    let mut model = MemoryRows::default();
    let (mut first, mut second) = (Chance::named(1, "store"), Chance::named(1, "store"));
    for _ in 0..60 {
        store.batch(Durable::Later, |rows| change(rows, &mut first)).expect("commits");
        change(&mut model, &mut second).expect("memory does not fail");
        assert_eq!(store.view(dump).expect("readable"), model);
    }
}

#[test]
fn a_failed_batch_changes_nothing() {
    let store = Store::open(SimBackend::new(drive(1)), CACHE).expect("opens");
    store.batch(Durable::Later, |rows| rows.put(b"a", b"1")).expect("commits");
    let refused = store.batch(Durable::Later, |rows| -> Result<(), RowsError> {
        rows.put(b"a", b"2")?;
        Err(RowsError::Store("no".into()))
    });
    assert!(refused.is_err());
    assert_eq!(store.view(|rows| rows.get(b"a")).expect("readable"), Some(b"1".to_vec()));
}

/// Runs batches and checkpoints until a power loss, sometimes in the middle of a commit, and reopens: the state is
/// that of a checkpoint that completed, or of one that was under way.
#[test]
fn after_any_power_loss_the_store_is_at_a_checkpoint() {
    for seed in 0..60 {
        let drive = drive(seed);
        let mut chance = Chance::named(seed, "plan");
        let mut allowed = vec![MemoryRows::default()];
        for _ in 0..4 {
            let store = Store::open(SimBackend::new(Arc::clone(&drive)), CACHE).expect("opens after a power loss");
            let found = store.view(dump).expect("readable");
            assert!(allowed.contains(&found), "seed {seed}: the state is no checkpoint's");
            allowed = vec![found];
            if chance.below(2) == 0 {
                drive.lock().expect("unpoisoned").light_fuse(u32::try_from(chance.below(30)).expect("small"));
            }
            for _ in 0..chance.between(1, 20) {
                if store.batch(Durable::Later, |rows| change(rows, &mut chance)).is_err() {
                    break;
                }
                if chance.below(5) == 0 {
                    let Ok(state) = store.view(dump) else { break };
                    allowed.push(state);
                    if store.checkpoint().is_err() {
                        break;
                    }
                    allowed.drain(..allowed.len() - 1);
                }
            }
            drive.lock().expect("unpoisoned").lose_power(SimTime(1));
            drop(store);
        }
    }
}
