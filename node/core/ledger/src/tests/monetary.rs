//! The engine against a plain model of rationals, and what the model does not say.

mod canaries;
mod model;
mod phases;

use crate::{
    Monetary, MonetaryPhase,
    monetary::{
        Decision, EpochInputs, MACHINERY, Machinery, Payout, State, close_epoch, close_epoch_with,
        issue_with,
    },
};
use alloc::{string::String, vec::Vec};
use proptest::prelude::*;
use qbind_types::{Epoch, PUBLIC_KEY_BYTES, PublicKey, ValidatorInfo, VotingPower};

/// Amounts of all sizes, the extremes often.
fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![
        2 => any::<u128>(),
        3 => 0u128..1_000,
        4 => (0u32..128, any::<u128>()).prop_map(|(bits, any)| any >> bits),
        1 => Just(u128::MAX),
        1 => Just(0),
    ]
}

fn bps(most: u32) -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..=most, 1 => Just(0), 1 => Just(most)]
}

fn phase() -> impl Strategy<Value = MonetaryPhase> {
    (bps(10_000), bps(10_000), bps(10_000), 1..=10_000u32, bps(10_000)).prop_map(
        |(target, a, b, lambda, step)| MonetaryPhase {
            r_target_annual_bps: target,
            inflation_floor_annual_bps: a.min(b),
            max_annual_inflation_cap_bps: a.max(b),
            ema_lambda_bps: lambda,
            max_delta_r_per_epoch_bps: step,
        },
    )
}

/// The built-in figures, or any that a genesis file may have.
fn figures() -> impl Strategy<Value = Monetary> {
    let any = ([bps(10_000), bps(10_000), bps(10_000)], any::<u32>(), [phase(), phase(), phase()]);
    let any = any.prop_map(|(premiums, alpha, [bootstrap, transition, mature])| Monetary {
        pqc_premium_compute_bps: premiums[0],
        pqc_premium_bandwidth_bps: premiums[1],
        pqc_premium_storage_bps: premiums[2],
        alpha_fee_offset_bps: alpha,
        bootstrap,
        transition,
        mature,
    });
    prop_oneof![Just(Monetary::default()), any]
}

/// Epochs in a row; some chains are old enough for the next phase.
fn epochs() -> impl Strategy<Value = Vec<EpochInputs>> {
    let age = prop_oneof![Just(0u64), Just(157_678), Just(367_918), any::<u64>()];
    // Fees and stake of like size, so that rates come out between the bounds too.
    let alike = (0u32..100, 1u128..1 << 27, 0u128..1 << 12, 0u128..1 << 28).prop_map(
        |(bits, staked, fees, more)| (fees << bits, staked << bits, (staked + more) << bits),
    );
    let money = prop_oneof![(amount(), amount(), amount()), alike];
    let one = (money, prop_oneof![4 => Just(u128::MAX), 1 => amount()]);
    (age, prop::collection::vec(one, 1..24)).prop_map(|(age, epochs)| {
        let numbered = epochs.into_iter().zip(age..=u64::MAX);
        let input = |(((fees, staked, circulating), room), epoch)| EpochInputs {
            epoch: Epoch(epoch),
            fees,
            staked,
            circulating,
            room,
        };
        numbered.map(input).collect()
    })
}

fn payout() -> impl Strategy<Value = Payout> {
    (0u16..=10_000, 0u16..=10_000, 0u16..=10_000).prop_map(|(a, b, c)| {
        let mut cuts = [a, b, c];
        cuts.sort_unstable();
        let split = [cuts[0], cuts[1] - cuts[0], cuts[2] - cuts[1], 10_000 - cuts[2]];
        Payout::new([0xa1, 0xa2, 0xa3, 0xa4].map(super::address), split).expect("a whole")
    })
}

fn validators() -> impl Strategy<Value = Vec<ValidatorInfo>> {
    let stake = prop_oneof![1..=u64::MAX / 256, 1..=20u64];
    prop::collection::vec(stake, 0..12).prop_map(|stakes| {
        let member = |(n, stake): (u8, u64)| ValidatorInfo {
            id: u64::from(n),
            address: super::address(n),
            public_key: PublicKey::from_slice(&[n; PUBLIC_KEY_BYTES]).expect("its length"),
            previous_key: None,
            power: VotingPower(stake),
        };
        (1..).zip(stakes).map(member).collect()
    })
}

/// What an engine with this machinery does, told by what the model says instead.
fn agrees(
    machinery: &Machinery,
    figures: &Monetary,
    epochs: &[EpochInputs],
) -> Result<(), TestCaseError> {
    let mut state = State::default();
    let mut model = model::Model::new(figures);
    for inputs in epochs {
        let (next, got) = close_epoch_with(figures, &state, inputs, machinery);
        prop_assert_eq!(model.close(inputs), got);
        state = next;
    }
    Ok(())
}

