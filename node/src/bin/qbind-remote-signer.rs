//! Keeps a validator's key on a host of its own and signs for its node.

use clap::Parser;
use qbind_node::{Exit, NodeError, remote_signer::serve};
use qbind_signer::RemoteConfig;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// Keeps a validator's key on a host of its own and signs for its node
#[derive(Parser)]
#[command(name = "qbind-remote-signer", version)]
#[command(
    after_help = "Exit codes: 0 stopped, 1 the disk or the device failed, 20 configuration, 64 \
                        usage.\nMetrics: http://LISTEN_ADDR/metrics."
)]
struct Cli {
    /// What to keep and whom to serve
    #[arg(long, value_name = "FILE", default_value = "/etc/qbind/remote_signer.toml")]
    config: PathBuf,
    /// Listen here instead of at the file's listen_addr
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_addr: Option<SocketAddr>,
    /// What to log, as the directives of env_logger
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return qbind_node::tools::usage(&error),
    };
    match run(&cli) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            eprintln!("qbind-remote-signer: {}", error.chain());
            ExitCode::from(error.exit().code())
        }
    }
}

fn run(cli: &Cli) -> Result<(), NodeError> {
    let filter = EnvFilter::try_new(&cli.log)
        .map_err(|e| NodeError::configuration(format!("--log is `{}`", cli.log)).because(e))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut config = RemoteConfig::read(&cli.config)
        .map_err(|e| NodeError::configuration("cannot start").because(e))?;
    if let Some(address) = cli.listen_addr {
        config.listen_addr = address;
    }
    serve(&config, |address| {
        tracing::info!(%address, validator = config.validator_id, "signing for this validator");
    })
}
