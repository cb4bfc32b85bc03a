use super::*;
use qbind_plan::topology::ExpectedRtt;

fn link() -> Link {
    Link {
        from: "a".into(),
        to: "b".into(),
        delay_us: 50_000,
        jitter_us: 0,
        loss_bps: 0,
        rate_mbit: 1_000,
        queue_ms: 100,
        burst: None,
        reorder: false,
    }
}

/// One packet every `gap_us`; how long each took in microseconds, `None` where lost.
fn run(link: &Link, seed: u64, count: u64, gap_us: u64, ordered: bool) -> Vec<Option<u64>> {
    let mut shaper = Shaper::new(link, seed);
    let send = |i: u64| {
        let now_ns = i * gap_us * 1_000;
        match shaper.admit(now_ns, 125, ordered) {
            Verdict::Deliver { at_ns } => Some((at_ns - now_ns) / 1_000),
            Verdict::Lose(_) => None,
        }
    };
    (0..count).map(send).collect()
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

#[test]
fn delay_is_exact_without_jitter() {
    // 125 bytes take 1 us at 1 Gbit/s.
    assert!(run(&link(), 1, 100, 10, false).iter().all(|d| *d == Some(50_001)));
}

#[test]
fn round_trips_have_the_median_and_jitter_the_topology_promises() {
    for (there_us, back_us) in [(15_000, 15_000), (15_000, 5_000), (20_000, 1_000), (10_000, 0)] {
        let there = Link { jitter_us: there_us, ..link() };
        let back = Link { jitter_us: back_us, ..link() };
        let out = run(&there, 1, 20_000, 50_000, false);
        let home = run(&back, 2, 20_000, 50_000, false);
        let mut rtts: Vec<u64> =
            out.iter().zip(&home).map(|(a, b)| a.unwrap() + b.unwrap()).collect();
        rtts.sort_unstable();
        let expected = ExpectedRtt::of(&there, &back);
        let p50 = percentile(&rtts, 50);
        let jitter = percentile(&rtts, 95) - p50;
        assert!(p50.abs_diff(expected.p50_us) < 500, "{p50} {expected:?}");
        assert!(jitter.abs_diff(expected.jitter_us) * 50 < expected.jitter_us, "{jitter}");
        assert!(rtts[0] >= expected.min_us, "never early");
    }
}

#[test]
fn ordered_packets_never_overtake_and_datagrams_do() {
    let jittery = Link { jitter_us: 50_000, ..link() };
    let arrivals = |ordered| -> Vec<u64> {
        let delays = run(&jittery, 3, 50_000, 100, ordered);
        delays.iter().enumerate().map(|(i, d)| i as u64 * 100 + d.unwrap()).collect()
    };
    assert!(arrivals(true).is_sorted());
    assert!(!arrivals(false).is_sorted());
}

#[test]
fn ordered_packets_see_the_whole_width_around_the_same_median() {
    let jittery = Link { jitter_us: 10_000, ..link() };
    let delays = run(&jittery, 4, 200_000, 1_000, true);
    let mut delays: Vec<u64> = delays.into_iter().flatten().collect();
    delays.sort_unstable();
    assert!(percentile(&delays, 50).abs_diff(50_000) < 500);
    assert!(percentile(&delays, 1) < 42_500 && percentile(&delays, 99) > 57_500);
}

#[test]
fn asked_to_reorder_it_does() {
    let jittery = Link { jitter_us: 50_000, reorder: true, ..link() };
    let delays = run(&jittery, 3, 1_000, 100, true);
    let arrivals: Vec<u64> =
        delays.iter().enumerate().map(|(i, d)| i as u64 * 100 + d.unwrap()).collect();
    assert!(!arrivals.is_sorted());
}

#[test]
fn loss_has_the_rate_asked_for_and_follows_the_seed() {
    let lossy = Link { loss_bps: 500, ..link() };
    let lost = |seed| run(&lossy, seed, 100_000, 10, false).iter().filter(|d| d.is_none()).count();
    // Five standard deviations of a binomial with 100,000 draws at 5 %.
    assert!(lost(1).abs_diff(5_000) < 345, "{}", lost(1));
    assert_eq!(lost(1), lost(1));
    assert_ne!(lost(1), lost(2));
}

#[test]
fn bursts_keep_the_rate_and_lose_in_runs() {
    let burst = Some(Burst { mean_packets: 20, loss_bps: 10_000 });
    let lossy = Link { loss_bps: 500, burst, ..link() };
    let outcome = run(&lossy, 9, 1_000_000, 10, false);
    let lost = outcome.iter().filter(|d| d.is_none()).count();
    assert!(lost.abs_diff(50_000) < 5_000, "{lost}");
    let runs = outcome.windows(2).filter(|w| w[0].is_some() && w[1].is_none()).count();
    let mean = lost as f64 / runs as f64;
    assert!((18.0..22.0).contains(&mean), "{mean}");
}

#[test]
fn a_degradation_adds_to_the_link_and_leaves_its_own_draws_alone() {
    let jittery = Link { jitter_us: 5_000, loss_bps: 100, ..link() };
    let healthy = run(&jittery, 5, 10_000, 10, false);
    let mut shaper = Shaper::new(&jittery, 5);
    shaper.degrade(Degradation { delay_us: 7_000, jitter_us: 0, loss_bps: 0 });
    for (i, before) in healthy.iter().enumerate() {
        let now_ns = i as u64 * 10_000;
        match shaper.admit(now_ns, 125, false) {
            Verdict::Deliver { at_ns } => {
                assert_eq!((at_ns - now_ns) / 1_000, before.unwrap() + 7_000);
            }
            Verdict::Lose(_) => assert!(before.is_none()),
        }
    }
    shaper.degrade(Degradation { loss_bps: 10_000, ..Degradation::default() });
    assert_eq!(shaper.admit(1 << 40, 125, false), Verdict::Lose(Loss::Random));
}

#[test]
fn a_cut_link_delivers_nothing() {
    let mut shaper = Shaper::new(&link(), 1);
    shaper.set_cut(true);
    assert_eq!(shaper.admit(0, 125, false), Verdict::Lose(Loss::Partition));
    shaper.set_cut(false);
    assert!(matches!(shaper.admit(0, 125, false), Verdict::Deliver { .. }));
}

#[test]
fn the_rate_holds_and_the_queue_ends() {
    // 12,500 bytes take 10 ms at 10 Mbit/s; 100 ms of them fit in the queue.
    let slow = Link { rate_mbit: 10, delay_us: 0, ..link() };
    let mut shaper = Shaper::new(&slow, 1);
    let verdicts: Vec<Verdict> = (0..13).map(|_| shaper.admit(0, 12_500, false)).collect();
    for (i, verdict) in verdicts.iter().enumerate().take(11) {
        assert_eq!(*verdict, Verdict::Deliver { at_ns: (i as u64 + 1) * 10_000_000 });
    }
    assert_eq!(verdicts[11..], [Verdict::Lose(Loss::Queue); 2]);
    let later = shaper.admit(1_000_000_000, 12_500, false);
    assert_eq!(later, Verdict::Deliver { at_ns: 1_010_000_000 });
}
