//! The bytes of a row's value, and the order-preserving bytes of a text inside a row's key.
//!
//! A value is `[format version u8][CRC-32C u32 LE][postcard payload]`; the checksum covers the row's key, the version
//! and the payload, so that a row which turns up under another key is as damaged as one with a changed byte
//! (`STATE-4`). `docs/formats/rows.md` is the page, golden bytes are in `tests/golden.rs`.
//!
//! A text inside a key is escaped: `00` becomes `00 FF`, and `00 00` ends it. Then byte order is the order of the texts,
//! whatever follows, and the escaped form of a prefix is a prefix of the escaped form. Not here: which parts make up
//! which key (`layout`).

use crate::rows::RowsError;
use alloc::vec::Vec;
use crc::{CRC_32_ISCSI, Crc, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The newest version of any row.
const ROW_VERSION_MAX: u8 = 2;
/// Bytes before the payload.
const HEADER_SIZE: usize = 5;

/// A row of the map.
pub(super) trait Stored: Serialize + DeserializeOwned {
    /// The version that this build writes.
    const VERSION: u8 = 1;

    /// Reads the payload of an earlier version, to its last byte.
    fn open_earlier(_version: u8, _payload: &[u8]) -> Option<Self> {
        None
    }
}

/// A value that is all of `payload`.
pub(super) fn exactly<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(payload) {
        Ok((row, [])) => Some(row),
        Ok(_) | Err(_) => None,
    }
}

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// CRC-32C (RFC 3720 appendix B.4) of the pieces, one after the other.
pub(super) fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut digest = CRC32C.digest();
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize()
}

/// The value that holds `row` under `key`.
pub(super) fn seal<T: Stored>(key: &[u8], row: &T) -> Vec<u8> {
    let mut value = Vec::with_capacity(64);
    value.push(T::VERSION);
    value.extend_from_slice(&[0; HEADER_SIZE - 1]);
    let mut value = postcard::to_extend(row, value)
        .expect("a vector takes all bytes, and every sequence in a row knows its length");
    let (header, payload) = value.split_at_mut(HEADER_SIZE);
    header[1..].copy_from_slice(&crc32c(&[key, &[T::VERSION], payload]).to_le_bytes());
    value
}

/// Checks a value's version and checksum, and returns the version and the payload.
fn check<'v>(key: &[u8], value: &'v [u8]) -> Result<(u8, &'v [u8]), RowsError> {
    let damaged = || RowsError::Damaged(key.to_vec());
    let (header, payload) = value.split_first_chunk::<HEADER_SIZE>().ok_or_else(damaged)?;
    let [version, a, b, c, d] = *header;
    let is_known = (1..=ROW_VERSION_MAX).contains(&version);
    // STATE-4
    if !is_known || crc32c(&[key, &[version], payload]) != u32::from_le_bytes([a, b, c, d]) {
        return Err(damaged());
    }
    Ok((version, payload))
}

/// Checks a value's version and checksum.
pub(super) fn verify(key: &[u8], value: &[u8]) -> Result<(), RowsError> {
    check(key, value).map(drop)
}

/// The row that `value` holds under `key`.
pub(super) fn open<T: Stored>(key: &[u8], value: &[u8]) -> Result<T, RowsError> {
    let (version, payload) = check(key, value)?;
    let row = if version == T::VERSION { exactly(payload) } else { T::open_earlier(version, payload) };
    row.ok_or_else(|| RowsError::Damaged(key.to_vec()))
}

/// Appends `text`, escaped, without the end mark.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
}

/// What ends an escaped text.
pub(super) const TEXT_END: [u8; 2] = [0, 0];
/// The first bytes after an escaped text that sort behind everything under that text and before any longer text.
pub(super) const TEXT_AFTER: [u8; 2] = [0, 1];

/// Takes one escaped text off the front of `bytes`; `None` when they do not begin with one.
pub(super) fn unescape(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        match *bytes {
            [0, 0, rest @ ..] => {
                *bytes = rest;
                return Some(text);
            }
            [0, 0xFF, rest @ ..] => {
                text.push(0);
                *bytes = rest;
            }
            [0, ..] | [] => return None,
            [byte, rest @ ..] => {
                text.push(*byte);
                *bytes = rest;
            }
        }
    }
}

/// The first key behind all keys that begin with `prefix`; `None` when there is none.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = prefix[..=kept].to_vec();
    next[kept] += 1;
    Some(next)
}
