//! The node's own paths over a socket: keys, sessions, status, metrics, and who may use them.

mod support;

use anvil::front::Settings;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Answer, SECRET_KEY, doors, doors_with, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    send(address, method, path, &headers, body).await
}

fn revision(answer: &Answer) -> u64 {
    let text = answer.header("x-anvil-revision").expect("a revision");
    assert_eq!(answer.header("etag"), Some(format!("\"{text}\"").as_str()));
    text.parse().expect("a number")
}

#[tokio::test]
async fn keys_are_written_read_and_removed() {
    let doors = doors().await;
    let at = doors.address;
    assert_eq!(ask(at, "GET", "/kv/a", &[], b"").await.status, 404);
    let first = ask(at, "PUT", "/kv/a", &[], b"one").await;
    assert_eq!(first.status, 200);
    let second = ask(at, "POST", "/kv/a", &[], b"two\0\xff").await;
    assert!(revision(&second) > revision(&first));
    let got = ask(at, "GET", "/kv/a", &[], b"").await;
    assert_eq!((got.status, got.body.as_slice(), revision(&got)), (200, b"two\0\xff".as_slice(), revision(&second)));
    let tag = format!("\"{}\"", revision(&got));
    assert_eq!(ask(at, "GET", "/kv/a", &[("if-none-match", &tag)], b"").await.status, 304);
    assert_eq!(ask(at, "GET", "/kv/a%2Fb", &[], b"").await.status, 404);
    assert_eq!(ask(at, "PUT", "/kv/a%2Fb", &[], b"").await.status, 200);
    let empty = ask(at, "GET", "/kv/a/b", &[], b"").await;
    assert_eq!((empty.status, empty.body.len()), (200, 0), "the same key, and an empty value is a value");
    assert_eq!(ask(at, "DELETE", "/kv/a", &[], b"").await.status, 200);
    assert_eq!(ask(at, "DELETE", "/kv/a", &[], b"").await.status, 404);
    assert_eq!(ask(at, "GET", "/kv/a", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_write_under_a_condition_wins_once() {
    let doors = doors().await;
    let at = doors.address;
    assert_eq!(ask(at, "PUT", "/kv/a", &[("if-match", "*")], b"x").await.status, 412, "there is none");
    let first = ask(at, "PUT", "/kv/a", &[("if-none-match", "*")], b"one").await;
    assert_eq!(first.status, 200);
    let lost = ask(at, "PUT", "/kv/a", &[("if-none-match", "*")], b"two").await;
    assert_eq!((lost.status, revision(&lost)), (412, revision(&first)), "the loser learns the revision");
    let tag = format!("\"{}\"", revision(&first));
    let won = ask(at, "PUT", "/kv/a", &[("if-match", &tag)], b"two").await;
    assert_eq!(won.status, 200);
    let lost = ask(at, "PUT", "/kv/a", &[("if-match", &tag)], b"three").await;
    assert_eq!((lost.status, revision(&lost)), (412, revision(&won)));
    assert_eq!(ask(at, "DELETE", "/kv/a", &[("if-match", &tag)], b"").await.status, 412);
    assert_eq!(ask(at, "GET", "/kv/a", &[], b"").await.body, b"two");
    assert_eq!(ask(at, "PUT", "/kv/a", &[("if-match", "\"x\"")], b"x").await.status, 400);
}

#[tokio::test]
async fn limits_of_keys_and_values_are_said() {
    let doors = doors().await;
    let at = doors.address;
    let value = vec![7; 1 << 20];
    assert_eq!(ask(at, "PUT", "/kv/large", &[], &value).await.status, 200);
    assert_eq!(ask(at, "GET", "/kv/large", &[], b"").await.body, value);
    let more = vec![7; (1 << 20) + 1];
    assert_eq!(ask(at, "PUT", "/kv/large", &[], &more).await.status, 413);
    // Sent to the end and answered, not cut off.
    let far_more = vec![7; 8 << 20];
    assert_eq!(ask(at, "PUT", "/kv/large", &[], &far_more).await.status, 413);
    assert_eq!(ask(at, "PUT", &format!("/kv/{}", "k".repeat(1025)), &[], b"x").await.status, 400);
    assert_eq!(ask(at, "PUT", &format!("/kv/{}", "k".repeat(1024)), &[], b"x").await.status, 200);
}

#[tokio::test]
async fn a_repeated_write_of_a_session_is_applied_once() {
    let doors = doors().await;
    let at = doors.address;
    let opened = ask(at, "POST", "/-/session", &[], b"").await;
    let text = opened.text();
    let session = text.trim().trim_start_matches("{\"session\":").trim_end_matches('}').to_owned();
    let write = |sequence: &'static str| [("x-anvil-session", session.clone()), ("x-anvil-sequence", sequence.into())];
    let send = async |sequence: &'static str, body: &[u8]| {
        let headers = write(sequence);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        ask(at, "PUT", "/kv/a", &headers, body).await
    };
    let first = send("1", b"one").await;
    assert_eq!(first.status, 200);
    assert_eq!(ask(at, "PUT", "/kv/a", &[], b"other").await.status, 200);
    let again = send("1", b"one").await;
    assert_eq!((again.status, revision(&again)), (200, revision(&first)), "the recorded answer");
    assert_eq!(ask(at, "GET", "/kv/a", &[], b"").await.body, b"other", "and no second write");
    let foreign = [("x-anvil-session", "999999"), ("x-anvil-sequence", "1")];
    assert_eq!(ask(at, "PUT", "/kv/a", &foreign, b"x").await.status, 410);
}

#[tokio::test]
async fn listings_of_keys_are_json() {
    let doors = doors().await;
    let at = doors.address;
    for at_key in 0..40 {
        assert_eq!(ask(at, "PUT", &format!("/kv/p/{at_key:02}"), &[], b"v").await.status, 200);
    }
    ask(at, "PUT", "/kv/q%ff", &[], b"").await;
    let list = async |query: &str| -> serde_json::Value {
        let answer = ask(at, "GET", &format!("/kv/?{query}"), &[], b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str(&answer.text()).expect("JSON")
    };
    let all = list("prefix=p/").await;
    assert_eq!(all["keys"].as_array().map(Vec::len), Some(40));
    assert_eq!(all["more"], false);
    assert_eq!(all["keys"][7]["key"], "p/07");
    assert_eq!(all["keys"][7]["value_base64"], "dg==");
    let page = list("prefix=p/&start_after=p/10&limit=20").await;
    assert_eq!(page["keys"].as_array().map(Vec::len), Some(20));
    assert_eq!((&page["keys"][0]["key"], &page["more"]), (&"p/11".into(), &true.into()));
    let binary = list("prefix=q").await;
    assert_eq!(
        (&binary["keys"][0]["key"], &binary["keys"][0]["key_base64"]),
        (&serde_json::Value::Null, &"cf8=".into())
    );
    assert_eq!(ask(at, "GET", "/kv/?limit=none", &[], b"").await.status, 400);
}

#[tokio::test]
async fn large_values_end_a_listing_early() {
    let doors = doors().await;
    let value = vec![7; 1 << 20];
    for at_key in 0..40 {
        ask(doors.address, "PUT", &format!("/kv/{at_key:02}"), &[], &value).await;
    }
    let answer = ask(doors.address, "GET", "/kv/", &[], b"").await;
    let list: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!((list["keys"].as_array().map(Vec::len), &list["more"]), (Some(4), &true.into()));
}

#[tokio::test]
async fn the_node_tells_how_it_is() {
    let doors = doors().await;
    let at = doors.address;
    assert_eq!(ask(at, "GET", "/-/health", &[], b"").await.text(), "ok\n");
    assert_eq!(ask(at, "GET", "/-/ready", &[], b"").await.status, 200);
    let status: serde_json::Value =
        serde_json::from_str(&ask(at, "GET", "/status", &[], b"").await.text()).expect("JSON");
    assert_eq!(status["node"], "0000000000000001");
    ask(at, "PUT", "/kv/a", &[], b"x").await;
    ask(at, "GET", "/bucket/key?Signature=of-version-2", &[], b"").await;
    let metrics = ask(at, "GET", "/-/metrics", &[], b"").await.text();
    assert!(metrics.contains("anvil_http_requests_total{door=\"kv\",operation=\"put\",code=\"200\"} 1"), "{metrics}");
    assert!(metrics.contains("{door=\"s3\",operation=\"Refused\",code=\"400\"} 1"), "{metrics}");
    doors.faults.busy.store(true, Ordering::Relaxed);
    assert_eq!(ask(at, "GET", "/-/ready", &[], b"").await.status, 503);
    assert_eq!(ask(at, "GET", "/-/health", &[], b"").await.status, 200);
    let busy = ask(at, "PUT", "/kv/a", &[], b"x").await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn beyond_loopback_the_nodes_own_paths_want_the_token() {
    let doors = doors_with(Settings::default()).await;
    let at = doors.address;
    let token = format!("Bearer {SECRET_KEY}");
    for (method, path) in [
        ("GET", "/kv/a"),
        ("PUT", "/kv/a"),
        ("DELETE", "/kv/a"),
        ("GET", "/kv/"),
        ("GET", "/status"),
        ("GET", "/-/metrics"),
        ("POST", "/join"),
        ("POST", "/remove?node=node1"),
        ("POST", "/-/drain?node=node1"),
        ("GET", "/-/drain?node=node1"),
        ("POST", "/-/transfer-leader?group=region&to=node1"),
    ] {
        let answer = ask(at, method, path, &[], b"").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{method} {path}");
        let answer = ask(at, method, path, &[("authorization", "Bearer guessed")], b"").await;
        assert_eq!(answer.status, 401, "{method} {path}");
        let answer = ask(at, method, path, &[("authorization", &token)], b"").await;
        assert_ne!(answer.status, 401, "{method} {path}");
    }
    assert_eq!(ask(at, "POST", "/-/session", &[], b"").await.status, 401);
    assert_eq!(ask(at, "GET", "/-/health", &[], b"").await.status, 200);
    assert_eq!(ask(at, "GET", "/-/ready", &[], b"").await.status, 200);
}

#[tokio::test]
async fn web_pages_cannot_reach_an_open_node() {
    let doors = doors().await;
    let at = doors.address;
    let page = [("origin", "http://evil.example"), ("content-type", "text/plain")];
    assert_eq!(ask(at, "POST", "/kv/a", &page, b"x").await.status, 403);
    assert_eq!(ask(at, "GET", "/kv/a", &[("host", "evil.example")], b"").await.status, 403);
    assert_eq!(ask(at, "GET", "/kv/a", &[("sec-fetch-site", "cross-site")], b"").await.status, 403);
    // What a proxy forwards may come from anybody.
    assert_eq!(ask(at, "PUT", "/kv/a", &[("x-forwarded-for", "192.0.2.7")], b"x").await.status, 401);
    assert_eq!(ask(at, "GET", "/kv/a", &[], b"").await.status, 404, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_becomes_a_request_is_closed() {
    let doors = doors().await;
    // The beginning of an HTTP/2 preface, and of a request line: neither goes on.
    for beginning in [&b"PRI * HT"[..], b"P", b"GET /kv/a HTTP/1.1\r\nhost: localhost\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(doors.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(45), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "SERVE-1: {beginning:?} kept a connection open");
    }
}
