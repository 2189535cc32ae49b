//! Messages between the replicas of a group.
//!
//! Every message has a term. A piece of a snapshot's rows is the body of its message; commands stay in the head, for an append
//! carries many. First all messages to the wire, then, in the order of the `.proto` file, each one back.

use super::envelope::{Body, check_size, required};
use super::{COMMAND_SIZE_MAX, DecodeError, SNAPSHOT_CHUNK_SIZE_MAX};
use crate::wire::{self, entry, peer_message};
use crate::wire::{append_entries_response::Outcome as Appended, forward_response::Outcome as Forwarded};
use anvil_core::raft::{AppendOutcome, Ask, ForwardOutcome, InstallOutcome, Message, SnapshotChunk};
use anvil_core::types::{Entry, LogIndex, LogPosition, Membership, NodeId, Payload, Term};

pub(super) fn encode(message: &Message) -> peer_message::Message {
    match message {
        Message::PreVote { term, last_log } => {
            peer_message::Message::PreVote(wire::PreVote { term: term.0, last_log: Some(wire_position(*last_log)) })
        }
        Message::PreVoteResponse { term, granted } => {
            peer_message::Message::PreVoteResponse(wire::PreVoteResponse { term: term.0, granted: *granted })
        }
        Message::RequestVote { term, last_log, handover } => peer_message::Message::RequestVote(wire::RequestVote {
            term: term.0,
            last_log: Some(wire_position(*last_log)),
            handover: *handover,
        }),
        Message::RequestVoteResponse { term, granted } => {
            peer_message::Message::RequestVoteResponse(wire::RequestVoteResponse { term: term.0, granted: *granted })
        }
        Message::AppendEntries { term, previous, entries, commit, round } => {
            peer_message::Message::AppendEntries(wire::AppendEntries {
                term: term.0,
                previous: Some(wire_position(*previous)),
                entries: entries.iter().map(wire_entry).collect(),
                commit: commit.0,
                round: *round,
            })
        }
        Message::AppendEntriesResponse { term, outcome, round } => {
            peer_message::Message::AppendEntriesResponse(wire::AppendEntriesResponse {
                term: term.0,
                round: *round,
                outcome: Some(wire_append_outcome(*outcome)),
            })
        }
        Message::InstallSnapshot { term, chunk } => {
            // The rows are the body.
            let SnapshotChunk { position, membership, size, offset, rows: _ } = chunk;
            peer_message::Message::InstallSnapshot(wire::InstallSnapshot {
                term: term.0,
                position: Some(wire_position(*position)),
                membership: membership.as_ref().map(wire_membership),
                size: Some(*size),
                offset: *offset,
            })
        }
        Message::InstallSnapshotResponse { term, outcome } => {
            let (matched, received) = match *outcome {
                InstallOutcome::Installed(matched) => (matched.0, None),
                InstallOutcome::Received { position, bytes } => {
                    (0, Some(wire::SnapshotReceived { position: Some(wire_position(position)), bytes }))
                }
            };
            let response = wire::InstallSnapshotResponse { term: term.0, matched, received };
            peer_message::Message::InstallSnapshotResponse(response)
        }
        Message::TimeoutNow { term } => peer_message::Message::TimeoutNow(wire::TimeoutNow { term: term.0 }),
        Message::Forward { term, ask, command } => peer_message::Message::Forward(wire::Forward {
            term: term.0,
            ask: Some(wire_ask(*ask)),
            command: command.clone(),
        }),
        Message::ForwardResponse { term, ask, outcome } => {
            peer_message::Message::ForwardResponse(wire::ForwardResponse {
                term: term.0,
                ask: Some(wire_ask(*ask)),
                outcome: Some(wire_forward_outcome(*outcome)),
            })
        }
        Message::ReadIndex { term, ask } => {
            peer_message::Message::ReadIndex(wire::ReadIndex { term: term.0, ask: Some(wire_ask(*ask)) })
        }
        Message::ReadIndexResponse { term, ask, index } => {
            peer_message::Message::ReadIndexResponse(wire::ReadIndexResponse {
                term: term.0,
                ask: Some(wire_ask(*ask)),
                index: index.0,
            })
        }
        Message::RecoverLog { term, ask, last } => peer_message::Message::RecoverLog(wire::RecoverLog {
            term: term.0,
            ask: Some(wire_ask(*ask)),
            last: last.0,
        }),
        Message::RecoverLogResponse { term, ask, last } => {
            peer_message::Message::RecoverLogResponse(wire::RecoverLogResponse {
                term: term.0,
                ask: Some(wire_ask(*ask)),
                last: last.0,
            })
        }
    }
}

