//! Covers: T222. Consensus under crashes, message loss, partitions, wrong clocks and Byzantine
//! validators, on the real core.

mod cases;

use crate::{
    Check, Options, Scenario, StepResult, simulated,
    sweep::{Selection, selected, sweep},
};
use cases::{CASES, Case, Cluster, Hit, RANDOM};
use qbind_sim::{Action, Byzantine, Outcome, Signatures, SimConfig, Simulation, Timed};
use rayon::prelude::*;
use std::{collections::BTreeMap, time::Instant};

/// Time to the first commit after the last fault: a view timeout, its resend, and two views.
const RECOVERY_MS: u64 = 4_000;

/// Time to the first commit after the last planned fault, which is a heal or a restart: the longest wait
/// that the faults of a case can have built up, and a view.
const RESUMPTION_MS: u64 = 10_000;

/// Validators of a sweep if its size is not said.
const SWEEP_SIZE: usize = 7;

/// Runs the scenarios at 4, 7 and 16 validators, or what is selected. The seed is added to each
/// run's own.
pub fn run(options: &Options) -> StepResult {
    let started = Instant::now();
    let Options { seed, quick, selection, .. } = options;
    let mut scenarios = match selection.seeds {
        Some(seeds) => sweeps(*seed, seeds, selection),
        None => table(*seed, *quick, selection),
    };
    if *selection == Selection::default() {
        scenarios.extend(controls(*seed));
    }
    let form = if *quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T222 --seed {seed}{form}{}", selection.arguments());
    let scenarios = selected(selection, scenarios);
    let mut result = StepResult::new("T222", "Consensus chaos", *seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

/// Every case, by name.
pub(crate) fn case_names() -> Vec<&'static str> {
    all_cases().map(|case| case.name).collect()
}

fn all_cases() -> impl Iterator<Item = &'static Case> {
    const ALL_RANDOM: &Case = &RANDOM;
    const TABLE: &[Case] = &CASES;
    TABLE.iter().chain([ALL_RANDOM])
}

fn table(seed: u64, quick: bool, selection: &Selection) -> Vec<Scenario> {
    let (sizes, repeats): (&[usize], _) = if quick { (&[4, 7], 1) } else { (&[4, 7, 16], 3) };
    let mut jobs = Vec::new();
    for n in sizes.iter().copied().filter(|n| selection.is_size(*n)) {
        for case in all_cases().filter(|case| selection.is_case(case.name)) {
            // The largest cluster costs as much as all the others together.
            let repeats = if n > 7 || selection.case.is_some() { 1 } else { repeats };
            jobs.extend((seed..seed + repeats).map(|seed| (case, Cluster { n, seed })));
        }
    }
    let run = |(case, cluster)| judge(case, cluster, Signatures::Real);
    jobs.into_par_iter().map(run).collect()
}

fn sweeps(seed: u64, seeds: u64, selection: &Selection) -> Vec<Scenario> {
    let n = selection.validators.unwrap_or(SWEEP_SIZE);
    let cases = all_cases().filter(|case| selection.is_case(case.name));
    let run = |case: &Case| {
        let replay = format!("qbindctl steps run T222 --validators {n} --case {}", case.name);
        let name = format!("{}_n{n}", case.name);
        let judge = |seed| judge(case, Cluster { n, seed }, Signatures::Ideal);
        sweep(&name, seed..seed + seeds, &replay, judge)
    };
    cases.map(run).collect()
}

fn judge(case: &Case, cluster: Cluster, signatures: Signatures) -> Scenario {
    let config = SimConfig { signatures, ..(case.config)(cluster) };
    let planned = config.faults.len() as u64;
    // Each lost view costs at least a timeout, doubled for each in a row; a faulty leader costs one
    // each time its turn comes.
    let turns = (config.duration_ms + config.cooldown_ms) / 1_000;
    let churn = turns + 8;
    let outcome = Simulation::new(config).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, RECOVERY_MS));
    checks.push(Check::equal("faults_injected", planned, outcome.faults_injected));
    if planned > 0 {
        let resumed = outcome.resumed_ms.is_some_and(|ms| ms <= RESUMPTION_MS);
        let got = outcome.resumed_ms.map_or("never".to_owned(), |ms| format!("{ms} ms"));
        let expected = format!("<= {RESUMPTION_MS} ms");
        checks.push(Check::that("first_commit_after_the_last_fault", expected, got, resumed));
    }
    let churned = outcome.view_changes;
    checks.push(Check::that("view_changes", format!("<= {churn}"), churned, churned <= churn));
    let Cluster { n, seed } = cluster;
    checks.extend(case.hits.iter().map(|hit| reality(*hit, n, &outcome)));
    simulated::scenario(&format!("{}_n{n}_seed{seed}", case.name), checks, &outcome)
}

