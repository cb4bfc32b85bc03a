//! T223: Stage B (parallel) execution equals serial execution, bit for bit, block after block.
//!
//! Covers: T223.
//!
//! Random blocks go through three ledgers: one serial, one in parallel on real threads, one level
//! by level in shuffled order. State roots, receipts roots, receipts and accounts must be equal at
//! every height, and an independent book of the receipts must agree with the accounts.

mod compare;
mod contention;
mod drive;
mod kinds;
mod mix;
mod runner;
pub(crate) mod workload;

use crate::result::{Check, Scenario, StepResult};
use crate::step::Options;
use crate::sweep::{Selection, selected, sweep};
use drive::{Outcome, Subject, drive, input};
use qbind_ledger::{LevelRunner, Mode, NoEvidence, Params};
use qbind_types::{Address, Transaction};
use runner::{Shuffled, Threads};
use std::time::Instant;
use workload::{Workload, address, blank_transfer, funded};

const THREADS: usize = 4;

/// One soak.
#[derive(Debug, Clone, Copy)]
struct Soak {
    name: &'static str,
    blocks: u64,
    most_transactions: usize,
    senders: usize,
    seed: u64,
    /// Blocks that must have run in parallel.
    parallel_at_least: u64,
    /// Part of the short form.
    quick: bool,
}

/// The first five with the blocks, transactions, senders and seeds this harness is specified with;
/// then full blocks, and a soak long enough for every account to be rewritten many times.
const SOAKS: [Soak; 7] = [
    Soak {
        name: "determinism_over_100_blocks",
        blocks: 100,
        most_transactions: 128,
        senders: 64,
        seed: 12_345,
        parallel_at_least: 80,
        quick: false,
    },
    Soak {
        name: "short_sanity",
        blocks: 20,
        most_transactions: 32,
        senders: 16,
        seed: 9_999,
        parallel_at_least: 15,
        quick: true,
    },
    Soak {
        name: "counts_surface",
        blocks: 10,
        most_transactions: 16,
        senders: 8,
        seed: 7_777,
        parallel_at_least: 1,
        quick: true,
    },
    Soak {
        name: "high_contention",
        blocks: 30,
        most_transactions: 64,
        senders: 4,
        seed: 333,
        parallel_at_least: 25,
        quick: true,
    },
    Soak {
        name: "independent_transactions",
        blocks: 20,
        most_transactions: 32,
        senders: 256,
        seed: 444,
        parallel_at_least: 1,
        quick: true,
    },
    Soak {
        name: "full_blocks",
        blocks: 20,
        most_transactions: 1_200,
        senders: 4_000,
        seed: 666,
        parallel_at_least: 19,
        quick: false,
    },
    Soak {
        name: "long_soak",
        blocks: 1_000,
        most_transactions: 128,
        senders: 64,
        seed: 888,
        parallel_at_least: 900,
        quick: false,
    },
];

const REPRODUCED: Soak = Soak {
    name: "reproducibility",
    blocks: 15,
    most_transactions: 24,
    senders: 16,
    seed: 55_555,
    parallel_at_least: 1,
    quick: true,
};

/// Shapes of the mix: the soaks this harness is specified with.
const MIXED: usize = 5;
const CONTENTION: &str = "contention";
const KINDS: &str = "every_kind_of_failure";
const MIX: &str = "random_blocks";
const SCHEDULE: &str = "schedule_correctness";

/// The cases that can be chosen by name.
pub(crate) fn case_names() -> Vec<&'static str> {
    let others = [REPRODUCED.name, CONTENTION, KINDS, MIX, SCHEDULE];
    SOAKS.iter().map(|soak| soak.name).chain(others).collect()
}

