//! The machine: its state, and which event goes where.

use crate::{
    DagConfig, Effect, Event, Mempool, Note, Peer,
    chain::Chain,
    config::bounds,
    fetch::{Fetches, Served, Wish},
    mempool::{Inserted, Rejection, Submission},
    own::Own,
};
use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};
use qbind_types::{
    Batch, BatchCertificate, BatchId, BatchRef, Millis, TxId, ValidatorIndex, ValidatorSet,
};

/// How often pending transactions are looked through for old ones.
const EXPIRY_INTERVAL: Millis = Millis(60_000);

/// One node's data layer. Bounds: [`bounds`] and [`crate::MempoolConfig`].
#[derive(Debug, Clone)]
pub struct Dag {
    pub(crate) config: DagConfig,
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) pool: Mempool,
    /// By validator index.
    pub(crate) chains: Vec<Chain>,
    /// Where held content is.
    pub(crate) index: BTreeMap<BatchId, (ValidatorIndex, u64)>,
    pub(crate) own: Own,
    pub(crate) fetches: Fetches,
    served: Served,
    expiry_due: Option<Millis>,
}

/// Sizes, for gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Transactions in the pool.
    pub pending: usize,
    /// Of those, transactions that may go into the next batch.
    pub ready: usize,
    /// Batches whose content is in memory.
    pub held: usize,
    /// Batches waiting for their predecessor.
    pub waiting: usize,
    /// Batches looked for.
    pub wanted: usize,
    /// Own batches that are not committed.
    pub own_backlog: u64,
}

impl Dag {
    /// A node that has seen nothing.
    pub fn new(mut config: DagConfig, set: Arc<ValidatorSet>) -> Self {
        config.mempool.transaction_gas = config.mempool.transaction_gas.min(config.batch_max_gas);
        Self {
            pool: Mempool::new(config.mempool.clone()),
            chains: vec![Chain::default(); set.count()],
            index: BTreeMap::new(),
            own: Own::default(),
            fetches: Fetches::default(),
            served: Served::default(),
            expiry_due: None,
            config,
            set,
        }
    }

    /// Goes on in the next epoch, in which this node has the place `me`. Batches belong to their
    /// epoch: what no block has included is made batches of again, under the new validators.
    pub fn next_epoch(
        &mut self,
        me: Option<ValidatorIndex>,
        set: Arc<ValidatorSet>,
        now: Millis,
    ) -> Vec<Effect> {
        let config = DagConfig { me, ..self.config.clone() };
        let next = Self::new(config, set);
        let last = core::mem::replace(self, next);
        self.pool = last.pool;
        self.pool.return_taken_before(now);
        (self.served, self.expiry_due) = (last.served, last.expiry_due);
        let mut out = Vec::new();
        self.progress(now, &mut out);
        out
    }

