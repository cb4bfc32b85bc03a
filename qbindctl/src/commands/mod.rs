//! One file for each noun.

mod attest;
mod steps;

use crate::{exit::DONE, reference};
use clap::{CommandFactory, Subcommand};

/// The nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Evidence bundles: keys, signatures, verification
    #[command(subcommand)]
    Attest(attest::AttestCommand),
    /// The seven checks of the dress rehearsal guide
    #[command(subcommand)]
    Steps(steps::StepsCommand),
    /// References made from this program
    #[command(subcommand, hide = true)]
    Docs(DocsCommand),
}

/// References made from this program.
#[derive(Debug, Subcommand)]
pub(crate) enum DocsCommand {
    /// This command line as Markdown
    Cli,
}

/// Runs a command; returns the exit code.
pub(crate) fn run(command: Command) -> u8 {
    match command {
        Command::Attest(command) => attest::run(command),
        Command::Steps(command) => steps::run(command),
        Command::Docs(DocsCommand::Cli) => {
            print!("{}", reference::markdown(crate::Cli::command()));
            DONE
        }
    }
}
