use super::*;
use crate::{Decided, Policy, Standing, judge};
use qbind_plan::{Bounds, Plan};

/// Member n is person n of organisation n mod 3, but key 7 is person 6's second.
fn policy_text(threshold: usize, more: &str) -> String {
    let mut text = format!(
        "schema: qbind.policy/v1\nname: council\nthreshold: {threshold}\n{more}\nmembers:\n"
    );
    for n in 1..=7u8 {
        let person = if n == 7 { 6 } else { n };
        let public = hex::encode(key(n).public_key().as_bytes());
        text += &format!(
            "  - name: key {n}\n    operator: person {person}\n    organisation: org {}\n    \
             roles: [council]\n    public_key: \"{public}\"\n",
            if n == 7 { 0 } else { n % 3 }
        );
    }
    text
}

fn policy(threshold: usize, more: &str) -> Policy {
    Policy::parse(&policy_text(threshold, more)).unwrap()
}

fn standing(bundle: &Bundle, policy: &Policy, now: u64) -> Standing {
    judge(policy, &bundle.verified(policy, now), now)
}

fn good() -> Bundle {
    bundle(GateType::MainnetLaunch, "PASS", "PASS")
}

#[test]
fn enough_different_persons_approve() {
    let (bundle, policy) = (good(), policy(4, "organisations: 3"));
    bundle.approve(&[1, 2, 3]);
    let three = standing(&bundle, &policy, NOW);
    assert_eq!(three.decided, Decided::Pending);
    assert_eq!(three.reasons, ["3 of 4 approvals"]);
    bundle.approve(&[4]);
    let four = standing(&bundle, &policy, NOW);
    assert_eq!((four.decided, four.approvals), (Decided::Approved, 4), "{:?}", four.reasons);
}

#[test]
fn a_person_with_two_keys_counts_once_and_not_at_all_when_undecided() {
    let (bundle, policy) = (good(), policy(3, ""));
    bundle.approve(&[1, 6, 7]);
    let twice = standing(&bundle, &policy, NOW);
    assert_eq!((twice.decided, twice.approvals), (Decided::Pending, 2));
    bundle.decide(7, decision(Decision::Reject, "council"));
    let undecided = standing(&bundle, &policy, NOW);
    assert_eq!(undecided.approvals, 1, "{undecided:?}");
}

#[test]
fn organisations_and_roles_are_counted_apart() {
    let bundle = good();
    bundle.approve(&[3, 6]);
    let one = standing(&bundle, &policy(2, "organisations: 2"), NOW);
    assert_eq!(one.reasons, ["1 of 2 organisations"]);
    let text = policy_text(2, "roles: {auditor: 1}");
    let auditor = text.replacen("roles: [council]", "roles: [council, auditor]", 1);
    let policy = Policy::parse(&auditor).unwrap();
    assert_eq!(standing(&bundle, &policy, NOW).reasons, ["0 of 1 approvals as auditor"]);
    bundle.decide(1, decision(Decision::Approve, "auditor"));
    assert_eq!(standing(&bundle, &policy, NOW).decided, Decided::Approved);
    // A role one does not have is none.
    bundle.decide(2, decision(Decision::Approve, "auditor"));
    let voices = standing(&bundle, &policy, NOW).voices;
    let objection = voices.iter().find_map(|voice| voice.objection.clone());
    assert_eq!(objection.as_deref(), Some("the policy does not know them as auditor"));
}

#[test]
fn dissent_is_recorded_and_enough_of_it_refuses() {
    let (bundle, policy) = (good(), policy(4, ""));
    bundle.approve(&[1, 2]);
    bundle.decide(3, decision(Decision::Reject, "council"));
    let one = standing(&bundle, &policy, NOW);
    assert_eq!(one.decided, Decided::Pending, "six persons, one against: four may still agree");
    let against: Vec<_> = one.voices.iter().filter(|v| v.decision == Decision::Reject).collect();
    assert_eq!((against.len(), against[0].reason.as_str()), (1, "because"));
    bundle.decide(4, decision(Decision::Reject, "council"));
    bundle.decide(5, decision(Decision::Reject, "council"));
    assert_eq!(standing(&bundle, &policy, NOW).decided, Decided::Refused);
}

