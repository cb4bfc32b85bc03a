//! This node's own batches; for a full node, the transactions it forwards.
//!
//! Pipeline depth 1: a batch is made only when the one before is certified, so a creator's chain has
//! at most one uncertified end and a certificate vouches for everything before it.

use crate::{
    Dag, DagMessage, Effect, Note, Peer,
    chain::Ack,
    config::{backed_off, bounds},
    mempool::{BatchLimits, PendingTransaction},
};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{
    Batch, BatchCertificate, BatchRef, Millis, SIGNATURE_BYTES, Signature, ValidatorIndex, limits,
};

/// Own certificates announced again at one time.
const ANNOUNCED: usize = 4;

/// The own batch that is not certified yet.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) reference: BatchRef,
    pub(crate) batch: Batch,
    pub(crate) is_signed: bool,
    pub(crate) acks: BTreeMap<ValidatorIndex, Signature>,
    pub(crate) due: Millis,
    pub(crate) attempts: u32,
}

/// What this node makes itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) next_round: u64,
    pub(crate) current: Option<Current>,
    pub(crate) previous: Option<BatchRef>,
    /// When the first of the transactions that are ready became so.
    pub(crate) first_ready: Option<Millis>,
    /// When own certificates that no block includes yet are announced again.
    pub(crate) announce_due: Option<Millis>,
    pub(crate) announcements: u32,
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
            || (self.own.current.is_none() && self.own_backlog() < bounds::OWN_BACKLOG)
    }

    /// When the ready transactions leave, or have left if a batch is full.
    fn batch_due(&self, now: Option<Millis>) -> Option<Millis> {
        let first = self.own.first_ready.filter(|_| self.may_make() && self.pool.ready() > 0)?;
        let by_bytes = self.config.batch_max_bytes / limits::TRANSACTION_BYTES;
        let enough = by_bytes.min(self.config.batch_transactions()).max(1);
        match now {
            Some(now) if self.pool.ready() >= enough => Some(now),
            _ => Some(first.plus(self.config.batch_interval)),
        }
    }

    pub(crate) fn own_deadline(&self) -> Option<Millis> {
        let resend = self.own.current.as_ref().filter(|c| c.is_signed).map(|c| c.due);
        let forward = self.own.forward_due.filter(|_| !self.pool.is_empty());
        [self.batch_due(None), resend, self.own.announce_due, forward].into_iter().flatten().min()
    }

    pub(crate) fn progress_own(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.take_back(now);
        if self.pool.ready() == 0 {
            self.own.first_ready = None;
        } else if self.own.first_ready.is_none() {
            self.own.first_ready = Some(now);
        }
        if self.batch_due(Some(now)).is_some_and(|due| due <= now) {
            match self.config.me {
                Some(me) => self.make_batch(me, now, out),
                None => self.forward(now, out),
            }
            self.own.first_ready = (self.pool.ready() > 0).then_some(now);
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
            creator: me,
            round: self.own.next_round,
            parents: self.own.previous.into_iter().chain(others).collect(),
            transactions: taken.into_iter().map(|p| p.transaction).collect(),
            signature: unsigned(),
        };
        self.own.next_round += 1;
        self.begin(batch, now, out);
    }

    /// Makes `batch` the one to be certified next.
    pub(crate) fn begin(&mut self, batch: Batch, now: Millis, out: &mut Vec<Effect>) {
        let reference = self.reference(&batch);
        out.extend([Effect::PersistOwn(batch.clone()), Effect::Sign(reference)]);
        self.own.current = Some(Current {
            reference,
            batch,
            is_signed: false,
            acks: BTreeMap::new(),
            due: now.plus(self.config.resend),
            attempts: 0,
        });
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
        let current = self.own.current.as_mut();
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
        out.extend([Effect::Broadcast(DagMessage::Batch(batch)), Effect::SignAck(reference)]);
    }

    /// Counts an ack for the own batch; a quorum makes the certificate.
    pub(crate) fn count_ack(
        &mut self,
        reference: BatchRef,
        validator: ValidatorIndex,
        signature: Signature,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let current = self.own.current.as_mut();
        let Some(current) = current.filter(|c| {
            c.is_signed && c.reference == reference && !c.acks.contains_key(&validator)
        }) else {
            out.push(Effect::Note(Note::AckUseless));
            return;
        };
        out.push(Effect::Note(Note::AckCounted));
        current.acks.insert(validator, signature);
        if !self.set.is_quorum(current.acks.keys().copied()) {
            return;
        }
        let acks = core::mem::take(&mut current.acks).into_iter().collect();
        let certificate = BatchCertificate { batch: reference, acks };
        self.on_certificate(certificate.clone(), now, out);
        out.push(Effect::Broadcast(DagMessage::Certificate(certificate)));
    }

    /// The next own batch may be made.
    pub(crate) fn on_own_certified(&mut self, reference: BatchRef) {
        if self.own.current.as_ref().is_some_and(|c| c.reference == reference) {
            self.own.current = None;
            self.own.previous = Some(reference);
        }
    }

    /// Sends the own batch again to who has not acked it, with the certificate it builds on.
    fn send_again(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let resend = self.config.resend;
        let Some(current) = self.own.current.as_mut().filter(|c| c.is_signed && c.due <= now)
        else {
            return;
        };
        current.attempts = current.attempts.saturating_add(1);
        current.due = now.plus(backed_off(resend, current.attempts));
        let Some(current) = self.own.current.as_ref() else { return };
        let before = self.own.previous.and_then(|previous| self.certificate(&previous.id));
        for validator in (0u16..).map(ValidatorIndex).take(self.set.count()) {
            if Some(validator) == self.config.me || current.acks.contains_key(&validator) {
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

    /// Hands transactions to validators: each sender's to the same one, until that fails.
    fn forward(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let limits = BatchLimits {
            transactions: bounds::FORWARDED,
            bytes: limits::MESSAGE_BYTES / 2,
            gas: u64::MAX,
        };
        let mut groups: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        for PendingTransaction { transaction, id, .. } in self.pool.take_batch(limits, now, |_| 0) {
            let home = transaction.sender.0.iter().fold(0u64, |sum, b| sum + u64::from(*b));
            let at = home.wrapping_add(u64::from(self.pool.attempts(&id)));
            let at = at % (self.set.count() as u64);
            let at = u16::try_from(at).expect("a set has at most 256 members");
            groups.entry(at).or_default().push(transaction);
        }
        for (validator, transactions) in groups {
            let to = Peer::Validator(ValidatorIndex(validator));
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
