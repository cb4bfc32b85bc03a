//! `attest cosign` and `attest status`: whose agreement a bundle has, and adding one's own.

use super::{
    AttestOutput, Failure, NOT_VALID, PassphraseArgs, UNKNOWN, VALID, handed_out, moment,
    passphrases, read,
    recompute::{Recomputed, verify_and_judge},
    render::shown,
};
use clap::{Args, ValueEnum};
use qbind_attest::{Decided, Instant, Policy, Standing, Voice, judge, moved_bar};
use qbind_evidence::{
    Decision, Digest, Seen, SignOff, Verdict, Verification, VerifyOptions, Waiver, cosign_bundle,
    key_id, open_key,
};
use qbind_report::{SignOffs, SignedDecision, Waived};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecisionArg {
    /// Go on.
    Approve,
    /// Do not.
    Reject,
}

/// Arguments of `attest cosign`.
#[derive(Debug, Args)]
pub(crate) struct CosignArgs {
    /// The bundle; it is judged again first, and signed in place
    pub(crate) bundle: PathBuf,
    /// Whose agreement counts (policy.yaml)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Your encrypted key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The signed plan (plan.dsse.json) that was handed out before the run
    #[arg(long, value_name = "FILE")]
    pub(crate) planned: Option<PathBuf>,
    /// As what you decide; one of your roles in the policy
    #[arg(long)]
    pub(crate) role: String,
    /// What you decide
    #[arg(long, value_enum)]
    pub(crate) decision: DecisionArg,
    /// Why; required to reject
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Let a soft gate through that did not pass, and say why; may be given several times
    #[arg(long, value_name = "GATE=REASON")]
    pub(crate) waive: Vec<String>,
    /// Where the passphrase comes from
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: AttestOutput,
}

/// Arguments of `attest status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Whose agreement counts (policy.yaml)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The signed plan (plan.dsse.json) that was handed out before the run
    #[arg(long, value_name = "FILE")]
    pub(crate) planned: Option<PathBuf>,
    /// Ask for this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: AttestOutput,
}

fn policy(path: &Path) -> Result<Policy, Failure> {
    let hint = "a policy names members, threshold, organisations and roles; see docs/evidence.md";
    Policy::load(path).map_err(|e| Failure::of(&e, hint))
}

/// A bundle at a time, under a policy, and whether its raw files give its verdict again.
pub(crate) fn standing(
    bundle: &Path,
    policy: &Policy,
    now: u64,
) -> Result<(Verification, Standing, bool), String> {
    let read = ask(policy, now, None, |options| verify_and_judge(bundle, options));
    let (verification, recomputed) = read.map_err(|f| format!("{}; {}", f.message, f.hint))?;
    if let Some(Recomputed::Unverifiable(why)) = &recomputed {
        let bundle = shown(&bundle.display().to_string());
        eprintln!("{bundle}: cannot be judged again: {}", shown(why));
    }
    let standing = judge(policy, &verification, now);
    Ok((verification, standing, recomputed == Some(Recomputed::Match)))
}

fn stand(
    bundle: &Path,
    policy: &Policy,
    now: u64,
    planned: Option<&Path>,
) -> Result<(Verification, Standing), Failure> {
    let verification = ask(policy, now, planned, |options| read(bundle, options))?;
    let standing = judge(policy, &verification, now);
    Ok((verification, standing))
}

