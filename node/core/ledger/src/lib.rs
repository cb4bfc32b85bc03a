//! `apply(state, block) -> (state, receipts)`: transfers, gas, fees, state root, genesis.
//!
//! Promises:
//! - *Determinism*: state root and receipts root depend on the genesis, the parameters and the
//!   blocks alone. Stage B (parallel) execution gives the same bits as serial execution.
//! - *Conservation*: after every block, the sum of balances plus everything burned equals the
//!   genesis supply plus everything issued. [`Ledger::apply`] asserts it and stops the node rather
//!   than break it.
//! - *No double spend*: a transaction runs only when its nonce is its sender's, and then uses it
//!   up, whether it succeeds or fails.
//! - *Lockups*: what genesis locks stays with its owner, as balance or bond, until its time.
//! - *Bounded*: the gas of a block never exceeds [`Params::block_gas_limit`].
//!
//! Never here: a clock, a thread, a disk, a random number, a signature check, a float. Callers
//! verify signatures (and that the sender is the address of the key) before transactions arrive.
//!
//! How a block runs:
//! ```text
//! transactions ─ plan: payload, gas, fee, nonce order, block gas ─► skipped (no effect)
//!                  │
//!                  ▼ runnable, in block order
//!              schedule: conflict levels over {sender, recipient}
//!                  │
//!                  ▼ level by level through a LevelRunner, or one by one
//!              nonce, fee, amount ─► success | failed (nonce and fee are gone) | skipped
//!                  │
//!                  ▼ once, at the end
//!              at an election: bonds, the epoch's end in the monetary engine
//!                  │
//!                  ▼
//!              proposer's share, receipts root, state root
//! ```
//! The proposer is paid at the end of the block: credited per transaction, its account would be in
//! every write set and nothing could run in parallel.
#![no_std]
extern crate alloc;

mod account;
mod admission;
mod execute;
mod gas;
mod genesis;
mod jobs;
mod judge;
mod ledger;
mod lock;
pub mod monetary;
mod money;
mod params;
mod plan;
mod receipt;
mod registry;
mod schedule;
mod slashing;
mod system;
mod tree;

#[cfg(test)]
mod tests;

pub use account::{ACCOUNT_BYTES, ACCOUNT_KEY_BYTES, Account, AccountBytesError, account_key};
pub use admission::Rejection;
pub use execute::{LevelRunner, Phase, SerialRunner, run_in_chunks};
pub use gas::{
    FeePriority, GAS_ACCOUNT_READ, GAS_ACCOUNT_WRITE, GAS_BASE, GAS_IMPLIED_V0, GAS_PAYLOAD_BYTE,
    fee_priority, gas_bound, max_spend, transfer_gas,
};
pub use genesis::{
    Allocation, Council, Genesis, GenesisError, GenesisValidator, Monetary, MonetaryPhase,
    genesis_hash,
};
pub use ledger::{Applied, BlockInput, Ledger, Mode, RestoreError, SerialReason};
pub use lock::{Lock, Locks};
pub use params::{
    Execution, FeeSplit, FeeSplitError, Params, SlashingMode, SlashingParams, SlashingRule,
};
pub use receipt::{FailureReason, Receipt, SkipReason, Status, receipts_root};
pub use registry::{Refusal, Registered, Registry, Rotation};
pub use slashing::{Decision, EvidenceCheck, Judged, NoEvidence, Slashing, SlashingRecord};
pub use system::{System, Tally};
