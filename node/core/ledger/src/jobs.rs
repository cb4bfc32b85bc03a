//! Results of jobs that a [`LevelRunner`] runs in any order.

use crate::LevelRunner;
use alloc::{boxed::Box, vec::Vec};
use once_cell::race::OnceBox;

/// The result of each job, by its number.
///
/// # Panics
/// The runner's fault: it did not run every job, or one of them twice.
pub(crate) fn results<T: Clone + Send + Sync>(
    jobs: usize,
    runner: &dyn LevelRunner,
    job: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    if jobs == 1 {
        return alloc::vec![job(0)];
    }
    let slots: Vec<OnceBox<T>> = (0..jobs).map(|_| OnceBox::new()).collect();
    runner.run(jobs, &|i| {
        let is_first = slots[i].set(Box::new(job(i))).is_ok();
        assert!(is_first, "the level runner ran job {i} twice: its contract is each exactly once");
    });
    let result = |(i, slot): (usize, &OnceBox<T>)| match slot.get() {
        Some(result) => result.clone(),
        None => panic!("the level runner did not run job {i}: its contract is each exactly once"),
    };
    slots.iter().enumerate().map(result).collect()
}
