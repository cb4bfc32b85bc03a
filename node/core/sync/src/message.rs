//! What nodes tell each other about the chain.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{Block, BlockId, CommittedBlock, Height};

/// A sync message on the wire.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SyncMessage {
    /// "I have committed and executed up to here, and can give you blocks from there on."
    Status {
        /// Last executed height.
        height: Height,
        /// Lowest height that is kept with its batches; those below are pruned.
        lowest: Height,
    },
    /// "Send me committed blocks."
    BlocksRequest {
        /// First height wanted.
        from: Height,
        /// How many at most.
        limit: u64,
    },
    /// Ascending heights without gaps, possibly fewer than asked.
    Blocks(Vec<CommittedBlock>),
    /// "Send me this block", which is not final or has just become so.
    BlockRequest(BlockId),
    /// The answer; its id is its proof.
    Block(Block),
}
