//! What opens a phase, and what each gate alone keeps shut.

use super::after;
use crate::monetary::{Decision, Phase, Recommendation, State};
use alloc::{vec, vec::Vec};

const THREE_YEARS: u64 = 157_680;
const SEVEN_YEARS: u64 = 367_920;
const STAKED: u128 = 1_000_000_000_000;
/// Fees an epoch that make a year of them a share of the stake, given in basis points.
const fn fees(bps: u128) -> u128 {
    STAKED * bps / 10_000 / 52_560 + 1
}

/// A chain that began at `first` and had the same fees ever since, in its last epoch.
fn steady(first: u64, bps: u128, circulating: u128) -> Decision {
    after(&mut State::default(), first, &[fees(bps)], STAKED, circulating)
}

fn is(decision: &Decision, next: Phase, recommendation: Recommendation) {
    assert_eq!((decision.next_phase, decision.recommendation), (next, recommendation));
}

use Phase::{Bootstrap, Mature, Transition};
use Recommendation::{Advance, HoldBack, Stay};

#[test]
fn each_gate_alone_holds_transition_back() {
    // 1 % of stake against a target of 5 % is a coverage of 20 %.
    let all_met = steady(THREE_YEARS, 100, STAKED * 10 / 3);
    assert_eq!((all_met.fee_coverage_bps(), all_met.stake_ratio_bps), (2_000, 3_000));
    is(&all_met, Transition, HoldBack);
    is(&steady(THREE_YEARS - 1, 100, STAKED * 10 / 3), Bootstrap, Stay);
    is(&steady(THREE_YEARS, 99, STAKED * 10 / 3), Bootstrap, HoldBack);
    is(&steady(THREE_YEARS, 100, STAKED * 10 / 3 + 1_000_000_000), Bootstrap, HoldBack);
    // Advice asks for more: 30 % and half of all stake.
    is(&steady(THREE_YEARS, 150, STAKED * 2), Transition, Advance);
    is(&steady(THREE_YEARS, 149, STAKED * 2), Transition, HoldBack);
    is(&steady(THREE_YEARS, 150, STAKED * 2 + 1_000_000_000), Transition, HoldBack);
}

#[test]
fn volatile_fees_hold_transition_back() {
    let last = |pattern: &[u128]| {
        let first = THREE_YEARS + 1 - pattern.len() as u64;
        let fees: Vec<u128> = pattern.iter().map(|bps| fees(*bps)).collect();
        after(&mut State::default(), first, &fees, STAKED, STAKED)
    };
    // Twice the mean is the bound: 1000 among 0 is twice, with one more 0 it is three times.
    let bound = last(&[2_000, 0]);
    assert_eq!(bound.volatility_bps / 10, 1_999);
    is(&bound, Transition, Advance);
    let beyond = last(&[2_000, 0, 0]);
    assert_eq!(beyond.volatility_bps / 10, 2_999);
    is(&beyond, Bootstrap, HoldBack);
}

#[test]
fn volatility_looks_back_a_day_and_no_further() {
    let mut state = State::default();
    let mut pattern = vec![1_000u128; 144];
    pattern[0] = 1_000_000;
    let with_peak = after(&mut state, 0, &pattern, STAKED, STAKED);
    assert!(with_peak.volatility_bps > 1_000_000);
    let without = after(&mut state, 144, &[1_000], STAKED, STAKED);
    assert_eq!(without.volatility_bps, 10_000);
    let idle = after(&mut state, 145, &[0; 144], STAKED, STAKED);
    assert_eq!(idle.volatility_bps, 0);
}

#[test]
fn phases_come_in_order_and_the_last_one_stays() {
    let mut state = State::default();
    let mut step = |epoch, bps: u128| after(&mut state, epoch, &[fees(bps)], STAKED, STAKED);
    // Old enough for the last phase at once, but each takes an epoch.
    let first = step(SEVEN_YEARS, 1_000);
    assert_eq!((first.phase, first.next_phase), (Bootstrap, Transition));
    let second = step(SEVEN_YEARS + 1, 1_000);
    assert_eq!((second.phase, second.next_phase), (Transition, Mature));
    assert_eq!(second.r_target_annual_bps, 620);
    let third = step(SEVEN_YEARS + 2, 0);
    assert_eq!((third.phase, third.r_target_annual_bps), (Mature, 465));
    is(&third, Mature, Stay);
}

#[test]
fn mature_waits_for_its_year_and_for_calmer_fees() {
    let mut state = State::default();
    let mut steps = |epoch, pattern: &[u128]| {
        let fees: Vec<u128> = pattern.iter().map(|bps| fees(*bps)).collect();
        after(&mut state, epoch, &fees, STAKED, STAKED)
    };
    is(&steps(THREE_YEARS, &[1_000]), Transition, Advance);
    is(&steps(SEVEN_YEARS - 4, &[1_000, 1_000, 1_000, 2_000]), Transition, Stay);
    // 2000 against a mean of 1167 is more than one and a half, and against one of 1350 it is not.
    let volatile = steps(SEVEN_YEARS, &[1_000]);
    assert_eq!(volatile.volatility_bps / 10, 1_714);
    is(&volatile, Transition, HoldBack);
    is(&steps(SEVEN_YEARS + 1, &[1_900, 1_900]), Mature, Advance);
}
