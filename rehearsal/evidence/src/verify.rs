//! Bundle + trusted keys -> valid or not, and why.

mod content;
mod handover;
mod notes;

use crate::{
    digest::{Digest, DigestPair},
    dsse::Envelope,
    envelopes::Statements,
    findings::{Finding, FindingCode as Code},
    journal::JournalSummary,
    layout,
    manifest::Manifest,
    plan_signed,
    reader::Limits,
    sign_off::{self, SignOff, SignedOff},
    statement::{Predicate, REHEARSAL_PREDICATE, Statement, rfc3339},
    trust::{Trust, TrustedKey},
};
use content::Content;
use handover::Handover;
pub use handover::Take;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, io::BufRead};

/// Clocks of honest machines may differ by this much.
const CLOCK_TOLERANCE_MS: u64 = 10 * 60 * 1000;
/// Differences named in one finding at most.
const DIFFERENCES: usize = 5;

/// What to hold a bundle to.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions<'a> {
    /// Whose signatures count. `None`: only the inner consistency is checked.
    pub trust: Option<&'a Trust>,
    /// The present, or the moment for which validity is asked. `None`: the period is not checked.
    pub now_unix_ms: Option<u64>,
    /// Local files, by name, each of which must be a subject of the attestation.
    pub subjects: &'a [(String, DigestPair)],
    /// The signed plan as it was handed out before the run, which must be the bundle's.
    pub planned: Option<&'a [u8]>,
    /// What the reader accepts at most.
    pub limits: Limits,
}

/// What a signature amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignerStatus {
    /// A trusted key signed both statements.
    Valid,
    /// A trusted key is named, but its signature is wrong or covers one statement only.
    Wrong,
    /// The key is not in the trust file; its signature says nothing.
    Unknown,
}

/// One key named in the envelopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerReport {
    /// Key id.
    pub keyid: Digest,
    /// What its signature amounts to.
    pub status: SignerStatus,
    /// Name of the key in the trust file.
    pub name: Option<String>,
    /// Who holds it.
    pub operator: Option<String>,
    /// For whom.
    pub organisation: Option<String>,
}

/// The answer about a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether nothing is wrong.
    pub valid: bool,
    /// What is wrong; empty for a valid bundle.
    pub findings: Vec<Finding>,
    /// Every key named in an envelope.
    pub signers: Vec<SignerReport>,
    /// Keys asked about that signed the plan before the run.
    pub plan_signers: Vec<Digest>,
    /// When the plan was signed, as its signers say.
    pub plan_signed_at: Option<String>,
    /// What others decided about it.
    pub sign_offs: Vec<SignedOff>,
    /// What the bundle claims. To be believed only if `valid`.
    pub statement: Option<Statement<Predicate>>,
    /// Root over the files of the manifest.
    pub merkle_root: Option<Digest>,
    /// `plan.yaml` as it is in the bundle; empty if it is not there.
    pub plan: Vec<u8>,
    /// How often the stage that was begun most often was, as the journal says: measurement, a step, live window.
    pub attempts: u64,
    /// The journal, if its chain holds.
    pub journal: Option<JournalSummary>,
    /// The files read, with size and digest as found.
    pub files: Vec<crate::manifest::ManifestFile>,
    /// Bytes unpacked.
    pub unpacked_bytes: u64,
    /// SHA-256 of the file up to its seal, if that is right.
    pub seal: Option<Digest>,
}

/// Reads a bundle once, from start to end, and checks everything that can be checked from it.
///
/// Findings come in the order of the checks: container, files, manifest, journal, statements,
/// signatures, validity, subjects.
pub fn verify(source: impl BufRead, options: &VerifyOptions<'_>) -> Verification {
    verify_taking(source, options, &|_, _, _| ())
}

