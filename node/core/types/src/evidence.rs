//! Proofs that a validator broke the rules: what it signed, and nothing it did not.

use crate::{BatchRef, Block, BlockHeader, BlockId, Epoch, Signature, ValidatorIndex, View};
use alloc::boxed::Box;
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// What a validator can be held to account for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Offence {
    /// Two signed statements that exclude each other.
    O1DoubleSign,
    /// A signed block that its own header shows to be none.
    O2InvalidProposal,
    /// A vote for such a block.
    O3aLazyVote,
    /// Several such votes within a window; derived from those, never reported.
    O3bLazyVotes,
    /// Two signed batches for one round, of which only a fault could certify both.
    O4InvalidDagCertificate,
    /// A signed block whose list of batches is against the rules by itself.
    O5CouplingViolation,
}

impl Offence {
    /// Every offence.
    pub const ALL: [Self; 6] = [
        Self::O1DoubleSign,
        Self::O2InvalidProposal,
        Self::O3aLazyVote,
        Self::O3bLazyVotes,
        Self::O4InvalidDagCertificate,
        Self::O5CouplingViolation,
    ];

    /// As metrics and files name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::O1DoubleSign => "O1_double_sign",
            Self::O2InvalidProposal => "O2_invalid_proposer_sig",
            Self::O3aLazyVote => "O3a_lazy_vote_single",
            Self::O3bLazyVotes => "O3b_lazy_vote_repeated",
            Self::O4InvalidDagCertificate => "O4_invalid_dag_cert",
            Self::O5CouplingViolation => "O5_dag_coupling_violation",
        }
    }

    /// Longest encoded proof, in bytes.
    pub fn most_bytes(self) -> usize {
        1024 * match self {
            Self::O1DoubleSign => 6,
            Self::O2InvalidProposal => 4,
            Self::O3aLazyVote | Self::O3bLazyVotes => 10,
            Self::O4InvalidDagCertificate => 50,
            Self::O5CouplingViolation => 20,
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A leader's signature on a block, of which the header suffices.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedHeader {
    /// The block's header.
    pub header: BlockHeader,
    /// The proposer's (domain tag `PROPOSAL`).
    pub signature: Signature,
}

/// A creator's signature on a batch, of which the name suffices.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedBatchRef {
    /// The batch.
    pub batch: BatchRef,
    /// Its creator's (domain tag `BATCH`).
    pub signature: Signature,
}

/// Which of the two votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Phase {
    /// First phase (domain tag `VOTE`).
    Vote,
    /// Second phase (domain tag `COMMIT`).
    Commit,
}

/// A proof against one validator of one epoch, small enough to ride in a transaction.
///
/// A wrong signature is no evidence: anybody can make one in anybody's name.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// O1: two blocks of one view, signed by its leader.
    Proposals {
        /// One.
        first: SignedHeader,
        /// The other.
        second: SignedHeader,
    },
    /// O1: two votes of one phase in one view.
    Votes {
        /// Which phase.
        phase: Phase,
        /// Whose set.
        epoch: Epoch,
        /// The view of both.
        view: View,
        /// Who voted twice.
        validator: ValidatorIndex,
        /// For what, and the signature.
        first: (BlockId, Signature),
        /// For what else, and the signature.
        second: (BlockId, Signature),
    },
    /// O1: a commit vote says "I know the certificate of `view`"; a timeout of that view or a later
    /// one that reports a lower certificate denies it.
    CommitDenied {
        /// Whose set.
        epoch: Epoch,
        /// Who said both.
        validator: ValidatorIndex,
        /// The view of the commit vote.
        view: View,
        /// What it was for.
        block: BlockId,
        /// Its signature (domain tag `COMMIT`).
        commit: Signature,
        /// The view given up, not below `view`.
        given_up: View,
        /// The certificate reported, below `view`.
        high_qc_view: View,
        /// The timeout's signature (domain tag `TIMEOUT`).
        timeout: Signature,
    },
    /// O2: a block that no leader may sign.
    InvalidBlock(SignedHeader),
    /// O3a: a vote for a block that no leader may sign, or in another view than the block's.
    LazyVote {
        /// Which phase.
        phase: Phase,
        /// Whose set.
        epoch: Epoch,
        /// The view of the vote.
        view: View,
        /// Who voted.
        validator: ValidatorIndex,
        /// What for.
        header: BlockHeader,
        /// The vote's.
        signature: Signature,
    },
    /// O4: two batches for one round.
    Batches {
        /// One.
        first: SignedBatchRef,
        /// The other.
        second: SignedBatchRef,
    },
    /// O5: a block whose list of batches breaks a rule whatever the chain is.
    References {
        /// The block.
        block: Box<Block>,
        /// Its proposer's (domain tag `PROPOSAL`).
        signature: Signature,
    },
}

impl Evidence {
    /// What it is evidence of.
    pub fn offence(&self) -> Offence {
        match self {
            Self::Proposals { .. } | Self::Votes { .. } | Self::CommitDenied { .. } => {
                Offence::O1DoubleSign
            }
            Self::InvalidBlock(_) => Offence::O2InvalidProposal,
            Self::LazyVote { .. } => Offence::O3aLazyVote,
            Self::Batches { .. } => Offence::O4InvalidDagCertificate,
            Self::References { .. } => Offence::O5CouplingViolation,
        }
    }

    /// The epoch whose validators it is about.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Proposals { first, .. } | Self::InvalidBlock(first) => first.header.epoch,
            Self::Votes { epoch, .. }
            | Self::CommitDenied { epoch, .. }
            | Self::LazyVote { epoch, .. } => *epoch,
            Self::Batches { first, .. } => first.batch.epoch,
            Self::References { block, .. } => block.epoch,
        }
    }

    /// Whom it accuses.
    pub fn accused(&self) -> ValidatorIndex {
        match self {
            Self::Proposals { first, .. } | Self::InvalidBlock(first) => first.header.proposer,
            Self::Votes { validator, .. }
            | Self::CommitDenied { validator, .. }
            | Self::LazyVote { validator, .. } => *validator,
            Self::Batches { first, .. } => first.batch.creator,
            Self::References { block, .. } => block.proposer,
        }
    }

    /// When it happened: the view of what was signed, of batches the round.
    ///
    /// A view makes at most one block, so it stands for a height too.
    pub fn at(&self) -> u64 {
        match self {
            Self::Proposals { first, .. } | Self::InvalidBlock(first) => first.header.view.0,
            Self::Votes { view, .. }
            | Self::CommitDenied { view, .. }
            | Self::LazyVote { view, .. } => view.0,
            Self::Batches { first, .. } => first.batch.round,
            Self::References { block, .. } => block.view.0,
        }
    }

    /// Whether `bytes` of encoding are not too many for what it proves.
    pub fn is_short(&self, bytes: usize) -> bool {
        bytes <= self.offence().most_bytes()
    }
}
