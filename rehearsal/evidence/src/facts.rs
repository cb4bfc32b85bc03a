//! What a statement says about a run, and where it comes from.
//!
//! `facts.json` holds what no other file of the evidence says (purpose, subjects, window);
//! `gates.json` is written by the gate engine. Both are covered by the manifest, and the signed
//! statement is a function of them, so no statement can say other than the files do.

use crate::{digest::DigestPair, layout, statement::rfc3339};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, io, path::Path};
use thiserror::Error;

const FACTS_SCHEMA: &str = "qbind.facts/v1";
const GATES_SCHEMA: &str = "qbind.gates/v1";
const DAY_MS: u64 = 86_400_000;
/// Latest time RFC 3339 can write: the end of the year 9999.
const LATEST_UNIX_MS: u64 = 253_402_300_799_999;

/// Why the rehearsal was run (guide, section 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateType {
    /// Before the genesis block of MainNet.
    MainnetLaunch,
    /// Before a hard fork.
    ClassCUpgrade,
    /// After a major network event.
    PostIncident,
}

/// How thorough the run was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Short windows, 1,000 probes a pair.
    Quick,
    /// The whole rehearsal.
    Full,
}

/// An artifact the rehearsal speaks about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Name, such as `qbind-node` or `genesis.json`.
    pub name: String,
    /// Its digests.
    pub digest: DigestPair,
}

/// The content of `facts.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// `qbind.facts/v1`.
    pub schema: String,
    /// Short id of the run, as in the name of the bundle.
    pub run_id: String,
    /// Why it was run.
    pub gate_type: GateType,
    /// `lab` or `inventory`: emulated links or real ones.
    pub target: String,
    /// How thorough it was.
    pub form: Form,
    /// Regions that took part.
    pub regions: Vec<String>,
    /// Start of the run.
    pub started_unix_ms: u64,
    /// End of the run.
    pub finished_unix_ms: u64,
    /// Days after its end for which the attestation may be relied on.
    pub valid_days: u32,
    /// What was rehearsed: the node binary, the genesis file, an upgrade envelope.
    pub subjects: Vec<Subject>,
    /// Program and version that ran it.
    pub producer: String,
}

/// What is wrong with `facts.json` or `gates.json`.
#[derive(Debug, Error)]
pub enum FactsError {
    /// It cannot be read or written.
    #[error("cannot access {file}")]
    Io {
        /// Which file.
        file: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not JSON of this schema.
    #[error("{file} is not understood: {detail}")]
    Malformed {
        /// Which file.
        file: &'static str,
        /// Line, column and reason.
        detail: String,
    },
    /// It contradicts itself.
    #[error("{file} contradicts itself: {detail}")]
    Contradiction {
        /// Which file.
        file: &'static str,
        /// How.
        detail: String,
    },
}

impl FactsError {
    /// The file of the evidence that is to blame.
    pub(crate) fn file(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => None,
            Self::Malformed { file, .. } | Self::Contradiction { file, .. } => Some(file),
        }
    }
}

impl Facts {
    /// The schema a new `facts.json` names.
    pub const SCHEMA: &'static str = FACTS_SCHEMA;

