//! Clients that load one endpoint for a while.

use super::figures::{Figures, Samples, shown_size};
use super::servers::Servers;
use anyhow::bail;
use bytes::Bytes;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often the progress line is drawn.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Before the next try after a failure, so that a dead endpoint is not stormed.
const FAILURE_PAUSE: Duration = Duration::from_millis(20);

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

/// Lets every client of a run do `operation` (given its own number and that of the operation) until the time is over, each on
/// what `connection` gives for its number. Beside it the `servers` are watched.
pub(super) async fn load<C, O, F>(
    run: &Run,
    servers: &Servers,
    connection: impl Fn(usize) -> C,
    operation: O,
) -> anyhow::Result<Figures>
where
    C: Send + 'static,
    O: Fn(C, usize, u64) -> F + Clone + Send + 'static,
    F: Future<Output = (C, anyhow::Result<()>)> + Send,
{
    let before = servers.processor_time()?;
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    let begun = Instant::now();
    let end = begun + run.length;
    for client in 0..run.clients {
        let (operation, mut connection, done) = (operation.clone(), connection(client), Arc::clone(&done));
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
    let spent = servers.processor_time()?.zip(before).map(|(after, before)| after.saturating_sub(before));
    let mut figures = all.figures(run.size, run.length);
    // BENCH-3
    let operations = u32::try_from(figures.operations).unwrap_or(u32::MAX);
    figures.processor = spent.and_then(|spent| spent.checked_div(operations));
    Ok(figures)
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
