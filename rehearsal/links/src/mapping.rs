//! From measured pairs to a class. *Source*: guide section 2.3, made total.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::binomial::{MAX_SENT, loss_below_half_percent_is_proved, most_lost_that_proves};
use crate::class::{Class, Flag, HeightBound, PairMeasurement, millis};
use crate::coverage::Coverage;
use crate::matrix::CustomProfile;

/// Round trips that differ by this much are asymmetric.
const SPREAD_US: u64 = 50_000;
/// A region stands out only when it is slower by this much.
const STANDS_OUT_US: u64 = 20_000;
/// Above this a round trip is far.
const FAR_US: u64 = 200_000;
/// Above this jitter is high.
const JITTER_US: u64 = 30_000;
/// Fewer probes than this leave a pair undersampled.
const LEAST_SENT: u64 = 1_000;

/// A class with everything that explains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The class.
    pub class: Class,
    /// The flags that are set, in order; empty when the class is [`Class::Invalid`].
    pub flags: Vec<Flag>,
    /// One sentence for each flag, set or not, with the numbers that decided; or why nothing follows.
    pub reasons: Vec<String>,
    /// The numbers that decided; absent when the class is [`Class::Invalid`].
    pub decided: Option<Decided>,
    /// What the class's preset exercises of what was measured.
    pub coverage: Option<Coverage>,
    /// The measured matrix as a profile of its own, which is run in addition to the preset.
    pub custom_profile: Option<CustomProfile>,
    /// How far heights may lie apart.
    pub height_bound: Option<HeightBound>,
}

/// The numbers that decided a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Largest less smallest round trip between two regions.
    pub spread_us: u64,
    /// The largest round trip between two regions.
    pub largest_rtt_us: u64,
    /// Every region that stands out.
    pub standing_out: Vec<String>,
    /// The only region that stands out, if there is just one.
    pub slow_region: Option<String>,
    /// The largest jitter over the directed pairs.
    pub largest_jitter_us: u64,
    /// The directed pairs on which a loss below 0.5 % is not proved.
    pub loss_not_disproved: Vec<String>,
}

/// Maps measured directed pairs to a class. Total: any input has an answer, and none panics.
///
/// Pairs inside a region are left out.
pub fn map(pairs: &[PairMeasurement]) -> Mapping {
    let between: Vec<&PairMeasurement> = pairs.iter().filter(|pair| pair.from != pair.to).collect();
    let regions: BTreeSet<&str> =
        pairs.iter().flat_map(|pair| [pair.from.as_str(), pair.to.as_str()]).collect();
    let faults = find_faults(&between, &regions);
    if !faults.is_empty() {
        return Mapping {
            class: Class::Invalid,
            flags: Vec::new(),
            reasons: faults,
            decided: None,
            coverage: None,
            custom_profile: None,
            height_bound: None,
        };
    }
    let mut verdict = Verdict { flags: Vec::new(), reasons: Vec::new() };
    let rtt = round_trips(&between);
    let (spread_us, standing) = judge_asymmetry(&rtt, &regions, &mut verdict);
    let slow = match standing.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    judge_distance(&rtt, slow, &mut verdict);
    let largest_jitter_us = judge_jitter(&between, &mut verdict);
    let loss_not_disproved = judge_loss(&between, &mut verdict);
    let class = Class::of(&verdict.flags);
    Mapping {
        class,
        decided: Some(Decided {
            spread_us,
            largest_rtt_us: rtt.values().copied().max().unwrap_or(0),
            standing_out: standing.iter().map(|region| (*region).to_owned()).collect(),
            slow_region: slow.map(str::to_owned),
            largest_jitter_us,
            loss_not_disproved,
        }),
        coverage: Coverage::of(class, &between),
        custom_profile: Some(CustomProfile::of(&regions, &between)),
        height_bound: class.height_bound(),
        flags: verdict.flags,
        reasons: verdict.reasons,
    }
}

struct Verdict {
    flags: Vec<Flag>,
    reasons: Vec<String>,
}

impl Verdict {
    fn record(&mut self, flag: Flag, is_set: bool, why: String) {
        if is_set {
            self.flags.push(flag);
        }
        let state = if is_set { "set" } else { "not set" };
        self.reasons.push(format!("{flag:?} {state}: {why}"));
    }
}

/// Every reason for which no preset follows.
fn find_faults(between: &[&PairMeasurement], regions: &BTreeSet<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    if regions.len() < 2 {
        faults.push(format!("fewer than two regions: {} named", regions.len()));
    }
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for pair in between {
        *seen.entry((pair.from.as_str(), pair.to.as_str())).or_default() += 1;
    }
    for from in regions {
        for to in regions {
            match seen.get(&(*from, *to)) {
                None if from != to => faults.push(format!("{from} -> {to} is missing")),
                Some(times) if *times > 1 => {
                    faults.push(format!("{from} -> {to} is given {times} times"));
                }
                _ => {}
            }
        }
    }
    for pair in between {
        let name = pair.name();
        if pair.sent < LEAST_SENT {
            faults.push(format!(
                "{name} is undersampled: {} probes sent, at least {LEAST_SENT} needed",
                pair.sent
            ));
        }
        if pair.sent > MAX_SENT {
            faults.push(format!("{name}: {} probes sent, more than {MAX_SENT}", pair.sent));
        }
        if pair.lost > pair.sent {
            faults.push(format!("{name}: {} lost of {} sent", pair.lost, pair.sent));
        } else if pair.lost == pair.sent {
            faults.push(format!("{name}: nothing received ({} sent)", pair.sent));
        }
    }
    faults
}

