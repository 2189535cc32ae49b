//! Buckets that the host of a request names, as SDKs ask for them by default.

mod support;

use anvil::front::{Domains, Settings};
use support::{Doors, Signer, bucket, doors_with, ok, refused, send};

async fn doors() -> Doors {
    let domains = Domains::parse(&["s3.example.com".to_owned()]).expect("it is a domain");
    let doors = doors_with(Settings { open_admin: true, domains, ..Settings::default() }).await;
    bucket(&doors).await;
    doors
}

fn hosted(method: &str, path: &str) -> Signer {
    Signer::new(method, path).host("bucket.s3.example.com")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_names_the_bucket_and_the_path_the_key() {
    let doors = doors().await;
    ok(hosted("PUT", "/a/b c").body(b"by host").send(doors.address)).await;
    let by_path = ok(Signer::new("GET", "/bucket/a/b c").send(doors.address)).await;
    assert_eq!(by_path.body, b"by host");
    let presigned = ok(hosted("GET", "/a/b c").send_presigned(doors.address, 60)).await;
    assert_eq!(presigned.body, b"by host");
    let listed = ok(hosted("GET", "/").query("list-type", "2").send(doors.address)).await;
    assert_eq!(listed.element("Key").as_deref(), Some("a/b c"));
    let port = ok(hosted("GET", "/a/b c").host("Bucket.S3.example.com:9000").send(doors.address)).await;
    assert_eq!(port.body, b"by host");
    let made = Signer::new("PUT", "/").host("another.s3.example.com");
    ok(made.send(doors.address)).await;
    ok(Signer::new("HEAD", "/another").send(doors.address)).await;
    ok(hosted("DELETE", "/a/b c").send(doors.address)).await;
    let gone = hosted("GET", "/a/b c").send(doors.address).await;
    refused(&gone, 404, "NoSuchKey");
    assert_eq!(gone.element("Key").as_deref(), Some("a/b c"));
    assert_eq!(gone.element("Resource").as_deref(), Some("/bucket/a/b%20c"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_paths_of_a_node_are_keys_of_a_bucket_with_a_host() {
    let doors = doors().await;
    for path in ["/kv/a", "/status", "/join", "/-/health"] {
        ok(hosted("PUT", path).body(path.as_bytes()).send(doors.address)).await;
        let got = ok(hosted("GET", path).send(doors.address)).await;
        assert_eq!(got.body, path.as_bytes(), "FRONT-3");
        let nobody = hosted("GET", path);
        let headers = [("host".to_owned(), "bucket.s3.example.com".to_owned())];
        refused(&send(doors.address, &nobody.method, path, &headers, b"").await, 403, "AccessDenied");
    }
    let metrics = ok(send(doors.address, "GET", "/-/metrics", &[], b"")).await.text();
    assert!(!metrics.contains("door=\"kv\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_domain_itself_and_names_of_others_are_path_style() {
    let doors = doors().await;
    ok(Signer::new("PUT", "/bucket/k").body(b"v").host("s3.example.com").send(doors.address)).await;
    for host in ["s3.example.com:80", "bucket.example.org", "localhost"] {
        let got = ok(Signer::new("GET", "/bucket/k").host(host).send(doors.address)).await;
        assert_eq!(got.body, b"v", "HOST-1: {host}");
    }
    // The signature is of the host and path that were sent.
    let mut forged = hosted("GET", "/k");
    forged.secret.push('x');
    refused(&forged.send(doors.address).await, 403, "SignatureDoesNotMatch");
    refused(
        &Signer::new("GET", "/k").host("No_bucket.s3.example.com").send(doors.address).await,
        400,
        "InvalidBucketName",
    );
}
