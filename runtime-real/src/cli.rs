//! The command line.

use crate::admin::AdminArgs;
use crate::bench::Bench;
use crate::cluster::ClusterArgs;
use crate::front::Domains;
use crate::peers::JoinToken;
use anvil_core::node::config::ScrubPace;
use anvil_proto::join::is_name;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Anvil stores objects, keeps keys and runs compute next to the data, in one binary.
#[derive(Debug, Parser)]
#[command(name = "anvil", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    /// The flags of `serve`, so that `anvil --dir x` starts a node.
    pub serve: ServeArgs,
}

const EXAMPLES: &str = "\
Examples:
  anvil                                  start a node in ./anvil-data, S3 on http://127.0.0.1:9000
  anvil serve --dir /mnt/a --dir /mnt/b  two drives: every object survives the loss of one
  anvil serve --id node2 --port 9002 --http-port 8002 --dir ./data/node2 --peers 127.0.0.1:9001 --token anvil1-...
                                         join the cluster of the node with --port 9001; `anvil cluster token` there
                                         prints the token
  anvil cluster status                   the nodes, who leads, what moves
  anvil bench kv                         durable puts beside the raw sync rate of the disk";

/// What the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a node.
    Serve(ServeArgs),
    /// Measure an endpoint: operations per second, MiB/s, latencies.
    #[command(subcommand)]
    Bench(Bench),
    /// See and change the cluster: tokens for new nodes, draining, removing, leads.
    Cluster(ClusterArgs),
    /// Users and access keys.
    Admin(AdminArgs),
}

/// How a node is started.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The node's name. Fixed at the first start of its directory.
    #[arg(long, default_value = "node1", value_name = "NAME")]
    pub id: String,
    /// UDP port for the other nodes of the cluster. It also sets the default of --http-port.
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    pub port: u16,
    /// TCP port for everything that clients use: S3, /kv, /status, metrics. [default: --port + 1000]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Data directory. Given several times, each is a drive and objects are erasure-coded over them.
    #[arg(long, default_value = "./anvil-data", value_name = "DIR")]
    pub dir: Vec<PathBuf>,
    /// A drive of this node that is gone for good, by its number: the node starts without its --dir, and the cluster makes what it held
    /// anew. A new --dir may take its place at the same start.
    #[arg(long, value_name = "NUMBER")]
    pub lost_drive: Vec<u32>,
    /// Members of the cluster to join, each with its --port. A node that is a member already finds the others by itself.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// The one-time token that `anvil cluster token` printed on a member. Needed for the first start with --peers only.
    /// Prefer the environment variable: a command line is seen by other users.
    #[arg(long, env = "ANVIL_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Where the other nodes reach this one. [default: --listen with --port]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where the node stands, such as a rack or a data center. Nodes of one zone are expected to fail together.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub zone: String,
    /// Speak TLS on --http-port as well, beside plain HTTP, with a certificate that the node makes for itself unless --tls-cert gives one.
    #[arg(long)]
    pub tls: bool,
    /// The certificate for TLS on --http-port, as PEM, with those that lead to its authority. A file that changes is taken up without a
    /// restart.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, as PEM.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Refuse requests without TLS.
    #[arg(long)]
    pub tls_only: bool,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: IpAddr,
    /// How far the clock of any node runs fast or slow at most, in percent, such as 0.1. With it leaders answer reads by lease,
    /// without asking the others. Give it only where it holds on every node: a machine that is suspended, or moved while it
    /// runs, breaks it, and reads may then be stale. [default: reads do not depend on clocks]
    #[arg(long, value_name = "PERCENT")]
    pub clock_drift_max: Option<f64>,
    /// Access key id of S3 clients, instead of the one in the data directory.
    #[arg(
        long,
        env = "ANVIL_ACCESS_KEY_ID",
        hide_env_values = true,
        requires = "secret_access_key",
        value_name = "ID"
    )]
    pub access_key_id: Option<String>,
    /// Its secret. Prefer the environment variable: a command line is seen by other users.
    #[arg(
        long,
        env = "ANVIL_SECRET_ACCESS_KEY",
        hide_env_values = true,
        requires = "access_key_id",
        value_name = "SECRET"
    )]
    pub secret_access_key: Option<String>,
    /// Minutes that a cluster must have been as it is before objects that were written in another one are cut anew for it.
    #[arg(long, default_value_t = 10, value_name = "MINUTES")]
    pub recode_minutes: u32,
    /// Days from one search for damaged shards to the next, 0 for none but by `anvil cluster scrub`. What is found is made anew from the other drives.
    #[arg(long, default_value_t = 14, value_name = "DAYS")]
    pub scrub_days: u32,
    /// What the search reads in a second, at most.
    #[arg(long, default_value = "8MiB", value_name = "SIZE", value_parser = crate::bench::size)]
    pub scrub_rate: usize,
    /// How long a day of lifecycle rules is, in seconds. Shorter ones are for tests; give the same on every node.
    #[arg(long, default_value_t = 86400, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub lifecycle_day: u32,
    /// The region that clients sign for.
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    pub region: String,
    /// A domain that leads to this node, with all names below it: the host BUCKET.DOMAIN is then that bucket, as most SDKs ask by
    /// default. Given several times, any of them.
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Vec<String>,
}

