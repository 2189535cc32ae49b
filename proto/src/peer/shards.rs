//! Orders to the drives of other nodes, how they ended, and the question for the versions that clients have open.
//!
//! The record of a shard is the body of its message, and is never looked into here: it carries its own checksums
//! (`docs/formats/stripe.md`). First each message to the wire, then, in the same order, each one back.

use super::envelope::{Body, check_size, required};
use super::{DecodeError, ERROR_SIZE_MAX, SHARD_SIZE_MAX, VERSIONS_MAX};
use crate::wire::{self, disk_error::Reason, peer_message, shard_answer::Outcome};
use anvil_core::disk::DiskError;
use anvil_core::node::PeerMessage;
use anvil_core::node::peer::{PinAsk, ShardOrder, ShardOutcome, ShardTicket};
use anvil_core::shards::ShardKey;
use anvil_core::types::{DriveId, VersionId, WallTime};
use bytes::Bytes;

/// Bytes of a version's id.
const VERSION_SIZE: usize = 16;

pub(super) fn encode_order(order: &ShardOrder) -> peer_message::Message {
    match order {
        // The record is the body.
        ShardOrder::Put { ticket, drive, key, expires, record: _ } => peer_message::Message::ShardPut(wire::ShardPut {
            ticket: Some(wire_ticket(*ticket)),
            drive: drive.0,
            key: Some(wire_key(*key)),
            expires: expires.0,
        }),
        ShardOrder::Get { ticket, drive, key } => peer_message::Message::ShardGet(wire::ShardGet {
            ticket: Some(wire_ticket(*ticket)),
            drive: drive.0,
            key: Some(wire_key(*key)),
        }),
        ShardOrder::Delete { ticket, drive, version } => peer_message::Message::ShardDelete(wire::ShardDelete {
            ticket: Some(wire_ticket(*ticket)),
            drive: drive.0,
            version: wire_versions(&[*version]),
        }),
        ShardOrder::Commit { drive, version } => peer_message::Message::ShardCommit(wire::ShardCommit {
            drive: drive.0,
            version: wire_versions(&[*version]),
        }),
    }
}

pub(super) fn encode_answer(ticket: ShardTicket, outcome: &ShardOutcome) -> peer_message::Message {
    let outcome = match outcome {
        ShardOutcome::Done => Outcome::Done(wire::Empty {}),
        // The record is the body.
        ShardOutcome::Loaded(Some(_)) => Outcome::Loaded(wire::Empty {}),
        ShardOutcome::Loaded(None) => Outcome::Absent(wire::Empty {}),
        ShardOutcome::Refused(error) => Outcome::Refused(wire_disk_error(error)),
    };
    peer_message::Message::ShardAnswer(wire::ShardAnswer { ticket: Some(wire_ticket(ticket)), outcome: Some(outcome) })
}

pub(super) fn encode_pins(ask: PinAsk, versions: &[VersionId]) -> peer_message::Message {
    peer_message::Message::Pins(wire::Pins { ask: Some(wire_pin_ask(ask)), versions: wire_versions(versions) })
}

pub(super) fn encode_pinned(ask: PinAsk, versions: &[VersionId]) -> peer_message::Message {
    peer_message::Message::Pinned(wire::Pinned { ask: Some(wire_pin_ask(ask)), versions: wire_versions(versions) })
}

fn wire_ticket(ticket: ShardTicket) -> wire::Ask {
    wire::Ask { life: ticket.life, number: ticket.number }
}

fn wire_pin_ask(ask: PinAsk) -> wire::Ask {
    wire::Ask { life: ask.life, number: ask.number }
}

fn wire_key(key: ShardKey) -> wire::ShardKey {
    let ShardKey { version, stripe, position } = key;
    wire::ShardKey { version: wire_versions(&[version]), stripe, position: u32::from(position) }
}

fn wire_versions(versions: &[VersionId]) -> Bytes {
    versions.iter().flat_map(|version| version.0.to_be_bytes()).collect()
}

fn wire_disk_error(error: &DiskError) -> wire::DiskError {
    let reason = match error {
        DiskError::Full => Reason::Full(wire::Empty {}),
        DiskError::Missing => Reason::Missing(wire::Empty {}),
        DiskError::Unreachable => Reason::Unreachable(wire::Empty {}),
        DiskError::Io(words) => Reason::Io(words[..words.floor_char_boundary(ERROR_SIZE_MAX)].to_owned()),
    };
    wire::DiskError { reason: Some(reason) }
}