/// As [`verify`], and hands over every file of the manifest, sign-offs aside, as it comes. What was handed over
/// is worth nothing unless the answer is `valid`.
///
/// At most as many bytes are handed over as the attestation says the evidence has, and after the manifest only
/// what it lists; where a trust file is given, nothing before a key of it is found to have signed that.
pub fn verify_taking(
    source: impl BufRead,
    options: &VerifyOptions<'_>,
    take: &Take<'_>,
) -> Verification {
    let handover = Handover::new(take, options.trust);
    let mut content = Content::read(source, options.limits, &handover);
    let mut findings = std::mem::take(&mut content.findings);
    let manifest = check_files(&content, &mut findings);
    cap(&mut findings, options.limits.findings);
    let journal = check_journal(&mut content, &mut findings);
    let planned = check_plan(&content, options, &mut findings);
    let derived = manifest.as_ref().and_then(|m| derive(&content, m, &mut findings));
    let attestation = envelope(&content, layout::ATTESTATION, &mut findings);
    let test_result = envelope(&content, layout::TEST_RESULT, &mut findings);
    if let Some(derived) = &derived {
        let pairs = [
            (layout::ATTESTATION, &attestation, derived.rehearsal.to_bytes()),
            (layout::TEST_RESULT, &test_result, derived.test_result.to_bytes()),
        ];
        for (name, envelope, expected) in pairs {
            let Some(envelope) = envelope else { continue };
            findings.extend(compare(name, &envelope.payload(), &expected));
        }
    }
    let statement = attestation.as_ref().and_then(|envelope| claimed(envelope, &mut findings));
    let signers =
        check_signatures(options.trust, attestation.as_ref(), test_result.as_ref(), &mut findings);
    let sign_offs = check_sign_offs(&content, options.trust, attestation.as_ref(), &mut findings);
    if let (Some(statement), Some(now)) = (&statement, options.now_unix_ms) {
        findings.extend(check_period(&statement.predicate, now));
    }
    check_subjects(&content, statement.as_ref(), options.subjects, &mut findings);
    Verification {
        valid: findings.is_empty(),
        findings,
        signers,
        plan_signers: planned.as_ref().map(|(keys, _)| keys.clone()).unwrap_or_default(),
        plan_signed_at: planned.map(|(_, at)| at),
        sign_offs,
        statement,
        attempts: content.notes.stages.values().max().copied().unwrap_or(0),
        merkle_root: manifest.map(|manifest| manifest.merkle_root),
        plan: content.document(layout::PLAN).unwrap_or_default().to_vec(),
        journal,
        files: content.listing(),
        unpacked_bytes: content.unpacked,
        seal: content.seal,
    }
}

/// Names so many findings, and counts the rest.
fn cap(findings: &mut Vec<Finding>, most: usize) {
    if let Some(more) = findings.len().checked_sub(most).filter(|more| *more > 0) {
        findings.truncate(most);
        findings.push(Finding::new(Code::TooLarge, format!("has {more} more such faults")));
    }
}

/// Files against manifest, both ways.
fn check_files(content: &Content, findings: &mut Vec<Finding>) -> Option<Manifest> {
    let manifest = match content.document(layout::MANIFEST) {
        Some(bytes) => Manifest::parse(bytes),
        None if content.broken => return None,
        None => {
            findings.push(Finding::at(Code::Missing, layout::MANIFEST, "is missing"));
            return None;
        }
    };
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(problem) => {
            findings.push(Finding::at(Code::Manifest, layout::MANIFEST, problem));
            return None;
        }
    };
    let mut listed = BTreeSet::new();
    for file in &manifest.files {
        listed.insert(file.path.as_str());
        match content.seen.get(&file.path) {
            Some((size, digest)) if *size == file.size && *digest == file.sha3_256 => {}
            Some((size, _)) if *size != file.size => {
                let message = format!("has {size} bytes, the manifest lists {}", file.size);
                findings.push(Finding::at(Code::Changed, &file.path, message));
            }
            Some((_, digest)) => {
                let listed = file.sha3_256;
                let message =
                    format!("was changed: its SHA3-256 is {digest}, the manifest lists {listed}");
                findings.push(Finding::at(Code::Changed, &file.path, message));
            }
            None if content.broken => {}
            None => {
                let message = "is listed in the manifest and not there";
                findings.push(Finding::at(Code::Missing, &file.path, message));
            }
        }
    }
    for name in content.seen.keys() {
        if !listed.contains(name.as_str()) && !layout::is_envelope(name) {
            findings.push(Finding::at(Code::Unlisted, name, "is not listed in the manifest"));
        }
    }
    Some(manifest)
}

