//! The `anvil` binary.

use anvil::cli::{Cli, Command};
use anvil::{bench, serve};
use clap::Parser;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("ANVIL_LOG").unwrap_or_else(|_| EnvFilter::new("warn,anvil=info"));
    // At its lower levels `s3s` writes signatures that would be good ones.
    let filter = filter.add_directive("s3s=off".parse().expect("a target and a level are a directive"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let result = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    let result = result.and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                None => serve::serve(cli.serve).await,
                Some(Command::Serve(args)) => serve::serve(args).await,
                Some(Command::Bench(what)) => bench::bench(what).await,
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
