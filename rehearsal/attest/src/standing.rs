//! Policy x bundle x time -> approved, pending or refused, and why.

use crate::policy::{Instant, Member, Policy};
use qbind_evidence::{Decision, Digest, GateType, SignedOff, SignerStatus, Verdict, Verification};
use qbind_plan::{FaultKind, Form as PlannedForm, Manifest, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: u64 = 86_400_000;
/// Clocks of honest machines may differ by this much.
const CLOCK_TOLERANCE_MS: u64 = 10 * 60 * 1000;

/// Where a bundle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decided {
    /// Enough agreed.
    Approved,
    /// Enough still may.
    Pending,
    /// It cannot be approved any more, or never could.
    Refused,
}

/// One sign-off of the bundle and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Voice {
    /// Who.
    pub keyid: Digest,
    /// Name of the key in the policy.
    pub name: Option<String>,
    /// The person.
    pub operator: Option<String>,
    /// For whom.
    pub organisation: Option<String>,
    /// As what.
    pub role: String,
    /// Yes or no.
    pub decision: Decision,
    /// Their words.
    pub reason: String,
    /// When.
    pub decided_at: String,
    /// Why it does not count; `None` where it does.
    pub objection: Option<String>,
}

/// The answer about a bundle under a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Where it stands.
    pub decided: Decided,
    /// Persons whose approval counts.
    pub approvals: usize,
    /// How many must.
    pub threshold: usize,
    /// What is lacking, or in the way.
    pub reasons: Vec<String>,
    /// Every sign-off, those that count first.
    pub voices: Vec<Voice>,
    /// Gates that were let through, with the names of those who did.
    pub waived: BTreeMap<String, Vec<String>>,
}

/// Judges `bundle`, which was verified with [`Policy::trust`], at `now` (Unix milliseconds).
pub fn judge(policy: &Policy, bundle: &Verification, now: u64) -> Standing {
    let mut obstacles: Vec<String> = Vec::new();
    if !bundle.valid {
        let first = bundle.findings.first().map(ToString::to_string).unwrap_or_default();
        obstacles.push(format!("the bundle is not valid: {first}"));
    }
    if policy.plan_signed && !bundle.plan_signers.iter().any(|key| policy.vouches(*key, now)) {
        let why = "no member vouches for the plan as signed before the run (plan_signed)";
        obstacles.push(why.to_owned());
    }
    obstacles.extend(moved_bar(policy, bundle));
    let good = bundle.signers.iter().filter(|signer| signer.status == SignerStatus::Valid);
    if !good.into_iter().any(|signer| policy.vouches(signer.keyid, now)) {
        obstacles.push("no member whose key is in its term signed the bundle".to_owned());
    }
    let statement = bundle.statement.as_ref().map(|s| &s.predicate);
    let mut open: BTreeSet<String> = BTreeSet::new();
    let ended = statement.and_then(|said| Instant::parse(&said.window.end).ok());
    let ended = ended.map_or(u64::MAX, |end| end.0);
    match statement {
        None => obstacles.push("the bundle says nothing".to_owned()),
        Some(said) => {
            if said.verdict != Verdict::Pass {
                obstacles.push(format!("the verdict of the run is {}", said.verdict));
            }
            obstacles.extend(policy.objection(said.gate_type, said.form));
            if now.saturating_sub(ended) > u64::from(policy.max_age_days) * DAY_MS {
                let days = policy.max_age_days;
                obstacles.push(format!("the run ended more than {days} days ago (max_age_days)"));
            }
            open.extend(said.open_gates().map(str::to_owned));
        }
    }
    let mut voices: Vec<Voice> =
        bundle.sign_offs.iter().map(|signed| voice(policy, signed, &open, (ended, now))).collect();
    silence_the_undecided(&mut voices);
    voices.sort_by_key(|voice| voice.objection.is_some());
    let tally = Tally::of(&voices);
    let mut waived: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for voice in voices.iter().filter(|v| counts(v, Decision::Approve)) {
        let signed = bundle.sign_offs.iter().find(|s| s.keyid == voice.keyid);
        let waivers = signed.iter().flat_map(|s| &s.sign_off.waivers);
        // Whoever signs by hand may name any gate; only what is open can be let through.
        for waiver in waivers.filter(|waiver| open.contains(&waiver.gate)) {
            let name = voice.name.clone().unwrap_or_default();
            waived.entry(waiver.gate.clone()).or_default().push(name);
        }
    }
    let missing = tally.missing(policy);
    let decided = if !obstacles.is_empty() || tally.is_hopeless(policy) {
        Decided::Refused
    } else if missing.is_empty() {
        Decided::Approved
    } else {
        Decided::Pending
    };
    obstacles.extend(missing);
    Standing {
        decided,
        approvals: tally.approving.len(),
        threshold: policy.threshold,
        reasons: obstacles,
        voices,
        waived,
    }
}

