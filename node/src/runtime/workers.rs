//! The threads on which blocks execute, and what is measured of them.

use crate::metrics::Metrics;
use qbind_ledger::{LevelRunner, Phase, run_in_chunks};
use rayon::prelude::*;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Runs the jobs of a block on the process's thread pool.
pub(super) struct Workers {
    metrics: Arc<Metrics>,
    /// When the transfers of the block under way began.
    begun: Mutex<Option<Instant>>,
    /// Whether they run level by level.
    by_levels: AtomicBool,
    /// When the block under way began.
    started: Mutex<Option<Instant>>,
    executed: Executed,
}

/// How long the last block took to execute, handed from the threads that execute to whoever stores it.
#[derive(Debug, Clone, Default)]
pub(super) struct Executed(Arc<AtomicU64>);

impl Executed {
    /// Takes it; zero if it was taken before.
    pub(super) fn take(&self) -> Duration {
        Duration::from_micros(self.0.swap(0, Ordering::Relaxed))
    }

    fn put(&self, took: Duration) {
        self.0.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Workers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let (begun, started) = (Mutex::default(), Mutex::default());
        let (by_levels, executed) = (AtomicBool::new(false), Executed::default());
        Self { metrics, begun, by_levels, started, executed }
    }

    /// How long blocks take, for whoever stores them.
    pub(super) fn executed(&self) -> Executed {
        self.executed.clone()
    }
}

fn mark(place: &Mutex<Option<Instant>>, at: Option<Instant>) -> Option<Instant> {
    std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), at)
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
            Phase::Plan => {
                mark(&self.started, Some(Instant::now()));
            }
            Phase::Run => {
                mark(&self.begun, Some(Instant::now()));
            }
            Phase::Settle => {
                let begun = mark(&self.begun, None);
                if let Some(begun) = begun.filter(|_| self.by_levels.swap(false, Ordering::Relaxed))
                {
                    let seconds = begun.elapsed().as_secs_f64();
                    self.metrics.execution.stage_b_seconds.observe(seconds);
                }
            }
            Phase::Root => {}
            Phase::Done => {
                if let Some(started) = mark(&self.started, None) {
                    self.executed.put(started.elapsed());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_profile::Profile;

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
    fn a_block_takes_from_its_plan_to_its_end_and_is_told_once() {
        let (workers, _) = workers();
        let executed = workers.executed();
        workers.begins(Phase::Plan);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {}
        assert_eq!(executed.take(), Duration::ZERO, "it is under way");
        workers.begins(Phase::Done);
        assert!(executed.take() >= Duration::from_millis(1));
        assert_eq!(executed.take(), Duration::ZERO);
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