    /// Reads and validates the bytes of `facts.json`.
    ///
    /// # Errors
    /// Not of this schema, or contradicting itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, FactsError> {
        let facts: Self = serde_json::from_slice(bytes)
            .map_err(|e| FactsError::Malformed { file: layout::FACTS, detail: e.to_string() })?;
        facts.validate()?;
        Ok(facts)
    }

    /// Reads `facts.json` of an evidence directory.
    ///
    /// # Errors
    /// It cannot be read, is not of this schema, or contradicts itself.
    pub fn load(dir: &Path) -> Result<Self, FactsError> {
        let path = dir.join(layout::FACTS);
        let bytes = fs::read(&path)
            .map_err(|source| FactsError::Io { file: path.display().to_string(), source })?;
        Self::parse(&bytes)
    }

    /// Writes `facts.json` into an evidence directory.
    ///
    /// # Errors
    /// The facts contradict themselves, or the file cannot be written.
    pub fn store(&self, dir: &Path) -> Result<(), FactsError> {
        self.validate()?;
        let path = dir.join(layout::FACTS);
        fs::write(&path, self.to_bytes())
            .map_err(|source| FactsError::Io { file: path.display().to_string(), source })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers serialise");
        bytes.push(b'\n');
        bytes
    }

    fn validate(&self) -> Result<(), FactsError> {
        let names: BTreeSet<&str> = self.subjects.iter().map(|s| s.name.as_str()).collect();
        let problem = if self.schema != FACTS_SCHEMA {
            Some(format!("schema is {:?}, expected {FACTS_SCHEMA:?}", self.schema))
        } else if self.subjects.is_empty() {
            Some("no subject: an attestation about nothing".to_owned())
        } else if names.len() != self.subjects.len() || names.contains("") {
            Some("subjects need distinct names".to_owned())
        } else if self.run_id.is_empty() || !self.run_id.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            // It becomes part of a file name.
            Some("run_id must be letters and digits".to_owned())
        } else if self.regions.is_empty() {
            Some("no region".to_owned())
        } else if self.finished_unix_ms < self.started_unix_ms {
            Some("the run ends before it starts".to_owned())
        } else if self.valid_until_unix_ms() > LATEST_UNIX_MS {
            Some("the validity period ends after the year 9999".to_owned())
        } else if self.valid_days == 0 {
            Some("a validity of 0 days".to_owned())
        } else {
            None
        };
        match problem {
            None => Ok(()),
            Some(detail) => Err(FactsError::Contradiction { file: layout::FACTS, detail }),
        }
    }

    /// The name of the bundle: `rehearsal-<date>-<run id>.qbundle`.
    pub fn bundle_name(&self) -> String {
        let date = rfc3339(self.finished_unix_ms);
        format!("rehearsal-{}-{}.qbundle", &date[..10], self.run_id)
    }

    /// When the attestation ceases to be valid.
    pub fn valid_until_unix_ms(&self) -> u64 {
        self.finished_unix_ms.saturating_add(u64::from(self.valid_days) * DAY_MS)
    }
}

/// The overall verdict of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Every hard gate passed.
    Pass,
    /// A hard gate failed.
    Fail,
    /// The environment was not as planned.
    Invalid,
    /// A hard gate could not be decided.
    Inconclusive,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
            Self::Inconclusive => "INCONCLUSIVE",
        })
    }
}

/// The verdict of one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Within its bound.
    Pass,
    /// Outside its bound.
    Fail,
    /// Not decided: no data, or too little.
    Unknown,
    /// The environment was not as planned.
    Invalid,
}

/// What a gate's verdict does to the overall one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Decides.
    Hard,
    /// Is listed.
    Soft,
    /// Is noted.
    Informational,
}

/// One gate as the statement names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateVerdict {
    /// Its id, such as `G1`.
    pub id: String,
    /// What its verdict does.
    pub severity: Severity,
    /// Its verdict.
    pub verdict: Outcome,
}

/// What the statement takes from `gates.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatesSummary {
    /// The overall verdict written there.
    pub verdict: Verdict,
    /// Every gate.
    pub gates: Vec<GateVerdict>,
}

#[derive(Deserialize)]
struct GatesFile {
    schema: String,
    verdict: Verdict,
    gates: Vec<GateLine>,
}

/// The gate engine writes more about each gate than a statement needs.
#[derive(Deserialize)]
struct GateLine {
    id: String,
    severity: Severity,
    verdict: Outcome,
}

