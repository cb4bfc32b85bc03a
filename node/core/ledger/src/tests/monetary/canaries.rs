//! Engines broken on purpose; the properties must notice each.

use super::{agrees, epochs, figures, issues, payout, validators};
use crate::{
    MonetaryPhase,
    monetary::{MACHINERY, Machinery, RawRate, bounded, pro_rata, split},
};
use alloc::vec::Vec;
use proptest::test_runner::TestRunner;

/// Whether the properties of epochs hold for this machinery, always on the same cases.
fn epochs_hold(machinery: Machinery) -> bool {
    let cases = (figures(), epochs());
    let holds = |(figures, epochs): (_, Vec<_>)| agrees(&machinery, &figures, &epochs);
    TestRunner::deterministic().run(&cases, holds).is_ok()
}

/// Whether those of issuance do.
fn issuance_holds(machinery: Machinery) -> bool {
    let cases = (payout(), super::amount(), validators());
    let holds = |(payout, amount, validators): (_, _, Vec<_>)| {
        issues(&machinery, &payout, amount, &validators)
    };
    TestRunner::deterministic().run(&cases, holds).is_ok()
}

#[test]
fn the_sound_machinery_passes() {
    assert!(epochs_hold(MACHINERY));
    assert!(issuance_holds(MACHINERY));
}

#[test]
fn a_floor_skipped_when_fees_exceed_issuance_is_noticed() {
    fn no_floor(phase: &MonetaryPhase, raw: &RawRate, before: Option<u32>) -> u32 {
        match raw {
            RawRate::Negative => {
                let bare = MonetaryPhase { inflation_floor_annual_bps: 0, ..phase.clone() };
                bounded(&bare, raw, before)
            }
            RawRate::Fraction { .. } => bounded(phase, raw, before),
        }
    }
    assert!(!epochs_hold(Machinery { bounded: no_floor, ..MACHINERY }));
}

#[test]
fn a_step_taken_before_the_floor_is_noticed() {
    fn step_first(phase: &MonetaryPhase, raw: &RawRate, before: Option<u32>) -> u32 {
        let free = MonetaryPhase {
            inflation_floor_annual_bps: 0,
            max_annual_inflation_cap_bps: u32::MAX,
            ..phase.clone()
        };
        bounded(&free, raw, before)
            .max(phase.inflation_floor_annual_bps)
            .min(phase.max_annual_inflation_cap_bps)
    }
    assert!(!epochs_hold(Machinery { bounded: step_first, ..MACHINERY }));
}

#[test]
fn a_step_forgotten_is_noticed() {
    fn no_step(phase: &MonetaryPhase, raw: &RawRate, _: Option<u32>) -> u32 {
        bounded(phase, raw, None)
    }
    assert!(!epochs_hold(Machinery { bounded: no_step, ..MACHINERY }));
}

#[test]
fn a_rate_rounded_down_is_noticed() {
    fn cut(phase: &MonetaryPhase, raw: &RawRate, before: Option<u32>) -> u32 {
        let raw = match *raw {
            RawRate::Negative => RawRate::Negative,
            RawRate::Fraction { of, by } => RawRate::Fraction { of: of / by * by, by },
        };
        bounded(phase, &raw, before)
    }
    assert!(!epochs_hold(Machinery { bounded: cut, ..MACHINERY }));
}

#[test]
fn a_remainder_lost_between_the_purposes_is_noticed() {
    fn lossy(amount: u128, shares: &[u16; 4]) -> [u128; 4] {
        let mut parts = split(amount, shares);
        let whole = split(amount / 10_000 * 10_000, shares);
        parts[1] = whole[1];
        parts
    }
    assert!(!issuance_holds(Machinery { split: lossy, ..MACHINERY }));
}

#[test]
fn a_remainder_lost_between_the_validators_is_noticed() {
    fn lossy(amount: u128, stakes: &[u64]) -> (Vec<u128>, u128) {
        let (shares, left) = pro_rata(amount, stakes);
        let kept = if shares.is_empty() { left } else { 0 };
        (shares, kept)
    }
    assert!(!issuance_holds(Machinery { pro_rata: lossy, ..MACHINERY }));
}

#[test]
fn a_remainder_given_to_the_last_validator_is_noticed() {
    fn to_the_last(amount: u128, stakes: &[u64]) -> (Vec<u128>, u128) {
        let (mut shares, left) = pro_rata(amount, stakes);
        match shares.last_mut() {
            Some(last) => {
                *last += left;
                (shares, 0)
            }
            None => (shares, left),
        }
    }
    assert!(!issuance_holds(Machinery { pro_rata: to_the_last, ..MACHINERY }));
}
