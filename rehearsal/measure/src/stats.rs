//! From the samples of one pair to its row.

use std::collections::BTreeMap;

use qbind_links::PairMeasurement;
use serde::{Deserialize, Serialize};

use crate::raw::RawPair;

/// Three seconds: an answer is never called lost before.
pub(crate) const LEAST_WAIT_US: u64 = 3_000_000;

/// The figures of one directed pair. All zero where nothing was received, which `received` tells.
///
/// *Units*: microseconds of round-trip time; percentiles are nearest ranks over the answers in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairStats {
    /// The region probed from.
    pub from: String,
    /// The region probed.
    pub to: String,
    /// Probes sent, warm-up excluded.
    pub sent: u64,
    /// Probes answered in time.
    pub received: u64,
    /// Probes without an answer within the larger of 3 s and 4 times the 99th percentile.
    pub lost: u64,
    /// Answers that came after that; they count as lost.
    pub late: u64,
    /// Answers to probes already answered; absent where the engine cannot tell.
    pub duplicates: Option<u64>,
    /// Answers that arrived after the answer to a later probe.
    pub reordered: u64,
    /// The smallest.
    pub min_us: u64,
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 95th percentile.
    pub p95_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The largest.
    pub max_us: u64,
    /// `p95 - p50`: the jitter that the mapping uses.
    pub jitter_us: u64,
    /// Interarrival jitter after the last answer. *Source*: RFC 3550, section 6.4.1, over round trips.
    pub rfc3550_us: u64,
    /// `p99 - min`: delay variation. *Source*: RFC 5481, section 4.2.
    pub pdv_us: u64,
    /// Standard deviation, rounded down.
    pub stddev_us: u64,
    /// Loss in basis points, rounded up.
    pub loss_bps: u64,
    /// Lower end of its 95 % Clopper-Pearson interval, in parts per million, rounded down.
    pub loss_low_ppm: u64,
    /// Upper end, rounded up.
    pub loss_high_ppm: u64,
    /// How many runs of consecutive losses there were of each length.
    pub bursts: BTreeMap<u64, u64>,
    /// The longest of them.
    pub longest_burst: u64,
    /// 99th percentile of how much later than due the probes left.
    pub lateness_p99_us: u64,
    /// Round trips that the kernel did not stamp at both ends.
    pub program_stamped: u64,
    /// Probes that the system refused to send.
    pub refused: u64,
}

impl PairStats {
    /// The figures of `pair`, whose probes were `interval_us` apart. Pure.
    pub fn of(pair: &RawPair, interval_us: u64) -> Self {
        let sent = pair.rtt_ns.len() as u64;
        let answers: Vec<u64> = pair.rtt_ns.iter().filter_map(|ns| to_us(*ns)).collect();
        let wait_us = wait_us(&answers);
        // In the order of sending, `None` where no answer came in time.
        let in_time: Vec<Option<u64>> =
            pair.rtt_ns.iter().map(|ns| to_us(*ns).filter(|us| *us <= wait_us)).collect();
        let received_us: Vec<u64> = in_time.iter().copied().flatten().collect();
        let mut sorted = received_us.clone();
        sorted.sort_unstable();
        let received = sorted.len() as u64;
        let lost = sent - received;
        let (min_us, max_us) = (percentile(&sorted, 0), percentile(&sorted, 100));
        let (p50_us, p95_us) = (percentile(&sorted, 50), percentile(&sorted, 95));
        let p99_us = percentile(&sorted, 99);
        let bursts = bursts(&in_time);
        let interval = qbind_links::clopper_pearson(sent, lost);
        let mut lateness = pair.late_us.clone();
        lateness.sort_unstable();
        Self {
            from: pair.from.clone(),
            to: pair.to.clone(),
            sent,
            received,
            lost,
            late: answers.len() as u64 - received,
            duplicates: pair.duplicates,
            reordered: reordered(pair, &in_time, interval_us),
            min_us,
            p50_us,
            p90_us: percentile(&sorted, 90),
            p95_us,
            p99_us,
            max_us,
            jitter_us: p95_us - p50_us,
            rfc3550_us: interarrival_jitter(&received_us),
            pdv_us: p99_us - min_us,
            stddev_us: standard_deviation(&received_us),
            loss_bps: (lost * 10_000).div_ceil(sent.max(1)),
            loss_low_ppm: interval.map_or(0, |interval| interval.low_ppm),
            loss_high_ppm: interval.map_or(1_000_000, |interval| interval.high_ppm),
            longest_burst: bursts.keys().next_back().copied().unwrap_or(0),
            bursts,
            lateness_p99_us: percentile(&lateness, 99),
            program_stamped: pair.program_stamped,
            refused: pair.refused,
        }
    }

    /// Too few probes for a preset to follow.
    pub fn is_undersampled(&self) -> bool {
        self.sent < 1_000
    }

    /// What the mapping reads of this row.
    pub fn to_measurement(&self) -> PairMeasurement {
        PairMeasurement {
            from: self.from.clone(),
            to: self.to.clone(),
            p50_us: self.p50_us,
            jitter_us: self.jitter_us,
            sent: self.sent,
            lost: self.lost,
            longest_burst: Some(self.longest_burst),
        }
    }
}

/// How long an answer is waited for, given the answers there are: the larger of 3 s and 4 times their p99.
pub(crate) fn wait_us(answers_us: &[u64]) -> u64 {
    let mut sorted = answers_us.to_vec();
    sorted.sort_unstable();
    LEAST_WAIT_US.max(percentile(&sorted, 99).saturating_mul(4))
}

/// To the nearest microsecond; `None` for no answer.
fn to_us(ns: i64) -> Option<u64> {
    u64::try_from(ns).ok().map(|ns| (ns + 500) / 1_000)
}

