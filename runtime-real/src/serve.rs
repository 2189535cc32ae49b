//! `anvil serve`: one node with its front doors, until a signal.

use crate::cli::ServeArgs;
use crate::front;
use crate::leave::leave;
use crate::node::{self, Given, Network, NodeDirectory, StartOptions};
use crate::peers::{Wish, open_or_join};
use anvil_core::types::DriveId;
use anyhow::Context;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Runs a node until Ctrl-C or SIGTERM, or until it cannot go on. A second signal ends the process at once, which
/// loses nothing that was acknowledged.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    args.check()?;
    raise_descriptor_limit();
    // Log and rows hold values in the clear: what the node makes is for its own user alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let address = SocketAddr::new(args.listen, args.http_port()?);
    let credentials = args.access_key_id.clone().zip(args.secret_access_key.clone());
    // The port comes first: a second node on it should not touch the data directory.
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; is another node running? choose another --http-port"))?;
    let address = listener.local_addr().unwrap_or(address);
    let network = network(&args).await?;
    let wish = Wish {
        peers: args.peers.clone(),
        token: args.token()?,
        zone: args.zone.clone(),
        address: network.advertise,
        patience: JOIN_PATIENCE,
    };
    if !wish.peers.is_empty() {
        tracing::info!("asking {} for the cluster", wish.peers.join(", "));
    }
    let lost: Vec<DriveId> = args.lost_drive.iter().copied().map(DriveId).collect();
    let directory =
        Arc::new(open_or_join(Given { paths: &args.dir, lost: &lost }, &args.id, credentials, &wish).await?);
    let options = StartOptions {
        network: Some(network),
        scrub: args.scrub(),
        recode_after: args.recode_after(),
        lost,
        lifecycle_day: args.lifecycle_day(),
        clock_drift_ppm_max: args.clock_drift_ppm_max()?,
        ..StartOptions::default()
    };
    let started = Arc::clone(&directory);
    let mut node = tokio::task::spawn_blocking(move || node::start(&started, &options)).await??;

    let credentials = front::Credentials {
        access_key_id: directory.access_key_id.clone(),
        secret_access_key: directory.secret_access_key.clone(),
    };
    let settings = front::Settings {
        region: args.region.clone(),
        domains: front::Domains::parse(&args.domain)?,
        lifecycle_day: args.lifecycle_day(),
        open_admin: args.listen.is_loopback(),
        root_key: Some(directory.root_key.clone()),
    };
    let tls = tls(&args, &directory)?;
    let cluster = node.peers.clone().map(|peers| front::Cluster::new(directory.ca.clone(), directory.node, peers));
    let router = front::router(node.client.clone(), credentials, settings, cluster);
    let leaving = front::Leaving::default();
    let router = front::telling(router, leaving.clone());
    let (stop, mut stopping) = watch::channel(false);
    let shutdown = async move {
        // A closed channel means that `serve` is gone, and stopping is right then too.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let doors = tokio::spawn(front::serve(listener, router, tls, shutdown));
    // A node serves whether or not anybody listens to its standard output.
    let _ = std::io::stdout().write_all(greeting(&args, &directory, address).as_bytes());

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let is_asked = tokio::select! {
        biased;
        _ = &mut node.ended => false,
        _ = interrupt.recv() => { tracing::info!("stopping; press Ctrl-C again to stop at once"); true }
        _ = terminate.recv() => { tracing::info!("stopping"); true }
    };
    tokio::spawn(async move {
        interrupt.recv().await;
        std::process::exit(130);
    });
    leaving.begin();
    if is_asked {
        leave(&node.client).await;
    }
    let _ = stop.send(true);
    doors.await?.context("the front door failed")?;
    let peers = node.peers.clone();
    let stopped = tokio::task::spawn_blocking(move || node.stop()).await?;
    if let Some(peers) = peers {
        peers.farewell().await;
    }
    drop(directory);
    stopped.map_err(|fatal| anyhow::anyhow!("{fatal}"))
}

/// How the client port speaks TLS, if it does.
fn tls(args: &ServeArgs, directory: &NodeDirectory) -> anyhow::Result<Option<Arc<front::Tls>>> {
    let files = match args.tls_cert.clone().zip(args.tls_key.clone()) {
        Some((certificate, key)) => front::TlsFiles { certificate, key },
        None if args.tls || args.tls_only => {
            let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            if !args.listen.is_loopback() && !args.listen.is_unspecified() {
                names.push(args.listen.to_string());
            }
            names.extend(args.domain.iter().flat_map(|domain| [domain.clone(), format!("*.{domain}")]));
            let files = front::TlsFiles::self_made(&directory.first().join("keys"), names)?;
            tracing::info!("clients of TLS may trust {}", files.certificate.display());
            files
        }
        None => return Ok(None),
    };
    front::Tls::new(files, args.tls_only).map(Some)
}

/// How long a node asks to be taken in.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// Where the node listens for its peers, and where they reach it.
async fn network(args: &ServeArgs) -> anyhow::Result<Network> {
    let bind = SocketAddr::new(args.listen, args.port);
    let advertise = match &args.advertise {
        None => bind,
        Some(address) => tokio::net::lookup_host(address)
            .await
            .with_context(|| format!("--advertise {address} cannot be resolved"))?
            .next()
            .with_context(|| format!("--advertise {address} has no address"))?,
    };
    Ok(Network { bind, advertise, zone: args.zone.clone() })
}

/// Connections, log segments and extents each take a descriptor, and many systems give a process 1024 until it asks for
/// more.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

/// Tells a new user what to type next.
fn greeting(args: &ServeArgs, directory: &NodeDirectory, address: SocketAddr) -> String {
    let (name, drives) = (&directory.name, directory.drives.len());
    let dirs: Vec<_> = args.dir.iter().map(|dir| dir.display().to_string()).collect();
    let dirs = dirs.join(", ");
    let keys = if directory.fresh && args.access_key_id.is_none() {
        format!("  keys       made for you, kept in {}\n", access_file(directory).display())
    } else {
        String::new()
    };
    let (id, secret, region) = (&directory.access_key_id, shown(args, directory), &args.region);
    let version = env!("CARGO_PKG_VERSION");
    let scheme = if args.tls_only { "https" } else { "http" };
    format!(
        "anvil {version} is ready
  node       {name} with {drives} drive(s): {dirs}
  endpoint   {scheme}://{address}   (S3, /kv, /status, /-/metrics)
{keys}
  export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION={region}
  aws --endpoint-url {scheme}://{address} s3 mb s3://demo
  aws --endpoint-url {scheme}://{address} s3 cp README.md s3://demo/
  curl -X PUT --data 'hello' {scheme}://{address}/kv/greeting && curl {scheme}://{address}/kv/greeting

"
    )
}

/// How the shell gets at the secret: in full at the first start only, since what a service prints is kept and read.
fn shown(args: &ServeArgs, directory: &NodeDirectory) -> String {
    if args.secret_access_key.is_some() {
        "\"$ANVIL_SECRET_ACCESS_KEY\"".to_owned()
    } else if directory.fresh {
        directory.secret_access_key.clone()
    } else {
        format!("$(awk '$1 == \"secret\" {{ print $2 }}' {})", access_file(directory).display())
    }
}

fn access_file(directory: &NodeDirectory) -> PathBuf {
    directory.first().join("keys").join("access")
}
