//! Order statistics and intervals, in integers.

/// The value at `permille` of ascending `sorted` by nearest rank; nothing of nothing.
pub fn percentile(sorted: &[u64], permille: u64) -> Option<u64> {
    let rank = (sorted.len() as u64 * permille).div_ceil(1000).max(1);
    sorted.get(usize::try_from(rank).ok()? - 1).copied()
}

/// Most violations per million checks that `checks` without one leave possible at 95 %, rounded up.
///
/// Exact: the smallest p with `(1-p)^checks <= 0.05`, found on a grid of one in a million. The rule
/// of three (3/n) is its approximation.
pub fn upper_bound_ppm(checks: u64) -> u64 {
    // (1-p)^n in fixed point; rounding up at each step keeps the bound on the safe side.
    const ONE: u128 = 1 << 60;
    let power_at_most = |ppm: u64| {
        let (mut base, mut n, mut result) =
            (ONE * u128::from(1_000_000 - ppm) / 1_000_000 + 1, checks, ONE);
        while n > 0 {
            if n & 1 == 1 {
                result = ((result * base) >> 60) + 1;
            }
            base = ((base * base) >> 60) + 1;
            n >>= 1;
        }
        result * 20 <= ONE + 20 * 128
    };
    let (mut low, mut high) = (0, 1_000_000);
    while low < high {
        let middle = (low + high) / 2;
        if power_at_most(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// Splitmix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        // Multiply-shift: the bias is below n / 2^64.
        let wide = u128::from(self.next()) * n as u128;
        usize::try_from(wide >> 64).expect("below n")
    }
}

/// A statistic over each of so many resamples of whole `blocks`, in the order they are drawn.
///
/// Values near each other in time are alike; drawing blocks keeps that likeness in the resamples,
/// drawing single values would make the interval too narrow. `statistic` gets the values of a
/// resample in ascending order.
pub fn resamples(
    blocks: &[Vec<u64>],
    seed: u64,
    count: u32,
    statistic: impl Fn(&[u64]) -> u64,
) -> Vec<u64> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut random = Random(seed);
    // Sorted once: a resample takes each value as often as its block was drawn.
    let each = blocks.iter().enumerate();
    let mut ascending: Vec<(u64, usize)> =
        each.flat_map(|(at, block)| block.iter().map(move |value| (*value, at))).collect();
    ascending.sort_unstable();
    let mut times = vec![0usize; blocks.len()];
    let mut drawn: Vec<u64> = Vec::new();
    (0..count)
        .map(|_| {
            times.fill(0);
            drawn.clear();
            for _ in 0..blocks.len() {
                times[random.below(blocks.len())] += 1;
            }
            for (value, at) in &ascending {
                drawn.extend(std::iter::repeat_n(*value, times[*at]));
            }
            statistic(&drawn)
        })
        .collect()
}

/// The middle 95 % of a statistic over resamples of whole `blocks`; see [`resamples`].
pub fn block_bootstrap(
    blocks: &[Vec<u64>],
    seed: u64,
    count: u32,
    statistic: impl Fn(&[u64]) -> u64,
) -> Option<(u64, u64)> {
    let mut results = resamples(blocks, seed, count, statistic);
    results.sort_unstable();
    Some((percentile(&results, 25)?, percentile(&results, 975)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_violations_bound_the_rate_as_the_exact_binomial_does() {
        // 1 - 0.05^(1/n), to six places, rounded up.
        for (checks, ppm) in [
            (0, 1_000_000),
            (1, 950_000),
            (10, 258_866),
            (100, 29_514),
            (1000, 2_992),
            (100_000, 30),
        ] {
            let got = upper_bound_ppm(checks);
            assert!(got.abs_diff(ppm) <= 1, "{checks} checks: {got}, expected {ppm}");
        }
    }

    #[test]
    fn nearest_rank() {
        let sorted: Vec<u64> = (1..=10).collect();
        assert_eq!(percentile(&sorted, 500), Some(5));
        assert_eq!(percentile(&sorted, 990), Some(10));
        assert_eq!(percentile(&sorted, 0), Some(1));
        assert_eq!(percentile(&[], 500), None);
    }

    #[test]
    fn an_interval_is_the_same_every_time_and_holds_the_truth() {
        let blocks: Vec<Vec<u64>> = (0..20).map(|i| vec![90 + i % 5, 100, 110 - i % 3]).collect();
        let median = |s: &[u64]| percentile(s, 500).unwrap_or(0);
        let interval = block_bootstrap(&blocks, 42, 400, median);
        assert_eq!(interval, block_bootstrap(&blocks, 42, 400, median));
        let (low, high) = interval.unwrap();
        assert!(low <= 100 && 100 <= high, "{low} {high}");
        assert_eq!(block_bootstrap(&[], 42, 400, median), None);
    }
}
