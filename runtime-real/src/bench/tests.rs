//! The percentiles and the signer, against known values.

use super::figures::{Samples, percentile, shown, shown_size};
use super::servers::{Servers, ticks_of};
use super::signer::{Credentials, Signable, sha256_hex, stamp};
use super::{count, size};
use std::time::{Duration, SystemTime};

/// The credentials of AWS's documented examples.
fn example() -> Credentials {
    Credentials {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        region: "us-east-1".into(),
    }
}

#[test]
fn a_get_has_the_signature_of_the_documented_example() {
    // Amazon S3 API reference, "Authenticating Requests: Using the Authorization Header", example GET Object.
    let empty = sha256_hex(b"");
    let headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", empty.as_str()),
        ("x-amz-date", "20130524T000000Z"),
    ];
    let request = Signable { method: "GET", path: "/test.txt", query: "", headers: &headers, payload: &empty };
    let expected = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                    SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                    Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    assert_eq!(example().authorization("20130524T000000Z", &request), expected);
}

#[test]
fn a_listing_has_the_signature_of_the_documented_example() {
    // The same page, example GET Bucket (List Objects).
    let empty = sha256_hex(b"");
    let headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-content-sha256", empty.as_str()),
        ("x-amz-date", "20130524T000000Z"),
    ];
    let request =
        Signable { method: "GET", path: "/", query: "max-keys=2&prefix=J", headers: &headers, payload: &empty };
    let authorization = example().authorization("20130524T000000Z", &request);
    assert!(
        authorization.ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        "{authorization}"
    );
}

#[test]
fn a_stamp_knows_leap_days_and_the_ends_of_years() {
    let at = |seconds| stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "19700101T000000Z");
    assert_eq!(at(951_827_696), "20000229T123456Z");
    assert_eq!(at(1_369_353_600), "20130524T000000Z");
    assert_eq!(at(1_704_067_199), "20231231T235959Z");
    assert_eq!(at(4_107_542_400), "21000301T000000Z");
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let sorted: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
    assert_eq!(percentile(&sorted, 500), Duration::from_millis(500));
    assert_eq!(percentile(&sorted, 990), Duration::from_millis(990));
    assert_eq!(percentile(&sorted, 999), Duration::from_millis(999));
    assert_eq!(percentile(&sorted, 1000), Duration::from_millis(1000));
    assert_eq!(percentile(&sorted[..3], 500), Duration::from_millis(2));
    assert_eq!(percentile(&sorted[..3], 990), Duration::from_millis(3));
    assert_eq!(percentile(&[], 500), Duration::ZERO);
}

#[test]
fn figures_come_from_all_clients() {
    let mut all = Samples::default();
    for client in 0..4 {
        let mut samples = Samples::default();
        for number in 1..=25 {
            samples.success(Duration::from_millis(client * 25 + number));
        }
        samples.failure(format!("of client {client}"));
        all.merge(samples);
    }
    let figures = all.figures(1 << 20, Duration::from_secs(2));
    assert_eq!((figures.operations, figures.failures), (100, 4));
    assert_eq!(figures.first_failure.as_deref(), Some("of client 0"));
    assert!((figures.per_second - 50.0).abs() < 1e-9 && (figures.mib_per_second - 50.0).abs() < 1e-9);
    assert_eq!((figures.p50, figures.p99), (Duration::from_millis(50), Duration::from_millis(99)));
    assert_eq!((figures.p999, figures.longest), (Duration::from_millis(100), Duration::from_millis(100)));
}

#[test]
fn sizes_and_counts_are_read_and_shown() {
    assert_eq!(size("256"), Ok(256));
    assert_eq!(size("4KiB"), Ok(4096));
    assert_eq!(size("64MiB"), Ok(64 << 20));
    assert!(size("4kb").is_err() && size("KiB").is_err() && size("99999999999999GiB").is_err());
    assert!(count("0").is_err() && count("64").is_ok());
    assert_eq!(
        (shown_size(4096), shown_size(64 << 20), shown_size(1000)),
        ("4 KiB".into(), "64 MiB".into(), "1000 B".into())
    );
    assert_eq!(shown(Duration::from_micros(950)), "950 us");
    assert_eq!(shown(Duration::from_micros(12_340)), "12.3 ms");
}

#[test]
fn processor_time_is_that_of_the_whole_process() {
    let stat = "42 (a) name (b) S 1 2 3 4 5 6 7 8 9 10 700 30 999 999 20 0 8 0 1 2 3";
    assert_eq!(ticks_of(stat), Some(730));
    assert_eq!(ticks_of("42 (name S 1 2"), None);
    assert_eq!(Servers::new(&[]).processor_time().unwrap(), None);
    let own = Servers::new(&[std::process::id()]);
    let before = own.processor_time().unwrap().unwrap();
    let begun = std::time::Instant::now();
    while own.processor_time().unwrap().unwrap() == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "a busy process spends time");
    }
    assert!(Servers::new(&[u32::MAX]).processor_time().is_err());
}
