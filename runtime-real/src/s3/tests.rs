//! Tests of the gateway's pure parts. What needs a socket is in `tests/s3_gateway.rs`.

use super::chunks::{Chunks, Fault, SIGNED_CHUNK_MAX};
use super::conditions::{self, ReadConditions, Verdict};
use super::copy::source_range;
use super::digests::{Algorithm, Claims, Combination, FalseClaim, Hashes, base64, combine};
use super::listing::{KeyEncoding, UploadMarker, page_size, upload_page};
use super::multipart::{ListedPart, ObjectClaim, check_parts};
use super::objects::slice;
use super::policy::{self, Admitted, BODY_SIZE_MAX, Denial, UNSIGNED_ALLOWED};
use super::{error, names, wishes};
use crate::client::ClientError;
use anvil_core::node::Unavailable;
use anvil_core::state::{Body, ETag, Md5, Metadata, Object, ObjectCondition, Part, Place, Refusal, Upload};
use anvil_core::stripe::WrappedKey;
use anvil_core::types::{VersionId, WallTime};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use proptest::prelude::*;
use s3s::dto::{self, ETagCondition, Timestamp};
use std::collections::{BTreeMap, VecDeque};

const SCOPE: &str = "AKID/20260102/us-east-1/s3/aws4_request";

fn authorization(scope: &str, signed: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={}", "0".repeat(64))
}

fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a test's request is well-formed").into_parts().0
}

fn admit(parts: &Parts, region: &str) -> Result<Admitted, Denial> {
    policy::admit(parts, parts.uri.path(), region)
}

fn refused(parts: &Parts) -> &'static str {
    admit(parts, "us-east-1").expect_err("this request must be refused").code
}

fn signed(method: &str, uri: &str, more: &[(&str, &str)], signed_headers: &str) -> Parts {
    let text = authorization(SCOPE, signed_headers);
    let mut headers = vec![("authorization", text.as_str()), ("x-amz-date", "20260102T000000Z")];
    headers.extend_from_slice(more);
    head(method, uri, &headers)
}

fn presigned(expires: &str, scope: &str, signed_headers: &str) -> String {
    let scope = scope.replace('/', "%2F");
    format!(
        "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date=20260102T000000Z\
         &X-Amz-Expires={expires}&X-Amz-SignedHeaders={signed_headers}&X-Amz-Signature=00"
    )
}

#[test]
fn a_signed_request_is_admitted() {
    assert!(admit(&signed("GET", "/bucket/key", &[], "host;x-amz-date"), "us-east-1").is_ok());
    assert!(admit(&head("GET", &presigned("604800", SCOPE, "host"), &[]), "us-east-1").is_ok());
}

#[test]
fn every_x_amz_header_must_be_signed_but_for_the_payload_ones() {
    for name in ["x-amz-copy-source", "x-amz-acl", "x-amz-meta-color", "x-amz-checksum-crc32", "x-amz-new-thing"] {
        let parts = signed("PUT", "/bucket/key", &[(name, "value")], "host;x-amz-date");
        assert_eq!(refused(&parts), "AccessDenied", "{name} is not signed");
        let list = format!("host;{name};x-amz-date");
        assert!(admit(&signed("PUT", "/bucket/key", &[(name, "value")], &list), "us-east-1").is_ok(), "{name} is");
        assert_eq!(refused(&head("PUT", &presigned("60", SCOPE, "host"), &[(name, "value")])), "AccessDenied");
    }
    for name in UNSIGNED_ALLOWED {
        let parts = signed("PUT", "/bucket/key", &[(name, "1")], "host;x-amz-date");
        assert!(admit(&parts, "us-east-1").is_ok(), "{name} may be unsigned");
    }
    assert_eq!(refused(&signed("GET", "/bucket/key", &[], "host")), "AccessDenied", "the date is unsigned");
}

#[test]
fn the_host_and_every_listed_header_must_be_there() {
    assert_eq!(refused(&signed("GET", "/bucket/key", &[], "x-amz-date")), "AccessDenied");
    let parts = signed("GET", "/bucket/key", &[], "host;x-amz-acl;x-amz-date");
    assert_eq!(refused(&parts), "SignatureDoesNotMatch");
}

