//! What a class's preset exercises of what was measured, and what no preset can express.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::class::{Class, PairMeasurement, millis};
use crate::matrix::loss_bps_rounded_up;
use crate::presets::Preset;

/// Directions that differ by more than this are worth a word.
const DIRECTION_PERCENT: u128 = 20;

/// The distance between a preset and a measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The preset of the class.
    pub preset: Preset,
    /// One-way delay in microseconds, the largest of either side.
    pub delay_us: Exercised,
    /// Jitter of the round trip in microseconds, the largest of either side.
    pub jitter_us: Exercised,
    /// Loss of the round trip in basis points, the largest of either side.
    pub loss_bps: Exercised,
    /// What was measured and no preset expresses, one sentence each.
    pub not_expressed: Vec<String>,
}

/// A measured figure beside what the preset does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exercised {
    /// As measured.
    pub measured: u64,
    /// In the preset.
    pub preset: u64,
    /// Whether the preset does at least as much.
    pub is_covered: bool,
}

impl Exercised {
    fn new(measured: u64, preset: u64) -> Self {
        Self { measured, preset, is_covered: preset >= measured }
    }
}

impl Coverage {
    /// *Shape*: `between` holds valid directed pairs only. `None` for [`Class::Invalid`].
    pub(crate) fn of(class: Class, between: &[&PairMeasurement]) -> Option<Self> {
        let preset = Preset::of(class)?;
        let links = preset.links();
        let most = |of: &dyn Fn(&PairMeasurement) -> u64| {
            between.iter().map(|pair| of(pair)).max().unwrap_or(0)
        };
        let preset_most = |of: &dyn Fn(&crate::LinkProfile) -> u64| {
            links.iter().map(|link| of(&link.profile)).max().unwrap_or(0)
        };
        let mut not_expressed = asymmetric_directions(between);
        not_expressed.extend(triangle_violations(between));
        not_expressed.extend(bursts(between));
        Some(Self {
            preset,
            delay_us: Exercised::new(
                most(&|pair| pair.p50_us.div_ceil(2)),
                preset_most(&|link| link.base_latency_ms * 1_000),
            ),
            jitter_us: Exercised::new(
                most(&|pair| pair.jitter_us),
                preset_most(&|link| link.round_trip_jitter_us()),
            ),
            loss_bps: Exercised::new(
                most(&|pair| u64::from(loss_bps_rounded_up(pair))),
                preset_most(&|link| u64::from(link.round_trip_loss_bps())),
            ),
            not_expressed,
        })
    }
}

fn medians<'a>(between: &[&'a PairMeasurement]) -> BTreeMap<(&'a str, &'a str), u64> {
    between.iter().map(|pair| ((pair.from.as_str(), pair.to.as_str()), pair.p50_us)).collect()
}

fn asymmetric_directions(between: &[&PairMeasurement]) -> Vec<String> {
    let medians = medians(between);
    let mut found = Vec::new();
    for ((from, to), us) in &medians {
        let Some(back) = medians.get(&(*to, *from)).filter(|_| from < to) else { continue };
        let (small, large) = (*us.min(back), *us.max(back));
        if u128::from(large - small) * 100 > u128::from(small) * DIRECTION_PERCENT {
            found.push(format!(
                "asymmetry: {from} -> {to} {} and {to} -> {from} {}",
                millis(*us),
                millis(*back)
            ));
        }
    }
    found
}

fn triangle_violations(between: &[&PairMeasurement]) -> Vec<String> {
    let medians = medians(between);
    let mut found = Vec::new();
    for ((from, to), direct) in &medians {
        let detour = medians
            .iter()
            .filter(|((a, _), _)| a == from)
            .filter_map(|((_, over), first)| {
                let second = medians.get(&(*over, *to))?;
                Some((first.saturating_add(*second), *over))
            })
            .min();
        if let Some((detour, over)) = detour.filter(|(detour, _)| detour < direct) {
            found.push(format!(
                "triangle: {from} -> {to} {} is slower than the {} over {over}",
                millis(*direct),
                millis(detour)
            ));
        }
    }
    found
}

fn bursts(between: &[&PairMeasurement]) -> Vec<String> {
    let longest = between
        .iter()
        .filter_map(|pair| Some((pair.longest_burst?, pair)))
        .max_by_key(|(length, _)| *length);
    match longest {
        Some((length, pair)) if length > 1 => {
            vec![format!("bursts: up to {length} probes in a row were lost on {}", pair.name())]
        }
        Some(_) => Vec::new(),
        None if between.iter().all(|pair| pair.lost == 0) => Vec::new(),
        None => vec!["bursts: not known, this measurement does not say how losses cluster".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str, p50_us: u64) -> PairMeasurement {
        PairMeasurement {
            from: from.into(),
            to: to.into(),
            p50_us,
            jitter_us: 1_000,
            sent: 3_000,
            lost: 0,
            longest_burst: None,
        }
    }

    #[test]
    fn says_what_the_preset_does_not_exercise() {
        let mut pairs = vec![pair("a", "b", 170_000), pair("b", "a", 170_000)];
        let uniform = crate::map(&pairs).coverage.expect("valid");
        assert_eq!(uniform.preset, Preset::UniformLatency);
        assert_eq!(
            uniform.delay_us,
            Exercised { measured: 85_000, preset: 80_000, is_covered: false }
        );
        assert!(uniform.jitter_us.is_covered && uniform.loss_bps.is_covered);
        pairs[0].lost = 300;
        let lossy = crate::map(&pairs).coverage.expect("valid");
        assert_eq!(lossy.loss_bps, Exercised { measured: 1_000, preset: 975, is_covered: false });
    }

    #[test]
    fn says_what_no_preset_expresses() {
        let mut pairs = vec![
            pair("a", "b", 100_000),
            pair("b", "a", 121_000),
            pair("a", "c", 40_000),
            pair("c", "a", 40_000),
            pair("b", "c", 50_000),
            pair("c", "b", 50_000),
        ];
        pairs[2].lost = 3;
        pairs[2].longest_burst = Some(3);
        let told = crate::map(&pairs).coverage.expect("valid").not_expressed;
        let expected = [
            "asymmetry: a -> b 100.000 ms and b -> a 121.000 ms",
            "triangle: a -> b 100.000 ms is slower than the 90.000 ms over c",
            "triangle: b -> a 121.000 ms is slower than the 90.000 ms over c",
            "bursts: up to 3 probes in a row were lost on a -> c",
        ];
        assert_eq!(told, expected);
    }
}