/// Reads a bundle with what a policy asks of it.
fn ask<T>(
    policy: &Policy,
    now: u64,
    planned: Option<&Path>,
    read: impl FnOnce(&VerifyOptions<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (trust, planned) = (policy.trust(), handed_out(planned)?);
    let options = VerifyOptions {
        trust: Some(&trust),
        planned: planned.as_deref(),
        now_unix_ms: Some(now),
        ..VerifyOptions::default()
    };
    read(&options)
}

pub(super) fn status(args: &StatusArgs, answer: &mut String) -> Result<u8, Failure> {
    let policy = policy(&args.policy)?;
    let now = moment(args.at.as_deref())?;
    let (verification, standing) = stand(&args.bundle, &policy, now, args.planned.as_deref())?;
    tell(&args.bundle, &policy, &verification, &standing, args.output, answer);
    Ok(code(&standing))
}

/// Whose agreement a bundle has, for a report, and its Merkle root.
pub(crate) fn sign_offs(
    bundle: &Path,
    policy_file: &Path,
    planned: Option<&Path>,
    at: Option<&str>,
) -> Result<(SignOffs, Option<Digest>), String> {
    let said = |f: Failure| format!("{}; {}", f.message, f.hint);
    let policy = policy(policy_file).map_err(said)?;
    let now = moment(at).map_err(said)?;
    let (verification, standing) = stand(bundle, &policy, now, planned).map_err(said)?;
    let reasons = |gate: &str| {
        let counted = standing.voices.iter().filter(|v| v.objection.is_none());
        let signed = counted
            .filter_map(|v| verification.sign_offs.iter().find(|s| s.keyid == v.keyid))
            .flat_map(|s| &s.sign_off.waivers);
        signed.filter(|w| w.gate == gate).map(|w| w.reason.clone()).collect()
    };
    let waived = standing.waived.iter();
    let waived = waived.map(|(gate, by)| Waived {
        gate: gate.clone(),
        by: by.clone(),
        reasons: reasons(gate),
    });
    let root = verification.merkle_root;
    let sign_offs = SignOffs {
        standing: word(&standing).to_owned(),
        asked_at: Instant(now).to_string(),
        approvals: standing.approvals as u64,
        threshold: standing.threshold as u64,
        reasons: standing.reasons.clone(),
        decisions: standing
            .voices
            .iter()
            .map(|voice| SignedDecision {
                who: who(voice),
                role: voice.role.clone(),
                approves: voice.decision == Decision::Approve,
                reason: voice.reason.clone(),
                decided_at: voice.decided_at.clone(),
                objection: voice.objection.clone(),
            })
            .collect(),
        waived: waived.collect(),
        policy: policy.name,
    };
    Ok((sign_offs, root))
}

fn word(standing: &Standing) -> &'static str {
    match standing.decided {
        Decided::Approved => "APPROVED",
        Decided::Pending => "PENDING",
        Decided::Refused => "REFUSED",
    }
}

/// The person, or the key of a stranger.
fn who(voice: &Voice) -> String {
    match (&voice.name, &voice.operator, &voice.organisation) {
        (Some(name), Some(operator), Some(organisation)) => {
            format!("{name} ({operator}, {organisation})")
        }
        _ => format!("key {}", voice.keyid),
    }
}

fn code(standing: &Standing) -> u8 {
    match standing.decided {
        Decided::Approved => VALID,
        Decided::Refused => NOT_VALID,
        Decided::Pending => UNKNOWN,
    }
}

fn tell(
    bundle: &Path,
    policy: &Policy,
    verification: &Verification,
    standing: &Standing,
    output: AttestOutput,
    answer: &mut String,
) {
    if output == AttestOutput::Json {
        let value = json!({
            "schema": "qbindctl.attest-status/v1",
            "bundle": bundle,
            "policy": policy.name,
            "valid": verification.valid,
            "verdict": verification.statement.as_ref().map(|s| s.predicate.verdict),
            "merkle_root": verification.merkle_root,
            "standing": standing,
        });
        answer.push_str(&format!("{value}\n"));
        return;
    }
    let word = word(standing);
    let (name, there, wanted) = (&policy.name, standing.approvals, standing.threshold);
    answer.push_str(&format!(
        "{word}: {}\n  policy      {}: {there} of {wanted} approvals\n",
        shown(&bundle.display().to_string()),
        shown(name)
    ));
    for reason in &standing.reasons {
        answer.push_str(&format!("  lacks       {}\n", shown(reason)));
    }
    for voice in &standing.voices {
        let decision = match voice.decision {
            Decision::Approve => "approves",
            Decision::Reject => "REJECTS",
        };
        let who = who(voice);
        let reason = match voice.reason.is_empty() {
            true => String::new(),
            false => format!(": {}", voice.reason),
        };
        let worth = match &voice.objection {
            Some(why) => format!(" [does not count: {why}]"),
            None => String::new(),
        };
        let (role, at) = (&voice.role, &voice.decided_at);
        let text = format!("{who} {decision} as {role}, {at}{reason}{worth}");
        answer.push_str(&format!("  sign-off    {}\n", shown(&text)));
    }
    for (gate, who) in &standing.waived {
        answer.push_str(&format!("  waived      {}: by {}\n", shown(gate), shown(&who.join(", "))));
    }
}

