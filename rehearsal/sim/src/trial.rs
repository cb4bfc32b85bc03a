//! Whether anything that honest validators sign convicts them: each new signature is put together with
//! those before it, in every way a proof can be made of them, over all lives and both keys.

use qbind_consensus::Message;
use qbind_crypto::{header, verify_evidence};
use qbind_types::{
    BatchRef, BlockId, Epoch, Evidence, Network, Phase, Signature, SignedBatchRef, SignedHeader,
    ValidatorIndex, ValidatorSet, View,
};
use std::collections::{BTreeMap, VecDeque};

/// Most statements of a kind kept of a validator.
const KEPT: usize = 64;

/// What one validator of one epoch signed.
#[derive(Debug, Default)]
struct Said {
    proposals: VecDeque<SignedHeader>,
    votes: VecDeque<(Phase, View, BlockId, Signature)>,
    timeouts: VecDeque<(View, View, Signature)>,
    batches: VecDeque<SignedBatchRef>,
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    list.push_back(item);
    if list.len() > KEPT {
        list.pop_front();
    }
}

/// All trials of a run.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    said: BTreeMap<(Epoch, ValidatorIndex), Said>,
    /// Proofs tried.
    pub(crate) held: u64,
    /// Proofs that held against who keeps the rules.
    pub(crate) convictions: Vec<String>,
}

impl Trial {
    fn hold(&mut self, network: Network, set: &ValidatorSet, evidence: &Evidence) {
        self.held += 1;
        if let Ok(proof) = verify_evidence(network, set, evidence)
            && self.convictions.len() < KEPT
        {
            self.convictions.push(format!("{proof:?}"));
        }
    }

    /// A consensus message of an honest validator.
    pub(crate) fn said(&mut self, network: Network, set: &ValidatorSet, message: &Message) {
        let epoch = message.epoch();
        let mut charges = Vec::new();
        match message {
            Message::Proposal(p) => {
                let second =
                    SignedHeader { header: header(&p.block), signature: p.signature.clone() };
                charges.push(Evidence::InvalidBlock(second.clone()));
                let (block, signature) = (Box::new(p.block.clone()), p.signature.clone());
                charges.push(Evidence::References { block, signature });
                let said = self.said.entry((epoch, p.block.proposer)).or_default();
                charges.extend(said.proposals.iter().map(|first| {
                    let (first, second) = (first.clone(), second.clone());
                    Evidence::Proposals { first, second }
                }));
                // What others say for it, they say of this header.
                keep(&mut said.proposals, second);
            }
            Message::Vote(v) => {
                let vote = (Phase::Vote, v.view, v.block, v.signature.clone());
                charges = self.voted(epoch, v.validator, vote);
            }
            Message::CommitVote(v) => {
                let vote = (Phase::Commit, v.view, v.block, v.signature.clone());
                charges = self.voted(epoch, v.validator, vote);
            }
            Message::Timeout(t) => {
                let timeout = (t.view, t.high_qc.view, t.signature.clone());
                let said = self.said.entry((epoch, t.validator)).or_default();
                charges.extend(said.votes.iter().map(|v| denied(epoch, t.validator, v, &timeout)));
                keep(&mut said.timeouts, timeout);
            }
            Message::Qc(_) | Message::Tc(_) | Message::CommitCertificate(_) => {}
        }
        for evidence in charges {
            self.hold(network, set, &evidence);
        }
    }

    fn voted(
        &mut self,
        epoch: Epoch,
        validator: ValidatorIndex,
        vote: (Phase, View, BlockId, Signature),
    ) -> Vec<Evidence> {
        let (phase, view, block, signature) = &vote;
        let mut charges = Vec::new();
        let proposals = self.said.iter().filter(|((e, _), _)| *e == epoch);
        let proposals = proposals.flat_map(|(_, said)| &said.proposals);
        for proposal in proposals.filter(|p| qbind_crypto::header_id(&p.header) == *block) {
            charges.push(Evidence::LazyVote {
                phase: *phase,
                epoch,
                view: *view,
                validator,
                header: proposal.header.clone(),
                signature: signature.clone(),
            });
        }
        let said = self.said.entry((epoch, validator)).or_default();
        for (of, at, first, by) in &said.votes {
            // Whoever accuses may say any view and phase; the signature says which.
            if (of, at) == (phase, view) || at.next() == *view {
                charges.push(Evidence::Votes {
                    phase: *phase,
                    epoch,
                    view: *view,
                    validator,
                    first: (*first, by.clone()),
                    second: (*block, signature.clone()),
                });
            }
        }
        charges.extend(said.timeouts.iter().map(|t| denied(epoch, validator, &vote, t)));
        keep(&mut said.votes, vote);
        charges
    }

    /// A batch of an honest validator.
    pub(crate) fn made(
        &mut self,
        network: Network,
        set: &ValidatorSet,
        batch: BatchRef,
        signature: Signature,
    ) {
        let second = SignedBatchRef { batch, signature };
        let said = self.said.entry((batch.epoch, batch.creator)).or_default();
        let charges: Vec<Evidence> = said
            .batches
            .iter()
            .map(|first| Evidence::Batches { first: first.clone(), second: second.clone() })
            .collect();
        keep(&mut said.batches, second);
        for evidence in charges {
            self.hold(network, set, &evidence);
        }
    }
}

fn denied(
    epoch: Epoch,
    validator: ValidatorIndex,
    (_, view, block, commit): &(Phase, View, BlockId, Signature),
    (given_up, high_qc_view, timeout): &(View, View, Signature),
) -> Evidence {
    Evidence::CommitDenied {
        epoch,
        validator,
        view: *view,
        block: *block,
        commit: commit.clone(),
        given_up: *given_up,
        high_qc_view: *high_qc_view,
        timeout: timeout.clone(),
    }
}
