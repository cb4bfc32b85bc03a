//! Envelope x keyset x binary x evidence x time -> accepted or not, and why.

use super::{
    envelope::{Approval, Class, Envelope, VERSION, VERSION_OLD},
    keyset::{CouncilKey, Keyset},
};
use crate::{
    policy::Instant,
    standing::{Decided, Standing},
};
use qbind_evidence::{GateType, Verification};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Name of the rehearsed program among the subjects of a bundle.
const PROGRAM: &str = "qbind-node";
/// Clocks of honest machines may differ by this much.
const CLOCK_TOLERANCE_MS: u64 = 10 * 60 * 1000;

/// A bundle that shall back a hard fork.
#[derive(Debug, Clone)]
pub struct Backing {
    /// How it is called, for people.
    pub name: String,
    /// The bundle, verified at the time asked for with the policy's keys.
    pub bundle: Verification,
    /// Where it stands under the policy.
    pub standing: Standing,
    /// Whether its raw files gave the same verdict again.
    pub recomputed: bool,
}

/// What is asked about an envelope.
#[derive(Debug, Clone, Default)]
pub struct Question<'a> {
    /// The present, Unix milliseconds.
    pub now: u64,
    /// A platform, and the SHA3-256 of the binary that shall run on it (64 hexadecimal digits).
    pub binary: Option<(&'a str, &'a str)>,
    /// The rehearsals.
    pub backing: &'a [Backing],
}

/// One approval and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalReport {
    /// Who.
    pub member_id: String,
    /// Whether it counts.
    pub valid: bool,
    /// Why not.
    pub error: Option<String>,
}

/// The answer about an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Whether nothing stands in the way.
    pub valid: bool,
    /// What was signed.
    pub digest_hex: String,
    /// Approvals that count.
    pub valid_count: usize,
    /// How many are needed.
    pub threshold: usize,
    /// Whether the binary is the approved one; absent where none was given.
    pub binary_hash_ok: Option<bool>,
    /// Every approval.
    pub signatures: Vec<ApprovalReport>,
    /// What stands in the way.
    pub problems: Vec<String>,
    /// Approvals that are still to come; beside this nothing may stand in the way of signing.
    pub lacking: Vec<String>,
}

/// Judges an envelope whose form was checked.
pub fn judge(envelope: &Envelope, keyset: &Keyset, question: &Question<'_>) -> Judgement {
    let (mut problems, mut lacking) = (Vec::new(), Vec::new());
    if envelope.network_environment != keyset.network_environment {
        problems.push(format!(
            "the envelope is for {}, the council is that of {}",
            envelope.network_environment, keyset.network_environment
        ));
    }
    let signatures = approvals(envelope, keyset, question.now);
    let valid: Vec<&CouncilKey> = signatures
        .iter()
        .filter(|report| report.valid)
        .filter_map(|report| keyset.member(&report.member_id))
        .collect();
    let threshold = match envelope.emergency {
        true => keyset.emergency_threshold,
        false => keyset.threshold,
    };
    if envelope.class == Class::ANonConsensus {
        problems.push(
            "class A is decided by maintainers and the CI, of which an envelope proves nothing; \
             have it approved as class B to prove it here"
                .to_owned(),
        );
    }
    if valid.len() < threshold {
        lacking.push(format!("{} of {threshold} approvals", valid.len()));
    }
    let organisations = valid.iter().map(|key| &key.organisation).collect::<BTreeSet<_>>().len();
    if organisations < keyset.organisations {
        lacking.push(format!("{organisations} of {} organisations", keyset.organisations));
    }
    let binary_hash_ok =
        question.binary.map(|(platform, digest)| match envelope.binary_hashes.get(platform) {
            Some(approved) if approved == digest => true,
            Some(approved) => {
                problems.push(format!(
                    "the binary for {platform} has SHA3-256 {digest}, approved is {approved}"
                ));
                false
            }
            None => {
                let known: Vec<&String> = envelope.binary_hashes.keys().collect();
                problems.push(format!("no binary for {platform} is approved, only for {known:?}"));
                false
            }
        });
    if envelope.class == Class::CHardFork {
        problems.extend(backed(envelope, question.backing));
    }
    Judgement {
        valid: problems.is_empty() && lacking.is_empty(),
        digest_hex: hex::encode(envelope.digest()),
        valid_count: valid.len(),
        threshold,
        binary_hash_ok,
        signatures,
        problems,
        lacking,
    }
}

