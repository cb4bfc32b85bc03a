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
    /// The node has deleted what is to be checked.
    #[error(
        "{node} has deleted block {height}: it has every block from {lowest} on, and below only the last \
         ones of epochs; pass --skip to check those, or ask an archival node \
         (state_retention_mode disabled), the only kind that can show every block"
    )]
    Pruned {
        /// Who.
        node: String,
        /// Which block.
        height: Height,
        /// The lowest height with everything.
        lowest: Height,
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
            let block = match block {
                Ok(block) => block,
                Err(error) if is_gone(&error) => {
                    drop(blocks);
                    node.skip_what_is_gone(light, tip, options).await?;
                    followed.certificates += 1;
                    break;
                }
                Err(error) => return Err(error),
            };
            light.follow(block).map_err(|source| node.wrong(source))?;
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

/// Whether the node said that it has deleted it.
fn is_gone(error: &FollowError) -> bool {
    matches!(error, FollowError::Fetch { source: FetchError::Status { status: 410 }, .. })
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
        // Beyond every tip, for what is asked for may not be deleted.
        let path = "/v1/commits?from=9007199254740991&limit=1";
        let page: Result<serde_json::Value, _> = self.fetcher.json(self.target, path, SMALL).await;
        let tip = page.map_err(|source| self.failed("the last height", source))?;
        let reason = "no tip in the commit feed".to_owned();
        let tip = tip["tip"].as_u64().ok_or(FetchError::Content { reason });
        tip.map(Height).map_err(|source| self.failed("the last height", source))
    }

    /// Of the epoch under way, goes on where the node has everything.
    async fn skip_what_is_gone(
        &self,
        light: &mut LightClient,
        tip: Height,
        options: FollowOptions,
    ) -> Result<(), FollowError> {
        let status: Result<serde_json::Value, _> =
            self.fetcher.json(self.target, "/v1/status", SMALL).await;
        let status = status.map_err(|source| self.failed("its lowest height", source))?;
        let reason = "no lowest_height in the status".to_owned();
        let lowest = status["lowest_height"].as_u64().ok_or(FetchError::Content { reason });
        let lowest = lowest.map_err(|source| self.failed("its lowest height", source))?;
        let (height, lowest) = (light.height().next(), Height(lowest));
        if !options.skips || lowest <= height || lowest > tip {
            return Err(FollowError::Pruned { node: self.target.http.clone(), height, lowest });
        }
        let block = self.block(lowest).await?;
        light.skip_to(block).map_err(|source| self.wrong(source))
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
        let (path, what) = (format!("/v1/epochs/{epoch}/end/raw"), "the last block of an epoch");
        match self.raw::<CommittedBlock>(path, what).await {
            Ok(last) if last.block.height <= tip => return Ok(Some(last)),
            Ok(_) => return Ok(None),
            // It has not ended, or the node is of a release that has no such path.
            Err(FollowError::Fetch { source: FetchError::Status { status: 404 }, .. }) => {}
            Err(error) => return Err(error),
        }
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
