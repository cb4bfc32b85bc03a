//! `qbindctl account`: an account's state, told or proven.

use clap::{Args, ValueEnum};
use qbind_crypto::{LightClient, genesis_hash};
use qbind_gates::founders;
use qbind_rehearsal::chain::{
    AccountError, ProvenState, ToldAccount, account_of_node, prove_account_of_node,
};
use qbind_types::{Address, BlockId, GenesisHash};
use serde_json::json;
use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

const KNOWN: u8 = 0;
const WRONG: u8 = 1;
const UNKNOWN: u8 = 2;
const USAGE: u8 = 64;
/// The last millisecond of the year 9999: later times have no date in RFC 3339.
const LAST_MS: u64 = 253_402_300_799_999;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AccountOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `account`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 told or PROVED, 1 the node's proof is wrong, 2 the node gave \
                        none, 64 usage."
)]
pub struct AccountArgs {
    /// The account: 0x and 64 hexadecimal digits
    pub address: Address,
    /// Check everything the node says against the genesis file
    #[arg(long, requires = "genesis")]
    pub prove: bool,
    /// The node's HTTP listener; without --prove it is believed
    #[arg(long, value_name = "URL", default_value = "127.0.0.1:9090")]
    pub node: String,
    /// The genesis file: all that is trusted
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Refuse a genesis file with another hash
    #[arg(long, value_name = "0xHASH", requires = "genesis")]
    pub expect_genesis_hash: Option<GenesisHash>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: AccountOutput,
}

/// Runs the command and returns its exit code.
pub fn run(args: &AccountArgs) -> u8 {
    match answer(args) {
        Ok(text) => {
            print!("{text}");
            KNOWN
        }
        Err((code, message)) => {
            eprintln!("qbindctl: {message}");
            code
        }
    }
}

fn answer(args: &AccountArgs) -> Result<String, (u8, String)> {
    let http = args.node.strip_prefix("http://").unwrap_or(&args.node).trim_end_matches('/');
    let address = &args.address;
    if !args.prove {
        let told = account_of_node(http, address).map_err(|error| explain(&error))?;
        return Ok(match args.output {
            AccountOutput::Text => told_text(address, &told, http),
            AccountOutput::Json => told_json(address, &told),
        });
    }
    let (mut light, hash) = light_client(args)?;
    let proven = prove_account_of_node(http, &mut light, address);
    let proven = proven.map_err(|error| explain(&error))?;
    Ok(match args.output {
        AccountOutput::Text => proven_text(address, &proven, hash),
        AccountOutput::Json => proven_json(address, &proven, hash),
    })
}

fn light_client(args: &AccountArgs) -> Result<(LightClient, GenesisHash), (u8, String)> {
    let usage = |message: String| (USAGE, message);
    let path = args.genesis.as_ref().ok_or_else(|| usage("pass --genesis FILE".to_owned()))?;
    let file = path.display();
    let bytes = fs::read(path).map_err(|e| usage(format!("cannot read {file}: {e}")))?;
    let hash = genesis_hash(&bytes);
    if let Some(expected) = args.expect_genesis_hash.filter(|expected| *expected != hash) {
        return Err(usage(format!("{file} has hash {hash}, expected {expected}")));
    }
    let (network, set) =
        founders(&bytes).map_err(|why| usage(format!("{file} is no genesis file: {why}")))?;
    Ok((LightClient::new(network, BlockId(hash.0), Arc::new(set)), hash))
}

/// A proof that is wrong is a no; no proof at all tells nothing.
fn explain(error: &AccountError) -> (u8, String) {
    let mut text = error.to_string();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    match error.is_lie() {
        true => (WRONG, format!("NOT PROVED: {text}; ask another node")),
        false => (UNKNOWN, format!("UNKNOWN: {text}; is --node the node's HTTP listener?")),
    }
}

fn told_text(address: &Address, told: &ToldAccount, http: &str) -> String {
    format!(
        "account  {address}\nbalance  {}\nnonce    {}\nheight   {}\nnot proved: {http} says so; \
         add --prove --genesis FILE to check it\n",
        told.balance, told.nonce, told.height
    )
}

fn told_json(address: &Address, told: &ToldAccount) -> String {
    let answer = json!({
        "schema": "qbindctl.account/v1",
        "address": address,
        "balance": told.balance.to_string(),
        "nonce": told.nonce,
        "height": told.height,
        "proved": false,
    });
    format!("{answer}\n")
}

fn proven_text(address: &Address, proven: &ProvenState, hash: GenesisHash) -> String {
    let account = proven.account.unwrap_or_default();
    let time = match proven.time.0 {
        ms @ ..=LAST_MS => {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            humantime::format_rfc3339_seconds(time).to_string()
        }
        ms => format!("{ms} ms after 1970"),
    };
    let absent = match proven.account {
        Some(_) => "",
        None => "  (the state does not hold this account)",
    };
    format!(
        "account  {address}{absent}\nbalance  {}\nnonce    {}\nheight   {}, state root {}\n\
         by       block {} of height {}, made {time}\ngenesis  {hash}\nPROVED\n",
        account.balance, account.nonce, proven.height, proven.root, proven.block_id, proven.block,
    )
}

fn proven_json(address: &Address, proven: &ProvenState, hash: GenesisHash) -> String {
    let account = proven.account.unwrap_or_default();
    let answer = json!({
        "schema": "qbindctl.account/v1",
        "address": address,
        "balance": account.balance.to_string(),
        "nonce": account.nonce,
        "height": proven.height,
        "proved": true,
        "exists": proven.account.is_some(),
        "state_root": proven.root,
        "block_height": proven.block,
        "block_id": proven.block_id,
        "block_time_unix_ms": proven.time,
        "genesis_hash": hash,
    });
    format!("{answer}\n")
}