/// A member counts once, and so does a key, whatever the file repeats.
fn approvals(envelope: &Envelope, keyset: &Keyset, now: u64) -> Vec<ApprovalReport> {
    let (mut members, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut report = |approval: &Approval| {
        let error = objection(envelope, keyset, approval, now).or_else(|| {
            let new = members.insert(approval.member_id.clone());
            let new_key = keys.insert(approval.public_key.to_lowercase());
            (!new || !new_key).then(|| "counted already".to_owned())
        });
        ApprovalReport { member_id: approval.member_id.clone(), valid: error.is_none(), error }
    };
    envelope.council_approvals.iter().map(&mut report).collect()
}

fn objection(
    envelope: &Envelope,
    keyset: &Keyset,
    approval: &Approval,
    now: u64,
) -> Option<String> {
    let Some(key) = keyset.member(&approval.member_id) else {
        return Some("no member of the council".to_owned());
    };
    if !hex::encode(key.public_key.as_bytes()).eq_ignore_ascii_case(&approval.public_key) {
        return Some("not the member's key".to_owned());
    }
    if let Some(at) = key.revoked_at {
        return Some(format!("the key was revoked at {at}"));
    }
    if !envelope.is_approved_by(approval, &key.public_key) {
        return Some("the signature is wrong".to_owned());
    }
    // Version 1.0 does not sign the time, and a signed one is the signer's word: the present must lie
    // in the key's term too.
    let at = match envelope.envelope_version.as_str() {
        VERSION => match Instant::parse(&approval.timestamp) {
            Ok(at) if at.0 > now.saturating_add(CLOCK_TOLERANCE_MS) => {
                return Some("it is from the future".to_owned());
            }
            Ok(at) => at,
            Err(why) => return Some(why),
        },
        _ => Instant(now),
    };
    let outside = |at: Instant| {
        key.valid_from.is_some_and(|from| at < from)
            || key.valid_until.is_some_and(|until| at > until)
    };
    (outside(at) || outside(Instant(now))).then(|| "not made while the key was valid".to_owned())
}

/// What a hard fork still lacks of rehearsals: each approved binary must have passed one.
fn backed(envelope: &Envelope, backing: &[Backing]) -> Vec<String> {
    if envelope.envelope_version == VERSION_OLD {
        return vec![
            "version 1.0 names no evidence, and a hard fork needs it; have version 1.1 approved"
                .to_owned(),
        ];
    }
    let mut problems = Vec::new();
    let mut rehearsed: BTreeMap<String, &str> = BTreeMap::new();
    for back in backing {
        let found = unfit(envelope, back);
        if found.is_empty() {
            let subjects = back.bundle.statement.iter().flat_map(|s| &s.subject);
            for subject in subjects.filter(|s| s.name == PROGRAM) {
                rehearsed.insert(subject.digest.sha3_256.to_string(), &back.name);
            }
        }
        problems.extend(found.into_iter().map(|why| format!("{}: {why}", back.name)));
    }
    if backing.is_empty() {
        problems.push("a hard fork needs the bundle of a dress rehearsal (--evidence)".to_owned());
        return problems;
    }
    for (platform, digest) in &envelope.binary_hashes {
        if !rehearsed.contains_key(digest) {
            problems.push(format!("no accepted rehearsal ran the binary for {platform}"));
        }
    }
    problems
}

fn unfit(envelope: &Envelope, back: &Backing) -> Vec<String> {
    let mut problems = Vec::new();
    let root = back.bundle.merkle_root.map(|root| root.to_string());
    if !envelope.evidence.iter().any(|e| Some(&e.sha3_256) == root.as_ref()) {
        problems.push("the envelope names other evidence than this".to_owned());
    }
    match back.bundle.statement.as_ref().map(|s| s.predicate.gate_type) {
        Some(GateType::ClassCUpgrade) => {}
        _ => problems.push("it was not rehearsed for a class C upgrade".to_owned()),
    }
    if back.standing.decided != Decided::Approved {
        let why = back.standing.reasons.join("; ");
        problems.push(format!("it is not approved under the policy: {why}"));
    }
    if !back.recomputed {
        problems.push("its raw files do not give its verdict again".to_owned());
    }
    problems
}
