//! This node's own batches; for a full node, the transactions it forwards.
//!
//! A creator's chain has an uncertified end of at most [`bounds::UNCERTIFIED`] batches. Who acks one
//! holds the one before, so a certificate vouches for everything before it.

use crate::{
    Dag, DagMessage, Effect, Peer,
    chain::Ack,
    config::{backed_off, bounds},
    mempool::{BatchLimits, PendingTransaction},
};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{Batch, BatchRef, Millis, SIGNATURE_BYTES, Signature, ValidatorIndex, limits};

/// Own certificates announced again at one time.
const ANNOUNCED: usize = 4;

/// An own batch that is not certified yet.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) reference: BatchRef,
    pub(crate) batch: Batch,
    pub(crate) is_signed: bool,
    pub(crate) due: Millis,
    pub(crate) attempts: u32,
}

impl Current {
    pub(crate) fn new(reference: BatchRef, batch: Batch, due: Millis) -> Self {
        Self { reference, batch, is_signed: false, due, attempts: 0 }
    }
}

/// What this node makes itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) next_round: u64,
    /// By round.
    pub(crate) open: BTreeMap<u64, Current>,
    /// The last one made.
    pub(crate) previous: Option<BatchRef>,
    /// When the last one was made, or forwarded.
    pub(crate) left: Option<Millis>,
    /// When own certificates that no block includes yet are announced again.
    pub(crate) announce_due: Option<Millis>,
    pub(crate) announcements: u32,
    /// Validators a full node forwards to first; empty before any was measured.
    pub(crate) near: Vec<ValidatorIndex>,
    /// When a full node takes back what it forwarded in vain.
    pub(crate) forward_due: Option<Millis>,
}

/// The signature of a batch that is not signed yet.
pub(crate) fn unsigned() -> Signature {
    Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("the length is the signature's")
}

impl Dag {
    /// Own batches made and not committed.
    pub(crate) fn own_backlog(&self) -> u64 {
        let included = self.config.me.map_or(0, |me| self.included(me));
        self.own.next_round.saturating_sub(included)
    }

    fn may_make(&self) -> bool {
        self.config.me.is_none()
            || (self.own.open.len() < bounds::UNCERTIFIED
                && self.own.open.values().all(|current| current.is_signed)
                && self.own_backlog() < bounds::OWN_BACKLOG
                && self.pool.taken_gas()
                    < bounds::BATCHES_AHEAD.saturating_mul(self.config.batch_max_gas))
    }

    /// When the ready transactions leave: an interval after the last ones, or when a batch is full.
    /// Who comes after a pause does not wait for company.
    fn batch_due(&self) -> Option<Millis> {
        if !self.may_make() || self.pool.ready() == 0 {
            return None;
        }
        let by_bytes = self.config.batch_max_bytes / limits::TRANSACTION_BYTES;
        let enough = by_bytes.min(self.config.batch_transactions()).max(1);
        let left = self.own.left.filter(|_| self.pool.ready() < enough);
        Some(left.map_or(Millis(0), |left| left.plus(self.config.batch_interval)))
    }

    pub(crate) fn own_deadline(&self) -> Option<Millis> {
        let resend = self.own.open.values().filter(|c| c.is_signed).map(|c| c.due).min();
        let forward = self.own.forward_due.filter(|_| !self.pool.is_empty());
        [self.batch_due(), resend, self.own.announce_due, forward].into_iter().flatten().min()
    }

    pub(crate) fn progress_own(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.take_back(now);
        if self.batch_due().is_some_and(|due| due <= now) {
            match self.config.me {
                Some(me) => self.make_batch(me, now, out),
                None => self.forward(now, out),
            }
            self.own.left = Some(now);
        }
        self.send_again(now, out);
        self.announce(now, out);
    }

    fn make_batch(&mut self, me: ValidatorIndex, now: Millis, out: &mut Vec<Effect>) {
        let limits = BatchLimits {
            transactions: self.config.batch_transactions(),
            bytes: self.config.batch_max_bytes,
            gas: self.config.batch_max_gas,
        };
        let taken = self.pool.take_batch(limits, now, |_| 0);
        if taken.is_empty() {
            return;
        }
        let latest = self.chains.iter().filter_map(|c| c.latest_certified);
        let others = latest.filter(|r| r.creator != me);
        let batch = Batch {
            epoch: self.set.epoch(),
            creator: me,
            round: self.own.next_round,
            parents: self.own.previous.into_iter().chain(others).collect(),
            transactions: taken.into_iter().map(|p| p.transaction).collect(),
            signature: unsigned(),
        };
        self.own.next_round += 1;
        self.begin(batch, now, out);
    }

    /// Makes `batch` one to be certified.
    pub(crate) fn begin(&mut self, batch: Batch, now: Millis, out: &mut Vec<Effect>) {
        let reference = self.reference(&batch);
        out.extend([Effect::PersistOwn(batch.clone()), Effect::Sign(reference)]);
        self.own.previous = Some(reference);
        let due = now.plus(self.config.resend);
        self.own.open.insert(reference.round, Current::new(reference, batch, due));
    }

