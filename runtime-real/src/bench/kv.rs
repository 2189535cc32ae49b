//! `anvil bench kv`: durable puts and linearizable gets, beside what the disk can sync at all.

use super::etcd::EtcdConnection;
use super::figures::{Figures, Printer, shown_size};
use super::limits::{RAW_TIME, raw_syncs};
use super::load::{Run, judge, load, payload};
use super::servers::Servers;
use super::{KvArgs, KvOperation, KvTarget};
use crate::endpoint::{Connection, Endpoint};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use std::path::PathBuf;
use std::time::Duration;

/// Keys that one client writes in turn, so that a long run does not fill the disk.
const KEYS_OF_A_CLIENT: u64 = 1000;

/// Keys that one client reads in turn. They are written before the run.
const KEYS_READ_BY_A_CLIENT: u64 = 16;

pub(super) async fn bench(args: KvArgs) -> anyhow::Result<()> {
    let endpoints = args
        .endpoint
        .iter()
        .map(|url| Endpoint::parse(url, args.ca_cert.as_deref()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let printer = Printer::new(args.output.json);
    let raw_before = raw_rate(args.dir.clone()).await?;
    let size = shown_size(args.value_size);
    printer.head(&format!("values of {size} on {}", args.endpoint.join(", ")));
    if let Some(raw) = &raw_before {
        printer.run("raw write and sync", 1, raw);
    }
    let keys = Keys {
        target: args.target,
        endpoints,
        servers: Servers::new(&args.output.server_pid),
        value: payload(args.value_size),
    };
    let mut rates = Vec::new();
    for &clients in &args.clients {
        for &operation in &args.operation {
            let figures = keys.measure(operation, clients, Duration::from_secs(args.seconds)).await?;
            printer.run(name(operation), clients, &figures);
            judge(&figures)?;
            if operation == KvOperation::Put {
                rates.push((clients, figures.per_second));
            }
        }
    }
    if let Some((before, after)) = raw_before.zip(raw_rate(args.dir).await?) {
        let (before, after) = (before.per_second, after.per_second);
        printer.note(&format!("\nraw syncs per second before and after the runs: {before:.0} and {after:.0}"));
        for (clients, rate) in rates {
            let ratio = 2.0 * rate / (before + after);
            printer.note(&format!("  {clients:>5} clients: {ratio:.2} puts for each raw sync"));
        }
    }
    Ok(())
}

async fn raw_rate(dir: Option<PathBuf>) -> anyhow::Result<Option<Figures>> {
    let Some(dir) = dir else { return Ok(None) };
    Ok(Some(tokio::task::spawn_blocking(move || raw_syncs(&dir, RAW_TIME)).await??))
}

fn name(operation: KvOperation) -> &'static str {
    match operation {
        KvOperation::Put => "put",
        KvOperation::Get => "get",
    }
}

fn key(client: usize, number: u64) -> String {
    format!("anvil-bench/{client}/{number}")
}

/// Where keys are, and what is put.
struct Keys {
    target: KvTarget,
    endpoints: Vec<Endpoint>,
    servers: Servers,
    value: Bytes,
}

impl Keys {
    /// One run.
    async fn measure(&self, operation: KvOperation, clients: usize, length: Duration) -> anyhow::Result<Figures> {
        let keys = match operation {
            KvOperation::Put => KEYS_OF_A_CLIENT,
            KvOperation::Get => {
                self.prepare(clients).await?;
                KEYS_READ_BY_A_CLIENT
            }
        };
        let run = Run { name: name(operation), clients, length, size: self.value.len() };
        let value = self.value.clone();
        let act = move |mut connection: KvConnection, client, number: u64| {
            let value = value.clone();
            async move {
                let outcome = connection.operate(operation, key(client, number % keys), &value).await;
                (connection, outcome)
            }
        };
        load(&run, &self.servers, |client| self.connection(client), act).await
    }

    /// Puts what is read, by all clients at the same time.
    async fn prepare(&self, clients: usize) -> anyhow::Result<()> {
        let mut preparing = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (mut connection, value) = (self.connection(client), self.value.clone());
            preparing.spawn(async move {
                for number in 0..KEYS_READ_BY_A_CLIENT {
                    connection.operate(KvOperation::Put, key(client, number), &value).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(prepared) = preparing.join_next().await {
            prepared?.context("the keys to read could not be put")?;
        }
        Ok(())
    }

    /// The connection of a client: each to the next node.
    fn connection(&self, client: usize) -> KvConnection {
        let endpoint = &self.endpoints[client % self.endpoints.len()];
        match self.target {
            KvTarget::Anvil => KvConnection::Anvil(endpoint.connection()),
            KvTarget::Etcd => KvConnection::Etcd(EtcdConnection::new(endpoint.clone())),
        }
    }
}

/// One client's connection.
enum KvConnection {
    Anvil(Connection),
    Etcd(EtcdConnection),
}

impl KvConnection {
    async fn operate(&mut self, operation: KvOperation, key: String, value: &Bytes) -> anyhow::Result<()> {
        match self {
            KvConnection::Anvil(connection) => {
                let (method, body) = match operation {
                    KvOperation::Put => (Method::PUT, value.clone()),
                    KvOperation::Get => (Method::GET, Bytes::new()),
                };
                let host = connection.authority();
                let request = Request::builder().method(method).uri(format!("/kv/{key}")).header(header::HOST, &*host);
                let answer = connection.send(request.body(Full::new(body))?).await?.check("a request")?;
                if operation == KvOperation::Get && answer.length != value.len() {
                    bail!("a value of {} bytes came back with {} bytes", value.len(), answer.length);
                }
                Ok(())
            }
            KvConnection::Etcd(connection) => connection.operate(operation, key, value).await,
        }
    }
}
