//! What is known of one creator's batches.

use crate::config::bounds;
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use qbind_types::{
    Batch, BatchAck, BatchCertificate, BatchId, BatchRef, Signature, ValidatorIndex,
};

/// This validator's decision about one round.
#[derive(Debug, Clone, Default)]
pub(crate) enum Ack {
    /// None yet.
    #[default]
    Undecided,
    /// Durable; being signed.
    Decided(BatchId),
    /// Sent, and sent again when its batch comes again.
    Signed(BatchAck),
}

impl Ack {
    pub(crate) fn decision(&self) -> Option<BatchId> {
        match self {
            Self::Undecided => None,
            Self::Decided(id) => Some(*id),
            Self::Signed(ack) => Some(ack.batch.id),
        }
    }
}

/// One round of one creator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    /// The content held: the first seen, until another is certified.
    pub(crate) batch: Option<(BatchId, Arc<Batch>)>,
    pub(crate) certificate: Option<BatchCertificate>,
    pub(crate) ack: Ack,
    /// The first ack of each validator, until there is a certificate.
    pub(crate) acks: BTreeMap<ValidatorIndex, (BatchId, Signature)>,
    /// Content that lost against a certificate whose own content is being fetched.
    pub(crate) rival: Option<Arc<Batch>>,
    /// Evidence against the creator was given already.
    pub(crate) is_accused: bool,
}

impl Round {
    pub(crate) fn certified_id(&self) -> Option<BatchId> {
        self.certificate.as_ref().map(|c| c.batch.id)
    }

    pub(crate) fn held_id(&self) -> Option<BatchId> {
        self.batch.as_ref().map(|(id, _)| *id)
    }

    /// The only batch of this round that can still be certified, as far as this node knows.
    pub(crate) fn known_id(&self) -> Option<BatchId> {
        self.certified_id().or(self.ack.decision()).or(self.held_id())
    }

    /// Content and certificate of `id` are both here.
    pub(crate) fn is_complete(&self, id: &BatchId) -> bool {
        self.certified_id() == Some(*id) && self.held_id() == Some(*id)
    }
}

/// One creator's batches, from a few rounds before the last committed one to
/// [`bounds::ROUNDS_AHEAD`] after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    /// The first round that no committed block includes.
    pub(crate) included: u64,
    pub(crate) rounds: BTreeMap<u64, Round>,
    /// Whole batches whose predecessor is not known yet.
    pub(crate) waiting: BTreeMap<u64, (BatchId, Batch)>,
    pub(crate) latest_certified: Option<BatchRef>,
}

impl Chain {
    pub(crate) fn is_too_far(&self, round: u64) -> bool {
        round >= self.included.saturating_add(bounds::ROUNDS_AHEAD)
    }

    /// Acks come for the uncertified end of a chain; further ones come again when it gets there.
    pub(crate) fn is_too_far_to_ack(&self, round: u64) -> bool {
        let certified = self.latest_certified.map_or(0, |r| r.round.saturating_add(1));
        round >= self.included.max(certified).saturating_add(bounds::ACKS_AHEAD)
    }

    /// Whether the predecessor of `round`, which must be `parent`, is held, certified or committed.
    pub(crate) fn follows(&self, round: u64, parent: Option<&BatchRef>) -> Sequence {
        let (Some(before), Some(parent)) = (round.checked_sub(1), parent) else {
            return Sequence::Follows;
        };
        let known = self.rounds.get(&before).and_then(|r| r.certified_id().or(r.held_id()));
        let is_certified = self.rounds.get(&before).is_some_and(|r| r.certificate.is_some());
        match known {
            Some(id) if id == parent.id => Sequence::Follows,
            Some(_) if is_certified => Sequence::Forks,
            None if before < self.included => Sequence::Follows,
            _ => Sequence::Unknown,
        }
    }

    /// Notes that `round` is committed; forgets what is too old to be kept. Returns ids forgotten.
    pub(crate) fn include(&mut self, round: u64) -> Vec<BatchId> {
        self.included = self.included.max(round.saturating_add(1));
        let included = self.included;
        self.waiting.retain(|round, _| *round >= included);
        let keep_from = included.saturating_sub(bounds::ROUNDS_KEPT);
        let kept = self.rounds.split_off(&keep_from);
        let forgotten = core::mem::replace(&mut self.rounds, kept);
        forgotten.into_values().filter_map(|r| r.held_id()).collect()
    }
}

/// How a batch stands to its creator's batch before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// It continues what is known.
    Follows,
    /// It continues something that lost.
    Forks,
    /// Its predecessor has to be fetched.
    Unknown,
}
