//! Real probes over the loopback, where this process may send ICMP.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use qbind_measure::{Coordinates, Engine, MeasureError, Pair, Schedule, Soundness, measure_pairs};

fn pair(from: &str, to: &str, source: u8, target: u8) -> Pair {
    Pair {
        from: from.into(),
        to: to.into(),
        source: Ipv4Addr::new(127, 0, 0, source),
        target: Ipv4Addr::new(127, 0, 0, target),
        enter: None,
    }
}

fn three_regions() -> Vec<Pair> {
    let regions = [("a", 11), ("b", 12), ("c", 13)];
    let mut pairs = Vec::new();
    for (from, source) in regions {
        for (to, target) in regions {
            if from != to {
                pairs.push(pair(from, to, source, target));
            }
        }
    }
    pairs
}

/// Whether this process may send; says why not when it may not.
fn may_send(outcome: &Result<qbind_measure::RawMeasurement, MeasureError>) -> bool {
    if let Err(error @ MeasureError::Permission { .. }) = outcome {
        println!("SKIPPED: {error}");
        return false;
    }
    true
}

#[test]
fn kernel_stamps_of_all_pairs_at_once() {
    let schedule = Schedule { probes: 100, warm_up: 5, interval_us: 10_000, ..Schedule::quick(3) };
    let mut last = 0;
    let outcome = measure_pairs(&three_regions(), &schedule, |progress| {
        last = progress.sent;
        ControlFlow::Continue(())
    });
    if !may_send(&outcome) {
        return;
    }
    let raw = outcome.expect("measured");
    assert_eq!((raw.pairs.len(), last), (6, 600));
    let measurement = raw.evaluate(&Coordinates::new());
    assert_ne!(measurement.soundness, Soundness::Invalid, "{:?}", measurement.reasons);
    for (row, pair) in measurement.pairs.iter().zip(&raw.pairs) {
        assert_eq!((row.sent, row.lost, row.duplicates), (100, 0, Some(0)), "{row:?}");
        assert_eq!(row.program_stamped, 0, "the kernel stamped both ends: {row:?}");
        assert!(row.min_us < 1_000 && row.p50_us < 5_000, "{row:?}");
        assert!(pair.rtt_ns.iter().all(|rtt| *rtt > 0), "no round trip is zero");
    }
    let phases: std::collections::BTreeSet<u64> =
        raw.pairs.iter().map(|pair| pair.phase_us).collect();
    assert!(phases.len() > 1, "pairs are not sent in step");
    let mut stored = Vec::new();
    raw.write_to(&mut stored).expect("memory");
    let again = qbind_measure::RawMeasurement::read_from(stored.as_slice()).expect("ours");
    assert_eq!(again.evaluate(&Coordinates::new()), measurement);
}

#[test]
fn the_portable_engine_says_so() {
    let schedule = Schedule {
        engine: Engine::SurgePing,
        probes: 20,
        warm_up: 2,
        interval_us: 10_000,
        size_bytes: 1_200,
        ..Schedule::quick(3)
    };
    let outcome =
        measure_pairs(&[pair("a", "b", 14, 15)], &schedule, |_| ControlFlow::Continue(()));
    if !may_send(&outcome) {
        return;
    }
    let measurement = outcome.expect("measured").evaluate(&Coordinates::new());
    let row = &measurement.pairs[0];
    assert_eq!((row.received, row.duplicates, row.program_stamped), (20, None, 20));
    assert_eq!((measurement.engine, measurement.size_bytes), (Engine::SurgePing, 1_200));
}

#[test]
fn a_caller_can_end_a_run() {
    let outcome = measure_pairs(&[pair("a", "b", 16, 17)], &Schedule::standard(1), |progress| {
        if progress.sent > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if may_send(&outcome) {
        assert!(matches!(outcome, Err(MeasureError::Stopped)), "{outcome:?}");
    }
}

#[test]
fn a_strange_source_is_named() {
    let strange = Pair { source: Ipv4Addr::new(192, 0, 2, 1), ..pair("a", "b", 1, 1) };
    let fine = pair("c", "d", 18, 19);
    let outcome =
        measure_pairs(&[fine, strange], &Schedule::quick(1), |_| ControlFlow::Continue(()));
    if may_send(&outcome) {
        let error = outcome.expect_err("not ours");
        assert!(matches!(error, MeasureError::Bind { .. }), "{error:?}");
        assert!(error.to_string().contains("192.0.2.1"));
    }
}

#[test]
fn a_network_that_cannot_be_entered_is_named() {
    let enter: qbind_measure::Enter = std::sync::Arc::new(|| Err(std::io::Error::other("gone")));
    let pair = Pair { enter: Some(enter), ..pair("a", "b", 1, 1) };
    let error = measure_pairs(&[pair], &Schedule::quick(1), |_| ControlFlow::Continue(()));
    assert!(matches!(error, Err(MeasureError::Enter { region, .. }) if region == "a"));
}

#[test]
fn pairs_that_make_no_sense_are_refused() {
    let refused = |pairs: &[Pair]| {
        let outcome = measure_pairs(pairs, &Schedule::quick(1), |_| ControlFlow::Continue(()));
        outcome.expect_err("refused").to_string()
    };
    assert!(refused(&[]).contains("none given"));
    assert!(refused(&[pair("a", "a", 1, 2)]).contains("one region"));
    assert!(refused(&[pair("a", "b", 1, 2), pair("a", "b", 3, 4)]).contains("given twice"));
    let coloured = Schedule { engine: Engine::SurgePing, dscp: 8, ..Schedule::quick(1) };
    let outcome = measure_pairs(&[pair("a", "b", 1, 2)], &coloured, |_| ControlFlow::Continue(()));
    assert!(outcome.expect_err("refused").to_string().starts_with("UNSUPPORTED"));
}
