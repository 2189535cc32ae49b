//! Rows that were changed since they were last carried into the file, and a view of both as one ordered map.
//!
//! The changes lie in at most two layers. Applying adds to the upper one. A checkpoint takes all there is as the lower one
//! (*freezes* it), carries it into the file, and lets it go (*thaws*) when the file has it; the upper layer begins empty and
//! grows meanwhile. A row is what the uppermost layer that names it says, and otherwise what the file says.
//!
//! - `RECENT-1` A view sees layers and file of one moment: its file is opened while the layers are held, so a layer is let
//!   go only when every view of it is gone or has a file that holds it.

use super::{StateStore, failed, get, range};
use anvil_core::rows::{Rows, RowsError, RowsMut, Scan};
use redb::{AccessGuard, ReadOnlyTable};
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

/// The rows of the file.
type File = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Rows by key; `None` for one that is removed.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What the file does not have yet. A clone shares its layers.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    upper: Arc<Changes>,
    /// On its way into the file.
    lower: Option<Arc<Changes>>,
}

impl Recent {
    /// The newer layer first.
    pub(super) fn layers(&self) -> Layers<'_> {
        Layers { upper: &self.upper, lower: self.lower.as_deref() }
    }

    /// Takes in a batch that was applied.
    pub(super) fn add(&mut self, changes: Changes) {
        // Copied only while a long read shares it.
        Arc::make_mut(&mut self.upper).extend(changes);
    }

    /// Everything there is, to be carried into the file.
    pub(super) fn freeze(&mut self) -> Arc<Changes> {
        // A lower layer that is still there could not be carried.
        let mut all = self.lower.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        let upper = Arc::unwrap_or_clone(std::mem::take(&mut self.upper));
        if all.is_empty() {
            all = upper;
        } else {
            all.extend(upper);
        }
        let all = Arc::new(all);
        self.lower = Some(Arc::clone(&all));
        all
    }

    /// The file has what was frozen.
    pub(super) fn thaw(&mut self) {
        self.lower = None;
    }
}

/// The layers over the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers<'a> {
    upper: &'a Changes,
    lower: Option<&'a Changes>,
}

/// Layers and file as one map. The file is opened when a row is asked for that the layers do not name.
pub(super) struct View<'a> {
    layers: Layers<'a>,
    store: &'a StateStore,
    file: OnceCell<File>,
}

impl<'a> View<'a> {
    /// A view for as long as the layers are held (`RECENT-1`).
    pub(super) fn new(store: &'a StateStore, layers: Layers<'a>) -> View<'a> {
        View { layers, store, file: OnceCell::new() }
    }

    /// A view with a file that was opened while the layers were held (`RECENT-1`).
    pub(super) fn opened(store: &'a StateStore, layers: Layers<'a>, file: File) -> View<'a> {
        View { layers, store, file: OnceCell::from(file) }
    }

    fn file(&self) -> Result<&File, RowsError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = self.store.table()?;
        Ok(self.file.get_or_init(|| file))
    }

    /// A scan with the changes of a batch above all else.
    fn scan_under(
        &self,
        batch: Option<&Changes>,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let bounds = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let layers = batch.into_iter().chain([self.layers.upper]).chain(self.layers.lower);
        let mut changed = Merged(layers.map(|layer| layer.range::<[u8], _>(bounds).peekable()).collect());
        let mut filed = range(self.file()?, from, to)?;
        let mut next_filed = || -> Result<Option<FileRow<'_>>, RowsError> { filed.next().transpose().map_err(failed) };
        let (mut change, mut row) = (changed.next(), next_filed()?);
        loop {
            // A change stands for the row of the file with the same key.
            let order = match (&change, &row) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((filed, _))) => (*key).cmp(filed.value()),
            };
            let shown = match (order, change, &row) {
                (Ordering::Less | Ordering::Equal, Some((key, value)), _) => value.map(|value| visit(key, value)),
                (_, _, Some((key, value))) => Some(visit(key.value(), value.value())),
                (_, _, None) => None,
            };
            if shown == Some(Scan::Stop) {
                return Ok(());
            }
            if order != Ordering::Greater {
                change = changed.next();
            }
            if order != Ordering::Less {
                row = next_filed()?;
            }
        }
    }
}

/// A row of the file.
type FileRow<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// The changes of several layers in the order of their keys, the newer layers first.
struct Merged<'a>(Vec<Layer<'a>>);

/// What is left of one layer.
type Layer<'a> = Peekable<btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>>;

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.iter_mut().filter_map(|layer| layer.peek().map(|(key, _)| *key)).min()?;
        let mut newest = None;
        for layer in &mut self.0 {
            if let Some((_, value)) = layer.next_if(|(at, _)| *at == key) {
                newest = newest.or(Some(value));
            }
        }
        newest.map(|value| (key.as_slice(), value.as_deref()))
    }
}

impl Rows for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        let lower = || self.layers.lower.and_then(|lower| lower.get(key));
        match self.layers.upper.get(key).or_else(lower) {
            Some(change) => Ok(change.clone()),
            None => get(self.file()?, key),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        self.scan_under(None, from, to, visit)
    }
}

/// An open batch: its own changes over a view.
pub(super) struct Batch<'a> {
    view: View<'a>,
    changes: Changes,
}

impl<'a> Batch<'a> {
    pub(super) fn new(view: View<'a>) -> Batch<'a> {
        Batch { view, changes: Changes::new() }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }
}

impl Rows for Batch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.changes.get(key).map_or_else(|| self.view.get(key), |change| Ok(change.clone()))
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), RowsError> {
        self.view.scan_under(Some(&self.changes), from, to, visit)
    }
}

impl RowsMut for Batch<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowsError> {
        self.changes.insert(key.to_vec(), Some(value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), RowsError> {
        self.changes.insert(key.to_vec(), None);
        Ok(())
    }
}
