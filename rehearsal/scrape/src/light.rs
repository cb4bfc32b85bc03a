//! A node's chain, followed from genesis by certificates alone: the node is asked, never believed.

use crate::{FetchError, Fetcher, Target};
use futures::{StreamExt, stream};
use qbind_crypto::{LightClient, LightError};
use qbind_types::{BlockId, CommittedBlock, Epoch, Height, ValidatorSet, limits};
use thiserror::Error;

/// Blocks asked for at once.
const AHEAD: usize = 16;
/// Bytes of an answer that is a few numbers.
const SMALL: usize = 1 << 20;

/// Why following ended before the end.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The node does not answer, or not with what was asked for.
    #[error("cannot fetch {what} from {node}")]
    Fetch {
        /// What.
        what: String,
        /// Whom.
        node: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// What the node hands over is not the chain of this genesis.
    #[error("{node} does not show the chain of this genesis")]
    Wrong {
        /// Who.
        node: String,
        /// What is wrong.
        #[source]
        source: LightError,
    },
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The last block.
    pub height: Height,
    /// Its id.
    pub block: BlockId,
    /// Commit certificates verified.
    pub certificates: u64,
    /// Each epoch, its validators and where it started.
    pub epochs: Vec<FollowedEpoch>,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedEpoch {
    /// Which.
    pub epoch: Epoch,
    /// The last block of the epoch before; genesis for the first.
    pub after: Height,
    /// How many validators.
    pub validators: usize,
    /// Their voting power.
    pub power: u64,
}

/// How to follow.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowOptions {
    /// Stop here; at the node's last block if it is not said.
    pub to: Option<Height>,
    /// Of epochs that have ended check only the last block.
    pub skips: bool,
}

/// Follows a node's chain; `seen` hears of each height reached.
///
/// # Errors
/// The node's fault; names the height.
pub async fn follow(
    fetcher: &Fetcher,
    target: &Target,
    light: &mut LightClient,
    options: FollowOptions,
    mut seen: impl FnMut(Height, Height),
) -> Result<Followed, FollowError> {
    let node = Node { fetcher, target };
    let tip = match options.to {
        Some(to) => to,
        None => node.tip().await?,
    };
    let mut followed = Followed {
        height: light.height(),
        block: light.block(),
        certificates: 0,
        epochs: vec![epoch(light)],
    };
    while light.height() < tip {
        if let Some(next) = light.wants_validators() {
            let set = node.validators(next).await?;
            light.start_epoch(set).map_err(|source| node.wrong(source))?;
            followed.epochs.push(epoch(light));
        }
        if options.skips
            && let Some(last) = node.end_of_epoch(light, tip).await?
        {
            light.skip_to_end(last).map_err(|source| node.wrong(source))?;
            followed.certificates += 1;
            seen(light.height(), tip);
            continue;
        }
        let first = light.height().0 + 1;
        let mut blocks = stream::iter(first..=tip.0).map(|h| node.block(Height(h))).buffered(AHEAD);
        while let Some(block) = blocks.next().await {
            light.follow(block?).map_err(|source| node.wrong(source))?;
            followed.certificates += 1;
            seen(light.height(), tip);
            if light.wants_validators().is_some() {
                break;
            }
        }
    }
    (followed.height, followed.block) = (light.height(), light.block());
    Ok(followed)
}

/// Goes on to `block` by the last blocks of the epochs before, and takes it if it is final.
///
/// # Errors
/// The node's fault: it does not answer, or `block` is not of the chain of that genesis.
pub async fn reach(
    fetcher: &Fetcher,
    target: &Target,
    light: &mut LightClient,
    block: CommittedBlock,
) -> Result<(), FollowError> {
    let node = Node { fetcher, target };
    let (height, epoch) = (block.block.height, block.block.epoch);
    loop {
        if let Some(next) = light.wants_validators() {
            let set = node.validators(next).await?;
            light.start_epoch(set).map_err(|source| node.wrong(source))?;
        }
        if light.validators().epoch() >= epoch {
            return light.skip_to(block).map_err(|source| node.wrong(source));
        }
        let Some(last) = node.end_of_epoch(light, height).await? else {
            // The node shows another block at this height than the one it handed over.
            let (got, expected) = (epoch, light.validators().epoch());
            return Err(node.wrong(LightError::Epoch { height, got, expected }));
        };
        light.skip_to_end(last).map_err(|source| node.wrong(source))?;
    }
}

fn epoch(light: &LightClient) -> FollowedEpoch {
    let set = light.validators();
    FollowedEpoch {
        epoch: set.epoch(),
        after: light.height(),
        validators: set.count(),
        power: set.total_power().0,
    }
}

struct Node<'a> {
    fetcher: &'a Fetcher,
    target: &'a Target,
}

impl Node<'_> {
    fn wrong(&self, source: LightError) -> FollowError {
        FollowError::Wrong { node: self.target.http.clone(), source }
    }

    fn failed(&self, what: impl Into<String>, source: FetchError) -> FollowError {
        FollowError::Fetch { what: what.into(), node: self.target.http.clone(), source }
    }

    async fn tip(&self) -> Result<Height, FollowError> {
        let path = "/v1/commits?from=1&limit=1";
        let page: Result<serde_json::Value, _> = self.fetcher.json(self.target, path, SMALL).await;
        let tip = page.map_err(|source| self.failed("the last height", source))?;
        let reason = "no tip in the commit feed".to_owned();
        let tip = tip["tip"].as_u64().ok_or(FetchError::Content { reason });
        tip.map(Height).map_err(|source| self.failed("the last height", source))
    }

    async fn raw<T: borsh::BorshDeserialize>(
        &self,
        path: String,
        what: &str,
    ) -> Result<T, FollowError> {
        let raw = self.fetcher.body(self.target, &path, limits::MESSAGE_BYTES).await;
        let raw = raw.map_err(|source| self.failed(what, source))?;
        qbind_types::decode(&raw)
            .map_err(|e| self.failed(what, FetchError::Content { reason: e.to_string() }))
    }

    async fn block(&self, height: Height) -> Result<CommittedBlock, FollowError> {
        self.raw(format!("/v1/blocks/{height}/raw"), &format!("block {height}")).await
    }

    async fn validators(&self, epoch: Epoch) -> Result<ValidatorSet, FollowError> {
        let what = format!("the validators of epoch {epoch}");
        self.raw(format!("/v1/validators/{epoch}/raw"), &what).await
    }

    /// Where the node says that the epoch under way ended, if it did up to `tip`. What it says is
    /// checked by whoever takes the block.
    async fn end_of_epoch(
        &self,
        light: &LightClient,
        tip: Height,
    ) -> Result<Option<CommittedBlock>, FollowError> {
        let epoch = light.validators().epoch();
        let (mut low, mut high) = (light.height().0 + 1, tip.0);
        if self.block(Height(high)).await?.block.epoch <= epoch {
            return Ok(None);
        }
        // The first block of a later epoch is above `low` and not above `high`.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.block(Height(middle)).await?.block.epoch > epoch {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        self.block(Height(high - 1)).await.map(Some)
    }
}
