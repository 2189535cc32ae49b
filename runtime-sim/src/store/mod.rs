//! The state store: `redb` as the ordered map under the replicated state machine.
//!
//! The intuition: one table of byte strings. A batch is one write transaction that is visible at once and durable only
//! with the next checkpoint, because the log below it is what survives until then (DESIGN section 4). A checkpoint is
//! an empty transaction that is durable, with quick-repair, so that reopening after a crash does not walk the file.
//!
//! - `STORE-1` A batch is all or nothing, in memory and after a crash.
//! - `STORE-2` What was applied before a checkpoint was ordered survives every crash after its completion.
//!
//! What is not here: what the rows mean (`anvil_core::state`), and where the bytes go (a `StorageBackend`).

mod backend;
#[cfg(test)]
mod tests;

pub use backend::SimBackend;

use anvil_core::rows::{Rows, RowsError, RowsMut, Scan};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend,
    Table, TableDefinition, WriteTransaction,
};
use std::fmt::Display;

/// The one table.
const ROWS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("rows");

/// The state store of a node.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

/// What a batch leaves on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Visible at once, durable with the next checkpoint.
    Later,
    /// Durable when the call returns, together with everything before it.
    AtOnce,
}

impl Store {
    /// Opens the store in this file, or makes it when the file is empty. `cache_size` is in bytes.
    pub fn open(backend: impl StorageBackend, cache_size: usize) -> Result<Store, RowsError> {
        let database = Builder::new().set_cache_size(cache_size).create_with_backend(backend).map_err(refusal)?;
        let store = Store { database };
        // A read transaction refuses a table that does not exist, so it is made once, durably.
        if store.read_table().is_err() {
            store.batch(Durable::AtOnce, |_| Ok(()))?;
        }
        Ok(store)
    }

    /// Runs `change` on an atomic batch and commits it (`STORE-1`). Nothing changes when it fails.
    pub fn batch<T>(
        &self,
        durable: Durable,
        change: impl FnOnce(&mut dyn RowsMut) -> Result<T, RowsError>,
    ) -> Result<T, RowsError> {
        let transaction = self.begin(durable)?;
        let outcome = {
            let mut batch = Batch { table: transaction.open_table(ROWS).map_err(failure)? };
            change(&mut batch)?
        };
        transaction.commit().map_err(failure)?;
        Ok(outcome)
    }

    /// Makes everything committed so far durable (`STORE-2`).
    pub fn checkpoint(&self) -> Result<(), RowsError> {
        self.begin(Durable::AtOnce)?.commit().map_err(failure)
    }

    /// Runs `look` on a consistent view that later batches do not change.
    pub fn view<T>(&self, look: impl FnOnce(&dyn Rows) -> Result<T, RowsError>) -> Result<T, RowsError> {
        look(&View { table: self.read_table()? })
    }

    fn read_table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, RowsError> {
        let transaction = self.database.begin_read().map_err(failure)?;
        transaction.open_table(ROWS).map_err(failure)
    }

    fn begin(&self, durable: Durable) -> Result<WriteTransaction, RowsError> {
        let mut transaction = self.database.begin_write().map_err(failure)?;
        match durable {
            Durable::Later => transaction.set_durability(Durability::None).map_err(failure)?,
            Durable::AtOnce => {
                transaction.set_durability(Durability::Immediate).map_err(failure)?;
                transaction.set_quick_repair(true);
            }
        }
        Ok(transaction)
    }
}

/// An open batch.
struct Batch<'txn> {
    table: Table<'txn, &'static [u8], &'static [u8]>,
}

/// A consistent view.
struct View {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Rows for Batch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        get(&self.table, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        scan(&self.table, from, to, visit)
    }
}

impl RowsMut for Batch<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        self.table.insert(key, value).map(drop).map_err(failure)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), RowsError> {
        self.table.remove(key).map(drop).map_err(failure)
    }
}

impl Rows for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        get(&self.table, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        scan(&self.table, from, to, visit)
    }
}

fn get(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
    Ok(table.get(key).map_err(failure)?.map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: Option<&[u8]>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
) -> Result<(), RowsError> {
    let rows = match to {
        Some(to) if to <= from => return Ok(()),
        Some(to) => table.range::<&[u8]>(from..to),
        None => table.range::<&[u8]>(from..),
    };
    for row in rows.map_err(failure)? {
        let (key, value) = row.map_err(failure)?;
        if visit(key.value(), value.value()) == Scan::Stop {
            break;
        }
    }
    Ok(())
}

fn failure(error: impl Display) -> RowsError {
    RowsError::Store(error.to_string())
}

fn refusal(error: DatabaseError) -> RowsError {
    RowsError::Store(format!("it does not open: {error}"))
}
