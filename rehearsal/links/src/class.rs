//! The words of the mapping: a measured pair, a flag, a class.

use serde::{Deserialize, Serialize};

/// What was measured from one region to another.
///
/// *Units*: microseconds of round-trip time, and counts of probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairMeasurement {
    /// The region that sent the probes.
    pub from: String,
    /// The region that answered.
    pub to: String,
    /// Median round-trip time.
    pub p50_us: u64,
    /// 95th percentile less the median.
    pub jitter_us: u64,
    /// Probes sent, warm-up excluded.
    pub sent: u64,
    /// Probes without an answer in time.
    pub lost: u64,
    /// The longest run of consecutive losses, where the source knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_burst: Option<u64>,
}

impl PairMeasurement {
    /// `from -> to`, as messages name the pair.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.from, self.to)
    }
}

/// A condition of the network that moves it away from *Uniform*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Flag {
    /// Asymmetric: round-trip times differ by 50 ms or more, or some region stands out.
    A,
    /// Far: some round trip is above 200 ms, the pairs of the one slow region left out.
    F,
    /// Jitter above 30 ms.
    J,
    /// A loss below 0.5 % is not proved.
    L,
}

/// The preset that a measured network maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// No flag.
    Uniform,
    /// Only [`Flag::A`].
    Asymmetric,
    /// Only [`Flag::J`].
    HighJitter,
    /// Only [`Flag::L`].
    Lossy,
    /// Any other set of flags.
    Mixed,
    /// Not a measurement from which a preset follows.
    Invalid,
}

impl Class {
    /// The class of a set of flags. *Source*: guide section 2.3, made total.
    pub fn of(flags: &[Flag]) -> Self {
        match flags {
            [] => Self::Uniform,
            [Flag::A] => Self::Asymmetric,
            [Flag::J] => Self::HighJitter,
            [Flag::L] => Self::Lossy,
            _ => Self::Mixed,
        }
    }

    /// The name in documents and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "Uniform",
            Self::Asymmetric => "Asymmetric",
            Self::HighJitter => "HighJitter",
            Self::Lossy => "Lossy",
            Self::Mixed => "Mixed",
            Self::Invalid => "Invalid",
        }
    }

    /// How far heights may lie apart in such a network; `None` for [`Class::Invalid`].
    ///
    /// *Source*: guide section 5.2.
    pub fn height_bound(self) -> Option<HeightBound> {
        let blocks = match self {
            Self::Uniform | Self::Asymmetric | Self::HighJitter => 5,
            Self::Lossy | Self::Mixed => 10,
            Self::Invalid => return None,
        };
        Some(HeightBound { blocks, always_shown: 5 })
    }
}

/// The bound on height divergence that follows from a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeightBound {
    /// The bound that decides.
    pub blocks: u64,
    /// The bound at which the verdict is printed in every case.
    pub always_shown: u64,
}

/// Microseconds as milliseconds with three decimals, exactly.
pub fn millis(us: u64) -> String {
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}
