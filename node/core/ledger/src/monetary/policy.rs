//! What the engine is told: figures, mode, who is paid.

use crate::{Monetary, MonetaryPhase};
use alloc::collections::BTreeSet;
use borsh::BorshSerialize;
use qbind_types::{Address, REGISTRY};

use super::{BPS, Phase};

impl Default for Monetary {
    fn default() -> Self {
        let phase = |target, floor, cap, lambda, step| MonetaryPhase {
            r_target_annual_bps: target,
            inflation_floor_annual_bps: floor,
            max_annual_inflation_cap_bps: cap,
            ema_lambda_bps: lambda,
            max_delta_r_per_epoch_bps: step,
        };
        Self {
            pqc_premium_compute_bps: 3_000,
            pqc_premium_bandwidth_bps: 1_500,
            pqc_premium_storage_bps: 1_000,
            alpha_fee_offset_bps: 10_000,
            bootstrap: phase(500, 0, 1_200, 700, 25),
            transition: phase(400, 0, 1_000, 300, 10),
            mature: phase(300, 100, 800, 150, 5),
        }
    }
}

impl Monetary {
    /// Figures of a phase.
    pub fn of(&self, phase: Phase) -> &MonetaryPhase {
        match phase {
            Phase::Bootstrap => &self.bootstrap,
            Phase::Transition => &self.transition,
            Phase::Mature => &self.mature,
        }
    }

    /// One and all premiums, in basis points.
    pub(super) fn premium_factor_bps(&self) -> u64 {
        [self.pqc_premium_compute_bps, self.pqc_premium_bandwidth_bps, self.pqc_premium_storage_bps]
            .into_iter()
            .fold(BPS, |sum, premium| sum + u64::from(premium))
    }

    /// The rate a phase aims at, premiums included, in basis points a year; rounded down.
    pub fn r_target_annual_bps(&self, phase: Phase) -> u32 {
        let base = u128::from(self.of(phase).r_target_annual_bps);
        let target = base * u128::from(self.premium_factor_bps()) / u128::from(BPS);
        u32::try_from(target).unwrap_or(u32::MAX)
    }
}

/// Where issuance goes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct Payout {
    accounts: [Address; 4],
    split_bps: [u16; 4],
}

/// Why accounts and shares are none to mint for; the configuration's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayoutError {
    /// Two purposes share an account, or one has none.
    #[error("the accounts of issuance must be 4 different ones, not zero and not the registry's")]
    Accounts,
    /// The shares do not make a whole.
    #[error("the shares of issuance add up to {sum} basis points, expected 10000")]
    Split {
        /// What they add up to.
        sum: u32,
    },
}

impl Payout {
    /// Accounts and shares of validators, treasury, insurance and community, in that order.
    ///
    /// # Errors
    /// The configuration's fault.
    pub fn new(accounts: [Address; 4], split_bps: [u16; 4]) -> Result<Self, PayoutError> {
        let distinct: BTreeSet<&Address> = accounts.iter().collect();
        let is_usable = |a: &Address| a.0 != [0; 32] && *a != REGISTRY;
        if distinct.len() != 4 || !accounts.iter().all(is_usable) {
            return Err(PayoutError::Accounts);
        }
        let sum = split_bps.iter().map(|share| u32::from(*share)).sum();
        if u64::from(sum) != BPS {
            return Err(PayoutError::Split { sum });
        }
        Ok(Self { accounts, split_bps })
    }

    /// Of validators (what no validator's account gets), treasury, insurance, community.
    pub fn accounts(&self) -> &[Address; 4] {
        &self.accounts
    }

    /// Shares in the same order, in basis points; their sum is 10,000.
    pub fn split_bps(&self) -> &[u16; 4] {
        &self.split_bps
    }
}

/// What follows from a decision.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize)]
pub enum Mode {
    /// None is taken.
    #[default]
    Off,
    /// It is taken and recorded, and moves no money.
    Shadow,
    /// What it issues is minted.
    Active(Payout),
}

/// What the engine is told; all nodes of a network must agree on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize)]
pub struct Policy {
    /// What follows from a decision.
    pub mode: Mode,
    /// Its figures; those of genesis where it has some.
    pub figures: Monetary,
}

impl Policy {
    /// Computes with the built-in figures, and moves no money.
    pub fn shadow() -> Self {
        Self { mode: Mode::Shadow, figures: Monetary::default() }
    }
}
