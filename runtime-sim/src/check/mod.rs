//! Checkers, one file per promise. Each watches facts that the driver hands it and complains when a promise is broken.
//!
//! The intuition: a checker never looks inside a node. It sees what left a node (replies, applied entries, status) and
//! knows what was promised about it, so it cannot share a bug with the code that it judges.

pub mod canonical;
pub mod keys;
pub mod linearizable;
pub mod objects;
pub mod once;
pub mod versions;

use std::fmt;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which promise, in a few words.
    pub promise: &'static str,
    /// What was seen instead.
    pub what: String,
}

impl Complaint {
    /// A complaint.
    pub fn new(promise: &'static str, what: impl Into<String>) -> Complaint {
        Complaint { promise, what: what.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}
