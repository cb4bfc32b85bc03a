//! What became of each transaction of a block, and the root that commits to it.

use crate::{LevelRunner, SerialRunner, jobs};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use qbind_crypto::sha3_256;
use serde::Serialize;

/// Why a transaction had no effect at all.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The payload has no known length, or a version this network does not take.
    Payload,
    /// The transfer needs more gas than its sender allows or a block holds.
    GasLimit,
    /// The price is below the network's minimum.
    FeeLow,
    /// The nonce is not the sender's: committed before, or a gap.
    Nonce,
    /// The sender cannot pay the fee.
    FeeUnpayable,
    /// The block's gas was used up by then.
    BlockGas,
}

/// Why a transaction that was paid for moved nothing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The sender holds less than fee and amount together.
    InsufficientBalance,
    /// The registry does not take the call.
    Registry,
}

/// The outcome of one transaction.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
)]
#[serde(tag = "status", content = "reason", rename_all = "snake_case")]
pub enum Status {
    /// Nonce used, fee paid, amount moved.
    Success,
    /// No effect.
    Skipped(SkipReason),
    /// Nonce used, fee paid, amount not moved.
    Failed(FailureReason),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Skipped(SkipReason::Payload) => "skipped: payload not accepted here",
            Self::Skipped(SkipReason::GasLimit) => "skipped: gas limit",
            Self::Skipped(SkipReason::FeeLow) => "skipped: fee below the minimum",
            Self::Skipped(SkipReason::Nonce) => "skipped: nonce used or out of order",
            Self::Skipped(SkipReason::FeeUnpayable) => "skipped: fee exceeds the balance",
            Self::Skipped(SkipReason::BlockGas) => "skipped: block gas used up",
            Self::Failed(FailureReason::InsufficientBalance) => "failed: insufficient balance",
            Self::Failed(FailureReason::Registry) => "failed: refused by the validators' registry",
        })
    }
}

/// The outcome of one transaction with its cost.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Receipt {
    /// Place in the block's transaction list.
    pub tx_index: u32,
    /// What became of it.
    pub status: Status,
    /// Gas used; zero if skipped.
    pub gas_used: u64,
    /// What the sender paid for gas.
    pub fee: u128,
    /// The part of the fee that left the supply; the proposer got the rest.
    pub burned: u128,
}

impl Receipt {
    /// Whether the amount moved.
    pub fn is_success(&self) -> bool {
        self.status == Status::Success
    }
}

/// Merkle root over the encoded receipts; 32 zero bytes for none.
///
/// *Source*: the tree shape and prefixes of RFC 6962 section 2.1, with SHA3-256.
pub fn receipts_root(receipts: &[Receipt]) -> [u8; 32] {
    root_with(receipts, &SerialRunner)
}

/// Receipts under one subtree of the root that is a job of its own. A power of two, so that the tree
/// has such subtrees.
const SUBTREE: usize = 64;

/// As [`receipts_root`], its subtrees in parallel.
pub(crate) fn root_with(receipts: &[Receipt], runner: &dyn LevelRunner) -> [u8; 32] {
    if receipts.is_empty() {
        return [0; 32];
    }
    let parts: Vec<&[Receipt]> = receipts.chunks(SUBTREE).collect();
    let roots = jobs::results(parts.len(), runner, |i| {
        let leaf = |receipt: &Receipt| {
            let bytes = borsh::to_vec(receipt).expect("writing to memory cannot fail");
            sha3_256(&[&[0], &bytes])
        };
        subtree_root(&parts[i].iter().map(leaf).collect::<Vec<_>>())
    });
    subtree_root(&roots)
}

fn subtree_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    if let [leaf] = leaves {
        return *leaf;
    }
    let half = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(half);
    sha3_256(&[&[1], &subtree_root(left), &subtree_root(right)])
}
