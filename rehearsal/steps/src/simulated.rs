//! What the three simulated steps share: clusters, and the checks every run must pass.

use crate::{Check, Scenario};
use qbind_dag::CouplingMode;
use qbind_plan::topology::Topology;
use qbind_sim::{Link, LoadSpec, Outcome, Region, SimConfig};
use std::collections::BTreeMap;

/// Transfers of a run: 4 senders, 50 in all, 100 units each.
pub(crate) const LOAD: LoadSpec = LoadSpec { senders: 4, transfers: 50, amount: 100 };

/// A cluster under MainNet's rules, without faults.
pub(crate) fn cluster(
    seed: u64,
    validators: Vec<Region>,
    links: Vec<Vec<Link>>,
    duration_ms: u64,
) -> SimConfig {
    SimConfig {
        seed,
        validators,
        links,
        coupling: CouplingMode::Enforce,
        stage_b: true,
        view_timeout_ms: 1_000,
        empty_block_interval_ms: 250,
        load: LOAD,
        faults: Vec::new(),
        duration_ms,
        cooldown_ms: 5_000,
        clocks: Vec::new(),
        byzantine: BTreeMap::new(),
        power_cut: None,
        signatures: qbind_sim::Signatures::Real,
        counts_work: false,
        epoch_blocks: 24,
        candidates: 0,
        calls: Vec::new(),
    }
}

/// Nodes of one data centre: 2 ms one way, 1 ms of jitter, nothing lost.
pub(crate) fn data_centre() -> Vec<Vec<Link>> {
    vec![vec![Link { jitter_us: 1_000, ..Link::exact(2_000) }]]
}

/// A shipped topology's regions and what lies between them.
pub(crate) struct Regions {
    topology: Topology,
}

impl Regions {
    /// One way between two nodes of one region, in microseconds.
    pub(crate) const INSIDE_US: u64 = 300;

    pub(crate) fn load(name: &str) -> Self {
        Self { topology: Topology::load(name).expect("a shipped topology") }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.topology.regions.iter().map(|region| region.id.as_str()).collect()
    }

    /// One way, in microseconds.
    pub(crate) fn delay_us(&self, from: &str, to: &str) -> u64 {
        self.topology.link(from, to).map_or(Self::INSIDE_US, |link| link.delay_us)
    }

    /// The region of each validator, as the topology lays them out.
    pub(crate) fn layout(&self) -> Vec<Region> {
        let regions = (0..).zip(&self.topology.regions);
        regions.flat_map(|(at, region)| vec![at; region.validators as usize]).collect()
    }

    /// The region of each of `n` validators, in the topology's proportions.
    pub(crate) fn seats(&self, n: usize) -> Vec<Region> {
        let layout = self.layout();
        (0..n).map(|i| layout[i * layout.len() / n]).collect()
    }

    /// Links without loss, with so much jitter.
    pub(crate) fn links(&self, jitter_us: u64) -> Vec<Vec<Link>> {
        let link = |from, to| Link { jitter_us, ..Link::exact(self.delay_us(from, to)) };
        let row = |from| self.names().into_iter().map(|to| link(from, to)).collect();
        self.names().into_iter().map(row).collect()
    }
}

/// The hard facts: one chain, certified content, one state, no signature that excludes another,
/// nothing spent twice, nothing created.
pub(crate) fn safety(outcome: &Outcome) -> Vec<Check> {
    let count = |name: &str, found: &[String]| {
        let got = found.first().map_or("none".to_owned(), |f| format!("{} ({f})", found.len()));
        Check::equal(name, "none", got)
    };
    vec![
        count("commit_divergence", &outcome.divergences),
        count("block_mismatch", &outcome.block_mismatches),
        count("state_root_divergence", &outcome.state_divergences),
        count("broken_promises", &outcome.broken_promises),
        // Of those who keep the rules nobody may have proof to the contrary.
        Check::equal("false_evidence", 0, outcome.false_evidence),
        count("halted_nodes", &outcome.halts),
        Check::equal("double_spends", 0, outcome.double_spends),
        Check::equal("supply_conserved", true, outcome.supply_conserved),
    ]
}

/// After the last fault the chain goes on in time, everybody catches up, and nothing accepted is lost.
pub(crate) fn liveness(outcome: &Outcome, recovery_ms: u64) -> Vec<Check> {
    let recovered = outcome.recovery_ms.is_some_and(|ms| ms <= recovery_ms);
    let got = outcome.recovery_ms.map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let spread = outcome.final_height_divergence;
    vec![
        Check::that("first_commit_after_calm", format!("<= {recovery_ms} ms"), got, recovered),
        Check::that("final_height_divergence", "<= 2", spread, spread <= 2),
        Check::equal("accepted_committed_once", outcome.accepted, outcome.committed_once),
        Check::that("accepted", "> 0", outcome.accepted, outcome.accepted > 0),
    ]
}

/// The figures of a run.
pub(crate) fn scenario(name: &str, checks: Vec<Check>, outcome: &Outcome) -> Scenario {
    let [delivered, lost, cut, dropped] = outcome.messages;
    let [p50, p90, p99] = outcome.latency_us;
    Scenario::new(name, checks)
        .fact("node_heights", outcome.heights.clone())
        .fact("max_height_divergence", outcome.max_height_divergence)
        .fact("view_changes_total", outcome.view_changes)
        .fact("faults_injected", outcome.faults_injected)
        .fact("messages_delivered", delivered)
        .fact("messages_lost", lost)
        .fact("messages_cut", cut)
        .fact("messages_dropped", dropped)
        .fact("messages_duplicated", outcome.duplicated)
        .fact("messages_refused", outcome.refused)
        .fact("power_losses", outcome.power_losses)
        .fact("mean_delay_us", outcome.mean_delay_us)
        .fact("submit_to_commit_p50_us", p50)
        .fact("submit_to_commit_p90_us", p90)
        .fact("submit_to_commit_p99_us", p99)
        .fact("propose_to_commit_p50_us", outcome.block_latency_us)
        .fact("equivocations_seen", outcome.equivocations)
        .fact("recovery_ms", outcome.recovery_ms)
        .fact("resumed_ms", outcome.resumed_ms)
        .fact("trace_sha3_256", outcome.trace.clone())
}
