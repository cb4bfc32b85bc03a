//! From what the machines found to evidence that convicts by itself, and the check of it.

use crate::Effect;
use alloc::boxed::Box;
use qbind_consensus::Message;
use qbind_crypto::{batch_id, header, verify_evidence};
use qbind_ledger::EvidenceCheck;
use qbind_types::{
    Batch, BatchRef, Evidence, Network, Phase, Proposal, SignedBatchRef, SignedHeader, ValidatorSet,
};

/// Checks reports of offences by the signatures in them.
#[derive(Debug, Clone, Copy)]
pub struct Court(
    /// Which chain's signatures count.
    pub Network,
);

impl EvidenceCheck for Court {
    fn proves(&self, validators: &ValidatorSet, evidence: &Evidence) -> bool {
        verify_evidence(self.0, validators, evidence).is_ok()
    }
}

impl Effect {
    /// The evidence in an effect that found a fault, if it can stand alone.
    ///
    /// A coupling violation may be one only beside the chain before it; verify what this returns.
    pub fn evidence(&self, network: Network) -> Option<Evidence> {
        match self {
            Self::Equivocation(found) => contradiction(&found.first, &found.second),
            Self::BatchEquivocation(found) => {
                let signed = |batch: &Batch| SignedBatchRef {
                    batch: BatchRef::of(batch, batch_id(network, batch)),
                    signature: batch.signature.clone(),
                };
                let (first, second) = (signed(&found.first), signed(&found.second));
                Some(Evidence::Batches { first, second })
            }
            Self::CouplingViolation(found) => {
                let Proposal { block, signature, .. } = &found.proposal;
                let (block, signature) = (Box::new(block.clone()), signature.clone());
                Some(Evidence::References { block, signature })
            }
            _ => None,
        }
    }
}

fn contradiction(first: &Message, second: &Message) -> Option<Evidence> {
    match (first, second) {
        (Message::Proposal(first), Message::Proposal(second)) => {
            let (first, second) = (signed(first), signed(second));
            Some(Evidence::Proposals { first, second })
        }
        (Message::Vote(a), Message::Vote(b)) => Some(Evidence::Votes {
            phase: Phase::Vote,
            epoch: a.epoch,
            view: a.view,
            validator: a.validator,
            first: (a.block, a.signature.clone()),
            second: (b.block, b.signature.clone()),
        }),
        (Message::CommitVote(a), Message::CommitVote(b)) => Some(Evidence::Votes {
            phase: Phase::Commit,
            epoch: a.epoch,
            view: a.view,
            validator: a.validator,
            first: (a.block, a.signature.clone()),
            second: (b.block, b.signature.clone()),
        }),
        _ => None,
    }
}

fn signed(proposal: &Proposal) -> SignedHeader {
    SignedHeader { header: header(&proposal.block), signature: proposal.signature.clone() }
}

/// What bytes of the consensus channel that do not verify say against their signer: a leader's
/// signature on a block that is none. Verify what this returns.
pub fn refused_proposal(bytes: &[u8]) -> Option<Evidence> {
    if bytes.len() > qbind_types::limits::MESSAGE_BYTES {
        return None;
    }
    match qbind_types::decode(bytes) {
        Ok(Message::Proposal(proposal)) => Some(Evidence::InvalidBlock(signed(&proposal))),
        _ => None,
    }
}
