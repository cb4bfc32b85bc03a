//! A run's evidence, judged, reported and sealed as the operator's command would.

use crate::{sound::NODE_BINARY, store};
use qbind_crypto::SecretKey;
use qbind_evidence::{
    DigestPair, Facts, Form, GateType, Journal, PLAN_SIGNED_FIELD, PLAN_SIGNED_RECORD, SealOptions,
    Subject, Trust, TrustedKey, seal, sign_plan,
};
use qbind_gates::{Evidence, GatesResult, evaluate_dir, records::paths};
use qbind_plan::digest_of;
use serde_json::json;
use std::{error::Error, fs, path::Path};

/// Who seals.
pub struct Operator {
    /// With which key.
    pub key: SecretKey,
    /// When the run is said to have ended.
    pub finished_unix_ms: u64,
}

impl Operator {
    /// The trust file that holds the operator's key alone.
    pub fn trust(&self) -> Trust {
        Trust::new(vec![TrustedKey {
            name: "operator".to_owned(),
            operator: "operator".to_owned(),
            organisation: "specimen".to_owned(),
            public_key: self.key.public_key(),
        }])
    }
}

/// What an operator who does not stay honest does before sealing.
#[derive(Default)]
pub struct Lies<'a> {
    /// Claims these gates instead of judging.
    pub gates: Option<&'a GatesResult>,
    /// Changes files of the evidence directory.
    pub edit: Option<&'a dyn Fn(&Path)>,
}

/// Stores `evidence` in the new directory `dir`, judges the files, and seals them into `bundle`.
///
/// # Errors
/// What sealing refuses, such as facts that contradict the plan.
pub fn sealed(
    evidence: &Evidence,
    operator: &Operator,
    dir: &Path,
    bundle: &Path,
) -> Result<GatesResult, Box<dyn Error>> {
    sealed_with(evidence, operator, &Lies::default(), dir, bundle)
}

/// As [`sealed`], by an operator who lies.
///
/// # Errors
/// As [`sealed`].
pub fn sealed_with(
    evidence: &Evidence,
    operator: &Operator,
    lies: &Lies<'_>,
    dir: &Path,
    bundle: &Path,
) -> Result<GatesResult, Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    store(evidence, dir)?;
    if let Some(edit) = lies.edit {
        edit(dir);
    }
    let plan = evidence.plan.as_ref().ok_or("without a plan nothing is sealed")?;
    let digest = digest_of(&fs::read(dir.join(paths::PLAN))?);
    let journal = Journal::create(&dir.join("journal.jsonl"))?;
    journal.append("plan.fixed", json!({ "plan_digest": digest }))?;
    let at = operator.finished_unix_ms - 600_000;
    let envelope = sign_plan(dir, at, std::slice::from_ref(&operator.key))?;
    journal.append(PLAN_SIGNED_RECORD, json!({ (PLAN_SIGNED_FIELD): envelope }))?;
    for id in &evidence.failed_steps {
        journal.append("step.done", json!({ "id": id, "verdict": "FAIL" }))?;
    }
    for (id, result_sha3) in evidence.noted_steps.iter().flatten() {
        journal.append(
            "step.done",
            json!({ "id": id, "verdict": "PASS", "result_sha3": result_sha3 }),
        )?;
    }
    let gates = match lies.gates {
        Some(claimed) => claimed.clone(),
        None => evaluate_dir(dir)?,
    };
    fs::write(dir.join("gates.json"), gates.to_json())?;
    journal.append("verdict", json!({ "verdict": gates.verdict.to_string() }))?;
    let genesis = fs::read(dir.join(paths::GENESIS)).unwrap_or_default();
    let subject =
        |name: &str, bytes: &[u8]| Subject { name: name.to_owned(), digest: DigestPair::of(bytes) };
    let facts = Facts {
        schema: Facts::SCHEMA.to_owned(),
        run_id: digest.trim_start_matches("0x").chars().take(8).collect(),
        gate_type: GateType::MainnetLaunch,
        target: plan.target.clone(),
        form: Form::Quick,
        regions: plan.regions.iter().map(|region| region.id.clone()).collect(),
        started_unix_ms: at,
        finished_unix_ms: operator.finished_unix_ms,
        valid_days: 14,
        subjects: vec![subject("qbind-node", NODE_BINARY), subject("genesis.json", &genesis)],
        producer: "qbind-specimen".to_owned(),
    };
    facts.store(dir)?;
    seal(dir, bundle, &SealOptions { facts: None, signers: std::slice::from_ref(&operator.key) })?;
    Ok(gates)
}
