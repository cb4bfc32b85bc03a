//! Covers: T222. Consensus under crashes, message loss and partitions, on the real core.

use crate::{Check, Scenario, StepResult, simulated};
use qbind_sim::{Action, Canary, MessageKind, Outcome, SimConfig, Simulation, Timed};
use std::time::Instant;

/// Time to the first commit after the last fault: a view timeout, its resend, and two views.
const RECOVERY_MS: u64 = 4_000;

/// One row of the scenario table.
struct Case {
    name: &'static str,
    duration_ms: u64,
    faults: fn(usize) -> Vec<Timed>,
    /// Messages of a kind of fault that must have been hit, or the fault did nothing.
    hits: Hits,
}

/// What shows that the faults were real.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hits {
    ViewChanges,
    Dropped,
    Cut,
    DroppedAndCut,
}

fn at(at_ms: u64, action: Action) -> Timed {
    Timed { at_ms, action }
}

fn leader_crash(_: usize) -> Vec<Timed> {
    vec![
        at(1_000, Action::CrashLeader),
        at(3_000, Action::RestartCrashed),
        at(5_000, Action::CrashLeader),
        at(6_000, Action::RestartCrashed),
    ]
}

fn message_loss(_: usize) -> Vec<Timed> {
    vec![
        at(1_000, Action::Drop(MessageKind::Proposal, 2_000)),
        at(3_000, Action::Drop(MessageKind::Vote, 3_000)),
        at(6_000, Action::StopDrop),
    ]
}

fn short_partition(n: usize) -> Vec<Timed> {
    let (most, last) = ((0..n - 1).collect(), vec![n - 1]);
    vec![at(2_000, Action::Partition(vec![most, last])), at(5_000, Action::Heal)]
}

fn mixed_burst(n: usize) -> Vec<Timed> {
    let (left, right) = ((0..n / 2).collect(), (n / 2..n).collect());
    vec![
        at(1_000, Action::Drop(MessageKind::All, 1_500)),
        at(3_000, Action::Crash(1)),
        at(4_000, Action::Partition(vec![left, right])),
        at(5_000, Action::Restart(1)),
        at(5_500, Action::Heal),
        at(6_000, Action::StopDrop),
    ]
}

fn one_way_cut(n: usize) -> Vec<Timed> {
    let mut faults: Vec<Timed> = (1..n).map(|to| at(1_000, Action::CutOneWay(0, to))).collect();
    faults.push(at(4_000, Action::Heal));
    faults
}

fn rolling_restart(n: usize) -> Vec<Timed> {
    (0..n)
        .flat_map(|i| {
            let start = 500 + 900 * i as u64;
            [at(start, Action::Crash(i)), at(start + 800, Action::Restart(i))]
        })
        .collect()
}

const CASES: [Case; 6] = [
    Case {
        name: "leader_crash_and_recover",
        duration_ms: 8_000,
        faults: leader_crash,
        hits: Hits::ViewChanges,
    },
    Case {
        name: "repeated_view_changes_under_message_loss",
        duration_ms: 8_000,
        faults: message_loss,
        hits: Hits::Dropped,
    },
    Case {
        name: "short_partition_then_heal",
        duration_ms: 10_000,
        faults: short_partition,
        hits: Hits::Cut,
    },
    Case {
        name: "mixed_faults_burst",
        duration_ms: 12_000,
        faults: mixed_burst,
        hits: Hits::DroppedAndCut,
    },
    Case {
        name: "deaf_audience_one_way_cut",
        duration_ms: 7_000,
        faults: one_way_cut,
        hits: Hits::Cut,
    },
    Case {
        name: "rolling_restart",
        duration_ms: 8_000,
        faults: rolling_restart,
        hits: Hits::ViewChanges,
    },
];

