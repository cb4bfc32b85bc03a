//! `qbindctl genesis`: make a network's keys, configurations and genesis file; hash one.

use clap::{Args, Subcommand, ValueEnum};
use qbind_lab::network::{
    CreateOptions, EPOCH_BLOCKS, NetworkDir, NetworkError, NetworkProfile, Reach, create,
};
use qbind_plan::topology::{Topology, TopologyError};
use serde_json::json;
use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 64;

/// Genesis: the network's directory, and the hash nodes expect.
#[derive(Debug, Subcommand)]
pub enum GenesisCommand {
    /// Make keys, configurations and genesis for every node of a network
    New(GenesisNewArgs),
    /// Print the hash of a genesis file: SHA3-256 of its bytes
    Hash(GenesisHashArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GenesisOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `genesis new`.
#[derive(Debug, Args)]
pub struct GenesisNewArgs {
    /// A topology file, or the name of a built-in one
    #[arg(long, value_name = "FILE|NAME", conflicts_with_all = ["validators", "regions"])]
    #[arg(required_unless_present = "validators")]
    pub topology: Option<String>,
    /// Without a topology: this many validators (at least 4) …
    #[arg(long, value_name = "N", requires = "regions")]
    pub validators: Option<u32>,
    /// … spread evenly over this many regions
    #[arg(long, value_name = "R", requires = "validators")]
    pub regions: Option<u32>,
    /// The directory to make; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The settings all nodes start from: mainnet, testnet-beta or devnet
    #[arg(long, value_name = "PROFILE", default_value = "mainnet")]
    pub profile: NetworkProfile,
    /// Funded accounts whose keys the load generator gets
    #[arg(long, value_name = "K", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub load_accounts: u32,
    /// An election of the next epoch's validators every so many blocks
    #[arg(long, value_name = "BLOCKS", default_value_t = EPOCH_BLOCKS)]
    #[arg(value_parser = clap::value_parser!(u64).range(8..=1_000_000))]
    pub epoch_blocks: u64,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: GenesisOutput,
}

/// Arguments of `genesis hash`.
#[derive(Debug, Args)]
pub struct GenesisHashArgs {
    /// The genesis file
    pub file: PathBuf,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: GenesisOutput,
}

/// Runs the command and returns its exit code.
pub fn run(command: GenesisCommand) -> u8 {
    let answer = match command {
        GenesisCommand::New(args) => new(&args),
        GenesisCommand::Hash(args) => hash(&args),
    };
    let (text, code) = match answer {
        Ok(text) => (text, DONE),
        Err((message, code)) => {
            eprintln!("error: {message}");
            return code;
        }
    };
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write the answer: {error}");
            FAILED
        }
        _ => code,
    }
}

fn new(args: &GenesisNewArgs) -> Result<String, (String, u8)> {
    let topology = topology(args).map_err(|error| (chain(&error), USAGE))?;
    let options = CreateOptions {
        topology,
        out: args.out.clone(),
        profile: args.profile,
        load_accounts: args.load_accounts,
        epoch_blocks: args.epoch_blocks,
        reach: Reach::Lab,
    };
    let network = create(&options).map_err(|error| (chain(&error), exit_code(&error)))?;
    Ok(match args.output {
        GenesisOutput::Text => render(&network),
        GenesisOutput::Json => tagged(
            "qbindctl.genesis-new/v1",
            &json!({
                "dir": network.dir(),
                "genesis": network.genesis_path(),
                "genesis_hash": network.genesis_hash(),
                "profile": network.profile(),
                "load_accounts": args.load_accounts,
                "nodes": network.nodes(),
            }),
        ),
    })
}

fn topology(args: &GenesisNewArgs) -> Result<Topology, TopologyError> {
    match (&args.topology, args.validators, args.regions) {
        (Some(topology), ..) => Topology::load(topology),
        (None, validators, regions) => {
            Topology::generated(validators.unwrap_or(0), regions.unwrap_or(0))
        }
    }
}

fn render(network: &NetworkDir) -> String {
    let nodes = network
        .nodes()
        .iter()
        .map(|node| format!("  {:<20} {:<10} {}\n", node.name, node.role.as_str(), node.p2p));
    format!(
        "{nodes}genesis  {}\nhash     {}\nready in {}",
        network.genesis_path().display(),
        network.genesis_hash(),
        network.dir().display(),
        nodes = nodes.collect::<String>(),
    )
}

/// What the error says about whose fault it is.
fn exit_code(error: &NetworkError) -> u8 {
    match error {
        NetworkError::Read { .. } | NetworkError::Write { .. } | NetworkError::Port { .. } => {
            FAILED
        }
        _ => USAGE,
    }
}

fn hash(args: &GenesisHashArgs) -> Result<String, (String, u8)> {
    let file = args.file.display();
    let bytes = fs::read(&args.file).map_err(|e| (format!("cannot read {file}: {e}"), USAGE))?;
    let hash = qbind_crypto::genesis_hash(&bytes);
    Ok(match args.output {
        GenesisOutput::Text => hash.to_string(),
        GenesisOutput::Json => {
            tagged("qbindctl.genesis-hash/v1", &json!({ "file": args.file, "hash": hash }))
        }
    })
}

/// The JSON of an object, with its schema first.
fn tagged(schema: &str, object: &serde_json::Value) -> String {
    let text = object.to_string();
    let fields = text.strip_prefix('{').expect("an object was given");
    format!("{{\"schema\":\"{schema}\",{fields}")
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
