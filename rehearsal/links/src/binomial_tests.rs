//! The figures of the definition, and every way of deciding against every other.

use super::*;

#[test]
fn the_numbers_of_the_definition_hold() {
    for (sent, most) in [(1_000, 1), (3_000, 8), (10_000, 38)] {
        assert_eq!(most_lost_that_proves(sent), Some(most), "of {sent}");
        assert!(loss_below_half_percent_is_proved(sent, most));
        assert!(!loss_below_half_percent_is_proved(sent, most + 1));
    }
    // 0.995^598 = 0.0499, 0.995^597 = 0.0502
    assert_eq!(most_lost_that_proves(597), None);
    assert_eq!(most_lost_that_proves(598), Some(0));
}

#[test]
fn intervals_and_shortcuts_agree_with_whole_integers() {
    for n in [1, 2, 3, 100, 597, 598, 1_000, 1_777, 3_000, 6_000] {
        for k in 0..(n / 100 + 3).min(n) {
            let exact = compare_whole(n, k, HALF_PERCENT, FIVE_PERCENT);
            assert_eq!(loss_below_half_percent_is_proved(n, k), exact.is_le(), "{k} of {n}");
            for bits in [128, 512] {
                let wide = compare_wide(n, k, HALF_PERCENT, FIVE_PERCENT, bits);
                assert_eq!(wide, Some(exact), "{k} of {n} with {bits} bits");
            }
        }
    }
}

#[test]
fn every_way_agrees_over_all_probabilities() {
    for n in [1, 2, 5, 40, 333] {
        for k in (0..n).step_by(1 + n as usize / 9) {
            for ppm in [1, 9, 1_000, 31_415, 250_000, 500_000, 777_777, 999_000, 999_999] {
                for alpha in [1, 250, 5_000, 9_750] {
                    let (p, alpha) = (Fraction::per_million(ppm), Fraction::basis_points(alpha));
                    let exact = compare_whole(n, k, p, alpha);
                    assert_eq!(compare_tail(n, k, p, alpha), exact, "{k} of {n} at {ppm}");
                    let narrow = compare_narrow(n, k, p, alpha);
                    assert!(narrow.is_none_or(|narrow| narrow == exact), "{k} of {n} at {ppm}");
                }
            }
        }
    }
}

#[test]
fn an_exact_tie_is_decided() {
    // P(X <= 0) of one trial at p = 0.975 is 0.025 exactly.
    assert!(tail_is_at_most(1, 0, Fraction::per_million(975_000), HALF_OF_FIVE_PERCENT));
    assert!(!tail_is_at_most(1, 0, Fraction::per_million(974_999), HALF_OF_FIVE_PERCENT));
}

#[test]
fn clopper_pearson_gives_the_published_intervals() {
    // scipy.stats.binomtest(k, n).proportion_ci(method="exact"), rounded outwards.
    let check = |sent, lost, low_ppm, high_ppm| {
        assert_eq!(
            clopper_pearson(sent, lost),
            Some(LossInterval { low_ppm, high_ppm }),
            "{lost} of {sent}"
        );
    };
    check(10, 0, 0, 308_498);
    check(100, 0, 0, 36_217);
    check(10, 5, 187_086, 812_914);
    check(10, 10, 691_502, 1_000_000);
    check(1, 0, 0, 975_000);
    assert_eq!(clopper_pearson(0, 0), None);
    assert_eq!(clopper_pearson(5, 6), None);
}

#[test]
fn hostile_counts_neither_panic_nor_hang() {
    for (sent, lost) in [
        (0, 0),
        (0, u64::MAX),
        (u64::MAX, 0),
        (u64::MAX, u64::MAX),
        (MAX_SENT, MAX_SENT),
        (MAX_SENT, 49_600),
    ] {
        loss_below_half_percent_is_proved(sent, lost);
        clopper_pearson(sent, lost.min(1_000));
    }
    assert!(!loss_below_half_percent_is_proved(u64::MAX, 0));
    assert!(loss_below_half_percent_is_proved(MAX_SENT, 49_000));
    assert!(!loss_below_half_percent_is_proved(MAX_SENT, 50_000));
}
