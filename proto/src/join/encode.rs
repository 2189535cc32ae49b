//! From requests and answers to bytes.

use super::{Admission, Answer, JoinRequest, Refusal};
use crate::wire::{self, join_response, refusal::Reason};
use prost::Message as _;

/// The bytes of a request, as [`decode_request`](super::decode_request) takes them.
#[must_use]
pub fn encode_request(request: &JoinRequest) -> Vec<u8> {
    wire::JoinRequest {
        format_version: request.format_version,
        cluster: request.cluster.to_be_bytes().to_vec().into(),
        secret: request.secret.to_vec().into(),
        node: request.node.0,
        name: request.name.clone(),
        zone: request.zone.clone(),
        address: request.address.to_string(),
        drives_gib: request.drives_gib.clone(),
        public_key: request.public_key.to_vec().into(),
        proof: request.proof.to_vec().into(),
    }
    .encode_to_vec()
}

/// The bytes of an answer, as [`decode_answer`](super::decode_answer) takes them.
#[must_use]
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    let answer = match answer {
        Ok(admission) => join_response::Answer::Admission(wire_admission(admission)),
        Err(refusal) => join_response::Answer::Refusal(wire_refusal(refusal)),
    };
    wire::JoinResponse { answer: Some(answer) }.encode_to_vec()
}

fn wire_admission(admission: &Admission) -> wire::Admission {
    let peer = |peer: &super::KnownPeer| wire::KnownPeer {
        node: peer.node.0,
        address: peer.address.to_string(),
        name: peer.name.clone(),
    };
    wire::Admission {
        first_drive: admission.first_drive,
        root_key: admission.root_key.0.to_vec().into(),
        access_key_id: admission.access_key_id.clone(),
        secret_access_key: admission.secret_access_key.clone(),
        ca_certificate: admission.ca_certificate.clone().into(),
        ca_key: admission.ca_key.clone().into(),
        certificate: admission.certificate.clone().into(),
        peers: admission.peers.iter().map(peer).collect(),
    }
}

fn wire_refusal(refusal: &Refusal) -> wire::Refusal {
    let (reason, version, detail) = match refusal {
        Refusal::WrongToken => (Reason::WrongToken, 0, ""),
        Refusal::UsedToken => (Reason::UsedToken, 0, ""),
        Refusal::OtherCluster => (Reason::OtherCluster, 0, ""),
        Refusal::NameTaken => (Reason::NameTaken, 0, ""),
        Refusal::NodeTaken => (Reason::NodeTaken, 0, ""),
        Refusal::Version(version) => (Reason::Version, *version, ""),
        Refusal::TryAgain(why) => (Reason::TryAgain, 0, why.as_str()),
        Refusal::TooManyAttempts => (Reason::TooManyAttempts, 0, ""),
        Refusal::Malformed(what) => (Reason::Malformed, 0, what.as_str()),
    };
    wire::Refusal { reason: reason.into(), version, detail: detail.to_owned() }
}
