//! T223: Stage B (parallel) execution equals serial execution, bit for bit, block after block.
//!
//! Covers: T223.
//!
//! Random blocks go through three ledgers: one serial, one in parallel on real threads, one level
//! by level in shuffled order. State roots, receipts roots, receipts and accounts must be equal at
//! every height, and an independent book of the receipts must agree with the accounts.

mod compare;
mod runner;
pub(crate) mod workload;

use crate::replay::Replay;
use crate::result::{Check, Scenario, StepResult};
use compare::{Difference, Differences, compare};
use qbind_ledger::{
    Applied, BlockInput, Ledger, LevelRunner, Mode, NoEvidence, Params, SerialRunner, Status,
};
use qbind_types::{Address, StateRoot, Transaction};
use runner::{Shuffled, Threads};
use std::time::Instant;
use workload::{Workload, address, blank_transfer, funded};

const PROPOSERS: usize = 7;
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

/// The ledger under test; the tests put a broken one in its place.
struct Subject<'a> {
    params: Params,
    runner: &'a dyn LevelRunner,
    /// Order in which it sees a block's transactions.
    order: fn(&mut [&Transaction]),
    /// Falsifies what it reports.
    report: fn(&mut Applied),
}

impl<'a> Subject<'a> {
    fn sound(runner: &'a dyn LevelRunner) -> Self {
        Self { params: Params::mainnet(), runner, order: |_| (), report: |_| () }
    }
}

/// What a soak counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Outcome {
    blocks: u64,
    parallel: u64,
    serial: u64,
    levels: u64,
    deepest: usize,
    widest: usize,
    succeeded: u64,
    failed: u64,
    skipped: u64,
    differences: Differences,
    book_findings: u64,
    roots: Vec<StateRoot>,
}

impl Outcome {
    fn count(&mut self, applied: &Applied) {
        self.blocks += 1;
        self.roots.push(applied.state_root);
        match applied.mode {
            Mode::Parallel { levels } => {
                self.parallel += 1;
                self.levels += u64::try_from(levels).expect("a block is small");
                self.deepest = self.deepest.max(levels);
                let ran = |r: &&qbind_ledger::Receipt| !matches!(r.status, Status::Skipped(_));
                let ran = applied.receipts.iter().filter(ran).count();
                self.widest = self.widest.max(ran.checked_div(levels).unwrap_or(0));
            }
            Mode::Serial { .. } => self.serial += 1,
        }
        for receipt in &applied.receipts {
            match receipt.status {
                Status::Success => self.succeeded += 1,
                Status::Failed(_) => self.failed += 1,
                Status::Skipped(_) => self.skipped += 1,
            }
        }
    }

    /// Conflict levels per parallel block; lower is more parallel.
    fn mean_levels(&self) -> f64 {
        // Counts of at most a few thousand are exact in a float.
        if self.parallel == 0 { 0.0 } else { self.levels as f64 / self.parallel as f64 }
    }
}

