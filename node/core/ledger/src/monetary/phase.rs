//! Phases, and what leads from one to the next.

use borsh::{BorshDeserialize, BorshSerialize};

/// An age of the currency.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Phase {
    /// Years 0 to 3: issuance carries the network.
    Bootstrap,
    /// Years 3 to 7: fees take over.
    Transition,
    /// From year 7, for good: fees carry the network.
    Mature,
}

/// What the figures say about the next phase, for people; it decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Recommendation {
    /// It is not time yet, or there is no next phase.
    Stay,
    /// It is time and all figures are good.
    Advance,
    /// It is time and some figure is not good enough.
    HoldBack,
}

/// What gates look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measures {
    pub(crate) epoch: u64,
    pub(crate) fee_coverage_bps: u64,
    pub(crate) stake_ratio_bps: u32,
    pub(crate) volatility_bps: u64,
}

/// Bounds of all measures; the epoch counts from genesis.
struct Gate {
    from_epoch: u64,
    least_coverage_bps: u64,
    least_stake_bps: u32,
    most_volatility_bps: u64,
}

impl Gate {
    fn is_time(&self, m: &Measures) -> bool {
        m.epoch >= self.from_epoch
    }

    fn is_met(&self, m: &Measures) -> bool {
        m.fee_coverage_bps >= self.least_coverage_bps
            && m.stake_ratio_bps >= self.least_stake_bps
            && m.volatility_bps <= self.most_volatility_bps
    }
}

/// Three years, seven years.
const YEARS: [u64; 2] = [3 * super::EPOCHS_PER_YEAR, 7 * super::EPOCHS_PER_YEAR];

const fn gate(from_epoch: u64, coverage: u64, stake: u32, volatility: u64) -> Gate {
    Gate {
        from_epoch,
        least_coverage_bps: coverage,
        least_stake_bps: stake,
        most_volatility_bps: volatility,
    }
}

/// What opens Transition and Mature.
const GATES: [Gate; 2] =
    [gate(YEARS[0], 2_000, 3_000, 20_000), gate(YEARS[1], 5_000, 4_000, 15_000)];
/// What lets the engine recommend them.
const ADVICE: [Gate; 2] =
    [gate(YEARS[0], 3_000, 5_000, 20_000), gate(YEARS[1], 6_000, 5_000, 15_000)];

impl Phase {
    /// 0, 1, 2.
    pub fn index(self) -> u8 {
        match self {
            Self::Bootstrap => 0,
            Self::Transition => 1,
            Self::Mature => 2,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Transition => "transition",
            Self::Mature => "mature",
        }
    }

    /// The phase that follows and the place of its gate; none after the last.
    fn following(self) -> Option<(Self, usize)> {
        match self {
            Self::Bootstrap => Some((Self::Transition, 0)),
            Self::Transition => Some((Self::Mature, 1)),
            Self::Mature => None,
        }
    }

    /// The phase of the next epoch: this one, or the following one if its gate is open.
    pub(super) fn next(self, m: &Measures) -> Self {
        match self.following() {
            Some((phase, at)) if GATES[at].is_time(m) && GATES[at].is_met(m) => phase,
            _ => self,
        }
    }

    /// What the figures say about the following phase.
    pub(super) fn recommendation(self, m: &Measures) -> Recommendation {
        match self.following() {
            Some((_, at)) if ADVICE[at].is_time(m) => {
                if ADVICE[at].is_met(m) {
                    Recommendation::Advance
                } else {
                    Recommendation::HoldBack
                }
            }
            _ => Recommendation::Stay,
        }
    }
}

impl Recommendation {
    /// 0, 1, 2.
    pub fn index(self) -> u8 {
        match self {
            Self::Stay => 0,
            Self::Advance => 1,
            Self::HoldBack => 2,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Advance => "advance",
            Self::HoldBack => "hold_back",
        }
    }
}
