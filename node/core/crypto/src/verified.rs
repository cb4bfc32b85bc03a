//! The gate every message of a stranger passes before the core sees it.

use crate::{preimage, verify};
use qbind_types::{
    CommitVote, Epoch, Network, Signature, Timeout, ValidatorIndex, ValidatorInfo, ValidatorSet,
    View, Vote,
};
use std::{
    collections::{HashSet, VecDeque},
    hash::{Hash, Hasher},
    ops::Deref,
    sync::{Arc, Mutex},
};
use thiserror::Error;

/// A value whose every signature was checked; only this crate makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value, no longer marked.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Verified<qbind_types::Proposal> {
    /// A proposal this replica made and signed itself.
    pub fn own_proposal(proposal: qbind_types::Proposal) -> Self {
        Self(proposal)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Why a message was refused: always its sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reject {
    /// Made for another network.
    #[error("made for another network")]
    WrongNetwork,
    /// Of an epoch whose validator set is not this one.
    #[error("of epoch {epoch}, whose validators are not known here")]
    WrongEpoch {
        /// That epoch.
        epoch: Epoch,
    },
    /// Names a validator that does not exist.
    #[error("unknown validator {index}")]
    UnknownValidator {
        /// The index given.
        index: ValidatorIndex,
    },
    /// A signature is wrong.
    #[error("bad {what} signature of validator {index}")]
    BadSignature {
        /// Which message.
        what: &'static str,
        /// Whose.
        index: ValidatorIndex,
    },
    /// A transaction's signature is wrong.
    #[error("bad signature of transaction {position}")]
    BadTransaction {
        /// Its place in the batch.
        position: usize,
    },
    /// Signers are not in ascending order, or one appears twice.
    #[error("signers not strictly ascending")]
    Signers,
    /// Signers hold too little stake.
    #[error("below quorum")]
    BelowQuorum,
    /// Parts that must belong together do not.
    #[error("inconsistent {what}")]
    Inconsistent {
        /// Which part.
        what: &'static str,
    },
    /// Larger than a limit allows.
    #[error("{what} over its limit")]
    TooLarge {
        /// Which part.
        what: &'static str,
    },
}

/// Most signatures remembered as right, so that a certificate made of votes already seen is cheap.
const MEMORY: usize = 4096;

#[derive(PartialEq, Eq)]
struct Seen {
    index: ValidatorIndex,
    message: Vec<u8>,
    signature: Signature,
}

impl Hash for Seen {
    /// Of a signature only the challenge, which is a hash itself (FIPS 204, algorithm 7, line 15).
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
        self.message.hash(state);
        self.signature.as_bytes()[..32].hash(state);
    }
}

struct Memory {
    known: HashSet<Arc<Seen>>,
    order: VecDeque<Arc<Seen>>,
    most: usize,
}

impl Memory {
    fn keep(&mut self, seen: Seen) {
        let seen = Arc::new(seen);
        if self.known.insert(seen.clone()) {
            self.order.push_back(seen);
            if self.order.len() > self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}

/// Checks messages against the validator set of one epoch.
///
/// Shared by all threads of a process: signatures found right are remembered, the oldest give way.
pub struct Verifier {
    network: Network,
    set: Arc<ValidatorSet>,
    memory: Mutex<Memory>,
}

impl Verifier {
    /// For one network and one epoch's validators.
    pub fn new(network: Network, set: Arc<ValidatorSet>) -> Self {
        Self::with_memory(network, set, MEMORY)
    }

    /// One that remembers so many signatures.
    pub fn with_memory(network: Network, set: Arc<ValidatorSet>, most: usize) -> Self {
        let memory = Memory { known: HashSet::new(), order: VecDeque::new(), most };
        Self { network, set, memory: Mutex::new(memory) }
    }

    /// Remembers a signature that this process made itself, so that it is not checked when it comes
    /// back in a certificate.
    pub fn vouch(&self, index: ValidatorIndex, message: Vec<u8>, signature: Signature) {
        let seen = Seen { index, message, signature };
        self.memory.lock().expect("no panic while held").keep(seen);
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The validators.
    pub fn set(&self) -> &Arc<ValidatorSet> {
        &self.set
    }

    pub(crate) fn member(&self, index: ValidatorIndex) -> Result<&ValidatorInfo, Reject> {
        self.set.get(index).ok_or(Reject::UnknownValidator { index })
    }

    pub(crate) fn check_epoch(&self, epoch: Epoch) -> Result<(), Reject> {
        if epoch == self.set.epoch() { Ok(()) } else { Err(Reject::WrongEpoch { epoch }) }
    }

    pub(crate) fn check(
        &self,
        what: &'static str,
        index: ValidatorIndex,
        message: Vec<u8>,
        signature: &Signature,
    ) -> Result<(), Reject> {
        let member = self.member(index)?;
        let seen = Seen { index, message, signature: signature.clone() };
        if self.memory.lock().expect("no panic while held").known.contains(&seen) {
            return Ok(());
        }
        if !member.keys().any(|key| verify(key, &seen.message, signature)) {
            return Err(Reject::BadSignature { what, index });
        }
        self.memory.lock().expect("no panic while held").keep(seen);
        Ok(())
    }

    /// Signers strictly ascending (so each once) and holding a quorum of stake.
    pub(crate) fn check_signers(
        &self,
        signers: impl Iterator<Item = ValidatorIndex> + Clone,
    ) -> Result<(), Reject> {
        let mut previous = None;
        for index in signers.clone() {
            if previous.is_some_and(|p| p >= index) {
                return Err(Reject::Signers);
            }
            self.member(index)?;
            previous = Some(index);
        }
        if self.set.is_quorum(signers) { Ok(()) } else { Err(Reject::BelowQuorum) }
    }

    /// Checks a vote.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_vote(&self, vote: Vote) -> Result<Verified<Vote>, Reject> {
        self.check_epoch(vote.epoch)?;
        let message = preimage::vote(self.network, vote.epoch, vote.view, &vote.block);
        self.check("vote", vote.validator, message, &vote.signature)?;
        Ok(Verified::new(vote))
    }

    /// Checks a commit vote.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_commit_vote(&self, vote: CommitVote) -> Result<Verified<CommitVote>, Reject> {
        self.check_epoch(vote.epoch)?;
        let message = preimage::commit(self.network, vote.epoch, vote.view, &vote.block);
        self.check("commit vote", vote.validator, message, &vote.signature)?;
        Ok(Verified::new(vote))
    }

    /// Checks a timeout vote and the certificate it carries.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_timeout(&self, timeout: Timeout) -> Result<Verified<Timeout>, Reject> {
        self.check_epoch(timeout.epoch)?;
        if timeout.high_qc.view >= timeout.view && timeout.view != View(0) {
            // A certificate of the view itself ends the view; giving it up then is a lie.
            return Err(Reject::Inconsistent { what: "timeout" });
        }
        let message =
            preimage::timeout(self.network, timeout.epoch, timeout.view, timeout.high_qc.view);
        self.check("timeout", timeout.validator, message, &timeout.signature)?;
        self.check_qc(&timeout.high_qc)?;
        Ok(Verified::new(timeout))
    }
}
