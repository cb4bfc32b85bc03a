//! Every gate can be shown to fail on a sound run.

use qbind_gates::{controls, records::FeedLine};
use qbind_plan::{AddedGate, Millionths, Reset};
use qbind_specimen::{sound, sound_with_added_gates};
use qbind_types::BlockId;

#[test]
fn each_control_turns_its_gate_red_and_no_other() {
    let found = controls(&sound());
    assert_eq!((found.controls.len(), found.caught()), (13, 13), "{found:?}");
    for control in &found.controls {
        assert!(control.caught, "{control:?}");
    }
}

#[test]
fn gates_that_a_plan_adds_have_controls_too() {
    let found = controls(&sound_with_added_gates());
    assert_eq!(found.controls.len(), 13 + 15);
    for control in &found.controls {
        assert!(control.caught && control.turned_red.len() == 1, "{control:?}");
    }
}

#[test]
fn an_added_gate_that_cannot_fail_is_missed() {
    let mut evidence = sound_with_added_gates();
    let gates = &mut evidence.plan.as_mut().unwrap().added_gates;
    let of = |gates: &mut Vec<AddedGate>, id: &str| gates.iter().position(|g| g.id == id).unwrap();
    // A counter never grows by less than nothing; more breaches are forgiven than there are scrapes.
    let (delta, instant) = (of(gates, "X3"), of(gates, "X2"));
    gates[delta].at_least = Some(Millionths(0));
    gates[delta].policy.reset = Reset::Restart;
    gates[instant].policy.breaches = 1_000;
    let found = controls(&evidence);
    let missed: Vec<&str> = found.missed().map(|control| control.gate.as_str()).collect();
    assert_eq!(missed, ["X2", "X3"]);
}

#[test]
fn gates_that_read_one_series_may_turn_together() {
    let mut evidence = sound_with_added_gates();
    let gates = &mut evidence.plan.as_mut().unwrap().added_gates;
    gates.truncate(2);
    gates[0].metric = "qbind_dag_coupling_block_mismatch_total".to_owned();
    (gates[0].at_least, gates[0].at_most) = (None, Some(Millionths(0)));
    let found = controls(&evidence);
    let turned = |gate: &str| {
        let control = found.controls.iter().find(|control| control.gate == gate).unwrap();
        (control.caught, control.turned_red.join(" "))
    };
    assert_eq!(turned("G2"), (true, "G2 X1".to_owned()));
    assert_eq!(turned("X1"), (true, "G2 X1".to_owned()));
}

#[test]
fn what_cannot_be_shown_is_not_called_caught() {
    // G1 is red already; there is no scrape to plant in.
    let mut evidence = sound();
    for line in evidence.feeds.get_mut("eu-v1").unwrap().held() {
        if let FeedLine::Commit { height: 40, block_id, .. } = line {
            *block_id = BlockId([1; 32]);
        }
    }
    evidence.scrapes.clear();
    let found = controls(&evidence);
    let of = |gate: &str| found.controls.iter().find(|c| c.gate == gate).unwrap();
    assert!(!of("G1").caught && of("G1").skipped.contains("not green"), "{:?}", of("G1"));
    assert!(!of("G6").caught && !of("G6").skipped.is_empty(), "{:?}", of("G6"));
    assert_eq!(found.missed().count(), 0);
}
