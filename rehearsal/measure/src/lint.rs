//! What looks wrong in a measurement, before anybody believes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measurement::Coordinates;
use crate::raw::{RawMeasurement, RawPair};
use crate::sphere::fibre_bound_us;
use crate::stats::PairStats;

/// Answers fewer than this say nothing about flatness.
const LEAST_FOR_FLAT: u64 = 100;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Faster than light in fibre between the declared places: makes the measurement invalid.
    Impossible,
    /// The two directions' medians differ by more than a fifth.
    DirectionDisagreement,
    /// The wall clock was set during the run.
    ClockStep,
    /// All answers took the same time, to the microsecond.
    FlatLine,
    /// Probes that the system refused to send.
    Refused,
    /// Many round trips carry the program's stamps and not the kernel's.
    ProgramStamps,
    /// Fewer than 1,000 probes: no preset follows.
    Undersampled,
    /// Nothing came back.
    Silent,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// The directed pair.
    pub pair: String,
    /// What was found, with the numbers.
    pub text: String,
}

pub(crate) fn lint(
    raw: &RawMeasurement,
    stats: &[PairStats],
    coordinates: &Coordinates,
) -> Vec<Finding> {
    let medians: BTreeMap<(&str, &str), &PairStats> =
        stats.iter().map(|row| ((row.from.as_str(), row.to.as_str()), row)).collect();
    let mut findings = Vec::new();
    for (pair, row) in raw.pairs.iter().zip(stats) {
        let mut find = |kind, text: String| {
            findings.push(Finding { kind, pair: format!("{} -> {}", row.from, row.to), text });
        };
        lint_alone(pair, row, &mut find);
        if let Some(bound) = bound_us(row, coordinates).filter(|bound| row.min_us < *bound)
            && row.received > 0
        {
            let text = format!("{} us is below the {bound} us of light in fibre", row.min_us);
            find(FindingKind::Impossible, text);
        }
        let back = medians.get(&(row.to.as_str(), row.from.as_str()));
        if let Some(back) = back.filter(|back| back.received > 0 && row.received > 0)
            && row.from < row.to
            && disagree(row.p50_us, back.p50_us)
        {
            let text = format!("median {} us, {} us back", row.p50_us, back.p50_us);
            find(FindingKind::DirectionDisagreement, text);
        }
    }
    findings
}

fn lint_alone(pair: &RawPair, row: &PairStats, find: &mut impl FnMut(FindingKind, String)) {
    if row.is_undersampled() {
        let text = format!("{} probes; a preset needs 1000", row.sent);
        find(FindingKind::Undersampled, text);
    }
    if row.received == 0 {
        find(FindingKind::Silent, format!("none of {} probes was answered", row.sent));
    }
    if row.refused > 0 {
        let text = format!("the system refused to send {} of {} probes", row.refused, row.sent);
        find(FindingKind::Refused, text);
    }
    if pair.clock_steps > 0 {
        let (steps, largest) = (pair.clock_steps, pair.largest_clock_step_us);
        find(FindingKind::ClockStep, format!("{steps} steps, the largest of {largest} us"));
    }
    if row.received >= LEAST_FOR_FLAT && row.min_us == row.max_us {
        let text = format!("all {} answers took {} us", row.received, row.min_us);
        find(FindingKind::FlatLine, text);
    }
    // A few stamps may be lost under load; more than one of twenty colour the percentiles.
    if row.program_stamped * 20 > row.received {
        let text = format!(
            "the program stamped {} of {} answers, not the kernel",
            row.program_stamped, row.received
        );
        find(FindingKind::ProgramStamps, text);
    }
}

fn bound_us(row: &PairStats, coordinates: &Coordinates) -> Option<u64> {
    Some(fibre_bound_us(*coordinates.get(&row.from)?, *coordinates.get(&row.to)?))
}

/// By more than 20 % of the smaller.
fn disagree(one: u64, other: u64) -> bool {
    u128::from(one.abs_diff(other)) * 5 > u128::from(one.min(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::tests::{pair, raw};
    use crate::sphere::Place;

    fn kinds(pairs: Vec<RawPair>, coordinates: &Coordinates) -> Vec<FindingKind> {
        let findings = raw(pairs).evaluate(coordinates).findings;
        findings.into_iter().map(|finding| finding.kind).collect()
    }

    fn wavering(base_us: i64) -> Vec<i64> {
        (0..1_000).map(|i| base_us + i % 7).collect()
    }

    #[test]
    fn a_plain_measurement_has_no_finding() {
        let pairs = vec![pair("a", "b", &wavering(70_000)), pair("b", "a", &wavering(80_000))];
        assert_eq!(kinds(pairs, &Coordinates::new()), []);
    }

    #[test]
    fn each_fault_is_found() {
        use FindingKind::*;
        let none = Coordinates::new();
        let plain = || pair("a", "b", &wavering(70_000));
        assert_eq!(kinds(vec![pair("a", "b", &[70_000; 1_000])], &none), [FlatLine]);
        let disagreeing = vec![plain(), pair("b", "a", &wavering(85_000))];
        assert_eq!(kinds(disagreeing, &none), [DirectionDisagreement]);
        let few = wavering(70_000)[..99].to_vec();
        assert_eq!(kinds(vec![pair("a", "b", &few)], &none), [Undersampled]);
        assert_eq!(kinds(vec![pair("a", "b", &[-1; 1_000])], &none), [Silent]);
        let mut stepped = plain();
        (stepped.clock_steps, stepped.largest_clock_step_us) = (1, 500_000);
        assert_eq!(kinds(vec![stepped], &none), [ClockStep]);
        let mut refused = plain();
        refused.refused = 1;
        assert_eq!(kinds(vec![refused], &none), [Refused]);
        let mut program = plain();
        program.program_stamped = 51;
        assert_eq!(kinds(vec![program], &none), [ProgramStamps]);
    }

    #[test]
    fn faster_than_light_is_impossible_and_invalid() {
        let places = Coordinates::from([
            ("a".to_owned(), Place::from_degrees(50.11, 8.68)),
            ("b".to_owned(), Place::from_degrees(35.68, 139.69)),
        ]);
        assert_eq!(
            kinds(vec![pair("a", "b", &wavering(70_000))], &places),
            [FindingKind::Impossible]
        );
        assert_eq!(kinds(vec![pair("a", "b", &wavering(95_000))], &places), []);
        let measurement = raw(vec![pair("a", "b", &wavering(70_000))]).evaluate(&places);
        assert_eq!(measurement.soundness, crate::Soundness::Invalid);
    }
}
