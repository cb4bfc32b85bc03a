//! Whether a network is still the one that was measured.

use crate::{Class, PairMeasurement, clopper_pearson, map};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A median or a jitter that changed by less is the same, whatever the share: probes cannot tell more.
const LEAST_US: u64 = 5_000;
/// A median moved if it changed by more than this share of itself.
const MEDIAN_PERCENT: u64 = 10;
/// A jitter moved if it changed by more than this share of itself.
const JITTER_PERCENT: u64 = 50;

/// What moved on a directed link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Moved {
    /// Region probed from.
    pub from: String,
    /// Region probed.
    pub to: String,
    /// In words, with both values.
    pub what: String,
}

/// The difference of two measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Drift {
    /// What the first maps to.
    pub class_before: Class,
    /// What the second maps to.
    pub class_after: Class,
    /// In order of the links' names.
    pub moved: Vec<Moved>,
}

impl Drift {
    /// Whether what was shown on the first network says something about the second.
    pub fn is_none(&self) -> bool {
        self.moved.is_empty() && self.class_before == self.class_after
    }
}

/// Compares two measurements link by link. Pure; a link that only one has has moved.
///
/// A median moved by more than 5 ms and a tenth, a jitter by more than 5 ms and half, a loss if the exact 95 %
/// intervals of both have nothing in common.
pub fn drift(before: &[PairMeasurement], after: &[PairMeasurement]) -> Drift {
    let by_name = |pairs: &[PairMeasurement]| -> BTreeMap<(String, String), PairMeasurement> {
        pairs.iter().map(|p| ((p.from.clone(), p.to.clone()), p.clone())).collect()
    };
    let (first, second) = (by_name(before), by_name(after));
    let mut moved = Vec::new();
    for (name, pair) in &first {
        let mut found = |what: String| {
            moved.push(Moved { from: name.0.clone(), to: name.1.clone(), what });
        };
        match second.get(name) {
            None => found("is not measured any more".to_owned()),
            Some(now) => changes(pair, now).into_iter().for_each(&mut found),
        }
    }
    for (from, to) in second.keys().filter(|name| !first.contains_key(*name)) {
        let what = "was not measured before".to_owned();
        moved.push(Moved { from: from.clone(), to: to.clone(), what });
    }
    Drift { class_before: map(before).class, class_after: map(after).class, moved }
}

fn changes(before: &PairMeasurement, after: &PairMeasurement) -> Vec<String> {
    let mut changes = Vec::new();
    let (a, b) = (before.p50_us, after.p50_us);
    if a.abs_diff(b) > LEAST_US.max(a.saturating_mul(MEDIAN_PERCENT) / 100) {
        changes.push(format!("RTT p50 was {a} us and is {b} us"));
    }
    let (a, b) = (before.jitter_us, after.jitter_us);
    if a.abs_diff(b) > LEAST_US.max(a.saturating_mul(JITTER_PERCENT) / 100) {
        changes.push(format!("jitter was {a} us and is {b} us"));
    }
    let interval = |pair: &PairMeasurement| clopper_pearson(pair.sent, pair.lost);
    let is_apart = match (interval(before), interval(after)) {
        (Some(a), Some(b)) => a.high_ppm < b.low_ppm || b.high_ppm < a.low_ppm,
        _ => before.lost != after.lost,
    };
    if is_apart {
        changes.push(format!(
            "{} of {} were lost, now {} of {}",
            before.lost, before.sent, after.lost, after.sent
        ));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str, p50_us: u64, jitter_us: u64, lost: u64) -> PairMeasurement {
        let (from, to) = (from.to_owned(), to.to_owned());
        PairMeasurement { from, to, p50_us, jitter_us, sent: 1_000, lost, longest_burst: None }
    }

    fn network(p50_us: u64, jitter_us: u64, lost: u64) -> Vec<PairMeasurement> {
        vec![pair("a", "b", p50_us, jitter_us, lost), pair("b", "a", 80_000, 5_000, 0)]
    }

    #[test]
    fn each_kind_of_change_is_named_and_small_ones_are_none() {
        let before = network(80_000, 5_000, 0);
        for (after, expected) in [
            (network(88_000, 5_000, 0), None),
            (network(88_001, 5_000, 0), Some("RTT p50 was 80000 us and is 88001 us")),
            (network(71_999, 5_000, 0), Some("RTT p50 was 80000 us and is 71999 us")),
            (network(80_000, 10_000, 0), None),
            (network(80_000, 10_001, 0), Some("jitter was 5000 us and is 10001 us")),
            (network(80_000, 5_000, 3), None),
            (network(80_000, 5_000, 20), Some("0 of 1000 were lost, now 20 of 1000")),
        ] {
            let found = drift(&before, &after);
            let texts: Vec<&str> = found.moved.iter().map(|moved| moved.what.as_str()).collect();
            assert_eq!(texts, expected.into_iter().collect::<Vec<_>>());
            assert_eq!(drift(&after, &after).moved, []);
        }
        let short = drift(&before, &before[..1]);
        assert_eq!((short.moved[0].from.as_str(), short.is_none()), ("b", false));
        assert_eq!(drift(&before[..1], &before).moved[0].what, "was not measured before");
        assert!(drift(&before, &before).is_none());
    }

    #[test]
    fn another_class_is_drift_even_if_no_link_moved_far() {
        // 148 to 152 ms apart: the same to a tenth, and beyond what Uniform spans.
        let spread = |far: u64| {
            let far = |from: &str, to: &str| pair(from, to, far, 5_000, 0);
            let near = |from: &str, to: &str| pair(from, to, 100_000, 5_000, 0);
            vec![
                far("a", "b"),
                far("b", "a"),
                near("a", "c"),
                near("c", "a"),
                near("b", "c"),
                near("c", "b"),
            ]
        };
        let found = drift(&spread(148_000), &spread(152_000));
        assert_eq!(found.moved, []);
        assert_eq!((found.class_before, found.class_after), (Class::Uniform, Class::Asymmetric));
        assert!(!found.is_none());
    }
}