/// Runs the scenarios at 4 and 7 validators. `seed` is added to each run's own.
pub fn run(seed: u64, quick: bool) -> StepResult {
    let started = Instant::now();
    let seeds = if quick { 1 } else { 4 };
    let mut scenarios = Vec::new();
    for n in [4, 7] {
        for case in &CASES {
            for offset in 0..seeds {
                scenarios.push(judge(case, n, seed + offset));
            }
        }
    }
    scenarios.push(same_seed_same_trace(seed));
    scenarios.extend([
        beyond_the_bound_is_seen(seed),
        double_voters_within_the_bound_are_harmless(seed),
        another_execution_is_seen(seed),
    ]);
    let quick = if quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T222 --seed {seed}{quick}");
    let mut result = StepResult::new("T222", "Consensus chaos", seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

fn config(case: &Case, n: usize, seed: u64) -> SimConfig {
    let faults = (case.faults)(n);
    let links = simulated::data_centre();
    SimConfig { faults, ..simulated::cluster(seed, vec![0; n], links, case.duration_ms) }
}

fn judge(case: &Case, n: usize, seed: u64) -> Scenario {
    let config = config(case, n, seed);
    let planned = config.faults.len() as u64;
    // Each lost view costs at least a timeout, doubled for each in a row.
    let churn = case.duration_ms / 1_000 + 8;
    let outcome = Simulation::new(config).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, RECOVERY_MS));
    checks.push(Check::equal("faults_injected", planned, outcome.faults_injected));
    let churned = outcome.view_changes;
    checks.push(Check::that("view_changes", format!("<= {churn}"), churned, churned <= churn));
    checks.extend(reality(case.hits, &outcome));
    simulated::scenario(&format!("{}_n{n}_seed{seed}", case.name), checks, &outcome)
}

/// A fault that changed nothing proves nothing.
fn reality(hits: Hits, outcome: &Outcome) -> Vec<Check> {
    let [_, _, cut, dropped] = outcome.messages;
    let above = |name: &str, got: u64| Check::that(name, "> 0", got, got > 0);
    match hits {
        Hits::ViewChanges => vec![above("fault_cost_views", outcome.view_changes)],
        Hits::Dropped => vec![above("messages_dropped", dropped)],
        Hits::Cut => vec![above("messages_cut", cut)],
        Hits::DroppedAndCut => {
            vec![above("messages_dropped", dropped), above("messages_cut", cut)]
        }
    }
}

fn same_seed_same_trace(seed: u64) -> Scenario {
    let run = |seed| Simulation::new(config(&CASES[3], 4, seed)).run();
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
    let canary = Some(Canary::Twins(3));
    let links = simulated::data_centre();
    let config = SimConfig { canary, ..simulated::cluster(seed, vec![0; 7], links, 4_000) };
    let outcome = Simulation::new(config).run();
    let found = outcome.divergences.len();
    let seen = found > 0 && simulated::safety(&outcome).iter().any(|c| !c.ok);
    let checks = vec![Check::that("divergence_by_3_double_voters_of_7", "seen", found, seen)];
    simulated::scenario("canary_three_double_voters_are_caught", checks, &outcome)
}

/// Two of seven may even vote twice: no divergence.
fn double_voters_within_the_bound_are_harmless(seed: u64) -> Scenario {
    let canary = Some(Canary::Twins(2));
    let links = simulated::data_centre();
    let config = SimConfig { canary, ..simulated::cluster(seed, vec![0; 7], links, 4_000) };
    let outcome = Simulation::new(config).run();
    let checks = simulated::safety(&outcome)
        .into_iter()
        .filter(|c| ["commit_divergence", "block_mismatch"].contains(&&*c.name))
        .collect();
    simulated::scenario("two_double_voters_of_seven_are_harmless", checks, &outcome)
}

/// Negative control: a node that executes other rules must show.
fn another_execution_is_seen(seed: u64) -> Scenario {
    let canary = Some(Canary::WrongState(2));
    let links = simulated::data_centre();
    let config = SimConfig { canary, ..simulated::cluster(seed, vec![0; 4], links, 4_000) };
    let outcome = Simulation::new(config).run();
    let found = outcome.state_divergences.len() + outcome.halts.len();
    let checks = vec![Check::that("wrong_execution_on_one_node", "seen", found, found > 0)];
    simulated::scenario("canary_another_execution_is_caught", checks, &outcome)
}
