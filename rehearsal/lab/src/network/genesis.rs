//! The genesis file.

use super::{CreateOptions, NetworkProfile};
use qbind_types::{Address, PublicKey};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a validator owns beside its stake, so that it can pay fees.
const VALIDATOR_SPENDING: u128 = 1_000_000_000_000;
/// What each load account owns: more than any rehearsal spends.
const LOAD_ACCOUNT: u128 = 1_000_000_000_000_000_000;
/// Of the council's members, how many decide.
const COUNCIL_THRESHOLD: usize = 5;

#[derive(Serialize)]
pub(super) struct Genesis {
    chain_id: &'static str,
    network: &'static str,
    genesis_time_unix_ms: u64,
    epoch_blocks: u64,
    allocations: Vec<Allocation>,
    validators: Vec<Validator>,
    council: Council,
}

#[derive(Serialize)]
struct Allocation {
    address: Address,
    amount: String,
    memo: String,
}

#[derive(Serialize)]
struct Validator {
    id: u64,
    address: Address,
    pqc_public_key: String,
    stake: String,
    name: String,
}

#[derive(Serialize)]
struct Council {
    members: Vec<String>,
    threshold: usize,
}

/// A validator as the genesis file needs it.
pub(super) struct Founder {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) key: PublicKey,
    pub(super) stake: u64,
}

impl Genesis {
    pub(super) fn new(
        options: &CreateOptions,
        founders: &[Founder],
        load_accounts: impl Iterator<Item = Address>,
        council: &[Address],
    ) -> Self {
        let staked = founders.iter().map(|f| Allocation {
            address: super::keys::address(&f.key),
            amount: (u128::from(f.stake) + VALIDATOR_SPENDING).to_string(),
            memo: format!("validator {}", f.id),
        });
        let load = load_accounts.enumerate().map(|(i, address)| Allocation {
            address,
            amount: LOAD_ACCOUNT.to_string(),
            memo: format!("load account {}", i + 1),
        });
        let validator = |f: &Founder| Validator {
            id: f.id,
            address: super::keys::address(&f.key),
            pqc_public_key: hex::encode(f.key.as_bytes()),
            stake: f.stake.to_string(),
            name: f.name.clone(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (chain_id, network) = match options.profile {
            NetworkProfile::Mainnet => ("qbind-mainnet-v0", "mainnet"),
            NetworkProfile::TestnetBeta => ("qbind-testnet-beta", "testnet"),
            NetworkProfile::Devnet => ("qbind-devnet-v0", "devnet"),
        };
        Self {
            chain_id,
            network,
            genesis_time_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            epoch_blocks: options.epoch_blocks,
            allocations: staked.chain(load).collect(),
            validators: founders.iter().map(validator).collect(),
            council: Council {
                members: council.iter().map(Address::to_string).collect(),
                threshold: COUNCIL_THRESHOLD,
            },
        }
    }
}
