//! A node that stops, over real sockets: no client loses a request that it sent in good faith.

use anvil::front::{Leaving, serve, telling};
use axum::Router;
use axum::routing::get;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const REQUEST: &[u8] = b"GET /answer HTTP/1.1\r\nHost: node\r\n\r\n";

fn router() -> Router {
    Router::new().route("/answer", get(async || "here")).route("/-/ready", get(async || "ready"))
}

/// Everything that comes until the connection ends.
async fn rest(client: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let read = timeout(Duration::from_secs(5), client.read_to_end(&mut heard));
    read.await.expect("the connection ends").expect("it is not broken off");
    String::from_utf8(heard).expect("the answer is text")
}

#[tokio::test]
async fn who_connected_before_the_stop_is_served_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The system has made these connections, and nobody has accepted them yet.
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let leaving = Leaving::default();
    leaving.begin();
    let serving = tokio::spawn(serve(listener, telling(router(), leaving), None, std::future::ready(())));
    sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    for client in &mut clients {
        client.write_all(REQUEST).await.unwrap();
        assert!(rest(client).await.ends_with("here"), "the answer is whole");
    }
    timeout(Duration::from_secs(5), serving).await.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn clients_are_told_before_their_connections_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let leaving = Leaving::default();
    let (stop, stopping) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, telling(router(), leaving.clone()), None, stopping));
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(REQUEST).await.unwrap();
    let mut heard = [0; 256];
    let length = kept.read(&mut heard).await.unwrap();
    let first = String::from_utf8_lossy(&heard[..length]).to_lowercase();
    assert!(first.contains("200 ok") && !first.contains("connection: close"), "{first}");

    // LEAVE-1
    leaving.begin();
    kept.write_all(REQUEST).await.unwrap();
    let last = rest(&mut kept).await;
    assert!(last.to_lowercase().contains("connection: close") && last.ends_with("here"), "{last}");
    let mut fresh = TcpStream::connect(address).await.unwrap();
    fresh.write_all(b"GET /-/ready HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
    let ready = rest(&mut fresh).await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("stopping"), "{ready}");

    // One that never asks for anything does not hold up the stop.
    let _silent = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    timeout(Duration::from_secs(2), serving).await.expect("it stops at once").unwrap().unwrap();
}
