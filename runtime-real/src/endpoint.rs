//! A node, or any other endpoint, as a client of HTTP sees it: its address, connections to it, and answers.
//!
//! What the command line needs of HTTP and no more: one request at a time on a connection, made again when it broke.
//!
//! Not here: redirects, and what the answers mean.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes of a node's answer that are kept: the status of thousands of nodes.
const NODE_ANSWER_MAX: usize = 16 << 20;

/// Which node a command asks, and how it may.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    /// Any node of the cluster: its address with --http-port.
    #[arg(long, global = true, default_value = "http://127.0.0.1:9000", value_name = "URL")]
    endpoint: String,
    /// Who is trusted to vouch for an endpoint with https://, as PEM. `anvil serve --tls` says where the node's own certificate is.
    #[arg(long, global = true, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// The secret access key, for a node that listens beyond loopback. Prefer the environment variable: a command line is
    /// seen by other users.
    #[arg(long, global = true, env = "ANVIL_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "SECRET")]
    bearer: Option<String>,
}

impl NodeArgs {
    /// The node. Nothing is sent yet.
    pub(crate) fn node(self) -> anyhow::Result<NodeDoor> {
        let endpoint = Endpoint::parse(&self.endpoint, self.ca_cert.as_deref())?;
        Ok(NodeDoor { connection: endpoint.connection_keeping(NODE_ANSWER_MAX), endpoint, bearer: self.bearer })
    }
}

/// The node that a command asks.
#[derive(Debug)]
pub(crate) struct NodeDoor {
    endpoint: Endpoint,
    connection: Connection,
    bearer: Option<String>,
}

impl NodeDoor {
    /// The node's answer, whatever its status.
    pub(crate) async fn send(&mut self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, &*self.endpoint.authority);
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(body)).context("the bearer token is no header")?;
        self.connection.send(request).await
    }
}

/// A name as one piece of a request's target.
pub(crate) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// How long one operation may take before it counts as failed.
pub(crate) const OPERATION_TIME: Duration = Duration::from_secs(60);

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// `host:port`, as the `Host` header has it.
    pub(crate) authority: Arc<str>,
    address: Arc<str>,
    /// Who answers there, and how it is known, where TLS is spoken.
    tls: Option<(ServerName<'static>, TlsConnector)>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Reads `http://host:port`, or `https://` where `trusted` says whose word counts.
    pub(crate) fn parse(url: &str, trusted: Option<&Path>) -> anyhow::Result<Endpoint> {
        let uri: Uri = url.parse().with_context(|| format!("--endpoint {url} is not a URL"))?;
        let is_encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => bail!("--endpoint {url} begins with neither http:// nor https://"),
        };
        if !matches!(uri.path(), "" | "/") {
            bail!("--endpoint {url}: an endpoint has no path");
        }
        let authority = uri.authority().with_context(|| format!("--endpoint {url} names no host"))?;
        let usual = if is_encrypted { 443 } else { 80 };
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(usual));
        let tls = match (is_encrypted, trusted) {
            (false, _) => None,
            (true, None) => bail!("--endpoint {url}: give --ca-cert FILE, which says whom to trust"),
            (true, Some(trusted)) => {
                let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name).with_context(|| format!("--endpoint {url} names no host"))?;
                Some((name, connector(trusted)?))
            }
        };
        Ok(Endpoint { authority: authority.as_str().into(), address: address.into(), tls })
    }

    /// Whether TLS is spoken there.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// A byte stream to it.
    pub(crate) async fn stream(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(&*self.address).await;
        let stream = stream.with_context(|| format!("cannot connect to {}; is it running?", self.address))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = self.stream().await?;
        let Some((name, connector)) = &self.tls else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        };
        let stream = connector.connect(name.clone(), stream).await;
        let stream = stream.with_context(|| format!("{} is not one that --ca-cert vouches for", self.authority))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A connection, made when it is first needed and again when it broke.
    pub(crate) fn connection(&self) -> Connection {
        self.connection_keeping(Answer::BEGINNING_MAX)
    }

    /// The same, which keeps so many bytes of each answer.
    pub(crate) fn connection_keeping(&self, bytes: usize) -> Connection {
        Connection { endpoint: self.clone(), sender: None, keeps: bytes }
    }
}

/// Believes in what the certificates of a file vouch for.
fn connector(trusted: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(trusted).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    for certificate in found.with_context(|| format!("--ca-cert {} is no PEM", trusted.display()))? {
        let added = roots.add(certificate);
        added.with_context(|| format!("--ca-cert {} holds no certificate of use", trusted.display()))?;
    }
    anyhow::ensure!(!roots.is_empty(), "--ca-cert {} holds no certificate", trusted.display());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().context("the provider lacks a version of TLS")?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Bytes of an answer that are kept.
    keeps: usize,
}

impl Connection {
    /// The authority of its endpoint.
    pub(crate) fn authority(&self) -> Arc<str> {
        Arc::clone(&self.endpoint.authority)
    }

    /// Sends a request and reads its whole answer: the status, and the body's first bytes with its length.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let outcome = tokio::time::timeout(OPERATION_TIME, self.exchange(request)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {} s", OPERATION_TIME.as_secs())));
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let ready = match self.sender.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            self.sender = Some(self.endpoint.connect().await?);
        }
        let sender = self.sender.as_mut().context("a connection was just made")?;
        let response: Response<hyper::body::Incoming> = sender.send_request(request).await?;
        let (head, mut body) = response.into_parts();
        let (mut length, mut beginning) = (0, Vec::new());
        // Read frame by frame, so that a large object does not need memory.
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                length += bytes.len();
                let room = self.keeps.saturating_sub(beginning.len());
                beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
        Ok(Answer { status: head.status, length, beginning })
    }
}

/// An answer that has come completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Bytes of the body.
    pub(crate) length: usize,
    /// Its first bytes.
    pub(crate) beginning: Vec<u8>,
}

impl Answer {
    /// Bytes of a body that are kept, to show an error.
    const BEGINNING_MAX: usize = 400;

    /// The error that an answer without success is.
    pub(crate) fn check(self, what: &str) -> anyhow::Result<Answer> {
        if self.status.is_success() {
            return Ok(self);
        }
        bail!("{what} was answered with {}: {}", self.status, String::from_utf8_lossy(&self.beginning).trim())
    }
}
