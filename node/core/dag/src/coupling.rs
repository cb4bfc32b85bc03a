//! What consensus asks of the data layer: what to propose, and whether a proposal may be voted for.

use crate::{Dag, Effect};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use qbind_types::{
    BatchRef, CertifiedBatch, Millis, Transaction, ValidatorIndex, limits::BLOCK_BATCHES,
};

/// How strictly a vote depends on certified batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CouplingMode {
    /// Votes do not depend on them.
    Off,
    /// They are checked, the vote is cast anyway.
    Warn,
    /// No vote without every batch and its certificate.
    Enforce,
}

/// What this node has of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// Content and certificate are in memory.
    CertifiedAndHeld,
    /// Content without certificate.
    HeldUncertified,
    /// Certificate without content.
    CertifiedMissing,
    /// Neither.
    Unknown,
}

/// Why a list of references can never be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// More than a block may have.
    TooMany,
    /// A creator that is no validator.
    Stranger,
    /// A batch of another epoch.
    OtherEpoch,
    /// A batch twice, already included by an ancestor, or with a gap before it.
    OutOfSequence,
    /// A quorum certified another batch for this creator and round.
    OtherCertified,
}

/// What a check of a block's references finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CouplingVerdict {
    /// Every batch is held and certified.
    Ok,
    /// The mode asks for nothing.
    NotRequired,
    /// Certified batches whose content is not here; fetch them and check again.
    MissingBatches(Vec<BatchRef>),
    /// Batches without a certificate here; they may not exist.
    UnknownBatches(Vec<BatchRef>),
    /// The list itself is wrong.
    Mismatch(Mismatch),
}

impl CouplingVerdict {
    /// Whether an honest validator may vote for the block. A list that breaks the rules of a block
    /// (too long, a stranger, out of sequence) is never voted for; the rest depends on the mode.
    pub fn permits_vote(&self, mode: CouplingMode) -> bool {
        match self {
            Self::Ok | Self::NotRequired => true,
            Self::MissingBatches(_)
            | Self::UnknownBatches(_)
            | Self::Mismatch(Mismatch::OtherCertified) => mode != CouplingMode::Enforce,
            Self::Mismatch(_) => false,
        }
    }
}

impl Dag {
    /// What this node has of a batch.
    pub fn availability(&self, reference: &BatchRef) -> Availability {
        let Some(chain) = self.chain(reference.creator) else { return Availability::Unknown };
        let Some(round) = chain.rounds.get(&reference.round) else { return Availability::Unknown };
        let is_certified = round.certified_id() == Some(reference.id);
        let is_held = round.held_id() == Some(reference.id);
        match (is_certified, is_held) {
            (true, true) => Availability::CertifiedAndHeld,
            (true, false) => Availability::CertifiedMissing,
            (false, true) => Availability::HeldUncertified,
            (false, false) => Availability::Unknown,
        }
    }

    /// Checks a block's references against what is here. `included` gives, for each creator, the
    /// first round that no ancestor of the block includes.
    pub fn check(
        &self,
        mode: CouplingMode,
        refs: &[BatchRef],
        included: &BTreeMap<ValidatorIndex, u64>,
    ) -> CouplingVerdict {
        if let Err(mismatch) = self.check_sequence(refs, included) {
            return CouplingVerdict::Mismatch(mismatch);
        }
        if mode == CouplingMode::Off {
            return CouplingVerdict::NotRequired;
        }
        let contradicts = |r: &&BatchRef| {
            let round = self.chain(r.creator).and_then(|c| c.rounds.get(&r.round));
            round.and_then(|r| r.certified_id()).is_some_and(|id| id != r.id)
        };
        if refs.iter().any(|r| contradicts(&r)) {
            return CouplingVerdict::Mismatch(Mismatch::OtherCertified);
        }
        let mut unknown = Vec::new();
        let mut missing = Vec::new();
        for reference in refs {
            match self.availability(reference) {
                Availability::CertifiedAndHeld => {}
                Availability::CertifiedMissing => missing.push(*reference),
                Availability::HeldUncertified | Availability::Unknown => unknown.push(*reference),
            }
        }
        match (unknown.is_empty(), missing.is_empty()) {
            (false, _) => CouplingVerdict::UnknownBatches(unknown),
            (true, false) => CouplingVerdict::MissingBatches(missing),
            (true, true) => CouplingVerdict::Ok,
        }
    }

