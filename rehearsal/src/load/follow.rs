//! What followed nodes say was committed.

use super::ledger::Ledger;
use qbind_scrape::{Fetcher, Target};
use qbind_types::TxId;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::MissedTickBehavior};

/// A page of full blocks.
const PAGE_BYTES: usize = 64 << 20;
const PAGE: u64 = 100;

#[derive(Deserialize)]
struct Tip {
    tip: u64,
}

#[derive(Deserialize)]
struct Page {
    tip: u64,
    blocks: Vec<CommittedBlock>,
}

#[derive(Deserialize)]
struct CommittedBlock {
    height: u64,
    transactions: Vec<CommittedTransaction>,
}

#[derive(Deserialize)]
struct CommittedTransaction {
    id: TxId,
    success: bool,
}

/// The first height worth asking a node for: the one after its tip, or 1 if it does not tell.
pub(super) async fn tip(fetcher: &Fetcher, target: &Target) -> u64 {
    let answer =
        fetcher.json::<Tip>(target, "/v1/commits?from=9007199254740991&limit=1", PAGE_BYTES).await;
    answer.map_or(1, |answer| answer.tip + 1)
}

/// Follows one node until stopped. A node that is down is simply asked again.
pub(super) async fn run(
    fetcher: Fetcher,
    target: Target,
    from: u64,
    poll: Duration,
    ledger: Arc<Ledger>,
    mut stop: watch::Receiver<bool>,
) {
    let mut next = from;
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return,
            _ = ticks.tick() => {}
        }
        loop {
            let path = format!("/v1/commits/transactions?from={next}&limit={PAGE}");
            let Ok(page) = fetcher.json::<Page>(&target, &path, PAGE_BYTES).await else { break };
            let before = next;
            for block in page.blocks {
                let succeeded = block.transactions.into_iter().filter(|t| t.success).map(|t| t.id);
                ledger.committed(block.height, succeeded);
                next = next.max(block.height + 1);
            }
            if next == before || next > page.tip {
                break;
            }
        }
    }
}