/// The chain, and that every mention of a plan is of this plan.
fn check_journal(content: &mut Content, findings: &mut Vec<Finding>) -> Option<JournalSummary> {
    let summary = match content.journal.take()?.finish() {
        Ok(summary) => summary,
        Err(fault) => {
            findings.push(Finding::at(Code::Journal, layout::JOURNAL, fault.to_string()));
            return None;
        }
    };
    let plan = content.seen.get(layout::PLAN).map(|(_, digest)| digest.to_string())?;
    if let Some(other) = content.notes.plans.iter().find(|mentioned| **mentioned != plan) {
        let message = format!("speaks of a plan with the digest {other}, this one has {plan}");
        findings.push(Finding::at(Code::Journal, layout::JOURNAL, message));
    }
    Some(summary)
}

/// The signed plan is this plan, the journal names it before anything was done, and it is the one that
/// was handed out, where that is given.
fn check_plan(
    content: &Content,
    options: &VerifyOptions<'_>,
    findings: &mut Vec<Finding>,
) -> Option<(Vec<Digest>, String)> {
    let mut wrong =
        |message: &str| findings.push(Finding::at(Code::Plan, layout::PLAN_SIGNED, message));
    let signed = content.document(layout::PLAN_SIGNED);
    if let Some(handed_out) = options.planned
        && signed != Some(handed_out)
        && !content.broken
    {
        wrong("is not the signed plan that was handed out before the run");
    }
    let Some(bytes) = signed else {
        if !content.notes.plan_signed.is_empty() && !content.broken {
            wrong("is missing, and the journal says that the plan was signed");
        }
        return None;
    };
    match &content.notes.plan_signed[..] {
        [(1, named)] if *named == Digest::of(&[bytes]).to_string() => {}
        [(1, _)] => wrong("is not the envelope that the journal names"),
        _ if content.broken => {}
        _ => wrong("is not named by the second record of the journal, and by that alone"),
    }
    match plan_signed::read(bytes, content.document(layout::PLAN)?) {
        Ok((envelope, at)) => {
            let keys = options.trust.map(|trust| &trust.keys[..]).unwrap_or_default();
            for key in keys.iter().filter(|k| envelope.is_signed_by(&k.public_key) == Some(false)) {
                wrong(&format!("the signature of {:?} is wrong", key.name));
            }
            let right = |k: &&TrustedKey| envelope.is_signed_by(&k.public_key) == Some(true);
            Some((keys.iter().filter(right).map(TrustedKey::id).collect(), at))
        }
        Err(why) => {
            wrong(&why);
            None
        }
    }
}

fn derive(
    content: &Content,
    manifest: &Manifest,
    findings: &mut Vec<Finding>,
) -> Option<Statements> {
    let plan = content.document(layout::PLAN)?;
    let facts = content.document(layout::FACTS)?;
    let gates = content.document(layout::GATES)?;
    match Statements::derive(facts, gates, plan, manifest) {
        Ok(statements) => Some(statements),
        Err(error) => {
            let file = error.file().map(str::to_owned);
            findings.push(match file {
                Some(file) => Finding::at(Code::Facts, file, error.to_string()),
                None => Finding::new(Code::Facts, error.to_string()),
            });
            None
        }
    }
}

