//! The rules once more, in big rationals, written from the definitions and not from the engine.

use crate::{
    Monetary, MonetaryPhase,
    monetary::{Decision, EpochInputs, Payout, Phase, Recommendation},
};
use alloc::{collections::BTreeMap, vec::Vec};
use num_bigint::BigInt;
use num_rational::BigRational;
use qbind_types::{Address, ValidatorInfo};

fn q(of: impl Into<BigInt>, by: impl Into<BigInt>) -> BigRational {
    BigRational::new(of.into(), by.into())
}

fn int(value: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(value.into())
}

/// What nothing is divided by.
fn positive(value: u128) -> BigRational {
    int(value.max(1))
}

fn down<T: TryFrom<BigInt>>(value: &BigRational, most: T) -> T {
    T::try_from(value.floor().to_integer()).unwrap_or(most)
}

pub(super) struct Model {
    figures: Monetary,
    phase: Phase,
    ema: Option<u128>,
    rate: Option<BigRational>,
    fees: Vec<u128>,
}

impl Model {
    pub(super) fn new(figures: &Monetary) -> Self {
        let figures = figures.clone();
        Self { figures, phase: Phase::Bootstrap, ema: None, rate: None, fees: Vec::new() }
    }

    fn bounds(&self) -> MonetaryPhase {
        match self.phase {
            Phase::Bootstrap => self.figures.bootstrap.clone(),
            Phase::Transition => self.figures.transition.clone(),
            Phase::Mature => self.figures.mature.clone(),
        }
    }

    pub(super) fn close(&mut self, inputs: &EpochInputs) -> Decision {
        let bounds = self.bounds();
        let bps = |value: u32| q(value, 10_000);
        let lambda = bps(bounds.ema_lambda_bps);
        let ema = match self.ema {
            None => inputs.fees,
            Some(before) => {
                let mean = &lambda * int(inputs.fees) + (int(1) - &lambda) * int(before);
                down(&mean, u128::MAX)
            }
        };
        let a_year = int(ema) * int(52_560);
        let f = &self.figures;
        let premiums = int(1)
            + bps(f.pqc_premium_compute_bps)
            + bps(f.pqc_premium_bandwidth_bps)
            + bps(f.pqc_premium_storage_bps);
        let target = bps(bounds.r_target_annual_bps) * premiums;
        let offset = bps(f.alpha_fee_offset_bps) * &a_year / positive(inputs.staked);
        let raw = (&target - offset).max(bps(bounds.inflation_floor_annual_bps));
        let raw = raw.min(bps(bounds.max_annual_inflation_cap_bps));
        // Halves go up.
        let mut rate = (raw * int(10_000) + q(1, 2)).floor();
        if let Some(before) = &self.rate {
            let step = int(bounds.max_delta_r_per_epoch_bps);
            rate = rate.max(before - &step).min(before + &step);
        }
        let one = bounds.r_target_annual_bps.max(1);
        let coverage = &a_year / (positive(inputs.staked) * bps(one));
        let ratio = (int(inputs.staked) / positive(inputs.circulating)).min(int(1));
        self.fees.push(inputs.fees);
        let day = &self.fees[self.fees.len().saturating_sub(144)..];
        let sum: BigRational = day.iter().map(|fees| int(*fees)).sum();
        let mean = sum / int(day.len());
        let peak = int(day.iter().copied().max().unwrap_or(0));
        let volatility = if mean == int(0) { int(0) } else { peak / mean };
        let issuance = int(inputs.staked) * &rate / int(10_000) / int(52_560);
        let (next, recommendation) = self.gates(inputs, &coverage, &ratio, &volatility);
        let decision = Decision {
            epoch: inputs.epoch,
            phase: self.phase,
            next_phase: next,
            recommendation,
            r_target_annual_bps: down(&(target * int(10_000)), u32::MAX),
            r_inf_annual_bps: down(&rate, u32::MAX),
            fees: inputs.fees,
            ema_fees_per_epoch: ema,
            smoothed_annual_fee_revenue: down(&a_year, u128::MAX),
            staked: inputs.staked,
            fee_coverage_millionths: down(&(coverage * int(1_000_000)), u64::MAX),
            stake_ratio_bps: down(&(ratio * int(10_000)), u32::MAX),
            volatility_bps: down(&(volatility * int(10_000)), u64::MAX),
            issuance: down::<u128>(&issuance, u128::MAX).min(inputs.room),
        };
        (self.phase, self.ema, self.rate) = (next, Some(ema), Some(rate));
        decision
    }

    /// The next phase and what is recommended.
    fn gates(
        &self,
        inputs: &EpochInputs,
        coverage: &BigRational,
        ratio: &BigRational,
        volatility: &BigRational,
    ) -> (Phase, Recommendation) {
        // Measures count in whole basis points.
        let whole = |value: &BigRational| (value * int(10_000)).floor() / int(10_000);
        let all = |c: BigRational, s: BigRational, v: BigRational| {
            whole(coverage) >= c && whole(ratio) >= s && whole(volatility) <= v
        };
        let (days, next, opens, advises) = match self.phase {
            Phase::Bootstrap => (
                1_095,
                Phase::Transition,
                all(q(2, 10), q(3, 10), q(2, 1)),
                all(q(3, 10), q(5, 10), q(2, 1)),
            ),
            Phase::Transition => (
                2_555,
                Phase::Mature,
                all(q(5, 10), q(4, 10), q(3, 2)),
                all(q(6, 10), q(5, 10), q(3, 2)),
            ),
            Phase::Mature => return (Phase::Mature, Recommendation::Stay),
        };
        if inputs.epoch.0 < days * 144 {
            return (self.phase, Recommendation::Stay);
        }
        let recommendation =
            if advises { Recommendation::Advance } else { Recommendation::HoldBack };
        (if opens { next } else { self.phase }, recommendation)
    }
}

/// Credits by account.
pub(super) fn issue(
    payout: &Payout,
    amount: u128,
    validators: &[ValidatorInfo],
) -> Vec<(Address, u128)> {
    let share = |of: u128, part: BigRational| down::<u128>(&(int(of) * part), u128::MAX);
    let [pool, treasury, insurance, community] = *payout.accounts();
    let cut = |at: usize| share(amount, q(payout.split_bps()[at], 10_000));
    let (to_validators, to_insurance, to_community) = (cut(0), cut(2), cut(3));
    let mut credits = BTreeMap::from([
        (treasury, amount - to_validators - to_insurance - to_community),
        (insurance, to_insurance),
        (community, to_community),
    ]);
    let staked: BigInt = validators.iter().map(|v| BigInt::from(v.power.0)).sum();
    let mut left = to_validators;
    for validator in validators {
        let owned = share(to_validators, q(validator.power.0, staked.clone()));
        credits.insert(validator.address, owned);
        left -= owned;
    }
    credits.insert(pool, left);
    credits.into_iter().filter(|(_, amount)| *amount > 0).collect()
}
