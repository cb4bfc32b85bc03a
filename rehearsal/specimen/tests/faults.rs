//! A sound run passes every gate; each fault turns its gates and no others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qbind_gates::{Evidence, Outcome, Verdict, evaluate, records::FeedLine};
use qbind_specimen::{faults, sound};
use qbind_types::BlockId;
use serde_json::json;

/// Gates that are not PASS, as `G1 FAIL`; the overall verdict; why.
fn not_green(plant: impl Fn(&mut Evidence)) -> (Vec<String>, Verdict, String) {
    let mut evidence = sound();
    plant(&mut evidence);
    let result = evaluate(&evidence);
    let red = result.gates.iter().filter(|g| g.verdict != Outcome::Pass);
    let list = red.clone().map(|g| format!("{} {}", g.id, g.verdict)).collect();
    let notes: Vec<String> = red.map(|g| format!("{}: {}", g.id, g.note)).collect();
    (list, result.verdict, notes.join("\n"))
}

#[test]
fn a_sound_run_passes_every_gate() {
    let result = evaluate(&sound());
    for gate in &result.gates {
        assert_eq!(gate.verdict, Outcome::Pass, "{}: {}", gate.id, gate.note);
        assert!(gate.samples > 0, "{} checked nothing", gate.id);
        assert!(!gate.evidence.is_empty() && !gate.value.is_empty() && !gate.bound.is_empty());
    }
    assert_eq!(result.gates.len(), 13);
    assert_eq!(result.verdict, Verdict::Pass);
    assert_eq!(evaluate(&sound()), result, "the same evidence, the same result");
}

#[test]
fn the_overall_verdict_adds_up() {
    for (name, expected, plant) in [
        (
            "hard fail over invalid",
            Verdict::Fail,
            (|e| {
                e.configs.get_mut("us-v1").unwrap()["config"]["enable_discovery"] = json!(false);
                e.links.get_mut("links/measure-end.json").unwrap().links[0].lost_random = 40;
            }) as fn(&mut Evidence),
        ),
        ("invalid over unknown", Verdict::Invalid, |e| {
            e.steps.remove("t222");
            e.links.get_mut("links/measure-end.json").unwrap().links[0].lost_random = 40;
        }),
        ("unknown", Verdict::Inconclusive, |e| {
            e.steps.remove("t222");
        }),
        ("soft failure passes", Verdict::Pass, |e| {
            e.plan.as_mut().unwrap().bounds.floor_max_permille = 10;
        }),
        ("no plan", Verdict::Inconclusive, |e| e.plan = None),
        ("nothing at all", Verdict::Inconclusive, |e| *e = Evidence::default()),
    ] {
        let (_, verdict, notes) = not_green(plant);
        assert_eq!(verdict, expected, "{name}\n{notes}");
    }
}

#[test]
fn each_fault_turns_its_gates_and_no_others() {
    let all = faults();
    assert!(all.len() >= 100, "{}", all.len());
    let mut wrong = Vec::new();
    for fault in all {
        let (list, _, notes) = not_green(fault.plant);
        if list.join(", ") != fault.expected {
            let (group, name) = (fault.group, fault.name);
            wrong.push(format!("{group} {name}: not {}, but\n{notes}", fault.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn safety_is_judged_where_the_plan_was_not_kept() {
    let (list, verdict, _) = not_green(|e| {
        e.live.as_mut().unwrap().faults[0].id = "surprise".into();
        for line in e.feeds.get_mut("ap-rpc1").unwrap().held() {
            if let FeedLine::Commit { height: 40, block_id, .. } = line {
                *block_id = BlockId([1; 32]);
            }
        }
    });
    assert_eq!((list[0].as_str(), verdict), ("G1 FAIL", Verdict::Fail));
}

#[test]
fn a_run_much_faster_than_its_baseline_is_remarked_upon() {
    let mut fast = sound();
    for tx in &mut fast.transactions {
        tx.committed_us = Some(tx.scheduled_us + 100_000);
    }
    let note = evaluate(&fast).gate("G7").unwrap().note.clone();
    assert!(note.contains("baseline is stale"), "{note}");
}
