//! Evidence in, verdict out.

use crate::{
    added, baseline,
    catalogue::{CATALOGUE, known},
    chain::Chain,
    emulation,
    evidence::Evidence,
    feed::Feed,
    finding::Finding,
    height,
    measured::Measured,
    peers,
    performance::Performance,
    records::paths,
    safety::Safety,
    steps,
    verdict::{Gate, GatesResult},
    views,
    windows::Windows,
};

/// Evaluates all gates. Pure and total: the same evidence gives the same result anywhere.
pub fn evaluate(evidence: &Evidence) -> GatesResult {
    let Some(plan) = &evidence.plan else {
        // Without a plan there is no bound for anything.
        let unknown = CATALOGUE.iter().map(|entry| {
            let mut finding = Finding::default();
            finding.unknown(evidence.absence(paths::PLAN));
            finding.into_gate(entry)
        });
        return GatesResult::of(unknown.collect());
    };
    let feeds = Feed::all(evidence, plan);
    let windows = Windows::of(evidence, &feeds);
    let measured = Measured::of(evidence, plan);
    let chain = Chain::of(evidence, &feeds);
    let safety = Safety { evidence, plan, feeds: &feeds, windows: &windows, chain: &chain }.gates();
    let mut gates: Vec<Gate> = safety.into();
    match &windows {
        Ok(windows) => {
            let performance =
                Performance::of(evidence, plan, windows, chain.as_ref().ok(), &measured);
            gates.push(height::gate(evidence, plan, &feeds, windows, &measured));
            gates.push(peers::gate(evidence, plan, &feeds, windows));
            gates.push(performance.against_baseline());
            gates.push(performance.tail());
            gates.push(views::gate(evidence, plan, windows, &measured));
            gates.push(performance.against_floor());
        }
        Err(why) => {
            for id in ["G5", "G6", "G7", "G8", "G9", "G10"] {
                let mut finding = Finding::default();
                finding.as_found(why);
                gates.push(finding.into_gate(known(id)));
            }
        }
    }
    gates.push(steps::gate(evidence));
    gates.push(baseline::gate(evidence, plan));
    if plan.target == "lab" {
        gates.push(emulation::gate(evidence, plan, &measured));
    }
    gates.extend(added::gates(evidence, plan, &feeds, &windows));
    GatesResult::of(gates)
}
