//! Why a transaction is not accepted.

use thiserror::Error;

/// Why a transaction is not accepted; [`Rejection::code`] is what a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Rejection {
    /// The nonce was used, or is too far ahead.
    #[error("nonce {nonce} outside {first} to {last}, which this account may use now")]
    Nonce {
        /// The transaction's.
        nonce: u64,
        /// The account's next.
        first: u64,
        /// The end of the window.
        last: u64,
    },
    /// It wants more gas than any batch offers.
    #[error("gas limit {gas} above {most}")]
    GasLimit {
        /// The transaction's.
        gas: u64,
        /// The most one transaction may ask for.
        most: u64,
    },
    /// The account cannot pay for this and what it has pending.
    #[error("needs {needed} with what is pending, has {balance}")]
    Balance {
        /// Amounts and highest fees together.
        needed: u128,
        /// Committed balance.
        balance: u128,
    },
    /// A pending transaction of the same nonce would have to be outbid.
    #[error("fee {fee} per gas, replacing needs {needed}")]
    FeeLow {
        /// The transaction's.
        fee: u128,
        /// Ten per cent more than the pending one's.
        needed: u128,
    },
    /// The sender has too many transactions or bytes pending.
    #[error("sender has {transactions} transactions of {bytes} bytes pending")]
    SenderLimit {
        /// Pending now.
        transactions: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The pool, or the queue of uncommitted batches, is full of better paid transactions.
    #[error("full with {pending} pending")]
    Full {
        /// Transactions in the pool.
        pending: usize,
    },
    /// Too many transactions were evicted in this interval.
    #[error("eviction limit of this interval reached")]
    Rate,
    /// This very transaction, or one that is already in a batch under its nonce, is pending.
    #[error("already pending")]
    Duplicate,
}

impl Rejection {
    /// The stable code of the HTTP API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nonce { .. } => "E_NONCE",
            Self::GasLimit { .. } => "E_GAS_LIMIT",
            Self::Balance { .. } => "E_BALANCE",
            Self::FeeLow { .. } => "E_FEE_LOW",
            Self::SenderLimit { .. } => "E_SENDER_LIMIT",
            Self::Full { .. } => "E_FULL",
            Self::Rate => "E_RATE",
            Self::Duplicate => "E_DUPLICATE",
        }
    }

    /// What to try next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Nonce { .. } => "read the account's nonce and sign again",
            Self::GasLimit { .. } => "lower the gas limit",
            Self::Balance { .. } => "lower the amount or the fee, or fund the account",
            Self::FeeLow { .. } => "raise max_fee_per_gas, or wait for the pending transaction",
            Self::SenderLimit { .. } => "wait until pending transactions of this sender commit",
            Self::Full { .. } => "retry later, or pay a higher fee per gas",
            Self::Rate => "retry after the eviction interval",
            Self::Duplicate => "ask for the status of the pending transaction",
        }
    }
}