    /// Applies one event. Total: never blocks, fails, logs, or reads a clock.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let now = event.now();
        let mut out = Vec::new();
        if event.epoch().is_some_and(|epoch| epoch != self.set.epoch()) {
            return out;
        }
        match event {
            Event::Submit(submission) => self.on_submit(submission, &mut out),
            Event::Signed { reference, signature, .. } => {
                self.on_signed(reference, signature, now, &mut out);
            }
            Event::AckSigned { reference, signature, .. } => {
                self.on_ack_signed(reference, signature, now, &mut out);
            }
            Event::Batch { batch, .. } => self.on_batch(batch.into_inner(), now, &mut out),
            Event::Ack { ack, .. } => {
                self.count_ack(ack.into_inner(), now, &mut out);
            }
            Event::Certificate { certificate, .. } => {
                self.on_certificate(certificate.into_inner(), now, &mut out);
            }
            Event::Request { from, reference, .. } => {
                self.on_request(from, reference, now, &mut out);
            }
            Event::Response { certified, .. } => {
                self.on_response(certified.into_inner(), now, &mut out);
            }
            Event::Near { validators, .. } => {
                self.own.near = validators;
                self.own.near.retain(|v| self.set.get(*v).is_some());
            }
            Event::Committed { refs, accounts, .. } => {
                self.on_committed(&refs, &accounts, now, &mut out);
            }
            Event::Tick { .. } => {}
        }
        self.progress(now, &mut out);
        out
    }

    /// When the next [`Event::Tick`] is needed, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Millis> {
        let expiry = self.expiry_due.filter(|_| !self.pool.is_empty());
        [expiry, self.own_deadline(), self.fetches.next_due()].into_iter().flatten().min()
    }

    /// Does what time allows.
    pub(crate) fn progress(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.ask(now, out);
        let due = *self.expiry_due.get_or_insert(now.plus(EXPIRY_INTERVAL));
        if due <= now {
            self.expiry_due = Some(now.plus(EXPIRY_INTERVAL));
            let expired = self.pool.expire(now);
            if !expired.is_empty() {
                out.push(Effect::Note(Note::Expired { count: expired.len() }));
            }
            forget(expired, out);
        }
        self.progress_own(now, out);
    }

    fn on_submit(&mut self, submission: Submission, out: &mut Vec<Effect>) {
        let id = submission.id;
        if self.own_backlog() >= bounds::OWN_BACKLOG {
            let rejection = Rejection::Full { pending: self.pool.len() };
            out.push(Effect::Rejected { id, rejection });
            return;
        }
        let stored = submission.clone().into();
        match self.pool.insert(submission) {
            Ok(Inserted {
                replaced,
                evicted,
                obsolete,
                is_over_eviction_limit,
                starts_interval,
            }) => {
                let notes = [
                    starts_interval.then_some(Note::EvictionIntervalStarted),
                    replaced.map(|_| Note::Replaced),
                    evicted.map(|_| Note::Evicted),
                    is_over_eviction_limit.then_some(Note::EvictionOverLimit),
                ];
                out.push(Effect::StorePending(stored));
                let gone = replaced.into_iter().chain(evicted).chain(obsolete).collect();
                forget(gone, out);
                out.extend(notes.into_iter().flatten().map(Effect::Note));
                out.push(Effect::Accepted { id });
            }
            Err(rejection) => out.push(Effect::Rejected { id, rejection }),
        }
    }

    fn on_request(&mut self, from: Peer, reference: BatchRef, now: Millis, out: &mut Vec<Effect>) {
        let is_known = self.certificate(&reference.id).is_some_and(|c| c.batch == reference);
        let is_old = reference.epoch < self.set.epoch()
            || (reference.epoch == self.set.epoch()
                && self.chain(reference.creator).is_some_and(|c| reference.round < c.included));
        if (!is_known && !is_old) || !self.served.admit(from, now) {
            out.push(Effect::Note(Note::RequestRefused));
            return;
        }
        out.push(match self.certified(&reference) {
            Some(certified) => {
                Effect::SendTo { to: from, message: crate::DagMessage::Response(certified) }
            }
            None => Effect::ServeFromStore { to: from, batch: reference },
        });
    }

    /// Asks for missing batches whose turn it is.
    fn ask(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for turn in self.fetches.turns(now, self.config.fetch_timeout) {
            let reference = turn.reference;
            let signers = self.signers(&reference);
            let is_proven = signers.is_some();
            let me = self.config.me;
            let others = (0u16..).map(ValidatorIndex).take(self.set.count());
            let mut peers: Vec<ValidatorIndex> = match signers {
                Some(signers) => signers,
                None => core::iter::once(reference.creator)
                    .chain(others.filter(|v| *v != reference.creator))
                    .collect(),
            };
            peers.retain(|v| Some(*v) != me);
            if peers.is_empty() || (!is_proven && turn.attempts >= bounds::FETCH_ATTEMPTS) {
                self.fetches.remove(&reference);
                out.push(Effect::Note(Note::FetchGivenUp));
                continue;
            }
            // Signers are asked from a different one on by each node, lest the first serve all.
            let start = if is_proven { me.map_or(0, |v| u32::from(v.0)) } else { 0 };
            let at = start.wrapping_add(turn.attempts) as usize % peers.len();
            let message = crate::DagMessage::Request(reference);
            out.push(Effect::SendTo { to: Peer::Validator(peers[at]), message });
        }
    }

    fn signers(&self, reference: &BatchRef) -> Option<Vec<ValidatorIndex>> {
        let round = self.chain(reference.creator)?.rounds.get(&reference.round)?;
        let certificate = round.certificate.as_ref().filter(|c| c.batch == *reference)?;
        Some(certificate.acks.iter().map(|(validator, _)| *validator).collect())
    }

    /// Looks for `reference` from `due` on; `is_proven` if a quorum vouches that it exists.
    pub(crate) fn wish(
        &mut self,
        reference: BatchRef,
        due: Millis,
        is_proven: bool,
        out: &mut Vec<Effect>,
    ) {
        match self.fetches.wish(reference, due, is_proven) {
            Wish::New => out.push(Effect::Note(Note::FetchStarted)),
            Wish::Known => {}
            Wish::Refused => out.push(Effect::Note(Note::FetchRefused)),
        }
    }

    /// Gives what is on its way anyway the time to arrive.
    pub(crate) fn unhurried(&self, now: Millis) -> Millis {
        now.plus(Millis(self.config.fetch_timeout.0 / 2))
    }

    pub(crate) fn reference(&self, batch: &Batch) -> BatchRef {
        let id = qbind_crypto::batch_id(self.config.network, batch);
        BatchRef::of(batch, id)
    }

    pub(crate) fn ids(&self, batch: &Batch) -> Vec<TxId> {
        let network = self.config.network;
        batch.transactions.iter().map(|t| qbind_crypto::tx_id(network, t)).collect()
    }

    pub(crate) fn chain(&self, creator: ValidatorIndex) -> Option<&Chain> {
        self.chains.get(usize::from(creator.0))
    }

    pub(crate) fn chain_mut(&mut self, creator: ValidatorIndex) -> Option<&mut Chain> {
        self.chains.get_mut(usize::from(creator.0))
    }

    /// The pool of pending transactions.
    pub fn mempool(&self) -> &Mempool {
        &self.pool
    }

    /// The validators this layer works with.
    pub fn validators(&self) -> &ValidatorSet {
        &self.set
    }

    /// The content of a batch, if it is in memory.
    pub fn batch(&self, id: &BatchId) -> Option<&Batch> {
        let (creator, round) = self.index.get(id)?;
        let (held, batch) = self.chain(*creator)?.rounds.get(round)?.batch.as_ref()?;
        (held == id).then(|| batch.as_ref())
    }

    /// The certificate of a batch whose content is in memory.
    pub fn certificate(&self, id: &BatchId) -> Option<&BatchCertificate> {
        let (creator, round) = self.index.get(id)?;
        let certificate = self.chain(*creator)?.rounds.get(round)?.certificate.as_ref()?;
        (certificate.batch.id == *id).then_some(certificate)
    }

    /// The first round of `creator` that no committed block includes.
    pub fn included(&self, creator: ValidatorIndex) -> u64 {
        self.chain(creator).map_or(0, |chain| chain.included)
    }

    /// Sizes, for gauges.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            pending: self.pool.len(),
            ready: self.pool.ready(),
            held: self.index.len(),
            waiting: self.chains.iter().map(|c| c.waiting.len()).sum(),
            wanted: self.fetches.len(),
            own_backlog: self.own_backlog(),
        }
    }
}

/// Lets the store forget transactions, if there are any.
pub(crate) fn forget(ids: Vec<TxId>, out: &mut Vec<Effect>) {
    if !ids.is_empty() {
        out.push(Effect::ForgetPending(ids));
    }
}