#[test]
fn only_signature_version_4_by_one_way_is_taken() {
    // What is not signed is judged later: everybody may do what a policy opens.
    assert!(admit(&head("GET", "/bucket/key", &[]), "us-east-1").is_ok());
    assert_eq!(refused(&head("GET", "/bucket/key", &[("authorization", "AWS AKID:c2ln")])), "InvalidRequest");
    assert_eq!(refused(&head("GET", "/bucket/key?AWSAccessKeyId=a&Signature=b&Expires=9", &[])), "InvalidRequest");
    let other = authorization(SCOPE, "host").replace("HMAC-SHA256", "ECDSA-P256-SHA256");
    assert_eq!(refused(&head("GET", "/bucket/key", &[("authorization", &other)])), "InvalidRequest");
    let both = authorization(SCOPE, "host");
    assert_eq!(refused(&head("GET", &presigned("60", SCOPE, "host"), &[("authorization", &both)])), "InvalidArgument");
    let form = [("content-type", "Multipart/Form-Data; boundary=x")];
    assert!(admit(&head("POST", "/bucket", &form), "us-east-1").is_ok(), "a form is signed by its policy");
    let signed_form = [form[0], ("authorization", both.as_str())];
    assert_eq!(refused(&head("POST", "/bucket", &signed_form)), "InvalidArgument");
    let token = [("x-amz-security-token", "t")];
    assert_eq!(refused(&signed("GET", "/bucket/key", &token, "host;x-amz-date;x-amz-security-token")), "InvalidToken");
    let twice = presigned("60", SCOPE, "host") + "&X-Amz-Signature=11";
    assert_eq!(refused(&head("GET", &twice, &[])), "InvalidArgument");
    let lower = presigned("60", SCOPE, "host").replace("X-Amz-Signature", "x-amz-signature");
    assert_eq!(refused(&head("GET", &lower, &[])), "AuthorizationQueryParametersError");
}

#[test]
fn the_scope_names_our_region_and_s3() {
    for scope in [
        "AKID/20260102/eu-west-1/s3/aws4_request",
        "AKID/20260102/us-east-1/sts/aws4_request",
        "AKID/20260102/us-east-1/s3/aws4",
        "AKID/20260102//s3/aws4_request",
        "AKID",
    ] {
        let text = authorization(scope, "host;x-amz-date");
        let headers = [("authorization", text.as_str()), ("x-amz-date", "20260102T000000Z")];
        assert_eq!(refused(&head("GET", "/bucket/key", &headers)), "AuthorizationHeaderMalformed", "{scope}");
        let parts = head("GET", &presigned("60", scope, "host"), &[]);
        assert_eq!(refused(&parts), "AuthorizationQueryParametersError", "{scope}");
    }
}

#[test]
fn a_presigned_url_lives_at_most_seven_days() {
    for expires in ["604801", "0", "-1", "%2B5", "", "1e3", "99999999999999999999"] {
        let parts = head("GET", &presigned(expires, SCOPE, "host"), &[]);
        assert_eq!(refused(&parts), "AuthorizationQueryParametersError", "{expires:?}");
    }
}

#[test]
fn an_unknown_subresource_never_becomes_a_plain_write() {
    let list = "host;x-amz-date";
    for (method, uri) in [
        ("PUT", "/bucket/key?renameObject"),
        ("PUT", "/bucket/key?versioning"),
        ("PUT", "/bucket?metadataTable"),
        ("DELETE", "/bucket/key?retention"),
        ("DELETE", "/bucket?versioning"),
        ("DELETE", "/bucket%2Fkey?policy"),
        ("GET", "/bucket?metadataConfiguration"),
        ("GET", "/bucket/key?X-Amz-Server-Side-Encryption-Customer-Algorithm=AES256"),
        ("PUT", "/bucket/key?x-amz-meta-color=red"),
        ("PUT", "/bucket/key?versionId=null"),
    ] {
        assert_eq!(refused(&signed(method, uri, &[], list)), "NotImplemented", "{method} {uri}");
    }
    assert_eq!(refused(&signed("PUT", "/bucket/key?uploadId=1", &[], list)), "InvalidArgument");
    assert_eq!(refused(&signed("PUT", "/bucket/key?partNumber=1", &[], list)), "InvalidArgument");
    assert_eq!(refused(&signed("GET", "/bucket?prefix=a&prefix=b", &[], list)), "InvalidArgument");
    assert_eq!(refused(&signed("PATCH", "/bucket/key", &[], list)), "MethodNotAllowed");
    for (method, uri) in [
        ("PUT", "/bucket/key?partNumber=1&uploadId=2&x-id=UploadPart"),
        ("DELETE", "/bucket/key?versionId=null"),
        ("GET", "/bucket/?list-type=2&prefix=a%2Fb&encoding-type=url"),
        ("PUT", "/bucket?policy"),
        ("PUT", "/bucket/key?tagging&versionId=null"),
        ("GET", "/bucket/key?version=2&utm_source=page"),
        ("HEAD", "/bucket/key?version=2"),
    ] {
        assert!(admit(&signed(method, uri, &[], list), "us-east-1").is_ok(), "{method} {uri}");
    }
}

