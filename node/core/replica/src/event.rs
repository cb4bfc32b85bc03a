//! What a node hears and does.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use qbind_consensus::{Evidence, Message, SafetyRecord, Unsigned};
use qbind_crypto::Verified;
use qbind_dag::{BatchEquivocation, DagMessage, Mismatch, Note, Peer, PendingTransaction};
use qbind_ledger::{Account, Judged, Mode, Receipt, Registry, Slashing, Tally, monetary::Closed};
use qbind_sync::SyncMessage;
use qbind_types::{
    Address, Batch, BatchCertificate, BatchRef, Block, BlockId, CommittedBlock, Epoch, EpochStart,
    Height, Millis, Payload, Proposal, Qc, Signature, StateRoot, SystemRoot, Transaction, TxId,
    ValidatorIndex, ValidatorSet, View,
};

/// The two clocks of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that only move forward; all timers use them.
    pub monotonic: Millis,
    /// Unix milliseconds; only block timestamps use them.
    pub unix: Millis,
}

/// Something that happened; everything signed in it was verified.
#[derive(Debug, Clone)]
pub enum Event {
    /// [`crate::Replica::deadline`] has come.
    Tick,
    /// For consensus.
    Consensus(Box<qbind_consensus::Event>),
    /// A batch from its creator.
    Batch(Box<Verified<Batch>>),
    /// An ack.
    Ack(Box<Verified<qbind_types::BatchAck>>),
    /// An availability certificate.
    Certificate(Box<Verified<BatchCertificate>>),
    /// Somebody asks for a batch.
    BatchRequest {
        /// Who.
        from: Peer,
        /// Which.
        reference: BatchRef,
    },
    /// A batch that was asked for.
    BatchResponse(Box<Verified<qbind_types::CertifiedBatch>>),
    /// A client's transaction, or one a full node forwards.
    Submit {
        /// The transaction.
        transaction: Box<Verified<Transaction>>,
        /// Its id.
        id: TxId,
    },
    /// For sync.
    Sync(qbind_sync::Event),
    /// Somebody asks for committed blocks.
    BlocksRequest {
        /// Who.
        from: Peer,
        /// First height.
        height: Height,
        /// At most this many.
        limit: u64,
    },
    /// Somebody asks for an uncommitted block.
    BlockRequest {
        /// Who.
        from: Peer,
        /// Which.
        id: BlockId,
    },
    /// The validators with the shortest way to this node.
    Near(Vec<ValidatorIndex>),
    /// Several of the above.
    Many(Vec<Event>),
    /// Answer to [`Effect::Sign`].
    Signed(Box<Message>),
    /// Answer to [`Effect::SignBatch`].
    BatchSigned {
        /// Which.
        reference: BatchRef,
        /// Over it.
        signature: Signature,
    },
    /// Answer to [`Effect::SignAck`].
    AckSigned {
        /// Which.
        reference: BatchRef,
        /// Over it.
        signature: Signature,
    },
}

impl Event {
    /// The epoch of the validators that signed what it brings.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Consensus(event) => event.epoch(),
            Self::Batch(batch) => Some(batch.epoch),
            Self::Ack(ack) => Some(ack.batch.epoch),
            Self::Certificate(certificate) => Some(certificate.batch.epoch),
            Self::BatchResponse(certified) => Some(certified.batch.epoch),
            Self::Sync(qbind_sync::Event::Blocks { blocks, .. }) => {
                blocks.iter().map(|b| b.block.epoch).max()
            }
            _ => None,
        }
    }
}

/// A message with its channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Wire {
    /// Small and urgent.
    Consensus(Box<Message>),
    /// Bulk.
    Dag(Box<DagMessage>),
    /// Catching up.
    Sync(Box<SyncMessage>),
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Every connected node.
    All,
    /// One node, if connected.
    One(Peer),
}

/// Everything a committed block changes; to be stored atomically.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitRecord {
    /// The block with its proof.
    pub committed: CommittedBlock,
    /// Its id.
    pub id: BlockId,
    /// Ids of its transactions, in execution order.
    pub transactions: Vec<TxId>,
    /// Their outcomes, in the same order.
    pub receipts: Vec<Receipt>,
    /// What they ask for, in the same order.
    pub transfers: Vec<Transfer>,
    /// Accounts after it.
    pub changes: Vec<(Address, Account)>,
    /// Root after it.
    pub state_root: StateRoot,
    /// The part of it that is not accounts.
    pub system_root: SystemRoot,
    /// What changed beside accounts.
    pub tally: Tally,
    /// How it ran.
    pub mode: Mode,
    /// The validators' registry, if the block changed it.
    pub registry: Option<Registry>,
    /// What is held against validators, if the block changed it.
    pub slashing: Option<Slashing>,
    /// What became of the accusations in it.
    pub judged: Vec<Judged>,
    /// Stake it burned for offences.
    pub stake_burned: u128,
    /// The end of an epoch, where the monetary engine is on.
    pub monetary: Option<Closed>,
    /// What the check of its references against certificates found.
    pub references: References,
}

/// Who pays whom how much in a transaction, whatever becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Who pays.
    pub sender: Address,
    /// Who receives; the sender where the payload does not say.
    pub recipient: Address,
    /// How much; zero where the payload does not say.
    pub amount: u128,
}

impl Transfer {
    /// Of a transaction.
    pub fn of(transaction: &Transaction) -> Self {
        let sender = transaction.sender;
        match Payload::decode(&transaction.payload) {
            Ok(p) => Self { sender, recipient: p.recipient(), amount: p.amount() },
            Err(_) => Self { sender, recipient: sender, amount: 0 },
        }
    }
}

