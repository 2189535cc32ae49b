//! From a peer's bytes to core's messages, or to the reason why not.

use super::{COMMAND_SIZE_MAX, DecodeError, MESSAGE_SIZE_MAX, SNAPSHOT_SIZE_MAX};
use crate::wire::{self, append_entries_response::Outcome, entry, peer_message};
use anvil_core::raft::{AppendOutcome, Message};
use anvil_core::types::{Entry, GroupId, LogIndex, LogPosition, Membership, NodeId, Payload, Snapshot, Term};
use bytes::Bytes;
use prost::Message as _;

/// The group and the message that [`encode`](super::encode) wrote. Commands and rows share the buffer.
///
/// # Errors
/// When the bytes are not one whole message that keeps the limits of this module and its invariants.
pub fn decode(bytes: Bytes) -> Result<(GroupId, Message), DecodeError> {
    // PEER-2
    let size_max = if is_framed_snapshot(&bytes) { SNAPSHOT_SIZE_MAX } else { MESSAGE_SIZE_MAX };
    if bytes.len() > size_max {
        return Err(DecodeError::TooLarge { size: bytes.len(), size_max });
    }
    let envelope = wire::PeerMessage::decode(bytes).map_err(DecodeError::Malformed)?;
    let message = match required(envelope.message, "message")? {
        peer_message::Message::PreVote(wire::PreVote { term, last_log }) => {
            Message::PreVote { term: Term(term), last_log: position(last_log, "last_log")? }
        }
        peer_message::Message::PreVoteResponse(wire::PreVoteResponse { term, granted }) => {
            Message::PreVoteResponse { term: Term(term), granted }
        }
        peer_message::Message::RequestVote(wire::RequestVote { term, last_log, handover }) => {
            Message::RequestVote { term: Term(term), last_log: position(last_log, "last_log")?, handover }
        }
        peer_message::Message::RequestVoteResponse(wire::RequestVoteResponse { term, granted }) => {
            Message::RequestVoteResponse { term: Term(term), granted }
        }
        peer_message::Message::AppendEntries(append) => append_entries(append)?,
        peer_message::Message::AppendEntriesResponse(wire::AppendEntriesResponse { term, round, outcome }) => {
            Message::AppendEntriesResponse { term: Term(term), outcome: append_outcome(outcome)?, round }
        }
        peer_message::Message::InstallSnapshot(wire::InstallSnapshot {
            term,
            position: last,
            rows,
            membership: of,
        }) => {
            let membership = of.map(membership).transpose()?;
            let snapshot = Snapshot { position: position(last, "position")?, membership, rows };
            Message::InstallSnapshot { term: Term(term), snapshot }
        }
        peer_message::Message::InstallSnapshotResponse(wire::InstallSnapshotResponse { term, matched }) => {
            Message::InstallSnapshotResponse { term: Term(term), matched: LogIndex(matched) }
        }
        peer_message::Message::TimeoutNow(wire::TimeoutNow { term }) => Message::TimeoutNow { term: Term(term) },
    };
    Ok((GroupId(envelope.group), message))
}

/// Whether the envelope is laid out as `encode` does it for a snapshot: the group, unless it is 0, then the snapshot to
/// the last byte. Nothing in such a message but the rows can be large, so it may be decoded whatever its size.
fn is_framed_snapshot(bytes: &[u8]) -> bool {
    const GROUP: usize = 1 << 3;
    const INSTALL_SNAPSHOT: usize = 8 << 3 | 2;
    let mut rest = bytes;
    let mut varint = || prost::decode_length_delimiter(&mut rest).ok();
    let mut key = varint();
    if key == Some(GROUP) {
        varint();
        key = varint();
    }
    let length = varint();
    key == Some(INSTALL_SNAPSHOT) && length == Some(rest.len())
}

fn append_entries(append: wire::AppendEntries) -> Result<Message, DecodeError> {
    let wire::AppendEntries { term, previous, entries, commit, round } = append;
    let previous = position(previous, "previous")?;
    let mut last = previous.index;
    let entries = entries.into_iter().map(|entry| {
        let entry = log_entry(entry, last)?;
        last = entry.position.index;
        Ok(entry)
    });
    let entries = entries.collect::<Result<Vec<Entry>, DecodeError>>()?;
    Ok(Message::AppendEntries { term: Term(term), previous, entries, commit: LogIndex(commit), round })
}

fn log_entry(entry: wire::Entry, previous: LogIndex) -> Result<Entry, DecodeError> {
    // PEER-4
    if previous.0.checked_add(1) != Some(entry.index) {
        return Err(DecodeError::Gap { previous: previous.0, found: entry.index });
    }
    let payload = match required(entry.payload, "payload")? {
        entry::Payload::Noop(wire::Noop {}) => Payload::Noop,
        entry::Payload::Command(bytes) if bytes.len() > COMMAND_SIZE_MAX => {
            return Err(DecodeError::CommandTooLarge { index: entry.index, size: bytes.len() });
        }
        entry::Payload::Command(bytes) => Payload::Command(bytes),
        entry::Payload::Membership(of) => Payload::Membership(membership(of)?),
    };
    Ok(Entry { position: LogPosition { index: LogIndex(entry.index), term: Term(entry.term) }, payload })
}

// PEER-5
fn membership(membership: wire::Membership) -> Result<Membership, DecodeError> {
    let list = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
    let wire::Membership { voters, outgoing, learners } = membership;
    Membership::from_lists(list(voters), list(outgoing), list(learners)).ok_or(DecodeError::Membership)
}

fn append_outcome(outcome: Option<Outcome>) -> Result<AppendOutcome, DecodeError> {
    Ok(match required(outcome, "outcome")? {
        Outcome::Matched(index) => AppendOutcome::Matched(LogIndex(index)),
        Outcome::Rejected(wire::Rejected { index, hint }) => {
            AppendOutcome::Rejected { rejected: LogIndex(index), hint: position(hint, "hint")? }
        }
    })
}

fn position(position: Option<wire::LogPosition>, name: &'static str) -> Result<LogPosition, DecodeError> {
    let wire::LogPosition { index, term } = required(position, name)?;
    Ok(LogPosition { index: LogIndex(index), term: Term(term) })
}

// PEER-3
fn required<T>(part: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    part.ok_or(DecodeError::Missing(name))
}
