//! The store beside a plain ordered map, with checkpoints at any moment.

use super::recent::{Batch, View};
use super::{Row, StateStore};
use anvil_core::rows::{MemoryRows, Rows, RowsMut, Scan};
use redb::backends::InMemoryBackend;

/// xorshift64 (Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn key(&mut self) -> Vec<u8> {
        // Few keys, some of them the beginning of others.
        (0..=self.below(3)).map(|_| b'a' + u8::try_from(self.below(4)).unwrap()).collect()
    }
}

fn seen(rows: &dyn Rows, from: &[u8], to: Option<&[u8]>, most: usize) -> Vec<Row> {
    let mut seen = Vec::new();
    rows.scan(from, to, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        if seen.len() == most { Scan::Stop } else { Scan::Continue }
    })
    .unwrap();
    seen
}

fn compare(rows: &dyn Rows, model: &MemoryRows, chance: &mut Chance) {
    let (from, to, key) = (chance.key(), chance.key(), chance.key());
    let to = (chance.below(3) > 0).then_some(to.as_slice());
    let most = usize::try_from(chance.below(8)).unwrap();
    assert_eq!(seen(rows, &from, to, most), seen(model, &from, to, most));
    assert_eq!(rows.get(&key).unwrap(), model.get(&key).unwrap());
}

#[test]
fn layers_and_file_together_are_one_map() {
    for seed in 1..60 {
        let chance = &mut Chance(seed * 0x9e37_79b9);
        let store = StateStore::with_backend(InMemoryBackend::new(), 1 << 20).unwrap();
        let mut model = MemoryRows::default();
        for _ in 0..60 {
            let recent = store.recent();
            let mut batch = Batch::new(View::new(&store, recent.layers()));
            for _ in 0..chance.below(6) {
                let key = chance.key();
                if chance.below(3) == 0 {
                    batch.remove(&key).unwrap();
                    model.remove(&key).unwrap();
                } else {
                    let value = chance.below(1000).to_string();
                    batch.put(&key, value.as_bytes()).unwrap();
                    model.put(&key, value.as_bytes()).unwrap();
                }
                compare(&batch, &model, chance);
            }
            let changes = batch.into_changes();
            drop(recent);
            store.recent_mut().add(changes);
            match chance.below(6) {
                0 => store.checkpoint().unwrap(),
                // A checkpoint that is under way, or that failed.
                1 => drop(store.recent_mut().freeze()),
                _ => {}
            }
            store
                .read(|rows| {
                    compare(rows, &model, chance);
                    Ok(())
                })
                .unwrap();
            assert_eq!(store.rows().unwrap(), model.0.clone().into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_long_read_sees_one_moment_while_others_go_on() {
    let store = StateStore::with_backend(InMemoryBackend::new(), 1 << 20).unwrap();
    let put = |key: &str| store.recent_mut().add([(key.as_bytes().to_vec(), Some(vec![1]))].into());
    put("a");
    store.checkpoint().unwrap();
    put("b");
    store
        .read_long(|rows| {
            put("c");
            store.checkpoint().unwrap();
            put("d");
            assert_eq!(seen(rows, b"", None, 9).len(), 2, "a and b");
            Ok(())
        })
        .unwrap();
    assert_eq!(store.rows().unwrap().len(), 4);
}
