//! One sender's pending transactions in nonce order.

use super::entry::{Entry, Standing};
use alloc::collections::BTreeMap;

/// One sender's pending transactions.
#[derive(Debug, Default, Clone)]
pub(super) struct Sender {
    /// Transfers this account has committed, as far as this pool knows.
    pub(super) committed: u64,
    /// What it can spend, as far as this pool knows.
    pub(super) spendable: Option<u128>,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) bytes: usize,
    pub(super) cost: u128,
    /// Length of the unbroken run of untaken transactions from `next`.
    pub(super) ready: usize,
}

impl Sender {
    /// Notes what the ledger says of the account.
    pub(super) fn learn(&mut self, account: Standing) {
        self.committed = self.committed.max(account.nonce);
        self.spendable = Some(account.spendable);
    }

    /// Whether it cannot pay for everything here any more.
    pub(super) fn is_short(&self) -> bool {
        self.spendable.is_some_and(|spendable| self.cost > spendable)
    }

    /// Whether a nonce is missing before its last transaction.
    pub(super) fn has_gap(&self) -> bool {
        let end = self.next().saturating_add(self.ready as u64);
        self.tail().is_some_and(|tail| tail >= end)
    }

    /// The only nonce that may be taken now.
    pub(super) fn next(&self) -> u64 {
        let after_taken = self
            .entries
            .iter()
            .rev()
            .find(|(_, e)| e.taken.is_some())
            .map_or(0, |(nonce, _)| nonce.saturating_add(1));
        self.committed.max(after_taken)
    }

    /// Lengthens the run by what now follows it.
    pub(super) fn extend_run(&mut self) {
        let first = self.next().saturating_add(self.ready as u64);
        self.ready += self
            .entries
            .range(first..)
            .zip(first..)
            .take_while(|((nonce, entry), expected)| *nonce == expected && entry.taken.is_none())
            .count();
    }

    /// Measures the run again, after anything but an insertion.
    pub(super) fn measure_run(&mut self) {
        self.ready = 0;
        self.extend_run();
    }

    /// The last untaken nonce: the only one that may be evicted without opening a gap.
    pub(super) fn tail(&self) -> Option<u64> {
        self.entries.iter().rev().find(|(_, e)| e.taken.is_none()).map(|(nonce, _)| *nonce)
    }
}
