//! What the tests of the doors share: a node in memory, an HTTP client that sends exactly what it is told, and a signer.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses a part of it")]

mod http_client;
mod model_node;
mod signer;

pub use http_client::{Answer, Connection, head, parse, send};
pub use model_node::{Faults, ModelNode};
pub use signer::{Signer, chunk_signature, hex, hmac_sha256, sha256_hex};

use anvil::client::Client;
use anvil::front::{self, Credentials, Settings, Tls};
use anvil::node::{self, NodeDirectory, StartOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

pub const ACCESS_KEY: &str = "AKIDTEST";
pub const SECRET_KEY: &str = "a-secret-that-is-only-for-tests";

/// The namespace of S3's documents.
pub const NS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// An answer that says that it was done.
pub async fn ok(answer: impl Future<Output = Answer>) -> Answer {
    let answer = answer.await;
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    answer
}

/// An answer that says that it was not, and why.
pub fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
}

/// Makes the bucket `bucket`.
pub async fn bucket(doors: &Doors) {
    ok(Signer::new("PUT", "/bucket").send(doors.address)).await;
}

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
    doors_over(settings, None).await
}

/// Doors that speak TLS.
pub async fn doors_over(settings: Settings, tls: Option<Arc<Tls>>) -> Doors {
    let (client, faults) = ModelNode::start();
    let (address, stop) = open(client, settings, tls).await;
    Doors { address, faults, stop: Some(stop) }
}

async fn open(client: Client, settings: Settings, tls: Option<Arc<Tls>>) -> (SocketAddr, oneshot::Sender<()>) {
    let credentials = Credentials { access_key_id: ACCESS_KEY.into(), secret_access_key: SECRET_KEY.into() };
    let router = front::router(client, credentials, settings, None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(front::serve(listener, router, tls, stopped));
    (address, stop)
}

/// Doors over a real node on directories of its own.
pub struct RealNode {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    node: node::NodeHandle,
    directory: Arc<NodeDirectory>,
}

impl RealNode {
    /// Starts, or starts again, the node of `paths`.
    pub async fn start(paths: &[PathBuf]) -> RealNode {
        RealNode::start_with(paths, StartOptions::default()).await
    }

    pub async fn start_with(paths: &[PathBuf], options: StartOptions) -> RealNode {
        let lifecycle_day = options.lifecycle_day;
        let paths = paths.to_vec();
        let starting = tokio::task::spawn_blocking(move || {
            let directory = NodeDirectory::open(&paths, "node1", Some((ACCESS_KEY.into(), SECRET_KEY.into())))
                .map(Arc::new)
                .expect("the directories are ours");
            // Small files, so that a test fills several.
            let options = StartOptions { extent_bytes: 16 << 20, log_segment_bytes: 4 << 20, ..options };
            let node = node::start(&directory, &options).expect("the node starts");
            (directory, node)
        });
        let (directory, node) = starting.await.expect("starting does not panic");
        let root_key = Some(directory.root_key.clone());
        let settings = Settings { open_admin: true, lifecycle_day, root_key, ..Settings::default() };
        let (address, stop) = open(node.client.clone(), settings, None).await;
        let mut tries = 0;
        while send(address, "GET", "/-/ready", &[], b"").await.status != 200 {
            tries += 1;
            assert!(tries < 200, "the node does not get ready");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        RealNode { address, stop, node, directory }
    }

    /// Stops the node; its directories can be opened again.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let node = self.node;
        let stopped = tokio::task::spawn_blocking(move || node.stop()).await.expect("stopping does not panic");
        stopped.expect("the node stops cleanly");
        drop(self.directory);
    }
}
