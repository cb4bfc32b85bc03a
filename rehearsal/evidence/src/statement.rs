//! The in-toto statements: a function of facts, gates, plan and manifest.

use crate::{
    digest::{Digest, DigestPair},
    facts::{
        Facts, Form, GateType, GateVerdict, GatesSummary, Outcome, Severity, Subject, Verdict,
    },
    layout,
    manifest::Manifest,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, UNIX_EPOCH};

/// Type of an in-toto statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Type of the rehearsal predicate.
pub const REHEARSAL_PREDICATE: &str = "https://qbind.org/attestation/rehearsal/v1";
/// Type of the predicate that existing policy engines read.
pub const TEST_RESULT_PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// An in-toto Statement v1 with predicate `P`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Statement<P> {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What the statement is about.
    pub subject: Vec<Subject>,
    /// What `predicate` means.
    pub predicate_type: String,
    /// What is said.
    pub predicate: P,
}

/// A period, both ends in RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First moment.
    pub start: String,
    /// Last moment.
    pub end: String,
}

/// A SHA3-256 digest as a digest set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sha3Set {
    /// The digest.
    pub sha3_256: Digest,
}

/// The evidence a statement stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EvidenceSummary {
    /// Root over all files of the manifest.
    pub merkle_root: Digest,
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Predicate `https://qbind.org/attestation/rehearsal/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Predicate {
    /// Short id of the run.
    pub run_id: String,
    /// Why it was run.
    pub gate_type: GateType,
    /// `lab` or `inventory`.
    pub target: String,
    /// How thorough it was.
    pub form: Form,
    /// Regions that took part.
    pub regions: Vec<String>,
    /// When it ran.
    pub window: Period,
    /// When the attestation may be relied on.
    pub validity: Period,
    /// Digest of `plan.yaml`.
    pub plan_digest: Sha3Set,
    /// The files behind it.
    pub evidence: EvidenceSummary,
    /// Overall verdict.
    pub verdict: Verdict,
    /// Verdict of every gate.
    pub gates: Vec<GateVerdict>,
    /// Program and version that ran it.
    pub producer: String,
}

/// Predicate `https://in-toto.io/attestation/test-result/v0.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TestResult {
    result: String,
    configuration: Vec<Configuration>,
    passed_tests: Vec<String>,
    warned_tests: Vec<String>,
    failed_tests: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    name: String,
    digest: Sha3Set,
}

impl Predicate {
    /// The last moment at which it may be relied on, Unix milliseconds; nothing if it cannot be read.
    pub fn valid_until_unix_ms(&self) -> Option<u64> {
        let time = humantime::parse_rfc3339(&self.validity.end).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    /// Ids of the soft gates that did not pass: an approval must waive each.
    pub fn open_gates(&self) -> impl Iterator<Item = &str> {
        let open =
            |gate: &&GateVerdict| gate.severity == Severity::Soft && gate.verdict != Outcome::Pass;
        self.gates.iter().filter(open).map(|gate| gate.id.as_str())
    }
}

impl<P: Serialize> Statement<P> {
    fn new(predicate_type: &str, facts: &Facts, predicate: P) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: facts.subjects.clone(),
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// The signed bytes: compact JSON, fields in the order of the type.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialise")
    }
}

impl Statement<Predicate> {
    /// The rehearsal statement these files add up to.
    pub fn rehearsal(
        facts: &Facts,
        gates: &GatesSummary,
        plan: Digest,
        manifest: &Manifest,
    ) -> Self {
        let predicate = Predicate {
            run_id: facts.run_id.clone(),
            gate_type: facts.gate_type,
            target: facts.target.clone(),
            form: facts.form,
            regions: facts.regions.clone(),
            window: Period {
                start: rfc3339(facts.started_unix_ms),
                end: rfc3339(facts.finished_unix_ms),
            },
            validity: Period {
                start: rfc3339(facts.finished_unix_ms),
                end: rfc3339(facts.valid_until_unix_ms()),
            },
            plan_digest: Sha3Set { sha3_256: plan },
            evidence: EvidenceSummary {
                merkle_root: manifest.merkle_root,
                files: manifest.files.len() as u64,
                bytes: manifest.bytes(),
            },
            verdict: gates.verdict,
            gates: gates.gates.clone(),
            producer: facts.producer.clone(),
        };
        Self::new(REHEARSAL_PREDICATE, facts, predicate)
    }

    /// The digests of a subject.
    pub fn subject_digest(&self, name: &str) -> Option<DigestPair> {
        self.subject.iter().find(|subject| subject.name == name).map(|subject| subject.digest)
    }
}

impl Statement<TestResult> {
    /// The test-result statement these files add up to.
    pub(crate) fn test_result(facts: &Facts, gates: &GatesSummary, plan: Digest) -> Self {
        let named = |wanted: fn(&GateVerdict) -> bool| -> Vec<String> {
            gates.gates.iter().filter(|gate| wanted(gate)).map(|gate| gate.id.clone()).collect()
        };
        let passed = named(|gate| gate.verdict == Outcome::Pass);
        let warned = named(|gate| gate.verdict != Outcome::Pass && gate.severity != Severity::Hard);
        let failed = named(|gate| gate.verdict != Outcome::Pass && gate.severity == Severity::Hard);
        let result = match gates.verdict {
            Verdict::Pass if warned.is_empty() => "PASSED",
            Verdict::Pass => "WARNED",
            _ => "FAILED",
        };
        let predicate = TestResult {
            result: result.to_owned(),
            configuration: vec![Configuration {
                name: layout::PLAN.to_owned(),
                digest: Sha3Set { sha3_256: plan },
            }],
            passed_tests: passed,
            warned_tests: warned,
            failed_tests: failed,
        };
        Self::new(TEST_RESULT_PREDICATE, facts, predicate)
    }
}

/// RFC 3339 in UTC with milliseconds. The caller keeps to years up to 9999.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}