/// What the purpose of a run demands and its bundle lacks.
pub(crate) fn unmet(bundle: &Verification) -> Option<String> {
    let statement = bundle.statement.as_ref()?;
    match statement.predicate.gate_type {
        GateType::ClassCUpgrade
            if !statement.subject.iter().any(|s| s.name == "upgrade-envelope") =>
        {
            Some("a class C upgrade is attested with its envelope as a subject".to_owned())
        }
        GateType::PostIncident if !bundle.files.iter().any(|f| f.path == "baseline.json") => {
            Some("a run after an incident is attested with a baseline.json".to_owned())
        }
        _ => None,
    }
}

/// What a plan that calls itself full has less of than the full form.
fn short(plan: &Plan) -> Option<String> {
    let full = Manifest::full();
    let (probes, window) = (full.measure.value.probes_per_pair, full.live.value.window_s);
    let kinds = [FaultKind::KillLeader, FaultKind::CutRegion, FaultKind::LossBurst];
    let why = if plan.measure.probes_per_pair < probes {
        format!("fewer than {probes} probes a pair")
    } else if plan.live.window_s < window {
        format!("a live window below {window} s")
    } else if plan.steps.form != full.steps.form {
        "steps in their short form".to_owned()
    } else if let Some(kind) =
        kinds.iter().find(|kind| plan.faults.iter().all(|f| f.kind != **kind))
    {
        format!("no fault of the kind {kind:?}")
    } else {
        return None;
    };
    Some(format!("the plan calls itself full and has {why}"))
}

/// A stage done too often; what the purpose lacks; a full form that is none; else the first bound that is looser than the guide's and that the policy does not let be.
///
/// A plan that cannot be read has no verdict to approve: judging the raw files again shows it.
pub fn moved_bar(policy: &Policy, bundle: &Verification) -> Option<String> {
    let (attempts, allowed) = (bundle.attempts, policy.attempts);
    if attempts > allowed {
        return Some(format!("a stage of the run was done {attempts} times (attempts {allowed})"));
    }
    if let Some(why) = unmet(bundle) {
        return Some(why);
    }
    let text = std::str::from_utf8(&bundle.plan).ok()?;
    let plan = Plan::parse("plan.yaml", text).ok()?;
    if plan.form == PlannedForm::Full
        && let Some(why) = short(&plan)
    {
        return Some(why);
    }
    let looser = plan.bounds.looser_than_the_guide();
    let found = looser.iter().find(|bound| !policy.looser_bounds.contains(bound.key))?;
    Some(format!("{found}, and the policy does not allow it (looser_bounds)"))
}

fn counts(voice: &Voice, decision: Decision) -> bool {
    voice.objection.is_none() && voice.decision == decision
}

fn voice(
    policy: &Policy,
    signed: &SignedOff,
    open: &BTreeSet<String>,
    (ended, now): (u64, u64),
) -> Voice {
    let member = policy.member(signed.keyid);
    let said = &signed.sign_off;
    Voice {
        keyid: signed.keyid,
        name: member.map(|m| m.name.clone()),
        operator: member.map(|m| m.operator.clone()),
        organisation: member.map(|m| m.organisation.clone()),
        role: said.role.clone(),
        decision: said.decision,
        reason: said.reason.clone(),
        decided_at: said.decided_at.clone(),
        objection: match member {
            None => Some("the key is not in the policy".to_owned()),
            Some(member) => objection(policy, member, signed, open, (ended, now)),
        },
    }
}

