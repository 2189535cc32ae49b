//! S3 over a socket: the operations as clients send them, and the requests that must be refused.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Answer, Connection, Doors, Signer, chunk_signature, doors, head, send};
use time::OffsetDateTime;

const MIB: usize = 1 << 20;

async fn bucket(doors: &Doors) {
    assert_eq!(Signer::new("PUT", "/bucket").send(doors.address).await.status, 200);
}

async fn put(doors: &Doors, key: &str, body: &[u8]) -> Answer {
    Signer::new("PUT", &format!("/bucket/{key}")).body(body).send(doors.address).await
}

async fn get(doors: &Doors, key: &str) -> Answer {
    Signer::new("GET", &format!("/bucket/{key}")).send(doors.address).await
}

/// Bytes that differ at every offset.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// Waits until nothing is open any more: giving up is a message that nobody answers.
async fn nothing_open(doors: &Doors) {
    let open = || (doors.faults.open_writes.load(Ordering::Relaxed), doors.faults.open_objects.load(Ordering::Relaxed));
    for _ in 0..200 {
        if open() == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("writes and objects still open: {:?}", open());
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
    let id = answer.header("x-amz-request-id").expect("every answer has an id");
    assert_eq!(answer.element("RequestId").as_deref(), Some(id), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_is_what_is_got() {
    let doors = doors().await;
    bucket(&doors).await;
    for size in [0, 1, 16 << 10, (16 << 10) + 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 12_345] {
        let body = bytes(size);
        let stored = put(&doors, "a key/with ü+%", &body).await;
        assert_eq!(stored.status, 200, "{}", stored.text());
        let got = get(&doors, "a key/with ü+%").await;
        assert_eq!((got.status, got.complete), (200, true));
        assert!(got.body == body, "the bytes of {size} differ");
        assert_eq!(got.header("etag"), stored.header("etag"));
        assert_eq!(got.header("content-length"), Some(size.to_string().as_str()));
        let head = Signer::new("HEAD", "/bucket/a key/with ü+%").send(doors.address).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(size.to_string().as_str()));
    }
    nothing_open(&doors).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_comes_back_and_may_be_overridden() {
    let doors = doors().await;
    bucket(&doors).await;
    let stored = Signer::new("PUT", "/bucket/k")
        .header("content-type", "text/plain")
        .header("cache-control", "no-store")
        .header("x-amz-meta-color", "red")
        .body(b"hello")
        .send(doors.address)
        .await;
    assert_eq!(stored.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    let got = get(&doors, "k").await;
    assert_eq!(got.header("content-type"), Some("text/plain"));
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!(got.header("x-amz-meta-color"), Some("red"));
    assert_eq!(got.header("accept-ranges"), Some("bytes"));
    let overridden = Signer::new("GET", "/bucket/k")
        .query("response-content-type", "image/png")
        .query("response-content-disposition", "attachment; filename=\"x\"")
        .send(doors.address)
        .await;
    assert_eq!(overridden.header("content-type"), Some("image/png"));
    assert_eq!(overridden.header("content-disposition"), Some("attachment; filename=\"x\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_served_across_stripes() {
    let doors = doors().await;
    bucket(&doors).await;
    let body = bytes(3 * MIB + 7);
    put(&doors, "k", &body).await;
    let size = body.len();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1048575-1048576", MIB - 1, MIB + 1),
        ("bytes=5-", 5, size),
        ("bytes=-8", size - 8, size),
        ("bytes=0-99999999", 0, size),
    ] {
        let got = Signer::new("GET", "/bucket/k").header("range", range).send(doors.address).await;
        assert_eq!(got.status, 206, "{range}");
        assert!(got.body == body[from..to], "{range}");
        assert_eq!(got.header("content-range"), Some(format!("bytes {from}-{}/{size}", to - 1).as_str()));
        let head = Signer::new("HEAD", "/bucket/k").header("range", range).send(doors.address).await;
        assert_eq!(head.status, 206, "{range}");
    }
    let beyond = Signer::new("GET", "/bucket/k").header("range", "bytes=99999999-").send(doors.address).await;
    refused(&beyond, 416, "InvalidRange");
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{size}").as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_for_reads_and_writes() {
    let doors = doors().await;
    bucket(&doors).await;
    let etag = put(&doors, "k", b"one").await.header("etag").expect("a put has a tag").to_owned();
    let with = |method: &str, name: &str, value: &str| Signer::new(method, "/bucket/k").header(name, value);
    let unchanged = with("GET", "if-none-match", &etag).send(doors.address).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    assert_eq!(with("GET", "if-match", &etag).send(doors.address).await.status, 200);
    refused(&with("GET", "if-match", "\"0\"").send(doors.address).await, 412, "PreconditionFailed");
    let past = "Mon, 01 Jan 2001 00:00:00 GMT";
    assert_eq!(with("HEAD", "if-unmodified-since", past).send(doors.address).await.status, 412);
    refused(&with("PUT", "if-none-match", "*").body(b"two").send(doors.address).await, 412, "PreconditionFailed");
    let other = format!("\"{}\"", "0".repeat(32));
    refused(&with("PUT", "if-match", &other).body(b"two").send(doors.address).await, 412, "PreconditionFailed");
    assert_eq!(get(&doors, "k").await.body, b"one");
    assert_eq!(with("PUT", "if-match", &etag).body(b"two").send(doors.address).await.status, 200);
    assert_eq!(get(&doors, "k").await.body, b"two");
    refused(&with("DELETE", "if-match", &etag).send(doors.address).await, 412, "PreconditionFailed");
    refused(&with("DELETE", "if-none-match", "*").send(doors.address).await, 412, "PreconditionFailed");
    refused(&with("PUT", "if-match", "").body(b"three").send(doors.address).await, 400, "InvalidArgument");
    assert_eq!(get(&doors, "k").await.body, b"two");
    let fresh = Signer::new("PUT", "/bucket/new").header("if-none-match", "*").body(b"x").send(doors.address).await;
    assert_eq!(fresh.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_come_and_go() {
    let doors = doors().await;
    bucket(&doors).await;
    // As AWS has it in us-east-1.
    assert_eq!(Signer::new("PUT", "/bucket").send(doors.address).await.status, 200);
    assert_eq!(
        Signer::new("HEAD", "/bucket").send(doors.address).await.header("x-amz-bucket-region"),
        Some("us-east-1")
    );
    assert_eq!(Signer::new("HEAD", "/nothing").send(doors.address).await.status, 404);
    let elsewhere = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                     <LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    let answer = Signer::new("PUT", "/other").body(elsewhere.as_bytes()).send(doors.address).await;
    refused(&answer, 400, "IllegalLocationConstraintException");
    let here = elsewhere.replace("eu-west-1", "us-east-1");
    assert_eq!(Signer::new("PUT", "/other").body(here.as_bytes()).send(doors.address).await.status, 200);
    let list = Signer::new("GET", "/").send(doors.address).await;
    assert_eq!(list.elements("Name"), ["bucket", "other"]);
    let location = Signer::new("GET", "/bucket").query("location", "").send(doors.address).await;
    assert!(location.text().contains("LocationConstraint"), "{}", location.text());
    put(&doors, "k", b"x").await;
    refused(&Signer::new("DELETE", "/bucket").send(doors.address).await, 409, "BucketNotEmpty");
    assert_eq!(Signer::new("DELETE", "/other").send(doors.address).await.status, 204);
    refused(&Signer::new("GET", "/other").send(doors.address).await, 404, "NoSuchBucket");
    let versioning = Signer::new("GET", "/bucket").query("versioning", "").send(doors.address).await;
    assert_eq!((versioning.status, versioning.element("Status")), (200, None));
    let acl = Signer::new("GET", "/bucket").query("acl", "").send(doors.address).await;
    assert!(acl.text().contains("xsi:type=\"CanonicalUser\""), "{}", acl.text());
    let policy = Signer::new("GET", "/bucket").query("policy", "").send(doors.address).await;
    refused(&policy, 404, "NoSuchBucketPolicy");
    let analytics =
        Signer::new("PUT", "/bucket").query("analytics", "").query("id", "x").body(b"<A/>").send(doors.address).await;
    refused(&analytics, 501, "NotImplemented");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_are_complete_page_by_page() {
    let doors = doors().await;
    bucket(&doors).await;
    let keys = ["a", "b/1", "b/2", "b/c/3", "d e", "z", "é"];
    for key in keys {
        put(&doors, key, key.as_bytes()).await;
    }
    let list = |pairs: &[(&str, &str)]| {
        let signer = Signer::new("GET", "/bucket");
        pairs.iter().fold(signer, |signer, (name, value)| signer.query(name, value))
    };
    for size in 1..9 {
        let (mut seen, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut page = list(&[("list-type", "2"), ("max-keys", &size.to_string())]);
            if let Some(token) = &token {
                page = page.query("continuation-token", token);
            }
            let page = page.send(doors.address).await;
            assert_eq!(page.status, 200, "{}", page.text());
            seen.extend(page.elements("Key"));
            token = page.element("NextContinuationToken");
            assert_eq!(page.element("IsTruncated").as_deref(), Some(if token.is_some() { "true" } else { "false" }));
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, keys, "{size} on a page");
        let (mut seen, mut marker) = (Vec::new(), None::<String>);
        loop {
            let mut page = list(&[("max-keys", &size.to_string()), ("delimiter", "/")]);
            if let Some(marker) = &marker {
                page = page.query("marker", marker);
            }
            let page = page.send(doors.address).await;
            seen.extend(page.elements("Key"));
            seen.extend(page.elements("CommonPrefixes"));
            marker = page.element("NextMarker");
            if marker.is_none() {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, ["<Prefix>b/</Prefix>", "a", "d e", "z", "é"], "{size} on a page");
    }
    let encoded =
        list(&[("list-type", "2"), ("encoding-type", "url"), ("start-after", "b/c/3")]).send(doors.address).await;
    assert_eq!(encoded.elements("Key"), ["d%20e", "z", "%C3%A9"]);
    let prefixed = list(&[("list-type", "2"), ("prefix", "b/"), ("delimiter", "/")]).send(doors.address).await;
    assert_eq!(prefixed.elements("Key"), ["b/1", "b/2"]);
    assert_eq!(prefixed.element("KeyCount").as_deref(), Some("3"));
    let bad = list(&[("list-type", "2"), ("continuation-token", "???")]).send(doors.address).await;
    refused(&bad, 400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_say_what_they_did() {
    let doors = doors().await;
    bucket(&doors).await;
    for key in ["a", "b", "c"] {
        put(&doors, key, b"x").await;
    }
    assert_eq!(Signer::new("DELETE", "/bucket/a").send(doors.address).await.status, 204);
    assert_eq!(Signer::new("DELETE", "/bucket/a").send(doors.address).await.status, 204, "it was gone already");
    refused(&get(&doors, "a").await, 404, "NoSuchKey");
    let xml = |body: &str| format!("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{body}</Delete>");
    let objects = format!("<Object><Key>b</Key></Object><Object><Key>{}</Key></Object>", "k".repeat(1025));
    let many =
        Signer::new("POST", "/bucket").query("delete", "").body(xml(&objects).as_bytes()).send(doors.address).await;
    assert_eq!(many.status, 200, "{}", many.text());
    assert_eq!(many.element("Deleted").as_deref(), Some("<Key>b</Key>"));
    assert_eq!(many.element("Code").as_deref(), Some("KeyTooLongError"));
    let quiet = xml("<Quiet>true</Quiet><Object><Key>c</Key></Object>");
    let answer = Signer::new("POST", "/bucket").query("delete", "").body(quiet.as_bytes()).send(doors.address).await;
    assert_eq!((answer.status, answer.element("Deleted")), (200, None));
    refused(&get(&doors, "c").await, 404, "NoSuchKey");
    let other_version = Signer::new("DELETE", "/bucket/x").query("versionId", "abc").send(doors.address).await;
    refused(&other_version, 400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_have_the_same_bytes() {
    let doors = doors().await;
    bucket(&doors).await;
    let body = bytes(2 * MIB + 3);
    let source = Signer::new("PUT", "/bucket/from ü").header("x-amz-meta-color", "red").body(&body);
    let etag = source.send(doors.address).await.header("etag").expect("a tag").to_owned();
    let copy = |name: &str| {
        Signer::new("PUT", &format!("/bucket/{name}")).header("x-amz-copy-source", "/bucket/from%20%C3%BC")
    };
    let copied = copy("to").send(doors.address).await;
    assert_eq!(copied.status, 200, "{}", copied.text());
    assert_eq!(copied.element("ETag").map(|tag| tag.replace("&quot;", "\"")), Some(etag.clone()));
    let got = get(&doors, "to").await;
    assert!(got.body == body);
    assert_eq!(got.header("x-amz-meta-color"), Some("red"));
    let replaced = copy("to").header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-shape", "round");
    assert_eq!(replaced.send(doors.address).await.status, 200);
    let got = get(&doors, "to").await;
    assert_eq!((got.header("x-amz-meta-color"), got.header("x-amz-meta-shape")), (None, Some("round")));
    refused(&copy("from ü").send(doors.address).await, 400, "InvalidRequest");
    let conditional = copy("to").header("x-amz-copy-source-if-none-match", &etag).send(doors.address).await;
    refused(&conditional, 412, "PreconditionFailed");
    let nothing = Signer::new("PUT", "/bucket/to").header("x-amz-copy-source", "bucket/nothing");
    refused(&nothing.send(doors.address).await, 404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_come_in_parts() {
    let doors = doors().await;
    bucket(&doors).await;
    let begun = Signer::new("POST", "/bucket/big").query("uploads", "").header("x-amz-meta-color", "red");
    let id = begun.send(doors.address).await.element("UploadId").expect("an upload has an id");
    let parts = [bytes(5 * MIB + 1), bytes(5 * MIB), bytes(99)];
    let mut etags = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        let put = Signer::new("PUT", "/bucket/big").query("partNumber", &number.to_string()).query("uploadId", &id);
        let answer = put.body(part).send(doors.address).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        etags.push(answer.header("etag").expect("a part has a tag").to_owned());
    }
    let listed =
        Signer::new("GET", "/bucket/big").query("uploadId", &id).query("max-parts", "2").send(doors.address).await;
    assert_eq!(listed.elements("PartNumber"), ["1", "2"]);
    assert_eq!(listed.element("NextPartNumberMarker").as_deref(), Some("2"));
    let uploads = Signer::new("GET", "/bucket").query("uploads", "").send(doors.address).await;
    assert_eq!(uploads.element("UploadId"), Some(id.clone()));
    refused(&get(&doors, "big").await, 404, "NoSuchKey");
    let complete = |numbers: &[usize], tags: &[String]| {
        let part =
            |number: &usize| format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", tags[number - 1]);
        let xml: String = numbers.iter().map(part).collect();
        let xml = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{xml}</CompleteMultipartUpload>"
        );
        Signer::new("POST", "/bucket/big").query("uploadId", &id).body(xml.as_bytes())
    };
    refused(&complete(&[2, 1], &etags).send(doors.address).await, 400, "InvalidPartOrder");
    let swapped = [etags[1].clone(), etags[0].clone(), etags[2].clone()];
    refused(&complete(&[1, 2, 3], &swapped).send(doors.address).await, 400, "InvalidPart");
    let mut claiming = complete(&[1, 2, 3], &etags);
    let claimed = String::from_utf8(claiming.body.clone()).expect("XML is text");
    claiming.body = claimed.replacen("</Part>", "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>", 1).into_bytes();
    refused(&claiming.send(doors.address).await, 400, "InvalidPart");
    let done = complete(&[1, 2, 3], &etags).send(doors.address).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let again = complete(&[1, 2, 3], &etags).send(doors.address).await;
    assert_eq!((again.status, again.element("ETag")), (200, done.element("ETag")), "a repeat answers alike");
    let got = get(&doors, "big").await;
    assert!(got.body == parts.concat());
    assert!(got.header("etag").is_some_and(|tag| tag.ends_with("-3\"")));
    assert_eq!(got.header("x-amz-meta-color"), Some("red"));
    let second = Signer::new("GET", "/bucket/big").query("partNumber", "2").send(doors.address).await;
    assert_eq!((second.status, second.header("x-amz-mp-parts-count")), (206, Some("3")));
    assert!(second.body == parts[1]);

    let begun = Signer::new("POST", "/bucket/gone").query("uploads", "").send(doors.address).await;
    let id = begun.element("UploadId").expect("an upload has an id");
    let part = || Signer::new("PUT", "/bucket/gone").query("partNumber", "1").query("uploadId", &id);
    let copied = part().header("x-amz-copy-source", "bucket/big").header("x-amz-copy-source-range", "bytes=5-9");
    let copied = copied.send(doors.address).await;
    assert_eq!(copied.status, 200, "{}", copied.text());
    assert_eq!(Signer::new("DELETE", "/bucket/gone").query("uploadId", &id).send(doors.address).await.status, 204);
    refused(&part().body(&bytes(MIB)).send(doors.address).await, 404, "NoSuchUpload");
    refused(&part().body(b"small").send(doors.address).await, 404, "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checksums_are_verified_kept_and_returned() {
    let doors = doors().await;
    bucket(&doors).await;
    // CRC-32 of "hello" is 3610a686.
    let put = |value: &str| Signer::new("PUT", "/bucket/k").header("x-amz-checksum-crc32", value).body(b"hello");
    refused(&put("AAAAAA==").send(doors.address).await, 400, "BadDigest");
    refused(&get(&doors, "k").await, 404, "NoSuchKey");
    assert_eq!(put("NhCmhg==").send(doors.address).await.status, 200);
    let with = Signer::new("GET", "/bucket/k").header("x-amz-checksum-mode", "ENABLED").send(doors.address).await;
    assert_eq!(with.header("x-amz-checksum-crc32"), Some("NhCmhg=="));
    assert_eq!(get(&doors, "k").await.header("x-amz-checksum-crc32"), None, "only who asks is told");
    let md5 = |value: &str| Signer::new("PUT", "/bucket/m").header("content-md5", value).body(b"hello");
    refused(&md5("AAAAAAAAAAAAAAAAAAAAAA==").send(doors.address).await, 400, "BadDigest");
    refused(&md5("nonsense").send(doors.address).await, 400, "InvalidDigest");
    assert_eq!(md5("XUFAKrxLKna5cZ2REBfFkg==").send(doors.address).await.status, 200);
}

fn trailing(signer: Signer, decoded: usize) -> Signer {
    let mut signer = signer
        .header("content-encoding", "aws-chunked")
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .header("x-amz-decoded-content-length", &decoded.to_string());
    signer.payload = Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned());
    signer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_with_a_trailer_are_unwrapped() {
    let doors = doors().await;
    bucket(&doors).await;
    let send = async |decoded: usize, body: &str| {
        trailing(Signer::new("PUT", "/bucket/k"), decoded).body(body.as_bytes()).send(doors.address).await
    };
    let good = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let stored = send(5, good).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    let got = get(&doors, "k").await;
    assert_eq!((got.body.as_slice(), got.header("content-encoding")), (b"hello".as_slice(), None));
    refused(&send(5, &good.replace("NhCmhg==", "AAAAAA==")).await, 400, "BadDigest");
    refused(&send(5, "5\r\nhello\r\n0\r\n\r\n").await, 400, "InvalidRequest");
    refused(&send(6, good).await, 400, "IncompleteBody");
    refused(&send(4, good).await, 400, "IncompleteBody");
    refused(&send(5, "5\r\nhello\r\n").await, 400, "IncompleteBody");
    refused(&send(5, "100000005\r\nhello\r\n0\r\n\r\n").await, 400, "InvalidRequest");
    // Far more than was declared: refused before it is taken in.
    let more = format!("{:x}\r\n{}\r\n0\r\n\r\n", 3 * MIB, "m".repeat(3 * MIB));
    refused(&send(1, &more).await, 400, "IncompleteBody");
    // A single chunk larger than what may be held at once.
    let large = bytes(6 * MIB);
    let mut body = format!("{:x}\r\n", large.len()).into_bytes();
    body.extend_from_slice(&large);
    body.extend_from_slice(b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    let answer = trailing(Signer::new("PUT", "/bucket/large"), large.len()).body(&body).send(doors.address).await;
    refused(&answer, 400, "BadDigest");
    nothing_open(&doors).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_chunks_are_verified_one_by_one() {
    let doors = doors().await;
    bucket(&doors).await;
    let payload = bytes(150_000);
    let mut signer = Signer::new("PUT", "/bucket/k").header("x-amz-decoded-content-length", &payload.len().to_string());
    signer.payload = Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned());
    let (target, headers, seed) = signer.sign(doors.address);
    let mut body = Vec::new();
    let mut previous = seed;
    for chunk in payload.chunks(65_536).chain([[].as_slice()]) {
        previous = chunk_signature(&signer, &previous, chunk);
        body.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    let stored = send(doors.address, "PUT", &target, &headers, &body).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    assert!(get(&doors, "k").await.body == payload);
    let mut changed = body.clone();
    changed[70_000] ^= 1;
    let answer = send(doors.address, "PUT", &target, &headers, &changed).await;
    refused(&answer, 403, "SignatureDoesNotMatch");
    let huge = format!("{:x};chunk-signature={previous}\r\n", 5 * MIB);
    let answer = send(doors.address, "PUT", &target, &headers, huge.as_bytes()).await;
    refused(&answer, 400, "InvalidChunkSizeError");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_without_a_true_signature() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", b"secret").await;
    let plain = send(doors.address, "GET", "/bucket/k", &[], b"").await;
    refused(&plain, 403, "AccessDenied");
    refused(&send(doors.address, "PUT", "/bucket/k", &[], b"other").await, 403, "AccessDenied");
    let mut wrong = Signer::new("GET", "/bucket/k");
    wrong.secret = "guessed".to_owned();
    refused(&wrong.send(doors.address).await, 403, "SignatureDoesNotMatch");
    wrong.access_key = "SOMEONE".to_owned();
    refused(&wrong.send(doors.address).await, 403, "InvalidAccessKeyId");
    let mut wrong = Signer::new("GET", "/bucket/k");
    wrong.region = "eu-west-1".to_owned();
    refused(&wrong.send(doors.address).await, 400, "AuthorizationHeaderMalformed");
    let mut wrong = Signer::new("GET", "/bucket/k");
    wrong.service = "sts".to_owned();
    refused(&wrong.send(doors.address).await, 400, "AuthorizationHeaderMalformed");
    for minutes in [-16, 16] {
        let mut wrong = Signer::new("GET", "/bucket/k");
        wrong.at = OffsetDateTime::now_utc() + time::Duration::minutes(minutes);
        refused(&wrong.send(doors.address).await, 403, "RequestTimeTooSkewed");
    }
    let (target, headers, _) = Signer::new("GET", "/bucket/k").sign(doors.address);
    refused(&send(doors.address, "DELETE", &target, &headers, b"").await, 403, "SignatureDoesNotMatch");
    refused(&send(doors.address, "GET", "/bucket/other", &headers, b"").await, 403, "SignatureDoesNotMatch");
    let v2 = [("authorization".to_owned(), "AWS AKIDTEST:c2lnbmF0dXJl".to_owned())];
    refused(&send(doors.address, "GET", "/bucket/k", &v2, b"").await, 400, "InvalidRequest");
    let preflight = [("origin".to_owned(), "http://evil.example".to_owned())];
    refused(&send(doors.address, "OPTIONS", "/bucket/k", &preflight, b"").await, 400, "BadRequest");
    let form = [("content-type".to_owned(), "multipart/form-data; boundary=x".to_owned())];
    let form = send(doors.address, "POST", "/bucket", &form, b"--x--").await;
    assert!([400, 403].contains(&form.status), "{} {}", form.status, form.text());
    assert_eq!(get(&doors, "k").await.body, b"secret", "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presigned_urls_work_until_they_expire() {
    let doors = doors().await;
    bucket(&doors).await;
    let stored = Signer::new("PUT", "/bucket/k").body(b"hello").send_presigned(doors.address, 60).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    let got = Signer::new("GET", "/bucket/k").send_presigned(doors.address, 604_800).await;
    assert_eq!((got.status, got.body.as_slice()), (200, b"hello".as_slice()));
    let mut old = Signer::new("GET", "/bucket/k");
    old.at = OffsetDateTime::now_utc() - time::Duration::seconds(120);
    let answer = old.send_presigned(doors.address, 60).await;
    refused(&answer, 403, "AccessDenied");
    assert_eq!(answer.element("Message").as_deref(), Some("Request has expired"));
    assert_eq!(old.send_presigned(doors.address, 300).await.status, 200);
    let long = Signer::new("GET", "/bucket/k").send_presigned(doors.address, 604_801).await;
    refused(&long, 400, "AuthorizationQueryParametersError");
    let (target, headers) = Signer::new("GET", "/bucket/k").presign(doors.address, 60);
    let stretched = target.replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    refused(&send(doors.address, "GET", &stretched, &headers, b"").await, 403, "SignatureDoesNotMatch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_nobody_signed_is_refused() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "mine", b"mine").await;
    put(&doors, "secret", b"secret").await;
    for (name, value) in
        [("x-amz-copy-source", "/bucket/secret"), ("x-amz-meta-color", "red"), ("x-amz-acl", "private")]
    {
        let answer = Signer::new("PUT", "/bucket/mine").unsigned(name, value).body(b"new").send(doors.address).await;
        refused(&answer, 403, "AccessDenied");
        let answer = Signer::new("PUT", "/bucket/mine")
            .unsigned(name, value)
            .body(b"new")
            .send_presigned(doors.address, 60)
            .await;
        refused(&answer, 403, "AccessDenied");
    }
    assert_eq!(get(&doors, "mine").await.body, b"mine", "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_what_was_said_changes_nothing() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", b"before").await;
    for size in [10, 100_000, 3 * MIB] {
        let mut wrong = Signer::new("PUT", "/bucket/k").body(&bytes(size));
        wrong.payload = Some("0".repeat(64));
        refused(&wrong.send(doors.address).await, 400, "XAmzContentSHA256Mismatch");
        let short = Signer::new("PUT", "/bucket/k").body(&bytes(size));
        refused(&short.send_short(doors.address, size + 1).await, 400, "IncompleteBody");
    }
    let mut unsigned = Signer::new("PUT", "/bucket/k").body(&bytes(3 * MIB));
    unsigned.payload = Some("UNSIGNED-PAYLOAD".to_owned());
    refused(&unsigned.send_short(doors.address, 4 * MIB).await, 400, "IncompleteBody");
    assert_eq!(unsigned.send(doors.address).await.status, 200);
    let mut document =
        Signer::new("POST", "/bucket").query("delete", "").body(b"<Delete><Object><Key>k</Key></Object></Delete>");
    document.payload = Some("0".repeat(64));
    refused(&document.send(doors.address).await, 400, "XAmzContentSHA256Mismatch");
    let mut document = Signer::new("POST", "/bucket")
        .query("delete", "")
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .body(b"<Delete><Object><Key>k</Key></Object></Delete>");
    document.payload = Some("UNSIGNED-PAYLOAD".to_owned());
    refused(&document.send(doors.address).await, 400, "BadDigest");
    assert!(get(&doors, "k").await.body == bytes(3 * MIB), "nothing was lost");
    nothing_open(&doors).await;
}

/// Sends a request whose connection may be used again, and reads until the server closes it.
async fn kept_alive(doors: &Doors, signer: &Signer) -> Answer {
    let (target, headers, _) = signer.sign(doors.address);
    let head = head(doors.address, &signer.method, &target, &headers, Some(signer.body.len()));
    let head = String::from_utf8(head).expect("a head is text").replace("connection: close\r\n", "");
    let mut connection = Connection::open(doors.address).await;
    connection.write(head.as_bytes()).await;
    connection.answer(&signer.method).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_to_send_and_is_answered_at_once_loses_the_connection() {
    let doors = doors().await;
    bucket(&doors).await;
    let empty = Signer::new("PUT", "/bucket/empty").unsigned("expect", "100-continue");
    let answer = kept_alive(&doors, &empty).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let nowhere = Signer::new("PUT", "/nowhere/k").unsigned("expect", "100-continue").body(&bytes(MIB));
    let answer = kept_alive(&doors, &nowhere).await;
    refused(&answer, 404, "NoSuchBucket");
    assert_eq!(answer.header("connection"), Some("close"));
    let unsigned = Signer::new("PUT", "/bucket/k").unsigned("expect", "100-continue").unsigned("x-amz-acl", "private");
    let answer = kept_alive(&doors, &unsigned.body(&bytes(MIB))).await;
    refused(&answer, 403, "AccessDenied");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_out_of_bounds_are_refused() {
    let doors = doors().await;
    bucket(&doors).await;
    refused(&put(&doors, &"k".repeat(1025), b"x").await, 400, "KeyTooLongError");
    assert_eq!(put(&doors, &"k".repeat(1024), b"x").await.status, 200);
    for name in ["Upper", "a", "under_score", "192.168.1.1", "two..dots", "join"] {
        let answer = Signer::new("PUT", &format!("/{name}")).send(doors.address).await;
        refused(&answer, 400, "InvalidBucketName");
    }
    let size = ((5u64 << 30) + 1).to_string();
    let large = Signer::new("PUT", "/bucket/large").unsigned("content-length", &size);
    refused(&large.send(doors.address).await, 400, "EntityTooLarge");
    let many = (0..200).fold(Signer::new("GET", "/"), |signer, at| signer.header(&format!("x-many-{at}"), "1"));
    assert_eq!(many.send(doors.address).await.status, 431, "too many headers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_never_looks_whole() {
    let doors = doors().await;
    bucket(&doors).await;
    let body = bytes(6 * MIB);
    put(&doors, "k", &body).await;
    doors.faults.damaged_stripe.store(1, Ordering::Relaxed);
    refused(&get(&doors, "k").await, 500, "InternalError");
    doors.faults.damaged_stripe.store(5, Ordering::Relaxed);
    let broken = get(&doors, "k").await;
    assert!(!broken.complete, "the connection breaks in the middle");
    assert!(broken.body.len() < body.len() && body.starts_with(&broken.body), "what came was true");
    let copy = Signer::new("PUT", "/bucket/copy").header("x-amz-copy-source", "bucket/k").send(doors.address).await;
    refused(&copy, 500, "InternalError");
    refused(&get(&doors, "copy").await, 404, "NoSuchKey");
    doors.faults.damaged_stripe.store(0, Ordering::Relaxed);
    assert!(get(&doors, "k").await.body == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_says_so() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", b"before").await;
    doors.faults.full.store(true, Ordering::Relaxed);
    refused(&put(&doors, "k", b"after").await, 503, "InsufficientStorage");
    refused(&put(&doors, "k", &bytes(2 * MIB)).await, 503, "InsufficientStorage");
    doors.faults.full.store(false, Ordering::Relaxed);
    doors.faults.busy.store(true, Ordering::Relaxed);
    refused(&put(&doors, "k", b"after").await, 503, "SlowDown");
    refused(&get(&doors, "k").await, 503, "SlowDown");
    doors.faults.busy.store(false, Ordering::Relaxed);
    assert_eq!(get(&doors, "k").await.body, b"before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_nothing_open() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", &bytes(8 * MIB)).await;
    let (target, headers, _) = Signer::new("GET", "/bucket/k").sign(doors.address);
    let mut reader = Connection::open(doors.address).await;
    reader.write(&head(doors.address, "GET", &target, &headers, None)).await;
    let mut signer = Signer::new("PUT", "/bucket/half");
    signer.payload = Some("UNSIGNED-PAYLOAD".to_owned());
    let (target, headers, _) = signer.sign(doors.address);
    let mut writer = Connection::open(doors.address).await;
    writer.write(&head(doors.address, "PUT", &target, &headers, Some(8 * MIB))).await;
    writer.write(&bytes(3 * MIB)).await;
    let open = async || {
        let both = (&doors.faults.open_writes, &doors.faults.open_objects);
        (both.0.load(Ordering::Relaxed), both.1.load(Ordering::Relaxed))
    };
    for _ in 0..100 {
        if open().await == (1, 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(open().await, (1, 1), "both are under way");
    drop((reader, writer));
    nothing_open(&doors).await;
    refused(&get(&doors, "half").await, 404, "NoSuchKey");
}
