//! Golden bytes of each message, the round trip, and requests that a node must not take.

use super::*;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("testdata/join.hex");

fn request() -> JoinRequest {
    JoinRequest {
        format_version: FORMAT_VERSION,
        cluster: 0xC1,
        secret: [2; 16],
        node: NodeId(0xA1),
        name: "node2".to_owned(),
        zone: "b".to_owned(),
        address: "10.0.0.2:8000".parse().unwrap(),
        drives_gib: vec![100, 300],
        public_key: [3; 32],
        proof: [4; 64],
    }
}

fn admission() -> Admission {
    Admission {
        first_drive: 300,
        root_key: RootKey([5; 32]),
        access_key_id: "AK".to_owned(),
        secret_access_key: "SK".to_owned(),
        ca_certificate: vec![6; 3],
        ca_key: vec![7; 3],
        certificate: vec![8; 3],
        peers: vec![KnownPeer { node: NodeId(9), address: "[::1]:1".parse().unwrap(), name: "n1".to_owned() }],
    }
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::WrongToken,
        Refusal::UsedToken,
        Refusal::OtherCluster,
        Refusal::NameTaken,
        Refusal::NodeTaken,
        Refusal::Version(300),
        Refusal::TryAgain("no leader".to_owned()),
        Refusal::TooManyAttempts,
        Refusal::Malformed("x".to_owned()),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn each_message_has_its_golden_bytes() {
    let mut lines = vec![format!("request: {}", hex(&encode_request(&request())))];
    lines.push(format!("admission: {}", hex(&encode_answer(&Ok(admission())))));
    lines.extend(refusals().into_iter().map(|refusal| format!("refusal: {}", hex(&encode_answer(&Err(refusal))))));
    let golden: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, golden, "\n{}", lines.join("\n"));
}

#[test]
fn what_was_encoded_is_decoded() {
    assert_eq!(decode_request(&encode_request(&request())), Ok(request()));
    for refusal in refusals() {
        assert_eq!(decode_answer(&encode_answer(&Err(refusal.clone()))).unwrap().unwrap_err(), refusal);
    }
    let bytes = encode_answer(&Ok(admission()));
    let decoded = decode_answer(&bytes).unwrap().unwrap();
    assert_eq!(encode_answer(&Ok(decoded)), bytes);
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_by_the_name_of_the_part() {
    let refused = |part: &str, change: &dyn Fn(&mut JoinRequest)| {
        let mut request = request();
        change(&mut request);
        let error = decode_request(&encode_request(&request)).expect_err(part);
        assert_eq!(error.to_string(), format!("`{part}` cannot be used"));
    };
    refused("name", &|request| request.name.clear());
    refused("name", &|request| request.name = "a b".to_owned());
    refused("name", &|request| request.name = "n".repeat(NAME_SIZE_MAX + 1));
    refused("zone", &|request| request.zone = "a\nb".to_owned());
    refused("address", &|request| request.address = "0.0.0.0:8000".parse().unwrap());
    refused("address", &|request| request.address = "10.0.0.1:0".parse().unwrap());
    refused("drives_gib", &|request| request.drives_gib.clear());
    refused("drives_gib", &|request| request.drives_gib = vec![1, 0]);
    refused("drives_gib", &|request| request.drives_gib = vec![1; DRIVES_MAX + 1]);
    refused("node", &|request| request.node = NodeId(0));
    let large = vec![0; REQUEST_SIZE_MAX + 1];
    assert_eq!(decode_request(&large), Err(JoinDecodeError::TooLarge { size: large.len() }));
    assert!(matches!(decode_request(&[]), Err(JoinDecodeError::Part(_))));
    assert!(matches!(decode_answer(&[]), Err(JoinDecodeError::Part("answer"))));
    assert!(matches!(decode_answer(&[0xFF]), Err(JoinDecodeError::Malformed(_))));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", request(), admission());
    assert!(!shown.contains("2, 2") && !shown.contains("5, 5") && !shown.contains("SK"), "{shown}");
}

proptest! {
    // JOIN-1
    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let _ = (decode_request(&bytes), decode_answer(&bytes));
        for mut bytes in [encode_request(&request()), encode_answer(&Ok(admission()))] {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Ok(request) = decode_request(&bytes) {
                prop_assert_eq!(decode_request(&encode_request(&request)), Ok(request));
            }
            let _ = decode_answer(&bytes);
        }
    }
}
