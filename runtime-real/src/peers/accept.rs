//! Connections from outside: who may have one, and what comes over it.
//!
//! - `ACCEPT-1` Handshakes under way are bounded, in all and for each address. Those from addresses that have not proven to be
//!   real have places of their own, so that invented ones take none of the others'; and members have places that no stranger
//!   takes. Each handshake ends within a few seconds.
//! - `ACCEPT-2` Frames are taken only from a node with a certificate of this cluster that is known as a member.
//! - `ACCEPT-3` A node has one connection to us at a time. A newer one replaces the older: its sender has begun anew.
//! - `ACCEPT-4` What no correct node sends ends the connection with a reason, and a line in the log at most once in a while.

use super::Mesh;
use super::desk;
use super::frame::{FrameError, HalfRead, read_stream};
use super::link::WELCOME;
use super::peer::{Peer, add};
use super::quic::{CONNECTION_WINDOW, JOIN_PROTOCOL, PEER_PROTOCOL, STREAMS_MAX};
use super::verify::PeerName;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Incoming, VarInt};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Handshakes under way at most, from addresses that have proven that they receive what we send there. Members may have more.
pub(super) const HALF_OPEN_MAX: usize = 128;

/// Handshakes under way at most from other addresses: beyond it each must prove itself.
const HALF_OPEN_TRUSTING: usize = 32;

/// Handshakes under way from one address at most.
const HALF_OPEN_PER_ADDRESS: usize = 32;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Why a connection is closed by us. The peer sees the number, and the sentence beside it.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Close {
    /// No certificate, or not a member.
    Stranger = 1,
    /// A newer connection of the same node.
    Replaced = 2,
    /// It sent what no node sends.
    Misbehaved = 3,
    /// The node is stopping.
    Stopping = 4,
    /// What was asked has been answered.
    Answered = 5,
}

pub(super) fn close(connection: &Connection, why: Close, sentence: &str) {
    connection.close(VarInt::from_u32(why as u32), sentence.as_bytes());
}

/// Handshakes under way, by their address and whether it is proven.
#[derive(Debug, Default)]
pub(super) struct HalfOpen(Mutex<HashMap<(IpAddr, bool), usize>>);

enum Verdict {
    Accept,
    Prove,
    Ignore,
}

impl HalfOpen {
    // ACCEPT-1
    fn judge(&self, address: IpAddr, proven: bool, is_member: bool) -> Verdict {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.iter().filter(|((_, known), _)| *known == proven).map(|(_, count)| count).sum();
        let of_it = open.get(&(address, proven)).copied().unwrap_or(0);
        if !proven && all >= HALF_OPEN_TRUSTING {
            return Verdict::Prove;
        }
        if proven && (of_it >= HALF_OPEN_PER_ADDRESS || (all >= HALF_OPEN_MAX && !is_member)) {
            return Verdict::Ignore;
        }
        *open.entry((address, proven)).or_insert(0) += 1;
        Verdict::Accept
    }

    fn end(&self, address: IpAddr, proven: bool) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&(address, proven)) {
            *count -= 1;
            if *count == 0 {
                open.remove(&(address, proven));
            }
        }
    }
}

/// Takes connections until the endpoint is closed.
pub(super) async fn accept_all(mesh: Arc<Mesh>) {
    while let Some(incoming) = mesh.endpoint.accept().await {
        let address = incoming.remote_address();
        let is_member = mesh.has_member_at(address.ip());
        match mesh.half_open.judge(address.ip(), incoming.remote_address_validated(), is_member) {
            Verdict::Accept => {
                tokio::spawn(accept(Arc::clone(&mesh), incoming));
            }
            Verdict::Prove => {
                // One that cannot be asked has proven itself already.
                if let Err(refused) = incoming.retry() {
                    refused.into_incoming().ignore();
                }
            }
            Verdict::Ignore => {
                incoming.ignore();
                mesh.refused(&address.to_string(), "too many connections are being made at the same time");
            }
        }
    }
}

async fn accept(mesh: Arc<Mesh>, incoming: Incoming) {
    let (address, proven) = (incoming.remote_address(), incoming.remote_address_validated());
    let made = match incoming.accept() {
        Ok(connecting) => timeout(HANDSHAKE, connecting).await,
        Err(error) => Ok(Err(error)),
    };
    mesh.half_open.end(address.ip(), proven);
    let connection = match made {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return mesh.refused(&address.to_string(), &refusal(&error)),
        Err(_) => return mesh.refused(&address.to_string(), "it did not complete the handshake"),
    };
    match protocol(&connection).as_deref() {
        Some(PEER_PROTOCOL) => receive(&mesh, &connection).await,
        Some(JOIN_PROTOCOL) => desk::answer(&mesh, &connection).await,
        // The handshake agrees on one of the two or fails.
        Some(_) | None => close(&connection, Close::Stranger, "no protocol was agreed on"),
    }
}

