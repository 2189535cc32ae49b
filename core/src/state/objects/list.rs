//! A page of a bucket, as ListObjectsV2 defines it (Amazon S3 API reference).
//!
//! The intuition: a [`Page`] is offered objects in UTF-8 binary order and says after each whether to go on, to jump, or
//! to stop. When a key falls into a common prefix it jumps behind everything under that prefix, so a page costs as many
//! steps as it has lines, whatever the size of the bucket. Knows no map and no SQL: a home carries the jumps out.
//!
//! - `LIST-1`: following `next` page by page shows each line once, in order.
//!
//! Keys whose newest version is a delete marker are passed over, and a page looks at a bounded number of them: it may end
//! before it is full, and says where it goes on.
//!
//! Not here: versions of one key (the home offers the newest of each; `versions` lists them).

use super::super::question::{Listed, Listing};
use super::rows::VersionRow;
use crate::types::LogIndex;
use alloc::string::{String, ToString};

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seek {
    /// At the first key that is this or greater.
    At(String),
    /// At the first key that is greater.
    After(String),
    /// At the first key behind all keys that begin with this.
    Past(String),
    /// Behind the version of this key that was decided at an index: at an older one, or the next key.
    AfterVersion(String, LogIndex),
}

/// What a page wants after an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next object.
    Next,
    /// The first object there.
    Seek(Seek),
    /// Nothing more.
    Full,
}

/// Deleted keys that one page passes over.
pub const HIDDEN_MAX: usize = 10_000;

/// A page that is being filled.
#[derive(Clone, Debug)]
pub struct Page {
    hidden: usize,
    prefix: String,
    delimiter: String,
    limit: usize,
    listing: Listing,
    /// The last line: where the next page would start after.
    last: Option<String>,
}

impl Page {
    /// An empty page, and where to begin to fill it; nowhere when the limit is 0.
    #[must_use]
    pub fn new(prefix: &str, delimiter: &str, start_after: &str, limit: usize) -> (Page, Option<Seek>) {
        let page = Page {
            hidden: 0,
            prefix: prefix.to_string(),
            delimiter: delimiter.to_string(),
            limit,
            listing: Listing::default(),
            last: None,
        };
        let start = if limit == 0 {
            None
        } else if start_after < prefix {
            Some(Seek::At(prefix.to_string()))
        } else if page.common_prefix(start_after) == Some(start_after) {
            // LIST-1: the page before ended with this common prefix, which stands for everything under it.
            Some(Seek::Past(start_after.to_string()))
        } else {
            Some(Seek::After(start_after.to_string()))
        };
        (page, start)
    }

    /// Takes the next object in order, by its newest version. Its key begins with the page's prefix.
    pub fn offer(&mut self, key: &str, row: &VersionRow) -> Step {
        if row.is_marker() {
            self.hidden += 1;
            if self.hidden < HIDDEN_MAX || self.limit == 0 {
                return Step::Next;
            }
            self.listing.next = Some(key.to_string());
            return Step::Full;
        }
        if self.listing.objects.len() + self.listing.prefixes.len() == self.limit {
            // Only a further object shows that there is a further page.
            self.listing.next = self.last.take();
            return Step::Full;
        }
        if let Some(prefix) = self.common_prefix(key).map(ToString::to_string) {
            self.last = Some(prefix.clone());
            self.listing.prefixes.push(prefix.clone());
            return Step::Seek(Seek::Past(prefix));
        }
        self.last = Some(key.to_string());
        self.listing.objects.push(Listed::of(key, row));
        Step::Next
    }

    /// The page as it is.
    #[must_use]
    pub fn finish(self) -> Listing {
        self.listing
    }

    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        common_prefix(&self.prefix, &self.delimiter, key)
    }
}

impl Listed {
    /// The line of a version.
    #[must_use]
    pub fn of(key: &str, row: &VersionRow) -> Listed {
        let owner = row.attributes.acl.as_ref().map(|acl| acl.owner.clone());
        Listed { key: key.to_string(), size: row.size, etag: row.etag, modified: row.modified, owner }
    }
}

/// The part of `key` up to and including the first delimiter behind the prefix of a page.
pub(super) fn common_prefix<'k>(prefix: &str, delimiter: &str, key: &'k str) -> Option<&'k str> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}
