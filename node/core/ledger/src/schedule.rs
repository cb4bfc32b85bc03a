//! Which transactions may run at the same time.

use crate::plan::Run;
use alloc::{vec, vec::Vec};

/// Runs by conflict level: places in the list of runs, ascending within a level.
pub(crate) type Levels = Vec<Vec<usize>>;

/// Puts each run one level above the highest run before it that shares an account with it.
///
/// Two runs of one level share no account, and of two runs that do, the earlier has the lower
/// level; so running level by level gives what running one by one gives. One pass: the level of
/// the last run that touched an account is the highest that did.
pub(crate) fn levels(runs: &[Run], accounts: usize) -> Levels {
    // For each account, the first level free for its next run.
    let mut free = vec![0usize; accounts];
    let mut levels: Levels = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let level = free[run.sender].max(free[run.recipient]);
        free[run.sender] = level + 1;
        free[run.recipient] = level + 1;
        if level == levels.len() {
            levels.push(Vec::new());
        }
        levels[level].push(i);
    }
    levels
}
