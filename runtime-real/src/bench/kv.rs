//! `anvil bench kv`: durable puts, beside what the disk can sync at all.

use super::KvArgs;
use super::figures::{Figures, HEAD, Samples, line, shown_size};
use super::load::{Run, judge, load, payload};
use crate::endpoint::{Connection, Endpoint};
use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the disk alone is measured.
const RAW_TIME: Duration = Duration::from_secs(2);

/// Bytes of one raw write.
const RAW_WRITE: usize = 4096;

/// Bytes of the file that is written over and over, as the log's preallocated segments are.
const RAW_FILE: usize = 4 << 20;

/// Keys that one client writes in turn, so that a long run does not fill the disk.
const KEYS_OF_A_CLIENT: u64 = 1000;

#[expect(clippy::print_stdout, reason = "this is the command's output")]
pub(super) async fn bench(args: KvArgs) -> anyhow::Result<()> {
    let endpoint = Endpoint::parse(&args.endpoint)?;
    let dir = args.dir.clone();
    let raw_before = tokio::task::spawn_blocking(move || raw_syncs(&dir)).await??;
    println!("durable puts of {} values on {}\n", shown_size(args.value_size), args.endpoint);
    println!("{HEAD}");
    println!("{}", line("raw write and sync", 1, &raw_before));
    let value = payload(args.value_size);
    let mut rates = Vec::new();
    for &clients in &args.clients {
        let length = Duration::from_secs(args.seconds);
        let run = Run { name: "put", clients, length, size: args.value_size };
        let (authority, value) = (endpoint.authority.clone(), value.clone());
        let put = move |connection, client, number: u64| {
            let key = format!("anvil-bench/{client}/{}", number % KEYS_OF_A_CLIENT);
            let request = Request::builder()
                .method(Method::PUT)
                .uri(format!("/kv/{key}"))
                .header(header::HOST, &*authority)
                .body(Full::new(value.clone()));
            put(connection, request)
        };
        let figures = load(&run, &endpoint, put).await?;
        println!("{}", line("put", clients, &figures));
        judge(&figures)?;
        rates.push((clients, figures.per_second));
    }
    let dir = args.dir.clone();
    let raw_after = tokio::task::spawn_blocking(move || raw_syncs(&dir)).await??;
    let raw = (raw_before.per_second + raw_after.per_second) / 2.0;
    let (before, after) = (raw_before.per_second, raw_after.per_second);
    println!("\nraw syncs per second before and after the runs: {before:.0} and {after:.0}");
    for (clients, rate) in rates {
        println!("  {clients:>5} clients: {:.2} puts for each raw sync", rate / raw);
    }
    Ok(())
}

async fn put(
    mut connection: Connection,
    request: http::Result<Request<Full<Bytes>>>,
) -> (Connection, anyhow::Result<()>) {
    let outcome = async {
        connection.send(request?).await?.check("a put")?;
        Ok(())
    };
    let outcome = outcome.await;
    (connection, outcome)
}

/// Writes and syncs in a loop, in a file that has its blocks already, and removes it.
fn raw_syncs(dir: &Path) -> anyhow::Result<Figures> {
    let path = dir.join(format!("anvil-bench-{}", std::process::id()));
    let measured =
        measure_syncs(&path).with_context(|| format!("the sync rate cannot be measured in {}", dir.display()));
    // A file that was never made need not be removed.
    let _ = std::fs::remove_file(&path);
    measured
}

fn measure_syncs(path: &Path) -> anyhow::Result<Figures> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all_at(&payload(RAW_FILE), 0)?;
    file.sync_all()?;
    let block = payload(RAW_WRITE);
    let mut samples = Samples::default();
    let begun = Instant::now();
    for number in 0usize.. {
        let sent = Instant::now();
        let offset = u64::try_from(number * RAW_WRITE % RAW_FILE).context("an offset fits")?;
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        samples.success(sent.elapsed());
        if begun.elapsed() >= RAW_TIME {
            break;
        }
    }
    Ok(samples.figures(RAW_WRITE, begun.elapsed()))
}