/// Nearest rank; 0 of nothing.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

fn bursts(in_time: &[Option<u64>]) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    for run in in_time.split(Option::is_some) {
        if !run.is_empty() {
            *found.entry(run.len() as u64).or_insert(0) += 1;
        }
    }
    found
}

/// Answers that arrived after the answer to a later probe.
fn reordered(pair: &RawPair, in_time: &[Option<u64>], interval_us: u64) -> u64 {
    let mut earliest_later = u64::MAX;
    let mut count = 0;
    for (at, rtt) in in_time.iter().enumerate().rev() {
        let Some(rtt) = rtt else { continue };
        let late = pair.late_us.get(at).copied().unwrap_or(0);
        let arrival = at as u64 * interval_us + late + rtt;
        if arrival > earliest_later {
            count += 1;
        }
        earliest_later = earliest_later.min(arrival);
    }
    count
}

/// `J += (|D| - J) / 16`, in sixteenths as in RFC 3550's appendix A.8.
fn interarrival_jitter(received_us: &[u64]) -> u64 {
    let mut sixteenths: u64 = 0;
    for two in received_us.windows(2) {
        sixteenths = sixteenths + two[0].abs_diff(two[1]) - ((sixteenths + 8) >> 4);
    }
    sixteenths >> 4
}

/// Of the whole, not of a sample; exact but for the last rounding down.
fn standard_deviation(values: &[u64]) -> u64 {
    let n = values.len() as u128;
    if n == 0 {
        return 0;
    }
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    let squares: u128 = values.iter().map(|value| u128::from(*value).pow(2)).sum();
    let variance = (n * squares - sum * sum) / (n * n);
    u64::try_from(variance.isqrt()).expect("not above the largest value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::tests::pair;

    const INTERVAL: u64 = 20_000;

    #[test]
    fn figures_of_a_known_series() {
        // 1..=100 ms, shuffled by a stride that visits each once.
        let rtt: Vec<i64> = (0..100).map(|i| (i * 37 % 100 + 1) * 1_000).collect();
        let stats = PairStats::of(&pair("a", "b", &rtt), INTERVAL);
        assert_eq!((stats.sent, stats.received, stats.lost, stats.loss_bps), (100, 100, 0, 0));
        assert_eq!((stats.min_us, stats.max_us), (1_000, 100_000));
        assert_eq!((stats.p50_us, stats.p90_us, stats.p95_us), (50_000, 90_000, 95_000));
        assert_eq!((stats.p99_us, stats.jitter_us, stats.pdv_us), (99_000, 45_000, 98_000));
        assert_eq!(stats.stddev_us, 28_866, "sqrt((100^2 - 1) / 12) ms");
        assert_eq!((stats.loss_low_ppm, stats.loss_high_ppm), (0, 36_217));
        assert!(stats.is_undersampled());
        assert_eq!(stats.longest_burst, 0);
    }

    #[test]
    fn losses_cluster_into_bursts() {
        let rtt = [-1, 5, -1, -1, 5, 5, -1, -1, -1];
        let stats = PairStats::of(&pair("a", "b", &rtt), INTERVAL);
        assert_eq!((stats.sent, stats.received, stats.lost), (9, 3, 6));
        assert_eq!(stats.loss_bps, 6_667);
        assert_eq!(stats.bursts, BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
        assert_eq!(stats.longest_burst, 3);
        assert_eq!(stats.to_measurement().longest_burst, Some(3));
    }

    #[test]
    fn an_answer_after_the_wait_is_late_and_lost() {
        let mut rtt = vec![10_000; 200];
        rtt[7] = 3_000_001;
        let stats = PairStats::of(&pair("a", "b", &rtt), INTERVAL);
        assert_eq!((stats.lost, stats.late, stats.max_us), (1, 1, 10_000));
        rtt[7] = 3_000_000;
        let stats = PairStats::of(&pair("a", "b", &rtt), INTERVAL);
        assert_eq!((stats.lost, stats.late, stats.max_us), (0, 0, 3_000_000));
        // Where answers are slow, the wait grows with them.
        let mut slow = vec![2_000_000; 200];
        slow[7] = 7_000_000;
        assert_eq!(PairStats::of(&pair("a", "b", &slow), INTERVAL).late, 0);
    }

    #[test]
    fn overtaken_answers_are_counted() {
        // The second probe leaves 20 ms after the first and comes back 10 ms before it.
        let stats = PairStats::of(&pair("a", "b", &[80_000, 50_000, 50_000]), INTERVAL);
        assert_eq!(stats.reordered, 1);
        let stats = PairStats::of(&pair("a", "b", &[60_000, 50_000, 50_000]), INTERVAL);
        assert_eq!(stats.reordered, 0);
    }

    #[test]
    fn interarrival_jitter_follows_the_rfc() {
        assert_eq!(interarrival_jitter(&[1_000; 50]), 0);
        // A constant step of 1,600 us converges to it.
        let steps: Vec<u64> = (0..400).map(|i| 5_000 + i % 2 * 1_600).collect();
        assert!((1_590..=1_600).contains(&interarrival_jitter(&steps)));
        // One step: 160 / 16.
        assert_eq!(interarrival_jitter(&[0, 160]), 10);
    }

    #[test]
    fn nothing_received_is_all_zero_and_full_loss() {
        let stats = PairStats::of(&pair("a", "b", &[-1; 10]), INTERVAL);
        assert_eq!((stats.received, stats.p99_us, stats.loss_bps), (0, 0, 10_000));
        assert_eq!(stats.loss_high_ppm, 1_000_000);
        assert_eq!(PairStats::of(&pair("a", "b", &[]), INTERVAL).sent, 0);
    }
}
