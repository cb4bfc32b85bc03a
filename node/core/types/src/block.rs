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

/// A block without its list of batches: what its id is the hash of, with the list's hash in the list's
/// place, so that a proof about the block need not carry the list.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockHeader {
    /// Which chain.
    pub network: Network,
    /// Whose validator set decides.
    pub epoch: Epoch,
    /// Parent's height plus one.
    pub height: Height,
    /// The view it was proposed in.
    pub view: View,
    /// The block it extends.
    pub parent: BlockId,
    /// The leader of `view`.
    pub proposer: ValidatorIndex,
    /// The leader's clock, Unix milliseconds.
    pub timestamp_unix_ms: Millis,
    /// The leader's last committed state.
    pub executed: ExecutedState,
    /// Hash of the encoded list of batches (domain tag `BLOCK_BATCHES`).
    pub batches: [u8; 32],
    /// The validators of the next epoch, in the last block of an epoch.
    pub next_validators: Option<ValidatorsId>,
}

impl Block {
    /// Its header, given the hash of its list of batches.
    pub fn header(&self, batches: [u8; 32]) -> BlockHeader {
        BlockHeader {
            network: self.network,
            epoch: self.epoch,
            height: self.height,
            view: self.view,
            parent: self.parent,
            proposer: self.proposer,
            timestamp_unix_ms: self.timestamp_unix_ms,
            executed: self.executed,
            batches,
            next_validators: self.next_validators,
        }
    }

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
