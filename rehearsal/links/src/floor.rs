//! The least latency that any run over a network can have, given its one-way delays.
//!
//! Nothing here knows processing, bandwidth or queues, so a real commit can only be slower. Three one-way
//! delays make a commit: the leader's proposal reaches every validator; each votes to all, and who holds
//! the votes of a quorum has the certificate; each such validator sends a commit vote to all, and who holds
//! those of a quorum has committed. Before that, a batch travels from its creator to the validators and
//! their acks travel back until a quorum has signed. The walk of the certificate to the leader and the
//! wait for the next proposal are left out: a floor may be too low, never too high.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One-way delays between regions in microseconds, of every ordered pair and inside each region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayMatrix {
    delays: BTreeMap<(String, String), u64>,
    inside_us: u64,
}

impl DelayMatrix {
    /// An empty matrix; `inside_us` is the one-way delay between two nodes of one region.
    pub fn new(inside_us: u64) -> Self {
        Self { delays: BTreeMap::new(), inside_us }
    }

    /// Half of each measured median, rounded down: a floor must not exceed the truth.
    pub fn from_measurements(pairs: &[crate::PairMeasurement], inside_us: u64) -> Self {
        let mut matrix = Self::new(inside_us);
        for pair in pairs {
            matrix.set(&pair.from, &pair.to, pair.p50_us / 2);
        }
        matrix
    }

    /// Sets the one-way delay of a directed pair; a region's delay to itself replaces `inside_us` there.
    pub fn set(&mut self, from: &str, to: &str, us: u64) {
        self.delays.insert((from.to_owned(), to.to_owned()), us);
    }

    fn get(&self, from: &str, to: &str) -> Option<u64> {
        let known = self.delays.get(&(from.to_owned(), to.to_owned())).copied();
        known.or((from == to).then_some(self.inside_us))
    }
}

/// One validator: where it sits and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The region.
    pub region: String,
    /// The voting power.
    pub power: u64,
}

/// The least latencies of a layout over a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// From proposal to commit, over every leader and every observing validator.
    pub consensus_us: Spread,
    /// From batch to availability certificate, over every creator.
    pub batch_certificate_us: Spread,
    /// The sum a client sees: over every validator it submits to and observes at, and every leader.
    pub submit_to_commit_us: Spread,
    /// From proposal to commit per leader, in the order of the seats, over the observers.
    pub per_leader_us: Vec<Spread>,
}

/// A few figures of a set of numbers: mean rounded down, percentiles by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub min: u64,
    /// The mean, rounded down.
    pub mean: u64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// Why there is no floor.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FloorError {
    /// The matrix lacks a pair that the layout needs.
    #[error("no one-way delay from {from} to {to}: measure this pair or take the region out")]
    MissingDelay {
        /// The sending region.
        from: String,
        /// The receiving region.
        to: String,
    },
    /// Nobody can vote.
    #[error("the layout has no voting power: name at least one validator with power above zero")]
    NoPower,
}

/// The floor of `seats` over `matrix`.
///
/// # Errors
/// The caller's fault: no voting power, or a delay that the matrix lacks.
pub fn floor(matrix: &DelayMatrix, seats: &[Seat]) -> Result<Floor, FloorError> {
    let delays = expand(matrix, seats)?;
    let powers: Vec<u128> = seats.iter().map(|seat| u128::from(seat.power)).collect();
    let total: u128 = powers.iter().sum();
    if total == 0 {
        return Err(FloorError::NoPower);
    }
    let quorum = total * 2 / 3 + 1;
    let everyone = 0..seats.len();
    let certified: Vec<u64> = everyone
        .clone()
        .map(|creator| {
            let acks = everyone.clone().map(|validator| {
                delays[creator][validator].saturating_add(delays[validator][creator])
            });
            quorum_time(acks, &powers, quorum)
        })
        .collect();
    let step = |sent: &[u64]| -> Vec<u64> {
        everyone
            .clone()
            .map(|receiver| {
                let arrivals = everyone
                    .clone()
                    .map(|sender| sent[sender].saturating_add(delays[sender][receiver]));
                quorum_time(arrivals, &powers, quorum)
            })
            .collect()
    };
    let commits: Vec<Vec<u64>> =
        everyone.clone().map(|leader| step(&step(&delays[leader]))).collect();
    let submits = commits.iter().flat_map(|observers| {
        observers.iter().zip(&certified).map(|(commit, batch)| commit.saturating_add(*batch))
    });
    Ok(Floor {
        consensus_us: Spread::of(commits.iter().flatten().copied()),
        batch_certificate_us: Spread::of(certified.iter().copied()),
        submit_to_commit_us: Spread::of(submits),
        per_leader_us: commits.iter().map(|times| Spread::of(times.iter().copied())).collect(),
    })
}

/// Delays from seat to seat; a validator hears itself at once.
fn expand(matrix: &DelayMatrix, seats: &[Seat]) -> Result<Vec<Vec<u64>>, FloorError> {
    let delay = |from: usize, to: usize| {
        if from == to {
            return Ok(0);
        }
        let (from, to) = (&seats[from].region, &seats[to].region);
        matrix
            .get(from, to)
            .ok_or_else(|| FloorError::MissingDelay { from: from.clone(), to: to.clone() })
    };
    (0..seats.len()).map(|from| (0..seats.len()).map(|to| delay(from, to)).collect()).collect()
}

