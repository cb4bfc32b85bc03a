//! The genesis file: who owns what, who validates, who governs.
//!
//! JSON; unknown keys, duplicate keys and every broken rule are refused with the key's path. The
//! chain is identified by the hash of the file's bytes, so nothing here re-serialises it.

mod file;
mod rules;

use crate::{Account, Lock, Locks, Registry};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use borsh::BorshSerialize;
use qbind_crypto::sha3_256;
use qbind_types::{
    Address, Epoch, GenesisHash, Millis, Network, PublicKey, REGISTRY, ValidatorInfo, ValidatorSet,
    VotingPower,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// SHA3-256 of the genesis file's bytes.
pub fn genesis_hash(file: &[u8]) -> GenesisHash {
    GenesisHash(sha3_256(&[file]))
}

/// A genesis that keeps all rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Genesis {
    /// The chain's name, e.g. `qbind-mainnet-v0`.
    pub chain_id: String,
    /// The network, which selects the domain tags of all signatures.
    pub network: Network,
    /// When the chain starts.
    pub genesis_time_unix_ms: Millis,
    /// An election of the next epoch's validators every so many blocks.
    pub epoch_blocks: u64,
    /// Who owns what; addresses are unique, amounts positive, their sum fits 128 bits.
    pub allocations: Vec<Allocation>,
    /// Who validates, sorted by id.
    pub validators: Vec<GenesisValidator>,
    /// Who governs; always present on MainNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub council: Option<Council>,
    /// The monetary engine's figures, if the file sets them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monetary: Option<Monetary>,
    /// For people and other programs: nothing here reads it, and the hash covers it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
}

/// Money at genesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocation {
    /// Whose.
    pub address: Address,
    /// How much.
    #[serde(serialize_with = "file::decimal")]
    pub amount: u128,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
    /// Cannot be spent in blocks before this time; may back a stake meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockup_until_unix_ms: Option<Millis>,
}

/// A validator of the first epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenesisValidator {
    /// The operator's number for it.
    pub id: u64,
    /// Where its share of the fees goes; its allocation covers the stake.
    pub address: Address,
    /// Its ML-DSA-44 key.
    pub pqc_public_key: PublicKey,
    /// Stake, which is its voting power.
    #[serde(serialize_with = "file::decimal")]
    pub stake: u64,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people, such as a web site.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The governance council.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Council {
    /// Who.
    pub members: Vec<String>,
    /// How many of them decide.
    pub threshold: u64,
}

/// Figures of the monetary engine, in basis points throughout.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monetary {
    /// Premium for post-quantum computation.
    pub pqc_premium_compute_bps: u32,
    /// Premium for post-quantum bandwidth.
    pub pqc_premium_bandwidth_bps: u32,
    /// Premium for post-quantum storage.
    pub pqc_premium_storage_bps: u32,
    /// How much of the fees counts against issuance.
    pub alpha_fee_offset_bps: u32,
    /// Years 0 to 3.
    pub bootstrap: MonetaryPhase,
    /// Years 3 to 7.
    pub transition: MonetaryPhase,
    /// From year 7.
    pub mature: MonetaryPhase,
}

/// Figures of one monetary phase, in basis points.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonetaryPhase {
    /// Target rate a year.
    pub r_target_annual_bps: u32,
    /// Least rate a year.
    pub inflation_floor_annual_bps: u32,
    /// Highest rate a year.
    pub max_annual_inflation_cap_bps: u32,
    /// Weight of the newest epoch's fees.
    pub ema_lambda_bps: u32,
    /// Largest change of the rate in one epoch.
    pub max_delta_r_per_epoch_bps: u32,
}

/// Why a file is no genesis; its author's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// No JSON of the right shape.
    #[error("genesis line {line}, column {column}: {reason}")]
    Shape {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says; names unknown and missing keys.
        reason: String,
    },
    /// A value breaks a rule.
    #[error("genesis key {key}: {reason}")]
    Rule {
        /// Path of the key, e.g. `validators[2].stake`.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl Genesis {
    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// The author's fault; names line or key.
    pub fn parse(bytes: &[u8]) -> Result<Self, GenesisError> {
        let file: file::File =
            serde_json::from_slice(bytes).map_err(|error| GenesisError::Shape {
                line: error.line(),
                column: error.column(),
                reason: file::without_position(&error),
            })?;
        rules::check(file)
    }

    /// The validators of epoch 0.
    pub fn validator_set(&self) -> ValidatorSet {
        let members = self.validators.iter().map(|v| ValidatorInfo {
            id: v.id,
            address: v.address,
            public_key: v.pqc_public_key.clone(),
            previous_key: None,
            power: VotingPower(v.stake),
        });
        ValidatorSet::new(Epoch(0), members.collect()).expect("checked when it was parsed")
    }

    /// What is locked until when.
    pub fn locks(&self) -> Locks {
        let locked = self.allocations.iter().filter_map(|a| {
            let until = a.lockup_until_unix_ms?;
            Some((a.address, Lock { amount: a.amount, until }))
        });
        Locks::new(locked.collect())
    }

    /// The validators' registry before the first block.
    pub fn registry(&self) -> Registry {
        Registry::new(self.epoch_blocks, self.validator_set())
    }

    /// Every account before the first block: its allocation, less the stake of its validator, which the
    /// registry holds.
    pub fn accounts(&self) -> Vec<(Address, Account)> {
        let stakes = self.validators.iter().map(|v| (v.address, u128::from(v.stake)));
        let mut stakes: BTreeMap<Address, u128> = stakes.collect();
        stakes.insert(REGISTRY, 0);
        let staked: u128 = stakes.values().sum();
        let account = |balance| Account { nonce: 0, balance };
        let own = self.allocations.iter().map(|a| {
            let stake = stakes.get(&a.address).copied().unwrap_or(0);
            (a.address, account(a.amount - stake))
        });
        own.chain([(REGISTRY, account(staked))]).collect()
    }

    /// The sum of all allocations.
    pub fn supply(&self) -> u128 {
        self.allocations.iter().map(|a| a.amount).sum()
    }
}
