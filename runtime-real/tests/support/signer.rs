//! AWS signature version 4, written from its specification and from nothing of the server's.

use super::http_client::{Answer, Connection, head, send};
use super::{ACCESS_KEY, SECRET_KEY};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use time::OffsetDateTime;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            b'/' if keep_slash => encoded.push('/'),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// A request that is being made up and signed.
#[derive(Clone, Debug)]
pub struct Signer {
    pub method: String,
    /// Not encoded.
    pub path: String,
    /// Not encoded.
    pub query: Vec<(String, String)>,
    /// Signed with the rest.
    pub headers: Vec<(String, String)>,
    /// Added after signing.
    pub unsigned: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// `x-amz-content-sha256`; the hash of the body by default.
    pub payload: Option<String>,
    pub access_key: String,
    pub secret: String,
    pub region: String,
    pub service: String,
    pub at: OffsetDateTime,
    /// The host that is asked for; the address by default.
    pub host: Option<String>,
    /// Whether the time is said in `Date`, not in `x-amz-date`.
    pub plain_date: bool,
}

impl Signer {
    pub fn new(method: &str, path: &str) -> Signer {
        Signer {
            method: method.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            unsigned: Vec::new(),
            body: Vec::new(),
            payload: None,
            access_key: ACCESS_KEY.to_owned(),
            secret: SECRET_KEY.to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
            at: OffsetDateTime::now_utc(),
            host: None,
            plain_date: false,
        }
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Signer {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Signer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn unsigned(mut self, name: &str, value: &str) -> Signer {
        self.unsigned.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Signer {
        self.body = body.to_vec();
        self
    }

    #[must_use]
    pub fn host(mut self, host: &str) -> Signer {
        self.host = Some(host.to_owned());
        self
    }

    pub fn date(&self) -> String {
        let at = self.at;
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// RFC 9110, 5.6.7.
    fn http_date(&self) -> String {
        let text = self.at.format(&time::format_description::well_known::Rfc2822).expect("the year has four digits");
        text.replace("+0000", "GMT")
    }

    pub fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", &self.date()[..8], self.region, self.service)
    }

    pub fn key(&self) -> Vec<u8> {
        let key = hmac_sha256(format!("AWS4{}", self.secret).as_bytes(), &self.date()[..8]);
        let key = hmac_sha256(&key, &self.region);
        hmac_sha256(&hmac_sha256(&key, &self.service), "aws4_request")
    }

    fn canonical_query(&self, more: &[(String, String)]) -> String {
        let all = self.query.iter().chain(more);
        let mut pairs: Vec<String> =
            all.map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false))).collect();
        pairs.sort();
        pairs.join("&")
    }

    fn signature(&self, query: &str, headers: &[(String, String)], payload: &str) -> (String, String) {
        let mut headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = names.join(";");
        let path = encode(&self.path, true);
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{payload}", self.method);
        let hash = sha256_hex(canonical.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", self.date(), self.scope());
        (names, hex(&hmac_sha256(&self.key(), &text)))
    }

    /// The target and the headers, signed; and the signature.
    pub fn sign(&self, address: SocketAddr) -> (String, Vec<(String, String)>, String) {
        let payload = self.payload.clone().unwrap_or_else(|| sha256_hex(&self.body));
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), self.host.clone().unwrap_or_else(|| address.to_string())));
        headers.push(match self.plain_date {
            false => ("x-amz-date".to_owned(), self.date()),
            true => ("date".to_owned(), self.http_date()),
        });
        headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
        let query = self.canonical_query(&[]);
        let (names, signature) = self.signature(&query, &headers, &payload);
        let credential = format!("{}/{}", self.access_key, self.scope());
        let value = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        headers.push(("authorization".to_owned(), value));
        headers.extend(self.unsigned.clone());
        (self.target(&query), headers, signature)
    }

    fn target(&self, query: &str) -> String {
        let path = encode(&self.path, true);
        if query.is_empty() { path } else { format!("{path}?{query}") }
    }

    /// The target of a presigned request: `host` is signed, and the headers given.
    pub fn presign(&self, address: SocketAddr, expires: u64) -> (String, Vec<(String, String)>) {
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), self.host.clone().unwrap_or_else(|| address.to_string())));
        let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        let more = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{}", self.access_key, self.scope())),
            ("X-Amz-Date", self.date()),
            ("X-Amz-Expires", expires.to_string()),
            ("X-Amz-SignedHeaders", names.join(";")),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let query = self.canonical_query(&more);
        let (_, signature) = self.signature(&query, &headers, "UNSIGNED-PAYLOAD");
        headers.extend(self.unsigned.clone());
        (format!("{}&X-Amz-Signature={signature}", self.target(&query)), headers)
    }

    /// Signs in the header, sends, and reads the answer.
    pub async fn send(&self, address: SocketAddr) -> Answer {
        let (target, headers, _) = self.sign(address);
        send(address, &self.method, &target, &headers, &self.body).await
    }

    /// As [`Signer::send`], but declares `length` bytes and stops after the body.
    pub async fn send_short(&self, address: SocketAddr, length: usize) -> Answer {
        let (target, headers, _) = self.sign(address);
        let mut connection = Connection::open(address).await;
        connection.write(&head(address, &self.method, &target, &headers, Some(length))).await;
        connection.write(&self.body).await;
        connection.end().await;
        connection.answer(&self.method).await
    }

    /// Signs in the query, sends, and reads the answer.
    pub async fn send_presigned(&self, address: SocketAddr, expires: u64) -> Answer {
        let (target, headers) = self.presign(address, expires);
        send(address, &self.method, &target, &headers, &self.body).await
    }
}

/// The signature of a chunk, after that of the one before.
pub fn chunk_signature(signer: &Signer, previous: &str, chunk: &[u8]) -> String {
    let empty = sha256_hex(b"");
    let hash = sha256_hex(chunk);
    let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{empty}\n{hash}", signer.date(), signer.scope());
    hex(&hmac_sha256(&signer.key(), &text))
}
