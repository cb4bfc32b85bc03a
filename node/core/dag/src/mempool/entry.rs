//! One pending transaction and its place in the order.

use borsh::{BorshDeserialize, BorshSerialize};
use core::cmp::Reverse;
use qbind_crypto::Verified;
use qbind_types::{Millis, Transaction, TxId};

/// What the ledger says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its committed nonce: transfers made so far.
    pub nonce: u64,
    /// What of its balance it may spend.
    pub spendable: u128,
}

/// A client's transaction with what the ledger says about it.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The transaction, its signature checked.
    pub transaction: Verified<Transaction>,
    /// Its id.
    pub id: TxId,
    /// The sender.
    pub account: Standing,
    /// Amount and highest possible fee.
    pub cost: u128,
    /// What it bids for one unit of gas.
    pub fee_per_gas: u128,
    /// The most gas it may use.
    pub gas: u64,
    /// When it came.
    pub now: Millis,
}

/// An accepted transaction, as it is stored until it is committed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PendingTransaction {
    /// The transaction.
    pub transaction: Transaction,
    /// Its id.
    pub id: TxId,
    /// Amount and highest possible fee.
    pub cost: u128,
    /// What it bids for one unit of gas.
    pub fee_per_gas: u128,
    /// The most gas it may use.
    pub gas: u64,
}

impl From<Submission> for PendingTransaction {
    fn from(submission: Submission) -> Self {
        Self {
            transaction: submission.transaction.into_inner(),
            id: submission.id,
            cost: submission.cost,
            fee_per_gas: submission.fee_per_gas,
            gas: submission.gas,
        }
    }
}

/// Higher goes first: fee per gas, then whole fee, then earlier arrival. Unique by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority {
    fee_per_gas: u128,
    fee: u128,
    arrival: Reverse<u64>,
}

/// A pending transaction in the pool.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) pending: PendingTransaction,
    pub(super) priority: Priority,
    pub(super) bytes: usize,
    pub(super) arrived: Millis,
    /// When it was handed out, if it is in a batch or forwarded.
    pub(super) taken: Option<Millis>,
    /// Times it was handed out and had to come back.
    pub(super) attempts: u32,
}

impl Entry {
    pub(super) fn new(
        pending: PendingTransaction,
        by_fee: bool,
        arrival: u64,
        arrived: Millis,
    ) -> Self {
        let (fee_per_gas, fee) = if by_fee {
            (pending.fee_per_gas, pending.fee_per_gas.saturating_mul(u128::from(pending.gas)))
        } else {
            (0, 0)
        };
        let priority = Priority { fee_per_gas, fee, arrival: Reverse(arrival) };
        let bytes = transaction_bytes(&pending.transaction);
        Self { pending, priority, bytes, arrived, taken: None, attempts: 0 }
    }
}

/// Length of the canonical encoding of a transaction.
pub fn transaction_bytes(transaction: &Transaction) -> usize {
    qbind_types::limits::TRANSACTION_BYTES - qbind_types::limits::TRANSFER_BYTES
        + transaction.payload.len()
}
