//! Requests and answers as AWS has them in the details that clients meet: headers in lists, unknown parameters, dates, types of
//! checksums, what errors say.

mod support;

use support::{Answer, Doors, NS, Signer, bucket, doors, ok, refused, send};

async fn put(doors: &Doors, key: &str, body: &[u8]) {
    ok(Signer::new("PUT", &format!("/bucket/{key}")).body(body).send(doors.address)).await;
}

async fn get(doors: &Doors, key: &str) -> Answer {
    Signer::new("GET", &format!("/bucket/{key}")).send(doors.address).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_may_be_named_in_one_header() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", b"12345").await;
    let ask = |names: &str| {
        let request = Signer::new("GET", "/bucket/k").query("attributes", "").header("x-amz-object-attributes", names);
        async move { request.send(doors.address).await }
    };
    let told = ok(ask("ETag,ObjectSize, StorageClass")).await;
    assert_eq!(told.element("ObjectSize").as_deref(), Some("5"));
    assert_eq!(told.element("StorageClass").as_deref(), Some("STANDARD"));
    assert!(told.element("ETag").is_some(), "{}", told.text());
    refused(&ask("ETag,Colour").await, 400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_ignores_what_it_does_not_know() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", b"12345").await;
    let got = ok(Signer::new("GET", "/bucket/k").query("v", "2").send(doors.address)).await;
    assert_eq!(got.body, b"12345");
    let listed = ok(Signer::new("GET", "/bucket").query("allow-unordered", "true").send(doors.address)).await;
    assert_eq!(listed.element("Key").as_deref(), Some("k"));
    refused(&Signer::new("PUT", "/bucket/k").query("v", "2").send(doors.address).await, 501, "NotImplemented");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_a_signature_may_stand_in_date() {
    let doors = doors().await;
    bucket(&doors).await;
    let request = |at: time::OffsetDateTime| {
        let mut signer = Signer::new("PUT", "/bucket/k").body(b"dated");
        (signer.plain_date, signer.at) = (true, at);
        signer
    };
    let now = time::OffsetDateTime::now_utc();
    ok(request(now).send(doors.address)).await;
    assert_eq!(get(&doors, "k").await.body, b"dated");
    let old = request(now - time::Duration::hours(1)).send(doors.address).await;
    refused(&old, 403, "RequestTimeTooSkewed");
    // Another time than the one that was signed.
    let (target, mut headers, _) = request(now).sign(doors.address);
    for (name, value) in &mut headers {
        if name == "date" {
            *value = request(now - time::Duration::minutes(1)).sign(doors.address).1[1].1.clone();
        }
    }
    refused(&send(doors.address, "PUT", &target, &headers, b"dated").await, 403, "SignatureDoesNotMatch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_type_of_a_checksum_is_that_of_the_uploads_creation() {
    const CRC32_OF_HELLO: &str = "NhCmhg==";
    // The CRC32 of the four bytes of that, and the number of parts.
    const COMPOSITE: &str = "FKTmaw==-1";
    let doors = doors().await;
    bucket(&doors).await;
    let create = |algorithm: &str, kind: &str| {
        let mut request = Signer::new("POST", "/bucket/k").query("uploads", "");
        for (name, value) in [("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", kind)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        async move { request.send(doors.address).await }
    };
    for (algorithm, kind) in [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("", "COMPOSITE"), ("MD4", "")] {
        refused(&create(algorithm, kind).await, 400, "InvalidRequest");
    }
    for (kind, checksum) in [("FULL_OBJECT", CRC32_OF_HELLO), ("COMPOSITE", COMPOSITE), ("", COMPOSITE)] {
        let created = ok(create("CRC32", kind)).await;
        let said = if kind.is_empty() { "COMPOSITE" } else { kind };
        assert_eq!(created.header("x-amz-checksum-type"), Some(said));
        let upload = created.element("UploadId").expect("an upload has an id");
        let part = Signer::new("PUT", "/bucket/k").query("partNumber", "1").query("uploadId", &upload);
        let part = ok(part.header("x-amz-checksum-crc32", CRC32_OF_HELLO).body(b"hello").send(doors.address)).await;
        let etag = part.header("etag").expect("a part has a tag");
        let xml = format!(
            "<CompleteMultipartUpload {NS}><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        let complete = || Signer::new("POST", "/bucket/k").query("uploadId", &upload).body(xml.as_bytes());
        let other = if said == "COMPOSITE" { "FULL_OBJECT" } else { "COMPOSITE" };
        let wrong = complete().header("x-amz-checksum-type", other).send(doors.address).await;
        refused(&wrong, 400, "InvalidRequest");
        let done = ok(complete().send(doors.address)).await;
        assert_eq!(done.element("ChecksumType").as_deref(), Some(said), "{}", done.text());
        let head =
            ok(Signer::new("HEAD", "/bucket/k").header("x-amz-checksum-mode", "ENABLED").send(doors.address)).await;
        assert_eq!(head.header("x-amz-checksum-type"), Some(said));
        assert_eq!(head.header("x-amz-checksum-crc32"), Some(checksum));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_no_object_has_is_missing_or_different() {
    let doors = doors().await;
    bucket(&doors).await;
    let put_over = || Signer::new("PUT", "/bucket/k").header("if-match", "\"no-tag-of-ours\"").body(b"2");
    refused(&put_over().send(doors.address).await, 404, "NoSuchKey");
    put(&doors, "k", b"1").await;
    refused(&put_over().send(doors.address).await, 412, "PreconditionFailed");
    assert_eq!(get(&doors, "k").await.body, b"1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_they_are_about() {
    let doors = doors().await;
    bucket(&doors).await;
    put(&doors, "k", b"1").await;
    let missing = get(&doors, "no such").await;
    refused(&missing, 404, "NoSuchKey");
    assert_eq!(missing.element("Key").as_deref(), Some("no such"));
    let failed = Signer::new("PUT", "/bucket/k").header("if-none-match", "*").body(b"2").send(doors.address).await;
    refused(&failed, 412, "PreconditionFailed");
    assert_eq!(failed.element("Condition").as_deref(), Some("If-None-Match"));
    let none = Signer::new("GET", "/bucket").query("tagging", "").send(doors.address).await;
    refused(&none, 404, "NoSuchTagSet");
    assert_eq!(none.element("BucketName").as_deref(), Some("bucket"));
    let copy = |more: Option<(&str, &str)>| {
        let request = Signer::new("PUT", "/bucket/k").header("x-amz-copy-source", "bucket/k");
        let request = more.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        async move { request.send(doors.address).await }
    };
    refused(&copy(None).await, 400, "InvalidRequest");
    let condition = ("x-amz-copy-source-if-match", "\"00000000000000000000000000000000\"");
    refused(&copy(Some(condition)).await, 412, "PreconditionFailed");
    ok(copy(Some(("x-amz-storage-class", "STANDARD")))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_set_of_tags_is_none() {
    let doors = doors().await;
    bucket(&doors).await;
    let tag = |tags: &str| {
        let xml = format!("<Tagging {NS}><TagSet>{tags}</TagSet></Tagging>");
        let request = Signer::new("PUT", "/bucket").query("tagging", "").body(xml.as_bytes());
        async move { request.send(doors.address).await }
    };
    assert_eq!(tag("<Tag><Key>a</Key><Value>b</Value></Tag>").await.status, 204);
    refused(&tag("<Tag><Key>aws:a</Key><Value>b</Value></Tag>").await, 400, "InvalidTag");
    let told = || Signer::new("GET", "/bucket").query("tagging", "");
    assert_eq!(ok(told().send(doors.address)).await.elements("Key"), ["a"]);
    assert_eq!(tag("").await.status, 204);
    refused(&told().send(doors.address).await, 404, "NoSuchTagSet");
}
