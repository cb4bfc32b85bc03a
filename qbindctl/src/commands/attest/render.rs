//! Answers about bundles, for people and for programs.

use super::recompute::Recomputed;
use qbind_evidence::{Predicate, SignerStatus, Statement, Verification};
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write, path::Path};

/// Text of a stranger, safe for a terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn line(out: &mut String, label: &str, text: impl AsRef<str>) {
    // Writing to a String cannot fail.
    writeln!(out, "  {label:<11} {}", shown(text.as_ref())).expect("writing to memory");
}

pub(super) fn verification_text(
    bundle: &Path,
    answer: &Verification,
    recomputed: Option<&Recomputed>,
    out: &mut String,
) {
    let head = if answer.valid { "VALID" } else { "NOT VALID" };
    out.push_str(&format!("{head}: {}\n", shown(&bundle.display().to_string())));
    findings(answer, out);
    if let Some(statement) = &answer.statement {
        if !answer.valid {
            out.push_str("What it claims, not to be relied on:\n");
        }
        claims(statement, out);
    }
    signers(answer, out);
    planned(answer, out);
    evidence(answer, out);
    if let Some(recomputed) = recomputed {
        line(out, "recompute", recomputed.word());
        recomputed.details().iter().for_each(|detail| line(out, "", detail));
    }
}

fn findings(answer: &Verification, out: &mut String) {
    for finding in &answer.findings {
        out.push_str(&format!("  - {}\n", shown(&finding.to_string())));
    }
}

fn claims(statement: &Statement<Predicate>, out: &mut String) {
    let said = &statement.predicate;
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    line(out, "verdict", format!("{} (of the run; validity is about the evidence)", said.verdict));
    let purpose = [word(json!(said.gate_type)), said.target.clone(), word(json!(said.form))];
    line(out, "purpose", purpose.join(", "));
    line(out, "run", format!("{}, {} to {}", said.run_id, said.window.start, said.window.end));
    line(out, "regions", said.regions.join(", "));
    line(out, "relied on", format!("until {}", said.validity.end));
    line(out, "plan", format!("SHA3-256 {}", said.plan_digest.sha3_256));
    for subject in &statement.subject {
        line(out, "subject", format!("{}, SHA3-256 {}", subject.name, subject.digest.sha3_256));
    }
    let not_passed: Vec<String> = said
        .gates
        .iter()
        .filter(|gate| json!(gate.verdict) != "PASS")
        .map(|gate| {
            format!("{} {} ({})", gate.id, word(json!(gate.verdict)), word(json!(gate.severity)))
        })
        .collect();
    let passed = said.gates.len() - not_passed.len();
    let rest =
        if not_passed.is_empty() { String::new() } else { format!("; {}", not_passed.join(", ")) };
    line(out, "gates", format!("{passed} of {} passed{rest}", said.gates.len()));
}

fn signers(answer: &Verification, out: &mut String) {
    for signer in &answer.signers {
        let status = match signer.status {
            SignerStatus::Valid => "good",
            SignerStatus::Wrong => "WRONG",
            SignerStatus::Unknown => "key not in the trust file",
        };
        let who = match (&signer.name, &signer.operator, &signer.organisation) {
            (Some(name), Some(operator), Some(organisation)) => {
                format!("{name} ({operator}, {organisation})")
            }
            _ => format!("key {}", signer.keyid),
        };
        line(out, "signature", format!("{status}: {who}"));
    }
    if answer.signers.is_empty() {
        line(out, "signature", "none");
    }
}

fn planned(answer: &Verification, out: &mut String) {
    let text = match &answer.plan_signed_at {
        Some(at) if answer.plan_signers.is_empty() => {
            format!("signed before the run ({at}) by no key of the trust file")
        }
        Some(at) => format!("signed before the run ({at}) by a trusted key"),
        None => "not signed before the run".to_owned(),
    };
    line(out, "bar", text);
}

fn evidence(answer: &Verification, out: &mut String) {
    let bytes: u64 = answer.files.iter().map(|file| file.size).sum();
    line(out, "evidence", format!("{} files, {bytes} bytes", answer.files.len()));
    if let Some(root) = answer.merkle_root {
        line(out, "Merkle root", root.to_string());
    }
    if let Some(journal) = &answer.journal {
        line(out, "journal", format!("{} records, chain whole", journal.records));
    }
}

pub(super) fn verification_json(
    bundle: &Path,
    answer: &Verification,
    recomputed: Option<&Recomputed>,
    out: &mut String,
) {
    let value = json!({
        "schema": "qbindctl.attest-verify/v1",
        "bundle": bundle,
        "valid": answer.valid,
        "verdict": answer.statement.as_ref().map(|s| s.predicate.verdict),
        "findings": answer.findings,
        "signers": answer.signers,
        "statement": answer.statement,
        "merkle_root": answer.merkle_root,
        "journal": answer.journal,
        "files": answer.files.len(),
        "unpacked_bytes": answer.unpacked_bytes,
        "recompute": recomputed.map(Recomputed::word),
        "recompute_differences": recomputed.map(Recomputed::details),
    });
    out.push_str(&format!("{value}\n"));
}

pub(super) fn contents_text(bundle: &Path, answer: &Verification, all: bool, out: &mut String) {
    out.push_str(&format!("{}\n", shown(&bundle.display().to_string())));
    if !answer.valid {
        out.push_str("This bundle is NOT SOUND:\n");
        findings(answer, out);
    }
    if let Some(statement) = &answer.statement {
        claims(statement, out);
        for gate in &statement.predicate.gates {
            let (severity, verdict) = (json!(gate.severity), json!(gate.verdict));
            let text = format!(
                "{:<4} {:<8} {}",
                gate.id,
                verdict.as_str().unwrap_or_default(),
                severity.as_str().unwrap_or_default()
            );
            line(out, "", text);
        }
    }
    for signer in &answer.signers {
        line(out, "signature", format!("key {}, not checked here", signer.keyid));
    }
    evidence(answer, out);
    let mut groups: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for file in &answer.files {
        let group = match file.path.split_once('/') {
            Some((folder, _)) if !all => format!("{folder}/"),
            _ => file.path.clone(),
        };
        let entry = groups.entry(group).or_default();
        *entry = (entry.0 + 1, entry.1 + file.size);
    }
    for (name, (count, bytes)) in groups {
        let files = if name.ends_with('/') { format!("{count} files") } else { String::new() };
        out.push_str(&format!("  {bytes:>14}  {} {files}\n", shown(&name)).replace(" \n", "\n"));
    }
}

pub(super) fn contents_json(bundle: &Path, answer: &Verification, out: &mut String) {
    let value = json!({
        "schema": "qbindctl.attest-show/v1",
        "bundle": bundle,
        "sound": answer.valid,
        "findings": answer.findings,
        "statement": answer.statement,
        "keyids": answer.signers.iter().map(|signer| signer.keyid).collect::<Vec<_>>(),
        "merkle_root": answer.merkle_root,
        "journal": answer.journal,
        "files": answer.files,
    });
    out.push_str(&format!("{value}\n"));
}
