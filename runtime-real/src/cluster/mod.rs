//! `anvil cluster`: what a person sees and changes of a cluster, over the port of any of its nodes.
//!
//! Standard output has what was asked for and nothing else, so that it can be used by a script: `token` prints the token,
//! `status --json` the node's own document. Progress and advice go to standard error.
//!
//! - `OPERATE-1` What was waited for has happened when the command ends well. A wait that is broken off is no success, and
//!   what it waited for goes on.
//!
//! Not here: the decisions. They are the cluster's, and what it refuses is shown in its words (`front/cluster.rs`).

mod table;

use crate::endpoint::{Answer, NodeArgs, NodeDoor, encoded};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::Value;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a draining node is looked at.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);

/// Failures in a row after which the wait for a draining node ends.
const FAILURES_MAX: u32 = 30;

/// How long a lead may take to be handed over, and how often it is looked at.
const TRANSFER_TIME: Duration = Duration::from_secs(10);
const TRANSFER_INTERVAL: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  anvil cluster status
  anvil cluster token --endpoint http://127.0.0.1:8001       prints a token with which one node can join
  ANVIL_TOKEN=$(anvil cluster token) anvil serve --id node2 --port 9002 --http-port 8002 --dir ./data/node2 \\
      --peers 127.0.0.1:8000
  anvil cluster drain node3 && anvil cluster remove node3    a node leaves
  anvil cluster remove node3 --force                         a dead node leaves; what it held is rebuilt from the others
  anvil cluster scrub                                        read every shard of this node, and repair what is damaged
  anvil cluster transfer-leader region node2

--endpoint is the --http-port of any node. A node that listens beyond loopback wants the secret access key, as --bearer or
in ANVIL_SECRET_ACCESS_KEY.";

/// Which cluster, and what about it.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Show the nodes, who leads, and what moves.
    Status {
        /// Print what the node says, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a token with which one node can join, and print it.
    Token {
        /// How long it is good for, up to 168.
        #[arg(long, default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=168))]
        hours: u64,
    },
    /// Let a node leave, or a drive of it. It should be drained, or dead.
    Remove {
        /// The node's name.
        node: String,
        /// Only this drive of it.
        #[arg(long, value_name = "NUMBER")]
        drive: Option<u32>,
        /// Also when it still holds shards, or when that is not known.
        #[arg(long)]
        force: bool,
    },
    /// Move everything off a node, or off a drive of it, so that it can leave; waits until it holds nothing.
    Drain {
        /// The node's name.
        node: String,
        /// Only this drive of it.
        #[arg(long, value_name = "NUMBER")]
        drive: Option<u32>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a draining node, or a draining drive, hold data again.
    Undrain {
        /// The node's name.
        node: String,
        /// Only this drive of it.
        #[arg(long, value_name = "NUMBER")]
        drive: Option<u32>,
    },
    /// Search the drives of the node that is asked for damage now, and wait until everything was read and repaired.
    Scrub {
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// Hand the lead of a group to another of its voters. Ask the node that leads.
    TransferLeader {
        /// The group.
        group: Group,
        /// The name of the node that shall lead.
        node: String,
    },
}

/// A group that has a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The cluster itself.
    Global,
    /// Objects and keys.
    Region,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Group::Global => "global",
            Group::Region => "region",
        }
    }
}

/// Does what the arguments say.
///
/// # Errors
/// What the node refused, in its words, or why it could not be asked.
pub async fn operate(args: ClusterArgs) -> anyhow::Result<()> {
    let mut node = Node(args.node.node()?);
    match args.what {
        What::Status { json } => {
            let answer = node.ask(Method::GET, "/status").await?;
            if json {
                return print(&answer.beginning);
            }
            print(table::status(&document(&answer)?).as_bytes())
        }
        What::Token { hours } => {
            let answer = node.change(&format!("/join?hours={hours}")).await?;
            let token = answer["token"].as_str().context("the node made no token")?;
            print(format!("{token}\n").as_bytes())
        }
        What::Remove { node: name, drive, force } => {
            let of = Of { node: name, drive };
            node.change(&format!("/remove?{}&force={force}", of.query())).await?;
            let next = match drive {
                Some(_) => "leave out its --dir when the node is started again",
                None => "end its process and do not start it again",
            };
            say(&format!("{of} does not belong to the cluster any more; {next}"));
            Ok(())
        }
        What::Drain { node: name, drive, no_wait } => {
            let of = Of { node: name, drive };
            node.change(&format!("/-/drain?{}", of.query())).await?;
            if no_wait {
                return Ok(());
            }
            tokio::select! {
                drained = node.wait_until_drained(&of) => drained,
                _ = tokio::signal::ctrl_c() => {
                    end_line();
                    // OPERATE-1
                    let undo = of.arguments();
                    bail!("stopped waiting; {of} goes on draining, until `anvil cluster undrain {undo}`")
                }
            }
        }
        What::Undrain { node: name, drive } => {
            let of = Of { node: name, drive };
            node.change(&format!("/-/drain?{}&undo=true", of.query())).await.map(|_| ())
        }
        What::Scrub { no_wait } => {
            let began = node.change("/-/scrub").await?;
            if no_wait {
                return Ok(());
            }
            tokio::select! {
                scrubbed = node.wait_until_scrubbed(&began) => scrubbed,
                _ = tokio::signal::ctrl_c() => {
                    end_line();
                    bail!("stopped waiting; the search goes on, as `anvil cluster status` shows")
                }
            }
        }
        What::TransferLeader { group, node: name } => {
            node.change(&format!("/-/transfer-leader?group={}&to={}", group.name(), encoded(&name))).await?;
            node.wait_for_leader(group, &name).await
        }
    }
}

