//! The measured matrix as a simulated profile of its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::class::PairMeasurement;
use crate::presets::LinkProfile;

/// What was measured, in the terms of the simulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomProfile {
    /// The regions, sorted.
    pub regions: Vec<String>,
    /// One entry for every directed pair of regions.
    pub links: Vec<CustomLink>,
    /// The link between nodes of one region, which was not measured.
    pub same_region: LinkProfile,
}

/// One directed link of a [`CustomProfile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomLink {
    /// The sending region.
    pub from: String,
    /// The receiving region.
    pub to: String,
    /// One way: half of the median round trip, rounded up.
    pub base_latency_ms: u64,
    /// The measured jitter of the round trip, rounded up.
    pub jitter_ms: u64,
    /// The measured loss of the round trip, rounded up.
    pub loss_bps: u32,
}

impl CustomProfile {
    /// *Shape*: `between` holds valid directed pairs only.
    pub(crate) fn of(regions: &BTreeSet<&str>, between: &[&PairMeasurement]) -> Self {
        let mut links: Vec<CustomLink> = between
            .iter()
            .map(|pair| CustomLink {
                from: pair.from.clone(),
                to: pair.to.clone(),
                base_latency_ms: pair.p50_us.div_ceil(2_000),
                jitter_ms: pair.jitter_us.div_ceil(1_000),
                loss_bps: loss_bps_rounded_up(pair),
            })
            .collect();
        links.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        Self {
            regions: regions.iter().map(|region| (*region).to_owned()).collect(),
            links,
            same_region: LinkProfile::SAME_REGION,
        }
    }

    /// The link from one region to another, or inside one.
    pub fn link(&self, from: &str, to: &str) -> Option<LinkProfile> {
        if from == to && self.regions.iter().any(|region| region == from) {
            return Some(self.same_region);
        }
        self.links.iter().find(|link| link.from == from && link.to == to).map(|link| LinkProfile {
            base_latency_ms: link.base_latency_ms,
            jitter_ms: link.jitter_ms,
            loss_bps: link.loss_bps,
        })
    }
}

/// Loss of the round trip in basis points, at most 10,000.
pub(crate) fn loss_bps_rounded_up(pair: &PairMeasurement) -> u32 {
    let sent = u128::from(pair.sent.max(1));
    let bps = (u128::from(pair.lost) * 10_000).div_ceil(sent).min(10_000);
    u32::try_from(bps).expect("at most 10,000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_towards_the_harsher_network() {
        let one = |from: &str, to: &str, p50_us, jitter_us, lost| PairMeasurement {
            from: from.into(),
            to: to.into(),
            p50_us,
            jitter_us,
            sent: 3_000,
            lost,
            longest_burst: None,
        };
        let mapping = crate::map(&[one("b", "a", 70_001, 4_001, 1), one("a", "b", 70_000, 0, 0)]);
        let profile = mapping.custom_profile.expect("valid");
        assert_eq!(profile.regions, ["a", "b"]);
        let figures = |from, to| {
            let link = profile.link(from, to).expect("there");
            (link.base_latency_ms, link.jitter_ms, link.loss_bps)
        };
        assert_eq!(figures("a", "b"), (35, 0, 0));
        assert_eq!(figures("b", "a"), (36, 5, 4));
        assert_eq!(figures("a", "a"), (1, 0, 0));
        assert_eq!(profile.link("a", "c"), None);
        assert_eq!(profile.link("c", "c"), None);
    }
}