fn reality(hit: Hit, n: usize, outcome: &Outcome) -> Check {
    let [_, _, cut, dropped] = outcome.messages;
    let above = |name: &str, got: u64| Check::that(name, "> 0", got, got > 0);
    match hit {
        Hit::ViewChanges => above("fault_cost_views", outcome.view_changes),
        Hit::Dropped => above("messages_dropped", dropped),
        Hit::Cut => above("messages_cut", cut),
        Hit::Duplicated => above("messages_duplicated", outcome.duplicated),
        Hit::PowerLosses(n) => Check::equal("power_losses", n, outcome.power_losses),
        Hit::Equivocations => above("equivocations_seen", outcome.equivocations),
        Hit::Refused => above("messages_refused", outcome.refused),
        Hit::Withheld => above("messages_withheld", outcome.withheld),
        Hit::Epochs(least) => {
            let epochs = outcome.epochs;
            Check::that("epochs", format!(">= {least}"), epochs, epochs >= least)
        }
        Hit::Joined(more) => {
            Check::equal("validators", n as u64 + more, outcome.validators.len() as u64)
        }
        Hit::Delay(least) => {
            let mean = outcome.mean_delay_us;
            Check::that("mean_delay_us", format!(">= {least}"), mean, mean >= least)
        }
    }
}

/// Shows that the harness can fail, and that the same seed runs the same.
fn controls(seed: u64) -> Vec<Scenario> {
    vec![
        same_seed_same_trace(seed),
        beyond_the_bound_is_seen(seed),
        another_execution_is_seen(seed),
    ]
}

fn same_seed_same_trace(seed: u64) -> Scenario {
    let run = |seed| Simulation::new((RANDOM.config)(Cluster { n: 4, seed })).run();
    let (first, second, other) = (run(seed), run(seed), run(seed + 1));
    let differs = first.trace != other.trace;
    let checks = vec![
        Check::equal("trace_of_the_same_seed", &first.trace, &second.trace),
        Check::that("trace_of_another_seed", "differs", differs, differs),
    ];
    simulated::scenario("same_seed_same_trace", checks, &first)
}

/// Negative control: more double voters than the bound break safety, and the harness must say so.
fn beyond_the_bound_is_seen(seed: u64) -> Scenario {
    let links = simulated::data_centre();
    // Three twins talk to two honest validators each, and those not to each other.
    let groups = vec![vec![0, 1, 2, 3, 4], vec![7, 8, 9, 5, 6]];
    let config = SimConfig {
        byzantine: BTreeMap::from([0, 1, 2].map(|i| (i, Byzantine::Twin))),
        faults: vec![Timed { at_ms: 0, action: Action::Partition(groups) }],
        ..simulated::cluster(seed, vec![0; 7], links, 4_000)
    };
    let outcome = Simulation::new(config).run();
    let found = outcome.divergences.len();
    let seen = found > 0 && simulated::safety(&outcome).iter().any(|c| !c.ok);
    let checks = vec![Check::that("divergence_by_3_double_voters_of_7", "seen", found, seen)];
    simulated::scenario("canary_three_double_voters_are_caught", checks, &outcome)
}

/// Negative control: a node that executes other rules stops and says so.
fn another_execution_is_seen(seed: u64) -> Scenario {
    let links = simulated::data_centre();
    let config = SimConfig {
        byzantine: BTreeMap::from([(2, Byzantine::WrongState)]),
        ..simulated::cluster(seed, vec![0; 4], links, 4_000)
    };
    let outcome = Simulation::new(config).run();
    let found = outcome.state_divergences.len() + outcome.halts.len();
    let checks = vec![Check::that("wrong_execution_on_one_node", "seen", found, found > 0)];
    simulated::scenario("canary_another_execution_is_caught", checks, &outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leader that had lost power could not propose; batches and blocks were fetched too late.
    #[test]
    fn seeds_that_once_failed() {
        for (case, seed) in [("random_faults", 869), ("loss_of_30_percent", 56)] {
            let selection = Selection {
                validators: Some(7),
                case: Some(case.to_owned()),
                ..Selection::default()
            };
            let result = run(&Options { seed, selection, ..Options::default() });
            assert!(result.verdict.is_pass(), "{:?}", result.failures().collect::<Vec<_>>());
        }
    }
}
