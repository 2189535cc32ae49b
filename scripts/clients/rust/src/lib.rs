//! What both clients share: where the nodes are, what to store, and the steps that are told.
//!
//! scripts/check-s3 names the nodes and the keys in the environment. A client writes through the first node and reads through
//! the other. The first thing that is not as it must be ends the process.

use std::fmt::Debug;

/// The least size of a part but the last, in bytes.
pub const PART: usize = 5 << 20;
/// More than two parts, in bytes.
pub const BIG: usize = 2 * PART + 12_345;

/// Where a client is pointed at.
#[derive(Clone, Debug)]
pub struct Target {
    pub first: String,
    pub other: String,
    pub bucket: String,
    pub key_id: String,
    pub secret: String,
    pub region: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("scripts/check-s3 sets {name}"))
}

impl Target {
    pub fn from_environment() -> Target {
        Target {
            first: variable("CHECK_FIRST"),
            other: variable("CHECK_OTHER"),
            bucket: variable("CHECK_BUCKET"),
            key_id: variable("AWS_ACCESS_KEY_ID"),
            secret: variable("AWS_SECRET_ACCESS_KEY"),
            region: variable("AWS_REGION"),
        }
    }
}

/// Bytes that no other seed has (SplitMix64).
pub fn body(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(size);
    bytes
}

/// Tells that a step is done.
pub fn did(step: &str) {
    println!("{step}");
}

/// Ends the process when the bytes differ, without printing them.
pub fn same(what: &str, found: &[u8], expected: &[u8]) {
    assert!(found == expected, "{what}: {} bytes instead of {}, or others", found.len(), expected.len());
}

/// What must be refused; the error's text.
pub fn refusal<T, E: Debug>(what: &str, outcome: Result<T, E>) -> String {
    match outcome {
        Ok(_) => panic!("{what} succeeded, and should not"),
        Err(error) => format!("{error:?}"),
    }
}
