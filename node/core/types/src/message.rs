//! The four messages of consensus.

use crate::{Block, BlockId, Epoch, Qc, Signature, Tc, ValidatorIndex, View};
use borsh::{BorshDeserialize, BorshSerialize};

/// A leader's block with the certificates that allow it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// What is proposed.
    pub block: Block,
    /// Certifies the parent.
    pub justify: Qc,
    /// Present iff `justify` is not of the view just before the block's.
    pub timeout: Option<Tc>,
    /// The leader's, over the block id (domain tag `PROPOSAL`).
    pub signature: Signature,
}

/// First-phase vote.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// Whose validator set.
    pub epoch: Epoch,
    /// The block's view.
    pub view: View,
    /// The block.
    pub block: BlockId,
    /// Who votes.
    pub validator: ValidatorIndex,
    /// Domain tag `VOTE`.
    pub signature: Signature,
}

/// Second-phase vote: "I saw the QC of this view and have not given the view up."
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitVote {
    /// Whose validator set.
    pub epoch: Epoch,
    /// The block's view.
    pub view: View,
    /// The block.
    pub block: BlockId,
    /// Who votes.
    pub validator: ValidatorIndex,
    /// Domain tag `COMMIT`.
    pub signature: Signature,
}

/// "I give this view up."
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Timeout {
    /// Whose validator set.
    pub epoch: Epoch,
    /// The view given up.
    pub view: View,
    /// The highest certificate its sender knew when it gave up; its view is signed.
    pub high_qc: Qc,
    /// Who gives up.
    pub validator: ValidatorIndex,
    /// Over view and `high_qc.view` (domain tag `TIMEOUT`).
    pub signature: Signature,
}
