//! One endpoint: its address, connections to it, and clients that load it for a while.

use super::figures::{Figures, Samples, shown_size};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long one operation may take before it counts as failed.
const OPERATION_TIME: Duration = Duration::from_secs(60);

/// How often the progress line is drawn.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Before the next try after a failure, so that a dead endpoint is not stormed.
const FAILURE_PAUSE: Duration = Duration::from_millis(20);

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// `host:port`, as the `Host` header has it.
    pub(super) authority: Arc<str>,
    address: Arc<str>,
}

impl Endpoint {
    /// Reads `http://host:port`.
    pub(super) fn parse(url: &str) -> anyhow::Result<Endpoint> {
        let uri: Uri = url.parse().with_context(|| format!("--endpoint {url} is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            bail!("--endpoint {url}: only http:// is spoken here; TLS would be measured with the rest");
        }
        if !matches!(uri.path(), "" | "/") {
            bail!("--endpoint {url}: an endpoint has no path");
        }
        let authority = uri.authority().with_context(|| format!("--endpoint {url} names no host"))?;
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        Ok(Endpoint { authority: authority.as_str().into(), address: address.into() })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&*self.address).await;
        let stream = stream.with_context(|| format!("cannot connect to {}; is it running?", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A connection, made when it is first needed and again when it broke.
    pub(super) fn connection(&self) -> Connection {
        Connection { endpoint: self.clone(), sender: None }
    }
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Sends a request and reads its whole answer: the status, and the body's first bytes with its length.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
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
                if beginning.len() < Answer::BEGINNING_MAX {
                    beginning.extend_from_slice(&bytes[..bytes.len().min(Answer::BEGINNING_MAX)]);
                }
            }
        }
        Ok(Answer { status: head.status, length, beginning })
    }
}

/// An answer that has come completely.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Bytes of the body.
    pub(super) length: usize,
    beginning: Vec<u8>,
}

impl Answer {
    /// Bytes of a body that are kept, to show an error.
    const BEGINNING_MAX: usize = 400;

    /// The error that an answer without success is.
    pub(super) fn check(self, what: &str) -> anyhow::Result<Answer> {
        if self.status.is_success() {
            return Ok(self);
        }
        bail!("{what} was answered with {}: {}", self.status, String::from_utf8_lossy(&self.beginning).trim())
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// What the progress line says.
    pub(super) name: &'static str,
    /// Concurrent clients.
    pub(super) clients: usize,
    /// How long new operations are begun.
    pub(super) length: Duration,
    /// Bytes of one operation.
    pub(super) size: usize,
}

/// Lets every client of a run do `operation` (given its own number and that of the operation) until the time is over.
pub(super) async fn load<O, F>(run: &Run, endpoint: &Endpoint, operation: O) -> anyhow::Result<Figures>
where
    O: Fn(Connection, usize, u64) -> F + Clone + Send + 'static,
    F: Future<Output = (Connection, anyhow::Result<()>)> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    let begun = Instant::now();
    let end = begun + run.length;
    for client in 0..run.clients {
        let (operation, mut connection, done) = (operation.clone(), endpoint.connection(), Arc::clone(&done));
        clients.spawn(async move {
            let mut samples = Samples::default();
            let mut number = 0;
            while Instant::now() < end {
                let sent = Instant::now();
                let outcome;
                (connection, outcome) = operation(connection, client, number).await;
                number += 1;
                let now = Instant::now();
                match outcome {
                    // BENCH-2: what ends later belongs to no full second of the run.
                    Ok(()) if now > end => {}
                    Ok(()) => {
                        samples.success(now - sent);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(why) => {
                        samples.failure(format!("{why:#}"));
                        tokio::time::sleep(FAILURE_PAUSE).await;
                    }
                }
            }
            samples
        });
    }
    let progress = std::io::stderr().is_terminal().then(|| tokio::spawn(progress(run.clone(), begun, done)));
    let mut all = Samples::default();
    while let Some(samples) = clients.join_next().await {
        all.merge(samples?);
    }
    if let Some(progress) = progress {
        progress.abort();
        // The line is drawn by nobody else once its task has ended.
        let _ = progress.await;
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(all.figures(run.size, run.length))
}

async fn progress(run: Run, begun: Instant, done: Arc<AtomicU64>) {
    loop {
        let (elapsed, count) = (begun.elapsed().as_secs(), done.load(Ordering::Relaxed));
        let size = shown_size(run.size);
        let line =
            format!("{} {size}, {} clients: {elapsed}/{} s, {count} done", run.name, run.clients, run.length.as_secs());
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

/// Says why operations failed, and is an error when none succeeded.
pub(super) fn judge(figures: &Figures) -> anyhow::Result<()> {
    let why =
        figures.first_failure.as_deref().unwrap_or("every operation took longer than the run; give more --seconds");
    if figures.operations == 0 {
        bail!("nothing succeeded: {why}");
    }
    if figures.failures > 0 {
        tracing::warn!("{} operations failed, the first: {why}", figures.failures);
    }
    Ok(())
}

/// Bytes that do not compress, the same at every run.
pub(super) fn payload(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}
