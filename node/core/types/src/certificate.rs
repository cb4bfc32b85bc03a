//! Quorums of signatures. ML-DSA does not aggregate: each is a list.

use crate::{BlockId, Epoch, EpochStart, Signature, ValidatorIndex, View};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// A quorum voted for `block` in `view`.
///
/// The block an epoch starts from needs none of that epoch's votes: see [`Qc::start`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Qc {
    /// Whose validator set signed.
    pub epoch: Epoch,
    /// The view of the votes.
    pub view: View,
    /// What they voted for.
    pub block: BlockId,
    /// Signers in ascending index order, each once.
    pub votes: Vec<(ValidatorIndex, Signature)>,
}

/// A quorum sent commit votes for `block` in `view`: it is final.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitCertificate {
    /// Whose validator set signed.
    pub epoch: Epoch,
    /// The view of the block.
    pub view: View,
    /// The final block.
    pub block: BlockId,
    /// Signers in ascending index order, each once.
    pub votes: Vec<(ValidatorIndex, Signature)>,
}

/// One signer's part of a timeout certificate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedTimeout {
    /// Who gave up.
    pub validator: ValidatorIndex,
    /// View of the highest QC this validator knew.
    pub high_qc_view: View,
    /// Over view and `high_qc_view` (domain tag `TIMEOUT`).
    pub signature: Signature,
}

/// A quorum gave up on `view`.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tc {
    /// Whose validator set signed.
    pub epoch: Epoch,
    /// The view given up.
    pub view: View,
    /// Signers in ascending index order, each once.
    pub timeouts: Vec<SignedTimeout>,
}

impl Qc {
    /// The certificate of the block an epoch starts from: no signatures, for that block is agreed on
    /// by the genesis hash or by the epoch before.
    pub fn start(start: &EpochStart) -> Self {
        let EpochStart { epoch, view, block, .. } = *start;
        Self { epoch, view, block, votes: Vec::new() }
    }
}

impl Tc {
    /// The highest QC view any signer reported: a proposal after this certificate must extend a
    /// block certified in that view or later.
    pub fn high_qc_view(&self) -> View {
        self.timeouts.iter().map(|t| t.high_qc_view).max().unwrap_or_default()
    }
}
