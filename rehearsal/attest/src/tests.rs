//! Covers: who counts and who does not, and what an envelope needs.

mod signing_off;
mod upgrades;

use qbind_crypto::SecretKey;
use qbind_evidence::{
    Decision, Digest, DigestPair, Facts, Form, GateType, Journal, PLAN_SIGNED_FIELD,
    PLAN_SIGNED_RECORD, SealOptions, SignOff, Subject, Verification, VerifyOptions, Waiver,
    cosign_bundle, seal, sign_plan, verify,
};
use serde_json::json;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// The end of the run; decisions are made from here on.
const END: u64 = 1_770_681_960_500;
const HOUR: u64 = 3_600_000;
const NOW: u64 = END + 24 * HOUR;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

struct Bundle {
    _dir: TempDir,
    path: PathBuf,
}

/// A sealed run of this verdict, signed by key 1, in which the soft gate G9 did or did not pass.
fn bundle(purpose: GateType, hard: &str, soft: &str) -> Bundle {
    sealed(purpose, hard, soft, true)
}

fn sealed(purpose: GateType, hard: &str, soft: &str, sign_plan_too: bool) -> Bundle {
    let dir = tempfile::tempdir().unwrap();
    let plan = "schema: qbind.plan/v1\nname: example\n";
    fs::write(dir.path().join("plan.yaml"), plan).unwrap();
    let verdict = if hard == "PASS" { "PASS" } else { "FAIL" };
    let gates = json!({"schema": "qbind.gates/v1", "verdict": verdict, "gates": [
        {"id": "G1", "severity": "hard", "verdict": hard, "title": "commit divergence"},
        {"id": "G9", "severity": "soft", "verdict": soft, "title": "view changes"},
    ]});
    fs::write(dir.path().join("gates.json"), gates.to_string()).unwrap();
    let journal = Journal::create(&dir.path().join("journal.jsonl")).unwrap();
    let digest = Digest::of(&[plan.as_bytes()]).to_string();
    journal.append_at(1, "plan.fixed", json!({"plan_digest": digest})).unwrap();
    if sign_plan_too {
        let envelope = sign_plan(dir.path(), 2, &[key(1)]).unwrap();
        journal.append_at(2, PLAN_SIGNED_RECORD, json!({PLAN_SIGNED_FIELD: envelope})).unwrap();
    }
    let facts = Facts {
        schema: Facts::SCHEMA.to_owned(),
        run_id: "7f3a".to_owned(),
        gate_type: purpose,
        target: "lab".to_owned(),
        form: Form::Quick,
        regions: vec!["eu".to_owned(), "us".to_owned(), "ap".to_owned()],
        started_unix_ms: END - HOUR,
        finished_unix_ms: END,
        valid_days: 30,
        subjects: ["qbind-node", "upgrade-envelope"]
            .map(|name| Subject { name: name.to_owned(), digest: DigestPair::of(b"the binary") })
            .to_vec(),
        producer: "qbindctl 0.1.0".to_owned(),
    };
    let path = dir.path().join("a.qbundle");
    let options = SealOptions { facts: Some(&facts), signers: &[key(1)] };
    seal(dir.path(), &path, &options).unwrap();
    Bundle { _dir: dir, path }
}

fn decision(decision: Decision, role: &str) -> SignOff {
    SignOff {
        decision,
        role: role.to_owned(),
        reason: "because".to_owned(),
        decided_at: String::new(),
        recomputed: true,
        waivers: Vec::new(),
        seen: Vec::new(),
    }
    .at(END + HOUR)
}

fn waiving(gate: &str) -> SignOff {
    let waiver = Waiver { gate: gate.to_owned(), reason: "known".to_owned() };
    SignOff { waivers: vec![waiver], ..decision(Decision::Approve, "council") }
}

impl Bundle {
    fn decide(&self, n: u8, decided: SignOff) -> &Self {
        let bytes = fs::read(&self.path).unwrap();
        let root = verify(&bytes[..], &VerifyOptions::default()).merkle_root.unwrap();
        cosign_bundle(&self.path, root, &key(n), decided).unwrap();
        self
    }

    fn approve(&self, keys: &[u8]) -> &Self {
        for n in keys {
            self.decide(*n, decision(Decision::Approve, "council"));
        }
        self
    }

    fn verified(&self, policy: &crate::Policy, now: u64) -> Verification {
        let trust = policy.trust();
        let options =
            VerifyOptions { trust: Some(&trust), now_unix_ms: Some(now), ..Default::default() };
        verify(&fs::read(&self.path).unwrap()[..], &options)
    }
}
