//! A page of the versions of a bucket, as ListObjectVersions defines it (Amazon S3 API reference).
//!
//! As in `list`, a [`VersionPage`] is offered rows in order and says whether to go on, to jump, or to stop: keys in UTF-8
//! binary order, and under each key its versions from the newest on (`VERSION-1`). A page costs as many steps as it has
//! lines.
//!
//! - `LIST-2`: following `next` page by page shows each version that is there all the time once, in order, whatever is
//!   deleted meanwhile: the place where a page ended is a place in the order, and needs no row to be found again.

use super::super::attributes::VersionName;
use super::super::question::{Listed, ListedVersion, VersionListing};
use super::list::{Seek, Step, common_prefix};
use super::rows::VersionRow;
use crate::types::LogIndex;
use alloc::string::{String, ToString};

/// A page that is being filled.
#[derive(Clone, Debug)]
pub struct VersionPage {
    prefix: String,
    delimiter: String,
    limit: usize,
    listing: VersionListing,
    /// The last line: where the next page would start after.
    last: Option<(String, Option<VersionName>)>,
    /// The key of the row before, and the index of its newest version.
    newest: Option<(String, LogIndex)>,
}

impl VersionPage {
    /// An empty page, and where to begin to fill it; nowhere when the limit is 0. `after` is a key, and the index of the
    /// version behind which to begin, with that of the newest version of the key.
    #[must_use]
    pub fn new(
        prefix: &str,
        delimiter: &str,
        after: (&str, Option<(LogIndex, LogIndex)>),
        limit: usize,
    ) -> (VersionPage, Option<Seek>) {
        let (key, version) = after;
        let page = VersionPage {
            prefix: prefix.to_string(),
            delimiter: delimiter.to_string(),
            limit,
            listing: VersionListing::default(),
            last: None,
            newest: version.map(|(_, newest)| (key.to_string(), newest)),
        };
        let start = if limit == 0 {
            None
        } else if key < prefix {
            Some(Seek::At(prefix.to_string()))
        } else if common_prefix(prefix, delimiter, key) == Some(key) {
            Some(Seek::Past(key.to_string()))
        } else {
            Some(match version {
                Some((decided, _)) => Seek::AfterVersion(key.to_string(), decided), // LIST-2
                None => Seek::After(key.to_string()),
            })
        };
        (page, start)
    }

    /// Takes the next version in order. Its key begins with the page's prefix.
    pub fn offer(&mut self, key: &str, row: &VersionRow) -> Step {
        if self.listing.versions.len() + self.listing.prefixes.len() == self.limit {
            self.listing.next = self.last.take();
            return Step::Full;
        }
        if let Some(prefix) = common_prefix(&self.prefix, &self.delimiter, key).map(ToString::to_string) {
            self.last = Some((prefix.clone(), None));
            self.listing.prefixes.push(prefix.clone());
            return Step::Seek(Seek::Past(prefix));
        }
        let newest = match &self.newest {
            Some((of, newest)) if of == key => *newest,
            Some(_) | None => {
                self.newest = Some((key.to_string(), row.decided));
                row.decided
            }
        };
        // The place in the order, also of a null version: a page may end where no row will be.
        let place = VersionName::Id { decided: row.decided, version: row.version };
        self.last = Some((key.to_string(), Some(place)));
        self.listing.versions.push(ListedVersion {
            listed: Listed::of(key, row),
            name: row.name(),
            decided: row.decided,
            is_marker: row.is_marker(),
            is_latest: row.decided == newest,
        });
        Step::Next
    }

    /// The page as it is.
    #[must_use]
    pub fn finish(self) -> VersionListing {
        self.listing
    }
}