pub(super) fn put(put: wire::ShardPut, body: &mut Body) -> Result<ShardOrder, DecodeError> {
    let wire::ShardPut { ticket: name, drive, key: shard, expires } = put;
    let (ticket, key) = (ticket(name)?, key(shard)?);
    let record = body.take(SHARD_SIZE_MAX)?;
    Ok(ShardOrder::Put { ticket, drive: DriveId(drive), key, expires: WallTime(expires), record })
}

pub(super) fn get(get: wire::ShardGet) -> Result<ShardOrder, DecodeError> {
    let wire::ShardGet { ticket: name, drive, key: shard } = get;
    Ok(ShardOrder::Get { ticket: ticket(name)?, drive: DriveId(drive), key: key(shard)? })
}

pub(super) fn delete(delete: wire::ShardDelete) -> Result<ShardOrder, DecodeError> {
    let wire::ShardDelete { ticket: name, drive, version: id } = delete;
    Ok(ShardOrder::Delete { ticket: ticket(name)?, drive: DriveId(drive), version: version(&id)? })
}

pub(super) fn commit(commit: wire::ShardCommit) -> Result<ShardOrder, DecodeError> {
    let wire::ShardCommit { drive, version: id } = commit;
    Ok(ShardOrder::Commit { drive: DriveId(drive), version: version(&id)? })
}

pub(super) fn answer(answer: wire::ShardAnswer, body: &mut Body) -> Result<PeerMessage, DecodeError> {
    let outcome = match required(answer.outcome, "outcome")? {
        Outcome::Done(wire::Empty {}) => ShardOutcome::Done,
        Outcome::Loaded(wire::Empty {}) => ShardOutcome::Loaded(Some(body.take(SHARD_SIZE_MAX)?)),
        Outcome::Absent(wire::Empty {}) => ShardOutcome::Loaded(None),
        Outcome::Refused(error) => ShardOutcome::Refused(disk_error(error)?),
    };
    Ok(PeerMessage::ShardAnswer { ticket: ticket(answer.ticket)?, outcome })
}

pub(super) fn pins(pins: wire::Pins) -> Result<PeerMessage, DecodeError> {
    Ok(PeerMessage::Pins { ask: pin_ask(pins.ask)?, versions: versions(&pins.versions)? })
}

pub(super) fn pinned(pinned: wire::Pinned) -> Result<PeerMessage, DecodeError> {
    Ok(PeerMessage::Pinned { ask: pin_ask(pinned.ask)?, versions: versions(&pinned.versions)? })
}

fn ticket(ticket: Option<wire::Ask>) -> Result<ShardTicket, DecodeError> {
    let wire::Ask { life, number } = required(ticket, "ticket")?;
    Ok(ShardTicket { life, number })
}

fn pin_ask(ask: Option<wire::Ask>) -> Result<PinAsk, DecodeError> {
    let wire::Ask { life, number } = required(ask, "ask")?;
    Ok(PinAsk { life, number })
}

fn key(key: Option<wire::ShardKey>) -> Result<ShardKey, DecodeError> {
    let wire::ShardKey { version: id, stripe, position } = required(key, "key")?;
    let position = u8::try_from(position).map_err(|_| DecodeError::Position(position))?;
    Ok(ShardKey { version: version(&id)?, stripe, position })
}

fn version(id: &[u8]) -> Result<VersionId, DecodeError> {
    let id: [u8; VERSION_SIZE] = id.try_into().map_err(|_| DecodeError::VersionSize(id.len()))?;
    Ok(VersionId(u128::from_be_bytes(id)))
}

fn versions(ids: &[u8]) -> Result<Vec<VersionId>, DecodeError> {
    check_size("versions", ids.len(), VERSIONS_MAX * VERSION_SIZE)?;
    let (whole, rest) = ids.as_chunks::<VERSION_SIZE>();
    if !rest.is_empty() {
        return Err(DecodeError::VersionSize(ids.len()));
    }
    Ok(whole.iter().map(|id| VersionId(u128::from_be_bytes(*id))).collect())
}

fn disk_error(error: wire::DiskError) -> Result<DiskError, DecodeError> {
    Ok(match required(error.reason, "reason")? {
        Reason::Full(wire::Empty {}) => DiskError::Full,
        Reason::Missing(wire::Empty {}) => DiskError::Missing,
        Reason::Unreachable(wire::Empty {}) => DiskError::Unreachable,
        Reason::Io(words) => {
            check_size("io", words.len(), ERROR_SIZE_MAX)?;
            DiskError::Io(words)
        }
    })
}
