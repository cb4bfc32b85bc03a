//! The daemon with a planted fault, to show that a rehearsal notices. For tests only: never installed,
//! and no feature of the real daemon.
//!
//! `SABOTAGE=<fault>:<validator id>` chooses; every other validator is honest.
//!
//! - `votes-twice`: signs, beside its vote, one for a block that nobody proposed.
//! - `wrong-root`: stores, and so reports, another state root than it computed.

use clap::Parser;
use qbind_consensus::{Message, Unsigned};
use qbind_crypto::{SecretKey, sha3_256};
use qbind_node::{Cli, Environment, Intercept, Outcome, Prepared, prepare, run_with};
use qbind_replica::{Effect, Target, Wire};
use qbind_types::Network;
use std::{path::Path, process::ExitCode};

/// Some healthy blocks come first, as with a fault that a test of the start would miss.
const HEALTHY_HEIGHTS: u64 = 20;

fn main() -> ExitCode {
    let prepared = match prepare(&Cli::parse(), &Environment::of_process()) {
        Ok(Outcome::Start(prepared)) => *prepared,
        Ok(Outcome::Answer(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error.chain(), error.exit().code()),
    };
    let intercept = match intercept(&prepared) {
        Ok(intercept) => intercept,
        Err(why) => return fail(&why, 20),
    };
    match run_with(prepared, intercept) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.chain(), error.exit().code()),
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("qbind-node-sabotaged: {why}");
    ExitCode::from(code)
}

/// The fault, if this node is the one.
fn intercept(prepared: &Prepared) -> Result<Option<Intercept>, String> {
    let text = std::env::var("SABOTAGE").map_err(|_| "SABOTAGE is unset")?;
    let (fault, id) = text.split_once(':').ok_or("SABOTAGE is not FAULT:VALIDATOR")?;
    let id: u64 = id.parse().map_err(|_| format!("{id} is no validator id"))?;
    let config = &prepared.resolved.config;
    if config.validator_id != Some(id) {
        return Ok(None);
    }
    match fault {
        "votes-twice" => {
            let dir = config.signer_keystore_path.as_deref().ok_or("no keystore")?;
            let passphrase = std::env::var(&config.passphrase_env).map_err(|e| e.to_string())?;
            let key =
                qbind_signer::load(Path::new(dir), qbind_signer::Role::Consensus, &passphrase)
                    .map_err(|e| e.to_string())?;
            Ok(Some(votes_twice(key, config.env)))
        }
        "wrong-root" => Ok(Some(wrong_root())),
        other => Err(format!("{other} is no fault; use votes-twice or wrong-root")),
    }
}

fn votes_twice(key: SecretKey, network: Network) -> Intercept {
    Box::new(move |effect| {
        let mut effects = Vec::new();
        if let Effect::Sign(unsigned) = &effect
            && let Unsigned::Vote { epoch, view, block, validator } = **unsigned
            && view.0 > HEALTHY_HEIGHTS
        {
            let mut other = block;
            other.0 = sha3_256(&[b"a block nobody proposed", &block.0]);
            let second = Unsigned::Vote { epoch, view, block: other, validator };
            let signature = key.sign(&second.preimage(network));
            let message: Message = second.complete(signature);
            effects.push(Effect::Send {
                to: Target::All,
                message: Wire::Consensus(Box::new(message)),
            });
        }
        effects.push(effect);
        effects
    })
}

fn wrong_root() -> Intercept {
    Box::new(|mut effect| {
        if let Effect::Commit(record) = &mut effect
            && record.committed.block.height.0 > HEALTHY_HEIGHTS
        {
            record.state_root.0[0] ^= 1;
        }
        vec![effect]
    })
}
