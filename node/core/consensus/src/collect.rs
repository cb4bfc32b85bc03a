//! Signatures on their way to a certificate.

use crate::{Evidence, Message};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{
    BlockId, CommitCertificate, CommitVote, Qc, Signature, SignedTimeout, Tc, Timeout,
    ValidatorIndex, ValidatorSet, View, Vote,
};

/// Views ahead of the current one for which votes are kept; votes further ahead are dropped and
/// come back as certificates.
pub(crate) const VIEWS_AHEAD: u64 = 64;

/// What one validator said in one phase of one view.
#[derive(Debug, Clone)]
struct Said {
    block: BlockId,
    signature: Signature,
}

/// First statements of each validator in each view of one phase. At most
/// `(VIEWS_AHEAD + views since the last commit kept) x validators` entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Votes {
    views: BTreeMap<View, BTreeMap<ValidatorIndex, Said>>,
}

pub(crate) enum Outcome {
    /// Nothing new.
    Kept,
    /// The block reached a quorum with this vote.
    Quorum(Vec<(ValidatorIndex, Signature)>),
    /// The validator said something else before.
    Conflict { first: BlockId, signature: Signature },
}

impl Votes {
    pub(crate) fn insert(
        &mut self,
        set: &ValidatorSet,
        view: View,
        block: BlockId,
        validator: ValidatorIndex,
        signature: Signature,
    ) -> Outcome {
        let said = self.views.entry(view).or_default();
        if let Some(first) = said.get(&validator) {
            // Compared by view and block, never by signature bytes: ML-DSA signing may be hedged.
            return if first.block == block {
                Outcome::Kept
            } else {
                Outcome::Conflict { first: first.block, signature: first.signature.clone() }
            };
        }
        said.insert(validator, Said { block, signature });
        let holders = || said.iter().filter(|(_, s)| s.block == block);
        let power = set.power_of(holders().map(|(i, _)| *i));
        let before = power.0 - set.power(validator).0;
        if power >= set.quorum_power() && before < set.quorum_power().0 {
            return Outcome::Quorum(holders().map(|(i, s)| (*i, s.signature.clone())).collect());
        }
        Outcome::Kept
    }

    pub(crate) fn forget_below(&mut self, view: View) {
        self.views = self.views.split_off(&view);
    }

    pub(crate) fn entries(&self) -> usize {
        self.views.values().map(BTreeMap::len).sum()
    }
}

/// Collects votes into QCs.
#[derive(Debug, Clone, Default)]
pub(crate) struct VoteCollector {
    pub(crate) votes: Votes,
}

impl VoteCollector {
    pub(crate) fn insert(
        &mut self,
        set: &ValidatorSet,
        vote: &Vote,
    ) -> (Option<Qc>, Option<Evidence>) {
        let Vote { epoch, view, block, validator, signature } = vote.clone();
        match self.votes.insert(set, view, block, validator, signature) {
            Outcome::Kept => (None, None),
            Outcome::Quorum(votes) => (Some(Qc { epoch, view, block, votes }), None),
            Outcome::Conflict { first, signature } => {
                let first = Vote { epoch, view, block: first, validator, signature };
                let (first, second) = (Message::Vote(first), Message::Vote(vote.clone()));
                (None, Some(Evidence { validator, view, first, second }))
            }
        }
    }
}

/// Collects commit votes into commit certificates.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitCollector {
    pub(crate) votes: Votes,
}

impl CommitCollector {
    pub(crate) fn insert(
        &mut self,
        set: &ValidatorSet,
        vote: &CommitVote,
    ) -> (Option<CommitCertificate>, Option<Evidence>) {
        let CommitVote { epoch, view, block, validator, signature } = vote.clone();
        match self.votes.insert(set, view, block, validator, signature) {
            Outcome::Kept => (None, None),
            Outcome::Quorum(votes) => (Some(CommitCertificate { epoch, view, block, votes }), None),
            Outcome::Conflict { first, signature } => {
                let first = CommitVote { epoch, view, block: first, validator, signature };
                let (first, second) =
                    (Message::CommitVote(first), Message::CommitVote(vote.clone()));
                (None, Some(Evidence { validator, view, first, second }))
            }
        }
    }
}

/// Collects timeouts into TCs: per validator only its highest view's timeout.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeoutCollector {
    latest: BTreeMap<ValidatorIndex, Timeout>,
}

impl TimeoutCollector {
    /// Stake that gave `view` up, and the TC once it is a quorum.
    pub(crate) fn insert(&mut self, set: &ValidatorSet, timeout: &Timeout) -> (u64, Option<Tc>) {
        let newer = self.latest.get(&timeout.validator).is_none_or(|t| t.view < timeout.view);
        if newer {
            self.latest.insert(timeout.validator, timeout.clone());
        }
        let of_view = || self.latest.values().filter(|t| t.view == timeout.view);
        let power = set.power_of(of_view().map(|t| t.validator));
        if power < set.quorum_power() {
            return (power.0, None);
        }
        let timeouts = of_view()
            .map(|t| SignedTimeout {
                validator: t.validator,
                high_qc_view: t.high_qc.view,
                signature: t.signature.clone(),
            })
            .collect();
        (power.0, Some(Tc { epoch: timeout.epoch, view: timeout.view, timeouts }))
    }
}
