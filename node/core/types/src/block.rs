//! Blocks, and the proof that one is committed.

use crate::{
    BatchRef, BlockId, CommitCertificate, Epoch, Height, Millis, Network, StateRoot,
    ValidatorIndex, ValidatorsId, View,
};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// The state after executing all blocks up to `height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ExecutedState {
    /// Last executed height.
    pub height: Height,
    /// Root after it.
    pub root: StateRoot,
}

/// What a leader proposes: references to certified batches, in the order they execute.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// Which chain.
    pub network: Network,
    /// Whose validator set decides.
    pub epoch: Epoch,
    /// Parent's height plus one.
    pub height: Height,
    /// The view it was proposed in; greater than the parent's.
    pub view: View,
    /// The block it extends.
    pub parent: BlockId,
    /// The leader of `view`.
    pub proposer: ValidatorIndex,
    /// The leader's clock, Unix milliseconds; not below the parent's.
    pub timestamp_unix_ms: Millis,
    /// The leader's last committed state when it proposed: not below the parent's.
    pub executed: ExecutedState,
    /// Certified batches of its epoch, none of them in an ancestor.
    pub batches: Vec<BatchRef>,
    /// The validators of the next epoch; present in the last block of an epoch only.
    pub next_validators: Option<ValidatorsId>,
}

impl Block {
    /// Whether the next block of the chain belongs to the next epoch.
    pub fn ends_epoch(&self) -> bool {
        self.next_validators.is_some()
    }

    /// The epoch of the next block of the chain.
    pub fn next_epoch(&self) -> Epoch {
        if self.ends_epoch() { self.epoch.next() } else { self.epoch }
    }
}

/// Shows that a block is committed: blocks from its child down to the one the certificate names.
///
/// `descendants` is empty when the certificate names the block itself.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitProof {
    /// Child first; each one's `parent` is the one before.
    pub descendants: Vec<Block>,
    /// Over the last of `descendants`, or the block itself.
    pub certificate: CommitCertificate,
}

/// A block with its proof.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommittedBlock {
    /// The block.
    pub block: Block,
    /// Why it is final.
    pub proof: CommitProof,
}
