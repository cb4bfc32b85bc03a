//! Exact decisions about binomial tails.
//!
//! `P(X <= k) <= alpha` for `X ~ Binomial(n, p)` is decided with integers only: first with intervals whose
//! ends are rounded outwards (the true value lies between them, so an interval on one side of `alpha`
//! decides), with more bits until it does, and at last with the whole integers. The answer is therefore
//! the same on every machine, and is never a rounding accident.

use std::cmp::Ordering;

use num_bigint::BigUint;

mod bounds;

use bounds::{Dyadic, Narrow, Precision, Round};

/// A fraction `over / under` with `under > 0` and `over <= under`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    over: u64,
    under: u64,
}

impl Fraction {
    /// Parts per million, capped at one.
    pub const fn per_million(parts: u64) -> Self {
        Self { over: if parts > 1_000_000 { 1_000_000 } else { parts }, under: 1_000_000 }
    }

    /// Basis points, capped at one.
    pub const fn basis_points(parts: u64) -> Self {
        Self { over: if parts > 10_000 { 10_000 } else { parts }, under: 10_000 }
    }

    const fn complement(self) -> Self {
        Self { over: self.under - self.over, under: self.under }
    }
}

/// The loss that the mapping asks to be disproved: 0.5 %.
const HALF_PERCENT: Fraction = Fraction { over: 1, under: 200 };
/// One minus the confidence of 95 %.
const FIVE_PERCENT: Fraction = Fraction { over: 1, under: 20 };
/// Half of 5 %, for the two-sided interval.
const HALF_OF_FIVE_PERCENT: Fraction = Fraction { over: 1, under: 40 };

/// More probes than this are not a measurement: 10,000,000 are almost six days at 20 a second.
pub const MAX_SENT: u64 = 10_000_000;

/// Whether `lost` of `sent` proves at 95 % that the loss is below 0.5 %, by the exact one-sided test.
///
/// Total: `sent` above [`MAX_SENT`] proves nothing here.
pub fn loss_below_half_percent_is_proved(sent: u64, lost: u64) -> bool {
    if sent > MAX_SENT {
        return false;
    }
    // The median of a binomial lies within one of n*p, so at or above n*p the tail is about a half.
    let Some(short) = sent.checked_sub(lost.saturating_mul(200)) else { return false };
    // Chernoff: P(X <= np - t) <= exp(-t^2 / 2np), and exp(-3) < 0.05; with t = short / 200.
    if u128::from(short) * u128::from(short) >= 1_200 * u128::from(sent) && sent > 0 {
        return true;
    }
    tail_is_at_most(sent, lost, HALF_PERCENT, FIVE_PERCENT)
}

