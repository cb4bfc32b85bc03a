//! A node's commit feed, read once.

use crate::{evidence::Evidence, records::FeedLine};
use qbind_plan::Plan;
use qbind_types::{BlockId, StateRoot, SystemRoot};
use rayon::prelude::*;
use std::{collections::BTreeMap, fmt};

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
    /// When it was polled with success.
    pub(crate) polls: Vec<u64>,
    /// When it committed, ascending.
    times: Vec<u64>,
    /// When it did not answer.
    pub(crate) gaps: Vec<u64>,
    /// What it said of its own clock or height that what it handed over, or our clock, contradicts.
    pub(crate) contradictions: Vec<Contradiction>,
}

/// Fewer commits than this in an answer, and it is the end of what the node has: full pages hold 1,000, of
/// which up to 100 may be asked for again.
const PAGE: u64 = 900;

/// See [`Feed::contradictions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contradiction {
    /// It says it committed a height before a poll whose answer did not hold it.
    Backdated { height: u64, before_poll: u64, by_ms: u64 },
    /// It says it committed a height after we had it.
    Postdated { height: u64, by_ms: u64 },
    /// It says it has a height, and hands over less.
    Withheld { tip: u64, handed: u64 },
}

impl Contradiction {
    /// Whether it is more than clocks and answers may be apart.
    pub(crate) fn exceeds(&self, slack_ms: u64) -> bool {
        match self {
            Self::Backdated { by_ms, .. } | Self::Postdated { by_ms, .. } => *by_ms > slack_ms,
            Self::Withheld { .. } => true,
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backdated { height, before_poll, by_ms } => write!(
                f,
                "says it committed {height} {by_ms} ms before a poll at {before_poll} that did not \
                 show it"
            ),
            Self::Postdated { height, by_ms } => {
                write!(f, "says it committed {height} {by_ms} ms after it had been handed over")
            }
            Self::Withheld { tip, handed } => {
                write!(f, "says its height is {tip}, and hands over no more than {handed}")
            }
        }
    }
}

/// Where a feed stands while it is read.
#[derive(Default)]
struct Reading {
    /// Time and tip of the last poll.
    poll: Option<(u64, u64)>,
    /// Time of the last poll whose answer was all the node had, and what it had.
    whole: Option<(u64, u64)>,
    /// Highest height handed over.
    handed: u64,
    /// Commits since the last poll.
    brought: u64,
}

impl Reading {
    /// The answer to the last poll is over.
    fn close(&mut self, contradictions: &mut Vec<Contradiction>) {
        let Some((at, tip)) = self.poll.take() else { return };
        if self.handed >= tip {
            self.whole = Some((at, self.handed));
        } else if self.brought < PAGE {
            let handed = self.handed;
            contradictions.push(Contradiction::Withheld { tip, handed });
        }
        self.brought = 0;
    }
}

impl Feed {
    /// Those of planned nodes, as far as they can be read.
    pub(crate) fn all(evidence: &Evidence, plan: &Plan) -> BTreeMap<String, Self> {
        let planned = evidence.feeds.iter().filter(|(node, _)| plan.node(node).is_some());
        let planned: Vec<_> = planned.collect();
        let read = planned
            .into_par_iter()
            .filter_map(|(node, stored)| Some((node.clone(), Self::of(&stored.lines().ok()?))));
        read.collect()
    }

    pub(crate) fn of(lines: &[FeedLine]) -> Self {
        let mut feed = Self::default();
        let mut reading = Reading::default();
        for line in lines {
            match line {
                FeedLine::Poll { at_unix_ms, tip, .. } => {
                    reading.close(&mut feed.contradictions);
                    feed.polls.push(*at_unix_ms);
                    reading.poll = Some((*at_unix_ms, *tip));
                }
                FeedLine::Gap { at_unix_ms, .. } => {
                    reading.close(&mut feed.contradictions);
                    feed.gaps.push(*at_unix_ms);
                }
                FeedLine::Commit {
                    height,
                    block_id,
                    state_root,
                    system_root,
                    committed_unix_ms,
                    seen_unix_ms,
                    ..
                } => {
                    reading.brought += 1;
                    reading.handed = reading.handed.max(*height);
                    if let Some((before_poll, had)) = reading.whole
                        && *height > had
                        && *committed_unix_ms < before_poll
                    {
                        let by_ms = before_poll - committed_unix_ms;
                        let height = *height;
                        let found = Contradiction::Backdated { height, before_poll, by_ms };
                        feed.contradictions.push(found);
                    }
                    if committed_unix_ms > seen_unix_ms {
                        let by_ms = committed_unix_ms - seen_unix_ms;
                        let found = Contradiction::Postdated { height: *height, by_ms };
                        feed.contradictions.push(found);
                    }
                    let commit = Commit {
                        block_id: *block_id,
                        state_root: *state_root,
                        system_root: *system_root,
                        committed_unix_ms: *committed_unix_ms,
                    };
                    if let Some(first) = feed.commits.get(height) {
                        let word = |c: &Commit| (c.block_id, c.state_root, c.system_root);
                        if word(first) != word(&commit) {
                            feed.changed.push(*height);
                        }
                    } else {
                        feed.commits.insert(*height, commit);
                    }
                }
            }
        }
        reading.close(&mut feed.contradictions);
        feed.polls.sort_unstable();
        feed.times = feed.commits.values().map(|commit| commit.committed_unix_ms).collect();
        feed.times.sort_unstable();
        feed
    }

    pub(crate) fn tip(&self) -> u64 {
        self.commits.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether it tells of a commit made after `from` and before `to`.
    pub(crate) fn committed_between(&self, from: u64, to: u64) -> bool {
        let after = self.times.partition_point(|at| *at <= from);
        self.times.get(after).is_some_and(|at| *at < to)
    }

    /// The first height between 1 and the tip that is missing.
    pub(crate) fn hole(&self) -> Option<u64> {
        (1..=self.tip()).find(|h| !self.commits.contains_key(h))
    }

    /// Whether a successful poll lies at or after `at`: only then is it known what the node had.
    pub(crate) fn knows(&self, at: u64) -> bool {
        self.polls.last().is_some_and(|last| *last >= at)
    }
}
