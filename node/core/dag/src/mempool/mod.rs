//! Transactions accepted on this node and not yet committed.
//!
//! Each sender's queue is in nonce order and only its head may be taken, so the fee order chooses
//! between senders and never breaks a nonce sequence. A transaction counts against every limit until
//! it is committed, also while it is in a batch, and its sender can pay for all that counts, as of the last
//! block. When the pool is full, what waits behind a missing nonce gives way first, whatever it offers, and
//! no more of it comes in; then the tail of the queue that holds the worst paid transaction gives way to a
//! better paid newcomer: a transaction is worth no more than the cheapest one it has to wait for.

mod entry;
mod rejection;
mod sender;

pub use entry::{PendingTransaction, Standing, Submission, transaction_bytes};
pub use rejection::Rejection;

use crate::config::{EvictionMode, MempoolConfig, bounds};
use alloc::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    vec::Vec,
};
use entry::{Entry, Priority};
use qbind_types::{Address, Millis, TxId};
use sender::Sender;

/// What accepting a transaction changed besides adding it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inserted {
    /// The pending transaction of the same nonce that was outbid.
    pub replaced: Option<TxId>,
    /// The worst paid transaction, dropped because the pool was full.
    pub evicted: Option<TxId>,
    /// Transactions whose nonce the account has used by now.
    pub obsolete: Vec<TxId>,
    /// The eviction was one too many for this interval, and only warned about.
    pub is_over_eviction_limit: bool,
    /// The eviction is the first of a new interval.
    pub starts_interval: bool,
}

/// What may be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most transactions.
    pub transactions: usize,
    /// Most bytes of their encodings.
    pub bytes: usize,
    /// Most gas they may use together.
    pub gas: u64,
}

/// What became of the transactions of a batch that was committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returned {
    /// Without effect, but still next for their senders: they wait for another batch.
    pub requeued: Vec<TxId>,
    /// Without effect too often, or beyond what their senders can pay: dropped.
    pub dropped: Vec<TxId>,
}

/// The pool. Every bound is in [`MempoolConfig`].
#[derive(Debug, Clone)]
pub struct Mempool {
    config: MempoolConfig,
    senders: BTreeMap<Address, Sender>,
    known: BTreeMap<TxId, (Address, u64)>,
    /// Those in no batch, worst first.
    queued: BTreeMap<Priority, (Address, u64)>,
    /// Senders of transactions that wait for a missing nonce.
    gapped: BTreeSet<Address>,
    arrivals: u64,
    ready: usize,
    /// Gas of those in batches, or forwarded.
    taken_gas: u64,
    /// When the first eviction of the current interval was.
    interval_start: Option<Millis>,
    evictions: u32,
}

impl Mempool {
    /// Empty.
    pub fn new(config: MempoolConfig) -> Self {
        Self {
            config,
            senders: BTreeMap::new(),
            known: BTreeMap::new(),
            queued: BTreeMap::new(),
            gapped: BTreeSet::new(),
            arrivals: 0,
            ready: 0,
            taken_gas: 0,
            interval_start: None,
            evictions: 0,
        }
    }

    /// Transactions held, in batches or not.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Transactions that could be taken now: no nonce before theirs is missing.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Gas of the transactions that are in batches, or forwarded, and not committed.
    pub fn taken_gas(&self) -> u64 {
        self.taken_gas
    }

    /// Transactions of one sender, in batches or not.
    pub fn pending_of(&self, sender: &Address) -> usize {
        self.senders.get(sender).map_or(0, |s| s.entries.len())
    }

    /// Bytes of one sender's transactions, in batches or not.
    pub fn bytes_of(&self, sender: &Address) -> usize {
        self.senders.get(sender).map_or(0, |s| s.bytes)
    }

    /// Whether this transaction is held.
    pub fn contains(&self, id: &TxId) -> bool {
        self.known.contains_key(id)
    }

    /// Evictions in the current interval.
    pub fn evictions_in_interval(&self) -> u32 {
        self.evictions
    }