#[test]
fn what_does_not_count_says_why() {
    let text = policy_text(1, "");
    let dated = |line: &str| text.replacen("roles: [council]", line, 1);
    let (early, late) = ("2026-02-01T00:00:00Z", "2026-02-20T00:00:00Z");
    for (policy, now, expected) in [
        (text.clone(), NOW + 31 * 24 * HOUR, "older than 30 days"),
        (text.clone(), END - HOUR, "from the future"),
        (dated(&format!("roles: [council]\n    valid_from: {late}")), NOW, "not made while"),
        (dated(&format!("roles: [council]\n    valid_until: {early}")), NOW, "not made while"),
        (dated(&format!("roles: [council]\n    revoked_at: {late}")), NOW, "was revoked"),
    ] {
        let bundle = good();
        bundle.approve(&[1]);
        let policy = Policy::parse(&policy).unwrap();
        let standing = standing(&bundle, &policy, now);
        let objection = standing.voices[0].objection.clone().unwrap_or_default();
        assert!(objection.contains(expected), "{expected}: {objection}");
        assert_ne!(standing.decided, Decided::Approved, "{expected}");
    }
    let unread = SignOff { recomputed: false, ..decision(Decision::Approve, "council") };
    let bundle = good();
    bundle.decide(1, unread).decide(9, decision(Decision::Approve, "council"));
    let voices = standing(&bundle, &policy(1, ""), NOW).voices;
    let mut objections: Vec<_> = voices.into_iter().filter_map(|voice| voice.objection).collect();
    objections.sort();
    assert_eq!(
        objections,
        ["the key is not in the policy", "they did not judge the raw files again"]
    );
}

#[test]
fn a_soft_gate_that_did_not_pass_needs_a_waiver_of_each() {
    let bundle = bundle(GateType::MainnetLaunch, "PASS", "FAIL");
    let policy = policy(2, "");
    bundle.approve(&[1]).decide(2, waiving("G9"));
    let one = standing(&bundle, &policy, NOW);
    assert_eq!((one.decided, one.approvals), (Decided::Pending, 1));
    bundle.decide(1, waiving("G9"));
    let both = standing(&bundle, &policy, NOW);
    assert_eq!(both.decided, Decided::Approved);
    assert_eq!(both.waived["G9"].len(), 2);
}

#[test]
fn no_agreement_makes_a_bad_run_good() {
    let bad = bundle(GateType::MainnetLaunch, "FAIL", "PASS");
    bad.approve(&[1, 2, 3]);
    let standing_of = |bundle: &Bundle, policy: &Policy, now| standing(bundle, policy, now);
    let failed = standing_of(&bad, &policy(1, ""), NOW);
    assert_eq!(failed.decided, Decided::Refused);
    assert_eq!(failed.reasons, ["the verdict of the run is FAIL"]);
    let good = good();
    good.approve(&[1, 2, 3]);
    let other = policy(1, "gate_types: [class_c_upgrade]");
    assert_eq!(standing_of(&good, &other, NOW).decided, Decided::Refused);
    assert_eq!(standing_of(&good, &policy(1, "full_only: true"), NOW).decided, Decided::Refused);
    // Out of its validity it is not valid, whoever agreed.
    let long = policy(1, "sign_off_days: 400\nmax_age_days: 400");
    assert_eq!(standing_of(&good, &long, NOW).decided, Decided::Approved);
    let late = standing_of(&good, &long, NOW + 40 * 24 * HOUR);
    assert_eq!(late.decided, Decided::Refused);
    assert!(late.reasons[0].contains("expired"), "{:?}", late.reasons);
}