/// The handshake's error in words that help.
fn refusal(error: &ConnectionError) -> String {
    /// TLS alerts that a peer without a good certificate, or of another version, causes (RFC 8446 §6.2).
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    let text = error.to_string();
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => return text,
    };
    // RFC 9001 §4.8: alerts are transport errors from 0x100.
    if code == 0x100 + NO_APPLICATION_PROTOCOL {
        return format!("it speaks another version of the protocol between nodes ({text})");
    }
    text
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// Whom the verified certificate names; nobody if none was shown.
fn identity(connection: &Connection) -> Option<PeerName> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PeerName::in_certificate(chain.first()?)
}

/// Reads what a peer sends until its connection ends.
async fn receive(mesh: &Mesh, connection: &Connection) {
    let address = connection.remote_address();
    // ACCEPT-2
    let Some(name) = identity(connection).filter(|name| name.cluster == mesh.cluster) else {
        close(connection, Close::Stranger, "a node of this cluster shows a certificate of it");
        return mesh.refused(&address.to_string(), "it showed no certificate");
    };
    let who = format!("node {} at {address}", name.node);
    let (peer, replaced) = match mesh.admit(name.node, connection) {
        Some(admitted) => admitted,
        None => {
            let why = format!("node {} is no member of this cluster: it was removed, or is just joining", name.node);
            close(connection, Close::Stranger, &why);
            return mesh.refused(&who, "it is no member of this cluster");
        }
    };
    // ACCEPT-3
    if let Some(replaced) = replaced {
        close(&replaced, Close::Replaced, "a newer connection of this node took the place");
    }
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX));
    // A peer that connects can be reached, most likely.
    peer.wanted.notify_one();
    let outcome = read_all(mesh, &peer, connection).await;
    mesh.gone(name.node, connection);
    if let Err(error) = outcome {
        // ACCEPT-4
        close(connection, Close::Misbehaved, &error.to_string());
        mesh.refused(&who, &format!("it sent {error}"));
    }
}

async fn read_all(mesh: &Mesh, peer: &Arc<Peer>, connection: &Connection) -> Result<(), FrameError> {
    let welcomed = async {
        let mut welcome = connection.open_uni().await.ok()?;
        welcome.write_all(&WELCOME).await.ok()?;
        welcome.finish().ok()
    };
    if welcomed.await.is_none() {
        return Ok(());
    }
    let half_read = Arc::new(HalfRead::default());
    let mut readers = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.accept_uni() => stream,
            Some(ended) = readers.join_next() => match ended {
                Ok(Ok(()) | Err(FrameError::Lost)) => continue,
                Ok(Err(error)) => return Err(error),
                // A reader is never cancelled while this runs, so it panicked in the handler. That is a bug of ours,
                // and was reported; the peer may go on.
                Err(_) => continue,
            },
        };
        let Ok(stream) = stream else { return Ok(()) };
        let (half_read, peer, handler) = (Arc::clone(&half_read), Arc::clone(peer), Arc::clone(&mesh.handler));
        readers.spawn(async move {
            let deliver = |head: bytes::Bytes, body: bytes::Bytes| {
                add(&peer.counts.frames_received, 1);
                add(&peer.counts.bytes_received, head.len() + body.len());
                handler.frame(peer.node, head, body);
            };
            read_stream(stream, &half_read, deliver).await
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_connections_are_bounded() {
        let half_open = HalfOpen::default();
        let host = |n: u8| IpAddr::from([10, 0, 0, n]);
        for _ in 0..HALF_OPEN_TRUSTING {
            assert!(matches!(half_open.judge(host(1), false, false), Verdict::Accept));
        }
        assert!(matches!(half_open.judge(host(2), false, true), Verdict::Prove), "who is not proven must be");
        for _ in 0..HALF_OPEN_PER_ADDRESS {
            let verdict = half_open.judge(host(1), true, true);
            assert!(matches!(verdict, Verdict::Accept), "what others sent in its name takes none of its places");
        }
        assert!(matches!(half_open.judge(host(1), true, true), Verdict::Ignore), "one address has its share");
        for n in 0..HALF_OPEN_MAX - HALF_OPEN_PER_ADDRESS {
            let address = host(2 + u8::try_from(n % 8).unwrap());
            assert!(matches!(half_open.judge(address, true, false), Verdict::Accept));
        }
        assert!(matches!(half_open.judge(host(99), true, false), Verdict::Ignore), "all places are taken");
        assert!(matches!(half_open.judge(host(99), true, true), Verdict::Accept), "but those of members");
        half_open.end(host(99), true);
        half_open.end(host(1), true);
        assert!(matches!(half_open.judge(host(98), true, false), Verdict::Accept));
        half_open.end(host(1), false);
        assert!(matches!(half_open.judge(host(3), false, false), Verdict::Accept));
        half_open.end(host(200), true);
    }
}
