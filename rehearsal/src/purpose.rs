//! Why a rehearsal is run, and what that demands before anything is run (guide, section 1).
//!
//! What the guide demands of every rehearsal is judged by its gates: T238 and T185 by G11, regions, layout
//! and genesis by G12, metrics of every node by G2 and G6.

use crate::{RehearsalError, outcome::Doing};
use qbind_attest::upgrade::{Class, Envelope};
use qbind_evidence::{DigestPair, Subject};
use qbind_gates::{Comparison, compare, read_dir};
use qbind_plan::{GateType, Plan, digest_of};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Name of the upgrade envelope in the evidence, and as a subject.
const ENVELOPE: &str = "upgrade-envelope.json";
/// Name of the comparison with an earlier run.
const BASELINE: &str = "baseline.json";

/// What a rehearsal is for, beyond the plan.
#[derive(Debug, Clone, Default)]
pub struct Purpose {
    /// Class C: the draft of the upgrade envelope, before it has evidence and approvals.
    pub envelope: Option<PathBuf>,
    /// Post-incident: which incident.
    pub incident: Option<String>,
    /// Post-incident, or wherever one is wanted: the evidence of a run before.
    pub baseline: Option<PathBuf>,
}

impl Purpose {
    /// Checks that there is what `gate_type` demands, and keeps the envelope in `out`.
    pub(crate) fn begin(
        &self,
        gate_type: GateType,
        binary: &[u8],
        out: &Path,
    ) -> Result<Vec<String>, RehearsalError> {
        let demanded = |why: &str| Err(why.to_owned()).usage("rehearse for that purpose");
        let mut notes = Vec::new();
        match gate_type {
            GateType::MainnetLaunch => self.resumed(gate_type)?,
            GateType::ClassCUpgrade => {
                let Some(path) = &self.envelope else {
                    return demanded(
                        "a class C upgrade is rehearsed with the draft of its envelope: make it with \
                         `qbindctl upgrade envelope new` and give --upgrade-envelope FILE",
                    );
                };
                notes.push(keep(path, binary, out)?);
            }
            GateType::PostIncident => {
                let Some(incident) = self.incident.as_ref().filter(|text| !text.trim().is_empty())
                else {
                    return demanded(
                        "a rehearsal after an incident names it: give --incident TEXT",
                    );
                };
                self.resumed(gate_type)?;
                notes.push(format!("after the incident: {incident}"));
            }
        }
        Ok(notes)
    }

    /// Checks that there is what `gate_type` demands at the end as well.
    pub(crate) fn resumed(&self, gate_type: GateType) -> Result<(), RehearsalError> {
        if gate_type == GateType::PostIncident && self.baseline.is_none() {
            let why = "a rehearsal after an incident is compared with a run before it: give --baseline \
                       BUNDLE";
            return Err(why.to_owned()).usage("rehearse for that purpose");
        }
        let Some(before) = &self.baseline else { return Ok(()) };
        let before = read_dir(before).usage("read the run before")?;
        if before.plan.is_none() || before.live.is_none() || before.transactions.is_empty() {
            let why = "what --baseline names is no evidence of a rehearsal";
            return Err(why.to_owned()).usage("compare with a run before");
        }
        Ok(())
    }

    /// The upgrade envelope, if the run is about one: the one the plan notes.
    pub(crate) fn subject(out: &Path, plan: &Plan) -> Result<Option<Subject>, RehearsalError> {
        let path = out.join(ENVELOPE);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(path).doing("read the upgrade envelope")?;
        let digest = digest_of(&bytes);
        if !plan.notes.iter().any(|note| note.contains(&digest)) {
            return Err(format!("{ENVELOPE} is not the one the plan notes"))
                .doing("attest the upgrade envelope");
        }
        Ok(Some(Subject { name: "upgrade-envelope".to_owned(), digest: DigestPair::of(&bytes) }))
    }

    /// Sets the run beside the one before, and keeps what changed.
    pub(crate) fn compared(&self, out: &Path) -> Result<Option<Comparison>, RehearsalError> {
        let Some(before) = &self.baseline else { return Ok(None) };
        let before = read_dir(before).doing("read the run before")?;
        let after = read_dir(out).doing("read the evidence")?;
        let plan = before.plan.as_ref().map(|plan| plan.digest());
        let compared = compare(&before, &after);
        let kept = json!({ "schema": "qbind.baseline/v1", "before": plan, "comparison": compared });
        let text = serde_json::to_string_pretty(&kept).doing("serialise the comparison")? + "\n";
        fs::write(out.join(BASELINE), text).doing("keep the comparison")?;
        Ok(Some(compared))
    }
}

/// Keeps a draft that is of class C and names the program under rehearsal; what to note about it.
fn keep(path: &Path, binary: &[u8], out: &Path) -> Result<String, RehearsalError> {
    let what = "rehearse the upgrade";
    let envelope = Envelope::load(path).usage(what)?;
    if envelope.class != Class::CHardFork {
        let shown = path.display();
        return Err(format!("{shown} is not of class C; other classes need no rehearsal"))
            .usage(what);
    }
    let digest = digest_of(binary);
    let bare = digest.trim_start_matches("0x");
    if !envelope.binary_hashes.values().any(|hash| hash == bare) {
        let shown = path.display();
        return Err(format!(
            "{shown} names no binary with SHA3-256 {bare}, the node under rehearsal"
        ))
        .usage(what);
    }
    fs::copy(path, out.join(ENVELOPE)).doing("keep the upgrade envelope")?;
    let kept = digest_of(&fs::read(out.join(ENVELOPE)).doing("keep the upgrade envelope")?);
    let (id, version) = (&envelope.envelope_id, &envelope.protocol_version);
    Ok(format!("upgrade {id} to {version}, envelope SHA3-256 {kept}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_purpose_demands_is_asked_for_before_anything_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (out, file) = (dir.path().join("out"), dir.path().join("envelope.json"));
        fs::create_dir(&out).unwrap();
        fs::write(&file, "{}").unwrap();
        let empty = Some(dir.path().to_owned());
        let named = || Some("the outage".to_owned());
        for (gate_type, purpose, expected) in [
            (GateType::ClassCUpgrade, Purpose::default(), "--upgrade-envelope"),
            (
                GateType::ClassCUpgrade,
                Purpose { envelope: Some(file), ..Purpose::default() },
                "envelope.json",
            ),
            (GateType::PostIncident, Purpose::default(), "--incident"),
            (
                GateType::PostIncident,
                Purpose { incident: named(), ..Purpose::default() },
                "--baseline",
            ),
            (
                GateType::PostIncident,
                Purpose { incident: named(), baseline: empty.clone(), ..Purpose::default() },
                "no evidence of a rehearsal",
            ),
            (
                GateType::MainnetLaunch,
                Purpose { baseline: empty, ..Purpose::default() },
                "no evidence of a rehearsal",
            ),
        ] {
            let refused = purpose.begin(gate_type, b"binary", &out).unwrap_err();
            assert!(
                refused.is_usage && refused.source.to_string().contains(expected),
                "{refused:?}"
            );
        }
        let launch = Purpose::default().begin(GateType::MainnetLaunch, b"binary", &out);
        assert_eq!(launch.unwrap(), Vec::<String>::new());
    }
}
