//! The power of one node goes away before every single thing it does.

use qbind_dag::CouplingMode;
use qbind_sim::{
    Action, Link, LoadSpec, MessageKind, Outcome, PowerCut, SimConfig, Simulation, Timed,
};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The node that is cut; it leads every fourth view.
const NODE: usize = 1;

fn config(faults: Vec<Timed>) -> SimConfig {
    SimConfig {
        seed: 11,
        validators: vec![0; 4],
        links: vec![vec![Link { jitter_us: 3_000, ..Link::exact(8_000) }]],
        coupling: CouplingMode::Enforce,
        stage_b: true,
        view_timeout_ms: 300,
        empty_block_interval_ms: 100,
        load: LoadSpec { senders: 4, transfers: 12, amount: 100 },
        faults,
        duration_ms: 2_500,
        cooldown_ms: 3_000,
        clocks: vec![],
        byzantine: BTreeMap::new(),
        power_cut: None,
        signatures: qbind_sim::Signatures::Ideal,
        counts_work: false,
        epoch_blocks: 12,
        candidates: 0,
        calls: Vec::new(),
    }
}

fn objection(outcome: &Outcome) -> Option<String> {
    let sound = outcome.power_losses == 1
        && outcome.is_safe()
        && outcome.recovery_ms.is_some()
        && outcome.accepted == outcome.committed_once
        && outcome.final_height_divergence <= 2;
    (!sound).then(|| format!("{outcome:?}"))
}

fn cut_everywhere(faults: Vec<Timed>) {
    // What comes later leaves no time to recover.
    let until_calm = SimConfig { cooldown_ms: 0, ..config(faults.clone()) };
    let effects = Simulation::new(until_calm).run().effects[NODE];
    let failed: Vec<(u64, String)> = (0..effects)
        .into_par_iter()
        .filter_map(|effect| {
            let power_cut = Some(PowerCut { node: NODE, effect, down_ms: 150 });
            let config = SimConfig { power_cut, ..config(faults.clone()) };
            objection(&Simulation::new(config).run()).map(|why| (effect, why))
        })
        .collect();
    println!("{effects} effects, {} losses of power not survived", failed.len());
    assert!(effects > 300, "too short to show anything: {effects} effects");
    assert!(failed.is_empty(), "{} of {effects}; first: {:?}", failed.len(), failed.first());
}

#[test]
fn power_lost_before_any_effect_breaks_no_promise_and_loses_no_commit() {
    cut_everywhere(Vec::new());
}

/// The same with views that are given up, and a restart that is itself cut.
#[test]
fn power_lost_before_any_effect_of_a_troubled_run_does_neither() {
    let at = |at_ms, action| Timed { at_ms, action };
    cut_everywhere(vec![
        at(150, Action::Drop(MessageKind::All, 2_000)),
        at(400, Action::Crash(NODE)),
        at(500, Action::Restart(NODE)),
        at(900, Action::StopDrop),
    ]);
}