    /// Each creator's batches in order, none left out, none twice, not too many.
    fn check_sequence(
        &self,
        refs: &[BatchRef],
        included: &BTreeMap<ValidatorIndex, u64>,
    ) -> Result<(), Mismatch> {
        if refs.len() > BLOCK_BATCHES {
            return Err(Mismatch::TooMany);
        }
        let mut next = included.clone();
        for reference in refs {
            if reference.epoch != self.set.epoch() {
                return Err(Mismatch::OtherEpoch);
            }
            if self.set.get(reference.creator).is_none() {
                return Err(Mismatch::Stranger);
            }
            let expected = next.entry(reference.creator).or_insert(0);
            if reference.round != *expected {
                return Err(Mismatch::OutOfSequence);
            }
            *expected = reference.round.saturating_add(1);
        }
        Ok(())
    }

    /// What a leader may propose on a branch: batches held and certified, each creator's without
    /// gaps from `included` (the first round that no ancestor includes) on, one per creator in turn
    /// so that none is crowded out; who is first rotates with what is included. Stops at
    /// `max_batches`; a batch whose transactions would exceed `max_gas` with those before waits.
    pub fn candidates(
        &self,
        included: &BTreeMap<ValidatorIndex, u64>,
        max_batches: usize,
        max_gas: u64,
        gas: &dyn Fn(&Transaction) -> u64,
    ) -> Vec<BatchRef> {
        let mut chosen = Vec::new();
        let mut left = max_gas;
        let creators = self.chains.len();
        let mut next: Vec<u64> = (0u16..)
            .map(|i| included.get(&ValidatorIndex(i)).copied().unwrap_or(0))
            .take(creators)
            .collect();
        let first = next.iter().fold(0u64, |sum, n| sum.wrapping_add(*n)) % creators as u64;
        let first = usize::try_from(first).expect("below the number of creators");
        let mut open: Vec<usize> = (first..creators).chain(0..first).collect();
        let most = max_batches.min(BLOCK_BATCHES);
        while !open.is_empty() && chosen.len() < most {
            open.retain(|creator| {
                if chosen.len() >= most {
                    return false;
                }
                let Some(round) = self.chains[*creator].rounds.get(&next[*creator]) else {
                    return false;
                };
                let Some(certificate) = &round.certificate else { return false };
                let Some((held, batch)) = &round.batch else { return false };
                let cost =
                    batch.transactions.iter().fold(0u64, |sum, t| sum.saturating_add(gas(t)));
                if *held != certificate.batch.id || cost > left {
                    return false;
                }
                left -= cost;
                chosen.push(certificate.batch);
                next[*creator] = next[*creator].saturating_add(1);
                true
            });
        }
        chosen
    }

    /// Looks for batches a proposal or a committed block needs. Those at hand, committed already,
    /// or looked for, cost nothing: ask again as often as needed.
    pub fn want(&mut self, refs: &[BatchRef], now: Millis) -> Vec<Effect> {
        self.look_for(refs, false, now)
    }

    /// As [`Dag::want`], for a final block: a quorum vouches for what it names.
    pub fn need(&mut self, refs: &[BatchRef], now: Millis) -> Vec<Effect> {
        self.look_for(refs, true, now)
    }

    fn look_for(&mut self, refs: &[BatchRef], is_final: bool, now: Millis) -> Vec<Effect> {
        let mut out = Vec::new();
        let wanted: BTreeSet<&BatchRef> = refs.iter().collect();
        for reference in wanted {
            let is_open =
                self.chain(reference.creator).is_some_and(|c| reference.round >= c.included);
            let availability = self.availability(reference);
            if is_open && availability != Availability::CertifiedAndHeld {
                let is_proven = is_final || availability == Availability::CertifiedMissing;
                self.wish(*reference, now, is_proven, &mut out);
            }
        }
        self.progress(now, &mut out);
        out
    }

    /// Content and certificate of a batch in memory.
    pub fn certified(&self, reference: &BatchRef) -> Option<CertifiedBatch> {
        let round = self.chain(reference.creator)?.rounds.get(&reference.round)?;
        if !round.is_complete(&reference.id) {
            return None;
        }
        let (_, batch) = round.batch.as_ref()?;
        let certificate = round.certificate.clone()?;
        Some(CertifiedBatch { batch: batch.as_ref().clone(), certificate })
    }
}
