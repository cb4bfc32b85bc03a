//! Whether a proof proves anything.
//!
//! Promises: whoever keeps the rules, restarts and rotates its key by the book cannot be convicted. Each
//! form below states two things no such validator ever signs together, or one it never signs, and a
//! forged signature is nobody's. *One exception*: from a commit vote for an invalid block an honest
//! validator is safe only while less than a third of the stake is faulty, for it trusts the quorum of
//! voters before it.

use crate::{block_id, header_id, preimage, verify};
use qbind_types::{
    BatchRef, Block, BlockHeader, Epoch, Evidence, Height, Network, Offence, Phase, Signature,
    SignedBatchRef, SignedHeader, ValidatorIndex, ValidatorInfo, ValidatorSet, View,
    limits::BLOCK_BATCHES,
};
use std::collections::BTreeMap;
use thiserror::Error;

/// What a proof proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The offender, by its id.
    pub validator: u64,
    /// What it did.
    pub offence: Offence,
    /// The epoch whose validator it was.
    pub epoch: Epoch,
    /// The view, or of batches the round: with validator, offence and epoch it names the event.
    pub at: u64,
}

/// Why evidence proves nothing; its sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotEvidence {
    /// Of another epoch than the validators given.
    #[error("of epoch {epoch}, whose validators are not these")]
    WrongEpoch {
        /// That epoch.
        epoch: Epoch,
    },
    /// Names a validator that does not exist.
    #[error("validator {index} is none of its epoch's")]
    UnknownValidator {
        /// The index given.
        index: ValidatorIndex,
    },
    /// A signature is not the accused's: anybody could have made it.
    #[error("a signature is not by validator {index}")]
    BadSignature {
        /// The accused.
        index: ValidatorIndex,
    },
    /// The two statements are of different validators, epochs, views or rounds.
    #[error("the two statements are not about the same")]
    Unrelated,
    /// The two statements say the same: sending something again is no fault.
    #[error("the two statements do not exclude each other")]
    NoConflict,
    /// What was signed breaks no rule that can be seen from it.
    #[error("what was signed breaks no rule")]
    NoFault,
    /// Longer than a proof of this offence may be.
    #[error("{bytes} bytes are more than a proof of this offence may have")]
    TooLong {
        /// Bytes given.
        bytes: usize,
    },
}

/// Checks evidence against the validators of its epoch.
///
/// # Errors
/// The sender's fault: it proves nothing.
pub fn verify_evidence(
    network: Network,
    set: &ValidatorSet,
    evidence: &Evidence,
) -> Result<Proof, NotEvidence> {
    let bytes = qbind_types::encode(evidence).len();
    if !evidence.is_short(bytes) {
        return Err(NotEvidence::TooLong { bytes });
    }
    let (epoch, index) = (evidence.epoch(), evidence.accused());
    if epoch != set.epoch() {
        return Err(NotEvidence::WrongEpoch { epoch });
    }
    let accused = set.get(index).ok_or(NotEvidence::UnknownValidator { index })?;
    let court = Court { network, index, accused };
    match evidence {
        Evidence::Proposals { first, second } => court.proposals(first, second),
        Evidence::Votes { phase, view, first, second, .. } => {
            if first.0 == second.0 {
                return Err(NotEvidence::NoConflict);
            }
            [first, second].into_iter().try_for_each(|(block, signature)| {
                court.signed(&vote(network, *phase, epoch, *view, block), signature)
            })
        }
        Evidence::CommitDenied { view, block, commit, given_up, high_qc_view, timeout, .. } => {
            if given_up < view || high_qc_view >= view {
                return Err(NotEvidence::NoConflict);
            }
            court.signed(&vote(network, Phase::Commit, epoch, *view, block), commit)?;
            court.signed(&preimage::timeout(network, epoch, *given_up, *high_qc_view), timeout)
        }
        Evidence::InvalidBlock(signed) => {
            check(is_no_block(network, set, &signed.header))?;
            court.proposal(&signed.header, &signed.signature)
        }
        Evidence::LazyVote { phase, view, header, signature, .. } => {
            let is_elsewhere = header.epoch != epoch || header.view != *view;
            check(is_elsewhere || is_no_block(network, set, header))?;
            court.signed(&vote(network, *phase, epoch, *view, &header_id(header)), signature)
        }
        Evidence::Batches { first, second } => court.batches(first, second),
        Evidence::References { block, signature } => {
            check(breaks_list_rules(set, block))?;
            let message = preimage::proposal(network, &block_id(block));
            court.signed(&message, signature)
        }
    }?;
    let (validator, offence, at) = (accused.id, evidence.offence(), evidence.at());
    Ok(Proof { validator, offence, epoch, at })
}

