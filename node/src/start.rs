//! From the command line to everything the loop needs, or to an answer and the end.

use crate::{
    Cli, Configuration, Environment, GenesisFile, NodeError, Output, configuration::to_json,
    custody::signer_url, metrics, unsupported,
};
use aws_lc_rs::digest::{Context, SHA3_256};
use qbind_profile::{Resolved, Role, SignerMode};
use std::path::Path;

/// What the loop starts from: everything here is checked.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The settings, with their origins.
    pub resolved: Resolved,
    /// The genesis file, with the expected hash.
    pub genesis: GenesisFile,
    /// SHA3-256 of the running executable, `0x` and 64 digits.
    pub binary_sha3: String,
    /// What was worth a second look; already logged.
    pub warnings: Vec<String>,
}

/// What the command line asked for.
#[derive(Debug)]
pub enum Outcome {
    /// Print this and end.
    Answer(String),
    /// Start.
    Start(Box<Prepared>),
}

/// Does all that can be done before a socket or a database is opened.
///
/// # Errors
/// The operator's fault: settings, genesis file.
pub fn prepare(cli: &Cli, environment: &Environment) -> Result<Outcome, NodeError> {
    if cli.metrics_docs {
        return Ok(Outcome::Answer(metrics::reference()));
    }
    let refused = |error| NodeError::configuration("cannot start").because(error);
    let mut configuration = Configuration::read(cli, environment).map_err(refused)?;
    if cli.print_config {
        return Ok(Outcome::Answer(match cli.output {
            Output::Text => configuration.to_toml(),
            Output::Json => format!("{:#}\n", to_json(&configuration.resolved)),
        }));
    }
    if cli.print_genesis_hash {
        let hash = load_genesis(&configuration)?.hash;
        return Ok(Outcome::Answer(match cli.output {
            Output::Text => format!("{hash}\n"),
            Output::Json => {
                let answer = serde_json::json!({"schema": "qbind.genesis-hash/v1", "hash": hash});
                format!("{answer:#}\n")
            }
        }));
    }
    configuration.validate().map_err(refused)?;
    let config = configuration.config();
    if config.role == Role::Validator && config.signer_mode == SignerMode::RemoteSigner {
        signer_url(config)?;
    }
    let mut warnings = configuration.warnings.clone();
    for lack in unsupported(configuration.config()) {
        if lack.refused {
            return Err(NodeError::configuration("cannot start").because(lack));
        }
        warnings.push(lack.to_string());
    }
    let genesis = load_genesis(&configuration)?;
    let expected = configuration.config().expect_genesis_hash;
    genesis
        .expect(expected)
        .map_err(|error| NodeError::configuration("cannot start").because(error))?;
    if cli.validate_only {
        return Ok(Outcome::Answer(valid(cli.output, &configuration, &genesis, &warnings)));
    }
    let resolved = configuration.resolved;
    let binary_sha3 = own_hash()?;
    Ok(Outcome::Start(Box::new(Prepared { resolved, genesis, binary_sha3, warnings })))
}

fn load_genesis(configuration: &Configuration) -> Result<GenesisFile, NodeError> {
    let path = configuration.config().genesis_path.as_deref().ok_or_else(|| {
        NodeError::configuration("genesis_path is unset; pass --genesis-path FILE")
    })?;
    GenesisFile::load(Path::new(path))
        .map_err(|error| NodeError::configuration("cannot use the genesis file").because(error))
}

fn valid(
    output: Output,
    configuration: &Configuration,
    genesis: &GenesisFile,
    warnings: &[String],
) -> String {
    let profile = configuration.config().profile;
    match output {
        Output::Text => {
            let mut text = format!("valid: profile {profile}, genesis {}\n", genesis.hash);
            for warning in warnings {
                text.push_str(&format!("warning: {warning}\n"));
            }
            text
        }
        Output::Json => format!(
            "{:#}\n",
            serde_json::json!({
                "schema": "qbind.validation/v1",
                "valid": true,
                "profile": profile.as_str(),
                "genesis_hash": genesis.hash,
                "warnings": warnings,
            })
        ),
    }
}

/// SHA3-256 of the running executable, so that a rehearsal can compare it with the plan's.
fn own_hash() -> Result<String, NodeError> {
    let fault =
        |error| NodeError::transient("cannot read this node's own executable").because(error);
    let path = std::env::current_exe().map_err(fault)?;
    let mut file = std::fs::File::open(path).map_err(fault)?;
    let mut hasher = Context::new(&SHA3_256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer).map_err(fault)?;
        if read == 0 {
            return Ok(format!("0x{}", hex::encode(hasher.finish())));
        }
        hasher.update(&buffer[..read]);
    }
}