    /// Accepts a transaction or says why not.
    ///
    /// # Errors
    /// The client's fault, or the pool is full.
    pub fn insert(&mut self, submission: Submission) -> Result<Inserted, Rejection> {
        let (account, now) = (submission.account, submission.now);
        if self.known.contains_key(&submission.id) {
            return Err(Rejection::Duplicate);
        }
        let sender = submission.transaction.get().sender;
        let obsolete = self.drop_used(&sender, account.nonce);
        let entry = Entry::new(submission.into(), self.config.fee_priority, self.arrivals, now);
        let mut inserted = self.admit(&sender, account, &entry, now)?;
        inserted.obsolete = obsolete;
        self.arrivals += 1;
        self.put(sender, entry);
        self.learn(&sender, account);
        Ok(inserted)
    }

    /// Takes back a transaction that was accepted before a restart, without asking again.
    pub fn restore(&mut self, pending: PendingTransaction, account_nonce: u64, now: Millis) {
        let (sender, nonce) = (pending.transaction.sender, pending.transaction.nonce);
        let taken = self.senders.get(&sender).is_some_and(|s| s.entries.contains_key(&nonce));
        if nonce < account_nonce || taken || self.known.contains_key(&pending.id) {
            return;
        }
        let entry = Entry::new(pending, self.config.fee_priority, self.arrivals, now);
        self.arrivals += 1;
        self.put(sender, entry);
        if let Some(sender) = self.senders.get_mut(&sender) {
            sender.committed = sender.committed.max(account_nonce);
        }
        self.measure(&sender);
    }

    /// Checks all rules and makes room; changes nothing when it refuses.
    fn admit(
        &mut self,
        address: &Address,
        account: Standing,
        entry: &Entry,
        now: Millis,
    ) -> Result<Inserted, Rejection> {
        let empty = Sender::default();
        let sender = self.senders.get(address).unwrap_or(&empty);
        let nonce = entry.pending.transaction.nonce;
        let first = sender.committed.max(account.nonce);
        let last = first.saturating_add(self.config.nonce_window);
        if nonce < first || nonce > last {
            return Err(Rejection::Nonce { nonce, first, last });
        }
        let (gas, most) = (entry.pending.gas, self.config.transaction_gas);
        if gas > most {
            return Err(Rejection::GasLimit { gas, most });
        }
        let old = sender.entries.get(&nonce);
        if let Some(old) = old {
            if old.taken.is_some() || !self.config.fee_priority {
                return Err(Rejection::Duplicate);
            }
            let (fee, pending) = (entry.pending.fee_per_gas, old.pending.fee_per_gas);
            let needed = pending.saturating_add(pending.div_ceil(10).max(1));
            if fee < needed {
                return Err(Rejection::FeeLow { fee, needed });
            }
        }
        let (old_cost, old_bytes) = old.map_or((0, 0), |e| (e.pending.cost, e.bytes));
        let needed = (sender.cost - old_cost).saturating_add(entry.pending.cost);
        if needed > account.spendable {
            return Err(Rejection::Balance { needed, balance: account.spendable });
        }
        let (transactions, bytes) = (sender.entries.len(), sender.bytes);
        if (old.is_none() && transactions >= self.config.sender_transactions)
            || bytes - old_bytes + entry.bytes > self.config.sender_bytes
        {
            return Err(Rejection::SenderLimit { transactions, bytes });
        }
        if let Some(old) = old {
            let replaced = old.pending.id;
            self.remove(address, nonce);
            return Ok(Inserted { replaced: Some(replaced), ..Inserted::default() });
        }
        if self.len() < self.config.capacity {
            return Ok(Inserted::default());
        }
        let due = sender.next().max(account.nonce).saturating_add(sender.ready as u64);
        if nonce > due {
            return Err(Rejection::Full { pending: self.len() });
        }
        let worth = sender
            .entries
            .range(..nonce)
            .filter(|(_, e)| e.taken.is_none())
            .map(|(_, e)| e.priority)
            .fold(entry.priority, Priority::min);
        self.evict_below(worth, now)
    }

    /// Drops the transaction that matters least, if that is less than `worth`.
    fn evict_below(&mut self, worth: Priority, now: Millis) -> Result<Inserted, Rejection> {
        let full = Rejection::Full { pending: self.len() };
        let worst = self.queued.first_key_value().filter(|(worst, _)| **worst < worth);
        let worst = worst.map(|(_, (address, _))| *address);
        let address = self.gapped.first().copied().or(worst).ok_or(full)?;
        let nonce = self.senders.get(&address).and_then(Sender::tail).ok_or(full)?;
        let interval = self.config.eviction_interval;
        let starts_interval = self.interval_start.is_none_or(|start| now >= start.plus(interval));
        if starts_interval {
            self.interval_start = Some(now);
            self.evictions = 0;
        }
        let is_spent = self.evictions >= self.config.evictions_per_interval;
        if is_spent && self.config.eviction_mode == EvictionMode::Enforce {
            return Err(Rejection::Rate);
        }
        self.evictions = self.evictions.saturating_add(1);
        Ok(Inserted {
            evicted: self.remove(&address, nonce),
            is_over_eviction_limit: is_spent && self.config.eviction_mode == EvictionMode::Warn,
            starts_interval,
            ..Inserted::default()
        })
    }

