//! The rate of inflation, and the measures beside it.
//!
//! Quotients have one rule: whatever would be divided by nothing is divided by one.

use super::{BPS, EPOCHS_PER_YEAR, Phase, wide};
use crate::{Monetary, MonetaryPhase};
use ruint::aliases::U256;

/// The rate before any bound, exact: a fraction in basis points a year, or below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawRate {
    /// Fees exceed what would be issued.
    Negative,
    /// A fraction.
    Fraction {
        /// Numerator.
        of: U256,
        /// Denominator; not zero.
        by: U256,
    },
}

/// `r_target × (1 + premiums) − alpha × annual fees / staked`.
pub(super) fn raw(figures: &Monetary, phase: Phase, ema: u128, staked: u128) -> RawRate {
    let base = u64::from(figures.of(phase).r_target_annual_bps);
    let alpha = u64::from(figures.alpha_fee_offset_bps);
    let staked = wide(staked.max(1));
    // 32 + 34 + 128 bits.
    let gross = wide(base) * wide(figures.premium_factor_bps()) * staked;
    // 14 + 32 + 16 + 128 bits.
    let offset = wide(BPS) * wide(alpha) * annual(ema);
    match gross.checked_sub(offset) {
        Some(of) => RawRate::Fraction { of, by: wide(BPS) * staked },
        None => RawRate::Negative,
    }
}

/// To the nearest basis point, halves up; raised to the floor, cut at the cap, and then no further
/// from the epoch before's than the step allows. The first epoch has none before it.
pub(crate) fn bounded(phase: &MonetaryPhase, raw: &RawRate, before: Option<u32>) -> u32 {
    let rounded = match raw {
        RawRate::Negative => 0,
        RawRate::Fraction { of, by } => {
            let nearest: U256 = (wide(2u8) * *of + *by) / (wide(2u8) * *by);
            nearest.saturating_to::<u32>()
        }
    };
    let (floor, cap) = (phase.inflation_floor_annual_bps, phase.max_annual_inflation_cap_bps);
    let wanted = rounded.max(floor).min(cap);
    match before {
        None => wanted,
        Some(before) => {
            let step = phase.max_delta_r_per_epoch_bps;
            wanted.clamp(before.saturating_sub(step), before.saturating_add(step))
        }
    }
}

/// `floor((λ × fees + (10000 − λ) × before) / 10000)`; the first epoch's fees as they are.
pub(super) fn smooth(lambda_bps: u32, fees: u128, before: Option<u128>) -> u128 {
    let Some(before) = before else { return fees };
    let lambda = u64::from(lambda_bps).min(BPS);
    let sum = wide(lambda) * wide(fees) + wide(BPS - lambda) * wide(before);
    // A mean of two u128 is one.
    (sum / wide(BPS)).saturating_to()
}

/// A year of fees.
fn annual(ema: u128) -> U256 {
    wide(ema) * wide(EPOCHS_PER_YEAR)
}

/// A year of fees; saturates.
pub(super) fn annual_fees(ema: u128) -> u128 {
    annual(ema).saturating_to()
}

/// `annual fees / (staked × r_target)`, premiums left out, in millionths; rounded down, saturates.
pub(super) fn coverage_millionths(phase: &MonetaryPhase, ema: u128, staked: u128) -> u64 {
    let target = u64::from(phase.r_target_annual_bps.max(1));
    // 34 + 144 bits.
    let of = wide(BPS * 1_000_000) * annual(ema);
    (of / (wide(staked.max(1)) * wide(target))).saturating_to()
}

/// `staked / circulating`, in basis points; rounded down, at most all.
pub(super) fn stake_ratio_bps(staked: u128, circulating: u128) -> u32 {
    let ratio: U256 = wide(BPS) * wide(staked) / wide(circulating.max(1));
    ratio.min(wide(BPS)).saturating_to()
}

/// The highest fees of the epochs at hand against their mean, in basis points; rounded down. 10,000 if
/// all are alike, and 0 without any fee.
pub(super) fn volatility_bps(window: impl ExactSizeIterator<Item = u128> + Clone) -> u64 {
    let count = u64::try_from(window.len()).unwrap_or(u64::MAX);
    let sum = window.clone().fold(U256::ZERO, |sum, fees| sum + wide(fees));
    let peak = window.max().unwrap_or(0);
    // 14 + 128 + 64 bits.
    (wide(BPS) * wide(peak) * wide(count) / sum.max(U256::ONE)).saturating_to()
}

/// `staked × rate / epochs of a year`; rounded down, and never more than there is room for.
pub(super) fn issuance(staked: u128, rate_bps: u32, room: u128) -> u128 {
    let issued: U256 = wide(staked) * wide(rate_bps) / (wide(EPOCHS_PER_YEAR) * wide(BPS));
    issued.min(wide(room)).saturating_to()
}
