//! Who belongs to the cluster, for a node that was away.

use super::DecodeError;
use super::envelope::check_size;
use crate::wire::{self, peer_message};
use anvil_core::node::{Members, PeerMessage};
use anvil_core::topology::{NODES_MAX, TEXT_SIZE_MAX};
use anvil_core::types::NodeId;

pub(super) fn encode(members: &Members) -> peer_message::Message {
    let member = |(node, name, address): &(NodeId, String, String)| wire::Member {
        node: node.0,
        name: name.clone(),
        address: address.clone(),
    };
    let list = members.nodes.iter().map(member).collect();
    peer_message::Message::Members(wire::Members { epoch: members.epoch, members: list })
}

pub(super) fn decode(members: wire::Members) -> Result<PeerMessage, DecodeError> {
    let wire::Members { epoch, members: list } = members;
    check_size("members", list.len(), NODES_MAX)?;
    let member = |wire::Member { node, name, address }| {
        check_size("name", name.len(), TEXT_SIZE_MAX)?;
        check_size("address", address.len(), TEXT_SIZE_MAX)?;
        Ok((NodeId(node), name, address))
    };
    let nodes = list.into_iter().map(member).collect::<Result<_, DecodeError>>()?;
    Ok(PeerMessage::Members(Members { epoch, nodes }))
}