fn envelope(content: &Content, name: &str, findings: &mut Vec<Finding>) -> Option<Envelope> {
    let Some(bytes) = content.document(name) else {
        if !content.broken {
            findings.push(Finding::at(
                Code::Missing,
                name,
                "is missing: nobody signed this bundle",
            ));
        }
        return None;
    };
    match Envelope::parse(bytes) {
        Ok(envelope) => Some(envelope),
        Err(error) => {
            findings.push(Finding::at(Code::Envelope, name, error.to_string()));
            None
        }
    }
}

/// Names the fields in which the signed statement departs from the one the files add up to.
fn compare(name: &str, signed: &[u8], expected: &[u8]) -> Option<Finding> {
    if signed == expected {
        return None;
    }
    let mut differences = Vec::new();
    match (serde_json::from_slice::<Value>(signed), serde_json::from_slice::<Value>(expected)) {
        (Ok(signed), Ok(expected)) => differ("", &signed, &expected, &mut differences),
        _ => differences.push("it is not JSON".to_owned()),
    }
    let message = if differences.is_empty() {
        "the signed statement is not written in the one way there is".to_owned()
    } else {
        format!("the signed statement does not follow from the files: {}", differences.join("; "))
    };
    Some(Finding::at(Code::Statement, name, message))
}

fn differ(path: &str, signed: &Value, expected: &Value, out: &mut Vec<String>) {
    if signed == expected || out.len() >= DIFFERENCES {
        return;
    }
    match (signed, expected) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let (left, right) = (a.get(key), b.get(key));
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differ(&path, left.unwrap_or(&Value::Null), right.unwrap_or(&Value::Null), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (left, right)) in a.iter().zip(b).enumerate() {
                differ(&format!("{path}[{index}]"), left, right, out);
            }
        }
        _ => {
            let short = |value: &Value| value.to_string().chars().take(80).collect::<String>();
            out.push(format!("{path} says {}, the files say {}", short(signed), short(expected)));
        }
    }
}

fn claimed(envelope: &Envelope, findings: &mut Vec<Finding>) -> Option<Statement<Predicate>> {
    let payload = envelope.payload();
    let value: Value = serde_json::from_slice(&payload).unwrap_or_default();
    let kind = value.get("predicateType").and_then(Value::as_str);
    if kind != Some(REHEARSAL_PREDICATE) {
        let kind = kind.unwrap_or("none");
        let message = format!("the predicate type is {kind:?}, expected {REHEARSAL_PREDICATE:?}");
        findings.push(Finding::at(Code::Statement, layout::ATTESTATION, message));
        return None;
    }
    match serde_json::from_slice(&payload) {
        Ok(statement) => Some(statement),
        Err(error) => {
            let message = format!("the signed statement is not understood: {error}");
            findings.push(Finding::at(Code::Statement, layout::ATTESTATION, message));
            None
        }
    }
}

/// A key counts when both statements carry its right signature; a wrong one of a trusted key is a
/// finding even where others are right.
fn check_signatures(
    trust: Option<&Trust>,
    attestation: Option<&Envelope>,
    test_result: Option<&Envelope>,
    findings: &mut Vec<Finding>,
) -> Vec<SignerReport> {
    let named: BTreeSet<Digest> = [attestation, test_result]
        .into_iter()
        .flatten()
        .flat_map(|envelope| envelope.signatures.iter().map(|signature| signature.keyid))
        .collect();
    let mut signers = Vec::new();
    for keyid in named {
        let Some(key) = trust.and_then(|trust| trust.find(keyid)) else {
            let status = SignerStatus::Unknown;
            let (name, operator, organisation) = (None, None, None);
            signers.push(SignerReport { keyid, status, name, operator, organisation });
            continue;
        };
        let mut status = SignerStatus::Valid;
        for (file, envelope) in
            [(layout::ATTESTATION, attestation), (layout::TEST_RESULT, test_result)]
        {
            let problem = match envelope.and_then(|e| e.is_signed_by(&key.public_key)) {
                Some(true) => continue,
                Some(false) => "is wrong",
                None => "is missing, while the other statement names it",
            };
            status = SignerStatus::Wrong;
            let message = format!("the signature of {:?} {problem}", key.name);
            findings.push(Finding::at(Code::Signature, file, message));
        }
        signers.push(SignerReport {
            keyid,
            status,
            name: Some(key.name.clone()),
            operator: Some(key.operator.clone()),
            organisation: Some(key.organisation.clone()),
        });
    }
    if trust.is_some() && !signers.iter().any(|signer| signer.status == SignerStatus::Valid) {
        findings.push(Finding::new(Code::Untrusted, "no key of the trust file signed it"));
    }
    signers
}

