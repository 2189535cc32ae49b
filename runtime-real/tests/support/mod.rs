//! What the tests of the doors share: a node in memory, an HTTP client that sends exactly what it is told, and a signer.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses a part of it")]

mod http_client;
mod model_node;
mod signer;

pub use http_client::{Answer, Connection, head, send};
pub use model_node::{Faults, ModelNode};
pub use signer::{Signer, chunk_signature, hex, hmac_sha256, sha256_hex};

use anvil::front::{self, Credentials, Settings};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

pub const ACCESS_KEY: &str = "AKIDTEST";
pub const SECRET_KEY: &str = "a-secret-that-is-only-for-tests";

/// Doors on a port of their own, over a node in memory.
pub struct Doors {
    pub address: SocketAddr,
    pub faults: Arc<Faults>,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// Opens doors whose own paths need no token.
pub async fn doors() -> Doors {
    doors_with(Settings { open_admin: true, ..Settings::default() }).await
}

pub async fn doors_with(settings: Settings) -> Doors {
    let (client, faults) = ModelNode::start();
    let credentials = Credentials { access_key_id: ACCESS_KEY.into(), secret_access_key: SECRET_KEY.into() };
    let router = front::router(client, credentials, settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(front::serve(listener, router, stopped));
    Doors { address, faults, stop: Some(stop) }
}
