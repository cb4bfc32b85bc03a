//! Makes and checks the keys of a node.

use clap::{Args, Parser, Subcommand};
use qbind_crypto::SecretKey;
use qbind_node::tools::{ToolError, end, explain, passphrase};
use qbind_signer::{HsmConfig, HsmKey, Key, Role};
use std::{fmt::Write, fs, path::PathBuf, process::ExitCode};

/// Makes and checks the keys of a node
#[derive(Parser)]
#[command(name = "qbind-keygen", version, after_help = "Exit codes: 0 done, 1 no, 64 usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys; existing files are never touched
    Generate(Generate),
    /// Open every key of a keystore and compare it with its public key
    Verify(Verify),
    /// Write the public half of a key that lies in an HSM, as DIR/consensus.pub
    Hsm(Hsm),
}

#[derive(Args)]
struct Generate {
    /// The directory to write to; made if there is none
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The validator the keys are for
    #[arg(long, value_name = "N")]
    validator_id: u64,
    /// Roles, with commas between them: consensus, p2p-identity, batch-signing
    #[arg(long = "key-roles", visible_alias = "key-role", value_name = "ROLES")]
    #[arg(value_delimiter = ',', required = true, value_parser = role)]
    key_roles: Vec<Role>,
    /// Encrypt the secrets; required, for they are never written otherwise
    #[arg(long)]
    encrypt: bool,
    /// The environment variable with the passphrase
    #[arg(long, value_name = "NAME", default_value = "QBIND_KEYSTORE_PASSPHRASE")]
    passphrase_env: String,
}

#[derive(Args)]
struct Verify {
    /// The keystore
    #[arg(long, value_name = "DIR")]
    keystore: PathBuf,
    /// The environment variable with the passphrase
    #[arg(long, value_name = "NAME", default_value = "QBIND_KEYSTORE_PASSPHRASE")]
    passphrase_env: String,
}

#[derive(Args)]
struct Hsm {
    /// Which device, which key
    #[arg(long, value_name = "FILE", default_value = "/etc/qbind/hsm.toml")]
    hsm_config_path: PathBuf,
    /// The directory to write to; made if there is none
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Make the key pair first; its secret half can never leave the device
    #[arg(long)]
    generate: bool,
}

const ROLES: [Role; 3] = [Role::Consensus, Role::P2pIdentity, Role::BatchSigning];

fn role(text: &str) -> Result<Role, String> {
    let found = ROLES.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| "expected consensus, p2p-identity or batch-signing".to_owned())
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Generate(args) => generate(&args),
            Command::Verify(args) => verify(&args),
            Command::Hsm(args) => hsm(&args),
        },
        Err(error) => return qbind_node::tools::usage(&error),
    };
    end("qbind-keygen", result)
}

fn generate(args: &Generate) -> Result<String, ToolError> {
    if !args.encrypt {
        return Err(ToolError::usage("keys are never written in the clear; pass --encrypt"));
    }
    let passphrase = passphrase(&args.passphrase_env)?;
    let dir = args.output.display();
    fs::create_dir_all(&args.output)
        .map_err(|e| ToolError::usage(format!("cannot create {dir}: {e}")))?;
    let mut out = String::new();
    for role in &args.key_roles {
        let secret = SecretKey::generate();
        qbind_signer::create(&args.output, *role, &secret, &passphrase)
            .map_err(|e| ToolError::usage(explain(&e)))?;
        let (id, role) = (args.validator_id, role.as_str());
        writeln!(out, "validator {id}: {dir}/{role}.key, {dir}/{role}.pub")
            .expect("writing to memory cannot fail");
    }
    Ok(out)
}

fn hsm(args: &Hsm) -> Result<String, ToolError> {
    let dir = args.output.display();
    if args.output.join("consensus.pub").exists() {
        return Err(ToolError::usage(format!(
            "{dir}/consensus.pub exists; it is never overwritten"
        )));
    }
    let open = || {
        let config = HsmConfig::read(&args.hsm_config_path)?;
        let pin = config.pin()?;
        match args.generate {
            true => HsmKey::generate(config, pin),
            false => HsmKey::open(config, pin),
        }
    };
    let key = open().map_err(|e| match e.is_config() {
        true => ToolError::usage(explain(&e)),
        false => ToolError::refused(explain(&e)),
    })?;
    fs::create_dir_all(&args.output)
        .map_err(|e| ToolError::usage(format!("cannot create {dir}: {e}")))?;
    qbind_signer::write_public(&args.output, Role::Consensus, &key.public_key())
        .map_err(|e| ToolError::usage(explain(&e)))?;
    Ok(format!("{dir}/consensus.pub\n"))
}

fn verify(args: &Verify) -> Result<String, ToolError> {
    let passphrase = passphrase(&args.passphrase_env)?;
    let dir = args.keystore.display();
    let mut out = String::new();
    for role in ROLES {
        let name = format!("{}.key", role.as_str());
        if !args.keystore.join(&name).exists() {
            continue;
        }
        let secret = qbind_signer::load(&args.keystore, role, &passphrase)
            .map_err(|e| ToolError::refused(explain(&e)))?;
        let start = hex::encode(&secret.public_key().as_bytes()[..8]);
        writeln!(out, "{dir}/{name}: OK, public key 0x{start}…").expect("memory");
    }
    if out.is_empty() {
        return Err(ToolError::refused(format!("no key in {dir}")));
    }
    Ok(out)
}