fn soak(soak: &Soak, seed: u64, subjects: &[Subject<'_>]) -> Outcome {
    let mut workload = Workload::new(seed, soak.senders, soak.most_transactions);
    let mut serial = funded(Params { stage_b: false, ..Params::mainnet() }, workload.senders());
    let mut ledgers: Vec<Ledger> =
        subjects.iter().map(|s| funded(s.params.clone(), workload.senders())).collect();
    let mut book = Replay::new(&serial);
    let mut outcome = Outcome::default();
    for n in 0..soak.blocks {
        let transactions = workload.block(&serial);
        let list: Vec<&Transaction> = transactions.iter().collect();
        let height = serial.height().next();
        // Proposers are senders too, so that their reward and their spending meet in one account.
        let place = usize::try_from(n).expect("a few blocks") % PROPOSERS.min(soak.senders);
        let block = BlockInput {
            height,
            epoch: qbind_types::Epoch(0),
            time: qbind_types::Millis(0),
            proposer: address(place),
            transactions: &list,
        };
        let expected = serial.apply(&block, &SerialRunner, &NoEvidence);
        book.enter(&block, &expected, &serial);
        for (i, (subject, ledger)) in subjects.iter().zip(&mut ledgers).enumerate() {
            let mut list = list.clone();
            (subject.order)(&mut list);
            let block = BlockInput { transactions: &list, ..block };
            let mut applied = ledger.apply(&block, subject.runner, &NoEvidence);
            (subject.report)(&mut applied);
            compare(&mut outcome.differences, (&serial, &expected), (ledger, &applied));
            if i == 0 {
                outcome.count(&applied);
            }
        }
    }
    outcome.book_findings = book.findings.total();
    outcome
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
        Check::equal("findings of the independent book", 0, outcome.book_findings),
    ];
    let kinds = [
        Difference::State,
        Difference::ReceiptStatus,
        Difference::GasUsed,
        Difference::FeeDistribution,
        Difference::ReceiptsRoot,
    ];
    for kind in kinds {
        let got = match outcome.differences.get(&kind) {
            None => "none".to_string(),
            Some(height) => format!("first at height {height}"),
        };
        checks.push(Check::equal(kind.to_string(), "none", got));
    }
    let last = outcome.roots.last().copied().unwrap_or_default();
    Scenario::new(soak.name, checks)
        .fact("seed", seed)
        .fact("blocks_parallel", outcome.parallel)
        .fact("blocks_serial", outcome.serial)
        .fact("transactions_succeeded", outcome.succeeded)
        .fact("transactions_failed", outcome.failed)
        .fact("transactions_skipped", outcome.skipped)
        .fact("mean_levels", (outcome.mean_levels() * 100.0).round() / 100.0)
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
    let block = BlockInput {
        epoch: qbind_types::Epoch(0),
        time: qbind_types::Millis(0),
        height: ledger.height().next(),
        proposer: Address([0xee; 32]),
        transactions: &list,
    };
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

/// Runs the soaks. `seed` is added to each soak's own; 0 is the canonical run. `quick` leaves out
/// the long one.
pub fn run(seed: u64, quick: bool) -> StepResult {
    let started = Instant::now();
    let shuffled = Shuffled::new(seed);
    let mut scenarios = Vec::new();
    match Threads::new(THREADS) {
        Ok(threads) => {
            let runners: [&dyn LevelRunner; 2] = [&threads, &shuffled];
            for case in SOAKS.iter().filter(|case| case.quick || !quick) {
                let seed = case.seed.wrapping_add(seed);
                let subjects = runners.map(Subject::sound);
                scenarios.push(judge(case, seed, &soak(case, seed, &subjects)));
            }
            scenarios.push(reproducibility(REPRODUCED.seed.wrapping_add(seed), &runners));
            scenarios.push(schedule(&threads));
        }
        Err(error) => {
            let check = Check::equal("threads to run on", "started", error);
            scenarios.push(Scenario::new("threads", vec![check]));
        }
    }
    let form = if quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T223 --seed {seed}{form}");
    let mut result = StepResult::new("T223", "Stage B equals serial", seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_ledger::FeeSplit;

    /// The kinds of difference a broken subject is caught by.
    fn caught(subject: Subject<'_>) -> Vec<Difference> {
        let case = SOAKS[3];
        let outcome = soak(&case, case.seed, &[subject]);
        let scenario = judge(&case, case.seed, &outcome);
        assert_eq!(scenario.verdict.is_pass(), outcome.differences.is_empty());
        outcome.differences.into_keys().collect()
    }

    #[test]
    fn the_short_form_passes() {
        let result = run(0, true);
        assert_eq!(result.failures().collect::<Vec<_>>(), []);
        assert_eq!(result.scenarios.len(), 6);
    }

    #[test]
    fn a_sound_subject_is_not_caught() {
        assert_eq!(caught(Subject::sound(&SerialRunner)), []);
    }

    #[test]
    fn conflicting_transfers_in_another_order_are_caught() {
        let order = |list: &mut [&Transaction]| list.reverse();
        let found = caught(Subject { order, ..Subject::sound(&SerialRunner) });
        assert!(found.contains(&Difference::State));
        assert!(found.contains(&Difference::ReceiptStatus));
    }

    #[test]
    fn fees_shared_otherwise_are_caught() {
        let fee_split = FeeSplit::new(5_001, 4_999).expect("a whole");
        let params = Params { fee_split, ..Params::mainnet() };
        let found = caught(Subject { params, ..Subject::sound(&SerialRunner) });
        assert!(found.contains(&Difference::FeeDistribution));
        assert!(found.contains(&Difference::State));
    }

    #[test]
    fn every_lie_in_a_report_is_caught_by_its_name() {
        let lie = |report| caught(Subject { report, ..Subject::sound(&SerialRunner) });
        assert_eq!(lie(|a| a.receipts[0].gas_used += 1), [Difference::GasUsed]);
        assert_eq!(lie(|a| a.receipts[0].fee += 1), [Difference::FeeDistribution]);
        assert_eq!(lie(|a| a.receipts_root[0] ^= 1), [Difference::ReceiptsRoot]);
        assert_eq!(lie(|a| a.state_root.0[0] ^= 1), [Difference::State]);
        let status = |a: &mut Applied| {
            a.receipts[0].status = match a.receipts[0].status {
                Status::Success => Status::Skipped(qbind_ledger::SkipReason::Nonce),
                _ => Status::Success,
            };
        };
        assert_eq!(lie(status), [Difference::ReceiptStatus]);
    }

    #[test]
    fn a_subject_that_never_runs_in_parallel_fails() {
        let case = SOAKS[1];
        let params = Params { stage_b: false, ..Params::mainnet() };
        let subject = Subject { params, ..Subject::sound(&SerialRunner) };
        let outcome = soak(&case, case.seed, &[subject]);
        assert!(outcome.differences.is_empty());
        assert!(!judge(&case, case.seed, &outcome).verdict.is_pass());
    }
}
