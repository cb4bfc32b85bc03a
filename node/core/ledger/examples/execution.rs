//! Stage B against serial execution: the same blocks through both, in one run, part by part.
//!
//! `cargo run -p qbind-ledger --example execution [THREADS]`. Signatures are not part of it: they are
//! checked before a transaction reaches a block. Times are the best of the repetitions, so that other
//! work on the machine disturbs both sides alike.

use qbind_ledger::{
    Account, Applied, BlockInput, Ledger, LevelRunner, Mode, NoEvidence, Params, Phase, System,
    run_in_chunks,
};
use qbind_types::{
    Address, Epoch, Height, PUBLIC_KEY_BYTES, Payload, PublicKey, SIGNATURE_BYTES, Signature,
    Transaction, TransferV1,
};
use rayon::prelude::*;
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Accounts of the ledger.
const ACCOUNTS: u64 = 100_000;
/// Transfers of a block; 803 fill a block of MainNet.
const SIZES: [u64; 6] = [50, 200, 803, 3_000, 10_000, 30_000];
/// Time spent on one size.
const PATIENCE: Duration = Duration::from_secs(2);
const LEAST_REPETITIONS: usize = 5;

/// Threads, and when each part of the block began.
struct Clocked {
    pool: Option<rayon::ThreadPool>,
    marks: Mutex<Vec<(Phase, Instant)>>,
}

impl Clocked {
    fn new(threads: Option<usize>) -> Self {
        let pool = threads.map(|count| {
            rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads")
        });
        Self { pool, marks: Mutex::default() }
    }

    /// Seconds of each part, in order: plan, run, settle, root.
    fn parts(&self) -> [f64; 4] {
        let marks = std::mem::take(&mut *self.marks.lock().expect("no panic while held"));
        let mut parts = [0.0; 4];
        for (part, pair) in parts.iter_mut().zip(marks.windows(2)) {
            *part = (pair[1].1 - pair[0].1).as_secs_f64();
        }
        parts
    }
}

impl LevelRunner for Clocked {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        match &self.pool {
            Some(pool) => pool.install(|| (0..jobs).into_par_iter().for_each(job)),
            None => (0..jobs).for_each(job),
        }
    }

    fn run_small(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        run_in_chunks(self, jobs, job);
    }

    fn begins(&self, phase: Phase) {
        self.marks.lock().expect("no panic while held").push((phase, Instant::now()));
    }
}

fn address(n: u64) -> Address {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Address(bytes)
}

fn transfer(from: u64, to: u64, nonce: u64) -> Transaction {
    let payload = Payload::V1(TransferV1 {
        recipient: address(to),
        amount: 1,
        gas_limit: 50_000,
        max_fee_per_gas: 1,
    });
    Transaction {
        sender: address(from),
        nonce,
        payload: payload.encode(),
        suite: 100,
        public_key: PublicKey::from_slice(&[0; PUBLIC_KEY_BYTES]).expect("its length"),
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length"),
    }
}

fn genesis(stage_b: bool) -> Ledger {
    let params = Params { stage_b, block_gas_limit: u64::MAX, ..Params::mainnet() };
    let account = Account { nonce: 0, balance: 1 << 60 };
    let accounts = (0..ACCOUNTS).map(|n| (address(n), account));
    Ledger::restore(params, Height(0), System::none(), accounts).expect("a sum that fits")
}

fn apply(ledger: &mut Ledger, block: &[&Transaction], runner: &Clocked) -> (Applied, [f64; 4]) {
    let input = BlockInput {
        height: ledger.height().next(),
        epoch: Epoch(0),
        time: qbind_types::Millis(0),
        proposer: Address([0xee; 32]),
        transactions: block,
    };
    let applied = ledger.apply(&input, runner, &NoEvidence);
    (applied, runner.parts())
}

/// The shortest times of plan, run, settle, root, and of a whole block.
#[derive(Clone, Copy)]
struct Best([f64; 5]);

impl Best {
    fn new() -> Self {
        Self([f64::INFINITY; 5])
    }

    fn take(&mut self, parts: [f64; 4]) {
        let whole: f64 = parts.iter().sum();
        for (best, new) in self.0.iter_mut().zip(parts.into_iter().chain([whole])) {
            *best = best.min(new);
        }
    }
}

struct Bench {
    serial: Ledger,
    parallel: Ledger,
    one: Clocked,
    many: Clocked,
    nonces: Vec<u64>,
}

impl Bench {
    /// Transfers of different accounts among the first half to those of the second, spread over all,
    /// or all to one account.
    fn block(&mut self, size: u64, meet: bool) -> Vec<Transaction> {
        let half = ACCOUNTS / 2;
        let step = half / size;
        let one = |i: u64| {
            let from = i * step;
            let to = if meet { half } else { half + from };
            let nonce = &mut self.nonces[usize::try_from(from).expect("an index")];
            *nonce += 1;
            transfer(from, to, *nonce - 1)
        };
        (0..size).map(one).collect()
    }

    fn row(&mut self, size: u64, meet: bool) {
        let (mut serial, mut parallel) = (Best::new(), Best::new());
        let (begun, mut repetitions, mut depth) = (Instant::now(), 0, 0);
        while repetitions < LEAST_REPETITIONS || begun.elapsed() < PATIENCE {
            let block = self.block(size, meet);
            let list: Vec<&Transaction> = block.iter().collect();
            let (a, parts) = apply(&mut self.serial, &list, &self.one);
            serial.take(parts);
            let (b, parts) = apply(&mut self.parallel, &list, &self.many);
            parallel.take(parts);
            assert_eq!(a.state_root, b.state_root, "Stage B gives what serial execution gives");
            assert_eq!(a.receipts_root, b.receipts_root);
            assert!(b.receipts.iter().all(qbind_ledger::Receipt::is_success));
            let Mode::Parallel { levels } = b.mode else { panic!("two transfers or more") };
            depth = levels;
            repetitions += 1;
        }
        let us = |seconds: f64| seconds * 1e6;
        print!("{size:>9} {depth:>6}");
        for part in [0, 1, 2, 3, 4] {
            let (a, b) = (serial.0[part], parallel.0[part]);
            print!("  {:>8.0} {:>8.0} {:>5.2}", us(a), us(b), a / b);
        }
        println!("  {repetitions:>5}");
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    let mut bench = Bench {
        serial: genesis(false),
        parallel: genesis(true),
        one: Clocked::new(None),
        many: Clocked::new(Some(threads)),
        nonces: vec![0; usize::try_from(ACCOUNTS).expect("an index")],
    };
    println!(
        "Serial against Stage B on {threads} threads, {ACCOUNTS} accounts, microseconds a block and \
         their ratio, best of the repetitions"
    );
    println!("{:>44} {:>24} {:>24} {:>24} {:>24}", "plan", "transfers", "settle", "roots", "block");
    println!("transfers levels{}  runs", "    serial  StageB ratio".repeat(5));
    println!("independent");
    for size in SIZES {
        bench.row(size, false);
    }
    println!("all to one account");
    for size in [50, 803] {
        bench.row(size, true);
    }
}
