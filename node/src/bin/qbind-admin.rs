//! Looks after a node: its history, evidence of offences and what became of it.

use clap::{Parser, Subcommand};
use qbind_node::tools::{
    EvidenceCommand, HistoryArgs, PruneArgs, end, evidence, prune_state, slash_history,
};
use std::process::ExitCode;

/// Looks after a node
#[derive(Parser)]
#[command(name = "qbind-admin", version)]
#[command(after_help = "Exit codes: 0 done, 1 refused, 64 usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Delete history now, below the last N heights; the node may run or not
    PruneState(PruneArgs),
    /// Proofs of offences
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// What is held against a validator
    SlashHistory(HistoryArgs),
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::PruneState(args) => prune_state(&args),
            Command::Evidence(command) => evidence(&command),
            Command::SlashHistory(args) => slash_history(&args),
        },
        Err(error) => return qbind_node::tools::usage(&error),
    };
    end("qbind-admin", result)
}
