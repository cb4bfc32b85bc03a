//! Whether a transaction may enter the mempool.

use crate::{Account, Params, Refusal, gas};
use alloc::string::{String, ToString};
use qbind_types::{Payload, Transaction};

/// Why a transaction may not enter; the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The nonce was used, or leaves a gap.
    #[error("nonce {got} is not between {committed} (committed) and {next} (after pending)")]
    Nonce {
        /// What the transaction says.
        got: u64,
        /// The account's nonce.
        committed: u64,
        /// The nonce after the sender's pending transactions.
        next: u64,
    },
    /// Amount and highest possible fee, with what is pending, exceed the balance.
    #[error("balance {balance} does not cover {needed} (amount, highest fee and pending)")]
    Balance {
        /// What the sender holds.
        balance: u128,
        /// What it would need.
        needed: u128,
    },
    /// The price is below the network's minimum.
    #[error("fee per gas {got} is below the minimum {minimum}")]
    FeeLow {
        /// What the transaction offers; v0 payloads offer zero.
        got: u128,
        /// What the network asks.
        minimum: u128,
    },
    /// The gas limit is below what the transfer uses or above what a block holds.
    #[error("gas limit {got} is outside {needed} (this transfer) to {maximum} (a block)")]
    GasLimit {
        /// What the transaction allows.
        got: u64,
        /// What the transfer uses.
        needed: u64,
        /// What a block holds.
        maximum: u64,
    },
    /// The payload has no known length.
    #[error("payload of {got} bytes is neither a transfer (48 or 72) nor a call to the registry")]
    PayloadLength {
        /// Bytes given.
        got: usize,
    },
    /// A v1 payload, or a call, where gas is off.
    #[error("a payload of 72 bytes or more is not taken here: gas is off")]
    PayloadVersion,
    /// The validators' registry would not take the call.
    #[error("the registry refuses: {0}")]
    Registry(Refusal),
}

impl Rejection {
    /// The code the HTTP API answers with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nonce { .. } => "E_NONCE",
            Self::Balance { .. } => "E_BALANCE",
            Self::FeeLow { .. } => "E_FEE_LOW",
            Self::GasLimit { .. } => "E_GAS_LIMIT",
            Self::PayloadLength { .. } | Self::PayloadVersion => "E_PAYLOAD",
            Self::Registry(_) => "E_REGISTRY",
        }
    }

    /// What to try next.
    pub fn hint(&self) -> String {
        match self {
            Self::Nonce { .. } => "read the account's nonce and sign again".to_string(),
            Self::Balance { .. } => "send less, or lower gas limit or price".to_string(),
            Self::FeeLow { minimum, .. } => {
                alloc::format!("use a 72-byte payload with at least {minimum} per unit of gas")
            }
            Self::GasLimit { needed, .. } => alloc::format!("set the gas limit to {needed}"),
            Self::PayloadLength { .. } => {
                "recipient 32, amount 16; with gas also limit 8, price 16; big-endian".to_string()
            }
            Self::PayloadVersion => "leave out gas limit and price (48 bytes)".to_string(),
            Self::Registry(_) => "read the validators' registry and correct the call".to_string(),
        }
    }
}

/// The rules that need no state: payload version, gas limit and price.
pub(crate) fn check_offer(params: &Params, tx: &Transaction) -> Result<Payload, Rejection> {
    let payload = Payload::decode(&tx.payload)
        .map_err(|error| Rejection::PayloadLength { got: error.got })?;
    if !params.gas_enabled {
        return match payload {
            Payload::V0(_) => Ok(payload),
            Payload::V1(_) | Payload::Call(..) => Err(Rejection::PayloadVersion),
        };
    }
    let (limit, price) = gas::offer(&payload);
    let needed = gas::transfer_gas(&tx.sender, &payload);
    if limit < needed || limit > params.block_gas_limit {
        return Err(Rejection::GasLimit { got: limit, needed, maximum: params.block_gas_limit });
    }
    if price < params.min_fee_per_gas {
        return Err(Rejection::FeeLow { got: price, minimum: params.min_fee_per_gas });
    }
    Ok(payload)
}

/// All rules, against the sender's `account` and what it has pending.
pub(crate) fn admit(
    params: &Params,
    account: Account,
    tx: &Transaction,
    pending_nonce: u64,
    pending_spend: u128,
) -> Result<Payload, Rejection> {
    let payload = check_offer(params, tx)?;
    let next = pending_nonce.max(account.nonce);
    // The last nonce there is cannot be used up: no nonce comes after it.
    if tx.nonce < account.nonce || tx.nonce > next || tx.nonce == u64::MAX {
        return Err(Rejection::Nonce { got: tx.nonce, committed: account.nonce, next });
    }
    let needed = gas::max_spend(tx).unwrap_or(u128::MAX).saturating_add(pending_spend);
    // A spend that saturates can be paid by nobody, not even by the holder of everything.
    let is_covered = match params.execution {
        crate::Execution::Transfers => needed <= account.balance && needed < u128::MAX,
        crate::Execution::NonceOnly => gas::max_spend(tx).is_some(),
    };
    if !is_covered {
        return Err(Rejection::Balance { balance: account.balance, needed });
    }
    Ok(payload)
}
