//! The state store: the applied rows of all groups of a node in one `redb` file, and in memory what the file lacks.
//!
//! Both runtimes use this same code, the simulator with a storage backend over its simulated disk.
//!
//! The intuition: what is applied between two checkpoints is lost with the process anyway and comes again from the log. So it
//! need not pass through the pages of a tree, each of which would be copied, checked and written for a few rows: it lies in a
//! sorted map (`recent`), and a checkpoint carries it into the file as one transaction, in the order of its keys. How much
//! that is, the core bounds, which orders a checkpoint after so many bytes.
//!
//! - `REDB-1` A batch of entries and the applied position that it leads to become visible at once.
//! - `REDB-2` Applying writes nothing to the drive; a checkpoint does, and makes everything applied before it durable in one
//!   transaction. Checkpoints save the allocator state (quick-repair), or reopening a large file after a crash would take
//!   minutes.
//! - `REDB-3` Opening verifies the checksum of every page in use; a file altered since it was written is refused.

mod recent;

use anvil_core::planted::Planted;
use anvil_core::rows::{Rows, RowsError, RowsMut, Scan};
use anvil_core::state::{self, Answer, Applied, InstallError, PlacementRow, Query, QueryAnswer};
use anvil_core::topology::Topology;
use anvil_core::types::{Entry, GroupId, LogIndex, Membership, Snapshot};
use recent::{Batch, Recent, View};
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend, Table,
    TableDefinition, TableError, WriteTransaction,
};
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// A row's key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The open store. Queries may run in parallel, and a checkpoint beside everything; of the others, one at a time.
#[derive(Debug)]
pub struct StateStore {
    database: Database,
    recent: RwLock<Recent>,
    /// Held while `recent` is carried into the file.
    carrying: Mutex<()>,
}

/// Why a store could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has the file open.
    InUse,
    /// The file fails its checksums or is no store.
    Damaged(String),
    /// The drive failed, in its words.
    Drive(String),
}

