//! The command line.

use crate::bench::Bench;
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

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
  anvil bench kv                         durable puts beside the raw sync rate of the disk";

/// What the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a node.
    Serve(ServeArgs),
    /// Measure an endpoint: operations per second, MiB/s, latencies.
    #[command(subcommand)]
    Bench(Bench),
}

/// How a node is started.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The node's name. Fixed at the first start of its directory.
    #[arg(long, default_value = "node1", value_name = "NAME")]
    pub id: String,
    /// UDP port for peers. Not used until clusters of several nodes arrive; it sets the default of --http-port.
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    pub port: u16,
    /// TCP port for everything that clients use: S3, /kv, /status, metrics. [default: --port + 1000]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Data directory. Given several times, each is a drive and objects are erasure-coded over them.
    #[arg(long, default_value = "./anvil-data", value_name = "DIR")]
    pub dir: Vec<PathBuf>,
    /// Peers to join.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub listen: IpAddr,
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
    /// The region that clients sign for.
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    pub region: String,
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

    /// Refuses what cannot be served.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.peers.is_empty() {
            anyhow::bail!("--peers: clusters of several nodes are not in this version; start the node without it");
        }
        if self.id.is_empty() || !self.id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            anyhow::bail!("--id \"{}\": a name has letters, digits, '-', '_' and '.'", self.id);
        }
        Ok(())
    }
}
