//! From core's messages to bytes.

use crate::wire::{self, append_entries_response::Outcome, entry, peer_message};
use anvil_core::raft::{AppendOutcome, Message};
use anvil_core::types::{Entry, GroupId, LogPosition, Membership, NodeId, Payload};
use bytes::Bytes;
use prost::Message as _;

/// The bytes of a message of `group`, as [`decode`](super::decode) takes them. Payloads are copied once, into the result.
#[must_use]
pub fn encode(group: GroupId, message: &Message) -> Bytes {
    wire::PeerMessage { group: group.0, message: Some(body(message)) }.encode_to_vec().into()
}

fn body(message: &Message) -> peer_message::Message {
    match message {
        Message::PreVote { term, last_log } => {
            peer_message::Message::PreVote(wire::PreVote { term: term.0, last_log: Some(position(*last_log)) })
        }
        Message::PreVoteResponse { term, granted } => {
            peer_message::Message::PreVoteResponse(wire::PreVoteResponse { term: term.0, granted: *granted })
        }
        Message::RequestVote { term, last_log, handover } => peer_message::Message::RequestVote(wire::RequestVote {
            term: term.0,
            last_log: Some(position(*last_log)),
            handover: *handover,
        }),
        Message::RequestVoteResponse { term, granted } => {
            peer_message::Message::RequestVoteResponse(wire::RequestVoteResponse { term: term.0, granted: *granted })
        }
        Message::AppendEntries { term, previous, entries, commit, round } => {
            peer_message::Message::AppendEntries(wire::AppendEntries {
                term: term.0,
                previous: Some(position(*previous)),
                entries: entries.iter().map(entry).collect(),
                commit: commit.0,
                round: *round,
            })
        }
        Message::AppendEntriesResponse { term, outcome, round } => {
            peer_message::Message::AppendEntriesResponse(wire::AppendEntriesResponse {
                term: term.0,
                round: *round,
                outcome: Some(append_outcome(*outcome)),
            })
        }
        Message::InstallSnapshot { term, snapshot } => peer_message::Message::InstallSnapshot(wire::InstallSnapshot {
            term: term.0,
            position: Some(position(snapshot.position)),
            rows: snapshot.rows.clone(),
            membership: snapshot.membership.as_ref().map(membership),
        }),
        Message::InstallSnapshotResponse { term, matched } => {
            let response = wire::InstallSnapshotResponse { term: term.0, matched: matched.0 };
            peer_message::Message::InstallSnapshotResponse(response)
        }
        Message::TimeoutNow { term } => peer_message::Message::TimeoutNow(wire::TimeoutNow { term: term.0 }),
    }
}

fn append_outcome(outcome: AppendOutcome) -> Outcome {
    match outcome {
        AppendOutcome::Matched(index) => Outcome::Matched(index.0),
        AppendOutcome::Rejected { rejected, hint } => {
            Outcome::Rejected(wire::Rejected { index: rejected.0, hint: Some(position(hint)) })
        }
    }
}

fn entry(entry: &Entry) -> wire::Entry {
    let payload = match &entry.payload {
        Payload::Noop => entry::Payload::Noop(wire::Noop {}),
        Payload::Command(bytes) => entry::Payload::Command(bytes.clone()),
        Payload::Membership(of) => entry::Payload::Membership(membership(of)),
    };
    wire::Entry { index: entry.position.index.0, term: entry.position.term.0, payload: Some(payload) }
}

fn membership(membership: &Membership) -> wire::Membership {
    let list = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    wire::Membership {
        voters: list(membership.voters()),
        outgoing: list(membership.outgoing()),
        learners: list(membership.learners()),
    }
}

fn position(position: LogPosition) -> wire::LogPosition {
    wire::LogPosition { index: position.index.0, term: position.term.0 }
}
