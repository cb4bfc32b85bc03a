//! The simulation finds what is broken and passes what is not.

use crate::*;
use qbind_dag::CouplingMode;
use std::collections::BTreeMap;

fn config(seed: u64) -> SimConfig {
    let near = Link::exact(1_000);
    let far = Link { jitter_us: 5_000, ..Link::exact(40_000) };
    SimConfig {
        seed,
        validators: vec![0, 0, 1, 1],
        links: vec![vec![near, far], vec![far, near]],
        coupling: CouplingMode::Enforce,
        stage_b: true,
        view_timeout_ms: 1_000,
        empty_block_interval_ms: 200,
        load: LoadSpec { senders: 4, transfers: 40, amount: 100 },
        faults: vec![],
        duration_ms: 6_000,
        cooldown_ms: 3_000,
        clocks: vec![],
        byzantine: BTreeMap::new(),
        power_cut: None,
        signatures: Signatures::Real,
        counts_work: false,
        epoch_blocks: 24,
        candidates: 0,
        calls: Vec::new(),
    }
}

#[test]
fn a_good_network_commits_everything_exactly_once() {
    let outcome = Simulation::new(config(1)).run();
    assert!(outcome.is_safe(), "{outcome:?}");
    assert_eq!((outcome.accepted, outcome.committed_once), (40, 40), "{outcome:?}");
    assert!(outcome.heights.iter().all(|h| *h > 15), "{outcome:?}");
    assert_eq!(outcome.view_changes, 0, "{outcome:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_another() {
    let trace = |seed| Simulation::new(config(seed)).run().trace;
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

#[test]
fn crashes_partitions_and_loss_are_survived() {
    let faults = vec![
        Timed { at_ms: 1_000, action: Action::CrashLeader },
        Timed { at_ms: 2_500, action: Action::RestartCrashed },
        Timed { at_ms: 3_000, action: Action::Partition(vec![vec![0, 1, 2], vec![3]]) },
        Timed { at_ms: 4_500, action: Action::Heal },
        Timed { at_ms: 4_500, action: Action::Drop(MessageKind::All, 1_500) },
    ];
    for seed in 0..3 {
        let outcome = Simulation::new(SimConfig { faults: faults.clone(), ..config(seed) }).run();
        assert!(outcome.is_safe(), "seed {seed}: {outcome:?}");
        assert!(outcome.recovery_ms.is_some_and(|ms| ms < 3_000), "seed {seed}: {outcome:?}");
        assert_eq!(outcome.committed_once, outcome.accepted, "seed {seed}: {outcome:?}");
        assert!(outcome.final_height_divergence <= 2, "seed {seed}: {outcome:?}");
    }
}

fn lying(node: usize, kind: Byzantine) -> BTreeMap<usize, Byzantine> {
    BTreeMap::from([(node, kind)])
}

#[test]
fn twins_beyond_the_bound_are_seen_and_within_it_harmless() {
    let run = |twins: &[usize], groups: [Vec<usize>; 2]| {
        let byzantine = twins.iter().map(|i| (*i, Byzantine::Twin)).collect();
        let faults = vec![Timed { at_ms: 0, action: Action::Partition(groups.to_vec()) }];
        Simulation::new(SimConfig { byzantine, faults, empty_block_interval_ms: 50, ..config(2) })
            .run()
    };
    let two = run(&[0, 1], [vec![0, 1, 2], vec![4, 5, 3]]);
    assert!(!two.divergences.is_empty(), "two of four can break safety, and it must show");
    let one = run(&[0], [vec![0, 1, 2], vec![4, 3]]);
    assert!(one.is_safe() && one.recovery_ms.is_some(), "{one:?}");
    assert!(one.equivocations > 0, "both instances lead and vote: {one:?}");
    // What a detector found convicts the twin, and only the twin.
    assert!(one.proofs.get("O1_double_sign").is_some_and(|n| *n > 0), "{one:?}");
    assert!(one.convictions.is_empty() && one.trials > 500, "{one:?}");
}

#[test]
fn another_execution_is_seen() {
    let byzantine = lying(2, Byzantine::WrongState);
    let outcome = Simulation::new(SimConfig { byzantine, ..config(3) }).run();
    let seen = !outcome.state_divergences.is_empty() || !outcome.halts.is_empty();
    assert!(seen && !outcome.is_safe(), "{outcome:?}");
}

#[test]
fn enforce_never_commits_a_forged_or_mismatched_reference() {
    for kind in [Byzantine::ForgedBatch, Byzantine::MismatchedBatch] {
        let outcome = Simulation::new(SimConfig { byzantine: lying(1, kind), ..config(4) }).run();
        assert!(outcome.is_safe(), "{kind:?}: {outcome:?}");
        assert!(outcome.heights.iter().all(|h| *h > 5), "{kind:?}: {outcome:?}");
        assert!(outcome.view_changes > 0, "{kind:?}: the liar's views are lost: {outcome:?}");
    }
}

#[test]
fn forged_certificates_are_refused_and_cost_the_forger_its_views() {
    for forgery in [Forgery::BelowQuorum, Forgery::OneSigner, Forgery::ForeignNetwork] {
        let byzantine = lying(1, Byzantine::Forger(forgery));
        let outcome = Simulation::new(SimConfig { byzantine, ..config(5) }).run();
        assert!(outcome.is_safe() && outcome.refused > 0, "{forgery:?}: {outcome:?}");
        assert!(outcome.heights.iter().all(|h| *h > 5), "{forgery:?}: {outcome:?}");
    }
}

#[test]
fn who_is_silent_or_keeps_things_to_itself_does_not_stop_the_others() {
    use Byzantine::{Mute, Selective, SilentLeader, WithholdBatches};
    for kind in [SilentLeader, Mute, WithholdBatches, Selective(2), Selective(0)] {
        let outcome = Simulation::new(SimConfig { byzantine: lying(1, kind), ..config(6) }).run();
        assert!(outcome.is_safe() && outcome.recovery_ms.is_some(), "{kind:?}: {outcome:?}");
        assert_eq!(outcome.committed_once, outcome.accepted, "{kind:?}: {outcome:?}");
    }
}

#[test]
fn a_link_doubles_and_queues_what_it_carries() {
    let link = Link { duplicate_bps: 5_000, bytes_per_s: 500_000, ..Link::exact(1_000) };
    let links = vec![vec![link; 2]; 2];
    let slow = Simulation::new(SimConfig { links, ..config(7) }).run();
    assert!(slow.is_safe() && slow.duplicated > slow.messages[0] / 3, "{slow:?}");
    assert!(slow.mean_delay_us > 5_000, "2.4 kB take 5 ms at 500 kB/s: {slow:?}");
}

#[test]
fn wrong_clocks_move_timers_and_timestamps_and_nothing_else() {
    let fast = Clock { skew_ms: 60_000, drift_ppm: 50_000 };
    let slow = Clock { skew_ms: -60_000, drift_ppm: -50_000 };
    let outcome = Simulation::new(SimConfig { clocks: vec![fast, slow], ..config(8) }).run();
    assert!(outcome.is_safe() && outcome.committed_once == 40, "{outcome:?}");
    let right = Simulation::new(config(8)).run();
    assert_ne!(outcome.trace, right.trace);
}

#[test]
fn nobody_votes_for_a_block_from_more_than_five_minutes_ahead() {
    let lost = |skew_ms| {
        let clocks = vec![Clock { skew_ms, drift_ppm: 0 }];
        let outcome = Simulation::new(SimConfig { clocks, ..config(8) }).run();
        assert!(outcome.is_safe() && outcome.committed_once == 40, "{outcome:?}");
        outcome.view_changes
    };
    assert_eq!(lost(290_000), 0, "within the bound");
    assert!(lost(310_000) > 0, "the views that it leads are lost");
    assert_eq!(lost(-310_000), 0, "who lags behind follows its parent's time");
}

#[test]
fn a_leader_loses_power_in_each_phase_of_its_view() {
    for phase in Phase::ALL {
        let faults = vec![
            Timed { at_ms: 1_000, action: Action::CrashLeaderAt(phase) },
            Timed { at_ms: 2_500, action: Action::RestartCrashed },
        ];
        let outcome = Simulation::new(SimConfig { faults, ..config(9) }).run();
        assert_eq!(outcome.power_losses, 1, "{phase:?}: {outcome:?}");
        assert!(outcome.is_safe() && outcome.recovery_ms.is_some(), "{phase:?}: {outcome:?}");
    }
}

#[test]
fn a_leader_that_leaves_batches_out_is_shown_by_its_own_signature() {
    let outcome =
        Simulation::new(SimConfig { byzantine: lying(1, Byzantine::BrokenSequence), ..config(4) })
            .run();
    assert!(outcome.is_safe(), "{outcome:?}");
    assert!(outcome.coupling_violations > 0 && outcome.false_evidence == 0, "{outcome:?}");
    // A batch left out is seen beside the chain only; two lists of one creator with a gap, alone.
    assert!(outcome.trials > 500, "{outcome:?}");
    assert_eq!(outcome.committed_once, outcome.accepted, "{outcome:?}");
}

#[test]
fn who_serves_falsified_blocks_is_asked_no_more_and_the_others_serve() {
    let faults = vec![
        Timed { at_ms: 500, action: Action::Crash(0) },
        Timed { at_ms: 4_000, action: Action::Restart(0) },
    ];
    let byzantine = lying(3, Byzantine::LyingServer);
    let refused: u64 = (0..10)
        .map(|seed| {
            let (byzantine, faults) = (byzantine.clone(), faults.clone());
            let run = SimConfig { byzantine, faults, empty_block_interval_ms: 50, ..config(seed) };
            let outcome = Simulation::new(run).run();
            assert!(outcome.is_safe(), "seed {seed}: {outcome:?}");
            assert!(outcome.final_height_divergence <= 2, "seed {seed}: {outcome:?}");
            outcome.refused
        })
        .sum();
    assert!(refused > 0, "nobody asked the liar");
}
