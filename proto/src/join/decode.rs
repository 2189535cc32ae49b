//! From bytes to requests and answers, or to the reason why not.

use super::{
    ANSWER_SIZE_MAX, Admission, Answer, DRIVES_MAX, JoinRequest, KnownPeer, REQUEST_SIZE_MAX, Refusal, is_name,
};
use crate::wire::{self, join_response, refusal::Reason};
use anvil_core::stripe::RootKey;
use anvil_core::types::NodeId;
use core::fmt;
use std::net::SocketAddr;

/// Why bytes are no request or no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinDecodeError {
    /// More bytes than there may be.
    TooLarge {
        /// Bytes that came.
        size: usize,
    },
    /// Not protobuf, or not of this schema.
    Malformed(prost::DecodeError),
    /// A part is missing, has another length, or is none that can be used. Names it as the `.proto` file does.
    Part(&'static str),
}

impl fmt::Display for JoinDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinDecodeError::TooLarge { size } => write!(f, "{size} bytes are more than it may have"),
            JoinDecodeError::Malformed(_) => f.write_str("the bytes are of another schema"),
            JoinDecodeError::Part(part) => write!(f, "`{part}` cannot be used"),
        }
    }
}

impl core::error::Error for JoinDecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            JoinDecodeError::Malformed(error) => Some(error),
            JoinDecodeError::TooLarge { .. } | JoinDecodeError::Part(_) => None,
        }
    }
}

/// The request that [`encode_request`](super::encode_request) wrote.
///
/// # Errors
/// When the bytes are no request, or one that breaks the rules of this module (`JOIN-2`). One of another version is
/// returned as it is, so that the answer can say so, as long as its parts can be read.
pub fn decode_request(bytes: &[u8]) -> Result<JoinRequest, JoinDecodeError> {
    let request: wire::JoinRequest = decode(bytes, REQUEST_SIZE_MAX)?;
    // JOIN-2
    let drives = &request.drives_gib;
    check("name", is_name(&request.name))?;
    check("zone", request.zone.is_empty() || is_name(&request.zone))?;
    check("drives_gib", (1..=DRIVES_MAX).contains(&drives.len()) && !drives.contains(&0))?;
    check("node", request.node != 0)?;
    Ok(JoinRequest {
        format_version: request.format_version,
        cluster: u128::from_be_bytes(fixed("cluster", &request.cluster)?),
        secret: fixed("secret", &request.secret)?,
        node: NodeId(request.node),
        address: address(&request.address)?,
        name: request.name,
        zone: request.zone,
        drives_gib: request.drives_gib,
        public_key: fixed("public_key", &request.public_key)?,
        proof: fixed("proof", &request.proof)?,
    })
}

/// The answer that [`encode_answer`](super::encode_answer) wrote.
///
/// # Errors
/// When the bytes are no answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, JoinDecodeError> {
    let response: wire::JoinResponse = decode(bytes, ANSWER_SIZE_MAX)?;
    match response.answer.ok_or(JoinDecodeError::Part("answer"))? {
        join_response::Answer::Admission(found) => admission(found).map(Ok),
        join_response::Answer::Refusal(found) => refusal(found).map(Err),
    }
}

fn admission(found: wire::Admission) -> Result<Admission, JoinDecodeError> {
    check("access_key_id", is_word(&found.access_key_id))?;
    check("secret_access_key", is_word(&found.secret_access_key))?;
    let peer = |peer: wire::KnownPeer| {
        check("peers", is_name(&peer.name))?;
        Ok(KnownPeer { node: NodeId(peer.node), address: address(&peer.address)?, name: peer.name })
    };
    Ok(Admission {
        first_drive: found.first_drive,
        root_key: RootKey(fixed("root_key", &found.root_key)?),
        access_key_id: found.access_key_id,
        secret_access_key: found.secret_access_key,
        ca_certificate: found.ca_certificate.to_vec(),
        ca_key: found.ca_key.to_vec(),
        certificate: found.certificate.to_vec(),
        peers: found.peers.into_iter().map(peer).collect::<Result<_, _>>()?,
    })
}

fn refusal(found: wire::Refusal) -> Result<Refusal, JoinDecodeError> {
    Ok(match Reason::try_from(found.reason).unwrap_or_default() {
        Reason::Unspecified => return Err(JoinDecodeError::Part("reason")),
        Reason::WrongToken => Refusal::WrongToken,
        Reason::UsedToken => Refusal::UsedToken,
        Reason::OtherCluster => Refusal::OtherCluster,
        Reason::NameTaken => Refusal::NameTaken,
        Reason::NodeTaken => Refusal::NodeTaken,
        Reason::Version => Refusal::Version(found.version),
        Reason::TryAgain => Refusal::TryAgain(found.detail),
        Reason::TooManyAttempts => Refusal::TooManyAttempts,
        Reason::Malformed => Refusal::Malformed(found.detail),
    })
}

fn decode<M: prost::Message + Default>(bytes: &[u8], size_max: usize) -> Result<M, JoinDecodeError> {
    if bytes.len() > size_max {
        return Err(JoinDecodeError::TooLarge { size: bytes.len() });
    }
    M::decode(bytes).map_err(JoinDecodeError::Malformed)
}

fn check(part: &'static str, holds: bool) -> Result<(), JoinDecodeError> {
    if holds { Ok(()) } else { Err(JoinDecodeError::Part(part)) }
}

fn fixed<const N: usize>(part: &'static str, bytes: &[u8]) -> Result<[u8; N], JoinDecodeError> {
    bytes.try_into().map_err(|_| JoinDecodeError::Part(part))
}

/// One that can be dialed.
fn address(text: &str) -> Result<SocketAddr, JoinDecodeError> {
    let address: Option<SocketAddr> = text.parse().ok();
    let usable = address.filter(|address| !address.ip().is_unspecified() && address.port() != 0);
    usable.ok_or(JoinDecodeError::Part("address"))
}

/// What fits into a line of the keys' files.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic())
}
