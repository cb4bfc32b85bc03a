//! One account as a node tells it, and as whoever does not believe the node can know it.

use crate::{FetchError, Fetcher, FollowError, Target, reach};
use qbind_crypto::{AccountProof, AccountProofError, LightClient, ProvenAccount, block_id};
use qbind_types::{Address, BlockId, CommittedBlock, Height, Millis, StateRoot, decode};
use serde::Deserialize;
use thiserror::Error;

/// Bytes of an answer that is a few numbers.
const SMALL: usize = 64 << 10;
/// Bytes of a proof with a block and its certificate, in hexadecimal.
const LARGE: usize = 8 << 20;

/// Why an account's state is not known.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The node does not answer, or not with what was asked for.
    #[error("cannot fetch {what} from {node}")]
    Fetch {
        /// What.
        what: &'static str,
        /// Whom.
        node: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The node has no proof to hand over, as it says.
    #[error("{node} has no proof: {message}")]
    NoProof {
        /// Who.
        node: String,
        /// What it says.
        message: String,
    },
    /// The block it is to be proven by is not of the chain of this genesis, or does not reach it.
    #[error("cannot check the block that the proof rests on")]
    Chain(#[source] Box<FollowError>),
    /// The proof is of another account than was asked for.
    #[error("{node} proves account {got}, asked for {expected}")]
    OtherAccount {
        /// Who.
        node: String,
        /// Whose proof came.
        got: Address,
        /// Whose was asked for.
        expected: Address,
    },
    /// The block names another height than the node says.
    #[error(
        "{node} says that block {block} names the state root of height {said}, but it names that of height {named}"
    )]
    OtherHeight {
        /// Who.
        node: String,
        /// Which block.
        block: Height,
        /// Which height the node says.
        said: Height,
        /// Which one the block names.
        named: Height,
    },
    /// The path does not end in the root that the block names.
    #[error("{node} proves nothing about height {height}")]
    Proof {
        /// Who.
        node: String,
        /// Of which height.
        height: Height,
        /// What is wrong.
        #[source]
        source: Box<AccountProofError>,
    },
}

impl AccountError {
    /// Whether the node told a lie, rather than nothing.
    pub fn is_lie(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => matches!(source, FetchError::Content { .. }),
            Self::NoProof { .. } => false,
            Self::Chain(error) => match &**error {
                FollowError::Fetch { source, .. } => matches!(source, FetchError::Content { .. }),
                FollowError::Pruned { .. } => false,
                FollowError::Wrong { .. } => true,
            },
            Self::OtherAccount { .. } | Self::OtherHeight { .. } | Self::Proof { .. } => true,
        }
    }
}

impl From<FollowError> for AccountError {
    fn from(error: FollowError) -> Self {
        Self::Chain(Box::new(error))
    }
}

/// An account's state that a quorum of validators vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenState {
    /// The account; `None` if the state does not hold it.
    pub account: Option<ProvenAccount>,
    /// After this height.
    pub height: Height,
    /// The state root there.
    pub root: StateRoot,
    /// The final block that names it.
    pub block: Height,
    /// Its id.
    pub block_id: BlockId,
    /// When its leader made it.
    pub time: Millis,
}

/// An account as the node says, unproven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ToldAccount {
    #[serde(deserialize_with = "decimal")]
    /// What it holds.
    pub balance: u128,
    /// Its next nonce.
    pub nonce: u64,
    /// After which height.
    pub height: Height,
}

fn decimal<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
struct Answer {
    height: Height,
    proof: String,
    committed: String,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Asks for an account, and believes the answer.
///
/// # Errors
/// The node's fault: it does not answer.
pub async fn account(
    fetcher: &Fetcher,
    target: &Target,
    address: &Address,
) -> Result<ToldAccount, AccountError> {
    let answer = fetcher.json(target, &format!("/v1/accounts/{address}"), SMALL).await;
    answer.map_err(|source| failed(target, "the account", source))
}

/// Asks for an account with its proof and checks everything from the validators that `light` knows
/// on.
///
/// # Errors
/// The node's fault; see [`AccountError::is_lie`].
pub async fn prove_account(
    fetcher: &Fetcher,
    target: &Target,
    light: &mut LightClient,
    address: &Address,
) -> Result<ProvenState, AccountError> {
    let node = || target.http.clone();
    let what = "the account's proof";
    let path = format!("/v1/accounts/{address}/proof");
    let got = fetcher.get(target, &path, LARGE).await;
    let (status, body) = got.map_err(|source| failed(target, what, source))?;
    if status != 200 {
        let refusal = serde_json::from_slice::<Refusal>(&body);
        return Err(match refusal {
            Ok(Refusal { message }) => AccountError::NoProof { node: node(), message },
            Err(_) => failed(target, what, FetchError::Status { status }),
        });
    }
    let content = |reason: String| failed(target, what, FetchError::Content { reason });
    let answer: Answer = serde_json::from_slice(&body).map_err(|e| content(e.to_string()))?;
    let proof: AccountProof = encoded(&answer.proof).map_err(content)?;
    let committed: CommittedBlock = encoded(&answer.committed).map_err(content)?;
    if proof.address != *address {
        let (got, expected) = (proof.address, *address);
        return Err(AccountError::OtherAccount { node: node(), got, expected });
    }
    let block = committed.block.clone();
    reach(fetcher, target, light, committed).await?;
    let named = block.executed;
    if named.height != answer.height {
        let (said, named, block) = (answer.height, named.height, block.height);
        return Err(AccountError::OtherHeight { node: node(), block, said, named });
    }
    proof.verify(named.root).map_err(|source| AccountError::Proof {
        node: node(),
        height: named.height,
        source: Box::new(source),
    })?;
    Ok(ProvenState {
        account: proof.account(),
        height: named.height,
        root: named.root,
        block: block.height,
        block_id: block_id(&block),
        time: block.timestamp_unix_ms,
    })
}

fn failed(target: &Target, what: &'static str, source: FetchError) -> AccountError {
    AccountError::Fetch { what, node: target.http.clone(), source }
}

fn encoded<T: borsh::BorshDeserialize>(digits: &str) -> Result<T, String> {
    let bytes = hex::decode(digits).map_err(|e| e.to_string())?;
    decode(&bytes).map_err(|e| e.to_string())
}
