//! MD5 and the `x-amz-checksum-*` family: computed while bytes pass, compared with what the client claimed.
//!
//! `s3s` parses the checksum headers and verifies none of them, so it happens here, before anything is decided.
//!
//! - `SUM-1` A body whose MD5 or checksum differs from what the client gave never becomes an object.
//! - `SUM-2` A checksum that is returned was verified against the bytes, or combined from parts that were.
//!
//! Source: AWS, "Checking object integrity in Amazon S3"; the checksum of a multipart object, "Full object and
//! composite checksum types".

use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::ChecksumType;
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders};
use std::collections::BTreeMap;

/// A checksum algorithm of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub(super) const ALL: [Algorithm; 5] =
        [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

    /// As `Metadata::checksums` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "crc32",
            Algorithm::Crc32c => "crc32c",
            Algorithm::Crc64Nvme => "crc64nvme",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
        }
    }

    /// As S3 names it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries it.
    pub(super) fn header(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Bytes of a value.
    fn size(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32c => 4,
            Algorithm::Crc64Nvme => 8,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        }
    }

    /// By S3's name, as `x-amz-checksum-algorithm` has it.
    pub(super) fn from_label(label: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.label().eq_ignore_ascii_case(label))
    }

    /// The bytes of a base64 value of this algorithm.
    pub(super) fn decode(self, value: &str) -> Option<Vec<u8>> {
        base64_simd::STANDARD.decode_to_vec(value).ok().filter(|bytes| bytes.len() == self.size())
    }
}

/// Base64, as all of S3's checksums are written.
pub(super) fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Crc32 => Hasher::Crc32(Crc32::new()),
            Algorithm::Crc32c => Hasher::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Hasher::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Hasher::Sha1(Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Crc32(hasher) => hasher.update(bytes),
            Hasher::Crc32c(hasher) => hasher.update(bytes),
            Hasher::Crc64Nvme(hasher) => hasher.update(bytes),
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Hasher::Crc32(hasher) => hasher.finalize().to_vec(),
            Hasher::Crc32c(hasher) => hasher.finalize().to_vec(),
            Hasher::Crc64Nvme(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha1(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Digests under way.
pub(super) struct Hashes {
    md5: Md5,
    others: Vec<(Algorithm, Hasher)>,
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashes").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

impl Hashes {
    /// MD5, and `algorithms` besides.
    pub(super) fn new(algorithms: impl IntoIterator<Item = Algorithm>) -> Hashes {
        let others = algorithms.into_iter().map(|algorithm| (algorithm, Hasher::new(algorithm))).collect();
        Hashes { md5: Md5::new(), others }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        for (_, hasher) in &mut self.others {
            hasher.update(bytes);
        }
    }

    /// The digests of all bytes.
    pub(super) fn finish(self) -> Digests {
        let others = self.others.into_iter().map(|(algorithm, hasher)| (algorithm, hasher.finish())).collect();
        Digests { md5: self.md5.finalize(), others }
    }
}

/// The digests of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// Always.
    pub(super) md5: [u8; 16],
    /// Those that were asked for.
    pub(super) others: BTreeMap<Algorithm, Vec<u8>>,
}

/// What a client claims about a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// `Content-MD5`.
    md5: Option<Vec<u8>>,
    /// The checksum, and its value unless it comes in the trailer.
    checksum: Option<(Algorithm, Option<Vec<u8>>)>,
    /// `x-amz-content-sha256`, where `s3s` does not report its own comparison well.
    payload: Option<Vec<u8>>,
}

/// Which claim was false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FalseClaim {
    Md5,
    Checksum(Algorithm),
    TrailerMissing(Algorithm),
    Payload,
}

impl FalseClaim {
    /// The header that made it.
    pub(super) fn name(self) -> &'static str {
        match self {
            FalseClaim::Md5 => "content-md5",
            FalseClaim::Checksum(algorithm) | FalseClaim::TrailerMissing(algorithm) => algorithm.header(),
            FalseClaim::Payload => "x-amz-content-sha256",
        }
    }
}

impl From<FalseClaim> for S3Error {
    fn from(claim: FalseClaim) -> S3Error {
        match claim {
            FalseClaim::Md5 => S3Error::with_message(
                S3ErrorCode::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ),
            FalseClaim::Checksum(algorithm) => S3Error::with_message(
                S3ErrorCode::BadDigest,
                format!("The {} you specified did not match the calculated checksum.", algorithm.label()),
            ),
            FalseClaim::TrailerMissing(algorithm) => S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                format!("The trailer {} that x-amz-trailer announces is missing or malformed.", algorithm.header()),
            ),
            FalseClaim::Payload => super::error::payload_mismatch(),
        }
    }
}

