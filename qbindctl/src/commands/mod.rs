//! One file for each noun.

mod account;
mod attest;
mod chain;
mod compare;
mod drift;
mod evidence_dir;
mod gates;
mod genesis;
mod lab;
mod map;
mod measure;
mod playbook;
mod rehearse;
mod report;
mod steps;
mod upgrade;

use crate::{exit::DONE, reference};
use clap::{CommandFactory, Subcommand};

/// The nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Accounts: balance and nonce, told by a node or proven against it
    Account(account::AccountArgs),
    /// Evidence bundles: keys, signatures, verification
    #[command(subcommand)]
    Attest(attest::AttestCommand),
    /// Chains: check what a node shows, without trusting the node
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Two runs side by side: what changed by more than chance
    Compare(compare::CompareArgs),
    /// Whether the network is still the one an attestation speaks of
    Drift(drift::DriftArgs),
    /// Gates: what a run is judged by
    #[command(subcommand)]
    Gates(gates::GatesCommand),
    /// Networks: keys, genesis, configuration of every node
    #[command(subcommand)]
    Genesis(genesis::GenesisCommand),
    /// Real nodes on this machine, with a WAN between their regions
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Map measured links to a T238 preset
    Map(map::MapArgs),
    /// Probe directed pairs of regions: RTT, jitter, loss
    Measure(measure::MeasureArgs),
    /// Incident playbooks: observe, refuse or act, wait until it is so
    #[command(subcommand)]
    Playbook(playbook::PlaybookCommand),
    /// Rehearse a launch or a hard fork: all stages, one verdict, one signed bundle
    Rehearse(rehearse::RehearseArgs),
    /// What a run has to say: page, checklists, JUnit, JSON, OpenMetrics
    Report(report::ReportArgs),
    /// The seven checks of the dress rehearsal guide
    #[command(subcommand)]
    Steps(steps::StepsCommand),
    /// Upgrades: what the council approves before binaries are rolled out
    #[command(subcommand)]
    Upgrade(upgrade::UpgradeCommand),
    /// References made from this program
    #[command(subcommand, hide = true)]
    Docs(DocsCommand),
}

/// References made from this program.
#[derive(Debug, Subcommand)]
pub(crate) enum DocsCommand {
    /// This command line as Markdown
    Cli,
    /// The JSON Schema of a manifest
    ManifestSchema,
}

/// Runs a command; returns the exit code.
pub(crate) fn run(command: Command) -> u8 {
    match command {
        Command::Account(args) => account::run(&args),
        Command::Attest(command) => attest::run(command),
        Command::Chain(command) => chain::run(command),
        Command::Compare(args) => compare::run(&args),
        Command::Drift(args) => drift::run(&args),
        Command::Gates(command) => gates::run(command),
        Command::Genesis(command) => genesis::run(command),
        Command::Lab(command) => lab::run(command),
        Command::Map(args) => map::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Playbook(command) => playbook::run(command),
        Command::Rehearse(args) => rehearse::run(args),
        Command::Report(args) => report::run(&args),
        Command::Steps(command) => steps::run(command),
        Command::Upgrade(command) => upgrade::run(command),
        Command::Docs(DocsCommand::Cli) => {
            print!("{}", reference::markdown(crate::Cli::command()));
            DONE
        }
        Command::Docs(DocsCommand::ManifestSchema) => {
            print!("{}", qbind_plan::manifest_schema());
            DONE
        }
    }
}
