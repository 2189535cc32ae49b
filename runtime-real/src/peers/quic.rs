//! The settings of QUIC and TLS: what a peer may cost in memory, how soon a lost one is noticed, who may connect.
//!
//! - `QUIC-1` Before it has shown a certificate, a connection may have one stream and 64 KiB in flight, nothing more.
//! - `QUIC-2` No session is resumed, so every connection shows its certificate anew.
//! - `QUIC-3` What may be under way to a peer in bulk is less than the windows, so a heartbeat never waits for room.
//! - `QUIC-4` A restarted node resets the connections of its former life at once, as its reset key is the same.
//!
//! Source: RFC 9000 (§4 windows, §10.1 idle timeout, §10.3 stateless reset), RFC 9001.

use super::ca::Identity;
use super::verify::{OfCluster, Pinned};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use sha2::{Digest as _, Sha256};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Frames between nodes. A later version that is spoken differently has another number.
pub(super) const PEER_PROTOCOL: &[u8] = b"anvil-peer/1";

/// A node that wants to join. It has no certificate yet.
pub(super) const JOIN_PROTOCOL: &[u8] = b"anvil-join/1";

/// A connection that is silent for so long is lost. Keep-alives go out four times as often.
const IDLE_TIMEOUT_MS: u32 = 5_000;

/// Bytes of one stream that the sender may be ahead of the reader: a round trip of 10 ms at 3 Gbit/s.
const STREAM_WINDOW: u32 = 4 << 20;

/// Bytes of a connection that the sender may be ahead of the reader, and that it keeps until they are acknowledged.
pub(super) const CONNECTION_WINDOW: u32 = 48 << 20;

/// Streams that a peer may have open at a time: the control stream, and one for each large frame under way.
pub(super) const STREAMS_MAX: u32 = 48;

/// What a stranger may have in flight.
const STRANGER_WINDOW: u32 = 64 << 10;

/// Bytes asked of the kernel for datagrams that came and are not read yet, and for those to go. It may give less.
const SOCKET_BUFFER: usize = 4 << 20;

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .keep_alive_interval(Some(Duration::from_millis(u64::from(IDLE_TIMEOUT_MS / 4))))
        // The handshake's first packet is repeated after three of these: peers are near, and may be just starting.
        .initial_rtt(Duration::from_millis(50))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .datagram_receive_buffer_size(None);
    transport
}

/// What the accepting side of a connection may be made to hold, until the dialing one is known to be a peer.
fn accepting() -> TransportConfig {
    let mut transport = transport();
    // QUIC-1
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(1 << 20);
    transport
}

/// The dialing side sends all it has, and receives one word.
fn dialing() -> TransportConfig {
    let mut transport = transport();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(1 << 20))
        // QUIC-3
        .send_window(u64::from(CONNECTION_WINDOW));
    transport
}

fn client_builder() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier> {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
}

fn client(mut tls: rustls::ClientConfig, protocol: &[u8]) -> ClientConfig {
    tls.alpn_protocols = vec![protocol.to_vec()];
    // QUIC-2
    tls.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).expect("the provider has the suite of initial packets");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(dialing()));
    config
}

fn of_cluster(identity: &Identity) -> Arc<OfCluster> {
    Arc::new(OfCluster { cluster: identity.cluster(), ca: identity.ca().to_vec().into() })
}

/// How a node dials its peers.
pub(super) fn peer_client(identity: &Identity) -> ClientConfig {
    let tls = client_builder()
        .dangerous()
        .with_custom_certificate_verifier(of_cluster(identity))
        .with_client_auth_cert(identity.chain(), identity.private_key())
        .expect("an identity's certificate and key belong together");
    client(tls, PEER_PROTOCOL)
}

/// How a node without an identity dials the cluster that its token names. The flag is set if it meets another one.
pub(super) fn join_client(cluster: u128, ca_fingerprint: [u8; 32]) -> (ClientConfig, Arc<AtomicBool>) {
    let foreign = Arc::new(AtomicBool::new(false));
    let pinned = Pinned { cluster, ca_fingerprint, foreign: Arc::clone(&foreign) };
    let tls = client_builder().dangerous().with_custom_certificate_verifier(Arc::new(pinned)).with_no_client_auth();
    (client(tls, JOIN_PROTOCOL), foreign)
}

/// How a node is dialed.
pub(super) fn server(identity: &Identity, half_open_max: usize) -> ServerConfig {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(of_cluster(identity))
        .with_single_cert(identity.chain(), identity.private_key())
        .expect("an identity's certificate and key belong together");
    tls.alpn_protocols = vec![PEER_PROTOCOL.to_vec(), JOIN_PROTOCOL.to_vec()];
    // QUIC-2
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).expect("the provider has the suite of initial packets");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(accepting()));
    config.max_incoming(half_open_max).incoming_buffer_size(16 << 10).incoming_buffer_size_total(2 << 20);
    // Nodes do not wander; a connection whose other end changes its address is made anew.
    config.migration(false);
    config
}

/// Connection ids without meaning. quinn's own carry a check under a key of the process, and a packet of the process
/// before would fail it and not be answered with a reset.
struct RandomIds;

const ID_LENGTH: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&crate::node::random::<ID_LENGTH>())
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The settings of the socket's endpoint.
pub(super) fn endpoint(identity: &Identity) -> EndpointConfig {
    // QUIC-4
    let seed = Sha256::new().chain_update(b"anvil stateless reset").chain_update(identity.key().pkcs8()).finalize();
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &seed);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// The UDP socket, with as much room as the kernel gives: the default holds little more than a shard.
pub(super) fn socket(bind: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(bind)?;
    for outcome in [
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER),
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER),
    ] {
        if let Err(error) = outcome {
            tracing::debug!("the socket's buffer stays as it is: {error}");
        }
    }
    Ok(socket)
}
