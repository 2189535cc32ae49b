//! object_store: put, conditional put, ranges, list, multipart, copy, rename, deletion.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{MultipartUpload as _, ObjectStore, PutMode, PutPayload, UpdateVersion};
use rust_clients::{BIG, PART, Target, body, did, refusal, same};

fn connect(target: &Target, url: &str) -> AmazonS3 {
    let builder = AmazonS3Builder::new()
        .with_endpoint(url)
        .with_allow_http(true)
        .with_bucket_name(&target.bucket)
        .with_region(&target.region)
        .with_access_key_id(&target.key_id)
        .with_secret_access_key(&target.secret)
        .with_virtual_hosted_style_request(false)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    builder.build().expect("the configuration is whole")
}

async fn read(store: &AmazonS3, key: &str) -> Bytes {
    let got = store.get(&Path::from(key)).await.expect("the object is there");
    got.bytes().await.expect("the body is whole")
}

#[tokio::main]
async fn main() {
    // The bucket is made by scripts/check-s3: this crate makes none.
    let target = Target::from_environment();
    let (first, other) = (connect(&target, &target.first), connect(&target, &target.other));
    for size in [0, 1, 4096, 16_385, 1 << 20] {
        let (key, bytes) = (format!("size/{size}"), body(size as u64, size));
        first.put(&Path::from(key.as_str()), PutPayload::from(bytes.clone())).await.expect("put");
        same(&key, &read(&other, &key).await, &bytes);
        assert_eq!(other.head(&Path::from(key.as_str())).await.expect("head").size, size as u64);
    }
    let whole = body(1 << 20, 1 << 20);
    let ranges = [0..10, 70_000..70_100, 1_000_000..1_000_001];
    let got = other.get_ranges(&Path::from("size/1048576"), &ranges).await.expect("ranges");
    for (range, bytes) in ranges.iter().zip(got) {
        same("a range", &bytes, &whole[range.start as usize..range.end as usize]);
    }
    did("put, get, head, ranges");

    let once = Path::from("once");
    let put = first.put_opts(&once, "1".into(), PutMode::Create.into()).await.expect("nobody was there");
    let said = refusal("a second put", other.put_opts(&once, "2".into(), PutMode::Create.into()).await);
    assert!(said.contains("AlreadyExists"), "{said}");
    let version = UpdateVersion { e_tag: put.e_tag, version: put.version };
    first.put_opts(&once, "3".into(), PutMode::Update(version.clone()).into()).await.expect("the tag is right");
    let said = refusal("a put over another", other.put_opts(&once, "4".into(), PutMode::Update(version).into()).await);
    assert!(said.contains("Precondition"), "{said}");
    same("the winner", &read(&other, "once").await, b"3");
    did("conditional put");

    let bytes = body(7, BIG);
    let mut upload = first.put_multipart(&Path::from("big")).await.expect("an upload");
    for part in bytes.chunks(PART) {
        upload.put_part(PutPayload::from(part.to_vec())).await.expect("a part");
    }
    upload.complete().await.expect("all parts are there");
    same("what went in parts", &read(&other, "big").await, &bytes);
    did("multipart");

    first.copy(&Path::from("big"), &Path::from("copy")).await.expect("a copy");
    other.rename(&Path::from("copy"), &Path::from("moved")).await.expect("a rename");
    same("the moved object", &read(&first, "moved").await, &bytes);
    refusal("a read of what was moved", other.head(&Path::from("copy")).await);
    did("copy, rename");

    let listed: Vec<_> = other.list(None).map_ok(|object| object.location).try_collect().await.expect("a listing");
    assert_eq!(listed.len(), 8, "{listed:?}");
    let level = other.list_with_delimiter(None).await.expect("a listing");
    assert_eq!((level.common_prefixes.len(), level.objects.len()), (1, 3));
    did("list");

    let locations = futures::stream::iter(listed.into_iter().map(Ok)).boxed();
    let deleted: Vec<_> = first.delete_stream(locations).try_collect().await.expect("deletions");
    assert_eq!(deleted.len(), 8);
    assert!(other.list(None).next().await.is_none());
    did("delete");
}