/// What a committed block's references turned out to be, when each batch was at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum References {
    /// Each names a certified batch, and all were here when the block became final.
    Ok,
    /// The same, but some had to be fetched first.
    Fetched,
    /// Some certificate or content is not what the block names.
    Mismatch,
}

/// Why a node must stop and not start again by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Two conflicting blocks are final.
    #[error("two conflicting blocks are final: {committed} here, {other} elsewhere")]
    Conflict {
        /// Here.
        committed: BlockId,
        /// Elsewhere.
        other: BlockId,
    },
    /// A quorum signed another state than this node computed.
    #[error("height {height} executed to {ours} here, the chain says {theirs}")]
    StateRoot {
        /// Where.
        height: Height,
        /// Ours.
        ours: StateRoot,
        /// The chain's.
        theirs: StateRoot,
    },
    /// A committed block breaks a rule no honest quorum would have signed.
    #[error("committed block at height {height} breaks a rule: {rule}")]
    Rule {
        /// Where.
        height: Height,
        /// Which rule.
        rule: &'static str,
    },
}

/// What to do, in order; [`crate::perform`] says when signatures are made.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write; durable before any signature that follows.
    PersistSafety(Box<SafetyRecord>),
    /// Keep an uncommitted block; durable with the next sync.
    StoreBlock {
        /// The block.
        block: Box<Block>,
        /// Its parent's certificate.
        justify: Box<Qc>,
    },
    /// Sign with the consensus key; answer `Event::Signed`.
    Sign(Box<Unsigned>),
    /// Write an own batch; durable before any signature that follows.
    PersistOwnBatch(Box<Batch>),
    /// Write an ack decision; durable before any signature that follows.
    PersistAck(BatchRef),
    /// Keep a batch.
    StoreBatch {
        /// Its name.
        reference: BatchRef,
        /// Its content.
        batch: Arc<Batch>,
    },
    /// Keep a certificate.
    StoreCertificate(Box<BatchCertificate>),
    /// Keep an accepted transaction.
    StorePending(Box<PendingTransaction>),
    /// Committed or dropped.
    ForgetPending(Vec<TxId>),
    /// Sign an own batch; answer `Event::BatchSigned`.
    SignBatch(BatchRef),
    /// Sign an ack; answer `Event::AckSigned`.
    SignAck {
        /// Of which batch.
        reference: BatchRef,
        /// This node's place in the batch's epoch.
        validator: ValidatorIndex,
    },
    /// Send; may be lost.
    Send {
        /// Whom.
        to: Target,
        /// What.
        message: Wire,
    },
    /// Read a batch with certificate from disk and send it.
    ServeBatch {
        /// Whom.
        to: Peer,
        /// Which.
        reference: BatchRef,
    },
    /// Read committed blocks from disk and send them.
    ServeBlocks {
        /// Whom.
        to: Peer,
        /// First height.
        from: Height,
        /// At most this many.
        limit: u64,
    },
    /// Store atomically what a block changed.
    Commit(Box<CommitRecord>),
    /// A client's transaction is accepted: it outlives this process. Losing power may still take it
    /// before its batch is certified, so clients hand in again what they do not see committed.
    Accepted(TxId),
    /// A client's transaction is refused.
    Rejected {
        /// Which.
        id: TxId,
        /// Stable code, `E_…`.
        code: &'static str,
        /// Why, for people.
        message: String,
        /// What to try.
        hint: String,
    },
    /// A validator signed two consensus messages that exclude each other.
    Equivocation(Box<Evidence>),
    /// A creator signed two batches for one round.
    BatchEquivocation(Box<BatchEquivocation>),
    /// Who validates the next epoch is decided: their messages may come from now on.
    Elected(Arc<ValidatorSet>),
    /// An epoch has started; also the first effect of a node that starts.
    EpochStarted {
        /// From what.
        start: EpochStart,
        /// Who validates.
        set: Arc<ValidatorSet>,
        /// This node's place among them.
        me: Option<ValidatorIndex>,
    },
    /// A leader's references break a rule of blocks.
    CouplingViolation(Box<CouplingViolation>),
    /// Every peer that is ahead has pruned the next block: only a snapshot helps.
    OutOfReach {
        /// The next height.
        height: Height,
        /// Who pruned, and the lowest height each has.
        peers: Vec<(Peer, Height)>,
    },
    /// Stop.
    Halt(Halt),
    /// A view started.
    Entered {
        /// The view.
        view: View,
        /// Whether the one before was given up.
        by_timeout: bool,
    },
    /// A QC is known.
    Certified {
        /// Its view.
        view: View,
    },
    /// This node gave a view up.
    GaveUp {
        /// The view.
        view: View,
    },
    /// A proposal's references were checked.
    Coupling(CouplingResult),
    /// Something to count.
    Note(Note),
}

/// Proof that a leader broke the rules of a block's references: its signed proposal, beside the chain
/// it extends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouplingViolation {
    /// What it signed.
    pub proposal: Proposal,
    /// Which rule.
    pub rule: Mismatch,
}

/// Outcomes of the coupling check, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CouplingResult {
    /// All held and certified.
    Ok,
    /// The mode asks for nothing.
    NotRequired,
    /// Content or certificates are missing for now.
    Missing,
    /// The list is wrong.
    Mismatch,
    /// The executed state is not ours.
    WrongState,
    /// Too much gas.
    OverGas,
}
