//! TLS and plain HTTP on one port, and what policies know of it.

mod support;

use anvil::front::{Settings, Tls, TlsFiles};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use support::{Answer, Doors, Signer, bucket, doors_over, head, ok, parse, refused, send};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Doors with a certificate, and a client that trusts it.
struct Secure {
    doors: Doors,
    files: TlsFiles,
    _keys: TempDir,
}

impl Secure {
    async fn new(only: bool) -> Secure {
        let keys = TempDir::new().expect("a directory for the keys");
        let files = TlsFiles::self_made(keys.path(), vec!["localhost".to_owned()]).expect("a certificate is made");
        let tls = Tls::new(files.clone(), only).expect("it can be used");
        let settings = Settings { open_admin: true, ..Settings::default() };
        Secure { doors: doors_over(settings, Some(tls)).await, files, _keys: keys }
    }

    fn connector(&self, protocols: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(&self.files.certificate).expect("it is PEM");
        roots.add(certificate).expect("it is a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has them");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(
        &self,
        name: &'static str,
        protocols: &[&[u8]],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.doors.address).await?;
        self.connector(protocols).connect(ServerName::try_from(name).expect("a name"), stream).await
    }

    /// Sends a request by TLS.
    async fn send(&self, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        let mut stream = self.connect("localhost", &[b"http/1.1"]).await.expect("a handshake");
        stream
            .write_all(&head(self.doors.address, method, target, headers, Some(body.len())))
            .await
            .expect("it is sent");
        stream.write_all(body).await.expect("it is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        parse(&answer, method)
    }

    async fn signed(&self, signer: Signer) -> Answer {
        let (target, headers, _) = signer.sign(self.doors.address);
        self.send(&signer.method, &target, &headers, &signer.body).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_speaks_both() {
    let secure = Secure::new(false).await;
    bucket(&secure.doors).await;
    let body = vec![7; 3 << 20];
    ok(secure.signed(Signer::new("PUT", "/bucket/k").body(&body))).await;
    let plain = ok(Signer::new("GET", "/bucket/k").send(secure.doors.address)).await;
    assert!(plain.body == body);
    let encrypted = ok(secure.signed(Signer::new("GET", "/bucket/k"))).await;
    assert!(encrypted.body == body);
    ok(secure.send("GET", "/-/health", &[], b"")).await;
    let h2 = secure.connect("localhost", &[b"h2", b"http/1.1"]).await.expect("a handshake");
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    secure.connect("elsewhere.example.com", &[]).await.expect_err("the certificate is of another name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_encrypted_may_be_refused() {
    let secure = Secure::new(true).await;
    let refused = send(secure.doors.address, "GET", "/-/health", &[], b"").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("TLS only") && refused.complete, "{}", refused.text());
    ok(secure.send("GET", "/-/health", &[], b"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_know_whether_a_request_was_encrypted_and_where_it_came_from() {
    let secure = Secure::new(false).await;
    bucket(&secure.doors).await;
    ok(Signer::new("PUT", "/bucket/k").body(b"v").send(secure.doors.address)).await;
    let allow = |condition: &str| {
        let policy = format!(
            "{{\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\
             \"Resource\":\"arn:aws:s3:::bucket/*\",\"Condition\":{condition}}}]}}"
        );
        let put = Signer::new("PUT", "/bucket").query("policy", "").body(policy.as_bytes());
        let address = secure.doors.address;
        async move { ok(put.send(address)).await }
    };
    let plain = || send(secure.doors.address, "GET", "/bucket/k", &[], b"");
    allow(r#"{"Bool":{"aws:SecureTransport":"true"}}"#).await;
    refused(&plain().await, 403, "AccessDenied");
    ok(secure.send("GET", "/bucket/k", &[], b"")).await;
    allow(r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.0/8"]}}"#).await;
    ok(plain()).await;
    allow(r#"{"NotIpAddress":{"aws:SourceIp":"127.0.0.1/32"}}"#).await;
    refused(&plain().await, 403, "AccessDenied");
    refused(&secure.send("GET", "/bucket/k", &[], b"").await, 403, "AccessDenied");
}
