//! Column families, keys, and the small values that only the store defines.

use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{BatchRef, BlockId, Epoch, Height, Millis, StateRoot, SystemRoot, TxId, View};

pub(crate) const SCHEMA: u32 = 3;

pub(crate) const META: &str = "meta";
pub(crate) const COMMITTED: &str = "committed";
pub(crate) const INDEX: &str = "commit_index";
pub(crate) const TRANSACTIONS: &str = "transactions";
pub(crate) const ACCOUNTS: &str = "accounts";
pub(crate) const BATCHES: &str = "batches";
pub(crate) const BATCH_IDS: &str = "batch_ids";
pub(crate) const CERTIFICATES: &str = "certificates";
pub(crate) const ACKS: &str = "acks";
pub(crate) const PENDING_BLOCKS: &str = "pending_blocks";
pub(crate) const MEMPOOL: &str = "mempool";

pub(crate) const EPOCHS: &str = "epochs";
/// Transactions with an effect, by place in the chain.
pub(crate) const HISTORY: &str = "history";
/// Places in the chain of the transactions that an account paid or received.
pub(crate) const ACCOUNT_HISTORY: &str = "account_history";

/// The last block of each epoch with its proof, by epoch; kept for as long as the chain lasts.
pub(crate) const EPOCH_ENDS: &str = "epoch_ends";

pub(crate) const FAMILIES: [&str; 15] = [
    META,
    COMMITTED,
    INDEX,
    TRANSACTIONS,
    ACCOUNTS,
    BATCHES,
    BATCH_IDS,
    CERTIFICATES,
    ACKS,
    PENDING_BLOCKS,
    MEMPOOL,
    EPOCHS,
    HISTORY,
    ACCOUNT_HISTORY,
    EPOCH_ENDS,
];

/// What a snapshot holds: everything that follows from the chain up to one height and is checked
/// against its certificates.
pub(crate) const SNAPSHOT_FAMILIES: [&str; 4] = [META, ACCOUNTS, EPOCHS, EPOCH_ENDS];

pub(crate) const KEY_SCHEMA: &[u8] = b"schema_version";
pub(crate) const KEY_GENESIS: &[u8] = b"genesis_hash";
pub(crate) const KEY_SAFETY: &[u8] = b"safety_record";
pub(crate) const KEY_OWN: &[u8] = b"own_batch";
pub(crate) const KEY_HEIGHT: &[u8] = b"committed_height";
pub(crate) const KEY_TALLY: &[u8] = b"tally";
pub(crate) const KEY_REGISTRY: &[u8] = b"validators_registry";
pub(crate) const KEY_SLASHING: &[u8] = b"slashing";
pub(crate) const KEY_MONETARY: &[u8] = b"monetary_state";
pub(crate) const KEY_START: &[u8] = b"epoch_start";
pub(crate) const KEY_INCLUDED: &[u8] = b"included_rounds";
pub(crate) const KEY_GENESIS_FILE: &[u8] = b"genesis_file";
/// Lowest height that is here with its batches; absent while nothing is pruned.
pub(crate) const KEY_LOWEST: &[u8] = b"lowest_height";
pub(crate) const KEY_SYNCED: &[u8] = b"synced_from_snapshot";

/// Of [`META`], what a snapshot holds. Everything else is one node's own, its safety record above
/// all, and must never reach another.
pub(crate) const SNAPSHOT_META: [&[u8]; 10] = [
    KEY_SCHEMA,
    KEY_GENESIS,
    KEY_GENESIS_FILE,
    KEY_HEIGHT,
    KEY_TALLY,
    KEY_REGISTRY,
    KEY_SLASHING,
    KEY_MONETARY,
    KEY_START,
    KEY_INCLUDED,
];

/// First height of the index.
pub(crate) const KEY_INDEXED_FROM: &[u8] = b"indexed_from";
/// Last height of the index.
pub(crate) const KEY_INDEXED_TO: &[u8] = b"indexed_to";

/// Height, big-endian.
pub(crate) fn height_key(height: Height) -> [u8; 8] {
    height.0.to_be_bytes()
}

/// Big-endian.
pub(crate) fn epoch_key(epoch: Epoch) -> [u8; 8] {
    epoch.0.to_be_bytes()
}

/// Epoch, creator, round, id: iteration gives the rounds of a creator's epoch in order.
pub(crate) fn batch_key(r: &BatchRef) -> [u8; 50] {
    let mut key = [0; 50];
    key[..18].copy_from_slice(&round_key(r));
    key[18..].copy_from_slice(&r.id.0);
    key
}

/// Bytes of a round's key that all rounds of a creator's epoch share.
pub(crate) const CREATOR_BYTES: usize = 10;

/// Bytes of a round's key.
pub(crate) const ROUND_BYTES: usize = 18;

/// Epoch, creator and round.
pub(crate) fn round_key(r: &BatchRef) -> [u8; ROUND_BYTES] {
    let mut key = [0; ROUND_BYTES];
    key[..8].copy_from_slice(&epoch_key(r.epoch));
    key[8..CREATOR_BYTES].copy_from_slice(&r.creator.0.to_be_bytes());
    key[CREATOR_BYTES..].copy_from_slice(&r.round.to_be_bytes());
    key
}

/// View and id: pending blocks in view order.
pub(crate) fn pending_key(view: View, id: &BlockId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&view.0.to_be_bytes());
    key[8..].copy_from_slice(&id.0);
    key
}

/// What the commit feed says of a height.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitIndex {
    /// The height.
    pub height: Height,
    /// The block's view.
    pub view: View,
    /// The block.
    pub id: BlockId,
    /// Root after it.
    pub state_root: StateRoot,
    /// The part of it that is not accounts.
    pub system_root: SystemRoot,
    /// This node's clock when it executed the block.
    pub committed_unix_ms: Millis,
    /// Its transactions in order, each with whether it had the effect asked for.
    pub transactions: Vec<(TxId, bool)>,
}

/// Where a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionIndex {
    /// In the block of this height.
    pub height: Height,
    /// Whether it had the effect asked for.
    pub success: bool,
}
