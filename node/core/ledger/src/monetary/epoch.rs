//! From one epoch to the next.

use super::{MACHINERY, Machinery, Measures, Phase, Recommendation, rate};
use crate::Monetary;
use alloc::collections::VecDeque;
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::Epoch;

/// Epochs whose fees volatility is measured over: a day of ten-minute ones.
pub const WINDOW: usize = 144;

/// What an epoch was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochInputs {
    /// The epoch that ends.
    pub epoch: Epoch,
    /// Fees paid in it, whoever got them.
    pub fees: u128,
    /// Stake of its validators.
    pub staked: u128,
    /// All there is, staked or not.
    pub circulating: u128,
    /// Most that can be issued: what 128 bits leave beside all there was ever.
    pub room: u128,
}

/// What an epoch's end decided.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Decision {
    /// The epoch that ended.
    pub epoch: Epoch,
    /// The phase it was in.
    pub phase: Phase,
    /// The phase of the next one.
    pub next_phase: Phase,
    /// What the figures say about the following phase.
    pub recommendation: Recommendation,
    /// The rate the phase aims at, premiums included, in basis points a year.
    pub r_target_annual_bps: u32,
    /// The rate decided, in basis points a year.
    pub r_inf_annual_bps: u32,
    /// Fees paid in the epoch.
    pub fees: u128,
    /// Exponential moving average of the epochs' fees.
    pub ema_fees_per_epoch: u128,
    /// A year of them; saturates.
    pub smoothed_annual_fee_revenue: u128,
    /// Stake of the epoch's validators.
    pub staked: u128,
    /// A year of fees against a year of issuance at the target without premiums, in millionths.
    pub fee_coverage_millionths: u64,
    /// Stake against all there is, in basis points.
    pub stake_ratio_bps: u32,
    /// Highest fees of the last [`WINDOW`] epochs against their mean, in basis points.
    pub volatility_bps: u64,
    /// What the rate issues for this epoch; minted in mode `Active` only.
    pub issuance: u128,
}

impl Decision {
    /// A year of fees against a year of issuance at the target without premiums, in basis points.
    pub fn fee_coverage_bps(&self) -> u64 {
        self.fee_coverage_millionths / 100
    }
}

/// What the engine remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct State {
    last: Option<Decision>,
    /// Fees of the last [`WINDOW`] epochs, oldest first.
    window: VecDeque<u128>,
}

impl State {
    /// The last decision; none before the first epoch's end.
    pub fn last(&self) -> Option<&Decision> {
        self.last.as_ref()
    }

    /// The phase of the epoch that runs.
    pub fn phase(&self) -> Phase {
        self.last.as_ref().map_or(Phase::Bootstrap, |last| last.next_phase)
    }
}

/// Ends an epoch. The phase it was in decides everything of it; a transition holds from the next one on.
pub fn close_epoch(figures: &Monetary, state: &State, inputs: &EpochInputs) -> (State, Decision) {
    close_epoch_with(figures, state, inputs, &MACHINERY)
}

pub(crate) fn close_epoch_with(
    figures: &Monetary,
    state: &State,
    inputs: &EpochInputs,
    machinery: &Machinery,
) -> (State, Decision) {
    let (phase, staked) = (state.phase(), inputs.staked);
    let bounds = figures.of(phase);
    let before = state.last.as_ref();
    let ema = rate::smooth(
        bounds.ema_lambda_bps,
        inputs.fees,
        before.map(|before| before.ema_fees_per_epoch),
    );
    let mut window = state.window.clone();
    window.push_back(inputs.fees);
    while window.len() > WINDOW {
        window.pop_front();
    }
    let raw = rate::raw(figures, phase, ema, staked);
    let r_inf = (machinery.bounded)(bounds, &raw, before.map(|before| before.r_inf_annual_bps));
    let coverage = rate::coverage_millionths(bounds, ema, staked);
    let mut decision = Decision {
        epoch: inputs.epoch,
        phase,
        next_phase: phase,
        recommendation: Recommendation::Stay,
        r_target_annual_bps: figures.r_target_annual_bps(phase),
        r_inf_annual_bps: r_inf,
        fees: inputs.fees,
        ema_fees_per_epoch: ema,
        smoothed_annual_fee_revenue: rate::annual_fees(ema),
        staked,
        fee_coverage_millionths: coverage,
        stake_ratio_bps: rate::stake_ratio_bps(staked, inputs.circulating),
        volatility_bps: rate::volatility_bps(window.iter().copied()),
        issuance: rate::issuance(staked, r_inf, inputs.room),
    };
    let measures = Measures {
        epoch: inputs.epoch.0,
        fee_coverage_bps: decision.fee_coverage_bps(),
        stake_ratio_bps: decision.stake_ratio_bps,
        volatility_bps: decision.volatility_bps,
    };
    decision.next_phase = phase.next(&measures);
    decision.recommendation = phase.recommendation(&measures);
    (State { last: Some(decision.clone()), window }, decision)
}