/// The same of issuance.
fn issues(
    machinery: &Machinery,
    payout: &Payout,
    amount: u128,
    validators: &[ValidatorInfo],
) -> Result<(), TestCaseError> {
    let issued = issue_with(payout, amount, validators, machinery);
    prop_assert_eq!(model::issue(payout, amount, validators), issued.credits.clone());
    prop_assert_eq!(issued.total(), amount);
    prop_assert_eq!(issued.credits.iter().map(|(_, amount)| amount).sum::<u128>(), amount);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_epoch_is_as_the_model_of_rationals_says(figures in figures(), epochs in epochs()) {
        agrees(&MACHINERY, &figures, &epochs)?;
    }

    #[test]
    fn issuance_is_divided_as_the_model_says_and_nothing_is_lost(
        payout in payout(),
        amount in amount(),
        validators in validators(),
    ) {
        issues(&MACHINERY, &payout, amount, &validators)?;
    }

    #[test]
    fn rates_keep_their_bounds_and_phases_their_order(
        figures in figures(),
        epochs in epochs(),
    ) {
        let mut state = State::default();
        let mut before: Option<Decision> = None;
        for inputs in &epochs {
            let (next, now) = close_epoch(&figures, &state, inputs);
            let bounds = figures.of(now.phase);
            match &before {
                None => {
                    let (floor, cap) =
                        (bounds.inflation_floor_annual_bps, bounds.max_annual_inflation_cap_bps);
                    prop_assert!((floor..=cap).contains(&now.r_inf_annual_bps));
                }
                Some(before) => {
                    let moved = before.r_inf_annual_bps.abs_diff(now.r_inf_annual_bps);
                    prop_assert!(moved <= bounds.max_delta_r_per_epoch_bps);
                    prop_assert_eq!(now.phase, before.next_phase);
                }
            }
            prop_assert!(now.next_phase.index() - now.phase.index() <= 1, "no phase is skipped");
            prop_assert!(now.issuance <= inputs.staked && now.issuance <= inputs.room);
            let bytes = borsh::to_vec(&next).expect("memory");
            prop_assert_eq!(borsh::from_slice::<State>(&bytes).expect("canonical"), next.clone());
            (state, before) = (next, Some(now));
        }
    }
}

/// The state after epochs of these fees, under the built-in figures; the last decision.
fn after(
    state: &mut State,
    first: u64,
    fees: &[u128],
    staked: u128,
    circulating: u128,
) -> Decision {
    let mut last = None;
    for (epoch, fees) in (first..).zip(fees) {
        let room = u128::MAX;
        let inputs = EpochInputs { epoch: Epoch(epoch), fees: *fees, staked, circulating, room };
        let (next, decision) = close_epoch(&Monetary::default(), state, &inputs);
        (*state, last) = (next, Some(decision));
    }
    last.expect("at least one epoch")
}

/// A line per epoch: fees, average, rate, coverage, issuance.
fn lines(fees: &[u128], staked: u128) -> Vec<String> {
    let mut state = State::default();
    let mut line = |(epoch, fees): (u64, &u128)| {
        let d = after(&mut state, epoch, &[*fees], staked, staked * 2);
        alloc::format!(
            "{fees} {} {} {} {}",
            d.ema_fees_per_epoch,
            d.r_inf_annual_bps,
            d.fee_coverage_bps(),
            d.issuance
        )
    };
    (0..).zip(fees).map(&mut line).collect()
}

#[test]
fn a_chain_without_fees_inflates_at_the_target_with_premiums() {
    // 10^12 × 775 / (52,560 × 10,000) = 1,474,505.3; a year of it is 7.75 % of the stake.
    assert_eq!(lines(&[0, 0], 1_000_000_000_000), ["0 0 775 0 1474505", "0 0 775 0 1474505"]);
}

#[test]
fn fees_take_the_rate_down_step_by_step_to_the_floor() {
    // 1,902,588 × 52,560 = 10 % of 10^12: the raw rate is below zero, the floor is 0, the step is 25.
    assert_eq!(
        lines(&[0, 1_902_588, 1_902_588 * 20], 1_000_000_000_000),
        [
            "0 0 775 0 1474505",
            // The average is 7 % of the fees: 0.7 % of the stake a year, 70 basis points off.
            "1902588 133181 750 1399 1426940",
            "38051760 2787481 725 29302 1379375",
        ]
    );
}

#[test]
fn a_negative_rate_is_raised_to_the_floor_of_a_mature_chain() {
    let mut figures = Monetary::default();
    figures.bootstrap = figures.mature.clone();
    let inputs = EpochInputs {
        epoch: Epoch(0),
        fees: u128::MAX,
        staked: 1_000_000,
        circulating: u128::MAX,
        room: u128::MAX,
    };
    let (_, decision) = close_epoch(&figures, &State::default(), &inputs);
    assert_eq!(decision.r_inf_annual_bps, 100);
}