    fn put(&mut self, address: Address, entry: Entry) {
        let nonce = entry.pending.transaction.nonce;
        let sender = self.senders.entry(address).or_default();
        sender.bytes += entry.bytes;
        sender.cost = sender.cost.saturating_add(entry.pending.cost);
        self.known.insert(entry.pending.id, (address, nonce));
        self.queued.insert(entry.priority, (address, nonce));
        sender.entries.insert(nonce, entry);
    }

    fn remove(&mut self, address: &Address, nonce: u64) -> Option<TxId> {
        let sender = self.senders.get_mut(address)?;
        let entry = sender.entries.remove(&nonce)?;
        self.known.remove(&entry.pending.id);
        self.queued.remove(&entry.priority);
        if entry.taken.is_some() {
            self.taken_gas = self.taken_gas.saturating_sub(entry.pending.gas);
        }
        sender.bytes -= entry.bytes;
        // Saturated sums cannot be undone exactly; counting again is rare enough.
        sender.cost =
            sender.entries.values().fold(0, |sum: u128, e| sum.saturating_add(e.pending.cost));
        self.measure(address);
        if self.pending_of(address) == 0 {
            self.senders.remove(address);
        }
        Some(entry.pending.id)
    }

    /// Takes the best paid transactions whose turn it is and leaves them counted until they are
    /// committed. `next_nonce` gives each sender's next committed nonce.
    pub fn take_batch(
        &mut self,
        limits: BatchLimits,
        now: Millis,
        next_nonce: impl Fn(&Address) -> u64,
    ) -> Vec<PendingTransaction> {
        let mut heads = BinaryHeap::new();
        for (address, sender) in &self.senders {
            let nonce = sender.next().max(next_nonce(address));
            if let Some(entry) = sender.entries.get(&nonce) {
                heads.push((entry.priority, *address, nonce));
            }
        }
        let mut taken = Vec::new();
        let mut touched = Vec::new();
        let (mut bytes, mut gas) = (0usize, 0u64);
        while let Some((priority, address, nonce)) = heads.pop() {
            if taken.len() >= limits.transactions {
                break;
            }
            let Some(sender) = self.senders.get_mut(&address) else { continue };
            let Some(entry) = sender.entries.get_mut(&nonce) else { continue };
            let bytes_with = bytes.saturating_add(entry.bytes);
            let gas_with = gas.saturating_add(entry.pending.gas);
            if bytes_with > limits.bytes || gas_with > limits.gas {
                // What follows in this sender's queue has to wait for it; others may still fit.
                continue;
            }
            (bytes, gas) = (bytes_with, gas_with);
            entry.taken = Some(now);
            self.taken_gas = self.taken_gas.saturating_add(entry.pending.gas);
            self.queued.remove(&priority);
            taken.push(entry.pending.clone());
            touched.push(address);
            if let Some(following) = nonce.checked_add(1)
                && let Some(entry) = sender.entries.get(&following)
            {
                heads.push((entry.priority, address, following));
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for address in touched {
            self.measure(&address);
        }
        taken
    }

    fn measure(&mut self, address: &Address) {
        if let Some(sender) = self.senders.get_mut(address) {
            self.ready -= sender.ready;
            sender.measure_run();
            self.ready += sender.ready;
            if sender.has_gap() {
                self.gapped.insert(*address);
            } else {
                self.gapped.remove(address);
            }
        }
    }

    fn learn(&mut self, address: &Address, account: Standing) {
        if let Some(sender) = self.senders.get_mut(address) {
            sender.learn(account);
        }
        self.measure(address);
    }

    /// An account is now as `account` says: drops what it has used, and what it can no longer pay for,
    /// the last first. Returns what was dropped.
    pub fn on_committed(&mut self, address: &Address, account: Standing) -> Vec<TxId> {
        self.learn(address, account);
        let mut dropped = self.drop_used(address, account.nonce);
        dropped.extend(self.cut(address));
        dropped
    }

    fn drop_used(&mut self, address: &Address, nonce: u64) -> Vec<TxId> {
        let Some(sender) = self.senders.get_mut(address) else { return Vec::new() };
        sender.committed = sender.committed.max(nonce);
        let used: Vec<u64> = sender.entries.range(..nonce).map(|(n, _)| *n).collect();
        let dropped = used.into_iter().filter_map(|n| self.remove(address, n)).collect();
        self.measure(address);
        dropped
    }

    /// Drops what is in no batch and its sender cannot pay for.
    fn cut(&mut self, address: &Address) -> Vec<TxId> {
        let mut dropped = Vec::new();
        while let Some(sender) = self.senders.get(address).filter(|sender| sender.is_short())
            && let Some(last) = sender.tail()
        {
            dropped.extend(self.remove(address, last));
        }
        dropped
    }

    /// Marks a transaction of an own uncommitted batch as handed out (after a restart).
    pub(crate) fn mark_taken(&mut self, id: &TxId, now: Millis) {
        let Some((address, nonce)) = self.known.get(id).copied() else { return };
        let entry = self.senders.get_mut(&address).and_then(|s| s.entries.get_mut(&nonce));
        if let Some(entry) = entry.filter(|entry| entry.taken.is_none()) {
            entry.taken = Some(now);
            self.taken_gas = self.taken_gas.saturating_add(entry.pending.gas);
            self.queued.remove(&entry.priority);
            self.measure(&address);
        }
    }

    /// An own batch was committed and its transactions executed: those still here had no effect.
    pub fn return_unused(&mut self, ids: &[TxId]) -> Returned {
        let mut returned = Returned::default();
        let mut senders = BTreeSet::new();
        for id in ids {
            let Some((address, nonce)) = self.known.get(id).copied() else { continue };
            if self.give_back(&address, nonce) > bounds::ATTEMPTS {
                returned.dropped.extend(self.remove(&address, nonce));
            } else {
                returned.requeued.push(*id);
                senders.insert(address);
            }
        }
        for address in senders {
            returned.dropped.extend(self.cut(&address));
        }
        returned.requeued.retain(|id| self.known.contains_key(id));
        returned
    }

    fn give_back(&mut self, address: &Address, nonce: u64) -> u32 {
        let entry = self.senders.get_mut(address).and_then(|s| s.entries.get_mut(&nonce));
        let Some(entry) = entry else { return 0 };
        if entry.taken.take().is_some() {
            self.taken_gas = self.taken_gas.saturating_sub(entry.pending.gas);
        }
        entry.attempts = entry.attempts.saturating_add(1);
        let attempts = entry.attempts;
        self.queued.insert(entry.priority, (*address, nonce));
        self.measure(address);
        attempts
    }

    /// Puts back what was taken before `time` (a full node forwards it to someone else).
    pub(crate) fn return_taken_before(&mut self, time: Millis) {
        let old: Vec<(Address, u64)> = self
            .senders
            .iter()
            .flat_map(|(address, sender)| {
                let late = |e: &Entry| e.taken.is_some_and(|t| t <= time);
                let entries = sender.entries.iter().filter(move |(_, e)| late(e));
                entries.map(|(nonce, _)| (*address, *nonce))
            })
            .collect();
        for (address, nonce) in old {
            self.give_back(&address, nonce);
        }
    }

    /// Times a transaction was handed out in vain.
    pub(crate) fn attempts(&self, id: &TxId) -> u32 {
        let at = self.known.get(id);
        let entry = at.and_then(|(address, nonce)| self.senders.get(address)?.entries.get(nonce));
        entry.map_or(0, |e| e.attempts)
    }

    /// Drops what is in no batch and older than its lifetime. Returns what was dropped.
    pub fn expire(&mut self, now: Millis) -> Vec<TxId> {
        let lifetime = self.config.lifetime;
        let is_old = |e: &Entry| e.taken.is_none() && e.arrived.plus(lifetime) <= now;
        let old: Vec<(Address, u64)> = self
            .queued
            .values()
            .filter(|(a, n)| self.senders.get(a).and_then(|s| s.entries.get(n)).is_some_and(is_old))
            .copied()
            .collect();
        old.into_iter().filter_map(|(address, nonce)| self.remove(&address, nonce)).collect()
    }
}
