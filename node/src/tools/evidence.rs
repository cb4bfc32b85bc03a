//! Evidence of offences, for operators: what a node found, handing it in, what became of it.

use super::{Client, Submission, ToolError, Waited, read_secret, submit};
use clap::{Args, Subcommand};
use qbind_types::{Evidence, RegistryCall, decode, limits};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf, time::Duration};

const MEMORY: &str = "writing to memory cannot fail";

/// The node to ask.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// The node to ask
    #[arg(
        long,
        value_name = "URL",
        env = "QBIND_NODE_URL",
        default_value = "http://127.0.0.1:9090"
    )]
    node_url: String,
}

/// What to do with evidence.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// The proofs of offences that the node has found
    List(NodeArgs),
    /// Hand in a proof; anybody may, and where offences cost stake its sender gets a fee
    Submit(SubmitArgs),
}

/// A proof and who hands it in.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The proof, from the folder `evidence` of a node's data directory
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The sender's key file, `<keystore>/<role>.key`; its account pays the fee
    #[arg(long, value_name = "FILE")]
    sign_with: PathBuf,
    /// The environment variable with its passphrase
    #[arg(long, value_name = "NAME", default_value = "QBIND_KEYSTORE_PASSPHRASE")]
    passphrase_env: String,
    /// Price of one unit of gas
    #[arg(long, value_name = "AMOUNT", default_value_t = 10)]
    max_fee_per_gas: u128,
    /// Seconds to wait until the report is final
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// Whose history to show.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The validator
    #[arg(long, value_name = "N")]
    validator_id: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct EvidenceAnswer {
    evidence: Vec<FoundAnswer>,
}

