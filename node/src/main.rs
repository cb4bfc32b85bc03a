//! The QBIND daemon.

use clap::Parser;
use qbind_node::{Cli, Environment, Exit, NodeError, Outcome, prepare};
use std::{io::Write, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// Messages of a few kilobytes by the thousand, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nowhere is left to report that printing failed.
            error.print().unwrap_or_default();
            return ExitCode::from(exit.code());
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit().code())
        }
    }
}

fn report(error: &NodeError) {
    // Nowhere is left to report that reporting failed.
    writeln!(std::io::stderr(), "qbind-node: {}", error.chain()).unwrap_or_default();
}

fn run(cli: &Cli) -> Result<(), NodeError> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|error| {
        NodeError::configuration(format!("--log is `{}`", cli.log)).because(error)
    })?;
    match prepare(cli, &Environment::of_process())? {
        Outcome::Answer(text) => std::io::stdout().write_all(text.as_bytes()).map_err(|error| {
            NodeError::transient("cannot write to standard output").because(error)
        }),
        Outcome::Start(prepared) => {
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
            for warning in &prepared.warnings {
                tracing::warn!("{warning}");
            }
            qbind_node::run(*prepared)
        }
    }
}