/// Per unordered pair of regions the larger of the two directed medians.
fn round_trips<'a>(between: &[&'a PairMeasurement]) -> BTreeMap<(&'a str, &'a str), u64> {
    let mut rtt = BTreeMap::new();
    for pair in between {
        let (a, b) = (pair.from.as_str().min(&pair.to), pair.from.as_str().max(&pair.to));
        let larger = rtt.entry((a, b)).or_insert(0);
        *larger = pair.p50_us.max(*larger);
    }
    rtt
}

fn judge_asymmetry<'a>(
    rtt: &BTreeMap<(&'a str, &'a str), u64>,
    regions: &BTreeSet<&'a str>,
    verdict: &mut Verdict,
) -> (u64, Vec<&'a str>) {
    let largest = rtt.values().copied().max().unwrap_or(0);
    let spread = largest - rtt.values().copied().min().unwrap_or(0);
    let mut standing = Vec::new();
    let mut why = if spread >= SPREAD_US {
        format!("round trips spread by {}, at least {}", millis(spread), millis(SPREAD_US))
    } else {
        format!("round trips spread by {}, less than {}", millis(spread), millis(SPREAD_US))
    };
    for region in regions {
        let touches = |pair: &(&str, &str)| pair.0 == *region || pair.1 == *region;
        let own = doubled_median(rtt.iter().filter(|(pair, _)| touches(pair)).map(|(_, us)| *us));
        let rest = doubled_median(rtt.iter().filter(|(pair, _)| !touches(pair)).map(|(_, us)| *us));
        let (Some(own), Some(rest)) = (own, rest) else { continue };
        if own >= 2 * rest && own - rest >= 2 * u128::from(STANDS_OUT_US) {
            standing.push(*region);
            why.push_str(&format!(
                "; {region} stands out: median {} of its pairs, {} of the others",
                half_as_millis(own),
                half_as_millis(rest)
            ));
        }
    }
    if standing.is_empty() {
        why.push_str("; no region stands out");
    }
    verdict.record(Flag::A, spread >= SPREAD_US || !standing.is_empty(), why);
    (spread, standing)
}

fn judge_distance(rtt: &BTreeMap<(&str, &str), u64>, slow: Option<&str>, verdict: &mut Verdict) {
    let counted = rtt.iter().filter(|((a, b), _)| slow.is_none_or(|slow| *a != slow && *b != slow));
    let farthest = counted.max_by_key(|(_, us)| **us);
    let without = slow.map(|slow| format!(" (pairs of {slow} left out)")).unwrap_or_default();
    let (is_set, why) = match farthest {
        None => (false, format!("no round trip is left to judge{without}")),
        Some(((a, b), us)) => {
            let relation = if *us > FAR_US { "above" } else { "not above" };
            let bound = millis(FAR_US);
            let us_text = millis(*us);
            (
                *us > FAR_US,
                format!("largest round trip {us_text} ({a}, {b}) is {relation} {bound}{without}"),
            )
        }
    };
    verdict.record(Flag::F, is_set, why);
}

fn judge_jitter(between: &[&PairMeasurement], verdict: &mut Verdict) -> u64 {
    let Some(worst) = between.iter().max_by_key(|pair| pair.jitter_us) else { return 0 };
    let is_set = worst.jitter_us > JITTER_US;
    let relation = if is_set { "above" } else { "not above" };
    let (us, name) = (millis(worst.jitter_us), worst.name());
    let bound = millis(JITTER_US);
    verdict.record(Flag::J, is_set, format!("largest jitter {us} ({name}) is {relation} {bound}"));
    worst.jitter_us
}

fn judge_loss(between: &[&PairMeasurement], verdict: &mut Verdict) -> Vec<String> {
    let mut most: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    let mut limit = |sent| *most.entry(sent).or_insert_with(|| most_lost_that_proves(sent));
    let mut tell = |pair: &PairMeasurement| {
        let most = limit(pair.sent).map_or("none".to_owned(), |most| most.to_string());
        format!("{} lost {} of {} (at most {most} proves it)", pair.name(), pair.lost, pair.sent)
    };
    let open: Vec<&&PairMeasurement> = between
        .iter()
        .filter(|pair| !loss_below_half_percent_is_proved(pair.sent, pair.lost))
        .collect();
    let why = if open.is_empty() {
        let worst = between.iter().max_by_key(|pair| {
            u128::from(pair.lost) * 1_000_000_000 / u128::from(pair.sent.max(1))
        });
        let worst = worst.map(|pair| tell(pair)).unwrap_or_default();
        format!("a loss below 0.5 % is proved at 95 % on every directed pair; worst {worst}")
    } else {
        let list: Vec<String> = open.iter().map(|pair| tell(pair)).collect();
        format!("a loss below 0.5 % is not proved at 95 %: {}", list.join(", "))
    };
    let names = open.iter().map(|pair| pair.name()).collect();
    verdict.record(Flag::L, !open.is_empty(), why);
    names
}

/// Twice the median, so that the mean of the two middle values stays whole.
fn doubled_median(values: impl Iterator<Item = u64>) -> Option<u128> {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    Some(u128::from(sorted[last / 2]) + u128::from(sorted[last.div_ceil(2)]))
}

/// Half of a doubled number of microseconds as milliseconds.
fn half_as_millis(doubled: u128) -> String {
    let half = if doubled % 2 == 1 { "5" } else { "" };
    let us = doubled / 2;
    format!("{}.{:03}{half} ms", us / 1_000, us % 1_000)
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
