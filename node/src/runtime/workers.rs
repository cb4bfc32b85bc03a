//! The threads on which blocks execute, and what is measured of them.

use crate::metrics::Metrics;
use qbind_ledger::{LevelRunner, Phase, run_in_chunks};
use rayon::prelude::*;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Runs the jobs of a block on the process's thread pool.
pub(super) struct Workers {
    metrics: Arc<Metrics>,
    /// When the transfers of the block under way began.
    begun: Mutex<Option<Instant>>,
    /// Whether they run level by level.
    by_levels: AtomicBool,
}

impl Workers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, begun: Mutex::default(), by_levels: AtomicBool::new(false) }
    }

    fn mark(&self, begun: Option<Instant>) -> Option<Instant> {
        let mut place = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, begun)
    }
}

impl LevelRunner for Workers {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let active = &self.metrics.execution.workers_active;
        (0..jobs).into_par_iter().for_each(|i| {
            active.raise();
            job(i);
            active.lower();
        });
    }

    fn run_small(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.by_levels.store(true, Ordering::Relaxed);
        run_in_chunks(self, jobs, job);
    }

    fn begins(&self, phase: Phase) {
        match phase {
            Phase::Run => {
                self.mark(Some(Instant::now()));
            }
            Phase::Settle => {
                let begun = self.mark(None);
                if let Some(begun) = begun.filter(|_| self.by_levels.swap(false, Ordering::Relaxed))
                {
                    let seconds = begun.elapsed().as_secs_f64();
                    self.metrics.execution.stage_b_seconds.observe(seconds);
                }
            }
            Phase::Plan | Phase::Root | Phase::Done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_profile::Profile;
    use std::sync::atomic::AtomicU64;

    fn workers() -> (Workers, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(&Profile::Mainnet.preset(), &[]));
        (Workers::new(metrics.clone()), metrics)
    }

    #[test]
    fn every_job_runs_once_whatever_their_number() {
        let (workers, metrics) = workers();
        for count in [0usize, 1, 200, 255, 256, 257, 1_000] {
            let runs: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
            let job = |i: usize| {
                runs[i].fetch_add(1, Ordering::Relaxed);
            };
            workers.run(count, &job);
            workers.run_small(count, &job);
            assert!(runs.iter().all(|r| r.load(Ordering::Relaxed) == 2), "{count}");
        }
        assert_eq!(metrics.execution.workers_active.get(), 0);
    }

    #[test]
    fn who_works_is_counted_while_it_works() {
        let (workers, metrics) = workers();
        let most = AtomicU64::new(0);
        workers.run(8, &|_| {
            most.fetch_max(metrics.execution.workers_active.get(), Ordering::Relaxed);
        });
        assert!(most.load(Ordering::Relaxed) >= 1);
    }

    #[test]
    fn seconds_are_those_of_blocks_that_ran_by_levels() {
        let (workers, metrics) = workers();
        let count = || {
            let text = metrics.render();
            let line = "qbind_execution_stage_b_parallel_seconds_count ";
            let found = text.lines().find_map(|l| l.strip_prefix(line)).map(str::to_owned);
            found.expect("exported")
        };
        for phase in [Phase::Plan, Phase::Run, Phase::Settle, Phase::Root, Phase::Done] {
            workers.begins(phase);
        }
        assert_eq!(count(), "0", "a serial block");
        workers.begins(Phase::Run);
        workers.run_small(3, &|_| ());
        workers.begins(Phase::Settle);
        assert_eq!(count(), "1");
    }
}