/// When the power that arrived first reaches a quorum.
fn quorum_time(arrivals: impl Iterator<Item = u64>, powers: &[u128], quorum: u128) -> u64 {
    let mut sorted: Vec<(u64, u128)> = arrivals.zip(powers.iter().copied()).collect();
    sorted.sort_unstable();
    let mut heard = 0;
    for (time, power) in sorted {
        heard += power;
        if heard >= quorum {
            return time;
        }
    }
    unreachable!("the quorum is at most the total power, which has all arrived")
}

impl Spread {
    /// *Shape*: `values` is not empty where a layout has voting power.
    fn of(values: impl Iterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = values.collect();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or(0)
        };
        let sum: u128 = sorted.iter().map(|value| u128::from(*value)).sum();
        let mean = sum / (sorted.len().max(1) as u128);
        Self {
            min: rank(0),
            mean: u64::try_from(mean).expect("a mean is not above the largest value"),
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: rank(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(regions: &[(&str, u64)]) -> Vec<Seat> {
        let seat = |(region, power): &(&str, u64)| Seat { region: (*region).into(), power: *power };
        regions.iter().map(seat).collect()
    }

    #[test]
    fn equal_delays_take_three_to_commit_and_two_to_certify() {
        let mut matrix = DelayMatrix::new(40_000);
        matrix.set("a", "b", 40_000);
        matrix.set("b", "a", 40_000);
        let floor = floor(&matrix, &seats(&[("a", 1), ("a", 1), ("b", 1), ("b", 1)])).expect("ok");
        assert_eq!(floor.consensus_us, Spread::of([120_000].into_iter()));
        assert_eq!(floor.batch_certificate_us.p50, 80_000);
        assert_eq!(floor.submit_to_commit_us.max, 200_000);
    }

    #[test]
    fn three_regions_by_hand() {
        // One-way: ab 30, ac 70, bc 80 ms; nothing inside. Equal power 2, 1, 1: the quorum is 3 of 4,
        // so a and one other suffice.
        let mut matrix = DelayMatrix::new(0);
        for (from, to, ms) in [("a", "b", 30), ("a", "c", 70), ("b", "c", 80)] {
            matrix.set(from, to, ms * 1_000);
            matrix.set(to, from, ms * 1_000);
        }
        let floor =
            floor(&matrix, &seats(&[("a", 1), ("a", 1), ("b", 1), ("c", 1)])).expect("complete");
        // Leader in a: proposal at a 0, b 30, c 70. Certificate: a 0+0 and b's 30+30 -> 60;
        // b 30 and a's 0+30 -> 30; c: a's 70, b's 110, own 70 -> 70. Commit votes: a: own 60,
        // b's 30+30=60 -> 60; b: own 30, a's 60+30=90 twice -> 90; c: own 70, b's 110, a's 130 twice -> 130.
        let from_a = floor.per_leader_us[0];
        assert_eq!((from_a.min, from_a.max), (60_000, 130_000));
        assert_eq!(from_a.mean, (60_000 + 60_000 + 90_000 + 130_000) / 4);
        // Certificates: a needs one other: b's 60; b needs both a's: 60; c needs both a's: 140.
        assert_eq!(
            floor.batch_certificate_us,
            Spread::of([60_000, 60_000, 60_000, 140_000].into_iter())
        );
        assert_eq!(floor.submit_to_commit_us.min, 60_000 + 60_000);
    }

    #[test]
    fn direction_counts() {
        // a -> b takes 10, b -> a takes 50; two validators of equal power need each other.
        let mut matrix = DelayMatrix::new(0);
        matrix.set("a", "b", 10);
        matrix.set("b", "a", 50);
        let floor = floor(&matrix, &seats(&[("a", 1), ("b", 1)])).expect("complete");
        // Leader a: certificate at a 60, at b 10; commit at a 10+50=60, at b 60+10=70.
        assert_eq!((floor.per_leader_us[0].min, floor.per_leader_us[0].max), (60, 70));
        // Leader b: proposal at a 50; certificate at a 50, at b 60; commit at a 110, at b 60.
        assert_eq!((floor.per_leader_us[1].min, floor.per_leader_us[1].max), (60, 110));
        assert_eq!(floor.batch_certificate_us.max, 60);
    }

    #[test]
    fn power_decides_not_count() {
        // One validator holds more than two thirds: it commits alone.
        let mut matrix = DelayMatrix::new(0);
        matrix.set("a", "b", 500);
        matrix.set("b", "a", 500);
        let floor = floor(&matrix, &seats(&[("a", 9), ("b", 1)])).expect("complete");
        assert_eq!((floor.per_leader_us[0].min, floor.per_leader_us[0].max), (0, 500));
        assert_eq!(floor.batch_certificate_us.min, 0);
        assert_eq!(floor.batch_certificate_us.max, 1_000);
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_huge_does_not_overflow() {
        let two = seats(&[("a", u64::MAX), ("b", u64::MAX)]);
        let mut matrix = DelayMatrix::new(0);
        matrix.set("a", "b", u64::MAX);
        let missing = FloorError::MissingDelay { from: "b".into(), to: "a".into() };
        assert_eq!(floor(&matrix, &two), Err(missing));
        matrix.set("b", "a", u64::MAX);
        assert_eq!(floor(&matrix, &two).expect("complete").consensus_us.max, u64::MAX);
        assert_eq!(floor(&matrix, &[]), Err(FloorError::NoPower));
        assert_eq!(floor(&matrix, &seats(&[("a", 0)])), Err(FloorError::NoPower));
    }
}
