//! Plans the rotation of a validator's key.

use clap::{Args, Parser, Subcommand};
use qbind_node::tools::{Client, RotationEvent, ToolError, end, read_public};
use qbind_types::{Epoch, KeyRole, KeyRotation, PublicKey, RotationKind};
use std::{fs, path::PathBuf, process::ExitCode};

/// A planned rotation leaves its operators this many epochs.
const PLANNED_AHEAD: u64 = 10;

/// Plans the rotation of a validator's key
#[derive(Parser)]
#[command(name = "qbind-key-rotation", version, after_help = "Exit codes: 0 done, 1 no, 64 usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a rotation event: both keys are valid during the grace epochs
    Init(Init),
    /// Write an emergency rotation event: the old key is worth nothing from its epoch on
    Emergency(Emergency),
}

#[derive(Args)]
struct Init {
    /// The validator
    #[arg(long, value_name = "N")]
    validator_id: u64,
    /// consensus; the others have no key of their own on the chain
    #[arg(long, value_name = "ROLE")]
    key_role: KeyRole,
    /// The public key in use
    #[arg(long, value_name = "FILE")]
    old_key_path: PathBuf,
    /// The public key that takes over
    #[arg(long, value_name = "FILE")]
    new_key_path: PathBuf,
    /// Epochs in which both are valid
    #[arg(long, value_name = "N")]
    grace_epochs: u64,
    /// First epoch of the new key; ten from now, as the node says, if it is not given
    #[arg(long, value_name = "EPOCH")]
    effective_epoch: Option<u64>,
    /// The node to ask
    #[arg(long, value_name = "URL", env = "QBIND_NODE_URL", default_value = NODE)]
    node_url: String,
    /// The event's file; must not exist
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
struct Emergency {
    /// The validator
    #[arg(long, value_name = "N")]
    validator_id: u64,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// From the first epoch that can still be changed
    #[arg(long, required = true)]
    effective_immediately: bool,
    /// The public key that takes over
    #[arg(long, value_name = "FILE", default_value = "/data/qbind/keystore/new/consensus.pub")]
    new_key_path: PathBuf,
    /// The node to ask
    #[arg(long, value_name = "URL", env = "QBIND_NODE_URL", default_value = NODE)]
    node_url: String,
    /// The event's file; must not exist
    #[arg(long, value_name = "FILE", default_value = "emergency-rotation-event.json")]
    output: PathBuf,
}

const NODE: &str = "http://127.0.0.1:9090";

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Init(args) => init(&args),
            Command::Emergency(args) => emergency(&args),
        },
        Err(error) => return qbind_node::tools::usage(&error),
    };
    end("qbind-key-rotation", result)
}

fn init(args: &Init) -> Result<String, ToolError> {
    if args.key_role != KeyRole::Consensus {
        return Err(ToolError::usage(format!(
            "UNSUPPORTED: the chain knows no {} key; the consensus key signs batches and proves a \
             validator to its peers, so rotate that one",
            args.key_role
        )));
    }
    let (old_key, new_key) = (read_public(&args.old_key_path)?, read_public(&args.new_key_path)?);
    let effective_epoch = match args.effective_epoch {
        Some(epoch) => Epoch(epoch),
        None => Epoch(Client::new(&args.node_url).registry()?.epoch.0 + PLANNED_AHEAD),
    };
    let rotation = KeyRotation {
        validator_id: args.validator_id,
        role: args.key_role,
        new_key,
        effective_epoch,
        grace_epochs: args.grace_epochs,
        kind: RotationKind::Scheduled,
    };
    let last = effective_epoch.0.saturating_add(args.grace_epochs);
    let says = format!("both keys are valid from epoch {effective_epoch} to {last}");
    write(&args.output, old_key, rotation, None, &says)
}

fn emergency(args: &Emergency) -> Result<String, ToolError> {
    if !args.new_key_path.exists() {
        return Err(ToolError::usage(format!(
            "there is no new key {}; make one first with `qbind-keygen generate`, on a host that is \
             not suspected, or name it with --new-key-path",
            args.new_key_path.display()
        )));
    }
    let new_key = read_public(&args.new_key_path)?;
    let registry = Client::new(&args.node_url).registry()?;
    let old_key = registry.validator(args.validator_id)?.key.clone();
    let effective_epoch = registry.earliest_epoch;
    let rotation = KeyRotation {
        validator_id: args.validator_id,
        role: KeyRole::Consensus,
        new_key,
        effective_epoch,
        grace_epochs: 0,
        kind: RotationKind::Emergency,
    };
    let says = format!("the old key is worth nothing from epoch {effective_epoch} on");
    write(&args.output, old_key, rotation, Some(args.reason.clone()), &says)
}

fn write(
    output: &PathBuf,
    old_key: PublicKey,
    rotation: KeyRotation,
    reason: Option<String>,
    says: &str,
) -> Result<String, ToolError> {
    let name = output.display();
    if old_key == rotation.new_key {
        return Err(ToolError::usage("old and new key are the same"));
    }
    if output.exists() {
        return Err(ToolError::usage(format!("{name} exists; name another --output")));
    }
    let id = rotation.validator_id;
    let event = RotationEvent { old_key, rotation, reason };
    fs::write(output, event.text())
        .map_err(|e| ToolError::usage(format!("cannot write {name}: {e}")))?;
    Ok(format!(
        "{name}: validator {id}, {says}\nnext: qbind-validator-registry submit-rotation --event \
         {name} --sign-with KEY\n"
    ))
}