impl ServeArgs {
    /// The port for clients.
    pub fn http_port(&self) -> anyhow::Result<u16> {
        match self.http_port {
            Some(port) => Ok(port),
            None => self.port.checked_add(1000).ok_or_else(|| {
                anyhow::anyhow!("--port {} leaves no room for --http-port (port + 1000); give --http-port", self.port)
            }),
        }
    }

    /// How long the cluster must have been as it is before bodies are cut anew.
    pub fn recode_after(&self) -> Duration {
        Duration::from_secs(60) * self.recode_minutes
    }

    /// How long a day of lifecycle rules is.
    pub fn lifecycle_day(&self) -> Duration {
        Duration::from_secs(u64::from(self.lifecycle_day))
    }

    /// How the node searches for damage.
    pub fn scrub(&self) -> ScrubPace {
        let interval = Duration::from_secs(24 * 3600) * self.scrub_days;
        ScrubPace { interval: (self.scrub_days > 0).then_some(interval), bytes_per_second: self.scrub_rate as u64 }
    }

    /// Refuses what cannot be served.
    pub fn check(&self) -> anyhow::Result<()> {
        if !is_name(&self.id) {
            anyhow::bail!("--id \"{}\": a name has up to 64 letters, digits, '-', '_' and '.'", self.id);
        }
        if self.scrub_rate == 0 {
            anyhow::bail!("--scrub-rate 0 would never read anything; --scrub-days 0 searches only when asked to");
        }
        self.clock_drift_ppm_max()?;
        Domains::parse(&self.domain)?;
        self.check_membership()
    }

    /// The bound of the clocks' drift in millionths, rounded up, if one was given.
    pub fn clock_drift_ppm_max(&self) -> anyhow::Result<Option<u32>> {
        let Some(percent) = self.clock_drift_max else { return Ok(None) };
        if !(0.0..=20.0).contains(&percent) {
            anyhow::bail!("--clock-drift-max {percent}: the bound is between 0 and 20 percent");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 200,000")]
        Ok(Some((percent * 10_000.0).ceil() as u32))
    }

    /// Refuses what no cluster can be joined with.
    fn check_membership(&self) -> anyhow::Result<()> {
        if !self.zone.is_empty() && !is_name(&self.zone) {
            anyhow::bail!("--zone \"{}\": a name has up to 64 letters, digits, '-', '_' and '.'", self.zone);
        }
        for (flag, address) in self
            .peers
            .iter()
            .map(|peer| ("--peers", peer))
            .chain(self.advertise.iter().map(|address| ("--advertise", address)))
        {
            if !is_host_and_port(address) {
                anyhow::bail!("{flag} \"{address}\": an address is HOST:PORT, with the UDP --port of the node");
            }
        }
        if !self.peers.is_empty() && self.listen.is_unspecified() && self.advertise.is_none() {
            anyhow::bail!("--listen {} is no address that others can reach; give --advertise HOST:PORT", self.listen);
        }
        self.token()?;
        Ok(())
    }

    /// The token, if one was given.
    pub fn token(&self) -> anyhow::Result<Option<JoinToken>> {
        // The text is not repeated in the error: it may be a secret with one wrong letter.
        self.token.as_deref().map(str::parse).transpose().context("--token")
    }
}

fn is_host_and_port(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> ServeArgs {
        Cli::try_parse_from(line.split_whitespace()).unwrap().serve
    }

    #[test]
    fn a_drift_is_a_small_share() {
        assert_eq!(parse("anvil").clock_drift_ppm_max().unwrap(), None);
        assert_eq!(parse("anvil --clock-drift-max 0.05").clock_drift_ppm_max().unwrap(), Some(500));
        assert_eq!(parse("anvil --clock-drift-max 20").clock_drift_ppm_max().unwrap(), Some(200_000));
        for wrong in ["21", "-0.1", "NaN"] {
            let error = parse(&format!("anvil --clock-drift-max={wrong}")).clock_drift_ppm_max().unwrap_err();
            assert!(error.to_string().contains("between 0 and 20 percent"), "{error}");
        }
    }

    #[test]
    fn what_no_cluster_can_be_joined_with_is_refused() {
        let token = JoinToken { cluster: 1, ca_fingerprint: [2; 32], secret: [3; 16] };
        let good = format!("anvil --peers a:1,[::1]:2 --advertise b:3 --zone rack-1 --token {token}");
        let args = parse(&good);
        args.check_membership().unwrap();
        assert_eq!((args.peers.len(), args.token().unwrap()), (2, Some(token.clone())));
        let error = |line: &str| format!("{:#}", parse(line).check_membership().unwrap_err());
        assert!(error("anvil --peers 127.0.0.1").contains("--peers \"127.0.0.1\": an address is HOST:PORT"));
        assert!(error("anvil --peers a:0").contains("HOST:PORT"));
        assert!(error("anvil --advertise :9").contains("--advertise"));
        assert!(error("anvil --zone a/b").contains("--zone"));
        assert!(error("anvil --peers a:1 --listen 0.0.0.0").contains("give --advertise"));
        let mistyped = token.to_string().replacen("AA", "AB", 1);
        let error = error(&format!("anvil --token {mistyped}"));
        assert!(error.contains("--token: the token was mistyped") && !error.contains(&mistyped), "{error}");
    }
}
