//! Gossip: pings, their answers, and the claims that ride on them.
//!
//! A description is built by its own constructor, so that one with too much in it does not come to exist here. Whether a
//! claim is one that a correct node makes is judged where it is heard (`anvil_core::swim`).

use super::DecodeError;
use super::envelope::required;
use crate::wire::{self, peer_message, swim::Kind as WireKind, swim_update::Claim as WireClaim};
use anvil_core::node::PeerMessage;
use anvil_core::swim::{Claim, Incarnation, Kind, Message, ProbeId, UPDATES_MAX, Update};
use anvil_core::swim::{Description, DriveSpace};
use anvil_core::types::{DriveId, NodeId};

pub(super) fn encode(message: &Message) -> peer_message::Message {
    let probe = |probe: ProbeId| wire::SwimProbe { probe: probe.0 };
    let kind = match message.kind {
        Kind::Ping { probe: of } => WireKind::Ping(probe(of)),
        Kind::PingRequest { probe, target } => {
            WireKind::PingRequest(wire::SwimPingRequest { probe: probe.0, target: target.0 })
        }
        Kind::Ack { probe: of } => WireKind::Ack(probe(of)),
        Kind::Nack { probe: of } => WireKind::Nack(probe(of)),
    };
    peer_message::Message::Swim(wire::Swim {
        kind: Some(kind),
        heard: message.heard.map(|heard| heard.0),
        updates: message.updates.iter().map(wire_update).collect(),
    })
}

fn wire_update(update: &Update) -> wire::SwimUpdate {
    let claim = match &update.claim {
        Claim::Alive(description) => WireClaim::Alive(wire_description(description)),
        Claim::Suspect(accusers) => {
            WireClaim::Suspect(wire::SwimAccusers { nodes: accusers.iter().map(|node| node.0).collect() })
        }
        Claim::Dead => WireClaim::Dead(wire::Empty {}),
        Claim::Left => WireClaim::Left(wire::Empty {}),
    };
    wire::SwimUpdate { node: update.node.0, incarnation: update.incarnation.0, claim: Some(claim) }
}

fn wire_description(description: &Description) -> wire::SwimDescription {
    let drive = |space: &DriveSpace| wire::SwimDrive {
        drive: space.drive.0,
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
    };
    wire::SwimDescription {
        load: description.load(),
        drives: description.drives().iter().map(drive).collect(),
        capabilities: description.capabilities().to_vec(),
    }
}

pub(super) fn decode(message: wire::Swim) -> Result<PeerMessage, DecodeError> {
    let wire::Swim { kind, heard, updates } = message;
    let probe = |of: wire::SwimProbe| ProbeId(of.probe);
    let kind = match required(kind, "kind")? {
        WireKind::Ping(of) => Kind::Ping { probe: probe(of) },
        WireKind::PingRequest(of) => Kind::PingRequest { probe: ProbeId(of.probe), target: NodeId(of.target) },
        WireKind::Ack(of) => Kind::Ack { probe: probe(of) },
        WireKind::Nack(of) => Kind::Nack { probe: probe(of) },
    };
    if updates.len() > UPDATES_MAX {
        return Err(DecodeError::TooLarge { part: "updates", size: updates.len(), size_max: UPDATES_MAX });
    }
    let updates = updates.into_iter().map(update).collect::<Result<_, _>>()?;
    Ok(PeerMessage::Swim(Message { kind, heard: heard.map(Incarnation), updates }))
}

fn update(update: wire::SwimUpdate) -> Result<Update, DecodeError> {
    let claim = match required(update.claim, "claim")? {
        WireClaim::Alive(of) => Claim::Alive(description(of)?),
        WireClaim::Suspect(accusers) => Claim::Suspect(accusers.nodes.into_iter().map(NodeId).collect()),
        WireClaim::Dead(wire::Empty {}) => Claim::Dead,
        WireClaim::Left(wire::Empty {}) => Claim::Left,
    };
    Ok(Update { node: NodeId(update.node), incarnation: Incarnation(update.incarnation), claim })
}

fn description(of: wire::SwimDescription) -> Result<Description, DecodeError> {
    let drive = |space: wire::SwimDrive| DriveSpace {
        drive: DriveId(space.drive),
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
    };
    let drives = of.drives.into_iter().map(drive).collect();
    Description::new(of.load, drives, of.capabilities).ok_or(DecodeError::Description)
}
