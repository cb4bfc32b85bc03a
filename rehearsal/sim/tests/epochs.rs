//! Epochs end and begin, and with them keys and validators change, whatever else goes wrong.

use qbind_dag::CouplingMode;
use qbind_sim::{
    Action, Byzantine, Call, CallKind, Link, LoadSpec, Outcome, PowerCut, Signatures, SimConfig,
    Simulation, Timed,
};
use std::collections::BTreeMap;

fn config(seed: u64) -> SimConfig {
    SimConfig {
        seed,
        validators: vec![0, 0, 1, 1, 1],
        links: vec![
            vec![Link::exact(1_000), Link { jitter_us: 5_000, ..Link::exact(20_000) }],
            vec![Link { jitter_us: 5_000, ..Link::exact(20_000) }, Link::exact(1_000)],
        ],
        coupling: CouplingMode::Enforce,
        stage_b: true,
        view_timeout_ms: 500,
        empty_block_interval_ms: 50,
        load: LoadSpec { senders: 8, transfers: 64, amount: 100 },
        faults: vec![],
        duration_ms: 8_000,
        cooldown_ms: 3_000,
        clocks: vec![],
        byzantine: BTreeMap::new(),
        power_cut: None,
        signatures: Signatures::Real,
        counts_work: false,
        epoch_blocks: 10,
        candidates: 1,
        calls: Vec::new(),
    }
}

fn run(config: SimConfig) -> Outcome {
    let (seed, is_lying) = (config.seed, !config.byzantine.is_empty());
    let outcome = Simulation::new(config).run();
    assert!(outcome.is_safe(), "seed {seed}: {outcome:?}");
    assert_eq!(outcome.committed_once, outcome.accepted, "seed {seed}: {outcome:?}");
    assert!(outcome.final_height_divergence <= 2, "seed {seed}: {outcome:?}");
    assert!(outcome.equivocations == 0 || is_lying, "seed {seed}: {outcome:?}");
    outcome
}

/// First and last epoch in which a validator's block became final.
fn reign(outcome: &Outcome, id: u64) -> Option<(u64, u64)> {
    let mut epochs = outcome.proposers.keys().filter(|(_, by)| *by == id).map(|(epoch, _)| *epoch);
    let first = epochs.next()?;
    Some((first, epochs.next_back().unwrap_or(first)))
}

#[test]
fn epochs_pass_without_a_view_given_up() {
    let outcome = run(config(1));
    assert!(outcome.epochs >= 10, "{outcome:?}");
    assert_eq!(outcome.view_changes, 0, "{outcome:?}");
    // An epoch costs one message delay and no more: as many blocks as without any, but for a tenth.
    let without = run(SimConfig { epoch_blocks: u64::MAX, ..config(1) });
    assert!(outcome.heights[0] * 10 > without.heights[0] * 9, "{outcome:?}\n{without:?}");
}

#[test]
fn a_validator_joins_leads_and_leaves() {
    for seed in 0..5 {
        let calls = vec![
            Call { at_ms: 500, node: 4, kind: CallKind::Join },
            Call { at_ms: 4_500, node: 4, kind: CallKind::Leave },
        ];
        let outcome = run(SimConfig { calls, ..config(seed) });
        let (first, last) = reign(&outcome, 4).expect("it led");
        assert!(first > 0 && last > first && last < outcome.epochs, "seed {seed}: {outcome:?}");
        assert_eq!(outcome.validators, [0, 1, 2, 3], "seed {seed}: {outcome:?}");
    }
}

#[test]
fn a_key_rotates_without_a_gap_when_the_node_changes_it_during_grace() {
    let rotate = CallKind::Rotate { ahead: 2, grace: Some(10) };
    let calls = vec![Call { at_ms: 300, node: 1, kind: rotate }];
    for seed in 0..5 {
        let faults = vec![Timed { at_ms: 4_000, action: Action::SecondKey(1) }];
        let outcome = run(SimConfig { calls: calls.clone(), faults, ..config(seed) });
        let silent: Vec<u64> =
            (0..outcome.epochs).filter(|e| !outcome.proposers.contains_key(&(*e, 1))).collect();
        assert!(outcome.epochs > 12 && silent.len() <= 1, "seed {seed}, {silent:?}: {outcome:?}");
    }
}