#[test]
fn a_body_larger_than_5_gib_is_refused_by_its_head() {
    let size = (BODY_SIZE_MAX + 1).to_string();
    let parts = signed("PUT", "/bucket/key", &[("content-length", &size)], "host;x-amz-date");
    assert_eq!(refused(&parts), "EntityTooLarge");
    let chunked = [
        ("content-length", "100"),
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", &size),
    ];
    assert_eq!(refused(&signed("PUT", "/bucket/key", &chunked, "host;x-amz-date")), "EntityTooLarge");
    let ecdsa = [("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")];
    assert_eq!(refused(&signed("PUT", "/bucket/key", &ecdsa, "host;x-amz-date")), "NotImplemented");
}

/// Feeds `bytes` cut at `cuts`; what comes out, joined.
fn through(signed: bool, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool), Fault> {
    let mut chunks = Chunks::new(signed);
    let mut out = VecDeque::new();
    let mut at = 0;
    for cut in cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]) {
        if cut > at {
            chunks.push(Bytes::copy_from_slice(&bytes[at..cut]), &mut out)?;
            at = cut;
        }
    }
    Ok((out.iter().flatten().copied().collect(), chunks.is_complete()))
}

/// The payload and the trailer of an unsigned chunked body, by a reader that trusts it.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut payload = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").expect("a line ends");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).expect("text"), 16).expect("a size");
        bytes = &bytes[end + 2..];
        if size == 0 {
            return (payload, bytes.to_vec());
        }
        payload.extend_from_slice(&bytes[..size]);
        assert_eq!(&bytes[size..size + 2], b"\r\n");
        bytes = &bytes[size + 2..];
    }
}

