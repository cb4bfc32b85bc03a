//! Looks after a node: evidence of offences and what became of it.

use clap::{Parser, Subcommand};
use qbind_node::tools::{EvidenceCommand, HistoryArgs, end, evidence, slash_history};
use std::process::ExitCode;

/// Looks after a node
#[derive(Parser)]
#[command(name = "qbind-admin", version)]
#[command(after_help = "Exit codes: 0 done, 1 refused by the chain, 64 usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Proofs of offences
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// What is held against a validator
    SlashHistory(HistoryArgs),
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Evidence(command) => evidence(&command),
            Command::SlashHistory(args) => slash_history(&args),
        },
        Err(error) => return qbind_node::tools::usage(&error),
    };
    end("qbind-admin", result)
}
