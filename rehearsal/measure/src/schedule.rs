//! When probes leave, how many, and what they look like.

use serde::{Deserialize, Serialize};

use crate::error::MeasureError;

/// What sends the probes and stamps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Our own thread, with stamps of the Linux kernel.
    Kernel,
    /// The `surge-ping` crate, where kernel stamps are not to be had: it stamps in the program, so its
    /// times include the scheduler's, and it does not tell duplicates.
    SurgePing,
}

/// A fixed grid of probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What sends.
    pub engine: Engine,
    /// Probes counted for each directed pair.
    pub probes: u64,
    /// Probes before them, sent and dropped.
    pub warm_up: u64,
    /// From one probe of a pair to its next.
    pub interval_us: u64,
    /// Bytes of the ICMP message, its header of 8 included: 64 or 1,200.
    pub size_bytes: u64,
    /// The code point of the probes, from 0 to 63.
    pub dscp: u8,
    /// Decides where on the grid each pair starts.
    pub seed: u64,
}

impl Schedule {
    /// 3,000 probes at 20 a second.
    pub fn standard(seed: u64) -> Self {
        Self {
            engine: Engine::Kernel,
            probes: 3_000,
            warm_up: 20,
            interval_us: 50_000,
            size_bytes: 64,
            dscp: 0,
            seed,
        }
    }

    /// 1,000 probes at 50 a second.
    pub fn quick(seed: u64) -> Self {
        Self { probes: 1_000, interval_us: 20_000, ..Self::standard(seed) }
    }

    /// From the first to the last probe.
    pub fn duration_us(&self) -> u64 {
        (self.warm_up + self.probes).saturating_mul(self.interval_us)
    }

    /// # Errors
    /// The caller's fault: a number out of its range.
    pub fn validate(&self) -> Result<(), MeasureError> {
        let within = |key, value, low: u64, high: u64, range| {
            let fine = (low..=high).contains(&value);
            if fine { Ok(()) } else { Err(MeasureError::Schedule { key, value, range }) }
        };
        within("probes", self.probes, 1, 1_000_000, "from 1 to 1000000 are possible")?;
        within("warm_up", self.warm_up, 0, 10_000, "from 0 to 10000 are possible")?;
        let range = "from 1000 to 60000000 are possible";
        within("interval_us", self.interval_us, 1_000, 60_000_000, range)?;
        if !matches!(self.size_bytes, 64 | 1_200) {
            let (key, value) = ("size_bytes", self.size_bytes);
            return Err(MeasureError::Schedule { key, value, range: "64 and 1200 are possible" });
        }
        within("dscp", u64::from(self.dscp), 0, 63, "from 0 to 63 are possible")
    }

    /// Where on its grid the pair with this number starts: uniform in one interval.
    pub(crate) fn phase_us(&self, pair: u64) -> u64 {
        // SplitMix64: neighbouring seeds and pairs give unrelated phases.
        let mut x = self.seed.wrapping_add((pair + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % self.interval_us.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_seeded_spread_and_within_one_interval() {
        let schedule = Schedule::quick(7);
        let phases: Vec<u64> = (0..1_000).map(|pair| schedule.phase_us(pair)).collect();
        assert!(phases.iter().all(|phase| *phase < schedule.interval_us));
        let early = phases.iter().filter(|phase| **phase < schedule.interval_us / 2).count();
        assert!((400..600).contains(&early), "{early}");
        assert_eq!(phases[3], Schedule::quick(7).phase_us(3));
        assert_ne!(phases[3], Schedule::quick(8).phase_us(3));
    }

    #[test]
    fn impossible_schedules_name_the_key() {
        let fault = |change: fn(&mut Schedule)| {
            let mut schedule = Schedule::standard(0);
            change(&mut schedule);
            schedule.validate().expect_err("impossible").to_string()
        };
        assert!(Schedule::standard(0).validate().is_ok() && Schedule::quick(0).validate().is_ok());
        assert!(fault(|s| s.probes = 0).contains("probes is 0"));
        assert!(fault(|s| s.interval_us = 10).contains("interval_us is 10"));
        assert!(fault(|s| s.size_bytes = 65).contains("64 and 1200"));
        assert!(fault(|s| s.dscp = 64).contains("dscp"));
        assert!(fault(|s| s.warm_up = u64::MAX).contains("warm_up"));
    }
}