proptest! {
    #[test]
    fn unsigned_chunks_are_cut_anew_without_loss(
        sizes in prop::collection::vec(1usize..200_000, 0..4),
        mut cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        let mut payload = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let chunk: Vec<u8> = (0..*size).map(|at| (at * 31 + index).to_le_bytes()[0]).collect();
            bytes.extend_from_slice(format!("{size:X}\r\n").as_bytes());
            bytes.extend_from_slice(&chunk);
            bytes.extend_from_slice(b"\r\n");
            payload.extend_from_slice(&chunk);
        }
        bytes.extend_from_slice(b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
        cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
        cuts.sort_unstable();
        let (out, complete) = through(false, &bytes, &cuts).expect("the body is well-formed");
        prop_assert!(complete);
        prop_assert_eq!(unchunked(&out), (payload, b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n".to_vec()));
    }

    #[test]
    fn signed_chunks_pass_as_they_are(
        mut cuts in prop::collection::vec(any::<usize>(), 0..12),
        size in 1usize..5000,
    ) {
        let signature = "a".repeat(64);
        let mut bytes = format!("{size:x};chunk-signature={signature}\r\n").into_bytes();
        bytes.extend(std::iter::repeat_n(7u8, size));
        bytes.extend_from_slice(format!("\r\n0;chunk-signature={signature}\r\n\r\n").as_bytes());
        cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
        cuts.sort_unstable();
        prop_assert_eq!(through(true, &bytes, &cuts).expect("the body is well-formed"), (bytes.clone(), true));
        // Cut anywhere before the last line's end, it is not complete.
        let cut = cuts.first().copied().unwrap_or(0).min(bytes.len() - 3);
        prop_assert!(!through(true, &bytes[..cut], &[]).expect("a beginning is well-formed").1);
    }
}

#[test]
fn chunks_that_lie_are_refused() {
    let signature = "a".repeat(64);
    let large = format!("{:x};chunk-signature={signature}\r\n", SIGNED_CHUNK_MAX + 1);
    assert_eq!(through(true, large.as_bytes(), &[]), Err(Fault::ChunkTooLarge));
    for (signed, bytes) in [
        // `s3s` would read eight digits and ignore the ninth.
        (false, "100000000\r\n".to_owned()),
        (false, "+5\r\nhello\r\n".to_owned()),
        (false, "\r\n".to_owned()),
        (false, "5\nhello\n".to_owned()),
        (false, "3\r\nhello\r\n".to_owned()),
        (false, format!("5;chunk-signature={signature}\r\n")),
        (true, "5\r\nhello\r\n".to_owned()),
        (true, "5;chunk-signature=short\r\n".to_owned()),
        (false, "1".repeat(300)),
    ] {
        let outcome = through(signed, bytes.as_bytes(), &[]);
        assert!(matches!(outcome, Err(Fault::Malformed(_))), "{bytes:?} gave {outcome:?}");
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn digests_of(bytes: &[u8], algorithms: &[Algorithm]) -> super::digests::Digests {
    let mut hashes = Hashes::new(algorithms.iter().copied());
    hashes.update(bytes);
    hashes.finish()
}

#[test]
fn the_algorithms_are_those_of_their_names() {
    // The check values of the CRC catalogue, and the digests of "123456789" by coreutils.
    let digests = digests_of(b"123456789", &Algorithm::ALL);
    let value = |algorithm| base64(&digests.others[&algorithm]);
    assert_eq!(value(Algorithm::Crc32), base64(&0xcbf4_3926u32.to_be_bytes()));
    assert_eq!(value(Algorithm::Crc32c), base64(&0xe306_9283u32.to_be_bytes()));
    assert_eq!(value(Algorithm::Crc64Nvme), base64(&0xae8b_1486_0a79_9888u64.to_be_bytes()));
    assert_eq!(value(Algorithm::Sha1), "98O8HYCOBHMq32eZZczDTKeuNEE=");
    assert_eq!(names::hex(&digests.md5), "25f9e794323b453885f5181f1b624d0b");
}

#[test]
fn a_false_claim_is_found_and_a_true_one_is_kept() {
    let digests = digests_of(b"body", &[Algorithm::Crc32]);
    let crc = base64(&digests.others[&Algorithm::Crc32]);
    let md5 = base64(&digests.md5);
    let verify = |pairs: &[(&'static str, &str)]| {
        Claims::from_headers(&headers(pairs)).expect("well-formed").verify(&digests, None)
    };
    assert_eq!(verify(&[]), Ok(BTreeMap::new()));
    assert_eq!(verify(&[("content-md5", &md5)]), Ok(BTreeMap::new()));
    assert_eq!(verify(&[("x-amz-checksum-crc32", &crc)]), Ok(BTreeMap::from([("crc32".to_owned(), crc.clone())])));
    assert_eq!(verify(&[("content-md5", &base64(&[0; 16]))]), Err(FalseClaim::Md5));
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==")];
    assert_eq!(verify(&wrong), Err(FalseClaim::Checksum(Algorithm::Crc32)));
    let trailer = [("x-amz-trailer", "x-amz-checksum-crc32")];
    assert_eq!(verify(&trailer), Err(FalseClaim::TrailerMissing(Algorithm::Crc32)), "no trailer came");
}

#[test]
fn claims_must_be_well_formed_and_one() {
    for pairs in [
        &[("content-md5", "short")] as &[(&'static str, &str)],
        &[("content-md5", "AAAA")],
        &[("x-amz-checksum-crc32", "AAAA")],
        &[("x-amz-checksum-crc32", "not base64!")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-trailer", "x-amz-checksum-crc32c")],
        &[("x-amz-trailer", "x-other")],
    ] {
        assert!(Claims::from_headers(&headers(pairs)).is_err(), "{pairs:?}");
    }
}

proptest! {
    #[test]
    fn full_object_checksums_combine_to_that_of_the_whole(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..6),
    ) {
        let whole: Vec<u8> = parts.concat();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let one = |bytes: &[u8]| base64(&digests_of(bytes, &[algorithm]).others[&algorithm]);
            let of_parts: Vec<(String, u64)> = parts.iter().map(|part| (one(part), part.len() as u64)).collect();
            prop_assert_eq!(combine(algorithm, Combination::FullObject, &of_parts), Some(one(&whole)));
        }
    }
}

#[test]
fn a_composite_checksum_is_that_of_the_checksums() {
    let one = |bytes: &[u8]| digests_of(bytes, &[Algorithm::Sha256]).others[&Algorithm::Sha256].clone();
    let parts = [(base64(&one(b"a")), 1), (base64(&one(b"b")), 1)];
    let expected = base64(&one(&[one(b"a"), one(b"b")].concat()));
    assert_eq!(combine(Algorithm::Sha256, Combination::Composite, &parts), Some(format!("{expected}-2")));
    assert_eq!(combine(Algorithm::Sha256, Combination::FullObject, &parts), None);
    assert_eq!(combine(Algorithm::Crc32, Combination::Composite, &[("bad".to_owned(), 1)]), None);
}

fn part(number: u16, bytes: &[u8]) -> Part {
    let digests = digests_of(bytes, &[Algorithm::Crc32]);
    let checksums = BTreeMap::from([("crc32".to_owned(), base64(&digests.others[&Algorithm::Crc32]))]);
    Part { number, size: bytes.len() as u64, etag: Md5(digests.md5), modified: WallTime(0), checksums }
}

#[test]
fn the_parts_of_a_completion_are_compared_with_what_is_held() {
    let held = BTreeMap::from([(1, part(1, b"one")), (2, part(2, b"two"))]);
    let listed = |number: u16, crc: Option<&str>| ListedPart {
        number,
        etag: ETag { md5: held[&number].etag, parts: 0 },
        checksums: crc.map(|crc| (Algorithm::Crc32, crc.to_owned())).into_iter().collect(),
    };
    let crc_one = held[&1].checksums["crc32"].clone();
    let good = [listed(1, Some(&crc_one)), listed(2, None)];
    let composite = check_parts(&good, &held, &ObjectClaim::default()).expect("all claims hold");
    assert!(composite["crc32"].ends_with("-2"));
    let full = ObjectClaim { combination: Some(Combination::FullObject), size: Some(6), ..Default::default() };
    let whole = base64(&digests_of(b"onetwo", &[Algorithm::Crc32]).others[&Algorithm::Crc32]);
    assert_eq!(check_parts(&good, &held, &full).expect("all claims hold")["crc32"], whole);

    let code = |listed: &[ListedPart], claim: ObjectClaim| {
        check_parts(listed, &held, &claim).expect_err("a claim is false").code().as_str().to_owned()
    };
    assert_eq!(code(&[listed(1, Some("AAAAAA=="))], ObjectClaim::default()), "InvalidPart");
    assert_eq!(code(&good, ObjectClaim { size: Some(7), ..Default::default() }), "InvalidRequest");
    let wrong = ObjectClaim { checksum: Some((Algorithm::Crc32, "AAAAAA==".to_owned())), ..Default::default() };
    assert_eq!(code(&good, wrong), "BadDigest");
    let unknown = ObjectClaim { checksum: Some((Algorithm::Sha1, "x".to_owned())), ..Default::default() };
    assert_eq!(code(&good, unknown), "InvalidRequest");
}

fn body(size: u64) -> Body {
    Body { version: VersionId(1), size, key: WrappedKey(Vec::new()), place: Place::Inline(Bytes::new()) }
}

fn object(sizes: &[u64]) -> Object {
    let parts = if sizes.len() > 1 { u32::try_from(sizes.len()).unwrap() } else { 0 };
    Object {
        version: VersionId(1),
        size: sizes.iter().sum(),
        etag: ETag { md5: Md5([0xab; 16]), parts },
        modified: WallTime(1_700_000_000_123),
        metadata: Metadata::default(),
        bodies: sizes.iter().map(|size| body(*size)).collect(),
        name: None,
        attributes: Box::default(),
    }
}

#[test]
fn ranges_are_those_of_rfc_9110() {
    let ten = object(&[10]);
    let none = HeaderMap::new();
    let range = |text: &str| dto::Range::parse(text).expect("well-formed");
    let of = |text: &str| slice(&ten, Some(range(text)), None, &none).map(|slice| slice.range);
    assert_eq!(of("bytes=0-0").unwrap(), 0..1);
    assert_eq!(of("bytes=3-").unwrap(), 3..10);
    assert_eq!(of("bytes=8-99").unwrap(), 8..10);
    assert_eq!(of("bytes=-4").unwrap(), 6..10);
    assert_eq!(of("bytes=-99").unwrap(), 0..10);
    assert_eq!(of("bytes=0-9223372036854775807").unwrap(), 0..10);
    for text in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
        assert_eq!(of(text).unwrap_err().code().as_str(), "InvalidRange", "{text}");
    }
    let empty = object(&[]);
    for text in ["bytes=0-0", "bytes=0-", "bytes=-1"] {
        assert!(slice(&empty, Some(range(text)), None, &none).is_err(), "{text} of nothing");
    }
    let whole = slice(&ten, None, None, &none).unwrap();
    assert!(whole.whole && !whole.partial);
}

#[test]
fn a_range_of_another_version_is_ignored() {
    let ten = object(&[10]);
    let range = Some(dto::Range::parse("bytes=1-2").unwrap());
    let with = |value: &str| slice(&ten, range, None, &headers(&[("if-range", value)])).unwrap().range;
    assert_eq!(with(&format!("\"{}\"", "ab".repeat(16))), 1..3);
    assert_eq!(with("\"00000000000000000000000000000000\""), 0..10);
    assert_eq!(with("Tue, 14 Nov 2023 22:13:20 GMT"), 1..3);
    assert_eq!(with("Tue, 14 Nov 2023 22:13:21 GMT"), 0..10);
}

#[test]
fn a_part_number_names_the_bytes_of_the_part() {
    let three = object(&[5, 6, 7]);
    let none = HeaderMap::new();
    let second = slice(&three, None, Some(2), &none).unwrap();
    assert_eq!((second.range.clone(), second.parts_count, second.partial), (5..11, Some(3), true));
    assert!(slice(&three, None, Some(4), &none).is_err());
    assert!(slice(&three, None, Some(0), &none).is_err());
    let single = slice(&object(&[9]), None, Some(1), &none).unwrap();
    assert_eq!((single.range.clone(), single.parts_count), (0..9, None));
    assert_eq!(slice(&object(&[]), None, Some(1), &none).unwrap().range, 0..0);
}

#[test]
fn a_copied_range_is_given_whole_and_lies_inside() {
    assert_eq!(source_range("bytes=0-4", 5).unwrap(), 0..5);
    for text in ["bytes=0-5", "bytes=3-2", "bytes=-2", "bytes=2-", "0-1", "bytes=a-b"] {
        assert!(source_range(text, 5).is_err(), "{text}");
    }
}

#[test]
fn conditions_of_reads_follow_the_order_of_rfc_9110() {
    let etag = ETag { md5: Md5([0xab; 16]), parts: 2 };
    let modified = WallTime(1_700_000_000_999);
    let ours = || Some(ETagCondition::ETag(names::etag_dto(etag)));
    let other = || Some(ETagCondition::ETag(dto::ETag::Strong("0".repeat(32))));
    let at = |seconds: u64| Some(names::timestamp(WallTime(seconds * 1000)));
    let (then, before): (Option<Timestamp>, Option<Timestamp>) = (at(1_700_000_000), at(1_699_999_999));
    let judge = |if_match, if_none_match, if_modified_since, if_unmodified_since| {
        ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since }.judge(etag, modified)
    };
    assert_eq!(judge(None, None, None, None), Verdict::Proceed);
    assert_eq!(judge(ours(), None, None, None), Verdict::Proceed);
    assert_eq!(judge(Some(ETagCondition::Any), None, None, None), Verdict::Proceed);
    assert_eq!(judge(other(), None, None, None), Verdict::Failed);
    assert_eq!(judge(None, ours(), None, None), Verdict::NotModified);
    assert_eq!(judge(None, other(), None, None), Verdict::Proceed);
    assert_eq!(judge(None, None, then.clone(), None), Verdict::NotModified, "to the second");
    assert_eq!(judge(None, None, before.clone(), None), Verdict::Proceed);
    assert_eq!(judge(None, None, None, then.clone()), Verdict::Proceed);
    assert_eq!(judge(None, None, None, before.clone()), Verdict::Failed);
    assert_eq!(judge(ours(), None, None, before), Verdict::Proceed, "the tag goes before the date");
    assert_eq!(judge(None, other(), then, None), Verdict::Proceed, "the tag goes before the date");
}

#[test]
fn conditions_of_writes_are_carried_into_the_decision() {
    let etag = ETag { md5: Md5([1; 16]), parts: 0 };
    let tag = ETagCondition::ETag(names::etag_dto(etag));
    let foreign = ETagCondition::ETag(dto::ETag::Strong("not-ours".to_owned()));
    let any = ETagCondition::Any;
    assert_eq!(conditions::of_write(None, None).unwrap(), ObjectCondition::Any);
    assert_eq!(conditions::of_write(Some(&any), None).unwrap(), ObjectCondition::Present);
    assert_eq!(conditions::of_write(None, Some(&any)).unwrap(), ObjectCondition::Absent);
    assert_eq!(conditions::of_write(Some(&tag), None).unwrap(), ObjectCondition::Match(etag));
    assert_eq!(conditions::of_write(None, Some(&tag)).unwrap(), ObjectCondition::NoneMatch(etag));
    // Whether what is not there is missing or different is decided with the write.
    let of_none = conditions::of_write(Some(&foreign), None).unwrap();
    assert!(matches!(of_none, ObjectCondition::Match(tag) if tag.parts > 10_000), "{of_none:?}");
    assert_eq!(conditions::of_write(None, Some(&foreign)).unwrap(), ObjectCondition::Any);
    assert!(conditions::of_write(Some(&tag), Some(&any)).is_err());
}

proptest! {
    #[test]
    fn names_survive_their_text(md5 in any::<[u8; 16]>(), parts in 0u32..10_001, id in any::<u128>(), key in ".*") {
        let etag = ETag { md5: Md5(md5), parts };
        prop_assert_eq!(names::parse_etag(&names::etag_text(etag)), Some(etag));
        prop_assert_eq!(names::upload(&names::upload_text(VersionId(id))).ok(), Some(VersionId(id)));
        prop_assert_eq!(names::start_after(&names::token(&key)).ok(), Some(key));
    }

    #[test]
    fn no_text_breaks_the_readers(text in ".{0,64}") {
        let _ = names::parse_etag(&text);
        let _ = names::upload(&text);
        let _ = names::start_after(&text);
        let _ = source_range(&text, 100);
        let _ = admit(&head("GET", "/bucket/key", &[]), &text);
    }
}

#[test]
fn keys_buckets_and_numbers_have_limits() {
    assert_eq!(names::object("b".into(), "k".repeat(1025)).unwrap_err().code().as_str(), "KeyTooLongError");
    assert!(names::object("b".into(), "k".repeat(1024)).is_ok());
    for name in ["status", "join", "remove", "UPPER", "a"] {
        assert_eq!(names::new_bucket(name.into()).unwrap_err().code().as_str(), "InvalidBucketName", "{name}");
    }
    assert!(names::part_number(0).is_err() && names::part_number(10_001).is_err() && names::part_number(-1).is_err());
    assert_eq!(names::part_number(10_000).ok(), Some(10_000));
    assert_eq!(names::upload("0000").unwrap_err().code().as_str(), "NoSuchUpload");
    assert_eq!(names::upload(&"A".repeat(32)).unwrap_err().code().as_str(), "NoSuchUpload");
    use anvil_core::state::VersionName;
    assert_eq!(names::version(None).unwrap(), None);
    assert_eq!(names::version(Some("null")).unwrap(), Some(VersionName::Null));
    let id = VersionName::Id { decided: anvil_core::types::LogIndex(300), version: VersionId(7) };
    assert_eq!(names::version(Some(&names::version_text(id))).unwrap(), Some(id));
    for bad in ["abc", &"A".repeat(48), &"0".repeat(47), &"g".repeat(48), "nulL"] {
        assert_eq!(names::version(Some(bad)).unwrap_err().code().as_str(), "InvalidArgument", "{bad}");
    }
}

#[test]
fn keys_are_written_for_xml_and_for_urls() {
    assert_eq!(KeyEncoding::Plain.write("a b/ü"), "a b/ü");
    assert_eq!(KeyEncoding::Url.write("a b/ü+\u{1}"), "a%20b/%C3%BC%2B%01");
    assert_eq!(page_size(None).ok(), Some(1000));
    assert_eq!(page_size(Some(5000)).ok(), Some(1000));
    assert_eq!(page_size(Some(0)).ok(), Some(0));
    assert!(page_size(Some(-1)).is_err());
}

#[test]
fn pages_of_uploads_show_each_once() {
    let keys = ["a", "a", "dir/x", "dir/y", "dir2/z", "e"];
    let all: Vec<Upload> = keys
        .iter()
        .zip(1u128..)
        .map(|(key, id)| Upload { key: (*key).to_owned(), upload: VersionId(id), created: WallTime(0) })
        .collect();
    for (delimiter, expected) in
        [("", vec!["a", "a", "dir/x", "dir/y", "dir2/z", "e"]), ("/", vec!["a", "a", "dir/", "dir2/", "e"])]
    {
        for limit in 1..8 {
            let (mut seen, mut after) = (Vec::new(), UploadMarker::default());
            loop {
                let page = upload_page(all.clone(), "", delimiter, &after, limit);
                assert!(page.uploads.len() + page.prefixes.len() <= limit);
                seen.extend(page.uploads.into_iter().map(|upload| upload.key));
                seen.extend(page.prefixes);
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            seen.sort();
            assert_eq!(seen, expected, "delimiter {delimiter:?}, limit {limit}");
        }
    }
}

#[test]
fn what_anvil_does_not_have_is_refused() {
    for (name, value, code) in [
        ("x-amz-server-side-encryption", "aws:kms", "NotImplemented"),
        ("x-amz-server-side-encryption-customer-key", "k", "NotImplemented"),
        ("x-amz-storage-class", "GLACIER", "InvalidStorageClass"),
        ("x-amz-write-offset-bytes", "5", "NotImplemented"),
    ] {
        let outcome = wishes::check(&headers(&[(name, value)]));
        assert_eq!(outcome.unwrap_err().code().as_str(), code, "{name}");
    }
    let harmless = [
        ("x-amz-acl", "private"),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-bucket-object-lock-enabled", "false"),
        ("x-amz-meta-color", "red"),
    ];
    assert!(wishes::check(&headers(&harmless)).is_ok());
}

#[test]
fn what_a_version_shall_have_is_read_from_the_head() {
    use anvil_core::state::{Retention, RetentionMode};
    let given = headers(&[
        ("x-amz-tagging", "a=b&c=%20d"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2030-01-02T03:04:05Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-website-redirect-location", "/other"),
    ]);
    let read = wishes::attributes(&given).unwrap();
    assert_eq!(read.tags.into_iter().collect::<Vec<_>>(), [("a".into(), "b".into()), ("c".into(), " d".to_owned())]);
    let retention = Retention { mode: RetentionMode::Compliance, until: WallTime(1_893_553_445_000) };
    assert_eq!((read.retention, read.legal_hold), (Some(retention), true));
    assert_eq!(read.redirect.as_deref(), Some("/other"));
    for (name, value, code) in [
        ("x-amz-tagging", "a=1&a=2", "InvalidTag"),
        ("x-amz-object-lock-mode", "COMPLIANCE", "InvalidArgument"),
        ("x-amz-object-lock-mode", "SOMETIMES", "InvalidArgument"),
        ("x-amz-object-lock-retain-until-date", "tomorrow", "InvalidArgument"),
        ("x-amz-object-lock-legal-hold", "PERHAPS", "InvalidArgument"),
        ("x-amz-website-redirect-location", "ftp://x", "InvalidRedirectLocation"),
    ] {
        let outcome = wishes::attributes(&headers(&[(name, value)]));
        assert_eq!(outcome.unwrap_err().code().as_str(), code, "{name}: {value}");
    }
}

#[test]
fn a_policy_that_is_not_understood_is_malformed() {
    let policy = |statement: &str| format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statement}]}}");
    let good =
        "\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::bkt/*\"";
    let read = super::policy_text::parse(&policy(&format!("{{{good}}}")), "bkt").unwrap();
    assert!(read.is_public());
    for bad in [
        "{}".to_owned(),
        "[]".to_owned(),
        "no JSON".to_owned(),
        policy(""),
        policy("{}"),
        policy(&format!("{{{good},\"Colour\":1}}")),
        policy(&format!("{{{good}}}").replace("Allow", "Perhaps")),
        policy(&format!("{{{good}}}").replace("s3:GetObject", "ec2:Run")),
        policy(&format!("{{{good}}}").replace(":::bkt/", ":::other/")),
        policy(&format!("{{{good},\"Condition\":{{\"StringSeems\":{{\"aws:username\":\"a\"}}}}}}")),
        policy(&format!("{{{good},\"Condition\":{{\"StringEquals\":{{\"username\":\"a\"}}}}}}")),
        policy(&format!("{{{good},\"NotAction\":\"s3:PutObject\"}}")),
        policy(&format!("{{{good}}}").replace("2012", "2013")).replace("\"*\"", "{\"Pope\":\"x\"}"),
    ] {
        let outcome = super::policy_text::parse(&bad, "bkt");
        assert_eq!(outcome.unwrap_err().code().as_str(), "MalformedPolicy", "{bad}");
    }
}

#[test]
fn metadata_is_kept_without_what_describes_the_transfer() {
    let given = headers(&[("content-type", "text/plain"), ("content-encoding", "aws-chunked, gzip")]);
    let kept = wishes::metadata(&given, None).unwrap();
    assert_eq!(kept.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(kept.content_type.as_deref(), Some("text/plain"));
    let only = wishes::metadata(&headers(&[("content-encoding", "aws-chunked")]), None).unwrap();
    assert_eq!(only.content_encoding, None);
    let large = dto::Metadata::from([("k".to_owned(), "v".repeat(2048))]);
    assert_eq!(wishes::metadata(&HeaderMap::new(), Some(large)).unwrap_err().code().as_str(), "MetadataTooLarge");
}

#[test]
fn refusals_have_the_codes_of_s3() {
    for (refusal, code, status) in [
        (Refusal::NoSuchBucket, "NoSuchBucket", 404),
        (Refusal::NoSuchKey, "NoSuchKey", 404),
        (Refusal::BucketExists, "BucketAlreadyOwnedByYou", 409),
        (Refusal::BucketNotEmpty, "BucketNotEmpty", 409),
        (Refusal::ConditionFailed, "PreconditionFailed", 412),
        (Refusal::NoSuchUpload, "NoSuchUpload", 404),
        (Refusal::InvalidPart(3), "InvalidPart", 400),
        (Refusal::InvalidPartOrder, "InvalidPartOrder", 400),
        (Refusal::PartTooSmall(1), "EntityTooSmall", 400),
        (Refusal::Expired, "SlowDown", 503),
        (Refusal::Invalid("x".into()), "InvalidArgument", 400),
    ] {
        let error = error::from_refusal(refusal);
        let status_code = error.status_code().map(|status| status.as_u16());
        assert_eq!((error.code().as_str(), status_code), (code, Some(status)));
    }
    for (why, code, status) in [
        (Unavailable::Busy, "SlowDown", 503),
        (Unavailable::NotLeader { leader: None }, "ServiceUnavailable", 503),
        (Unavailable::Uncertain, "ServiceUnavailable", 503),
        (Unavailable::DiskFull, "InsufficientStorage", 503),
        (Unavailable::Damaged("x".into()), "InternalError", 500),
        (Unavailable::Disk("x".into()), "InternalError", 500),
    ] {
        let error = error::from_client(ClientError::Unavailable(why));
        let status_code = error.status_code().map(|status| status.as_u16());
        assert_eq!((error.code().as_str(), status_code), (code, Some(status)));
    }
}
