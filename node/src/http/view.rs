//! What the loop must be able to tell.

use super::error::Rejection;
use qbind_crypto::AccountProof;
use qbind_storage::{History, HistoryError, HistoryQuery};
use qbind_types::{
    Address, BatchId, BlockId, CommittedBlock, Epoch, GenesisHash, Height, Millis, Network,
    PublicKey, StateRoot, SystemRoot, Transaction, TxId, ValidatorIndex, View, VotingPower,
};
use serde::Serialize;
use tokio::sync::oneshot;

/// The node as its HTTP listener sees it.
///
/// Every method but [`NodeView::submit`] may block for a read from disk: each is called on a
/// thread that may.
pub trait NodeView: Send + Sync + 'static {
    /// Hands in a decoded, not yet verified transaction. The answer is its id once it is accepted
    /// (and stored), or why it is refused; dropping the sender means that the node is stopping.
    fn submit(&self, transaction: Transaction) -> oneshot::Receiver<Result<TxId, Rejection>>;

    /// Where a transaction is.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn transaction(&self, id: &TxId) -> Result<TransactionView, ViewError>;

    /// An account after the last executed block; an unknown one is empty.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn account(&self, address: &Address) -> Result<AccountView, ViewError>;

    /// An account with its proof, at the newest height whose state root a committed block names;
    /// `None` if that state is no longer, or not yet, at hand.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read, or the node is busy or stopping.
    fn account_proof(&self, address: &Address) -> Result<Option<AccountProofView>, ViewError>;

    /// Committed transactions by account or by height, from the index.
    ///
    /// # Errors
    /// The asker's fault, or the world's.
    fn history(&self, query: &HistoryQuery) -> Result<History, HistoryError>;

    /// A committed block, if this node has it.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn block(&self, height: Height) -> Result<Option<BlockView>, ViewError>;

    /// A committed block with its proof, if this node has it. The last block of an epoch is never
    /// deleted.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn committed(&self, height: Height) -> Result<Option<CommittedBlock>, ViewError>;

    /// The last block of an epoch with its proof, if that epoch has ended.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn epoch_end(&self, epoch: Epoch) -> Result<Option<CommittedBlock>, ViewError>;

    /// The canonical encoding of a certified batch, if this node has it.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn batch(&self, id: &BatchId) -> Result<Option<Vec<u8>>, ViewError>;

    /// Executed blocks from `from` on, at most `limit`, in order of height.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn commits(&self, from: Height, limit: usize) -> Result<Page<Commit>, ViewError>;

    /// Their transactions, likewise.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn committed_transactions(
        &self,
        from: Height,
        limit: usize,
    ) -> Result<Page<CommittedTransactions>, ViewError>;

    /// Who and where this node is.
    fn status(&self) -> StatusView;

    /// Connected peers.
    fn peers(&self) -> Vec<PeerView>;

    /// The validator set of an epoch, or of the current one; `None` if this node does not know it.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn validators(&self, epoch: Option<Epoch>) -> Result<Option<ValidatorsView>, ViewError>;

    /// The canonical encoding of that set.
    ///
    /// # Errors
    /// The world's fault: storage cannot be read.
    fn validators_raw(&self, epoch: Epoch) -> Result<Option<Vec<u8>>, ViewError>;

    /// The validators' registry after the last executed block.
    fn registry(&self) -> RegistryView;

    /// What is held against validators after the last executed block.
    fn slashing(&self) -> SlashingView;

    /// The proofs of offences this node has found.
    fn evidence(&self) -> Vec<EvidenceView>;

    /// What the monetary engine decided last.
    fn monetary(&self) -> MonetaryView;

    /// Why this node should not be asked now; nothing where it is ready.
    fn not_ready(&self) -> Vec<String>;
}