/// What drains or leaves: a node, or one drive of it.
#[derive(Debug)]
struct Of {
    node: String,
    drive: Option<u32>,
}

impl Of {
    fn query(&self) -> String {
        let drive = self.drive.map(|drive| format!("&drive={drive}")).unwrap_or_default();
        format!("node={}{drive}", encoded(&self.node))
    }

    /// As they stand on a command line.
    fn arguments(&self) -> String {
        let drive = self.drive.map(|drive| format!(" --drive {drive}")).unwrap_or_default();
        format!("{}{drive}", self.node)
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.drive {
            Some(drive) => write!(f, "drive {drive} of {}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

/// The node that is asked.
#[derive(Debug)]
struct Node(NodeDoor);

impl Node {
    async fn ask(&mut self, method: Method, target: &str) -> anyhow::Result<Answer> {
        let answer = self.0.send(method, target, Bytes::new()).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let told = document(&answer).ok();
        match told.as_ref().and_then(|told| told["message"].as_str()) {
            Some(message) => bail!("{message}"),
            None => answer.check("the request"),
        }
    }

    async fn change(&mut self, target: &str) -> anyhow::Result<Value> {
        document(&self.ask(Method::POST, target).await?)
    }

    /// OPERATE-1
    async fn wait_until_drained(&mut self, of: &Of) -> anyhow::Result<()> {
        let (began, mut failures) = (Instant::now(), 0);
        loop {
            // A node may be busy, or the lead on its way to another, while much moves.
            match self.ask(Method::GET, &format!("/-/drain?{}", of.query())).await {
                Ok(answer) => {
                    failures = 0;
                    let told = document(&answer)?;
                    if told["draining"] == false {
                        end_line();
                        bail!("{of} is not draining any more");
                    }
                    let (bodies, complete) = (&told["bodies"], told["complete"] == true);
                    if complete && *bodies == 0 {
                        end_line();
                        say(&format!("{of} holds no shards; it can be removed"));
                        return Ok(());
                    }
                    let more = if complete { "" } else { " or more" };
                    let wide = match told["wide"].as_u64() {
                        None | Some(0) => String::new(),
                        Some(wide) => {
                            format!(" ({wide} of them have more shards than there are other places, and are cut anew)")
                        }
                    };
                    let seconds = began.elapsed().as_secs();
                    progress(&format!("{of} is draining: {bodies}{more} objects and parts to move{wide}, {seconds} s"));
                }
                Err(error) => {
                    failures += 1;
                    if failures > FAILURES_MAX {
                        end_line();
                        return Err(error.context("stopped waiting; it goes on draining"));
                    }
                }
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    }

    async fn wait_until_scrubbed(&mut self, began: &Value) -> anyhow::Result<()> {
        let before = began["passes"].as_u64().context("the node does not say how many searches have ended")?;
        let held = |status: &Value| -> u64 {
            let drives = status["drives"].as_array().map_or(&[][..], Vec::as_slice);
            drives.iter().filter_map(|drive| drive["shards"].as_u64()).sum()
        };
        let mut first = None;
        loop {
            let status = document(&self.ask(Method::GET, "/status").await?)?;
            let scrub = &status["cluster"]["scrub"];
            let figure = |name: &str| scrub[name].as_u64().unwrap_or(0);
            let (shards, damaged) = *first.get_or_insert((figure("shards"), figure("damaged")));
            let (shards, damaged) = (figure("shards") - shards, figure("damaged") - damaged);
            if figure("passes") > before {
                end_line();
                say(&format!("{shards} shards were read since, and {damaged} found damaged or missing"));
                return Ok(());
            }
            let suspects = figure("suspects");
            progress(&format!(
                "{shards} of about {} shards read, {damaged} found damaged, {suspects} objects and parts not whole again yet",
                held(&status)
            ));
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    }

    /// OPERATE-1
    async fn wait_for_leader(&mut self, group: Group, name: &str) -> anyhow::Result<()> {
        let end = Instant::now() + TRANSFER_TIME;
        while Instant::now() < end {
            let status = document(&self.ask(Method::GET, "/status").await?)?;
            let groups = status["groups"].as_array().map_or(&[][..], Vec::as_slice);
            let leads = |of: &Value| of["name"] == group.name() && of["leader"]["name"] == name;
            if groups.iter().any(leads) {
                return Ok(());
            }
            tokio::time::sleep(TRANSFER_INTERVAL).await;
        }
        bail!("{name} did not take the lead; `anvil cluster status` shows who leads")
    }
}

fn document(answer: &Answer) -> anyhow::Result<Value> {
    serde_json::from_slice(&answer.beginning)
        .context("the answer is no JSON; is this the --http-port of an anvil node?")
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    std::io::stdout().write_all(bytes).context("the answer could not be printed")
}

/// A line for a person.
fn say(text: &str) {
    // Whoever does not listen does not need it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line that the next one replaces, or, where nobody looks at a terminal, a line of its own.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
    } else {
        say(text);
    }
}

fn end_line() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}
