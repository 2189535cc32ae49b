//! The one seam under the replicated state machine: an ordered map of byte strings.
//!
//! `redb` in production, the same `redb` over the simulated disk, and [`MemoryRows`] as the plain model in tests.
//! The runtime opens an atomic batch, hands it to `state::apply` as [`RowsMut`], and commits it as a whole; it opens
//! a consistent snapshot and hands it to `state::query` as [`Rows`].

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

/// Whether a scan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Show me the next row.
    Continue,
    /// That is enough.
    Stop,
}

/// The map could not be read or written, or a row in it is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsError {
    /// The store under the map failed, in its own words.
    Store(String),
    /// A row failed its checksum or does not decode. Carries the row's key.
    Damaged(Vec<u8>),
}

impl core::fmt::Display for RowsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RowsError::Store(message) => write!(f, "the state store failed: {message}"),
            RowsError::Damaged(key) => {
                f.write_str("a row of the state store is damaged, key ")?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl core::error::Error for RowsError {}

/// A consistent view of the map.
pub trait Rows {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError>;

    /// Visits rows with `from <= key` and `key < to` (`to` of `None` means to the end) in key order until `visit` says stop.
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError>;
}

/// An open atomic batch: reads see its own writes, and nothing is visible to others before the commit.
pub trait RowsMut: Rows {
    /// Sets `key` to `value`.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowsError>;

    /// Removes `key`; no error when it is not there.
    fn remove(&mut self, key: &[u8]) -> Result<(), RowsError>;
}

/// The dumb model: a `BTreeMap`. Whoever needs atomicity clones it first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRows(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for MemoryRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, value) in self.0.range::<[u8], _>((Bound::Included(from), upper)) {
            if visit(key, value) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }
}

impl RowsMut for MemoryRows {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), RowsError> {
        self.0.remove(key);
        Ok(())
    }
}
