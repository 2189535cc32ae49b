//! The bytes of a [`Command`] in a log entry.
//!
//! One version byte, then `postcard`. Bytes come from a log on disk or from a peer, so decoding never panics, and never
//! allocates more than a small multiple of what it is given: `postcard` checks each length against the bytes that are
//! left, and `serde` caps what it reserves ahead for a sequence. `docs/formats/command.md` is the page, golden bytes are
//! in `tests/golden.rs`. Not here: rows (`codec`) and messages between peers (`anvil-proto`).

use super::command::Command;
use alloc::vec;
use bytes::Bytes;
use core::fmt;

/// The version that this build writes, and the only one that it reads.
const COMMAND_VERSION: u8 = 1;

/// Why bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// There are none.
    Empty,
    /// Written by another version of the format. Carries that version.
    Version(u8),
    /// The bytes end early, or hold a value out of its range.
    Malformed,
    /// The command ends before the bytes do. Carries how many are left.
    Trailing(usize),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Empty => f.write_str("it is empty"),
            DecodeError::Version(found) => write!(f, "version {found} is not {COMMAND_VERSION}"),
            DecodeError::Malformed => f.write_str("it is malformed"),
            DecodeError::Trailing(count) => write!(f, "{count} bytes follow it"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Command {
    /// The command as a log entry carries it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = postcard::to_extend(self, vec![COMMAND_VERSION])
            .expect("a vector takes all bytes, and every sequence in a command knows its length");
        Bytes::from(bytes)
    }

    /// The command that [`Command::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are not exactly one command of this version.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let (&version, payload) = bytes.split_first().ok_or(DecodeError::Empty)?;
        if version != COMMAND_VERSION {
            return Err(DecodeError::Version(version));
        }
        let (command, rest) = postcard::take_from_bytes(payload).map_err(|_| DecodeError::Malformed)?;
        if rest.is_empty() { Ok(command) } else { Err(DecodeError::Trailing(rest.len())) }
    }
}
