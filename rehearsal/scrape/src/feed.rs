//! One node's commit feed.

use crate::{
    clock::{elapsed_ms, unix_ms},
    fetch::FetchError,
    scraper::{Shared, Target},
    store::{Lines, StoreError},
};
use qbind_gates::records::{ClaimLine, FeedLine, paths};
use qbind_types::{BlockId, StateRoot, SystemRoot, TxId};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::MissedTickBehavior;

const FEED_BYTES: usize = 4 << 20;
/// A hundred full blocks of transaction ids.
const CLAIM_BYTES: usize = 64 << 20;
const FEED_LIMIT: u64 = 1000;
const CLAIM_LIMIT: u64 = 100;
/// After a gap a node may be another than before: this many heights are asked for again.
const AGAIN_AFTER_GAP: u64 = 100;
/// Pages read in one poll; the rest waits for the next.
const PAGES: usize = 20;

#[derive(Deserialize)]
struct CommitsAnswer {
    tip: u64,
    commits: Vec<CommitAnswer>,
}

#[derive(Deserialize)]
struct CommitAnswer {
    height: u64,
    view: u64,
    block_id: BlockId,
    state_root: StateRoot,
    system_root: SystemRoot,
    committed_unix_ms: u64,
    transactions: u64,
}

#[derive(Deserialize)]
struct ClaimsAnswer {
    blocks: Vec<ClaimedBlock>,
}

#[derive(Deserialize)]
struct ClaimedBlock {
    height: u64,
    transactions: Vec<ClaimedTransaction>,
}

#[derive(Deserialize)]
struct ClaimedTransaction {
    id: TxId,
    success: bool,
}

struct Follower<'a> {
    shared: &'a Shared,
    target: &'a Target,
    commits: Lines,
    claims: Lines,
    /// What it said of the last heights, to notice a changed mind.
    said: BTreeMap<u64, (BlockId, StateRoot)>,
    next: u64,
    next_claim: u64,
    ask_again: u64,
}

/// Polls every `interval` until stopped, and once more then.
pub(crate) async fn run(
    shared: Shared,
    target: Target,
    interval: Duration,
) -> Result<(), StoreError> {
    let mut follower = Follower {
        commits: Lines::open(&shared.dir, &paths::commits(&target.name))?,
        claims: Lines::open(&shared.dir, &paths::transactions(&target.name))?,
        shared: &shared,
        target: &target,
        said: BTreeMap::new(),
        next: 1,
        next_claim: 1,
        ask_again: 1,
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut stop = shared.stop.clone();
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = stop.wait_for(|stopped| *stopped) => true,
        };
        follower.poll().await?;
        if is_last {
            return Ok(());
        }
    }
}

impl Follower<'_> {
    async fn poll(&mut self) -> Result<(), StoreError> {
        for _ in 0..PAGES {
            let from = self.next.saturating_sub(self.ask_again).max(1);
            let path = format!("/v1/commits?from={from}&limit={FEED_LIMIT}");
            let (at_unix_ms, start) = (unix_ms(), Instant::now());
            let fetcher = &self.shared.fetcher;
            let answer: Result<CommitsAnswer, _> =
                fetcher.json(self.target, &path, FEED_BYTES).await;
            let duration_ms = elapsed_ms(start);
            let answer = match answer.and_then(|a| ascending(a, from)) {
                Ok(answer) => answer,
                Err(error) => {
                    self.ask_again = AGAIN_AFTER_GAP;
                    self.shared.count(|s| s.feed_gaps += 1);
                    let error = error.to_string();
                    return self.commits.push(&FeedLine::Gap { at_unix_ms, duration_ms, error });
                }
            };
            self.ask_again = 1;
            self.commits.push(&FeedLine::Poll { at_unix_ms, duration_ms, tip: answer.tip })?;
            let before = self.next;
            self.take(answer.commits)?;
            // An empty page, or the end of the feed.
            if self.next == before || self.next > answer.tip {
                break;
            }
        }
        self.claims().await
    }

    fn take(&mut self, commits: Vec<CommitAnswer>) -> Result<(), StoreError> {
        let seen_unix_ms = unix_ms();
        for c in commits {
            let word = (c.block_id, c.state_root);
            if self.said.insert(c.height, word) == Some(word) {
                continue;
            }
            self.shared.note_commit(&self.target.name, c.height, c.block_id);
            self.commits.push(&FeedLine::Commit {
                height: c.height,
                view: c.view,
                block_id: c.block_id,
                state_root: c.state_root,
                system_root: c.system_root,
                committed_unix_ms: c.committed_unix_ms,
                transactions: c.transactions,
                seen_unix_ms,
            })?;
            self.next = self.next.max(c.height + 1);
        }
        while self.said.len() > 2 * AGAIN_AFTER_GAP as usize {
            self.said.pop_first();
        }
        Ok(())
    }

    /// What it claims of the transactions in blocks it has.
    async fn claims(&mut self) -> Result<(), StoreError> {
        for _ in 0..PAGES {
            if self.next_claim >= self.next {
                break;
            }
            let from = self.next_claim;
            let path = format!("/v1/commits/transactions?from={from}&limit={CLAIM_LIMIT}");
            let fetcher = &self.shared.fetcher;
            let answer: Result<ClaimsAnswer, FetchError> =
                fetcher.json(self.target, &path, CLAIM_BYTES).await;
            // A failure shows as claims that end early; the next poll tries again.
            let Ok(answer) = answer else { break };
            for block in answer.blocks {
                if block.height != self.next_claim {
                    return Ok(());
                }
                let parts: Vec<&[u8]> = block.transactions.iter().map(|t| &t.id.0[..]).collect();
                self.claims.push(&ClaimLine {
                    height: block.height,
                    transactions: parts.len() as u64,
                    ids_sha3: format!("0x{}", hex::encode(qbind_crypto::sha3_256(&parts))),
                    success: block
                        .transactions
                        .iter()
                        .map(|t| if t.success { '1' } else { '0' })
                        .collect(),
                })?;
                self.next_claim += 1;
            }
            if self.next_claim == from {
                break;
            }
        }
        Ok(())
    }
}

/// Heights from `from` on, one after the other: anything else is no feed.
fn ascending(answer: CommitsAnswer, from: u64) -> Result<CommitsAnswer, FetchError> {
    let heights = answer.commits.iter().map(|c| c.height);
    if heights.clone().zip(from..).all(|(got, expected)| got == expected) {
        Ok(answer)
    } else {
        let got: Vec<u64> = heights.take(5).collect();
        let reason = format!("heights {got:?}… where {from} and following were asked for");
        Err(FetchError::Content { reason })
    }
}
