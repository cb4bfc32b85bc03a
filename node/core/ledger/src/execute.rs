//! Runs the transfers of a block, one by one or level by level.
//!
//! Both ways run the same function over the same cells; they differ in the order only. Cells are
//! made of atomics, so that even a wrong schedule could give a wrong result but never undefined
//! behaviour, and its wrong result shows in the state root.

use crate::{Account, FailureReason, SkipReason, Status, plan::Run, schedule::Levels};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use qbind_types::Address;

/// Runs the jobs of one level, in any order, on any number of threads.
pub trait LevelRunner: Sync {
    /// Calls `job(0)` to `job(jobs - 1)`, each exactly once, and returns when all have returned
    /// and their effects are visible to the caller (as after joining the threads).
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));

    /// The same for jobs of less than a tenth of a microsecond, which are worth a thread's while only
    /// by the hundred; see [`run_in_chunks`].
    fn run_small(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.run(jobs, job);
    }

    /// Told when a part of a block's work begins, for whoever has a clock.
    fn begins(&self, _phase: Phase) {}
}

/// The parts of a block's work, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Payload, price, nonce order, block gas, conflict levels.
    Plan,
    /// The transfers.
    Run,
    /// Receipts, fee shares, registry.
    Settle,
    /// The roots of receipts and state.
    Root,
    /// Nothing: the block is done.
    Done,
}

/// Small jobs of which one thread does this many at a time: about ten microseconds of work.
const CHUNK: usize = 128;

/// Runs small jobs as [`LevelRunner::run`] would run larger ones, a chunk at a time; what is less
/// than two chunks runs here.
pub fn run_in_chunks(runner: &dyn LevelRunner, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
    if jobs < 2 * CHUNK {
        (0..jobs).for_each(job);
        return;
    }
    runner.run(jobs.div_ceil(CHUNK), &|chunk| {
        let first = chunk * CHUNK;
        (first..jobs.min(first + CHUNK)).for_each(job);
    });
}

/// Runs jobs one after the other on the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct SerialRunner;

impl LevelRunner for SerialRunner {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        for i in 0..jobs {
            job(i);
        }
    }
}

/// An account while a block runs.
struct Cell {
    /// What it must keep.
    kept: u128,
    nonce: AtomicU64,
    balance_low: AtomicU64,
    balance_high: AtomicU64,
}

// Relaxed suffices everywhere: within a level no two jobs share a cell, and between levels the
// runner's return orders everything.
impl Cell {
    fn new(account: Account, kept: u128) -> Self {
        let cell = Self {
            kept,
            nonce: AtomicU64::new(0),
            balance_low: AtomicU64::new(0),
            balance_high: AtomicU64::new(0),
        };
        cell.store(account);
        cell
    }

    fn load(&self) -> Account {
        let high = u128::from(self.balance_high.load(Ordering::Relaxed)) << 64;
        Account {
            nonce: self.nonce.load(Ordering::Relaxed),
            balance: high | u128::from(self.balance_low.load(Ordering::Relaxed)),
        }
    }

    fn store(&self, account: Account) {
        let low = u64::try_from(account.balance & u128::from(u64::MAX)).expect("masked to 64 bits");
        let high = u64::try_from(account.balance >> 64).expect("64 bits remain");
        self.nonce.store(account.nonce, Ordering::Relaxed);
        self.balance_low.store(low, Ordering::Relaxed);
        self.balance_high.store(high, Ordering::Relaxed);
    }
}

const NOT_RUN: u8 = 0;
const SUCCESS: u8 = 1;
const NO_BALANCE: u8 = 2;
const WRONG_NONCE: u8 = 3;
const NO_FEE: u8 = 4;

/// The accounts a block touches and the outcome of each run.
pub(crate) struct Board {
    cells: Vec<Cell>,
    outcomes: Vec<AtomicU8>,
}

impl Board {
    pub(crate) fn new(
        touched: &[(Address, Account)],
        runs: usize,
        kept: impl Fn(&Address) -> u128,
    ) -> Self {
        let cell = |(address, account): &(Address, Account)| Cell::new(*account, kept(address));
        Self {
            cells: touched.iter().map(cell).collect(),
            outcomes: (0..runs).map(|_| AtomicU8::new(NOT_RUN)).collect(),
        }
    }

    /// In block order.
    pub(crate) fn run_serially(&self, runs: &[Run]) {
        for (i, run) in runs.iter().enumerate() {
            self.outcomes[i].store(self.transfer(run), Ordering::Relaxed);
        }
    }

    /// Level by level.
    pub(crate) fn run_levels(&self, runs: &[Run], levels: &Levels, runner: &dyn LevelRunner) {
        for level in levels {
            runner.run_small(level.len(), &|job| {
                let i = level[job];
                self.outcomes[i].store(self.transfer(&runs[i]), Ordering::Relaxed);
            });
        }
    }

    /// One transfer: nonce, fee, amount, in this order. Failing at nonce or fee changes nothing;
    /// failing at the amount has used up both.
    fn transfer(&self, run: &Run) -> u8 {
        let mut sender = self.cells[run.sender].load();
        if sender.nonce != run.nonce {
            return WRONG_NONCE;
        }
        let kept = self.cells[run.sender].kept;
        let spend = |balance: u128, part: u128| balance.checked_sub(part).filter(|b| *b >= kept);
        let Some(after_fee) = spend(sender.balance, run.fee) else {
            return NO_FEE;
        };
        sender.nonce += 1;
        let Some(after_amount) = spend(after_fee, run.amount) else {
            sender.balance = after_fee;
            self.cells[run.sender].store(sender);
            return NO_BALANCE;
        };
        sender.balance = after_amount;
        self.cells[run.sender].store(sender);
        // Loaded after the sender is stored: they may be the same.
        let mut recipient = self.cells[run.recipient].load();
        recipient.balance = recipient
            .balance
            .checked_add(run.amount)
            .expect("a balance cannot exceed the supply, which fits");
        self.cells[run.recipient].store(recipient);
        SUCCESS
    }

    /// Whether every account and every outcome is that of another board.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        let outcomes = |board: &Self| -> Vec<u8> {
            board.outcomes.iter().map(|outcome| outcome.load(Ordering::Relaxed)).collect()
        };
        let cells = self.cells.iter().map(Cell::load);
        cells.eq(other.cells.iter().map(Cell::load)) && outcomes(self) == outcomes(other)
    }

    /// The account at a place in the plan's list, after the runs.
    pub(crate) fn account(&self, place: usize) -> Account {
        self.cells[place].load()
    }

    /// What became of a run.
    pub(crate) fn status(&self, run: usize) -> Status {
        match self.outcomes[run].load(Ordering::Relaxed) {
            SUCCESS => Status::Success,
            NO_BALANCE => Status::Failed(FailureReason::InsufficientBalance),
            WRONG_NONCE => Status::Skipped(SkipReason::Nonce),
            NO_FEE => Status::Skipped(SkipReason::FeeUnpayable),
            _ => {
                panic!("the level runner did not run job {run}: its contract is each exactly once")
            }
        }
    }
}