/// One that is malformed, or wrong under a known key, is a finding; one of a stranger is only shown.
fn check_sign_offs(
    content: &Content,
    trust: Option<&Trust>,
    attestation: Option<&Envelope>,
    findings: &mut Vec<Finding>,
) -> Vec<SignedOff> {
    let Some(attestation) = attestation.map(Envelope::payload) else { return Vec::new() };
    let mut sign_offs = Vec::new();
    for (file, bytes) in content.sign_offs() {
        let read = sign_off::key_of(file)
            .ok_or_else(|| "is not named after a key".to_owned())
            .and_then(|keyid| Ok((keyid, SignOff::read(bytes, keyid, &attestation)?)));
        let (keyid, (sign_off, envelope)) = match read {
            Ok(read) => read,
            Err(message) => {
                findings.push(Finding::at(Code::SignOff, file, message));
                continue;
            }
        };
        let key = trust.and_then(|trust| trust.find(keyid));
        let is_signed = key.map(|key| envelope.is_signed_by(&key.public_key) == Some(true));
        if let (Some(key), Some(false)) = (key, is_signed) {
            let message = format!("the signature of {:?} is wrong", key.name);
            findings.push(Finding::at(Code::SignOff, file, message));
        }
        sign_offs.push(SignedOff { keyid, is_signed, sign_off });
    }
    for signed in sign_offs.iter().filter(|signed| signed.is_signed == Some(true)) {
        if let Some(message) = sign_off::left_out(&signed.sign_off, &sign_offs) {
            let file = sign_off::file_of(signed.keyid);
            findings.push(Finding::at(Code::SignOff, file, message));
        }
    }
    sign_offs
}

fn check_period(predicate: &Predicate, now: u64) -> Option<Finding> {
    let instant = |text: &str| -> Option<u64> {
        let time = humantime::parse_rfc3339(text).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    };
    let period = &predicate.validity;
    let (Some(start), Some(end)) = (instant(&period.start), instant(&period.end)) else {
        let message = "the validity period cannot be read";
        return Some(Finding::at(Code::Statement, layout::ATTESTATION, message));
    };
    let message = if now.saturating_add(CLOCK_TOLERANCE_MS) < start {
        format!("is not valid before {}; the time asked for is {}", period.start, rfc3339(now))
    } else if now > end {
        format!("expired at {}; rehearse again, or ask for an earlier time", period.end)
    } else {
        return None;
    };
    Some(Finding::new(Code::Expired, message))
}

fn check_subjects(
    content: &Content,
    statement: Option<&Statement<Predicate>>,
    local: &[(String, DigestPair)],
    findings: &mut Vec<Finding>,
) {
    let Some(statement) = statement else { return };
    let inside = content.seen.get(layout::GENESIS);
    if let (Some((_, found)), Some(subject)) = (inside, statement.subject_digest(layout::GENESIS))
        && *found != subject.sha3_256
    {
        let message = "is not the genesis file the attestation is about";
        findings.push(Finding::at(Code::Subject, layout::GENESIS, message));
    }
    for (name, digest) in local {
        if !statement.subject.iter().any(|subject| subject.digest == *digest) {
            let message =
                format!("{name} (SHA3-256 {}) is no subject of this attestation", digest.sha3_256);
            findings.push(Finding::new(Code::Subject, message));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