    /// The own batch was signed: it leaves.
    pub(crate) fn on_signed(
        &mut self,
        reference: BatchRef,
        signature: Signature,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let resend = self.config.resend;
        let current = self.own.open.get_mut(&reference.round);
        let Some(current) = current.filter(|c| c.reference == reference && !c.is_signed) else {
            return;
        };
        current.is_signed = true;
        current.batch.signature = signature;
        current.due = now.plus(resend);
        let batch = current.batch.clone();
        if let Some(chain) = self.chain_mut(reference.creator) {
            // Persisting the batch decided this ack.
            chain.rounds.entry(reference.round).or_default().ack = Ack::Decided(reference.id);
        }
        self.accept(reference, batch.clone(), now, out);
        let ack = Effect::SignAck { reference, validator: reference.creator };
        out.extend([Effect::Broadcast(DagMessage::Batch(batch)), ack]);
    }

    /// An own batch is certified.
    pub(crate) fn on_own_certified(&mut self, reference: BatchRef) {
        if self.own.open.get(&reference.round).is_some_and(|c| c.reference == reference) {
            self.own.open.remove(&reference.round);
        }
    }

    /// Sends own batches again to who has not acked them, with the certificate each builds on.
    fn send_again(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let resend = self.config.resend;
        let mut late = Vec::new();
        for current in self.own.open.values_mut().filter(|c| c.is_signed && c.due <= now) {
            current.attempts = current.attempts.saturating_add(1);
            current.due = now.plus(backed_off(resend, current.attempts));
            late.push(current.reference.round);
        }
        let Some(chain) = self.config.me.and_then(|me| self.chain(me)) else { return };
        for current in late.iter().filter_map(|round| self.own.open.get(round)) {
            let acks = chain.rounds.get(&current.reference.round).map(|round| &round.acks);
            let has_acked = |v: &ValidatorIndex| acks.is_some_and(|acks| acks.contains_key(v));
            let own_parent = current.batch.parents.first().filter(|_| current.reference.round > 0);
            let before = own_parent.and_then(|parent| self.certificate(&parent.id));
            for validator in (0u16..).map(ValidatorIndex).take(self.set.count()) {
                if Some(validator) == self.config.me || has_acked(&validator) {
                    continue;
                }
                let to = Peer::Validator(validator);
                if let Some(certificate) = before {
                    let message = DagMessage::Certificate(certificate.clone());
                    out.push(Effect::SendTo { to, message });
                }
                out.push(Effect::SendTo { to, message: DagMessage::Batch(current.batch.clone()) });
            }
        }
    }

    /// Sends own certificates again that no block includes yet: a leader may have missed them.
    fn announce(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let Some(chain) = self.config.me.and_then(|me| self.chain(me)) else { return };
        let mut open = chain
            .rounds
            .range(chain.included..)
            .filter_map(|(_, round)| round.certificate.as_ref())
            .take(ANNOUNCED)
            .peekable();
        if open.peek().is_none() {
            self.own.announce_due = None;
            self.own.announcements = 0;
            return;
        }
        let due = self.own.announce_due.unwrap_or(now.plus(self.config.resend));
        if due > now {
            self.own.announce_due = Some(due);
            return;
        }
        out.extend(open.map(|c| Effect::Broadcast(DagMessage::Certificate(c.clone()))));
        self.own.announcements = self.own.announcements.saturating_add(1);
        let wait = backed_off(self.config.resend, self.own.announcements);
        self.own.announce_due = Some(now.plus(wait));
    }

    /// Hands transactions to validators: each sender's to the same near one, to others if that fails.
    fn forward(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let limits = BatchLimits {
            transactions: bounds::FORWARDED,
            bytes: limits::MESSAGE_BYTES / 2,
            gas: u64::MAX,
        };
        let mut groups: BTreeMap<ValidatorIndex, Vec<_>> = BTreeMap::new();
        for PendingTransaction { transaction, id, .. } in self.pool.take_batch(limits, now, |_| 0) {
            let home = transaction.sender.0.iter().fold(0u64, |sum, b| sum + u64::from(*b));
            let attempts = u64::from(self.pool.attempts(&id));
            let one_of = |count: usize| {
                let at = home.wrapping_add(attempts) % (count as u64);
                usize::try_from(at).expect("below a count")
            };
            let at = if attempts == 0 && !self.own.near.is_empty() {
                self.own.near[one_of(self.own.near.len())]
            } else {
                let at = one_of(self.set.count());
                ValidatorIndex(u16::try_from(at).expect("a set has at most 256 members"))
            };
            groups.entry(at).or_default().push(transaction);
        }
        for (validator, transactions) in groups {
            let to = Peer::Validator(validator);
            out.push(Effect::SendTo { to, message: DagMessage::Transactions(transactions) });
        }
        self.own.forward_due.get_or_insert(now.plus(self.config.forward_retry));
    }

    /// What a full node forwarded and is still not committed is forwarded to somebody else.
    fn take_back(&mut self, now: Millis) {
        if self.own.forward_due.is_some_and(|due| due <= now) {
            let retry = self.config.forward_retry;
            self.pool.return_taken_before(Millis(now.0.saturating_sub(retry.0)));
            self.own.forward_due = (!self.pool.is_empty()).then_some(now.plus(retry));
        }
    }
}