/// The node could not look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// It is starting or stopping.
    #[error("the node is not serving requests now")]
    Unavailable,
    /// The history asked for is deleted here.
    #[error("heights below {lowest} are pruned here")]
    Pruned {
        /// The lowest height left.
        lowest: Height,
    },
    /// Storage failed; the message is for the log, not for strangers.
    #[error("storage: {message}")]
    Storage {
        /// What failed.
        message: String,
    },
}

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionView {
    /// Waiting.
    Pending,
    /// In an executed block.
    Committed {
        /// Which.
        height: Height,
        /// Whether it had an effect.
        success: bool,
    },
    /// Not here, or no longer.
    Unknown,
}

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountView {
    /// What it holds.
    pub balance: u128,
    /// Its next nonce.
    pub nonce: u64,
    /// After which height.
    pub height: Height,
}

/// An account, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountProofView {
    /// At the state that `committed` names.
    pub proof: AccountProof,
    /// The newest committed block, with its proof.
    pub committed: CommittedBlock,
}

/// A committed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockView {
    /// The block with its proof.
    pub committed: CommittedBlock,
    /// Its id.
    pub id: BlockId,
    /// State after it.
    pub state_root: StateRoot,
    /// Its transactions in the order they executed.
    pub transactions: Vec<TxId>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Last executed height.
    pub tip: Height,
    /// In order of height.
    pub items: Vec<T>,
}

/// One executed block, as in the commit feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// Its height.
    pub height: Height,
    /// Its view.
    pub view: View,
    /// Its id.
    pub block_id: BlockId,
    /// State after it.
    pub state_root: StateRoot,
    /// The part of it that is not accounts.
    pub system_root: SystemRoot,
    /// When this node executed it.
    pub committed_unix_ms: Millis,
    /// How many transactions it holds.
    pub transactions: u64,
}

/// One executed block's transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommittedTransactions {
    /// Its height.
    pub height: Height,
    /// When this node executed it.
    pub committed_unix_ms: Millis,
    /// In the order they executed.
    pub transactions: Vec<CommittedTransaction>,
}

/// One executed transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommittedTransaction {
    /// Its id.
    pub id: TxId,
    /// Whether it had an effect.
    pub success: bool,
}

/// Who and where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusView {
    /// Its name.
    pub name: String,
    /// `validator`, `rpc` or `sentry`.
    pub role: &'static str,
    /// The operator's number, for a validator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator_id: Option<u64>,
    /// Its place in the set of this epoch, for a validator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator_index: Option<ValidatorIndex>,
    /// Which chain.
    pub network: Network,
    /// Of the genesis file.
    pub chain_id: String,
    /// SHA3-256 of the genesis file.
    pub genesis_hash: GenesisHash,
    /// SHA3-256 of the running executable.
    pub binary_sha3: String,
    /// Of the executable.
    pub version: &'static str,
    /// Last executed height.
    pub height: Height,
    /// Lowest height whose block and transactions are here.
    pub lowest_height: Height,
    /// The epoch it is in.
    pub epoch: Epoch,
    /// View of the last executed block.
    pub view: View,
    /// How far it is behind.
    pub view_lag: u64,
    /// Connected peers.
    pub peers: u64,
    /// Its profile.
    pub profile: &'static str,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerDirection {
    /// This node.
    Outbound,
    /// The peer.
    Inbound,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerView {
    /// Its network id.
    pub peer_id: String,
    /// Its number, where its key is a validator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator_id: Option<u64>,
    /// The other end of the connection.
    pub address: String,
    /// Who opened it.
    pub direction: PeerDirection,
    /// The autonomous system of the address, where the table knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
}

/// The validator set of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidatorsView {
    /// Which epoch.
    pub epoch: Epoch,
    /// In index order.
    pub validators: Vec<ValidatorView>,
}

/// One validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidatorView {
    /// The operator's number.
    pub id: u64,
    /// Its owner's account.
    pub address: Address,
    /// Its consensus key.
    pub public_key: PublicKey,
    /// The key before, as long as both are valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_key: Option<PublicKey>,
    /// Its stake.
    pub power: VotingPower,
}