#[test]
fn a_policy_that_could_never_be_met_or_asks_nothing_is_refused() {
    let text = policy_text(3, "");
    for (bad, expected) in [
        (text.replace("threshold: 3", "threshold: 0"), "threshold is 0"),
        (text.replace("threshold: 3", "threshold: 7"), "only 6 of the members"),
        (text.replace("threshold: 3", "threshold: 3\norganisations: 4"), "only 3"),
        (text.replace("threshold: 3", "threshold: 3\nroles: {auditor: 1}"), "roles.auditor"),
        (text.replace("threshold: 3", "threshold: 3\nalgorithm_floor: ml-dsa-65"), "only 0"),
        (text.replace("threshold: 3", "threshold: 3\nsign_off_days: 0"), "sign_off_days"),
        (text.replace("threshold: 3", "threshold: 3\nthreshhold: 3"), "threshhold"),
        (text.replacen("key 2", "key 1", 1), "appears twice"),
        (
            text.replace(
                &hex::encode(key(2).public_key().as_bytes()),
                &hex::encode(key(1).public_key().as_bytes()),
            ),
            "appears twice",
        ),
        (text.replace("policy/v1", "policy/v2"), "schema is"),
        (text.replacen("person 2", "Person 1", 1), "write it alike"),
        (
            text.replacen("person 2", " person 2", 1).replacen(
                "operator:  person 2",
                "operator: \" person 2\"",
                1,
            ),
            "not plain text",
        ),
        (text.replacen("person 4", "person 2", 1), "acts for two organisations"),
        (text.replacen("organisation: org 2", "organisation: \"\"", 1), "not plain text"),
        (text.replacen("roles: [council]", "roles: [council]\n    valid_from: soon", 1), "soon"),
    ] {
        let error = Policy::parse(&bad).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_plan_that_no_member_signed_before_is_no_bar() {
    let bundle = sealed(GateType::MainnetLaunch, "PASS", "PASS", false);
    bundle.approve(&[1, 2, 3]);
    let refused = standing(&bundle, &policy(1, ""), NOW);
    assert_eq!(refused.decided, Decided::Refused);
    assert_eq!(
        refused.reasons,
        ["no member vouches for the plan as signed before the run (plan_signed)"]
    );
    let lenient = policy(1, "plan_signed: false");
    assert_eq!(standing(&bundle, &lenient, NOW).decided, Decided::Approved);
}

#[test]
fn a_key_out_of_its_term_vouches_for_nothing_and_an_old_run_is_old() {
    // Key 1 signed the bundle and its plan.
    let text = policy_text(1, "");
    let revoked = text.replacen(
        "roles: [council]",
        "roles: [council]\n    revoked_at: 2026-02-20T00:00:00Z",
        1,
    );
    let bundle = good();
    bundle.approve(&[2, 3]);
    let standing_of = |policy: &Policy| standing(&bundle, policy, NOW);
    assert_eq!(standing_of(&Policy::parse(&text).unwrap()).decided, Decided::Approved);
    let refused = standing_of(&Policy::parse(&revoked).unwrap());
    assert_eq!(refused.decided, Decided::Refused);
    assert_eq!(refused.reasons.len(), 2, "{:?}", refused.reasons);
    let late = standing(&bundle, &policy(1, "max_age_days: 1"), NOW + 24 * HOUR);
    assert!(late.reasons[0].contains("max_age_days"), "{:?}", late.reasons);
    // Made before the run it is about had ended.
    let early = good();
    early.decide(2, decision(Decision::Approve, "council").at(END - HOUR));
    let voice = &standing(&early, &policy(1, ""), NOW).voices[0];
    assert!(voice.objection.as_ref().is_some_and(|o| o.contains("before the run")), "{voice:?}");
}

#[test]
fn a_bar_that_was_moved_and_a_stage_that_was_repeated_are_no_pass() {
    let bundle = good();
    bundle.approve(&[1, 2, 3]);
    let reasons = |more: &str, change: &dyn Fn(&mut Verification)| {
        let policy = policy(1, more);
        let mut found = bundle.verified(&policy, NOW);
        change(&mut found);
        judge(&policy, &found, NOW).reasons.join("; ")
    };
    let plan = |change: &dyn Fn(&mut Plan)| {
        let mut plan = qbind_specimen::sound().plan.unwrap();
        plan.bounds = Bounds::default();
        change(&mut plan);
        plan.to_yaml().into_bytes()
    };
    let sound = plan(&|_| {});
    assert_eq!(reasons("", &|found| found.plan.clone_from(&sound)), "");
    let loose = plan(&|plan| plan.bounds.commit_p99_max_ms = 60_000);
    let said = reasons("", &|found| found.plan.clone_from(&loose));
    assert!(
        said.contains("commit_p99_max_ms is 60000") && said.contains("looser_bounds"),
        "{said}"
    );
    let more = "looser_bounds: [commit_p99_max_ms]";
    assert_eq!(reasons(more, &|found| found.plan.clone_from(&loose)), "");
    let full = plan(&|plan| plan.form = qbind_plan::Form::Full);
    let said = reasons("", &|found| found.plan.clone_from(&full));
    assert!(said.contains("calls itself full and has fewer than 3000 probes"), "{said}");
    let said = reasons("", &|found| found.attempts = 2);
    assert!(said.contains("done 2 times (attempts 1)"), "{said}");
    assert_eq!(reasons("attempts: 2", &|found| found.attempts = 2), "");
    let said = reasons("", &|found| {
        let statement = found.statement.as_mut().unwrap();
        statement.predicate.gate_type = GateType::PostIncident;
    });
    assert!(said.contains("baseline.json"), "{said}");
    let said = reasons("", &|found| {
        let statement = found.statement.as_mut().unwrap();
        statement.predicate.gate_type = GateType::ClassCUpgrade;
        statement.subject.retain(|subject| subject.name == "qbind-node");
    });
    assert!(said.contains("envelope as a subject"), "{said}");
}
