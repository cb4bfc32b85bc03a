//! Shows the validators' registry and hands in calls to it.

use clap::{Args, Parser, Subcommand};
use qbind_node::tools::{
    Client, RotationEvent, Submission, ToolError, Waited, end, read_public, read_secret, submit,
};
use qbind_types::{RegistryCall, RotationKind};
use std::{fmt::Write, fs, path::PathBuf, process::ExitCode, time::Duration};

/// What an expedited call offers more for its gas.
const EXPEDITED: u128 = 1_000;

/// Shows the validators' registry and hands in calls to it
#[derive(Parser)]
#[command(name = "qbind-validator-registry", version)]
#[command(after_help = "Exit codes: 0 done, 1 refused by the chain, 64 usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every validator with its stake, key and rotation
    Show(Node),
    /// Hand in a rotation event
    SubmitRotation(SubmitRotation),
    /// Become a validator; the bond is paid back after leaving
    Join(Join),
    /// Stop being a validator
    Leave(Leave),
}

#[derive(Clone, Args)]
struct Node {
    /// The node to ask
    #[arg(
        long,
        value_name = "URL",
        env = "QBIND_NODE_URL",
        default_value = "http://127.0.0.1:9090"
    )]
    node_url: String,
}

#[derive(Clone, Args)]
struct Sender {
    #[command(flatten)]
    node: Node,
    /// The sender's key file, `<keystore>/<role>.key`; its account pays the fee
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// The environment variable with its passphrase
    #[arg(long, value_name = "NAME", default_value = "QBIND_KEYSTORE_PASSPHRASE")]
    passphrase_env: String,
    /// Price of one unit of gas
    #[arg(long, value_name = "AMOUNT", default_value_t = 10)]
    max_fee_per_gas: u128,
    /// Seconds to wait until the call is final
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

#[derive(Args)]
struct SubmitRotation {
    /// The event that qbind-key-rotation wrote
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// Pay enough to go first
    #[arg(long)]
    expedited: bool,
    #[command(flatten)]
    sender: Sender,
}

#[derive(Args)]
struct Join {
    /// The new validator's number
    #[arg(long, value_name = "N")]
    validator_id: u64,
    /// Its consensus key's public file
    #[arg(long, value_name = "FILE")]
    key_path: PathBuf,
    /// Its bond, which is its stake
    #[arg(long, value_name = "AMOUNT")]
    bond: u64,
    #[command(flatten)]
    sender: Sender,
}

#[derive(Args)]
struct Leave {
    /// The validator
    #[arg(long, value_name = "N")]
    validator_id: u64,
    #[command(flatten)]
    sender: Sender,
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Show(node) => show(&node),
            Command::SubmitRotation(args) => rotate(&args),
            Command::Join(args) => join(&args),
            Command::Leave(args) => leave(&args),
        },
        Err(error) => return qbind_node::tools::usage(&error),
    };
    end("qbind-validator-registry", result)
}

fn show(node: &Node) -> Result<String, ToolError> {
    let registry = Client::new(&node.node_url).registry()?;
    let mut out = format!(
        "epoch {}; calls now take effect from epoch {} on\n",
        registry.epoch, registry.earliest_epoch
    );
    for v in &registry.validators {
        let start = hex::encode(&v.key.as_bytes()[..8]);
        let (id, stake, owner) = (v.id, v.stake, v.owner);
        write!(out, "validator {id}: stake {stake}, key 0x{start}…, owner {owner}").expect(MEMORY);
        if v.is_leaving {
            out += ", leaving";
        }
        if let Some(rotation) = &v.rotation {
            let (from, until) = (rotation.effective_epoch, rotation.old_key_until);
            write!(out, ", new key from epoch {from} on, old until {until}").expect(MEMORY);
        }
        out.push('\n');
    }
    Ok(out)
}

const MEMORY: &str = "writing to memory cannot fail";

fn hand_in(sender: &Sender, call: RegistryCall, amount: u128) -> Result<Waited, ToolError> {
    let key = read_secret(&sender.sign_with, &sender.passphrase_env)?;
    let submission = Submission {
        call,
        amount,
        key: &key,
        max_fee_per_gas: sender.max_fee_per_gas,
        wait: Duration::from_secs(sender.wait),
    };
    submit(&Client::new(&sender.node.node_url), &submission)
}

fn rotate(args: &SubmitRotation) -> Result<String, ToolError> {
    let name = args.event.display();
    let text = fs::read_to_string(&args.event)
        .map_err(|e| ToolError::usage(format!("cannot read {name}: {e}")))?;
    let event =
        RotationEvent::parse(&text).map_err(|e| ToolError::usage(format!("{name}: {e}")))?;
    let rotation = event.rotation;
    let id = rotation.validator_id;
    let registry = Client::new(&args.sender.node.node_url).registry()?;
    if registry.validator(id)?.key != event.old_key {
        return Err(ToolError::usage(format!(
            "{name}: old_key is not the key the chain knows for validator {id}; write the event \
             again with the right --old-key-path"
        )));
    }
    let (from, grace) = (rotation.effective_epoch, rotation.grace_epochs);
    let says = match rotation.kind {
        RotationKind::Scheduled => {
            format!("both keys are valid from epoch {from} to {}", from.0.saturating_add(grace))
        }
        RotationKind::Emergency => format!("the old key is worth nothing from epoch {from} on"),
    };
    let mut sender = args.sender.clone();
    if args.expedited {
        sender.max_fee_per_gas = sender.max_fee_per_gas.saturating_mul(EXPEDITED);
    }
    let Waited { id: transaction, height } = hand_in(&sender, RegistryCall::Rotate(rotation), 0)?;
    Ok(format!("validator {id}: {says}\ntransaction {transaction}, final at height {height}\n"))
}

fn join(args: &Join) -> Result<String, ToolError> {
    let (id, public_key) = (args.validator_id, read_public(&args.key_path)?);
    let call = RegistryCall::Join { id, public_key };
    let Waited { id: transaction, height } = hand_in(&args.sender, call, u128::from(args.bond))?;
    Ok(format!(
        "validator {id} joins with the next election\ntransaction {transaction}, final at height \
         {height}\n"
    ))
}

fn leave(args: &Leave) -> Result<String, ToolError> {
    let id = args.validator_id;
    let Waited { id: transaction, height } = hand_in(&args.sender, RegistryCall::Leave { id }, 0)?;
    Ok(format!(
        "validator {id} leaves with the next election\ntransaction {transaction}, final at height \
         {height}\n"
    ))
}
