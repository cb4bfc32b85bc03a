//! The DAG's vertices and the proof that they can be fetched.

use crate::{BatchId, Epoch, Signature, Transaction, ValidatorIndex};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Names one batch: who made it, which of theirs it is, and its content.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct BatchRef {
    /// Whose validator set certifies it, and whose blocks may include it.
    pub epoch: Epoch,
    /// Who made it.
    pub creator: ValidatorIndex,
    /// The creator's batches of this epoch before it; the first has round 0.
    pub round: u64,
    /// Its content.
    pub id: BatchId,
}

impl BatchRef {
    /// The name of `batch`, whose id is `id`.
    pub fn of(batch: &Batch, id: BatchId) -> Self {
        Self { epoch: batch.epoch, creator: batch.creator, round: batch.round, id }
    }
}

/// Transactions a validator disseminates together.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Batch {
    /// In which epoch.
    pub epoch: Epoch,
    /// Who made it.
    pub creator: ValidatorIndex,
    /// The creator's batches of this epoch before it.
    pub round: u64,
    /// Certified batches its creator knew: its own of `round - 1` first (absent in round 0), then
    /// at most one of each other validator, in index order.
    pub parents: Vec<BatchRef>,
    /// In the order they execute.
    pub transactions: Vec<Transaction>,
    /// The creator's, over the batch id (domain tag `BATCH`).
    pub signature: Signature,
}

/// "I hold this batch, have verified it, and will serve it."
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchAck {
    /// Which batch.
    pub batch: BatchRef,
    /// Who says so.
    pub validator: ValidatorIndex,
    /// Over batch and validator (domain tag `BATCH_ACK`).
    pub signature: Signature,
}

/// A quorum of acks: the batch can be fetched from someone honest.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchCertificate {
    /// Which batch.
    pub batch: BatchRef,
    /// Signers in ascending index order, each once.
    pub acks: Vec<(ValidatorIndex, Signature)>,
}

/// A batch with its certificate, as it is fetched and served.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertifiedBatch {
    /// The content.
    pub batch: Batch,
    /// The proof.
    pub certificate: BatchCertificate,
}