fn check(is_fault: bool) -> Result<(), NotEvidence> {
    if is_fault { Ok(()) } else { Err(NotEvidence::NoFault) }
}

fn vote(
    network: Network,
    phase: Phase,
    epoch: Epoch,
    view: View,
    block: &qbind_types::BlockId,
) -> Vec<u8> {
    match phase {
        Phase::Vote => preimage::vote(network, epoch, view, block),
        Phase::Commit => preimage::commit(network, epoch, view, block),
    }
}

/// Whether no leader may sign a block with this header, whatever the chain before it.
fn is_no_block(network: Network, set: &ValidatorSet, header: &BlockHeader) -> bool {
    header.network != network
        || header.epoch == set.epoch() && header.proposer != set.leader(header.view)
        || is_misplaced(header.height, header.view, header.executed.height)
}

/// Whether no chain has a block in this place: heights and views both start at 1 and each block adds 1 to
/// the one and at least 1 to the other; a leader has executed nothing above the parent.
pub(crate) fn is_misplaced(height: Height, view: View, executed: Height) -> bool {
    height == Height(0) || view.0 < height.0 || executed >= height
}

/// Whether a list of batches is wrong whatever the chain before it: too long, of another epoch, of a
/// stranger, a batch twice, or a gap between two batches of one creator.
fn breaks_list_rules(set: &ValidatorSet, block: &Block) -> bool {
    let mut next: BTreeMap<ValidatorIndex, u64> = BTreeMap::new();
    let breaks = |batch: &BatchRef| {
        let follows = next.insert(batch.creator, batch.round.saturating_add(1));
        batch.epoch != block.epoch
            || set.get(batch.creator).is_none()
            || follows.is_some_and(|expected| batch.round != expected)
    };
    block.batches.len() > BLOCK_BATCHES || block.batches.iter().any(breaks)
}

/// One accused before its epoch's validators.
struct Court<'a> {
    network: Network,
    index: ValidatorIndex,
    accused: &'a ValidatorInfo,
}

impl Court<'_> {
    /// By any key that was the accused's in the epoch: during a rotation both are.
    fn signed(&self, message: &[u8], signature: &Signature) -> Result<(), NotEvidence> {
        let is_own = self.accused.keys().any(|key| verify(key, message, signature));
        if is_own { Ok(()) } else { Err(NotEvidence::BadSignature { index: self.index }) }
    }

    fn proposal(&self, header: &BlockHeader, signature: &Signature) -> Result<(), NotEvidence> {
        self.signed(&preimage::proposal(self.network, &header_id(header)), signature)
    }

    fn proposals(&self, first: &SignedHeader, second: &SignedHeader) -> Result<(), NotEvidence> {
        let place = |h: &BlockHeader| (h.epoch, h.view, h.proposer);
        if place(&first.header) != place(&second.header) {
            return Err(NotEvidence::Unrelated);
        }
        if first.header == second.header {
            return Err(NotEvidence::NoConflict);
        }
        self.proposal(&first.header, &first.signature)?;
        self.proposal(&second.header, &second.signature)
    }

    fn batches(&self, first: &SignedBatchRef, second: &SignedBatchRef) -> Result<(), NotEvidence> {
        let place = |b: &BatchRef| (b.epoch, b.creator, b.round);
        if place(&first.batch) != place(&second.batch) {
            return Err(NotEvidence::Unrelated);
        }
        if first.batch.id == second.batch.id {
            return Err(NotEvidence::NoConflict);
        }
        [first, second].into_iter().try_for_each(|signed| {
            self.signed(&preimage::batch(self.network, &signed.batch), &signed.signature)
        })
    }
}

#[cfg(test)]
mod tests;