impl Claims {
    /// Reads the headers. At most one `x-amz-checksum-*` may be given, in the head or as a trailer.
    pub(super) fn from_headers(headers: &http::HeaderMap) -> S3Result<Claims> {
        let text = |name: &str| match headers.get(name).map(http::HeaderValue::to_str) {
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(invalid(format!("The header {name} is not text."))),
            None => Ok(None),
        };
        let mut claims = Claims::default();
        if let Some(value) = text("content-md5")? {
            let decoded = base64_simd::STANDARD.decode_to_vec(value).ok().filter(|bytes| bytes.len() == 16);
            let message = "The Content-MD5 you specified is not valid.";
            let decoded = decoded.ok_or_else(|| S3Error::with_message(S3ErrorCode::InvalidDigest, message))?;
            claims.md5 = Some(decoded);
        }
        let mut given = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(value) = text(algorithm.header())? {
                let message = || invalid(format!("Value for {} header is invalid.", algorithm.header()));
                given.push((algorithm, Some(algorithm.decode(value).ok_or_else(message)?)));
            }
        }
        for name in text("x-amz-trailer")?.unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name));
            let message = || invalid(format!("The value {name:?} specified in x-amz-trailer is not supported."));
            given.push((algorithm.ok_or_else(message)?, None));
        }
        if given.len() > 1 {
            return Err(invalid("Expecting a single x-amz-checksum- header.".to_owned()));
        }
        claims.checksum = given.pop();
        Ok(claims)
    }

    /// As [`Claims::from_headers`], with the SHA-256 of the payload among the claims.
    pub(super) fn of_document(headers: &http::HeaderMap) -> S3Result<Claims> {
        let mut claims = Claims::from_headers(headers)?;
        let payload = headers.get("x-amz-content-sha256").map_or("", |value| value.to_str().unwrap_or(""));
        if payload.len() == 64
            && let Some(digest) = decode_hex(payload)
        {
            claims.payload = Some(digest);
        }
        Ok(claims)
    }

    /// What must be computed to check the claims.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> = self.checksum.iter().map(|(algorithm, _)| *algorithm).collect();
        if self.payload.is_some() && !algorithms.contains(&Algorithm::Sha256) {
            algorithms.push(Algorithm::Sha256);
        }
        algorithms
    }

    /// SUM-1. Compares; returns the checksums to keep (name to base64), those that the client gave.
    pub(super) fn verify(
        &self,
        digests: &Digests,
        trailers: Option<&TrailingHeaders>,
    ) -> Result<BTreeMap<String, String>, FalseClaim> {
        if self.md5.as_deref().is_some_and(|claimed| claimed != digests.md5) {
            return Err(FalseClaim::Md5);
        }
        if let Some(claimed) = &self.payload
            && digests.others.get(&Algorithm::Sha256) != Some(claimed)
        {
            return Err(FalseClaim::Payload);
        }
        let mut kept = BTreeMap::new();
        if let Some((algorithm, value)) = &self.checksum {
            let from_trailer = || {
                let text =
                    trailers?.read(|headers| Some(headers.get(algorithm.header())?.to_str().ok()?.to_owned()))?;
                algorithm.decode(&text?)
            };
            let claimed = value.clone().or_else(from_trailer).ok_or(FalseClaim::TrailerMissing(*algorithm))?;
            let computed = digests.others.get(algorithm).expect("what is claimed is computed: see algorithms()");
            if claimed != *computed {
                return Err(FalseClaim::Checksum(*algorithm));
            }
            // SUM-2
            kept.insert(algorithm.name().to_owned(), base64(computed));
        }
        Ok(kept)
    }
}

fn invalid(message: String) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, message)
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// How the checksum of a multipart object is made from those of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combination {
    /// The checksum of the parts' checksums, with their number: `value-n`.
    Composite,
    /// The checksum of the whole, which only CRCs can give.
    FullObject,
}

impl Combination {
    /// As `x-amz-checksum-type` has it.
    pub(super) fn dto(self) -> ChecksumType {
        ChecksumType::from_static(match self {
            Combination::Composite => ChecksumType::COMPOSITE,
            Combination::FullObject => ChecksumType::FULL_OBJECT,
        })
    }

    /// Reads `x-amz-checksum-type`.
    pub(super) fn of_dto(kind: &ChecksumType) -> S3Result<Combination> {
        match kind.as_str() {
            ChecksumType::COMPOSITE => Ok(Combination::Composite),
            ChecksumType::FULL_OBJECT => Ok(Combination::FullObject),
            _ => Err(invalid("Value for x-amz-checksum-type is invalid.".to_owned())),
        }
    }
}

/// SUM-2. The checksum of an object from those of its parts (value and size of each), as S3 writes it. `None` when the
/// algorithm cannot be combined that way, or a value is malformed.
pub(super) fn combine(algorithm: Algorithm, how: Combination, parts: &[(String, u64)]) -> Option<String> {
    let values: Vec<Vec<u8>> = parts.iter().map(|(value, _)| algorithm.decode(value)).collect::<Option<_>>()?;
    match how {
        Combination::Composite => {
            let mut hasher = Hasher::new(algorithm);
            values.iter().for_each(|value| hasher.update(value));
            Some(format!("{}-{}", base64(&hasher.finish()), parts.len()))
        }
        Combination::FullObject => {
            let kind = match algorithm {
                Algorithm::Crc32 => crc_fast::CrcAlgorithm::Crc32IsoHdlc,
                Algorithm::Crc32c => crc_fast::CrcAlgorithm::Crc32Iscsi,
                Algorithm::Crc64Nvme => crc_fast::CrcAlgorithm::Crc64Nvme,
                Algorithm::Sha1 | Algorithm::Sha256 => return None,
            };
            let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
            let mut all = values.iter().zip(parts).map(|(value, (_, size))| (number(value), *size));
            let (mut crc, _) = all.next()?;
            for (next, size) in all {
                crc = crc_fast::checksum_combine(kind, crc, next, size);
            }
            Some(base64(&crc.to_be_bytes()[8 - algorithm.size()..]))
        }
    }
}
