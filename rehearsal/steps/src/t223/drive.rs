//! One chain through several ledgers at once: a serial one, which is right by definition, and those
//! under test.

use super::{
    compare::{Difference, Differences, compare},
    workload::address,
};
use crate::replay::Replay;
use crate::result::Check;
use qbind_ledger::{
    Applied, BlockInput, FailureReason, Ledger, LevelRunner, Mode, NoEvidence, Params,
    SerialReason, SerialRunner, SkipReason, Status,
};
use qbind_types::{Address, StateRoot, Transaction};
use std::collections::BTreeMap;

const PROPOSERS: usize = 7;

/// The ledger under test; the tests put a broken one in its place.
pub(super) struct Subject<'a> {
    pub(super) params: Params,
    pub(super) runner: &'a dyn LevelRunner,
    /// Order in which it sees a block's transactions.
    pub(super) order: fn(&mut [&Transaction]),
    /// Falsifies what it reports.
    pub(super) report: fn(&mut Applied),
}

impl<'a> Subject<'a> {
    pub(super) fn sound(runner: &'a dyn LevelRunner) -> Self {
        Self::under(Params::mainnet(), runner)
    }

    pub(super) fn under(params: Params, runner: &'a dyn LevelRunner) -> Self {
        Self { params, runner, order: |_| (), report: |_| () }
    }
}

/// What a run counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) blocks: u64,
    pub(super) parallel: u64,
    pub(super) serial: u64,
    pub(super) levels: u64,
    pub(super) deepest: usize,
    pub(super) widest: usize,
    /// Levels of each block; one where it ran serially.
    pub(super) depths: Vec<usize>,
    pub(super) succeeded: u64,
    pub(super) failed: BTreeMap<FailureReason, u64>,
    pub(super) skipped: BTreeMap<SkipReason, u64>,
    pub(super) differences: Differences,
    pub(super) book_findings: u64,
    pub(super) roots: Vec<StateRoot>,
}

impl Outcome {
    fn count(&mut self, applied: &Applied) {
        self.blocks += 1;
        self.roots.push(applied.state_root);
        let mut ran = 0;
        for receipt in &applied.receipts {
            match receipt.status {
                Status::Success => self.succeeded += 1,
                Status::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
                Status::Skipped(reason) => *self.skipped.entry(reason).or_default() += 1,
            }
            ran += usize::from(!matches!(receipt.status, Status::Skipped(_)));
        }
        match applied.mode {
            Mode::Parallel { levels } => {
                self.parallel += 1;
                self.levels += u64::try_from(levels).expect("a block is small");
                self.deepest = self.deepest.max(levels);
                self.widest = self.widest.max(ran.checked_div(levels).unwrap_or(0));
                self.depths.push(levels);
            }
            Mode::Serial { .. } => {
                self.serial += 1;
                self.depths.push(1);
            }
        }
    }

    /// Adds what another run counted; roots and depths stay apart.
    pub(super) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.parallel += other.parallel;
        self.serial += other.serial;
        self.levels += other.levels;
        self.deepest = self.deepest.max(other.deepest);
        self.widest = self.widest.max(other.widest);
        self.succeeded += other.succeeded;
        for (reason, count) in &other.failed {
            *self.failed.entry(*reason).or_default() += count;
        }
        for (reason, count) in &other.skipped {
            *self.skipped.entry(*reason).or_default() += count;
        }
        for (kind, height) in &other.differences {
            self.differences.entry(*kind).or_insert(*height);
        }
        self.book_findings += other.book_findings;
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    pub(super) fn skips(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Conflict levels per parallel block; lower is more parallel.
    pub(super) fn mean_levels(&self) -> f64 {
        // Counts of at most a few million are exact in a float.
        let mean = if self.parallel == 0 { 0.0 } else { self.levels as f64 / self.parallel as f64 };
        (mean * 100.0).round() / 100.0
    }

    /// What no run may fail: nothing differs, and the second bookkeeper agrees.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks =
            vec![Check::equal("findings of the independent book", 0, self.book_findings)];
        let kinds = [
            Difference::State,
            Difference::ReceiptStatus,
            Difference::GasUsed,
            Difference::FeeDistribution,
            Difference::ReceiptsRoot,
        ];
        for kind in kinds {
            let got = match self.differences.get(&kind) {
                None => "none".to_string(),
                Some(height) => format!("first at height {height}"),
            };
            checks.push(Check::equal(kind.to_string(), "none", got));
        }
        checks
    }
}

/// Runs `blocks` blocks, each made by `next` on top of the serial ledger, through the serial ledger
/// and all subjects. `genesis` makes a ledger under the parameters it is given.
pub(super) fn drive(
    blocks: u64,
    genesis: &dyn Fn(Params) -> Ledger,
    next: &mut dyn FnMut(&Ledger) -> Vec<Transaction>,
    subjects: &[Subject<'_>],
) -> Outcome {
    let params = subjects.first().map_or_else(Params::mainnet, |s| s.params.clone());
    // Under the rules of the network, whatever the subject takes for them; only its gas limit is the
    // run's own.
    let limit = params.block_gas_limit;
    let mut serial =
        genesis(Params { stage_b: false, block_gas_limit: limit, ..Params::mainnet() });
    let mut ledgers: Vec<Ledger> = subjects.iter().map(|s| genesis(s.params.clone())).collect();
    let mut book = Replay::new(&serial);
    let mut outcome = Outcome::default();
    for n in 0..blocks {
        let transactions = next(&serial);
        let list: Vec<&Transaction> = transactions.iter().collect();
        // Proposers are senders too, so that their reward and their spending meet in one account.
        let place = usize::try_from(n).expect("a few blocks") % PROPOSERS;
        let block = input(&serial, address(place), &list);
        let expected = serial.apply(&block, &SerialRunner, &NoEvidence);
        book.enter(&block, &expected, &serial);
        for (i, (subject, ledger)) in subjects.iter().zip(&mut ledgers).enumerate() {
            let mut list = list.clone();
            (subject.order)(&mut list);
            let block = BlockInput { transactions: &list, ..block };
            let mut applied = ledger.apply(&block, subject.runner, &NoEvidence);
            (subject.report)(&mut applied);
            compare(&mut outcome.differences, (&serial, &expected), (ledger, &applied));
            if applied.mode == (Mode::Serial { why: SerialReason::Mismatch }) {
                // Found by the ledger's own check, which has put it right.
                outcome.differences.entry(Difference::State).or_insert(block.height.0);
            }
            if i == 0 {
                outcome.count(&applied);
            }
        }
    }
    outcome.book_findings = book.findings.total();
    outcome
}

/// The next block of a ledger.
pub(super) fn input<'a>(
    ledger: &Ledger,
    proposer: Address,
    transactions: &'a [&'a Transaction],
) -> BlockInput<'a> {
    BlockInput {
        height: ledger.height().next(),
        epoch: qbind_types::Epoch(0),
        time: qbind_types::Millis(0),
        proposer,
        transactions,
    }
}