impl Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::InUse => f.write_str("the state store is in use by another process"),
            OpenError::Damaged(what) => write!(
                f,
                "the state store (state.redb) is damaged: {what}. It was not changed. Restore the data directory from \
                 a backup, or remove this node and let a new one take its place"
            ),
            OpenError::Drive(what) => write!(f, "the state store (state.redb) cannot be read or written: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl StateStore {
    /// Opens or creates the store in a file. `cache_bytes` bounds the memory for pages.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<StateStore, OpenError> {
        let is_there = path.try_exists().map_err(|error| OpenError::Drive(error.to_string()))?;
        if !is_there {
            StateStore::make(path, cache_bytes)?;
        }
        StateStore::ready(builder(cache_bytes).create(path))
    }

    /// Makes an empty store. A file whose making was cut short is no store and does not open ever after, so it is made
    /// under another name and takes its own when it is complete. The caller syncs the directory.
    fn make(path: &Path, cache_bytes: usize) -> Result<(), OpenError> {
        let unfinished = path.with_extension("unfinished");
        let drive = |error: std::io::Error| OpenError::Drive(error.to_string());
        if unfinished.try_exists().map_err(drive)? {
            std::fs::remove_file(&unfinished).map_err(drive)?;
        }
        drop(StateStore::ready(builder(cache_bytes).create(&unfinished))?);
        std::fs::rename(&unfinished, path).map_err(drive)
    }

    /// Opens or creates the store in `backend`. The caller sees to it that a backend whose making was cut short is
    /// emptied before the next attempt.
    pub fn with_backend(backend: impl StorageBackend, cache_bytes: usize) -> Result<StateStore, OpenError> {
        StateStore::ready(builder(cache_bytes).create_with_backend(backend))
    }

    fn ready(opened: Result<Database, redb::DatabaseError>) -> Result<StateStore, OpenError> {
        let store =
            StateStore { database: opened.map_err(open_error)?, recent: RwLock::default(), carrying: Mutex::default() };
        let table_ready = store.write(|_| Ok(()));
        table_ready.map_err(|error: RowsError| OpenError::Drive(error.to_string()))?;
        Ok(store)
    }

    /// What the group has applied.
    pub fn applied(&self, group: GroupId) -> Result<Applied, RowsError> {
        self.read(|rows| state::applied(group, rows))
    }

    /// Who replicates the group as of what it has applied; `None` while no entry has changed that.
    pub fn membership(&self, group: GroupId) -> Result<Option<Membership>, RowsError> {
        self.read(|rows| state::membership(group, rows))
    }

    /// The nodes of the cluster and the placement, as the group *global* has applied them.
    pub fn topology(&self) -> Result<(Topology, Option<PlacementRow>), RowsError> {
        self.read(|rows| state::topology(rows))
    }

    /// Applies committed entries (`REDB-1`). Returns what is applied, and the answers.
    pub fn apply(
        &self,
        group: GroupId,
        entries: &[Entry],
        planted: Planted,
    ) -> Result<(Applied, Vec<(LogIndex, Answer)>), RowsError> {
        let recent = self.recent();
        let mut batch = Batch::new(View::new(self, recent.layers()));
        // An error drops the batch.
        let answers = state::apply(group, entries, planted, &mut batch)?;
        let applied = state::applied(group, &batch)?;
        let changes = batch.into_changes();
        drop(recent);
        // REDB-1. A checkpoint may have moved on meanwhile; what is newer than all it has stays newer.
        self.recent_mut().add(changes);
        Ok((applied, answers))
    }

    /// Answers a query from what is visible.
    pub fn query(&self, group: GroupId, query: &Query) -> Result<QueryAnswer, RowsError> {
        self.read(|rows| state::query(group, query, rows))
    }

    /// Makes everything applied so far durable (`REDB-2`).
    pub fn checkpoint(&self) -> Result<(), RowsError> {
        let carrying = self.carrying();
        self.carry(&carrying)
    }

    /// Carries what is recent into the file, while who applies goes on.
    fn carry(&self, _alone: &MutexGuard<'_, ()>) -> Result<(), RowsError> {
        let changes = self.recent_mut().freeze();
        // REDB-2
        self.write(|rows| {
            changes.iter().try_for_each(|(key, change)| match change {
                Some(value) => rows.put(key, value),
                None => rows.remove(key),
            })
        })?;
        self.recent_mut().thaw();
        Ok(())
    }

    /// Takes a snapshot of a group.
    pub fn snapshot(&self, group: GroupId, planted: Planted) -> Result<Snapshot, RowsError> {
        self.read_long(|rows| state::snapshot(group, rows, planted))
    }

    /// Replaces a group's rows by a snapshot, durably.
    pub fn install(&self, group: GroupId, snapshot: &Snapshot) -> Result<(), InstallError> {
        let carrying = self.carrying();
        // Nothing recent may lie over the new rows, and nothing is applied beside this.
        self.carry(&carrying)?;
        self.write(|rows| state::install(group, snapshot, rows))
    }

    /// Every row, for a checker that compares replicas.
    pub fn rows(&self) -> Result<Vec<Row>, RowsError> {
        self.read_long(|rows| {
            let mut all = Vec::new();
            rows.scan(&[], None, &mut |key, value| {
                all.push((key.to_vec(), value.to_vec()));
                Scan::Continue
            })?;
            Ok(all)
        })
    }

    /// A short read: nothing is applied until it ends.
    fn read<T>(&self, body: impl FnOnce(&dyn Rows) -> Result<T, RowsError>) -> Result<T, RowsError> {
        let recent = self.recent();
        body(&View::new(self, recent.layers()))
    }

    /// A read that may take long, and that nobody waits for.
    fn read_long<T>(&self, body: impl FnOnce(&dyn Rows) -> Result<T, RowsError>) -> Result<T, RowsError> {
        let recent = self.recent();
        let (shared, table) = (recent.clone(), self.table()?);
        drop(recent);
        body(&View::opened(self, shared.layers(), table))
    }

    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, RowsError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        transaction.open_table(ROWS).map_err(failed)
    }

    fn write<T, E: From<RowsError>>(&self, body: impl FnOnce(&mut dyn RowsMut) -> Result<T, E>) -> Result<T, E> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        transaction.set_quick_repair(true);
        // An error drops the transaction, which rolls it back.
        let value = in_table(&transaction, body)?;
        transaction.commit().map_err(failed)?;
        Ok(value)
    }

    // Each change under these locks is one move, so it is whole even if a thread died holding one.

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn carrying(&self) -> MutexGuard<'_, ()> {
        self.carrying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_table<T, E: From<RowsError>>(
    transaction: &WriteTransaction,
    body: impl FnOnce(&mut dyn RowsMut) -> Result<T, E>,
) -> Result<T, E> {
    let table = transaction.open_table(ROWS).map_err(|error: TableError| failed(error))?;
    body(&mut Direct(table))
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    // REDB-3
    builder.set_check_integrity_on_open(true);
    builder
}

fn failed(error: impl Display) -> RowsError {
    RowsError::Store(error.to_string())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum that may grow: what is new is damage until known better"
)]
fn open_error(error: redb::DatabaseError) -> OpenError {
    use redb::{DatabaseError, StorageError};
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != std::io::ErrorKind::InvalidData => {
            OpenError::Drive(error.to_string())
        }
        other => OpenError::Damaged(other.to_string()),
    }
}

/// A write transaction as the core sees it.
struct Direct<'txn>(Table<'txn, &'static [u8], &'static [u8]>);

impl Rows for Direct<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        get(&self.0, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        scan(&self.0, from, to, visit)
    }
}

impl RowsMut for Direct<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        self.0.insert(key, value).map(|_| ()).map_err(failed)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), RowsError> {
        self.0.remove(key).map(|_| ()).map_err(failed)
    }
}

fn get(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
    let value = table.get(key).map_err(failed)?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: Option<&[u8]>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
) -> Result<(), RowsError> {
    if to.is_some_and(|to| to <= from) {
        return Ok(());
    }
    for row in range(table, from, to)? {
        let (key, value) = row.map_err(failed)?;
        if visit(key.value(), value.value()) == Scan::Stop {
            break;
        }
    }
    Ok(())
}

/// The rows of the file with `from <= key < to`; `from` must be less than `to`.
fn range<'a>(
    table: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: Option<&[u8]>,
) -> Result<redb::Range<'a, &'static [u8], &'static [u8]>, RowsError> {
    let range = match to {
        Some(to) => table.range::<&[u8]>(from..to),
        None => table.range::<&[u8]>(from..),
    };
    range.map_err(failed)
}

#[cfg(test)]
mod tests;
