//! The monetary engine: once an epoch, what fees and stake say about inflation, and what is minted.
//!
//! Promises:
//! - *Integers*: every figure is exact up to one stated rounding; nothing overflows for any input.
//! - *Bounds*: the rate lies between the phase's floor and cap, and in the end never moves by more
//!   than the phase's step in one epoch.
//! - *One way*: phases follow each other in order, none is skipped, the last one stays.
//! - *Nothing lost*: what is credited adds up to what is issued, to the last unit.
//!
//! ```text
//!   fees, stake, supply ─▶ EMA ─▶ coverage, ratio, volatility ─┬─▶ phase, recommendation
//!                           │                                  │
//!                           └─▶ raw rate ─▶ floor ─▶ cap ─▶ step ─▶ rate ─▶ issuance ─▶ accounts
//! ```
//!
//! Never here: a float, an account, a clock. The ledger hands in numbers at the block that elects the
//! next epoch's validators, and credits what comes out if the mode is [`Mode::Active`].

mod epoch;
mod issuance;
mod phase;
mod policy;
mod rate;

pub use epoch::{Decision, EpochInputs, State, WINDOW, close_epoch};
pub use issuance::{Bucket, Issued, issue};
pub use phase::{Phase, Recommendation};
pub use policy::{Mode, Payout, PayoutError, Policy};

pub(crate) use epoch::close_epoch_with;
pub(crate) use issuance::{issue_with, pro_rata, split};
pub(crate) use phase::Measures;
pub(crate) use rate::{RawRate, bounded};

use crate::MonetaryPhase;
use ruint::aliases::U256;

/// Epochs of a year: of ten minutes each, which is what an epoch is meant to last.
pub const EPOCHS_PER_YEAR: u64 = 52_560;
/// Basis points of the whole.
pub(crate) const BPS: u64 = 10_000;

/// An epoch's end, carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// What the engine remembers from now on.
    pub state: State,
    /// What was decided.
    pub decision: Decision,
    /// What was minted; nothing in mode `Shadow`.
    pub issued: Option<Issued>,
}

/// The steps that a test replaces by broken ones, to see that they are noticed.
#[derive(Clone, Copy)]
pub(crate) struct Machinery {
    /// From the raw rate and the epoch before's to the rate.
    pub(crate) bounded: fn(&MonetaryPhase, &RawRate, Option<u32>) -> u32,
    /// An amount over the buckets.
    pub(crate) split: fn(u128, &[u16; 4]) -> [u128; 4],
    /// An amount over stakes, and what is left.
    pub(crate) pro_rata: fn(u128, &[u64]) -> (alloc::vec::Vec<u128>, u128),
}

pub(crate) const MACHINERY: Machinery = Machinery { bounded, split, pro_rata };

/// Widens: products of what follows stay below 2^256, as the factors' sizes show.
fn wide(value: impl Into<u128>) -> U256 {
    U256::from(value.into())
}
