//! `qbindctl chain`: check a node's chain without trusting the node.

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use qbind_crypto::{LightClient, genesis_hash};
use qbind_gates::founders;
use qbind_rehearsal::chain::{FollowError, FollowOptions, Followed, follow_node};
use qbind_types::{BlockId, GenesisHash, Height};
use serde_json::json;
use std::{error::Error, fs, path::PathBuf, sync::Arc, time::Instant};

const SOUND: u8 = 0;
const WRONG: u8 = 1;
const USAGE: u8 = 64;

/// A chain, followed from genesis.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Follow a node's chain from genesis by commit certificates alone, epoch by epoch
    Verify(ChainVerifyArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ChainOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `chain verify`.
#[derive(Debug, Args)]
pub struct ChainVerifyArgs {
    /// The genesis file: all that is trusted
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// The node's HTTP listener; what it hands over is checked here
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    pub node: String,
    /// Refuse a genesis file with another hash
    #[arg(long, value_name = "0xHASH")]
    pub expect_genesis_hash: Option<GenesisHash>,
    /// Stop at this height instead of the node's last
    #[arg(long, value_name = "HEIGHT")]
    pub to: Option<u64>,
    /// Of epochs that have ended check only the last block: its certificate vouches for those before
    #[arg(long)]
    pub skip: bool,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: ChainOutput,
}

/// Runs the command and returns its exit code.
pub fn run(command: ChainCommand) -> u8 {
    let ChainCommand::Verify(args) = command;
    match verify(&args) {
        Ok(()) => SOUND,
        Err((code, message)) => {
            eprintln!("qbindctl: {message}");
            code
        }
    }
}

fn verify(args: &ChainVerifyArgs) -> Result<(), (u8, String)> {
    let usage = |message: String| (USAGE, message);
    let file = args.genesis.display();
    let bytes = fs::read(&args.genesis).map_err(|e| usage(format!("cannot read {file}: {e}")))?;
    let hash = genesis_hash(&bytes);
    if let Some(expected) = args.expect_genesis_hash.filter(|expected| *expected != hash) {
        return Err(usage(format!("{file} has hash {hash}, expected {expected}")));
    }
    let (network, set) =
        founders(&bytes).map_err(|why| usage(format!("{file} is no genesis file: {why}")))?;
    let mut light = LightClient::new(network, BlockId(hash.0), Arc::new(set));
    let options = FollowOptions { to: args.to.map(Height), skips: args.skip };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} heights, {per_sec}") {
        bar.set_style(style);
    }
    let started = Instant::now();
    let followed = follow_node(&args.node, &mut light, options, |height, tip| {
        bar.set_length(tip.0);
        bar.set_position(height.0);
    });
    bar.finish_and_clear();
    let followed = followed.map_err(|error| (code(&error), explain(&error)))?;
    let seconds = started.elapsed().as_secs_f64();
    match args.output {
        ChainOutput::Text => print!("{}", text(&followed, hash, seconds)),
        ChainOutput::Json => println!("{}", json_of(&followed, hash)),
    }
    Ok(())
}

/// A chain that is not this genesis' is a no; a node that does not answer is the caller's to mend.
fn code(error: &FollowError) -> u8 {
    match error {
        FollowError::Wrong { .. } => WRONG,
        FollowError::Fetch { .. } | FollowError::Pruned { .. } => USAGE,
    }
}

fn explain(error: &FollowError) -> String {
    let mut text = error.to_string();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    if let FollowError::Fetch { .. } = error {
        text += "; is --node the node's HTTP listener?";
    }
    text
}

fn text(followed: &Followed, hash: GenesisHash, seconds: f64) -> String {
    let mut out = format!("genesis {hash}\n");
    for epoch in &followed.epochs {
        out += &format!(
            "epoch {:<6} after height {:<9} {} validators, voting power {}\n",
            epoch.epoch.to_string(),
            epoch.after.to_string(),
            epoch.validators,
            epoch.power
        );
    }
    out += &format!(
        "height {} block {}\n{} commit certificates verified in {seconds:.1} s: OK\n",
        followed.height, followed.block, followed.certificates
    );
    out
}

fn json_of(followed: &Followed, hash: GenesisHash) -> String {
    let epochs: Vec<_> = followed
        .epochs
        .iter()
        .map(|e| {
            json!({"epoch": e.epoch, "after_height": e.after, "validators": e.validators,
                "power": e.power})
        })
        .collect();
    json!({
        "schema": "qbindctl.chain-verify/v1",
        "genesis_hash": hash,
        "height": followed.height,
        "block_id": followed.block,
        "certificates": followed.certificates,
        "epochs": epochs,
    })
    .to_string()
}
