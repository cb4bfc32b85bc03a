//! Raw blocks and batches, fetched once each from whoever hands over the right bytes.

use crate::{
    clock::unix_ms,
    fetch::FetchError,
    scraper::{Shared, Target},
    store::{self, Lines, StoreError},
};
use futures::{StreamExt, TryStreamExt, stream};
use qbind_crypto::{batch_id, block_id, validators_id};
use qbind_gates::records::{BlockLine, paths};
use qbind_types::{
    BatchRef, Block, BlockId, CertifiedBatch, CommittedBlock, Network, ValidatorSet, limits,
};
use std::time::{Duration, Instant};

/// Heights under way at once.
const AHEAD: usize = 4;
/// Batches under way at once for one block.
const BATCHES: usize = 4;
/// Nodes asked before a height is put off.
const TRIES: usize = 4;
/// Pause before a height nobody could hand over is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows the feeds until stopped, at a distance of `left` heights, then for at most `drain`.
pub(crate) async fn run(shared: Shared, drain: Duration, left: u64) -> Result<(), StoreError> {
    let mut index = Lines::open(&shared.dir, paths::BLOCK_INDEX)?;
    let mut next = 1u64;
    let mut stop = shared.stop.clone();
    let mut deadline: Option<Instant> = None;
    loop {
        let tip = shared.tip();
        let left = if deadline.is_some() { 0 } else { left };
        let heights: Vec<u64> = (next..=tip.saturating_sub(left)).take(64).collect();
        if heights.is_empty() {
            if deadline.is_some() && shared.feeds_ended() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let fetched: Vec<(u64, Option<BlockLine>)> = stream::iter(heights)
            .map(|height| {
                let shared = &shared;
                async move { Ok::<_, StoreError>((height, one(shared, height).await?)) }
            })
            .buffered(AHEAD)
            .try_collect()
            .await?;
        let mut is_stuck = false;
        for (height, line) in fetched {
            match line {
                Some(line) if height == next => {
                    index.push(&line)?;
                    shared.count(|s| s.blocks += 1);
                    next += 1;
                }
                // Later ones are on disk already; asking for them again costs little.
                _ => {
                    is_stuck = true;
                    break;
                }
            }
        }
        if *stop.borrow_and_update() && deadline.is_none() {
            deadline = Some(Instant::now() + drain);
        }
        if deadline.is_some_and(|at| Instant::now() > at) {
            let missing = shared.tip().saturating_sub(next - 1);
            shared.count(|s| s.missing_blocks = missing);
            return Ok(());
        }
        if is_stuck {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Fetches one block and its batches; nothing if no node has it right now.
async fn one(shared: &Shared, height: u64) -> Result<Option<BlockLine>, StoreError> {
    let mut refused = Vec::new();
    // Different heights start at different nodes, so that no single one serves the whole chain.
    let holders = shared.holders(height);
    let turn = usize::try_from(height).unwrap_or(0) % holders.len().max(1);
    for (target, said) in holders.iter().cycle().skip(turn).take(holders.len().min(TRIES)) {
        match block(shared, target, height, *said).await {
            Ok((raw, committed)) => {
                let network = committed.block.network;
                let batches = committed.block.batches.clone();
                let count = batches.len() as u64;
                let jobs = batches.into_iter().map(|b| certified(shared, &holders, network, b));
                let got: Vec<bool> =
                    stream::iter(jobs).buffer_unordered(BATCHES).try_collect().await?;
                let has_all = got.iter().all(|ok| *ok);
                if !has_all || !validators(shared, &holders, &committed.block).await? {
                    return Ok(None);
                }
                store::write(&shared.dir, &paths::block(height), &raw)?;
                return Ok(Some(BlockLine {
                    height,
                    node: target.name.clone(),
                    at_unix_ms: unix_ms(),
                    block_id: block_id(&committed.block),
                    batches: count,
                    refused,
                }));
            }
            Err(why) => refused.push(format!("{}: {why}", target.name)),
        }
    }
    Ok(None)
}

async fn block(
    shared: &Shared,
    target: &Target,
    height: u64,
    said: BlockId,
) -> Result<(Vec<u8>, CommittedBlock), FetchError> {
    let path = format!("/v1/blocks/{height}/raw");
    let raw = shared.fetcher.body(target, &path, limits::MESSAGE_BYTES).await?;
    let committed: CommittedBlock =
        qbind_types::decode(&raw).map_err(|e| FetchError::Content { reason: e.to_string() })?;
    let got = block_id(&committed.block);
    if got != said || committed.block.height.0 != height {
        let reason = format!("block {got}, its feed says {said}");
        return Err(FetchError::Content { reason });
    }
    Ok((raw, committed))
}

/// Fetches who validates the next epoch, if this block ends one, from the first node that hands over
/// those it names.
async fn validators(
    shared: &Shared,
    holders: &[(Target, BlockId)],
    block: &Block,
) -> Result<bool, StoreError> {
    let Some(expected) = block.next_validators else { return Ok(true) };
    let epoch = block.next_epoch();
    let path = format!("/v1/validators/{epoch}/raw");
    for (target, _) in holders {
        let Ok(raw) = shared.fetcher.body(target, &path, limits::MESSAGE_BYTES).await else {
            continue;
        };
        let is_right = qbind_types::decode::<ValidatorSet>(&raw)
            .is_ok_and(|set| validators_id(block.network, &set) == expected);
        if is_right {
            store::write(&shared.dir, &paths::validators(epoch.0), &raw)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fetches a batch from the first node that hands over what the reference names.
async fn certified(
    shared: &Shared,
    holders: &[(Target, BlockId)],
    network: Network,
    reference: BatchRef,
) -> Result<bool, StoreError> {
    let name = hex::encode(reference.id.0);
    let file = paths::batch(&name);
    if shared.dir.join(&file).exists() {
        return Ok(true);
    }
    let path = format!("/v1/batches/{}/raw", reference.id);
    let turn = usize::from(reference.id.0[0]) % holders.len().max(1);
    for (target, _) in holders.iter().cycle().skip(turn).take(holders.len().min(TRIES)) {
        let Ok(raw) = shared.fetcher.body(target, &path, limits::MESSAGE_BYTES).await else {
            continue;
        };
        let is_right = qbind_types::decode::<CertifiedBatch>(&raw)
            .is_ok_and(|b| batch_id(network, &b.batch) == reference.id);
        if is_right {
            store::write(&shared.dir, &file, &raw)?;
            shared.count(|s| s.batches += 1);
            return Ok(true);
        }
    }
    Ok(false)
}
