//! The simulated presets, as data: the only place in the project that holds their figures.

use serde::{Deserialize, Serialize};

use crate::class::{Class, PairMeasurement};

/// How one directed link of a simulated network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkProfile {
    /// One-way delay.
    pub base_latency_ms: u64,
    /// Uniform deviation to either side of the delay, which never falls below zero.
    pub jitter_ms: u64,
    /// Loss of single messages, of 10,000.
    pub loss_bps: u32,
}

impl LinkProfile {
    const fn new(base_latency_ms: u64, jitter_ms: u64, loss_bps: u32) -> Self {
        Self { base_latency_ms, jitter_ms, loss_bps }
    }

    /// Two nodes of one region. *Source*: guide appendix A, as the five that follow.
    pub const SAME_REGION: Self = Self::new(1, 0, 0);
    /// Neighbouring regions.
    pub const LOW_LATENCY: Self = Self::new(30, 5, 0);
    /// Regions of one half of the world.
    pub const MODERATE_LATENCY: Self = Self::new(80, 15, 0);
    /// The other side of the world.
    pub const HIGH_LATENCY: Self = Self::new(150, 30, 0);
    /// Moderate distance, one message of twenty lost.
    pub const LOSSY: Self = Self::new(80, 20, 500);
    /// Moderate distance, restless.
    pub const HIGH_JITTER: Self = Self::new(60, 50, 0);

    /// The slow region of the asymmetric preset.
    ///
    /// The prototype had 50 ms of jitter here. Measured, that is flag J beside flag A, so the preset
    /// would have been classified as Mixed; 20 ms keeps it what its name says.
    pub const SLOW_REGION: Self = Self::new(200, 20, 0);
    /// The slow region of the mixed preset.
    pub const SLOW_AND_LOSSY: Self = Self::new(180, 40, 200);

    /// `p95 - p50` in microseconds of a round trip over two such links, exactly.
    ///
    /// The sum of two uniform deviations in whole milliseconds, nearest rank.
    pub fn round_trip_jitter_us(&self) -> u64 {
        // Deviation d of the sum, from -2j to 2j, happens in 2j+1-|d| of (2j+1)^2 cases. Delays
        // cut off at zero only make the spread smaller, so this is an upper bound there.
        let j = i128::from(self.jitter_ms.min(1_000_000));
        let width = 2 * j + 1;
        let all = width * width;
        // Above the median the cases left are a triangle: rest(d) = sum over e > d.
        let mut rest = 0;
        let mut d = 2 * j;
        // The 95th percentile is the smallest d with 100 * (cases up to d) >= 95 * all.
        while d > 0 {
            rest += width - d;
            if 100 * (all - rest) < 95 * all {
                break;
            }
            d -= 1;
        }
        u64::try_from(d).unwrap_or(0) * 1_000
    }

    /// Loss of a round trip of 10,000, rounded up: either direction may lose it.
    pub fn round_trip_loss_bps(&self) -> u32 {
        let kept = u64::from(10_000 - self.loss_bps.min(10_000));
        let lost = 10_000 - kept * kept / 10_000;
        u32::try_from(lost).unwrap_or(10_000)
    }
}

/// A directed link of a preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetLink {
    /// The sending region.
    pub from: &'static str,
    /// The receiving region.
    pub to: &'static str,
    /// What the link does to messages.
    pub profile: LinkProfile,
}

/// A simulated multi-region network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// All links moderate.
    UniformLatency,
    /// One slow region, the others near each other.
    AsymmetricLatency,
    /// All links restless.
    HighJitter,
    /// All links lossy.
    LossyNetwork,
    /// A slow and lossy region, a restless one, and two near each other.
    MixedAdversarial,
}

impl Preset {
    /// Every preset, mildest first.
    pub const ALL: [Self; 5] = [
        Self::UniformLatency,
        Self::AsymmetricLatency,
        Self::HighJitter,
        Self::LossyNetwork,
        Self::MixedAdversarial,
    ];

