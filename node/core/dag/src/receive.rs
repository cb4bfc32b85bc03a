//! Batches and certificates of others.

use crate::{
    BatchEquivocation, BatchRefusal, Dag, DagMessage, Effect, Note, Peer,
    chain::{Ack, Sequence},
    config::bounds,
    mempool::transaction_bytes,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use qbind_types::{
    Batch, BatchAck, BatchCertificate, BatchId, BatchRef, CertifiedBatch, Millis, Signature,
    ValidatorIndex,
};

impl Dag {
    /// A batch from its creator, or relayed by anybody.
    pub(crate) fn on_batch(&mut self, batch: Batch, now: Millis, out: &mut Vec<Effect>) {
        let reference = self.reference(&batch);
        if let Err(reason) = self.take_batch(reference, batch, now, out) {
            out.push(Effect::Note(Note::BatchRefused { creator: reference.creator, reason }));
        }
    }

    fn take_batch(
        &mut self,
        reference: BatchRef,
        batch: Batch,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<(), BatchRefusal> {
        let BatchRef { creator, round, id, .. } = reference;
        self.check_form(&batch)?;
        let is_own = self.config.me == Some(creator);
        let chain = self.chain(creator).ok_or(BatchRefusal::Parents)?;
        if round < chain.included {
            return Err(BatchRefusal::Stale);
        }
        if chain.is_too_far(round) {
            return Err(BatchRefusal::TooFarAhead);
        }
        let known = chain.rounds.get(&round).and_then(|r| r.known_id());
        let is_held = chain.rounds.get(&round).is_some_and(|r| r.held_id() == Some(id));
        if is_held {
            self.answer_again(reference, out);
            return Ok(());
        }
        if known.is_some_and(|known| known != id) {
            self.accuse(reference, batch, out);
            return Err(BatchRefusal::Equivocation);
        }
        if is_own && known.is_none() {
            // Somebody else uses this validator's key, or its disk was lost.
            return Err(BatchRefusal::Equivocation);
        }
        let is_certified = chain.rounds.get(&round).is_some_and(|r| r.certificate.is_some());
        if is_certified {
            self.accept(reference, batch, now, out);
            return Ok(());
        }
        match chain.follows(round, batch.parents.first()) {
            Sequence::Follows => {
                self.accept(reference, batch, now, out);
                Ok(())
            }
            Sequence::Forks => Err(BatchRefusal::Parents),
            Sequence::Unknown => self.wait(reference, batch, now, out),
        }
    }

    /// Rules that need nothing but the batch.
    fn check_form(&self, batch: &Batch) -> Result<(), BatchRefusal> {
        let count = batch.transactions.len();
        let bytes: usize = batch.transactions.iter().map(transaction_bytes).sum();
        if count == 0
            || count > self.config.batch_transactions()
            || bytes > self.config.batch_max_bytes
        {
            return Err(BatchRefusal::Size);
        }
        let (own, others) = match batch.round.checked_sub(1) {
            None => (None, batch.parents.as_slice()),
            Some(_) => {
                let (own, others) = batch.parents.split_first().ok_or(BatchRefusal::Parents)?;
                (Some(own), others)
            }
        };
        let continues = own.is_none_or(|p| {
            p.creator == batch.creator && p.round.checked_add(1) == Some(batch.round)
        });
        let ascends = others.windows(2).all(|pair| pair[0].creator < pair[1].creator);
        let strangers =
            others.iter().any(|p| p.creator == batch.creator || self.set.get(p.creator).is_none())
                || batch.parents.iter().any(|p| p.epoch != batch.epoch);
        if continues && ascends && !strangers { Ok(()) } else { Err(BatchRefusal::Parents) }
    }

    /// The creator sends a batch again because it misses this node's ack.
    fn answer_again(&self, reference: BatchRef, out: &mut Vec<Effect>) {
        if self.config.me.is_none() || self.config.me == Some(reference.creator) {
            return;
        }
        let round = self.chain(reference.creator).and_then(|c| c.rounds.get(&reference.round));
        let Some(round) = round else { return };
        let message = match (&round.certificate, &round.ack) {
            (Some(certificate), _) => DagMessage::Certificate(certificate.clone()),
            (None, Ack::Signed(ack)) => DagMessage::Ack(ack.clone()),
            (None, Ack::Decided(_) | Ack::Undecided) => return,
        };
        out.push(Effect::SendTo { to: Peer::Validator(reference.creator), message });
    }

    /// Shows both batches of one round, once, if both are here.
    fn accuse(&mut self, reference: BatchRef, second: Batch, out: &mut Vec<Effect>) {
        let chain = self.chain_mut(reference.creator);
        let Some(round) = chain.and_then(|c| c.rounds.get_mut(&reference.round)) else { return };
        let first = round.batch.as_ref().map(|(_, batch)| batch).or(round.rival.as_ref());
        if let Some(first) = first.filter(|_| !round.is_accused) {
            let evidence = BatchEquivocation { first: first.clone(), second: Arc::new(second) };
            round.is_accused = true;
            out.push(Effect::Evidence(Box::new(evidence)));
        }
    }

    /// Keeps a batch until its predecessor is known, and looks for that.
    fn wait(
        &mut self,
        reference: BatchRef,
        batch: Batch,
        now: Millis,
        out: &mut Vec<Effect>,
    ) -> Result<(), BatchRefusal> {
        let parent = batch.parents.first().copied();
        let chain = self.chain_mut(reference.creator).ok_or(BatchRefusal::Parents)?;
        match chain.waiting.get(&reference.round) {
            // A second batch of a round does not get to name what is looked for.
            Some((waiting, _)) if *waiting != reference.id => {
                return Err(BatchRefusal::WaitingRoomFull);
            }
            Some(_) => {}
            None if chain.waiting.len() >= bounds::WAITING_PER_CREATOR => {
                return Err(BatchRefusal::WaitingRoomFull);
            }
            None => {
                chain.waiting.insert(reference.round, (reference.id, batch));
            }
        }
        if let Some(parent) = parent {
            self.wish(parent, self.unhurried(now), false, out);
        }
        Ok(())
    }

    /// Holds a batch, and acks it unless that is decided otherwise or no longer needed.
    pub(crate) fn accept(
        &mut self,
        reference: BatchRef,
        batch: Batch,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let BatchRef { creator, round, id, .. } = reference;
        let me = self.config.me.filter(|me| *me != creator);
        let Some(chain) = self.chain_mut(creator) else { return };
        let state = chain.rounds.entry(round).or_default();
        let batch = Arc::new(batch);
        state.batch = Some((id, batch.clone()));
        // The decision first: of a log that is cut off between them, the batch comes again and is
        // acked; the batch without its decision would be held and never acked.
        if let Some(validator) = me
            && state.certificate.is_none()
            && state.ack.decision().is_none_or(|decided| decided == id)
        {
            state.ack = Ack::Decided(id);
            out.push(Effect::PersistAck(reference));
            out.push(Effect::Store { reference, batch });
            out.push(Effect::SignAck { reference, validator });
        } else {
            out.push(Effect::Store { reference, batch });
        }
        self.index.insert(id, (creator, round));
        self.settle(reference, now, out);
    }

    /// This validator's ack was signed.
    pub(crate) fn on_ack_signed(
        &mut self,
        reference: BatchRef,
        signature: Signature,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(me) = self.config.me else { return };
        let chain = self.chain_mut(reference.creator);
        let Some(round) = chain.and_then(|c| c.rounds.get_mut(&reference.round)) else { return };
        if round.ack.decision() == Some(reference.id) {
            let ack = BatchAck { batch: reference, validator: me, signature };
            round.ack = Ack::Signed(ack.clone());
            out.push(Effect::Broadcast(DagMessage::Ack(ack.clone())));
            self.count_ack(ack, now, out);
        }
    }

    /// Counts an ack; whoever has those of a quorum has the certificate, a message delay before its
    /// creator could have sent it.
    pub(crate) fn count_ack(&mut self, ack: BatchAck, now: Millis, out: &mut Vec<Effect>) {
        let BatchAck { batch: reference, validator, signature } = ack;
        let Some(chain) = self.chain_mut(reference.creator) else { return };
        let is_outside =
            reference.round < chain.included || chain.is_too_far_to_ack(reference.round);
        let is_settled =
            chain.rounds.get(&reference.round).is_some_and(|round| round.certificate.is_some());
        if is_outside || is_settled {
            out.push(Effect::Note(Note::AckUseless));
            return;
        }
        let round = chain.rounds.entry(reference.round).or_default();
        if round.acks.contains_key(&validator) {
            out.push(Effect::Note(Note::AckUseless));
            return;
        }
        out.push(Effect::Note(Note::AckCounted));
        round.acks.insert(validator, (reference.id, signature));
        let agreeing = round.acks.iter().filter(|(_, (id, _))| *id == reference.id);
        let signers: Vec<ValidatorIndex> = agreeing.map(|(validator, _)| *validator).collect();
        if !self.set.is_quorum(signers.iter().copied()) {
            return;
        }
        let chain = self.chain_mut(reference.creator);
        let Some(round) = chain.and_then(|c| c.rounds.get_mut(&reference.round)) else { return };
        let acks = core::mem::take(&mut round.acks)
            .into_iter()
            .filter(|(_, (id, _))| *id == reference.id)
            .map(|(validator, (_, signature))| (validator, signature))
            .collect();
        self.on_certificate(BatchCertificate { batch: reference, acks }, now, out);
    }

    /// A certificate from anybody.
    pub(crate) fn on_certificate(
        &mut self,
        certificate: BatchCertificate,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let reference = certificate.batch;
        let is_wanted = self.fetches.contains(&reference);
        let Some(chain) = self.chain_mut(reference.creator) else { return };
        let known = chain.rounds.get(&reference.round).and_then(|r| r.certified_id());
        if known.is_some_and(|known| known != reference.id) {
            let creator = reference.creator;
            out.push(Effect::Note(Note::CertificatesConflict { creator }));
            return;
        }
        let is_outside =
            reference.round < chain.included || (chain.is_too_far(reference.round) && !is_wanted);
        if known.is_some() || is_outside {
            out.push(Effect::Note(Note::CertificateUseless));
            return;
        }
        let round = chain.rounds.entry(reference.round).or_default();
        round.certificate = Some(certificate.clone());
        round.acks.clear();
        if chain.latest_certified.is_none_or(|latest| latest.round < reference.round) {
            chain.latest_certified = Some(reference);
        }
        out.push(Effect::StoreCertificate(certificate));
        self.settle(reference, now, out);
        self.on_own_certified(reference);
    }

    /// An answer to a request.
    pub(crate) fn on_response(
        &mut self,
        certified: CertifiedBatch,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let CertifiedBatch { batch, certificate } = certified;
        let reference = certificate.batch;
        if !self.fetches.contains(&reference) {
            out.push(Effect::Note(Note::ResponseUseless));
            return;
        }
        let is_certified = self.is_certified(&reference);
        if !is_certified {
            self.on_certificate(certificate, now, out);
        }
        if self.is_certified(&reference) && self.batch(&reference.id).is_none() {
            self.accept(reference, batch, now, out);
        }
        // Whatever came of it: with a certified answer in hand nothing is left to ask for.
        self.fetches.remove(&reference);
    }

    fn is_certified(&self, reference: &BatchRef) -> bool {
        let round = self.chain(reference.creator).and_then(|c| c.rounds.get(&reference.round));
        round.is_some_and(|r| r.certified_id() == Some(reference.id))
    }

    /// Draws the conclusions after a round's content or certificate has come.
    fn settle(&mut self, reference: BatchRef, now: Millis, out: &mut Vec<Effect>) {
        let BatchRef { creator, round, .. } = reference;
        let included = self.included(creator);
        let Some(state) = self.chain_mut(creator).and_then(|c| c.rounds.get_mut(&round)) else {
            return;
        };
        let certified = state.certificate.as_ref().map(|c| c.batch);
        let loser = state.batch.take_if(|(id, _)| certified.is_some_and(|c| c.id != *id));
        let lost: Option<BatchId> = loser.as_ref().map(|(id, _)| *id);
        if let Some((_, batch)) = loser {
            state.rival = Some(batch);
        }
        if !state.is_accused
            && let (Some(first), Some((_, second))) = (&state.rival, &state.batch)
        {
            let evidence = BatchEquivocation { first: first.clone(), second: second.clone() };
            state.is_accused = true;
            out.push(Effect::Evidence(Box::new(evidence)));
        }
        let is_held = state.batch.is_some();
        let parent = state.batch.as_ref().and_then(|(_, b)| b.parents.first().copied());
        if let Some(lost) = lost {
            self.index.remove(&lost);
        }
        if let Some(certified) = certified {
            if !is_held {
                self.wish(certified, self.unhurried(now), true, out);
            } else {
                if self.fetches.remove(&certified) {
                    out.push(Effect::Note(Note::Fetched));
                }
                // A block may only include this batch after all before it.
                let before = round.checked_sub(1).filter(|before| *before >= included);
                if let (Some(_), Some(parent)) = (before, parent)
                    && !self.is_certified(&parent)
                {
                    self.wish(parent, self.unhurried(now), true, out);
                }
            }
        }
        self.release(creator, round.saturating_add(1), now, out);
    }

    /// Looks again at a batch that waited for its predecessor.
    pub(crate) fn release(
        &mut self,
        creator: qbind_types::ValidatorIndex,
        round: u64,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let waiting = self.chain_mut(creator).and_then(|c| c.waiting.remove(&round));
        if let Some((id, batch)) = waiting {
            let reference = BatchRef { epoch: batch.epoch, creator, round, id };
            if let Err(reason) = self.take_batch(reference, batch, now, out) {
                out.push(Effect::Note(Note::BatchRefused { creator, reason }));
            }
        }
    }
}