fn soak(soak: &Soak, seed: u64, subjects: &[Subject<'_>]) -> Outcome {
    let mut workload = Workload::new(seed, soak.senders, soak.most_transactions);
    let genesis = |params| funded(params, soak.senders);
    drive(soak.blocks, &genesis, &mut |ledger| workload.block(ledger), subjects)
}

fn judge(soak: &Soak, seed: u64, outcome: &Outcome) -> Scenario {
    let mut checks = vec![
        Check::equal("blocks executed", soak.blocks, outcome.blocks),
        Check::that(
            "blocks run in parallel",
            format!(">= {}", soak.parallel_at_least),
            outcome.parallel,
            outcome.parallel >= soak.parallel_at_least,
        ),
        Check::equal(
            "parallel and serial blocks together",
            outcome.blocks,
            outcome.parallel + outcome.serial,
        ),
        Check::that("transfers that succeeded", "> 0", outcome.succeeded, outcome.succeeded > 0),
    ];
    checks.extend(outcome.checks());
    let last = outcome.roots.last().copied().unwrap_or_default();
    Scenario::new(soak.name, checks)
        .fact("seed", seed)
        .fact("blocks_parallel", outcome.parallel)
        .fact("blocks_serial", outcome.serial)
        .fact("transactions_succeeded", outcome.succeeded)
        .fact("transactions_failed", outcome.failures())
        .fact("transactions_skipped", outcome.skips())
        .fact("mean_levels", outcome.mean_levels())
        .fact("most_levels", outcome.deepest)
        .fact("most_transactions_per_level", outcome.widest)
        .fact("state_root", last.to_string())
}

/// Two runs from one seed must agree on everything, and another seed must not.
fn reproducibility(seed: u64, runners: &[&dyn LevelRunner]) -> Scenario {
    let subjects: Vec<Subject<'_>> = runners.iter().map(|r| Subject::sound(*r)).collect();
    let run = |seed| soak(&REPRODUCED, seed, &subjects);
    let (first, second, other) = (run(seed), run(seed), run(seed.wrapping_add(1)));
    let mut scenario = judge(&REPRODUCED, seed, &first);
    scenario.checks.push(Check::that(
        "two runs from one seed are equal",
        "equal",
        if first == second { "equal" } else { "different" },
        first == second,
    ));
    scenario.checks.push(Check::that(
        "a run from another seed differs",
        "different",
        if first.roots == other.roots { "equal" } else { "different" },
        first.roots != other.roots,
    ));
    let facts = scenario.facts;
    Scenario { facts, ..Scenario::new(REPRODUCED.name, scenario.checks) }
}

/// Levels of a block of transfers between numbered accounts.
fn levels_of(transfers: &[(usize, u64, usize)], runner: &dyn LevelRunner) -> String {
    let mut ledger = funded(Params::mainnet(), 7);
    let list: Vec<Transaction> = transfers
        .iter()
        .map(|&(from, nonce, to)| blank_transfer(address(from), nonce, address(to), 100, 1))
        .collect();
    let list: Vec<&Transaction> = list.iter().collect();
    let block = input(&ledger, Address([0xee; 32]), &list);
    match ledger.apply(&block, runner, &NoEvidence).mode {
        Mode::Parallel { levels } => levels.to_string(),
        Mode::Serial { why } => format!("serial ({why:?})"),
    }
}

fn schedule(runner: &dyn LevelRunner) -> Scenario {
    let level = |name: &str, expected: &str, transfers: &[(usize, u64, usize)]| {
        Check::equal(name, expected, levels_of(transfers, runner))
    };
    Scenario::new(
        "schedule_correctness",
        vec![
            level(
                "four transfers of three senders to one recipient",
                "4",
                &[(0, 0, 3), (1, 0, 3), (2, 0, 3), (0, 1, 3)],
            ),
            level("three pairs of strangers", "1", &[(0, 0, 1), (2, 0, 3), (4, 0, 5)]),
            level("a chain of hops", "3", &[(0, 0, 1), (1, 0, 2), (2, 0, 3)]),
            level("one sender's sequence", "3", &[(0, 0, 1), (0, 1, 2), (0, 2, 3)]),
            level("one transfer alone", "serial (TooFew)", &[(0, 0, 1)]),
        ],
    )
}

/// Runs the soaks. The seed is added to each soak's own; 0 is the canonical run. The quick form leaves
/// out the long ones.
pub fn run(options: &Options) -> StepResult {
    let started = Instant::now();
    let Options { seed, quick, selection, .. } = options;
    let form = if *quick { " --quick" } else { "" };
    let scenarios = match Threads::new(THREADS) {
        Ok(threads) => selected(selection, scenarios(options, &threads)),
        Err(error) => {
            let check = Check::equal("threads to run on", "started", error);
            vec![Scenario::new("threads", vec![check])]
        }
    };
    let chosen = selection.arguments();
    let replay = format!("qbindctl steps run T223 --seed {seed}{form}{chosen}");
    let mut result = StepResult::new("T223", "Stage B equals serial", *seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

fn scenarios(options: &Options, threads: &Threads) -> Vec<Scenario> {
    let Options { seed, quick, selection, .. } = options;
    let mut all: Vec<Scenario> = Vec::new();
    let is_named = |name: &str| selection.case.as_deref() == Some(name);
    for case in SOAKS.iter().filter(|case| selection.is_case(case.name)) {
        // The long ones belong to the quick form only if they are asked for.
        if case.quick || !quick || is_named(case.name) {
            all.push(many(selection, *seed, case.name, |seed| {
                let shuffled = Shuffled::new(seed);
                let runners: [&dyn LevelRunner; 2] = [threads, &shuffled];
                let seed = case.seed.wrapping_add(seed);
                judge(case, seed, &soak(case, seed, &runners.map(Subject::sound)))
            }));
        }
    }
    let shuffled = Shuffled::new(*seed);
    let runners: [&dyn LevelRunner; 2] = [threads, &shuffled];
    if selection.is_case(REPRODUCED.name) {
        all.push(many(selection, *seed, REPRODUCED.name, |seed| {
            reproducibility(REPRODUCED.seed.wrapping_add(seed), &runners)
        }));
    }
    if selection.is_case(CONTENTION) {
        all.extend(contention::scenarios(*seed, &runners));
    }
    if selection.is_case(KINDS) {
        all.push(many(selection, *seed, KINDS, |seed| kinds::scenario(seed, &runners)));
    }
    if selection.is_case(MIX) {
        let is_short = *quick && !is_named(MIX);
        let pieces = if is_short { mix::PIECES_QUICK } else { mix::PIECES };
        let pieces = selection.seeds.unwrap_or(pieces);
        all.push(mix::scenario(*seed, pieces, &SOAKS[..MIXED], threads));
    }
    if selection.is_case(SCHEDULE) {
        all.push(schedule(threads));
    }
    all
}

/// One seed, or as many as are asked for.
fn many(
    selection: &Selection,
    first: u64,
    name: &str,
    judge: impl Fn(u64) -> Scenario + Sync,
) -> Scenario {
    match selection.seeds {
        None => judge(first),
        Some(seeds) => {
            let replay = format!("qbindctl steps run T223 --case {name}");
            sweep(name, first..first.saturating_add(seeds), &replay, judge)
        }
    }
}

#[cfg(test)]
mod tests;
