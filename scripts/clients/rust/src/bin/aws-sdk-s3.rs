//! aws-sdk-s3: put, get, ranges, list, conditions, multipart, copy, presigned URLs, versions, deletion.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
    VersioningConfiguration,
};
use rust_clients::{BIG, PART, Target, body, did, refusal, same};
use std::time::Duration;

fn connect(target: &Target, url: &str) -> Client {
    let credentials = Credentials::new(&target.key_id, &target.secret, None, None, "check-s3");
    let configuration = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(url)
        .region(Region::new(target.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(true);
    Client::from_conf(configuration.build())
}

async fn read(client: &Client, bucket: &str, key: &str) -> Vec<u8> {
    let got = client.get_object().bucket(bucket).key(key).send().await.expect("the object is there");
    got.body.collect().await.expect("the body is whole").to_vec()
}

#[tokio::main]
async fn main() {
    let target = Target::from_environment();
    let (first, other) = (connect(&target, &target.first), connect(&target, &target.other));
    let bucket = target.bucket.as_str();
    first.create_bucket().bucket(bucket).send().await.expect("the bucket is new");
    did("create bucket");

    for size in [0, 1, 4096, 16_385, 1 << 20] {
        let (key, bytes) = (format!("size/{size}"), body(size as u64, size));
        let put = first.put_object().bucket(bucket).key(&key).body(ByteStream::from(bytes.clone()));
        put.checksum_algorithm(ChecksumAlgorithm::Sha256).metadata("size", size.to_string()).send().await.expect("put");
        same(&key, &read(&other, bucket, &key).await, &bytes);
        let head = other.head_object().bucket(bucket).key(&key).send().await.expect("head");
        assert_eq!(head.content_length(), Some(size as i64));
        assert_eq!(head.metadata().and_then(|all| all.get("size")), Some(&size.to_string()));
    }
    let got =
        other.get_object().bucket(bucket).key("size/1048576").range("bytes=1000-1999").send().await.expect("range");
    same("a range", &got.body.collect().await.expect("whole").to_vec(), &body(1 << 20, 1 << 20)[1000..2000]);
    did("put, get, head, ranges");

    let listed = other.list_objects_v2().bucket(bucket).prefix("size/").max_keys(2).into_paginator().send();
    let pages: Vec<_> = listed.collect::<Result<Vec<_>, _>>().await.expect("pages");
    let keys: Vec<_> = pages.iter().flat_map(|page| page.contents()).filter_map(|object| object.key()).collect();
    assert_eq!(keys, ["size/0", "size/1", "size/1048576", "size/16385", "size/4096"]);
    assert_eq!(pages.len(), 3);
    did("list");

    let once = |client: &Client, bytes: &'static [u8]| {
        client.put_object().bucket(bucket).key("once").body(ByteStream::from_static(bytes))
    };
    let put = once(&first, b"1").if_none_match("*").send().await.expect("nobody was there");
    let tag = put.e_tag().expect("a tag").to_owned();
    let said = refusal("a second put", once(&other, b"2").if_none_match("*").send().await);
    assert!(said.contains("PreconditionFailed"), "{said}");
    once(&first, b"3").if_match(&tag).send().await.expect("the tag is right");
    let said = refusal("a put over another", once(&other, b"4").if_match(&tag).send().await);
    assert!(said.contains("PreconditionFailed"), "{said}");
    same("the winner", &read(&other, bucket, "once").await, b"3");
    did("conditional put");

    let bytes = body(7, BIG);
    let upload = first.create_multipart_upload().bucket(bucket).key("big").send().await.expect("an upload");
    let upload = upload.upload_id().expect("an id").to_owned();
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(bytes.chunks(PART)) {
        let client = if number % 2 == 0 { &first } else { &other };
        let put = client.upload_part().bucket(bucket).key("big").upload_id(&upload).part_number(number);
        let put = put.body(ByteStream::from(part.to_vec())).send().await.expect("a part");
        let part = CompletedPart::builder().part_number(number).set_e_tag(put.e_tag().map(str::to_owned));
        parts.push(part.set_checksum_crc32(put.checksum_crc32().map(str::to_owned)).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let done = first.complete_multipart_upload().bucket(bucket).key("big").upload_id(&upload).multipart_upload(parts);
    let done = done.send().await.expect("all parts are there");
    assert!(done.e_tag().is_some_and(|tag| tag.ends_with("-3\"")), "{done:?}");
    same("what went in parts", &read(&other, bucket, "big").await, &bytes);
    did("multipart");

    first.copy_object().bucket(bucket).key("copy").copy_source(format!("{bucket}/big")).send().await.expect("a copy");
    same("the copy", &read(&other, bucket, "copy").await, &bytes);
    did("copy");

    let minute = || PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute is allowed");
    let url = other.get_object().bucket(bucket).key("once").presigned(minute()).await.expect("signed");
    let url = url::Url::parse(url.uri()).expect("it is a URL");
    same("what a presigned URL gives", &fetch(&url).await, b"3");
    did("presign");

    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    first.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send().await.expect("versions");
    let mut ids = Vec::new();
    for bytes in [&b"a"[..], b"b"] {
        let put = first.put_object().bucket(bucket).key("kept").body(ByteStream::from_static(bytes)).send().await;
        ids.push(put.expect("a version").version_id().expect("it has an id").to_owned());
    }
    let marker = other.delete_object().bucket(bucket).key("kept").send().await.expect("a deletion");
    assert_eq!(marker.delete_marker(), Some(true));
    let old =
        other.get_object().bucket(bucket).key("kept").version_id(&ids[0]).send().await.expect("the first version");
    same("the first version", &old.body.collect().await.expect("whole").to_vec(), b"a");
    did("versions");

    let all = other.list_object_versions().bucket(bucket).send().await.expect("versions");
    let versions = all.versions().iter().map(|one| (one.key(), one.version_id()));
    let markers = all.delete_markers().iter().map(|one| (one.key(), one.version_id()));
    let objects = versions.chain(markers).map(|(key, version)| {
        let object = ObjectIdentifier::builder().key(key.expect("a key")).set_version_id(version.map(str::to_owned));
        object.build().expect("it has a key")
    });
    let delete = Delete::builder().set_objects(Some(objects.collect())).build().expect("there are objects");
    let deleted = first.delete_objects().bucket(bucket).delete(delete).send().await.expect("a deletion");
    assert!(deleted.errors().is_empty(), "{deleted:?}");
    first.delete_bucket().bucket(bucket).send().await.expect("the bucket is empty");
    did("delete");
}

/// The body of a plain GET.
async fn fetch(url: &url::Url) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("the node listens");
    let target = format!("{}?{}", url.path(), url.query().unwrap_or(""));
    let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the node reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the node answers");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the head ends");
    answer.split_off(end + 4)
}