impl GatesSummary {
    /// Reads the bytes of `gates.json` and checks that the overall verdict is no better than what
    /// its gates add up to.
    ///
    /// # Errors
    /// Not of this schema, or contradicting itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, FactsError> {
        let malformed = |detail| Err(FactsError::Malformed { file: layout::GATES, detail });
        let contradiction = |detail| Err(FactsError::Contradiction { file: layout::GATES, detail });
        let file: GatesFile = match serde_json::from_slice(bytes) {
            Ok(file) => file,
            Err(error) => return malformed(error.to_string()),
        };
        if file.schema != GATES_SCHEMA {
            return malformed(format!("schema is {:?}, expected {GATES_SCHEMA:?}", file.schema));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = file.gates.iter().find(|gate| !seen.insert(gate.id.as_str())) {
            return contradiction(format!("gate {} appears twice", twice.id));
        }
        let gates: Vec<GateVerdict> = file
            .gates
            .into_iter()
            .map(|gate| GateVerdict { id: gate.id, severity: gate.severity, verdict: gate.verdict })
            .collect();
        let follows = overall(&gates);
        if file.verdict == Verdict::Pass && follows != Verdict::Pass {
            return contradiction(format!("it says PASS, its gates add up to {follows}"));
        }
        if follows == Verdict::Fail && file.verdict != Verdict::Fail {
            return contradiction(format!("a hard gate failed, it says {}", file.verdict));
        }
        Ok(Self { verdict: file.verdict, gates })
    }
}

/// Any hard FAIL fails; else anything INVALID is invalid; else any hard UNKNOWN leaves it open.
fn overall(gates: &[GateVerdict]) -> Verdict {
    let hard = |outcome| gates.iter().any(|g| g.severity == Severity::Hard && g.verdict == outcome);
    if hard(Outcome::Fail) {
        Verdict::Fail
    } else if gates.iter().any(|g| g.verdict == Outcome::Invalid) {
        Verdict::Invalid
    } else if hard(Outcome::Unknown) || !hard(Outcome::Pass) {
        // Nothing decided is not a pass.
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(verdict: &str, gates: &[(&str, &str)]) -> Result<Verdict, String> {
        let gates: Vec<_> = gates
            .iter()
            .enumerate()
            .map(|(n, (severity, verdict))| {
                serde_json::json!({"id": format!("G{n}"), "severity": severity, "verdict": verdict, "title": "t"})
            })
            .collect();
        let file =
            serde_json::json!({"schema": "qbind.gates/v1", "verdict": verdict, "gates": gates});
        GatesSummary::parse(file.to_string().as_bytes())
            .map(|g| g.verdict)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_verdict_better_than_its_gates_is_refused() {
        assert_eq!(gates("PASS", &[("hard", "PASS"), ("soft", "FAIL")]), Ok(Verdict::Pass));
        assert_eq!(gates("FAIL", &[("hard", "FAIL")]), Ok(Verdict::Fail));
        assert_eq!(gates("INVALID", &[("hard", "PASS")]), Ok(Verdict::Invalid));
        for (verdict, list) in [
            ("PASS", &[("hard", "FAIL")][..]),
            ("PASS", &[("hard", "UNKNOWN"), ("hard", "PASS")]),
            ("PASS", &[("hard", "PASS"), ("informational", "INVALID")]),
            ("PASS", &[]),
            ("PASS", &[("soft", "PASS")]),
            ("INCONCLUSIVE", &[("hard", "FAIL")]),
        ] {
            assert!(gates(verdict, list).is_err(), "{verdict} {list:?}");
        }
        assert!(gates("MAYBE", &[]).unwrap_err().contains("MAYBE"));
    }

    #[test]
    fn facts_that_contradict_themselves_are_refused() {
        let good = crate::seal::tests::facts();
        assert!(Facts::parse(&good.to_bytes()).is_ok());
        let changes: [fn(&mut Facts); 7] = [
            |f| f.schema = "qbind.facts/v2".to_owned(),
            |f| f.subjects.clear(),
            |f| f.subjects.push(f.subjects[0].clone()),
            |f| f.regions.clear(),
            |f| f.finished_unix_ms = f.started_unix_ms - 1,
            |f| f.valid_days = 0,
            |f| f.run_id = "../x".to_owned(),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut facts = good.clone();
            change(&mut facts);
            assert!(Facts::parse(&facts.to_bytes()).is_err(), "change {index}");
        }
    }
}
