//! What validators send each other, and what they must sign first.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_crypto::{block_id, preimage};
use qbind_types::{
    Block, BlockId, CommitCertificate, CommitVote, Epoch, Network, Proposal, Qc, Signature, Tc,
    Timeout, ValidatorIndex, View, Vote,
};

/// A consensus message on the wire.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// A leader's block.
    Proposal(Proposal),
    /// First phase.
    Vote(Vote),
    /// Second phase.
    CommitVote(CommitVote),
    /// Giving a view up.
    Timeout(Timeout),
    /// Help for who is behind.
    Qc(Qc),
    /// Help for who is behind.
    Tc(Tc),
    /// Help for who missed commit votes.
    CommitCertificate(CommitCertificate),
}

impl Message {
    /// The epoch whose validators signed it.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Proposal(m) => m.block.epoch,
            Self::Vote(m) => m.epoch,
            Self::CommitVote(m) => m.epoch,
            Self::Timeout(m) => m.epoch,
            Self::Qc(m) => m.epoch,
            Self::Tc(m) => m.epoch,
            Self::CommitCertificate(m) => m.epoch,
        }
    }

    /// The view the message is about.
    pub fn view(&self) -> View {
        match self {
            Self::Proposal(m) => m.block.view,
            Self::Vote(m) => m.view,
            Self::CommitVote(m) => m.view,
            Self::Timeout(m) => m.view,
            Self::Qc(m) => m.view,
            Self::Tc(m) => m.view,
            Self::CommitCertificate(m) => m.view,
        }
    }
}

/// A message that waits for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsigned {
    /// A leader's block with its justification.
    Proposal {
        /// The block.
        block: Block,
        /// Certifies the parent.
        justify: Qc,
        /// Ends the view before.
        timeout: Option<Tc>,
    },
    /// First phase.
    Vote {
        /// Whose set.
        epoch: Epoch,
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
        /// Who votes.
        validator: ValidatorIndex,
    },
    /// Second phase.
    CommitVote {
        /// Whose set.
        epoch: Epoch,
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
        /// Who votes.
        validator: ValidatorIndex,
    },
    /// Giving a view up.
    Timeout {
        /// Whose set.
        epoch: Epoch,
        /// The view.
        view: View,
        /// Highest known.
        high_qc: Qc,
        /// Who gives up.
        validator: ValidatorIndex,
    },
}

impl Unsigned {
    /// The epoch of the signature.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Proposal { block, .. } => block.epoch,
            Self::Vote { epoch, .. }
            | Self::CommitVote { epoch, .. }
            | Self::Timeout { epoch, .. } => *epoch,
        }
    }

    /// Who is to sign.
    pub fn signer(&self) -> ValidatorIndex {
        match self {
            Self::Proposal { block, .. } => block.proposer,
            Self::Vote { validator, .. }
            | Self::CommitVote { validator, .. }
            | Self::Timeout { validator, .. } => *validator,
        }
    }

    /// The view the signature binds.
    pub fn view(&self) -> View {
        match self {
            Self::Proposal { block, .. } => block.view,
            Self::Vote { view, .. }
            | Self::CommitVote { view, .. }
            | Self::Timeout { view, .. } => *view,
        }
    }

    /// The bytes to sign.
    pub fn preimage(&self, network: Network) -> Vec<u8> {
        match self {
            Self::Proposal { block, .. } => preimage::proposal(network, &block_id(block)),
            Self::Vote { epoch, view, block, .. } => preimage::vote(network, *epoch, *view, block),
            Self::CommitVote { epoch, view, block, .. } => {
                preimage::commit(network, *epoch, *view, block)
            }
            Self::Timeout { epoch, view, high_qc, .. } => {
                preimage::timeout(network, *epoch, *view, high_qc.view)
            }
        }
    }

    /// The finished message.
    pub fn complete(self, signature: Signature) -> Message {
        match self {
            Self::Proposal { block, justify, timeout } => {
                Message::Proposal(Proposal { block, justify, timeout, signature })
            }
            Self::Vote { epoch, view, block, validator } => {
                Message::Vote(Vote { epoch, view, block, validator, signature })
            }
            Self::CommitVote { epoch, view, block, validator } => {
                Message::CommitVote(CommitVote { epoch, view, block, validator, signature })
            }
            Self::Timeout { epoch, view, high_qc, validator } => {
                Message::Timeout(Timeout { epoch, view, high_qc, validator, signature })
            }
        }
    }
}
