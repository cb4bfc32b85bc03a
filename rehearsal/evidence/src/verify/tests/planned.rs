//! The plan that was signed before the run.

use super::*;
use crate::{Journal, PLAN_SIGNED_FIELD, PLAN_SIGNED_RECORD, SealOptions, seal, sign_plan};
use serde_json::json;
use std::fs;

/// A bundle whose plan key 1 signed; `change` comes between signing and sealing.
fn planned(change: impl Fn(&std::path::Path)) -> Vec<u8> {
    let dir = evidence();
    let journal = dir.path().join("journal.jsonl");
    fs::remove_file(&journal).unwrap();
    let plan = fs::read(dir.path().join("plan.yaml")).unwrap();
    let journal = Journal::create(&journal).unwrap();
    let digest = Digest::of(&[&plan]).to_string();
    journal.append_at(1, "plan.fixed", json!({"plan_digest": digest})).unwrap();
    let envelope = sign_plan(dir.path(), 2, &[key(1)]).unwrap();
    journal.append_at(2, PLAN_SIGNED_RECORD, json!({PLAN_SIGNED_FIELD: envelope})).unwrap();
    journal.append_at(3, "lab.ready", json!({})).unwrap();
    change(dir.path());
    let out = dir.path().join("a.qbundle");
    seal(dir.path(), &out, &SealOptions { facts: Some(&facts()), signers: &[key(1)] }).unwrap();
    fs::read(out).unwrap()
}

fn messages(bundle: &[u8]) -> String {
    let answer = check(bundle);
    answer.findings.iter().map(|f| format!("{f}; ")).collect()
}

#[test]
fn a_plan_signed_before_the_run_names_its_signers() {
    let bundle = planned(|_| {});
    let answer = check(&bundle);
    assert!(answer.valid, "{:?}", answer.findings);
    assert_eq!(answer.plan_signers, [trust().keys[0].id()]);
    assert_eq!(answer.plan_signed_at.as_deref(), Some("1970-01-01T00:00:00.002Z"));
    // Without it a bundle is whole, and says that nobody signed.
    assert!(check(&super::bundle()).plan_signers.is_empty());
    let handed_out = files(&bundle)["plan.dsse.json"].clone();
    let with = |planned| {
        let options = VerifyOptions { planned: Some(planned), ..VerifyOptions::default() };
        verify(&bundle[..], &options).valid
    };
    assert!(with(&handed_out[..]));
    assert!(!with(b"{}"));
}

#[test]
fn a_bar_that_moved_is_noticed() {
    let moved = planned(|dir| fs::write(dir.join("plan.yaml"), "name: milder\n").unwrap());
    assert!(messages(&moved).contains("the bar was moved"), "{}", messages(&moved));
    // Signed again afterwards: the journal names the first envelope.
    let again = planned(|dir| {
        sign_plan(dir, 9, &[key(1)]).unwrap();
    });
    assert!(messages(&again).contains("not the envelope that the journal names"));
    let gone = planned(|dir| fs::remove_file(dir.join("plan.dsse.json")).unwrap());
    assert!(messages(&gone).contains("is missing, and the journal says"));
    let late = planned(|dir| {
        let journal = dir.join("journal.jsonl");
        fs::remove_file(&journal).unwrap();
        let journal = Journal::create(&journal).unwrap();
        journal.append_at(1, "plan.fixed", json!({})).unwrap();
        journal.append_at(2, "live.done", json!({})).unwrap();
        let envelope = sign_plan(dir, 3, &[key(1)]).unwrap();
        journal.append_at(3, PLAN_SIGNED_RECORD, json!({PLAN_SIGNED_FIELD: envelope})).unwrap();
    });
    assert!(messages(&late).contains("not named by the second record"), "{}", messages(&late));
    let stranger = planned(|dir| {
        let bytes = fs::read(dir.join("plan.dsse.json")).unwrap();
        let mut envelope = Envelope::parse(&bytes).unwrap();
        envelope.signatures[0].sig = envelope.signatures[0].sig.replacen('A', "B", 1);
        fs::write(dir.join("plan.dsse.json"), envelope.to_bytes()).unwrap();
    });
    assert!(messages(&stranger).contains("is wrong"), "{}", messages(&stranger));
}
