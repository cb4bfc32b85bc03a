//! The simulation finds what is broken and passes what is not.

use crate::*;
use qbind_dag::CouplingMode;

fn config(seed: u64) -> SimConfig {
    let near = Link::exact(1_000);
    let far = Link { delay_us: 40_000, jitter_us: 5_000, loss_bps: 0 };
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
        canary: None,
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

#[test]
fn twins_beyond_the_bound_are_seen_and_within_it_harmless() {
    let twins = |k| {
        let canary = Some(Canary::Twins(k));
        Simulation::new(SimConfig { canary, ..config(2) }).run()
    };
    assert!(!twins(2).divergences.is_empty(), "two of four can break safety, and it must show");
    let one = twins(1);
    assert!(one.divergences.is_empty(), "{one:?}");
}

#[test]
fn another_execution_is_seen() {
    let canary = Some(Canary::WrongState(2));
    let outcome = Simulation::new(SimConfig { canary, ..config(3) }).run();
    let seen = !outcome.state_divergences.is_empty() || !outcome.halts.is_empty();
    assert!(seen && !outcome.is_safe(), "{outcome:?}");
}

#[test]
fn enforce_never_commits_a_forged_or_mismatched_reference() {
    for canary in [Canary::ForgedBatch(1), Canary::MismatchedBatch(1)] {
        let outcome = Simulation::new(SimConfig { canary: Some(canary), ..config(4) }).run();
        assert!(outcome.is_safe(), "{canary:?}: {outcome:?}");
        assert!(outcome.heights.iter().all(|h| *h > 5), "{canary:?}: {outcome:?}");
        assert!(outcome.view_changes > 0, "{canary:?}: the liar's views are lost: {outcome:?}");
    }
}
