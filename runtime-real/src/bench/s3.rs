//! `anvil bench s3`: puts and gets of objects on any S3 endpoint.

use super::S3Args;
use super::figures::{Printer, shown_size};
use super::load::{Run, judge, load, payload};
use super::servers::Servers;
use super::signer::{Credentials, Signable, sha256_hex, stamp};
use crate::endpoint::{Answer, Connection, Endpoint};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Objects that one client writes in turn, and then reads.
const OBJECTS_OF_A_CLIENT: u64 = 8;

/// Bytes of all objects of a run at most, so that large ones do not fill a disk; each client keeps at least one.
const OBJECTS_BYTES_MAX: u64 = 1 << 30;

/// Everything that a request needs besides its path.
#[derive(Clone, Debug)]
struct Target {
    endpoints: Arc<[Endpoint]>,
    credentials: Arc<Credentials>,
    bucket: Arc<str>,
}

/// A body with its hash, made once for all requests.
#[derive(Clone, Debug)]
struct Body {
    bytes: Bytes,
    sha256: Arc<str>,
}

impl Body {
    fn new(bytes: Bytes) -> Body {
        Body { sha256: sha256_hex(&bytes).into(), bytes }
    }
}

pub(super) async fn bench(args: S3Args) -> anyhow::Result<()> {
    let target = Target {
        endpoints: args
            .endpoint
            .iter()
            .map(|url| Endpoint::parse(url, args.ca_cert.as_deref()))
            .collect::<anyhow::Result<_>>()?,
        credentials: Arc::new(credentials(&args)?),
        bucket: args.bucket.as_str().into(),
    };
    target.make_bucket().await?;
    let servers = Servers::new(&args.output.server_pid);
    let printer = Printer::new(args.output.json);
    printer.head(&format!("objects in bucket {} of {}", args.bucket, args.endpoint.join(", ")));
    for &size in &args.size {
        for &clients in &args.clients {
            let length = Duration::from_secs(args.seconds);
            let result = target.measure(size, clients, length, &servers, printer).await;
            target.clean(clients, objects_of_a_client(size, clients)).await;
            result?;
        }
    }
    Ok(())
}

fn credentials(args: &S3Args) -> anyhow::Result<Credentials> {
    let first =
        |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let id = args.access_key_id.clone().or_else(|| first(["ANVIL_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"]));
    let secret = first(["ANVIL_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"]);
    let (Some(access_key_id), Some(secret_access_key)) = (id, secret) else {
        bail!(
            "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`anvil serve` prints them at its start)"
        );
    };
    Ok(Credentials { access_key_id, secret_access_key, region: args.region.clone() })
}

fn objects_of_a_client(size: usize, clients: usize) -> u64 {
    let bytes = u64::try_from(size.saturating_mul(clients)).unwrap_or(u64::MAX).max(1);
    (OBJECTS_BYTES_MAX / bytes).clamp(1, OBJECTS_OF_A_CLIENT)
}

fn key(client: usize, number: u64) -> String {
    format!("anvil-bench/{client}/{number}")
}

impl Target {
    /// One put run and one get run.
    async fn measure(
        &self,
        size: usize,
        clients: usize,
        length: Duration,
        servers: &Servers,
        printer: Printer,
    ) -> anyhow::Result<()> {
        let objects = objects_of_a_client(size, clients);
        let body = Body::new(payload(size));
        // Every object is there before the first is read, however short the run of puts is.
        self.each_object(clients, objects, &Method::PUT, &body).await?;
        for method in [Method::PUT, Method::GET] {
            let name = if method == Method::PUT { "put" } else { "get" };
            let run = Run { name, clients, length, size };
            let (target, sent) =
                (self.clone(), if method == Method::PUT { body.clone() } else { Body::new(Bytes::new()) });
            let operation = move |mut connection: Connection, client, number: u64| {
                let (target, sent, method) = (target.clone(), sent.clone(), method.clone());
                async move {
                    let key = key(client, number % objects);
                    let outcome = target.send(&mut connection, &method, Some(&key), &sent).await;
                    let outcome = outcome.and_then(|answer| check(answer, &method, size));
                    (connection, outcome)
                }
            };
            let figures = load(&run, servers, |client| self.connection(client), operation).await?;
            printer.run(&format!("{name} {}", shown_size(size)), clients, &figures);
            judge(&figures)?;
        }
        Ok(())
    }

    /// The connection of a client: each to the next node.
    fn connection(&self, client: usize) -> Connection {
        self.endpoints[client % self.endpoints.len()].connection()
    }

    async fn make_bucket(&self) -> anyhow::Result<()> {
        let mut connection = self.connection(0);
        let answer = self.send(&mut connection, &Method::PUT, None, &Body::new(Bytes::new())).await?;
        // It may be there already.
        if answer.status != StatusCode::CONFLICT {
            answer.check("making the bucket")?;
        }
        Ok(())
    }

    /// Removes what was stored. What fails stays, and the next run overwrites it.
    async fn clean(&self, clients: usize, objects: u64) {
        if let Err(error) = self.each_object(clients, objects, &Method::DELETE, &Body::new(Bytes::new())).await {
            tracing::warn!("the objects of the run could not be removed: {error:#}");
        }
    }

    async fn each_object(&self, clients: usize, objects: u64, method: &Method, body: &Body) -> anyhow::Result<()> {
        let mut connection = self.connection(0);
        for client in 0..clients {
            for number in 0..objects {
                self.send(&mut connection, method, Some(&key(client, number)), body).await?.check("preparing")?;
            }
        }
        Ok(())
    }

    /// Signs and sends a request for the bucket, or a key of it that needs no encoding.
    async fn send(
        &self,
        connection: &mut Connection,
        method: &Method,
        key: Option<&str>,
        body: &Body,
    ) -> anyhow::Result<Answer> {
        let path = key.map_or_else(|| format!("/{}", self.bucket), |key| format!("/{}/{key}", self.bucket));
        let (stamp, host) = (stamp(SystemTime::now()), connection.authority());
        let headers = [("host", &*host), ("x-amz-content-sha256", &*body.sha256), ("x-amz-date", stamp.as_str())];
        let signable =
            Signable { method: method.as_str(), path: &path, query: "", headers: &headers, payload: &body.sha256 };
        let authorization = self.credentials.authorization(&stamp, &signable);
        let mut request = Request::builder().method(method).uri(&path).header(header::AUTHORIZATION, authorization);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        connection.send(request.body(Full::new(body.bytes.clone())).context("the bucket's name makes no path")?).await
    }
}

fn check(answer: Answer, method: &Method, size: usize) -> anyhow::Result<()> {
    let answer = answer.check("a request")?;
    if method == Method::GET && answer.length != size {
        bail!("an object of {size} bytes came back with {} bytes", answer.length);
    }
    Ok(())
}
