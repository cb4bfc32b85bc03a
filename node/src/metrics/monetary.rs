//! What the monetary engine decided, and what it minted.

use super::{label::*, series::*};
use qbind_ledger::monetary::{Bucket, Closed, Decision, Phase, Policy, State};

/// The monetary engine.
#[derive(Debug)]
pub struct Monetary {
    phase: Gauge,
    recommendation: Gauge,
    r_inf: Gauge,
    r_target: Gauge,
    coverage_bps: Gauge,
    coverage_scaled: Gauge,
    stake_ratio: Gauge,
    fee_revenue: Gauge,
    last_epoch: Gauge,
    decisions: Counter,
    epoch_decisions: Counter,
    applied: Counters<MonetaryEffect>,
    issuance: Counters<IssuanceBucket>,
    /// To Transition, to Mature.
    transitions: Vec<Counter>,
}

impl Monetary {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            phase: b.gauge("qbind_monetary_phase", "0 bootstrap, 1 transition, 2 mature."),
            recommendation: b.gauge(
                "qbind_monetary_phase_recommendation",
                "What the figures say about the next phase: 0 stay, 1 advance, 2 hold back.",
            ),
            r_inf: b.gauge(
                "qbind_monetary_r_inf_annual_bps",
                "Inflation decided at the last epoch's end, basis points of stake a year.",
            ),
            r_target: b.gauge(
                "qbind_monetary_r_target_annual_bps",
                "Inflation the phase aims at, premiums included, basis points of stake a year.",
            ),
            coverage_bps: b.gauge(
                "qbind_monetary_fee_coverage_ratio_bps",
                "A year of fees against a year of issuance at the target without premiums, basis points.",
            ),
            coverage_scaled: b.gauge(
                "qbind_monetary_fee_coverage_ratio_scaled",
                "The same in millionths.",
            ),
            stake_ratio: b.gauge(
                "qbind_monetary_stake_ratio_bps",
                "Stake against all there is, basis points.",
            ),
            fee_revenue: b.gauge(
                "qbind_monetary_smoothed_annual_fee_revenue_scaled",
                "A year of fees at their moving average, in the smallest unit of money.",
            ),
            last_epoch: b
                .gauge("qbind_monetary_epoch_last_index", "The epoch of the last decision."),
            decisions: b.counter(
                "qbind_monetary_decisions_total",
                "Decisions taken since this node started.",
            ),
            epoch_decisions: b.counter(
                "qbind_monetary_epoch_decisions_total",
                "Epochs that ended with a decision since this node started: the same.",
            ),
            applied: b.counters(
                "qbind_monetary_decisions_applied_total",
                "Decisions by what followed: recorded (shadow) or minted (active).",
            ),
            issuance: b.counters(
                "qbind_monetary_issuance_total",
                "Money minted, in its smallest unit; nothing in shadow mode.",
            ),
            transitions: b.pairs(
                "qbind_monetary_phase_transitions_total",
                "Changes of phase.",
                ["from", "to"],
                &[["bootstrap", "transition"], ["transition", "mature"]],
            ),
        }
    }

    /// Where the engine stands when the node starts.
    pub fn start(&self, policy: &Policy, state: &State) {
        self.phase.set(u64::from(state.phase().index()));
        self.r_target.set(u64::from(policy.figures.r_target_annual_bps(state.phase())));
        if let Some(last) = state.last() {
            self.show(policy, last);
        }
    }

    /// An epoch ended with a decision.
    pub fn closed(&self, policy: &Policy, closed: &Closed) {
        let decision = &closed.decision;
        self.decisions.inc();
        self.epoch_decisions.inc();
        self.show(policy, decision);
        match (decision.phase, decision.next_phase) {
            (Phase::Bootstrap, Phase::Transition) => self.transitions[0].inc(),
            (Phase::Transition, Phase::Mature) => self.transitions[1].inc(),
            _ => {}
        }
        let Some(issued) = &closed.issued else {
            self.applied.inc(MonetaryEffect::Shadow);
            return;
        };
        self.applied.inc(MonetaryEffect::Active);
        for (bucket, amount) in Bucket::ALL.into_iter().zip(issued.buckets) {
            self.issuance.of(bucket.into()).add(u64::try_from(amount).unwrap_or(u64::MAX));
        }
    }

    fn show(&self, policy: &Policy, decision: &Decision) {
        let whole = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        // What holds from now on: the phase of the epoch that runs.
        self.phase.set(u64::from(decision.next_phase.index()));
        self.r_target.set(u64::from(policy.figures.r_target_annual_bps(decision.next_phase)));
        self.recommendation.set(u64::from(decision.recommendation.index()));
        self.r_inf.set(u64::from(decision.r_inf_annual_bps));
        self.coverage_bps.set(decision.fee_coverage_bps());
        self.coverage_scaled.set(decision.fee_coverage_millionths);
        self.stake_ratio.set(u64::from(decision.stake_ratio_bps));
        self.fee_revenue.set(whole(decision.smoothed_annual_fee_revenue));
        self.last_epoch.set(decision.epoch.0);
    }
}

impl From<Bucket> for IssuanceBucket {
    fn from(bucket: Bucket) -> Self {
        match bucket {
            Bucket::Validators => Self::Validators,
            Bucket::Treasury => Self::Treasury,
            Bucket::Insurance => Self::Insurance,
            Bucket::Community => Self::Community,
        }
    }
}