fn wire_append_outcome(outcome: AppendOutcome) -> Appended {
    match outcome {
        AppendOutcome::Matched(index) => Appended::Matched(index.0),
        AppendOutcome::Rejected { rejected, hint } => {
            Appended::Rejected(wire::Rejected { index: rejected.0, hint: Some(wire_position(hint)) })
        }
    }
}

fn wire_forward_outcome(outcome: ForwardOutcome) -> Forwarded {
    match outcome {
        ForwardOutcome::Proposed(index) => Forwarded::Proposed(index.0),
        ForwardOutcome::Busy => Forwarded::Busy(wire::Empty {}),
    }
}

fn wire_entry(entry: &Entry) -> wire::Entry {
    let payload = match &entry.payload {
        Payload::Noop => entry::Payload::Noop(wire::Noop {}),
        Payload::Command(bytes) => entry::Payload::Command(bytes.clone()),
        Payload::Membership(of) => entry::Payload::Membership(wire_membership(of)),
    };
    wire::Entry { index: entry.position.index.0, term: entry.position.term.0, payload: Some(payload) }
}

fn wire_membership(membership: &Membership) -> wire::Membership {
    let list = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    wire::Membership {
        voters: list(membership.voters()),
        outgoing: list(membership.outgoing()),
        learners: list(membership.learners()),
    }
}

fn wire_position(position: LogPosition) -> wire::LogPosition {
    wire::LogPosition { index: position.index.0, term: position.term.0 }
}

fn wire_ask(ask: Ask) -> wire::Ask {
    wire::Ask { life: ask.life, number: ask.number }
}

pub(super) fn pre_vote(pre_vote: wire::PreVote) -> Result<Message, DecodeError> {
    let wire::PreVote { term, last_log } = pre_vote;
    Ok(Message::PreVote { term: Term(term), last_log: position(last_log, "last_log")? })
}

pub(super) fn pre_vote_response(response: wire::PreVoteResponse) -> Message {
    let wire::PreVoteResponse { term, granted } = response;
    Message::PreVoteResponse { term: Term(term), granted }
}

pub(super) fn request_vote(request: wire::RequestVote) -> Result<Message, DecodeError> {
    let wire::RequestVote { term, last_log, handover } = request;
    Ok(Message::RequestVote { term: Term(term), last_log: position(last_log, "last_log")?, handover })
}

pub(super) fn request_vote_response(response: wire::RequestVoteResponse) -> Message {
    let wire::RequestVoteResponse { term, granted } = response;
    Message::RequestVoteResponse { term: Term(term), granted }
}

