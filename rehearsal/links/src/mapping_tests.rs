//! Worked cases of the definition, and its properties.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000;

fn pair(from: &str, to: &str, p50_us: u64) -> PairMeasurement {
    PairMeasurement {
        from: from.into(),
        to: to.into(),
        p50_us,
        jitter_us: 5 * MS,
        sent: 3_000,
        lost: 0,
        longest_burst: None,
    }
}

/// Three regions, both directions alike.
fn triangle(ab_us: u64, ac_us: u64, bc_us: u64) -> Vec<PairMeasurement> {
    [("A", "B", ab_us), ("A", "C", ac_us), ("B", "C", bc_us)]
        .into_iter()
        .flat_map(|(a, b, us)| [pair(a, b, us), pair(b, a, us)])
        .collect()
}

fn check(pairs: &[PairMeasurement], class: Class, flags: &[Flag]) -> Mapping {
    let mapping = map(pairs);
    assert_eq!((mapping.class, mapping.flags.as_slice()), (class, flags), "{:#?}", mapping.reasons);
    mapping
}

#[test]
fn worked_cases_of_distance() {
    let c = check(&triangle(30 * MS, 70 * MS, 75 * MS), Class::Asymmetric, &[Flag::A]);
    assert_eq!(c.decided.expect("valid").slow_region.as_deref(), Some("C"));
    assert!(c.reasons[0].contains("median 72.500 ms"), "{:?}", c.reasons);
    check(&triangle(100 * MS, 149_999, 130 * MS), Class::Uniform, &[]);
    check(&triangle(100 * MS, 150 * MS, 130 * MS), Class::Asymmetric, &[Flag::A]);
    check(&triangle(20 * MS, 41 * MS, 42 * MS), Class::Asymmetric, &[Flag::A]);
    check(&triangle(20 * MS, 39 * MS, 40 * MS), Class::Uniform, &[]);
    let none = check(&triangle(10 * MS, 10 * MS, 100 * MS), Class::Asymmetric, &[Flag::A]);
    let decided = none.decided.expect("valid");
    assert_eq!((decided.slow_region, decided.standing_out.len()), (None, 2));
    check(&triangle(90 * MS, 290 * MS, 200 * MS), Class::Asymmetric, &[Flag::A]);
    check(&triangle(250 * MS, 255 * MS, 260 * MS), Class::Mixed, &[Flag::F]);
    check(&triangle(200 * MS, 200 * MS, 200 * MS), Class::Uniform, &[]);
    check(&triangle(200 * MS, 200_001, 200 * MS), Class::Mixed, &[Flag::F]);
}

#[test]
fn worked_cases_of_jitter_and_loss() {
    let with = |jitter_us, lost| {
        let mut pairs = triangle(70 * MS, 75 * MS, 80 * MS);
        pairs[1].jitter_us = jitter_us;
        pairs[4].lost = lost;
        pairs
    };
    check(&with(30_000, 0), Class::Uniform, &[]);
    check(&with(30_001, 0), Class::HighJitter, &[Flag::J]);
    check(&with(5 * MS, 8), Class::Uniform, &[]);
    check(&with(5 * MS, 9), Class::Lossy, &[Flag::L]);
    check(&with(5 * MS, 120), Class::Lossy, &[Flag::L]);
    check(&with(40 * MS, 60), Class::Mixed, &[Flag::J, Flag::L]);
    let lossy = map(&with(5 * MS, 9));
    assert!(lossy.reasons[3].contains("lost 9 of 3000 (at most 8 proves it)"));
}

#[test]
fn worked_cases_without_a_preset() {
    let mut pairs = triangle(70 * MS, 75 * MS, 80 * MS);
    for pair in &mut pairs {
        pair.sent = 100;
    }
    pairs[0].lost = 100;
    pairs.pop();
    let mapping = check(&pairs, Class::Invalid, &[]);
    assert_eq!(mapping.reasons.len(), 1 + 5 + 1, "every reason: {:#?}", mapping.reasons);
    assert!(mapping.custom_profile.is_none() && mapping.coverage.is_none());
    check(&[], Class::Invalid, &[]);
    check(&[pair("A", "A", MS)], Class::Invalid, &[]);
    check(&[pair("A", "B", MS)], Class::Invalid, &[]);
    let mut silent = triangle(MS, MS, MS);
    silent[2].lost = 3_000;
    assert!(map(&silent).reasons[0].contains("nothing received"));
    let mut twice = triangle(MS, MS, MS);
    twice.push(pair("A", "B", 90 * MS));
    check(&twice, Class::Invalid, &[]);
}

