//! The guide's illustrative figures for regions: a note for the reader, never a gate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::class::{PairMeasurement, millis};
use crate::matrix::loss_bps_rounded_up;

/// What one directed pair is against the guide's figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetNote {
    /// The directed pair.
    pub pair: String,
    /// Whether both regions lie on one continent.
    pub is_same_continent: bool,
    /// What lies outside of the guide's ranges, one sentence each; empty when nothing does.
    pub notes: Vec<String>,
}

/// Compares pairs with guide section 2.1. Pairs whose continents are not known are left out.
pub fn region_targets(
    pairs: &[PairMeasurement],
    continents: &BTreeMap<String, String>,
) -> Vec<TargetNote> {
    let judge = |pair: &PairMeasurement| {
        let near = continents.get(&pair.from)? == continents.get(&pair.to)?;
        let (rtt, jitter, loss_bps, kind) = if near {
            (20_000..=40_000, 5_000..=15_000, 50, "within a continent")
        } else {
            (80_000..=200_000, 10_000..=30_000, 300, "between continents")
        };
        let mut notes = Vec::new();
        if !rtt.contains(&pair.p50_us) {
            let (low, high) = (rtt.start() / 1_000, rtt.end() / 1_000);
            let us = millis(pair.p50_us);
            notes.push(format!("round trip {us}; {low}-{high} ms is usual {kind}"));
        }
        if !jitter.contains(&pair.jitter_us) {
            let (low, high) = (jitter.start() / 1_000, jitter.end() / 1_000);
            let us = millis(pair.jitter_us);
            notes.push(format!("jitter {us}; {low}-{high} ms is usual {kind}"));
        }
        let loss = loss_bps_rounded_up(pair);
        if (near && loss >= loss_bps) || loss > loss_bps {
            let limit = if near { "below 50" } else { "up to 300" };
            notes.push(format!("loss {loss} bps; {limit} bps is usual {kind}"));
        }
        Some(TargetNote { pair: pair.name(), is_same_continent: near, notes })
    };
    pairs.iter().filter(|pair| pair.from != pair.to).filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_what_is_unusual_and_nothing_else() {
        let pair = |to: &str, p50_us, jitter_us, lost| PairMeasurement {
            from: "paris".into(),
            to: to.into(),
            p50_us,
            jitter_us,
            sent: 1_000,
            lost,
            longest_burst: None,
        };
        let continents = [("paris", "eu"), ("berlin", "eu"), ("tokyo", "as")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let notes = |pair| region_targets(&[pair], &continents).pop().map(|note| note.notes.len());
        assert_eq!(notes(pair("berlin", 20_000, 15_000, 4)), Some(0));
        assert_eq!(notes(pair("berlin", 19_999, 15_001, 5)), Some(3));
        assert_eq!(notes(pair("tokyo", 200_000, 10_000, 30)), Some(0));
        assert_eq!(notes(pair("tokyo", 200_001, 9_999, 31)), Some(3));
        assert_eq!(notes(pair("mars", 1, 1, 1)), None);
    }
}
