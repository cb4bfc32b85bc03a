//! What a validator may have signed.

use crate::Statement;
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_crypto::{header_id, preimage};
use qbind_types::{BatchRef, BlockHeader, BlockId, Epoch, Network, ValidatorIndex, View};

/// Everything a validator's key signs, with the fields a guard needs to judge it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// A leader's block. Its header, because a block's id says nothing of its view.
    Proposal(Box<BlockHeader>),
    /// First phase.
    Vote {
        /// Whose set.
        epoch: Epoch,
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
    },
    /// Second phase.
    CommitVote {
        /// Whose set.
        epoch: Epoch,
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
    },
    /// A view given up.
    Timeout {
        /// Whose set.
        epoch: Epoch,
        /// The view given up.
        view: View,
        /// View of the highest certificate known.
        high_qc_view: View,
    },
    /// A batch of this validator's.
    Batch(BatchRef),
    /// That a batch is stored here.
    Ack {
        /// The batch.
        reference: BatchRef,
        /// Who says so.
        validator: ValidatorIndex,
    },
    /// This validator's proof to a peer: what both said, and the channel it was said over.
    Peer(Vec<u8>),
}

impl Request {
    /// The bytes to sign on `network`; a tag keeps the kinds apart.
    pub fn preimage(&self, network: Network) -> Vec<u8> {
        match self {
            Self::Proposal(header) => preimage::proposal(network, &header_id(header)),
            Self::Vote { epoch, view, block } => preimage::vote(network, *epoch, *view, block),
            Self::CommitVote { epoch, view, block } => {
                preimage::commit(network, *epoch, *view, block)
            }
            Self::Timeout { epoch, view, high_qc_view } => {
                preimage::timeout(network, *epoch, *view, *high_qc_view)
            }
            Self::Batch(reference) => preimage::batch(network, reference),
            Self::Ack { reference, validator } => preimage::ack(network, reference, *validator),
            Self::Peer(said) => preimage::peer(network, said),
        }
    }

    /// What the validator binds itself to, if anything.
    pub fn statement(&self) -> Option<(Epoch, Statement)> {
        match self {
            Self::Proposal(header) => {
                let (view, block) = (header.view, header_id(header));
                Some((header.epoch, Statement::Proposal { view, block }))
            }
            Self::Vote { epoch, view, block } => {
                Some((*epoch, Statement::Vote { view: *view, block: *block }))
            }
            Self::CommitVote { epoch, view, block } => {
                Some((*epoch, Statement::CommitVote { view: *view, block: *block }))
            }
            Self::Timeout { epoch, view, high_qc_view } => {
                let high_qc_view = *high_qc_view;
                Some((*epoch, Statement::Timeout { view: *view, high_qc_view }))
            }
            Self::Batch(reference) => {
                let (round, batch) = (reference.round, reference.id);
                Some((reference.epoch, Statement::Batch { round, batch }))
            }
            Self::Ack { .. } | Self::Peer(_) => None,
        }
    }
}
