//! Two ways to run a level: on threads, and in the worst order one thread can think of.

use qbind_ledger::LevelRunner;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs jobs on a pool of threads.
pub(super) struct Threads(rayon::ThreadPool);

impl Threads {
    /// A pool of `count` threads, or of one if the system refuses.
    pub(super) fn new(count: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        rayon::ThreadPoolBuilder::new().num_threads(count).build().map(Self)
    }
}

impl LevelRunner for Threads {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..jobs).into_par_iter().for_each(job));
    }
}

/// Runs jobs one by one in an order drawn from a seed: what threads may do, repeatably.
pub(super) struct Shuffled {
    seed: u64,
    calls: AtomicU64,
}

impl Shuffled {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, calls: AtomicU64::new(0) }
    }
}

impl LevelRunner for Shuffled {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ call.rotate_left(32));
        let mut order: Vec<usize> = (0..jobs).collect();
        order.shuffle(&mut rng);
        order.into_iter().for_each(job);
    }
}
