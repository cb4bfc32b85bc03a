//! Commit latency of the protocol alone, in virtual time: seven validators in three regions under a
//! steady load, no processing cost. `make bench-latency` prints it beside the floor of the matrix.

use qbind_dag::CouplingMode;
use qbind_links::{DelayMatrix, Seat, floor};
use qbind_sim::{Link, LoadSpec, SimConfig, Simulation};

/// One-way delays between Ireland, Virginia and Tokyo (topologies/standard-tri-region.yaml).
const DELAYS_US: [[u64; 3]; 3] =
    [[300, 34_840, 101_190], [34_840, 300, 74_810], [101_190, 74_810, 300]];
const LAYOUT: [usize; 7] = [0, 1, 2, 0, 1, 2, 0];

fn main() {
    let mut matrix = DelayMatrix::new(DELAYS_US[0][0]);
    for (from, row) in DELAYS_US.iter().enumerate() {
        for (to, us) in row.iter().enumerate() {
            matrix.set(&from.to_string(), &to.to_string(), *us);
        }
    }
    let seats = LAYOUT.map(|region| Seat { region: region.to_string(), power: 100 });
    let floor = floor(&matrix, &seats).expect("a complete matrix");
    println!("floor: p50 {} ms", floor.submit_to_commit_us.p50 / 1_000);
    let link = |us: &u64| Link { jitter_us: us / 25, ..Link::exact(*us) };
    for rate in [50, 150, 300] {
        let config = SimConfig {
            seed: 1,
            validators: LAYOUT.to_vec(),
            links: DELAYS_US.iter().map(|row| row.iter().map(link).collect()).collect(),
            coupling: CouplingMode::Enforce,
            stage_b: true,
            view_timeout_ms: 1_000,
            empty_block_interval_ms: 250,
            load: LoadSpec { senders: 100, transfers: rate * 10, amount: 1 },
            faults: Vec::new(),
            duration_ms: 20_000,
            cooldown_ms: 5_000,
            clocks: Vec::new(),
            byzantine: std::collections::BTreeMap::new(),
            power_cut: None,
            signatures: qbind_sim::Signatures::Real,
            counts_work: false,
            epoch_blocks: u64::MAX,
            candidates: 0,
            calls: Vec::new(),
        };
        let outcome = Simulation::new(config).run();
        let [p50, p90, p99] = outcome.latency_us.map(|us| us / 1_000);
        println!(
            "{rate}/s: commit p50 {p50} p90 {p90} p99 {p99} ms; block {} ms; height {}; {} of {} \
             committed; messages {:?}",
            outcome.block_latency_us / 1_000,
            outcome.heights.iter().max().copied().unwrap_or(0),
            outcome.committed_once,
            outcome.submitted,
            outcome.messages,
        );
    }
}