#[test]
fn the_larger_direction_counts_and_pairs_inside_a_region_do_not() {
    let mut pairs = triangle(100 * MS, 100 * MS, 100 * MS);
    pairs.push(pair("A", "A", 1));
    check(&pairs, Class::Uniform, &[]);
    pairs[1].p50_us = 150 * MS;
    check(&pairs, Class::Asymmetric, &[Flag::A]);
}

#[test]
fn two_regions_are_enough_and_neither_stands_out() {
    check(&[pair("A", "B", 90 * MS), pair("B", "A", 91 * MS)], Class::Uniform, &[]);
}

#[test]
fn the_height_bound_follows_the_class() {
    for (class, blocks) in [
        (Class::Uniform, Some(5)),
        (Class::Asymmetric, Some(5)),
        (Class::HighJitter, Some(5)),
        (Class::Lossy, Some(10)),
        (Class::Mixed, Some(10)),
        (Class::Invalid, None),
    ] {
        assert_eq!(class.height_bound().map(|bound| bound.blocks), blocks);
    }
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1_000),
        Just(3_000),
        0..400_000u64,
        Just(crate::MAX_SENT)
    ]
}

fn valid_network() -> impl Strategy<Value = Vec<PairMeasurement>> {
    let cell = (1..400_000u64, 0..60_000u64, 1_000..5_000u64, 0..60u64);
    (2..5usize).prop_flat_map(move |n| {
        proptest::collection::vec(cell.clone(), n * (n - 1)).prop_map(move |cells| {
            let mut cells = cells.into_iter();
            let mut pairs = Vec::new();
            for from in 0..n {
                for to in 0..n {
                    if from != to {
                        let (p50_us, jitter_us, sent, lost) = cells.next().expect("one each");
                        let (from, to) = (format!("r{from}"), format!("r{to}"));
                        let longest_burst = None;
                        pairs.push(PairMeasurement {
                            from,
                            to,
                            p50_us,
                            jitter_us,
                            sent,
                            lost,
                            longest_burst,
                        });
                    }
                }
            }
            pairs
        })
    })
}

proptest! {
    #[test]
    fn any_input_has_an_answer(
        cells in proptest::collection::vec(
            ("[ABC]", "[ABC]", any_number(), any_number(), any_number(), any_number()), 0..9)
    ) {
        let pairs: Vec<_> = cells
            .into_iter()
            .map(|(from, to, p50_us, jitter_us, sent, lost)| PairMeasurement {
                from, to, p50_us, jitter_us, sent, lost, longest_burst: Some(lost),
            })
            .collect();
        let mapping = map(&pairs);
        prop_assert!(!mapping.reasons.is_empty());
        prop_assert_eq!(mapping.class == Class::Invalid, mapping.decided.is_none());
    }

    #[test]
    fn huge_times_never_overflow(times in proptest::collection::vec(any_number(), 6)) {
        let mut pairs = triangle(MS, MS, MS);
        for (pair, us) in pairs.iter_mut().zip(times) {
            pair.p50_us = us;
            pair.jitter_us = us;
        }
        prop_assert_ne!(map(&pairs).class, Class::Invalid);
    }

    #[test]
    fn names_and_order_do_not_matter(pairs in valid_network(), shift in 1..4usize) {
        let renamed = |name: &str| {
            let number: usize = name[1..].parse().expect("a number");
            format!("{}-{}", ["zurich", "aachen", "nara", "quito"][(number + shift) % 4], number)
        };
        let mut other: Vec<_> = pairs
            .iter()
            .map(|pair| PairMeasurement {
                from: renamed(&pair.from), to: renamed(&pair.to), ..pair.clone()
            })
            .collect();
        other.reverse();
        let (one, two) = (map(&pairs), map(&other));
        prop_assert_eq!((one.class, &one.flags), (two.class, &two.flags));
        let (one, two) = (one.decided.expect("valid"), two.decided.expect("valid"));
        prop_assert_eq!(one.slow_region.map(|name| renamed(&name)), two.slow_region);
        prop_assert_eq!(one.spread_us, two.spread_us);
    }

    #[test]
    fn more_loss_or_jitter_is_never_milder(
        pairs in valid_network(), which in 0..12usize, lost in 0..200u64, jitter in 0..90_000u64
    ) {
        let before = map(&pairs);
        let mut worse = pairs.clone();
        let at = which % worse.len();
        worse[at].lost = (worse[at].lost + lost).min(worse[at].sent - 1);
        worse[at].jitter_us += jitter;
        let after = map(&worse);
        prop_assert!(before.flags.iter().all(|flag| after.flags.contains(flag)));
        prop_assert!(after.height_bound.expect("valid").blocks
            >= before.height_bound.expect("valid").blocks);
    }
}