/// Why a member's sign-off does not count.
fn objection(
    policy: &Policy,
    member: &Member,
    signed: &SignedOff,
    open: &BTreeSet<String>,
    (ended, now): (u64, u64),
) -> Option<String> {
    let said = &signed.sign_off;
    if signed.is_signed != Some(true) {
        return Some("its signature is wrong".to_owned());
    }
    if let Some(at) = member.revoked_at {
        return Some(format!("the key was revoked at {at}"));
    }
    if member.algorithm < policy.algorithm_floor {
        return Some("the key is weaker than the policy allows (algorithm_floor)".to_owned());
    }
    if !member.roles.contains(&said.role) {
        return Some(format!("the policy does not know them as {}", said.role));
    }
    let Some(decided) = said.decided_unix_ms() else {
        return Some("its time cannot be read".to_owned());
    };
    if decided > now.saturating_add(CLOCK_TOLERANCE_MS) {
        return Some("it is from the future".to_owned());
    }
    if decided.saturating_add(CLOCK_TOLERANCE_MS) < ended {
        return Some("it was made before the run had ended".to_owned());
    }
    if now.saturating_sub(decided) > u64::from(policy.sign_off_days) * DAY_MS {
        let days = policy.sign_off_days;
        return Some(format!("it is older than {days} days (sign_off_days)"));
    }
    let decided = Instant(decided);
    if member.valid_from.is_some_and(|from| decided < from)
        || member.valid_until.is_some_and(|until| decided > until)
    {
        return Some("it was not made while the key was valid".to_owned());
    }
    if said.decision == Decision::Reject {
        return None;
    }
    if !said.recomputed {
        return Some("they did not judge the raw files again".to_owned());
    }
    let waived: BTreeSet<&String> = said.waivers.iter().map(|w| &w.gate).collect();
    if let Some(gate) = open.iter().find(|gate| !waived.contains(gate)) {
        return Some(format!("it does not waive {gate}, which did not pass"));
    }
    None
}

/// A person who says yes with one key and no with another has decided nothing but no.
fn silence_the_undecided(voices: &mut [Voice]) {
    let against: BTreeSet<String> = voices
        .iter()
        .filter(|v| counts(v, Decision::Reject))
        .filter_map(|v| v.operator.clone())
        .collect();
    for voice in voices.iter_mut().filter(|v| counts(v, Decision::Approve)) {
        if voice.operator.as_ref().is_some_and(|o| against.contains(o)) {
            voice.objection = Some("the same person rejects with another key".to_owned());
        }
    }
}

/// Persons, each once.
struct Tally {
    approving: BTreeSet<String>,
    rejecting: BTreeSet<String>,
    organisations: BTreeSet<String>,
    by_role: BTreeMap<String, BTreeSet<String>>,
}

impl Tally {
    fn of(voices: &[Voice]) -> Self {
        let mut tally = Self {
            approving: BTreeSet::new(),
            rejecting: BTreeSet::new(),
            organisations: BTreeSet::new(),
            by_role: BTreeMap::new(),
        };
        for voice in voices.iter().filter(|v| v.objection.is_none()) {
            let (Some(person), Some(organisation)) = (&voice.operator, &voice.organisation) else {
                continue;
            };
            if voice.decision == Decision::Reject {
                tally.rejecting.insert(person.clone());
                continue;
            }
            tally.approving.insert(person.clone());
            tally.organisations.insert(organisation.clone());
            tally.by_role.entry(voice.role.clone()).or_default().insert(person.clone());
        }
        tally
    }

    fn missing(&self, policy: &Policy) -> Vec<String> {
        let mut missing = Vec::new();
        let mut check = |what: &str, there: usize, wanted: usize| {
            if there < wanted {
                missing.push(format!("{there} of {wanted} {what}"));
            }
        };
        check("approvals", self.approving.len(), policy.threshold);
        check("organisations", self.organisations.len(), policy.organisations);
        for (role, wanted) in &policy.roles {
            let there = self.by_role.get(role).map_or(0, BTreeSet::len);
            check(&format!("approvals as {role}"), there, *wanted);
        }
        missing
    }

    /// Whether those who did not reject are too few.
    fn is_hopeless(&self, policy: &Policy) -> bool {
        let left: Vec<&Member> = policy
            .members
            .iter()
            .filter(|m| m.revoked_at.is_none() && !self.rejecting.contains(&m.operator))
            .collect();
        let persons = |role: Option<&String>| {
            let holds = |m: &&&Member| role.is_none_or(|role| m.roles.contains(role));
            left.iter().filter(holds).map(|m| &m.operator).collect::<BTreeSet<_>>().len()
        };
        let organisations = left.iter().map(|m| &m.organisation).collect::<BTreeSet<_>>().len();
        persons(None) < policy.threshold
            || organisations < policy.organisations
            || policy.roles.iter().any(|(role, wanted)| persons(Some(role)) < *wanted)
    }
}