pub(super) fn cosign(args: &CosignArgs, answer: &mut String) -> Result<u8, Failure> {
    let policy = policy(&args.policy)?;
    let passphrases = passphrases(&args.passphrase, 1)?;
    let nothing = "nothing was signed; check the key file and its passphrase";
    let key = open_key(&args.key, &passphrases[0]).map_err(|e| Failure::of(&e, nothing))?;
    let Some(member) = policy.member(key_id(&key.public_key())) else {
        let message = format!("{} is no key of this policy", args.key.display());
        return Err(Failure::new(message, "sign with a key the policy lists, or have yours added"));
    };
    if !member.roles.contains(&args.role) {
        let roles: Vec<&str> = member.roles.iter().map(String::as_str).collect();
        let message = format!("the policy does not know {} as {}", member.operator, args.role);
        let message = format!("{message}, only as {}", roles.join(", "));
        return Err(Failure::new(message, "give --role one of them"));
    }
    let now = moment(None)?;
    let planned = args.planned.as_deref();
    let judged = |options: &VerifyOptions<'_>| verify_and_judge(&args.bundle, options);
    let (verification, recomputed) = ask(&policy, now, planned, judged)?;
    let unsound = || Recomputed::Unverifiable("the bundle is not valid".to_owned());
    let recomputed = recomputed.unwrap_or_else(unsound);
    eprintln!("judged again from the raw files: {}", recomputed.word());
    recomputed.details().iter().for_each(|detail| eprintln!("  {}", shown(detail)));
    let decided = SignOff {
        decision: match args.decision {
            DecisionArg::Approve => Decision::Approve,
            DecisionArg::Reject => Decision::Reject,
        },
        role: args.role.clone(),
        reason: args.reason.clone(),
        decided_at: String::new(),
        recomputed: recomputed == Recomputed::Match,
        waivers: waivers(&args.waive)?,
        seen: seen(&verification, key_id(&key.public_key())),
    }
    .at(now);
    if decided.decision == Decision::Approve
        && let Some(why) = objection(&policy, &verification, &decided)
    {
        let hint = "nothing was signed; --decision reject records that you do not agree, and why";
        return Err(Failure::new(format!("there is nothing to approve: {why}"), hint));
    }
    let hint = "nothing was signed; `qbindctl attest show` says more about the bundle";
    let Some(judged) = verification.merkle_root else {
        return Err(Failure::new("the bundle has no manifest", hint));
    };
    cosign_bundle(&args.bundle, judged, &key, decided).map_err(|e| Failure::of(&e, hint))?;
    let (verification, standing) = stand(&args.bundle, &policy, now, planned)?;
    tell(&args.bundle, &policy, &verification, &standing, args.output, answer);
    Ok(VALID)
}

/// Why an approval would be worth nothing.
fn objection(policy: &Policy, bundle: &Verification, decided: &SignOff) -> Option<String> {
    if let Some(finding) = bundle.findings.first() {
        return Some(finding.to_string());
    }
    let said = &bundle.statement.as_ref()?.predicate;
    if said.verdict != Verdict::Pass {
        return Some(format!("the verdict of the run is {}", said.verdict));
    }
    if !decided.recomputed {
        return Some("the raw files were not found to give the same verdict".to_owned());
    }
    let objection = policy.objection(said.gate_type, said.form);
    if let Some(why) = objection.or_else(|| moved_bar(policy, bundle)) {
        return Some(why);
    }
    let is_open = |id: &str| said.open_gates().any(|gate| gate == id);
    if let Some(waiver) = decided.waivers.iter().find(|w| !is_open(&w.gate)) {
        return Some(format!("{} needs no waiver here", waiver.gate));
    }
    let waived = |id: &str| decided.waivers.iter().any(|w| w.gate == id);
    let missing = said.open_gates().find(|gate| !waived(gate))?;
    Some(format!("{missing} did not pass; give --waive {missing}=REASON if it may stand"))
}

/// What other members decided before: it cannot be left out without notice from now on.
fn seen(bundle: &Verification, own: Digest) -> Vec<Seen> {
    let others = bundle.sign_offs.iter().filter(|s| s.is_signed == Some(true) && s.keyid != own);
    let mut seen: Vec<Seen> = others
        .map(|s| Seen { keyid: s.keyid, decided_at: s.sign_off.decided_at.clone() })
        .collect();
    seen.sort_by_key(|seen| seen.keyid);
    seen
}

fn waivers(texts: &[String]) -> Result<Vec<Waiver>, Failure> {
    let hint = "write it like --waive 'G9=the link to Tokyo was repaired since'";
    let mut waivers = texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((gate, reason)) => Ok(Waiver { gate: gate.to_owned(), reason: reason.to_owned() }),
            None => Err(Failure::new(format!("--waive {text:?} has no reason"), hint)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    waivers.sort_by(|a, b| a.gate.cmp(&b.gate));
    Ok(waivers)
}
