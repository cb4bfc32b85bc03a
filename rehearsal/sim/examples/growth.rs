//! What a cluster of n validators sends and checks, counted in the simulator, as the table in
//! `docs/protocol.md`. `make growth` prints it.

use qbind_dag::CouplingMode;
use qbind_sim::{Link, LoadSpec, Outcome, SimConfig, Simulation};
use rayon::prelude::*;
use std::collections::BTreeMap;

const SIZES: [usize; 6] = [4, 7, 16, 31, 64, 100];
const SIGNATURE: f64 = 2_420.0;

/// Transfers offered, over the first half of the run.
const TRANSFERS: usize = 400;

fn run(n: usize, transfers: usize) -> Outcome {
    let link = Link { jitter_us: 5_000, ..Link::exact(50_000) };
    let config = SimConfig {
        seed: 1,
        validators: vec![0; n],
        links: vec![vec![link]],
        coupling: CouplingMode::Enforce,
        stage_b: true,
        view_timeout_ms: 2_000,
        empty_block_interval_ms: 250,
        load: LoadSpec { senders: 20, transfers, amount: 1 },
        faults: Vec::new(),
        duration_ms: 4_000,
        cooldown_ms: 1_000,
        clocks: Vec::new(),
        byzantine: BTreeMap::new(),
        power_cut: None,
        signatures: qbind_sim::Signatures::Ideal,
        counts_work: true,
        epoch_blocks: u64::MAX,
        candidates: 0,
        calls: Vec::new(),
    };
    Simulation::new(config).run()
}

/// What a view costs one validator, in kB sent and signatures checked: its share of a proposal with
/// a quorum certificate, one vote and one commit vote to each other validator; and of each kind one
/// from each other, with its own vote where it comes back in a certificate.
fn formula(n: f64) -> (f64, f64) {
    let quorum = (n * 2.0 / 3.0).floor() + 1.0;
    let proposal = (n - 1.0) / n * (quorum * SIGNATURE + SIGNATURE);
    let votes = 2.0 * (n - 1.0) * SIGNATURE;
    let own = (n - 1.0) / n * quorum / n;
    ((proposal + votes) / 1_000.0, 2.0 * (n - 1.0) + (n - 1.0) / n + own)
}

fn main() {
    println!(
        "| n | kB sent a view and validator | formula | checks a view and validator | formula | \
         kB sent a transfer and validator | checks a transfer and validator |"
    );
    println!("|---|---|---|---|---|---|---|");
    let rows: Vec<String> = SIZES
        .into_par_iter()
        .map(|n| {
            let idle = run(n, 0);
            let loaded = run(n, TRANSFERS);
            let (empty, full) = (idle.work.expect("counted"), loaded.work.expect("counted"));
            let validators = n as f64;
            let (views, more) = (idle.views as f64, loaded.committed_once as f64);
            let kb = |bytes: u64| bytes as f64 / 1_000.0;
            let (kb_formula, checks_formula) = formula(validators);
            // Consensus costs by the view, data by the transfer.
            let kind = |k: &str| full.sent.get(k).map_or(0, |t| t.bytes);
            let data: u64 =
                ["batch", "ack", "batch certificate", "fetch"].iter().map(|k| kind(k)).sum();
            let view_checks = empty.checks as f64 / views / validators;
            let data_checks = full.checks as f64 - view_checks * loaded.views as f64 * validators;
            format!(
                "| {n} | {:.1} | {kb_formula:.1} | {view_checks:.1} | {checks_formula:.1} | {:.2} | \
                 {:.2} |",
                kb(empty.total().bytes) / views / validators,
                kb(data) / more / validators,
                (data_checks + full.transaction_checks as f64) / more / validators,
            )
        })
        .collect();
    rows.iter().for_each(|row| println!("{row}"));
}
