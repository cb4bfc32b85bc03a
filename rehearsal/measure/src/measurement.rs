//! The table of a run, and whether it may be believed.

use std::collections::BTreeMap;

use qbind_links::PairMeasurement;
use serde::{Deserialize, Serialize};

use crate::lint::{Finding, FindingKind, lint};
use crate::raw::RawMeasurement;
use crate::schedule::Engine;
use crate::sphere::Place;
use crate::stats::{PairStats, percentile};

/// A program that stamps by itself and leaves its grid by more than this, at the 99th percentile, has measured
/// itself.
const MOST_LATENESS_US: u64 = 1_000;
/// With the kernel's stamps lateness is no part of a round trip: it only must not come near the grid's own
/// distance. A quarter of that, and never more than this.
const MOST_LATENESS_KERNEL_US: u64 = 5_000;

/// Where regions lie, as declared; regions without a place are not checked against light.
pub type Coordinates = BTreeMap<String, Place>;

/// Whether a measurement may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Soundness {
    /// It may.
    Sound,
    /// The prober was too late with its own probes: nothing follows; measure again on a calmer host.
    Void,
    /// It contradicts physics, or a pair is silent: the network is not as declared.
    Invalid,
}

/// What follows from the samples of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// `qbindctl.measure/v1`.
    pub schema: String,
    /// The kind of probe, never mixed: `icmp-echo`.
    pub kind: String,
    /// What sent and stamped.
    pub engine: Engine,
    /// Bytes of the ICMP message.
    pub size_bytes: u64,
    /// Code point of the probes.
    pub dscp: u8,
    /// From one probe of a pair to its next.
    pub interval_us: u64,
    /// The seed of the grid's phases.
    pub seed: u64,
    /// When the first probe was due.
    pub started_unix_ms: u64,
    /// 99th percentile of the lateness of all probes of the run.
    pub lateness_p99_us: u64,
    /// Whether it may be believed.
    pub soundness: Soundness,
    /// Why not, one sentence each.
    pub reasons: Vec<String>,
    /// What looks wrong.
    pub findings: Vec<Finding>,
    /// One row for every directed pair.
    pub pairs: Vec<PairStats>,
}

impl RawMeasurement {
    /// How late probes may leave, at the 99th percentile: a program's stamps are believed where the program
    /// stamped more than one in a hundred.
    fn most_lateness_us(&self) -> u64 {
        let sent: u64 = self.pairs.iter().map(|pair| pair.late_us.len() as u64).sum();
        let by_program =
            self.pairs.iter().fold(0u64, |sum, pair| sum.saturating_add(pair.program_stamped));
        match self.schedule.engine {
            Engine::Kernel if by_program.saturating_mul(100) <= sent => {
                (self.schedule.interval_us / 4).min(MOST_LATENESS_KERNEL_US)
            }
            _ => MOST_LATENESS_US,
        }
    }

    /// Everything that follows from the samples: pure, so that a stored run gives its table again.
    pub fn evaluate(&self, coordinates: &Coordinates) -> Measurement {
        let interval_us = self.schedule.interval_us;
        let pairs: Vec<PairStats> =
            self.pairs.iter().map(|pair| PairStats::of(pair, interval_us)).collect();
        let findings = lint(self, &pairs, coordinates);
        let mut lateness: Vec<u64> =
            self.pairs.iter().flat_map(|pair| pair.late_us.iter().copied()).collect();
        lateness.sort_unstable();
        let lateness_p99_us = percentile(&lateness, 99);
        let mut reasons: Vec<String> = findings
            .iter()
            .filter(|finding| matches!(finding.kind, FindingKind::Impossible | FindingKind::Silent))
            .map(|finding| format!("{}: {}", finding.pair, finding.text))
            .collect();
        let mut soundness = if reasons.is_empty() { Soundness::Sound } else { Soundness::Invalid };
        let most_us = self.most_lateness_us();
        if lateness_p99_us > most_us {
            soundness = Soundness::Void;
            reasons.push(format!(
                "probes left {lateness_p99_us} us late at the 99th percentile, \
                 at most {most_us} us may be: measure again on a calmer host"
            ));
        }
        Measurement {
            schema: "qbindctl.measure/v1".into(),
            kind: "icmp-echo".into(),
            engine: self.schedule.engine,
            size_bytes: self.schedule.size_bytes,
            dscp: self.schedule.dscp,
            interval_us,
            seed: self.schedule.seed,
            started_unix_ms: self.started_unix_ms,
            lateness_p99_us,
            soundness,
            reasons,
            findings,
            pairs,
        }
    }
}

impl Measurement {
    /// What the mapping reads.
    pub fn measurements(&self) -> Vec<PairMeasurement> {
        self.pairs.iter().map(PairStats::to_measurement).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::tests::{pair, raw};

    #[test]
    fn a_prober_that_was_late_makes_the_run_void() {
        let mut late = pair("a", "b", &[70_000; 1_000]);
        late.late_us[..10].fill(9_000);
        let measure = |pair| raw(vec![pair]).evaluate(&Coordinates::new());
        assert_eq!(measure(late.clone()).soundness, Soundness::Sound, "1 % may be late");
        late.late_us[..11].fill(5_001);
        let void = measure(late.clone());
        assert_eq!((void.soundness, void.lateness_p99_us), (Soundness::Void, 5_001));
        // What the program stamped includes its own lateness.
        late.late_us.fill(1_001);
        assert_eq!(measure(late.clone()).soundness, Soundness::Sound);
        late.program_stamped = 11;
        let void = measure(late);
        assert_eq!((void.soundness, void.lateness_p99_us), (Soundness::Void, 1_001));
        assert!(void.reasons[0].contains("1001 us late"));
    }

    #[test]
    fn a_silent_pair_is_invalid() {
        let measurement = raw(vec![pair("a", "b", &[-1; 1_000])]).evaluate(&Coordinates::new());
        assert_eq!(measurement.soundness, Soundness::Invalid);
    }

    #[test]
    fn the_json_of_a_measurement_is_read_by_the_mapping() {
        let rtt: Vec<i64> = (0..3_000).map(|i| 70_000 + i % 900).collect();
        let measurement =
            raw(vec![pair("a", "b", &rtt), pair("b", "a", &rtt)]).evaluate(&Coordinates::new());
        let text = serde_json::to_string_pretty(&measurement).expect("JSON");
        let pairs = qbind_links::read_text("measure.json", &text).expect("readable");
        assert_eq!(pairs, measurement.measurements());
        assert_eq!(qbind_links::map(&pairs).class, qbind_links::Class::Uniform);
        let again: Measurement = serde_json::from_str(&text).expect("ours");
        assert_eq!(again, measurement);
    }
}
