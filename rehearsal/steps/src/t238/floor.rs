//! Commit latency in virtual time, where computation is free, beside the least the network allows.

use crate::{
    Check, Scenario,
    simulated::{self, Regions},
};
use qbind_links::{DelayMatrix, Seat, floor};
use qbind_sim::{LoadSpec, SimConfig, Simulation};

const TOPOLOGIES: [&str; 3] = ["standard-tri-region", "us-centric", "global-spread"];

/// How far the simulation may be from the floor, in thousandths.
const TOLERANCE: u64 = 50;

/// One scenario for each shipped topology of real regions.
pub(super) fn compare(seed: u64) -> Vec<Scenario> {
    TOPOLOGIES.iter().map(|name| on(name, seed)).collect()
}

fn on(name: &str, seed: u64) -> Scenario {
    let regions = Regions::load(name);
    let names = regions.names();
    let mut matrix = DelayMatrix::new(Regions::INSIDE_US);
    for (from, to) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
        matrix.set(from, to, regions.delay_us(from, to));
    }
    let validators = regions.layout();
    let seats: Vec<Seat> =
        validators.iter().map(|at| Seat { region: names[*at].to_owned(), power: 100 }).collect();
    let least = floor(&matrix, &seats).expect("a complete matrix").consensus_us;
    let links = regions.links(0);
    let config = SimConfig {
        // Batches would add their own waits; this is about blocks.
        load: LoadSpec { senders: 1, transfers: 1, amount: 1 },
        ..simulated::cluster(seed, validators, links, 20_000)
    };
    let outcome = Simulation::new(config).run();
    let got = outcome.commit_latency_mean_us;
    let ms = |us: u64| us as f64 / 1_000.0;
    let off = (got as f64 / least.mean.max(1) as f64 - 1.0) * 100.0;
    let mut checks = simulated::safety(&outcome);
    checks.push(Check::that(
        "propose_to_commit_mean",
        format!("within 5 % of {:.3} ms, three one-way delays to a quorum", ms(least.mean)),
        format!("{:.3} ms ({off:+.2} %)", ms(got)),
        got.abs_diff(least.mean) * 1_000 <= TOLERANCE * least.mean,
    ));
    let blocks = outcome.heights.iter().max().copied().unwrap_or(0);
    checks.push(Check::that("blocks", ">= 20", blocks, blocks >= 20));
    simulated::scenario(&format!("floor_{name}"), checks, &outcome)
        .fact("floor_mean_us", least.mean)
        .fact("propose_to_commit_mean_us", got)
        .summed_up(format!(
            "mean of {blocks} blocks on every validator {:.3} ms, floor {:.3} ms ({off:+.2} %)",
            ms(got),
            ms(least.mean)
        ))
}
