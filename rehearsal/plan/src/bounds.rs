//! The bounds of the gates, with the guide's values as defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bounds and sample rules of all gates; a manifest may set any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// G5 on Uniform, Asymmetric and HighJitter links.
    pub height_divergence_normal_blocks: u64,
    /// G5 on Lossy and Mixed links.
    pub height_divergence_stress_blocks: u64,
    /// Distance of the instants at which heights are compared.
    pub align_ms: u64,
    /// G6: outbound peers of every node.
    pub outbound_peers_min: u64,
    /// G6: distinct ASNs among a node's peers.
    pub asn_diversity_min: u64,
    /// G6: connected peers, unless the plan has fewer other nodes.
    pub outbound_target: u64,
    /// G7: committed TPS over the baseline's, in thousandths; below it fails.
    pub tps_min_permille: u64,
    /// G7: above it the baseline is stale (a note).
    pub tps_max_permille: u64,
    /// G7: latency p50 over baseline, in thousandths; above it fails.
    pub latency_max_permille: u64,
    /// G7: below it the baseline is stale (a note).
    pub latency_min_permille: u64,
    /// G8.
    pub commit_p99_max_ms: u64,
    /// G9: view changes per thousand views that need no explanation.
    pub view_changes_base_permille: u64,
    /// G9: view changes one planned fault explains.
    pub view_changes_per_fault: u64,
    /// G10: latency p50 over the floor of the measured matrix, in thousandths.
    pub floor_max_permille: u64,
    /// G13: difference of median delay from what was asked.
    pub link_delay_tolerance_us: u64,
    /// G13: difference of jitter from what was asked, in thousandths of it.
    pub link_jitter_tolerance_permille: u64,
    /// A series with a longer hole is stale.
    pub scrape_gap_max_ms: u64,
    /// Fewer latencies decide nothing.
    pub latency_samples_min: u64,
    /// Fewer seconds outside cut windows decide nothing about TPS.
    pub tps_seconds_min: u64,
    /// Resamples of the block bootstrap; its seed is the plan's.
    pub bootstrap_resamples: u32,
    /// Length of a bootstrap block.
    pub bootstrap_block_s: u32,
}

/// A bound that lets more through than the guide does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looser {
    /// Which.
    pub key: &'static str,
    /// What the plan says.
    pub set: u64,
    /// What the guide says.
    pub guide: u64,
}

impl fmt::Display for Looser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, set, guide } = self;
        write!(f, "gates.{key} is {set}, looser than the default of {guide}")
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            height_divergence_normal_blocks: 5,
            height_divergence_stress_blocks: 10,
            align_ms: 1000,
            outbound_peers_min: 4,
            asn_diversity_min: 2,
            outbound_target: 8,
            tps_min_permille: 500,
            tps_max_permille: 2000,
            latency_max_permille: 2000,
            latency_min_permille: 500,
            commit_p99_max_ms: 10_000,
            view_changes_base_permille: 20,
            view_changes_per_fault: 20,
            floor_max_permille: 2000,
            link_delay_tolerance_us: 1000,
            link_jitter_tolerance_permille: 100,
            scrape_gap_max_ms: 15_000,
            latency_samples_min: 500,
            tps_seconds_min: 20,
            bootstrap_resamples: 400,
            bootstrap_block_s: 5,
        }
    }
}

impl Bounds {
    /// Every bound that is looser than the guide's: the report shows them, and a policy may refuse them.
    pub fn looser_than_the_guide(&self) -> Vec<Looser> {
        let guide = Self::default();
        let upper = [
            (
                "height_divergence_normal_blocks",
                self.height_divergence_normal_blocks,
                guide.height_divergence_normal_blocks,
            ),
            (
                "height_divergence_stress_blocks",
                self.height_divergence_stress_blocks,
                guide.height_divergence_stress_blocks,
            ),
            ("latency_max_permille", self.latency_max_permille, guide.latency_max_permille),
            ("commit_p99_max_ms", self.commit_p99_max_ms, guide.commit_p99_max_ms),
            ("floor_max_permille", self.floor_max_permille, guide.floor_max_permille),
            ("scrape_gap_max_ms", self.scrape_gap_max_ms, guide.scrape_gap_max_ms),
            ("align_ms", self.align_ms, guide.align_ms),
            (
                "view_changes_base_permille",
                self.view_changes_base_permille,
                guide.view_changes_base_permille,
            ),
            // Both ways: with few long blocks an interval shrinks to its estimate.
            (
                "bootstrap_block_s",
                u64::from(self.bootstrap_block_s),
                u64::from(guide.bootstrap_block_s),
            ),
            ("view_changes_per_fault", self.view_changes_per_fault, guide.view_changes_per_fault),
            (
                "link_delay_tolerance_us",
                self.link_delay_tolerance_us,
                guide.link_delay_tolerance_us,
            ),
            (
                "link_jitter_tolerance_permille",
                self.link_jitter_tolerance_permille,
                guide.link_jitter_tolerance_permille,
            ),
        ];
        let lower = [
            ("outbound_peers_min", self.outbound_peers_min, guide.outbound_peers_min),
            ("asn_diversity_min", self.asn_diversity_min, guide.asn_diversity_min),
            ("outbound_target", self.outbound_target, guide.outbound_target),
            ("tps_min_permille", self.tps_min_permille, guide.tps_min_permille),
            ("latency_samples_min", self.latency_samples_min, guide.latency_samples_min),
            ("tps_seconds_min", self.tps_seconds_min, guide.tps_seconds_min),
            (
                "bootstrap_resamples",
                u64::from(self.bootstrap_resamples),
                u64::from(guide.bootstrap_resamples),
            ),
            (
                "bootstrap_block_s",
                u64::from(self.bootstrap_block_s),
                u64::from(guide.bootstrap_block_s),
            ),
        ];
        let loose_upper = upper.iter().filter(|(_, set, guide)| set > guide);
        let loose_lower = lower.iter().filter(|(_, set, guide)| set < guide);
        loose_upper
            .chain(loose_lower)
            .map(|(key, set, guide)| Looser { key, set: *set, guide: *guide })
            .collect()
    }
}