#[test]
fn after_grace_the_old_key_is_worth_nothing() {
    for (kind, within) in [
        (CallKind::Rotate { ahead: 1, grace: Some(3) }, 1..9),
        (CallKind::Rotate { ahead: 1, grace: None }, 0..5),
    ] {
        let calls = vec![Call { at_ms: 300, node: 1, kind }];
        let outcome = run(SimConfig { calls: calls.clone(), ..config(3) });
        let (_, last) = reign(&outcome, 1).expect("it led with its first key");
        assert!(within.contains(&last), "{kind:?}, last in {last}: {outcome:?}");
        assert!(outcome.epochs > last + 2, "{kind:?}: the others go on: {outcome:?}");
        // Whoever holds the new key has its place again.
        let faults = vec![Timed { at_ms: 5_000, action: Action::SecondKey(1) }];
        let back = run(SimConfig { calls, faults, ..config(3) });
        assert_eq!(reign(&back, 1).map(|(_, last)| last + 2 > back.epochs), Some(true), "{back:?}");
    }
}

#[test]
fn who_was_away_for_many_epochs_finds_its_way_through_all_of_them() {
    for seed in 0..5 {
        let calls = vec![Call { at_ms: 1_500, node: 4, kind: CallKind::Join }];
        let faults = vec![
            Timed { at_ms: 700, action: Action::Crash(2) },
            Timed { at_ms: 6_000, action: Action::Restart(2) },
        ];
        let outcome = run(SimConfig { calls, faults, ..config(seed) });
        assert!(outcome.epochs > 6, "seed {seed}: {outcome:?}");
        assert!(reign(&outcome, 2).is_some_and(|(_, last)| last + 3 > outcome.epochs));
    }
}

#[test]
fn ends_of_epochs_survive_cuts_crashes_and_twins() {
    for seed in 0..20 {
        let calls = vec![
            Call { at_ms: 400, node: 4, kind: CallKind::Join },
            Call { at_ms: 2_000, node: 2, kind: CallKind::Rotate { ahead: 1, grace: Some(50) } },
            Call { at_ms: 5_000, node: 4, kind: CallKind::Leave },
        ];
        let faults = vec![
            Timed { at_ms: 1_000, action: Action::Partition(vec![vec![0, 1], vec![2, 3, 4]]) },
            Timed { at_ms: 1_800, action: Action::Heal },
            Timed { at_ms: 2_500, action: Action::CrashLeader },
            Timed { at_ms: 3_500, action: Action::RestartCrashed },
            Timed { at_ms: 4_000, action: Action::Drop(qbind_sim::MessageKind::All, 2_000) },
            Timed { at_ms: 6_000, action: Action::StopDrop },
        ];
        let byzantine = match seed % 2 {
            0 => BTreeMap::new(),
            _ => BTreeMap::from([(3, Byzantine::Twin)]),
        };
        let outcome = run(SimConfig { calls, faults, byzantine, ..config(seed) });
        assert!(outcome.recovery_ms.is_some_and(|ms| ms < 3_000), "seed {seed}: {outcome:?}");
        assert!(outcome.epochs > 4, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn power_goes_away_anywhere_around_the_end_of_an_epoch() {
    let quick = |power_cut| SimConfig {
        validators: vec![0; 4],
        links: vec![vec![Link { jitter_us: 3_000, ..Link::exact(8_000) }]],
        load: LoadSpec { senders: 4, transfers: 8, amount: 100 },
        duration_ms: 1_200,
        epoch_blocks: 8,
        candidates: 0,
        signatures: Signatures::Ideal,
        power_cut,
        ..config(11)
    };
    let effects = Simulation::new(SimConfig { cooldown_ms: 0, ..quick(None) }).run().effects[1];
    for effect in 0..effects {
        let outcome = run(quick(Some(PowerCut { node: 1, effect, down_ms: 150 })));
        assert!(outcome.epochs > 3, "effect {effect} of {effects}: {outcome:?}");
    }
}

#[test]
fn a_reported_twin_loses_stake_and_its_place_and_nobody_else_does() {
    for seed in 0..3 {
        let calls = vec![Call { at_ms: 1_000, node: 4, kind: CallKind::Report }];
        let byzantine = BTreeMap::from([(1, Byzantine::Twin)]);
        let twin = SimConfig { calls, byzantine, candidates: 0, ..config(seed) };
        let outcome = run(twin.clone());
        assert!(outcome.equivocations > 0 && outcome.proofs["O1_double_sign"] > 0, "{outcome:?}");
        // Ten epochs of jail, of which the run may not see the end.
        let silent = |o: &Outcome| {
            (0..o.epochs).filter(|epoch| !o.proposers.contains_key(&(*epoch, 1))).count()
        };
        assert!(silent(&outcome) >= 6, "seed {seed}: {outcome:?}");
        let unreported = run(SimConfig { calls: Vec::new(), ..twin });
        assert!(silent(&unreported) <= 3, "seed {seed}: {unreported:?}");
    }
}
