//! The measured network, derived from its samples: what a table says of them is not believed.

use crate::{evidence::Evidence, finding::Finding, records::paths, verdict::Outcome};
use qbind_links::{DelayMatrix, PairMeasurement, Seat};
use qbind_measure::Soundness;
use qbind_plan::{Plan, Role};

/// What follows from the samples.
pub(crate) struct Measured {
    /// One for each directed pair of regions; empty where there are no samples.
    pub(crate) pairs: Vec<PairMeasurement>,
    /// Why no gate may rest on it.
    fault: Option<(Outcome, String)>,
}

impl Measured {
    pub(crate) fn of(evidence: &Evidence, plan: &Plan) -> Self {
        let Some(samples) = &evidence.samples else {
            let fault = Some((Outcome::Unknown, evidence.absence(paths::SAMPLES)));
            return Self { pairs: Vec::new(), fault };
        };
        let measurement = samples.evaluate(&Default::default());
        let pairs = measurement.measurements();
        let reasons = || format!("{}: {}", paths::SAMPLES, measurement.reasons.join("; "));
        let fault = match measurement.soundness {
            Soundness::Sound => other_pairs(&pairs, plan).map(|why| (Outcome::Unknown, why)),
            Soundness::Void => Some((Outcome::Unknown, reasons())),
            Soundness::Invalid => Some((Outcome::Invalid, reasons())),
        };
        Self { pairs, fault }
    }

    /// The pairs, if a gate may rest on them; else the gate hears why not.
    pub(crate) fn sound(&self, finding: &mut Finding) -> Option<&[PairMeasurement]> {
        match &self.fault {
            None => Some(&self.pairs),
            Some(fault) => {
                finding.as_found(fault);
                None
            }
        }
    }

    /// The least median latency that these delays allow, in microseconds.
    pub(crate) fn floor(&self, plan: &Plan) -> Result<u64, String> {
        let delays = DelayMatrix::from_measurements(&self.pairs, 0);
        let validators = plan.nodes.iter().filter(|n| n.role == Role::Validator);
        let seats: Vec<Seat> = validators
            .map(|n| Seat { region: n.region.clone(), power: n.power.unwrap_or(0) })
            .collect();
        let floor = qbind_links::floor(&delays, &seats).map_err(|e| e.to_string())?;
        Ok(floor.submit_to_commit_us.p50)
    }
}

/// Whether other pairs were measured than those between the plan's regions.
fn other_pairs(pairs: &[PairMeasurement], plan: &Plan) -> Option<String> {
    let regions: Vec<&str> = plan.regions.iter().map(|region| region.id.as_str()).collect();
    let is_planned =
        |p: &PairMeasurement| [&p.from, &p.to].iter().all(|r| regions.contains(&r.as_str()));
    if let Some(other) = pairs.iter().find(|pair| !is_planned(pair)) {
        return Some(format!("{} -> {} is between no regions of the plan", other.from, other.to));
    }
    let wanted = regions.len() * regions.len().saturating_sub(1);
    (pairs.len() != wanted)
        .then(|| format!("{} of {wanted} directed pairs of regions were measured", pairs.len()))
}