/// The validators' registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistryView {
    /// The epoch this node is in.
    pub epoch: Epoch,
    /// The first epoch that a call in the next block can change.
    pub earliest_epoch: Epoch,
    /// The height whose block elects that epoch's validators.
    pub election_height: Height,
    /// By id.
    pub validators: Vec<RegisteredView>,
}

/// A validator in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegisteredView {
    /// The operator's number.
    pub id: u64,
    /// Its owner's account.
    pub owner: Address,
    /// Its key; the old one while a rotation is under way.
    pub key: PublicKey,
    /// Its stake.
    pub stake: u64,
    /// Whether its end is decided.
    pub is_leaving: bool,
    /// Its rotation under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationView>,
}

/// A key rotation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RotationView {
    /// The key that takes over.
    pub new_key: PublicKey,
    /// First epoch in which it is valid.
    pub effective_epoch: Epoch,
    /// Last epoch in which the old key is valid.
    pub old_key_until: Epoch,
}

/// What is held against validators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlashingView {
    /// What follows from an offence.
    pub mode: &'static str,
    /// The epoch this node is in.
    pub epoch: Epoch,
    /// The oldest epoch in which an offence can still be reported.
    pub oldest_epoch: Epoch,
    /// By id; only validators of whom something is known.
    pub validators: Vec<SlashedView>,
}

/// What is held against one validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlashedView {
    /// The operator's number.
    pub id: u64,
    /// Its stake now; nothing once it has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stake: Option<u64>,
    /// Stake that goes at the next election.
    pub pending: u64,
    /// Stake taken so far.
    pub total_slashed: String,
    /// Not elected for epochs below this one.
    pub jailed_until_epoch: Epoch,
    /// How often it was sent to jail.
    pub jail_count: u64,
    /// Offences that proved right, by name; those without any are left out.
    pub offences: std::collections::BTreeMap<&'static str, u64>,
}

/// A proof of an offence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceView {
    /// Of what.
    pub offence: &'static str,
    /// Against whom.
    pub validator_id: u64,
    /// In which epoch.
    pub epoch: Epoch,
    /// In which view; of batches, in which round.
    pub at: u64,
    /// Its file in `data_dir/evidence`, as `qbind-admin evidence submit` takes it.
    pub file: String,
    /// How long the proof is.
    pub bytes: u64,
    /// When this node found it, unless that was before its last start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_unix_ms: Option<Millis>,
}

/// The monetary engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MonetaryView {
    /// `off`, `shadow`, `active`.
    pub mode: &'static str,
    /// The phase of the epoch that runs: `bootstrap`, `transition`, `mature`.
    pub phase: &'static str,
    /// The rate it aims at, premiums included.
    pub r_target_annual_bps: u32,
    /// The last decision, once an epoch has ended.
    pub last: Option<DecisionView>,
}

/// A decision of the monetary engine; amounts are decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecisionView {
    /// The epoch that ended.
    pub epoch: Epoch,
    /// The phase it was in.
    pub phase: &'static str,
    /// The phase of the next one.
    pub next_phase: &'static str,
    /// `stay`, `advance`, `hold_back`.
    pub recommendation: &'static str,
    /// The rate decided.
    pub r_inf_annual_bps: u32,
    /// Fees paid in the epoch.
    pub fees: String,
    /// Their moving average.
    pub ema_fees_per_epoch: String,
    /// A year of it.
    pub smoothed_annual_fee_revenue: String,
    /// Stake of the epoch's validators.
    pub staked: String,
    /// Fees against issuance at the target without premiums.
    pub fee_coverage_bps: u64,
    /// Stake against all there is.
    pub stake_ratio_bps: u32,
    /// Highest fees against the mean of a day.
    pub volatility_bps: u64,
    /// What the rate issues for the epoch; minted where the mode is `active`.
    pub issuance: String,
}
