//! The `anvil` binary.

use anvil::cli::{Cli, Command};
use anvil::{admin, bench, cluster, serve};
use clap::Parser;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// How long mimalloc keeps freed pages, in milliseconds.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// Its own default is a second, over which a node would keep much that it does not need. Without any delay half of the time of large
/// bodies goes to the kernel's giving pages and taking them back.
const PURGE_DELAY_MS: &str = "20";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_node = matches!(cli.command, None | Some(Command::Serve(_)));
    if is_node {
        return_freed_memory_soon();
    }
    let filter = EnvFilter::try_from_env("ANVIL_LOG").unwrap_or_else(|_| EnvFilter::new("warn,anvil=info"));
    // At its lower levels `s3s` writes signatures that would be good ones.
    let filter = filter.add_directive("s3s=off".parse().expect("a target and a level are a directive"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if is_node {
        builder.worker_threads(door_threads());
    }
    let result = builder.enable_all().build().map_err(anyhow::Error::from);
    let result = result.and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                None => serve::serve(cli.serve).await,
                Some(Command::Serve(args)) => serve::serve(args).await,
                Some(Command::Bench(what)) => bench::bench(what).await,
                Some(Command::Cluster(args)) => cluster::operate(args).await,
                Some(Command::Admin(args)) => admin::administer(args).await,
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Threads of a node for its doors and its peers: half of the cores, since the core, the log, the state and the coding have
/// threads of their own, and two threads that share little work wake each other more than they do.
fn door_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Begins this process anew, with the allocator told when to return freed pages to the kernel: stripes are megabytes that
/// one thread allocates and another frees, and what is kept of them for long is a good part of a node's memory. mimalloc
/// reads its options from the environment before `main`, and what it is asked later takes `unsafe`.
fn return_freed_memory_soon() {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "anvil".into());
    let Ok(binary) = std::env::current_exe() else { return };
    // This returns only when it failed, and then the node runs with more memory.
    let _failed = std::process::Command::new(binary).arg0(name).args(arguments).env(PURGE_DELAY, PURGE_DELAY_MS).exec();
}