#[derive(Debug, Deserialize)]
struct FoundAnswer {
    offence: String,
    validator_id: u64,
    epoch: u64,
    at: u64,
    file: String,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct SlashingAnswer {
    mode: String,
    epoch: u64,
    oldest_epoch: u64,
    validators: Vec<SlashedAnswer>,
}

#[derive(Debug, Deserialize)]
struct SlashedAnswer {
    id: u64,
    stake: Option<u64>,
    pending: u64,
    total_slashed: String,
    jailed_until_epoch: u64,
    jail_count: u64,
    offences: BTreeMap<String, u64>,
}

/// Carries out a command.
///
/// # Errors
/// The operator's fault, the node's, or the chain's no.
pub fn evidence(command: &EvidenceCommand) -> Result<String, ToolError> {
    match command {
        EvidenceCommand::List(node) => Ok(list(&Client::new(&node.node_url).evidence()?)),
        EvidenceCommand::Submit(args) => hand_in(args),
    }
}

fn list(found: &EvidenceAnswer) -> String {
    if found.evidence.is_empty() {
        return "no proof of an offence\n".to_owned();
    }
    let mut out = String::new();
    for FoundAnswer { offence, validator_id, epoch, at, file, bytes } in &found.evidence {
        let unit = if offence.starts_with("O4") { "round" } else { "view" };
        writeln!(
            out,
            "{offence}: validator {validator_id}, epoch {epoch}, {unit} {at}, {bytes} bytes, {file}"
        )
        .expect(MEMORY);
    }
    out
}

fn read(args: &SubmitArgs) -> Result<Evidence, ToolError> {
    let name = args.file.display();
    let length = fs::metadata(&args.file)
        .map_err(|e| ToolError::usage(format!("cannot read {name}: {e}")))?
        .len();
    if length > limits::EVIDENCE_BYTES as u64 {
        let most = limits::EVIDENCE_BYTES;
        return Err(ToolError::usage(format!("{name} has {length} bytes, a proof {most} at most")));
    }
    let bytes =
        fs::read(&args.file).map_err(|e| ToolError::usage(format!("cannot read {name}: {e}")))?;
    decode(&bytes).map_err(|_| {
        ToolError::usage(format!(
            "{name} is no proof of an offence; take a file of the folder `evidence` in a node's data \
             directory"
        ))
    })
}

fn hand_in(args: &SubmitArgs) -> Result<String, ToolError> {
    let evidence = read(args)?;
    let key = read_secret(&args.sign_with, &args.passphrase_env)?;
    let offence = evidence.offence();
    let submission = Submission {
        call: RegistryCall::Report(Box::new(evidence)),
        amount: 0,
        key: &key,
        max_fee_per_gas: args.max_fee_per_gas,
        wait: Duration::from_secs(args.wait),
    };
    let Waited { id, height } = submit(&Client::new(&args.node.node_url), &submission)?;
    Ok(format!("{offence} is on record\ntransaction {id}, final at height {height}\n"))
}

/// What is held against a validator.
///
/// # Errors
/// The node does not answer.
pub fn slash_history(args: &HistoryArgs) -> Result<String, ToolError> {
    let answer = Client::new(&args.node.node_url).slashing()?;
    Ok(history(&answer, args.validator_id))
}

fn history(answer: &SlashingAnswer, id: u64) -> String {
    let SlashingAnswer { mode, epoch, oldest_epoch, validators } = answer;
    let mut out = format!(
        "mode {mode}; epoch {epoch}; offences since epoch {oldest_epoch} can be reported\n"
    );
    let Some(found) = validators.iter().find(|v| v.id == id) else {
        writeln!(out, "validator {id}: nothing on record").expect(MEMORY);
        return out;
    };
    match found.stake {
        Some(stake) => write!(out, "validator {id}: stake {stake}"),
        None => write!(out, "validator {id}: has left"),
    }
    .expect(MEMORY);
    let (taken, pending) = (&found.total_slashed, found.pending);
    write!(out, ", {taken} slashed, {pending} more at the next election").expect(MEMORY);
    let (until, count) = (found.jailed_until_epoch, found.jail_count);
    if until > *epoch {
        write!(out, ", in jail until epoch {until}").expect(MEMORY);
    }
    writeln!(out, ", sent to jail {count} times").expect(MEMORY);
    for (offence, times) in &found.offences {
        writeln!(out, "{offence}: {times}").expect(MEMORY);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_node_become_lines_for_people() {
        let found = serde_json::json!({"schema": "qbind.evidence/v1", "evidence": [
            {"offence": "O1_double_sign", "validator_id": 7, "epoch": 3, "at": 41,
             "file": "O1_double_sign-7-3-41.bin", "bytes": 5200},
            {"offence": "O4_invalid_dag_cert", "validator_id": 7, "epoch": 3, "at": 2,
             "file": "O4_invalid_dag_cert-7-3-2.bin", "bytes": 4950},
        ]});
        assert_eq!(
            list(&serde_json::from_value(found).unwrap()),
            "O1_double_sign: validator 7, epoch 3, view 41, 5200 bytes, O1_double_sign-7-3-41.bin\n\
             O4_invalid_dag_cert: validator 7, epoch 3, round 2, 4950 bytes, \
             O4_invalid_dag_cert-7-3-2.bin\n"
        );
        let none = EvidenceAnswer { evidence: Vec::new() };
        assert_eq!(list(&none), "no proof of an offence\n");
        let slashing = serde_json::json!({
            "schema": "qbind.slashing/v1", "mode": "enforce-critical", "epoch": 3, "oldest_epoch": 0,
            "validators": [{"id": 7, "stake": 925, "pending": 70, "total_slashed": "75",
                "jailed_until_epoch": 12, "jail_count": 2, "offences": {"O1_double_sign": 2}}],
        });
        let slashing: SlashingAnswer = serde_json::from_value(slashing).unwrap();
        let first = "mode enforce-critical; epoch 3; offences since epoch 0 can be reported\n";
        assert_eq!(
            history(&slashing, 7),
            format!(
                "{first}validator 7: stake 925, 75 slashed, 70 more at the next election, in jail \
                 until epoch 12, sent to jail 2 times\nO1_double_sign: 2\n"
            )
        );
        assert_eq!(history(&slashing, 8), format!("{first}validator 8: nothing on record\n"));
    }
}