pub(super) fn append_entries(append: wire::AppendEntries) -> Result<Message, DecodeError> {
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

pub(super) fn append_entries_response(response: wire::AppendEntriesResponse) -> Result<Message, DecodeError> {
    let wire::AppendEntriesResponse { term, round, outcome } = response;
    let outcome = match required(outcome, "outcome")? {
        Appended::Matched(index) => AppendOutcome::Matched(LogIndex(index)),
        Appended::Rejected(wire::Rejected { index, hint }) => {
            AppendOutcome::Rejected { rejected: LogIndex(index), hint: position(hint, "hint")? }
        }
    };
    Ok(Message::AppendEntriesResponse { term: Term(term), outcome, round })
}

pub(super) fn install_snapshot(install: wire::InstallSnapshot, body: &mut Body) -> Result<Message, DecodeError> {
    let wire::InstallSnapshot { term, position: last, membership: of, size, offset } = install;
    let membership = of.map(membership).transpose()?;
    let position = position(last, "position")?;
    let size = required(size, "size")?;
    let rows = body.take(SNAPSHOT_CHUNK_SIZE_MAX)?;
    let chunk = SnapshotChunk { position, membership, size, offset, rows };
    Ok(Message::InstallSnapshot { term: Term(term), chunk })
}

pub(super) fn install_snapshot_response(response: wire::InstallSnapshotResponse) -> Result<Message, DecodeError> {
    let wire::InstallSnapshotResponse { term, matched, received } = response;
    let outcome = match received {
        None => InstallOutcome::Installed(LogIndex(matched)),
        Some(wire::SnapshotReceived { position: of, bytes }) => {
            InstallOutcome::Received { position: position(of, "position")?, bytes }
        }
    };
    Ok(Message::InstallSnapshotResponse { term: Term(term), outcome })
}

pub(super) fn timeout_now(timeout_now: wire::TimeoutNow) -> Message {
    Message::TimeoutNow { term: Term(timeout_now.term) }
}

pub(super) fn forward(forward: wire::Forward) -> Result<Message, DecodeError> {
    let wire::Forward { term, ask: question, command } = forward;
    check_size("command", command.len(), COMMAND_SIZE_MAX)?;
    Ok(Message::Forward { term: Term(term), ask: ask(question)?, command })
}

pub(super) fn forward_response(response: wire::ForwardResponse) -> Result<Message, DecodeError> {
    let wire::ForwardResponse { term, ask: question, outcome } = response;
    let outcome = match required(outcome, "outcome")? {
        Forwarded::Proposed(index) => ForwardOutcome::Proposed(LogIndex(index)),
        Forwarded::Busy(wire::Empty {}) => ForwardOutcome::Busy,
    };
    Ok(Message::ForwardResponse { term: Term(term), ask: ask(question)?, outcome })
}

pub(super) fn read_index(read_index: wire::ReadIndex) -> Result<Message, DecodeError> {
    let wire::ReadIndex { term, ask: question } = read_index;
    Ok(Message::ReadIndex { term: Term(term), ask: ask(question)? })
}

pub(super) fn read_index_response(response: wire::ReadIndexResponse) -> Result<Message, DecodeError> {
    let wire::ReadIndexResponse { term, ask: question, index } = response;
    Ok(Message::ReadIndexResponse { term: Term(term), ask: ask(question)?, index: LogIndex(index) })
}

pub(super) fn recover_log(question: wire::RecoverLog) -> Result<Message, DecodeError> {
    let wire::RecoverLog { term, ask: question, last } = question;
    Ok(Message::RecoverLog { term: Term(term), ask: ask(question)?, last: LogIndex(last) })
}

pub(super) fn recover_log_response(response: wire::RecoverLogResponse) -> Result<Message, DecodeError> {
    let wire::RecoverLogResponse { term, ask: question, last } = response;
    Ok(Message::RecoverLogResponse { term: Term(term), ask: ask(question)?, last: LogIndex(last) })
}

fn log_entry(entry: wire::Entry, previous: LogIndex) -> Result<Entry, DecodeError> {
    // PEER-4
    if previous.0.checked_add(1) != Some(entry.index) {
        return Err(DecodeError::Gap { previous: previous.0, found: entry.index });
    }
    let payload = match required(entry.payload, "payload")? {
        entry::Payload::Noop(wire::Noop {}) => Payload::Noop,
        entry::Payload::Command(bytes) => {
            check_size("command", bytes.len(), COMMAND_SIZE_MAX)?;
            Payload::Command(bytes)
        }
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

fn position(position: Option<wire::LogPosition>, name: &'static str) -> Result<LogPosition, DecodeError> {
    let wire::LogPosition { index, term } = required(position, name)?;
    Ok(LogPosition { index: LogIndex(index), term: Term(term) })
}

fn ask(ask: Option<wire::Ask>) -> Result<Ask, DecodeError> {
    let wire::Ask { life, number } = required(ask, "ask")?;
    Ok(Ask { life, number })
}