    /// The regions that a preset simulates: US East, US West, Europe, APAC.
    pub const REGIONS: [&'static str; 4] = ["A", "B", "C", "D"];

    /// The preset of a class; `None` for [`Class::Invalid`].
    pub fn of(class: Class) -> Option<Self> {
        Some(match class {
            Class::Uniform => Self::UniformLatency,
            Class::Asymmetric => Self::AsymmetricLatency,
            Class::HighJitter => Self::HighJitter,
            Class::Lossy => Self::LossyNetwork,
            Class::Mixed => Self::MixedAdversarial,
            Class::Invalid => return None,
        })
    }

    /// The class whose preset this is.
    pub fn class(self) -> Class {
        match self {
            Self::UniformLatency => Class::Uniform,
            Self::AsymmetricLatency => Class::Asymmetric,
            Self::HighJitter => Class::HighJitter,
            Self::LossyNetwork => Class::Lossy,
            Self::MixedAdversarial => Class::Mixed,
        }
    }

    /// The name in the guide, as in `MultiRegionClusterConfig::uniform_latency()`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UniformLatency => "uniform_latency",
            Self::AsymmetricLatency => "asymmetric_latency",
            Self::HighJitter => "high_jitter",
            Self::LossyNetwork => "lossy_network",
            Self::MixedAdversarial => "mixed_adversarial",
        }
    }

    /// The link between two regions of [`Preset::REGIONS`], or inside one.
    pub fn link(self, from: &str, to: &str) -> LinkProfile {
        let touches = |region: &str| from == region || to == region;
        if from == to {
            return LinkProfile::SAME_REGION;
        }
        match self {
            Self::UniformLatency => LinkProfile::MODERATE_LATENCY,
            Self::AsymmetricLatency if touches("D") => LinkProfile::SLOW_REGION,
            Self::AsymmetricLatency => LinkProfile::LOW_LATENCY,
            Self::HighJitter => LinkProfile::HIGH_JITTER,
            Self::LossyNetwork => LinkProfile::LOSSY,
            Self::MixedAdversarial if touches("D") => LinkProfile::SLOW_AND_LOSSY,
            Self::MixedAdversarial if touches("C") => LinkProfile::HIGH_JITTER,
            Self::MixedAdversarial => LinkProfile::LOW_LATENCY,
        }
    }

    /// Every directed link between two different regions.
    pub fn links(self) -> Vec<PresetLink> {
        let mut links = Vec::new();
        for from in Self::REGIONS {
            for to in Self::REGIONS {
                if from != to {
                    links.push(PresetLink { from, to, profile: self.link(from, to) });
                }
            }
        }
        links
    }

    /// What a perfect prober sees of the preset with `sent` probes a pair.
    pub fn expected_measurements(self, sent: u64) -> Vec<PairMeasurement> {
        let see = |link: PresetLink| PairMeasurement {
            from: link.from.to_owned(),
            to: link.to.to_owned(),
            p50_us: link.profile.base_latency_ms * 2_000,
            jitter_us: link.profile.round_trip_jitter_us(),
            sent,
            lost: sent / 10_000 * u64::from(link.profile.round_trip_loss_bps())
                + sent % 10_000 * u64::from(link.profile.round_trip_loss_bps()) / 10_000,
            longest_burst: None,
        };
        self.links().into_iter().map(see).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_simulated_preset_is_classified_as_itself() {
        for preset in Preset::ALL {
            for sent in [1_000, 3_000, 10_000] {
                let mapping = crate::map(&preset.expected_measurements(sent));
                assert_eq!(mapping.class, preset.class(), "{preset:?}: {:#?}", mapping.reasons);
                assert_eq!(Preset::of(mapping.class), Some(preset));
            }
        }
    }

    #[test]
    fn round_trip_jitter_is_the_exact_percentile_of_two_uniform_deviations() {
        for (jitter_ms, expected_ms) in [(0, 0), (5, 7), (15, 21), (20, 28), (50, 69)] {
            let mut sums = Vec::new();
            for a in -jitter_ms..=jitter_ms {
                for b in -jitter_ms..=jitter_ms {
                    sums.push(a + b);
                }
            }
            sums.sort_unstable();
            let p95 = sums[(sums.len() * 95).div_ceil(100) - 1];
            let profile = LinkProfile::new(100, jitter_ms as u64, 0);
            assert_eq!(profile.round_trip_jitter_us(), p95 as u64 * 1_000, "{jitter_ms}");
            assert_eq!(p95, expected_ms, "{jitter_ms}");
        }
    }

    #[test]
    fn round_trip_loss_counts_both_directions() {
        assert_eq!(LinkProfile::LOSSY.round_trip_loss_bps(), 975);
        assert_eq!(LinkProfile::new(1, 0, u32::MAX).round_trip_loss_bps(), 10_000);
    }
}
