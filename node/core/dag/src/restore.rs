//! Continuing after a restart.

use crate::{Dag, DagConfig, Effect, PendingTransaction, chain::Ack, own::Current};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use qbind_types::{Batch, BatchCertificate, BatchRef, Millis, TxId, ValidatorIndex, ValidatorSet};

/// What the store kept. Everything in it was verified before it was stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// For each creator, the first round that no executed block includes.
    pub included: BTreeMap<ValidatorIndex, u64>,
    /// The last of [`Effect::PersistOwn`]; those before are among the batches.
    pub own: Option<Batch>,
    /// Batches of rounds that are not included, and a few before.
    pub batches: Vec<Batch>,
    /// Certificates of the same rounds.
    pub certificates: Vec<BatchCertificate>,
    /// [`Effect::PersistAck`] of rounds that are not included.
    pub acks: Vec<BatchRef>,
    /// Accepted and not forgotten, each with its sender's committed nonce.
    pub pending: Vec<(PendingTransaction, u64)>,
}

impl Dag {
    /// The machine as it was, and what it does first. It never makes a second batch for a round,
    /// nor acks one: an own batch that is not certified is signed and sent again.
    pub fn restore(
        config: DagConfig,
        set: Arc<ValidatorSet>,
        restored: Restored,
        now: Millis,
    ) -> (Self, Vec<Effect>) {
        let mut dag = Self::new(config, set);
        let mut out = Vec::new();
        for (pending, account_nonce) in restored.pending {
            dag.pool.restore(pending, account_nonce, now);
        }
        for (creator, included) in &restored.included {
            if let Some(chain) = dag.chain_mut(*creator) {
                chain.included = *included;
            }
        }
        for reference in &restored.acks {
            if let Some(chain) = dag.chain_mut(reference.creator) {
                chain.rounds.entry(reference.round).or_default().ack = Ack::Decided(reference.id);
            }
        }
        for certificate in restored.certificates {
            dag.restore_certificate(certificate);
        }
        for batch in restored.batches {
            dag.restore_batch(batch);
        }
        dag.restore_own(restored.own, now, &mut out);
        dag.sign_acks_again(&mut out);
        dag.look_for_missing(now, &mut out);
        dag.progress(now, &mut out);
        (dag, out)
    }

    fn restore_certificate(&mut self, certificate: BatchCertificate) {
        let reference = certificate.batch;
        let Some(chain) = self.chain_mut(reference.creator) else { return };
        if chain.latest_certified.is_none_or(|latest| latest.round < reference.round) {
            chain.latest_certified = Some(reference);
        }
        chain.rounds.entry(reference.round).or_default().certificate = Some(certificate);
    }

    /// Of two batches of a round, which the store may hold, the certified or acked one counts.
    fn restore_batch(&mut self, batch: Batch) {
        let reference = self.reference(&batch);
        let BatchRef { creator, round, id, .. } = reference;
        let Some(chain) = self.chain_mut(creator) else { return };
        let state = chain.rounds.entry(round).or_default();
        if state.known_id().is_none_or(|known| known == id) {
            state.batch = Some((id, Arc::new(batch)));
            self.index.insert(id, (creator, round));
        }
    }

    fn restore_own(&mut self, own: Option<Batch>, now: Millis, out: &mut Vec<Effect>) {
        let Some(me) = self.config.me else { return };
        let included = self.included(me);
        let latest = self.chain(me).and_then(|c| c.latest_certified);
        self.own.previous = latest;
        self.own.next_round = included.max(latest.map_or(0, |r| r.round.saturating_add(1)));
        let held: Vec<(BatchRef, Batch, bool)> = self
            .chain(me)
            .into_iter()
            .flat_map(|c| c.rounds.range(included..))
            .filter_map(|(_, state)| {
                let (id, batch) = state.batch.as_ref()?;
                let reference = BatchRef::of(batch, *id);
                Some((reference, batch.as_ref().clone(), state.certificate.is_some()))
            })
            .collect();
        let last = own.filter(|b| b.creator == me && b.round >= included);
        let uncommitted: BTreeSet<TxId> =
            held.iter().map(|(_, b, _)| b).chain(&last).flat_map(|b| self.ids(b)).collect();
        for id in uncommitted {
            self.pool.mark_taken(&id, now);
        }
        for (reference, batch, is_certified) in held {
            self.own.next_round = self.own.next_round.max(reference.round.saturating_add(1));
            if self.own.previous.is_none_or(|previous| previous.round < reference.round) {
                self.own.previous = Some(reference);
            }
            if !is_certified {
                // It was signed before it was stored; its own ack may be missing.
                let current = Current { is_signed: true, ..Current::new(reference, batch, now) };
                self.own.open.insert(reference.round, current);
                if let Some(chain) = self.chain_mut(me) {
                    chain.rounds.entry(reference.round).or_default().ack =
                        Ack::Decided(reference.id);
                }
                out.push(Effect::SignAck { reference, validator: me });
            }
        }
        let is_held = |batch: &Batch| {
            self.chain(me).is_some_and(|c| {
                c.rounds
                    .get(&batch.round)
                    .is_some_and(|r| r.batch.is_some() || r.certificate.is_some())
            })
        };
        if let Some(batch) = last.filter(|batch| !is_held(batch)) {
            self.own.next_round = self.own.next_round.max(batch.round.saturating_add(1));
            self.begin(batch, now, out);
        }
    }

    /// Acks decided and perhaps never sent.
    fn sign_acks_again(&self, out: &mut Vec<Effect>) {
        let Some(me) = self.config.me else { return };
        for chain in &self.chains {
            for round in chain.rounds.range(chain.included..).map(|(_, round)| round) {
                if let (Ack::Decided(id), Some((held, batch))) = (&round.ack, &round.batch)
                    && id == held
                    && round.certificate.is_none()
                    && batch.creator != me
                {
                    let reference = BatchRef::of(batch, *id);
                    out.push(Effect::SignAck { reference, validator: me });
                }
            }
        }
    }

    fn look_for_missing(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let missing: Vec<BatchRef> = self
            .chains
            .iter()
            .flat_map(|c| c.rounds.range(c.included..))
            .filter(|(_, round)| round.batch.is_none())
            .filter_map(|(_, round)| round.certificate.as_ref().map(|c| c.batch))
            .collect();
        for reference in missing {
            self.wish(reference, now, true, out);
        }
    }
}
