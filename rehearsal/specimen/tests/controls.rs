//! Every gate can be shown to fail on a sound run.

use qbind_gates::{controls, records::FeedLine};
use qbind_specimen::sound;
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