/// The most lost probes of `sent` that still prove a loss below 0.5 % at 95 %; `None` when not even 0 does.
pub fn most_lost_that_proves(sent: u64) -> Option<u64> {
    if !loss_below_half_percent_is_proved(sent, 0) {
        return None;
    }
    // Invariant: `low` proves it, `high` does not.
    let (mut low, mut high) = (0, sent / 200 + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if loss_below_half_percent_is_proved(sent, middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// A 95 % Clopper-Pearson interval in parts per million, its ends rounded outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossInterval {
    /// Lower end, rounded down.
    pub low_ppm: u64,
    /// Upper end, rounded up.
    pub high_ppm: u64,
}

/// The 95 % Clopper-Pearson interval of the loss after `lost` of `sent`.
///
/// `None` when nothing was sent, more was lost than sent, or `sent` is above [`MAX_SENT`].
pub fn clopper_pearson(sent: u64, lost: u64) -> Option<LossInterval> {
    if sent == 0 || lost > sent || sent > MAX_SENT {
        return None;
    }
    Some(LossInterval {
        // The lower end for losses is one minus the upper end for arrivals.
        low_ppm: 1_000_000 - upper_end_ppm(sent, sent - lost),
        high_ppm: upper_end_ppm(sent, lost),
    })
}

/// Smallest p in ppm at which `P(X <= k) <= 2.5 %`.
fn upper_end_ppm(sent: u64, count: u64) -> u64 {
    if count >= sent {
        return 1_000_000;
    }
    let (mut low, mut high) = (0, 1_000_000);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if tail_is_at_most(sent, count, Fraction::per_million(middle), HALF_OF_FIVE_PERCENT) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Whether `P(X <= k) <= alpha` for `X ~ Binomial(n, p)`.
///
/// *Shape*: meant for `n` up to [`MAX_SENT`]; the work grows with the smaller of `k` and `n - k`.
pub fn tail_is_at_most(n: u64, k: u64, p: Fraction, alpha: Fraction) -> bool {
    compare_tail(n, k, p, alpha).is_le()
}

/// How `P(X <= k)` compares with `alpha`.
fn compare_tail(n: u64, k: u64, p: Fraction, alpha: Fraction) -> Ordering {
    if k >= n || p.over == 0 {
        return alpha.under.cmp(&alpha.over); // certain
    }
    if p.over >= p.under {
        return 0.cmp(&alpha.over); // every trial counts, so k < n never happens
    }
    if k > n / 2 {
        // The other tail has fewer terms: P(X <= k) = 1 - P(n - X <= n - k - 1).
        return compare_tail(n, n - k - 1, p.complement(), alpha.complement()).reverse();
    }
    compare_narrow(n, k, p, alpha)
        .or_else(|| compare_wide(n, k, p, alpha, 512))
        .or_else(|| compare_wide(n, k, p, alpha, 4_096))
        .unwrap_or_else(|| compare_whole(n, k, p, alpha))
}

/// With 64 bits; `None` when the interval contains `alpha`.
fn compare_narrow(n: u64, k: u64, p: Fraction, alpha: Fraction) -> Option<Ordering> {
    let bound = |round: Round| {
        let mut term = Narrow::from(p.under - p.over).divide(p.under, round).power(n, round);
        let mut sum = term;
        for i in 0..k {
            term = term.multiply(n - i, round).multiply(p.over, round);
            term = term.divide(i + 1, round).divide(p.under - p.over, round);
            sum = sum.add(term, round);
        }
        sum.multiply(alpha.under, round)
    };
    let limit = Narrow::from(alpha.over);
    if bound(Round::Up).order() < limit.order() {
        return Some(Ordering::Less);
    }
    (bound(Round::Down).order() > limit.order()).then_some(Ordering::Greater)
}

/// With any number of bits; `None` when the interval contains `alpha`.
fn compare_wide(n: u64, k: u64, p: Fraction, alpha: Fraction, bits: u64) -> Option<Ordering> {
    let compare = |round: Round| {
        let mut sum = wide_tail(n, k, p, Precision { bits, round });
        sum.mantissa *= alpha.under;
        sum.compare(alpha.over)
    };
    if compare(Round::Up).is_lt() {
        return Some(Ordering::Less);
    }
    compare(Round::Down).is_gt().then_some(Ordering::Greater)
}

/// A bound of `P(X <= k)`, rounded in one direction throughout.
fn wide_tail(n: u64, k: u64, p: Fraction, precision: Precision) -> Dyadic {
    let q = Dyadic::from_ratio(p.under - p.over, p.under, precision);
    let mut term = q.power(n, precision);
    let mut sum = term.clone();
    for i in 0..k {
        // C(n,i+1) p^(i+1) q^(n-i-1) = previous * (n-i) p / ((i+1) q)
        term.mantissa *= n - i;
        term.mantissa *= p.over;
        term = term.divide(i + 1, precision).divide(p.under - p.over, precision);
        sum = sum.add(&term, precision);
    }
    sum
}

/// The sum itself: `alpha.under * sum C(n,i) a^i (b-a)^(n-i)` against `alpha.over * b^n`.
fn compare_whole(n: u64, k: u64, p: Fraction, alpha: Fraction) -> Ordering {
    let (a, rest) = (p.over, p.under - p.over);
    let mut term = whole_power(rest, n);
    let mut sum = term.clone();
    for i in 0..k {
        term = term * (n - i) * a / (i + 1) / rest;
        sum += &term;
    }
    (sum * alpha.under).cmp(&(whole_power(p.under, n) * alpha.over))
}

fn whole_power(base: u64, mut n: u64) -> BigUint {
    let (mut square, mut product) = (BigUint::from(base), BigUint::from(1u32));
    while n > 0 {
        if n & 1 == 1 {
            product *= &square;
        }
        square = &square * &square;
        n >>= 1;
    }
    product
}

#[cfg(test)]
#[path = "binomial_tests.rs"]
mod tests;
