//! The envelope of every message: which kind it is, and whether a body comes with it.
//!
//! A new kind of message is one more field of the envelope, one line in each direction here, and, if it has a large
//! payload, one more case of [`body`]. The kinds themselves are in the modules named after them.

use super::{DecodeError, Framed, MESSAGE_SIZE_MAX, members, raft, shards, swim};
use crate::wire::{self, peer_message};
use anvil_core::node::PeerMessage;
use anvil_core::node::peer::{ShardOrder, ShardOutcome};
use anvil_core::raft::Message;
use anvil_core::types::GroupId;
use bytes::Bytes;
use prost::Message as _;

/// The bytes of a message, as [`decode`] takes them. The body is the message's own buffer; all else is copied once, into
/// the head.
#[must_use]
pub fn encode(message: &PeerMessage) -> Framed {
    let body = body(message);
    let (group, message_of_kind) = match message {
        PeerMessage::Raft { group, message } => (*group, raft::encode(message)),
        PeerMessage::Shard(order) => (GroupId::default(), shards::encode_order(order)),
        PeerMessage::ShardAnswer { ticket, outcome } => (GroupId::default(), shards::encode_answer(*ticket, outcome)),
        PeerMessage::Members(members) => (GroupId::default(), members::encode(members)),
        PeerMessage::Swim(message) => (GroupId::default(), swim::encode(message)),
        PeerMessage::Pins { ask, versions } => (GroupId::default(), shards::encode_pins(*ask, versions)),
        PeerMessage::Pinned { ask, versions } => (GroupId::default(), shards::encode_pinned(*ask, versions)),
    };
    let body_size = body.as_ref().map(|body| body.len() as u64);
    let head = wire::PeerMessage { group: group.0, message: Some(message_of_kind), body_size };
    Framed { head: head.encode_to_vec().into(), body: body.unwrap_or_default() }
}

/// The one large payload of a message, if it is of a kind that has one.
fn body(message: &PeerMessage) -> Option<Bytes> {
    match message {
        PeerMessage::Raft { message: Message::InstallSnapshot { chunk, .. }, .. } => Some(chunk.rows.clone()),
        PeerMessage::Shard(ShardOrder::Put { record, .. })
        | PeerMessage::ShardAnswer { outcome: ShardOutcome::Loaded(Some(record)), .. } => Some(record.clone()),
        PeerMessage::Raft { .. }
        | PeerMessage::Shard(ShardOrder::Get { .. } | ShardOrder::Delete { .. } | ShardOrder::Commit { .. })
        | PeerMessage::ShardAnswer {
            outcome: ShardOutcome::Done | ShardOutcome::Loaded(None) | ShardOutcome::Refused(_),
            ..
        }
        | PeerMessage::Swim(_)
        | PeerMessage::Members(_)
        | PeerMessage::Pins { .. }
        | PeerMessage::Pinned { .. } => None,
    }
}

/// The message that [`encode`] wrote. Its payloads share the buffers.
///
/// # Errors
/// When the bytes are not one whole message that keeps the limits of this module and its invariants.
pub fn decode(framed: Framed) -> Result<PeerMessage, DecodeError> {
    // PEER-2
    check_size("head", framed.head.len(), MESSAGE_SIZE_MAX)?;
    let envelope = wire::PeerMessage::decode(framed.head).map_err(DecodeError::Malformed)?;
    let mut body = Body { announced: envelope.body_size, bytes: framed.body };
    let of_group = |message| PeerMessage::Raft { group: GroupId(envelope.group), message };
    let message = match required(envelope.message, "message")? {
        peer_message::Message::PreVote(of) => of_group(raft::pre_vote(of)?),
        peer_message::Message::PreVoteResponse(of) => of_group(raft::pre_vote_response(of)),
        peer_message::Message::RequestVote(of) => of_group(raft::request_vote(of)?),
        peer_message::Message::RequestVoteResponse(of) => of_group(raft::request_vote_response(of)),
        peer_message::Message::AppendEntries(of) => of_group(raft::append_entries(of)?),
        peer_message::Message::AppendEntriesResponse(of) => of_group(raft::append_entries_response(of)?),
        peer_message::Message::InstallSnapshot(of) => of_group(raft::install_snapshot(of, &mut body)?),
        peer_message::Message::InstallSnapshotResponse(of) => of_group(raft::install_snapshot_response(of)?),
        peer_message::Message::TimeoutNow(of) => of_group(raft::timeout_now(of)),
        peer_message::Message::Forward(of) => of_group(raft::forward(of)?),
        peer_message::Message::ForwardResponse(of) => of_group(raft::forward_response(of)?),
        peer_message::Message::ReadIndex(of) => of_group(raft::read_index(of)?),
        peer_message::Message::ReadIndexResponse(of) => of_group(raft::read_index_response(of)?),
        peer_message::Message::ShardPut(of) => PeerMessage::Shard(shards::put(of, &mut body)?),
        peer_message::Message::ShardGet(of) => PeerMessage::Shard(shards::get(of)?),
        peer_message::Message::ShardDelete(of) => PeerMessage::Shard(shards::delete(of)?),
        peer_message::Message::ShardCommit(of) => PeerMessage::Shard(shards::commit(of)?),
        peer_message::Message::ShardAnswer(of) => shards::answer(of, &mut body)?,
        peer_message::Message::Pins(of) => shards::pins(of)?,
        peer_message::Message::Pinned(of) => shards::pinned(of)?,
        peer_message::Message::Swim(of) => swim::decode(of)?,
        peer_message::Message::Members(of) => members::decode(of)?,
        peer_message::Message::RecoverLog(of) => of_group(raft::recover_log(of)?),
        peer_message::Message::RecoverLogResponse(of) => of_group(raft::recover_log_response(of)?),
    };
    body.check_taken()?;
    Ok(message)
}

/// What came beside a head, until the message that it belongs to takes it.
pub(super) struct Body {
    announced: Option<u64>,
    bytes: Bytes,
}

impl Body {
    /// The body of a message of a kind that has one.
    pub(super) fn take(&mut self, size_max: usize) -> Result<Bytes, DecodeError> {
        // PEER-3
        let announced = required(self.announced.take(), "body_size")?;
        let bytes = core::mem::take(&mut self.bytes);
        check_size("body", bytes.len(), size_max)?;
        // PEER-6: what would be stored, and vouched for, is all that was sent.
        if announced != bytes.len() as u64 {
            return Err(DecodeError::BodySize { announced, size: bytes.len() });
        }
        Ok(bytes)
    }

    /// That nothing came for a message that takes nothing.
    fn check_taken(&self) -> Result<(), DecodeError> {
        // PEER-6
        if self.announced.is_some() || !self.bytes.is_empty() {
            return Err(DecodeError::UnexpectedBody { size: self.bytes.len() });
        }
        Ok(())
    }
}

// PEER-3
pub(super) fn required<T>(part: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    part.ok_or(DecodeError::Missing(name))
}

// PEER-2
pub(super) fn check_size(part: &'static str, size: usize, size_max: usize) -> Result<(), DecodeError> {
    if size > size_max {
        return Err(DecodeError::TooLarge { part, size, size_max });
    }
    Ok(())
}
