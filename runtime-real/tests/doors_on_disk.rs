//! The doors over a real node: what was acknowledged is there after a restart, on one drive and on four, with many files
//! and few descriptors.

mod support;

use std::path::PathBuf;
use support::{Answer, Connection, RealNode, Signer, send};

const MIB: usize = 1 << 20;

fn bytes(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|at| ((at + seed).wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

async fn put(node: &RealNode, key: &str, body: &[u8]) -> Answer {
    Signer::new("PUT", &format!("/bucket/{key}")).body(body).send(node.address).await
}

async fn get(node: &RealNode, key: &str) -> Answer {
    Signer::new("GET", &format!("/bucket/{key}")).send(node.address).await
}

async fn upload(node: &RealNode, key: &str, parts: &[Vec<u8>]) -> Answer {
    let path = format!("/bucket/{key}");
    let begun = Signer::new("POST", &path).query("uploads", "").send(node.address).await;
    let id = begun.element("UploadId").expect("an upload has an id");
    let mut xml = String::new();
    for (number, part) in (1..).zip(parts) {
        let put = Signer::new("PUT", &path).query("partNumber", &number.to_string()).query("uploadId", &id);
        let answer = put.body(part).send(node.address).await;
        let etag = answer.header("etag").unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
        xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let xml = format!("<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>");
    Signer::new("POST", &path).query("uploadId", &id).body(xml.as_bytes()).send(node.address).await
}

async fn everything_survives_a_restart(drives: usize) {
    let home = tempfile::tempdir().expect("there is room for a directory");
    let paths: Vec<PathBuf> = (0..drives).map(|drive| home.path().join(format!("drive{drive}"))).collect();
    let node = RealNode::start(&paths).await;
    assert_eq!(Signer::new("PUT", "/bucket").send(node.address).await.status, 200);
    let sizes = [0, 1, 16 << 10, (16 << 10) + 1, MIB, 3 * MIB + 7, 20 * MIB];
    for size in sizes {
        let stored = put(&node, &format!("size/{size}"), &bytes(size, size)).await;
        assert_eq!(stored.status, 200, "{size}: {}", stored.text());
    }
    let parts = [bytes(5 * MIB, 1), bytes(5 * MIB + 3, 2), bytes(10, 3)];
    let done = upload(&node, "parts", &parts).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(put(&node, "gone", &bytes(2 * MIB, 9)).await.status, 200);
    assert_eq!(Signer::new("DELETE", "/bucket/gone").send(node.address).await.status, 204);
    assert_eq!(put(&node, "twice", &bytes(2 * MIB, 4)).await.status, 200);
    assert_eq!(put(&node, "twice", &bytes(2 * MIB, 5)).await.status, 200);
    let written = send(node.address, "PUT", "/kv/key", &[], b"value").await;
    let revision = written.header("x-anvil-revision").expect("a revision").to_owned();
    let listed = Signer::new("GET", "/bucket").query("list-type", "2").send(node.address).await.elements("Key");
    node.stop().await;

    let node = RealNode::start(&paths).await;
    for size in sizes {
        let got = get(&node, &format!("size/{size}")).await;
        assert_eq!((got.status, got.complete), (200, true), "{size}");
        assert!(got.body == bytes(size, size), "the bytes of {size} differ");
    }
    assert!(get(&node, "parts").await.body == parts.concat());
    let range = Signer::new("GET", "/bucket/parts").header("range", "bytes=5242870-5242889").send(node.address).await;
    assert!(range.body == parts.concat()[5_242_870..5_242_890], "a range across two parts");
    assert_eq!(get(&node, "gone").await.code(), "NoSuchKey");
    assert!(get(&node, "twice").await.body == bytes(2 * MIB, 5));
    let again = Signer::new("GET", "/bucket").query("list-type", "2").send(node.address).await.elements("Key");
    assert_eq!((again.len(), again), (9, listed));
    let stale = [("if-match".to_owned(), "\"1\"".to_owned())];
    assert_eq!(send(node.address, "PUT", "/kv/key", &stale, b"other").await.status, 412);
    let fresh = [("if-match".to_owned(), format!("\"{revision}\""))];
    assert_eq!(send(node.address, "PUT", "/kv/key", &fresh, b"other").await.status, 200);
    assert_eq!(send(node.address, "GET", "/kv/key", &[], b"").await.body, b"other");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_survives_a_restart_on_one_drive() {
    everything_survives_a_restart(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_survives_a_restart_on_four_drives() {
    everything_survives_a_restart(4).await;
}

/// Clients in any number, and clients that stop reading, must not take what others need to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_and_some_that_stall_do_not_block_each_other() {
    let home = tempfile::tempdir().expect("there is room for a directory");
    let node = RealNode::start(&[home.path().join("drive")]).await;
    let address = node.address;
    assert_eq!(Signer::new("PUT", "/bucket").send(address).await.status, 200);
    let body: bytes::Bytes = bytes(8 * MIB, 1).into();

    let puts = (0..32).map(|number| {
        let body = body.clone();
        tokio::spawn(async move {
            Signer::new("PUT", &format!("/bucket/put-{number}")).body(&body).send(address).await.status
        })
    });
    for put in puts.collect::<Vec<_>>() {
        assert_eq!(put.await.expect("no panic"), 200, "a put among many");
    }

    let copies = (0..16).map(|number| {
        let copy = Signer::new("PUT", &format!("/bucket/copy-{number}")).header("x-amz-copy-source", "bucket/put-0");
        tokio::spawn(async move { copy.send(address).await.status })
    });
    for copy in copies.collect::<Vec<_>>() {
        assert_eq!(copy.await.expect("no panic"), 200, "a copy among many");
    }

    let mut stalled = Vec::new();
    for _ in 0..24 {
        let (target, headers, _) = Signer::new("GET", "/bucket/copy-0").sign(address);
        let mut connection = Connection::open(address).await;
        connection.write(&support::head(address, "GET", &target, &headers, Some(0))).await;
        stalled.push(connection);
    }
    let written = Signer::new("PUT", "/bucket/last").body(&body).send(address).await;
    assert_eq!(written.status, 200, "a put beside clients that do not read");
    assert!(get(&node, "last").await.body == body, "a get beside clients that do not read");
    drop(stalled);
    node.stop().await;
}

/// The binary, serving. Ended with the test, also with one that failed.
struct Serving(std::process::Child);

impl Serving {
    /// Starts it after the shell's `preparation`, and waits until it is ready.
    fn start(preparation: &str, home: &std::path::Path) -> Serving {
        let script = format!("{preparation} && exec \"$0\" serve --http-port 0 --dir \"$1\"");
        let serving = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_anvil")])
            .arg(home)
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut node = Serving(serving.expect("there is a shell"));
        let mut first = String::new();
        let mut output = std::io::BufReader::new(node.0.stdout.take().expect("it is piped"));
        std::io::BufRead::read_line(&mut output, &mut first).expect("the node says something or ends");
        assert!(first.contains("is ready"), "{first:?}");
        node
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_with_more_extents_than_descriptors_starts_and_asks_for_all_it_may_have() {
    let home = tempfile::tempdir().expect("there is room for a directory");
    drop(anvil::node::NodeDirectory::open(&[home.path().to_owned()], "node1", None).expect("an empty directory"));
    for sequence in 1..=300 {
        let path = home.path().join("shards").join(format!("{sequence:016x}.ext"));
        std::fs::File::create(path).and_then(|file| file.set_len(1 << 16)).expect("there is room for an extent");
    }
    let node = Serving::start("ulimit -Sn 64 && ulimit -Hn 200", home.path());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.0.id())).expect("the node lives");
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the kernel tells");
    assert_eq!(open_files.split_whitespace().next(), Some("200"), "the soft limit is the hard one");
}

#[test]
fn what_a_node_makes_is_for_its_own_user_alone() {
    let home = tempfile::tempdir().expect("there is room for a directory");
    let home = home.path().join("data");
    let _node = Serving::start("umask 022", &home);
    for name in ["", "log", "shards", "state.redb", "format", "keys/root"] {
        let metadata = std::fs::metadata(home.join(name)).expect("the node made it");
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o077, 0, "{name} is open to others");
    }
}
