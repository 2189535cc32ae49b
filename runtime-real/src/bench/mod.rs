//! `anvil bench`: how fast an endpoint is, measured from outside of it.
//!
//! Every client is a loop on a connection of its own: it sends, waits for the whole answer, and sends again (a closed
//! loop, so that the rate follows from the latency and nothing queues up in the client). What is printed is what was
//! answered with success; failures are counted beside it and never dropped. Clients are spread evenly over the endpoints.
//!
//! - `BENCH-1` A percentile is the smallest sample that at least that share of all samples do not exceed; samples are
//!   kept exactly, not in buckets.
//! - `BENCH-2` An operation counts only when its whole answer has come, and only within the measured time.
//! - `BENCH-3` Processor time is that of the servers' whole processes, user and kernel, between the run's begin and end, over
//!   the operations that count.
//!
//! Source of the signature: AWS, "Signature Version 4 signing process"; of etcd's interface: etcd-io/etcd, `rpc.proto` of
//! the API version 3, over gRPC ("gRPC over HTTP2"). Not here: TLS, and starting a node.

mod etcd;
mod figures;
mod kv;
mod limits;
mod load;
mod s3;
mod servers;
mod signer;
#[cfg(test)]
mod tests;

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Durable puts and linearizable gets of keys, by /kv or of an etcd, beside the raw sync rate of the disk.
    Kv(KvArgs),
    /// Puts and gets of objects, on any S3 endpoint.
    S3(S3Args),
    /// What the machine could do at most: synced writes of one disk, and AES-256-GCM on one core.
    Limits(LimitsArgs),
}

const KV_EXAMPLES: &str = "\
Examples:
  anvil bench kv
  anvil bench kv --clients 1,16,64 --seconds 10 --value-size 256 --dir /mnt/a
  anvil bench kv --target etcd --endpoint http://127.0.0.1:2379 --endpoint http://127.0.0.1:22379 --server-pid 4711,4712

--dir should lie on the drive of the node, or the two rates do not belong together. Without it that rate is not measured.
Clients are spread over the endpoints; give one of several nodes alone to aim all clients at it.";

/// How keys are measured.
#[derive(Clone, Debug, Args)]
#[command(after_help = KV_EXAMPLES)]
pub struct KvArgs {
    /// What is measured.
    #[arg(long, value_enum, default_value_t = KvTarget::Anvil)]
    target: KvTarget,
    /// Endpoint of a node; several times, or separated by commas, for several.
    #[arg(long, default_value = "http://127.0.0.1:9000", value_delimiter = ',', value_name = "URL")]
    endpoint: Vec<String>,
    /// Who is trusted to vouch for endpoints with https://, as PEM.
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// What clients do; one run for each.
    #[arg(long, value_enum, default_value = "put,get", value_delimiter = ',', value_name = "OPERATION")]
    operation: Vec<KvOperation>,
    /// Concurrent clients; one run for each number.
    #[arg(long, default_value = "1,16,64", value_delimiter = ',', value_name = "COUNT", value_parser = count)]
    clients: Vec<usize>,
    /// Length of a run.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value = "256", value_name = "SIZE", value_parser = size)]
    value_size: usize,
    /// Where the raw sync rate is measured: 4 KiB written and synced, again and again, in one file.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What speaks for the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KvTarget {
    /// `/kv/{key}` of a node.
    Anvil,
    /// `Put` and `Range` of etcd's API, version 3.
    Etcd,
}

/// What a client of keys does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KvOperation {
    /// A durable put of a value.
    Put,
    /// A linearizable get of a key that is there.
    Get,
}

/// What is printed, and beside what.
#[derive(Clone, Debug, Args)]
struct OutputArgs {
    /// Process id of a server on this machine, whose processor time is shown for each operation, summed over all given.
    #[arg(long, value_delimiter = ',', value_name = "PID")]
    server_pid: Vec<u32>,
    /// Print a line of JSON for each run, and nothing else.
    #[arg(long)]
    json: bool,
}

const LIMITS_EXAMPLES: &str = "\
Examples:
  anvil bench limits --dir /mnt/a

Prints a line of JSON with --json.";

/// How the limits are measured.
#[derive(Clone, Debug, Args)]
#[command(after_help = LIMITS_EXAMPLES)]
pub struct LimitsArgs {
    /// A directory on the disk to measure.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Length of each measurement.
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print a line of JSON, and nothing else.
    #[arg(long)]
    json: bool,
}

const S3_EXAMPLES: &str = "\
Examples:
  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… anvil bench s3
  anvil bench s3 --endpoint http://127.0.0.1:9000 --size 4KiB,1MiB,64MiB --clients 16 --seconds 10

The bucket is made when it is not there; the objects of a run are removed at its end.";

/// How objects are measured.
#[derive(Clone, Debug, Args)]
#[command(after_help = S3_EXAMPLES)]
pub struct S3Args {
    /// Any S3 endpoint that takes path-style requests; several times, or separated by commas, for several of one cluster.
    #[arg(long, default_value = "http://127.0.0.1:9000", value_delimiter = ',', value_name = "URL")]
    endpoint: Vec<String>,
    /// Who is trusted to vouch for endpoints with https://, as PEM.
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Sizes of objects; one put run and one get run for each.
    #[arg(long, default_value = "4KiB,1MiB,64MiB", value_delimiter = ',', value_name = "SIZE", value_parser = size)]
    size: Vec<usize>,
    /// Concurrent clients; runs for each number.
    #[arg(long, default_value = "16", value_delimiter = ',', value_name = "COUNT", value_parser = count)]
    clients: Vec<usize>,
    /// Length of a run.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Access key id; ANVIL_ACCESS_KEY_ID or AWS_ACCESS_KEY_ID otherwise. The secret is taken from
    /// ANVIL_SECRET_ACCESS_KEY or AWS_SECRET_ACCESS_KEY only.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    region: String,
    /// The bucket.
    #[arg(long, default_value = "anvil-bench", value_name = "NAME")]
    bucket: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Measures, and prints a table.
pub async fn bench(what: Bench) -> anyhow::Result<()> {
    match what {
        Bench::Kv(args) => kv::bench(args).await,
        Bench::S3(args) => s3::bench(args).await,
        Bench::Limits(args) => limits::bench(args).await,
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=10_000).contains(&count) => Ok(count),
        Ok(_) | Err(_) => Err("a number of clients is 1 to 10000".to_owned()),
    }
}

/// `256`, `4KiB`, `1MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err(format!("{unit:?} is no unit; use KiB, MiB or GiB")),
    };
    let number: usize = number.parse().map_err(|_| "a size begins with a number".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "the size is too large".to_owned())
}
