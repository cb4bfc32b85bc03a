//! A node's commit feed, read once.

use crate::records::FeedLine;
use qbind_types::{BlockId, StateRoot, SystemRoot};
use std::collections::BTreeMap;

/// What a node said about one height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) block_id: BlockId,
    pub(crate) state_root: StateRoot,
    pub(crate) system_root: SystemRoot,
    pub(crate) committed_unix_ms: u64,
}

/// A node's feed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed {
    pub(crate) commits: BTreeMap<u64, Commit>,
    /// Heights for which it said two things.
    pub(crate) changed: Vec<u64>,
    /// Successful polls: when, and the tip.
    pub(crate) polls: Vec<(u64, u64)>,
    pub(crate) gaps: u64,
}

impl Feed {
    pub(crate) fn of(lines: &[FeedLine]) -> Self {
        let mut feed = Self::default();
        for line in lines {
            match line {
                FeedLine::Poll { at_unix_ms, tip, .. } => feed.polls.push((*at_unix_ms, *tip)),
                FeedLine::Gap { .. } => feed.gaps += 1,
                FeedLine::Commit {
                    height,
                    block_id,
                    state_root,
                    system_root,
                    committed_unix_ms,
                    ..
                } => {
                    let commit = Commit {
                        block_id: *block_id,
                        state_root: *state_root,
                        system_root: *system_root,
                        committed_unix_ms: *committed_unix_ms,
                    };
                    if let Some(first) = feed.commits.get(height) {
                        let same = (first.block_id, first.state_root)
                            == (commit.block_id, commit.state_root);
                        if !same {
                            feed.changed.push(*height);
                        }
                    } else {
                        feed.commits.insert(*height, commit);
                    }
                }
            }
        }
        feed.polls.sort_unstable();
        feed
    }

    pub(crate) fn tip(&self) -> u64 {
        self.commits.keys().next_back().copied().unwrap_or(0)
    }

    /// The first height between 1 and the tip that is missing.
    pub(crate) fn hole(&self) -> Option<u64> {
        (1..=self.tip()).find(|h| !self.commits.contains_key(h))
    }

    /// Whether a successful poll lies at or after `at`: only then is it known what the node had.
    pub(crate) fn knows(&self, at: u64) -> bool {
        self.polls.last().is_some_and(|(last, _)| *last >= at)
    }

    /// A commit the node says it had before a poll that did not yet show it: its clock or its word
    /// is wrong by more than `slack_ms`.
    pub(crate) fn contradiction(&self, slack_ms: u64) -> Option<(u64, u64)> {
        self.polls.iter().find_map(|(at, tip)| {
            let (height, commit) = self.commits.range(tip + 1..).next()?;
            (commit.committed_unix_ms + slack_ms < *at).then_some((*height, *at))
        })
    }
}
