//! What a transaction costs before anything runs. A transfer's gas depends on nothing but its
//! payload, so it is known at admission and when a block is packed.

use qbind_types::{Address, Payload, Transaction};

/// Every transfer.
pub const GAS_BASE: u64 = 21_000;
/// Each account read.
pub const GAS_ACCOUNT_READ: u64 = 2_600;
/// Each account written.
pub const GAS_ACCOUNT_WRITE: u64 = 5_000;
/// Each byte of payload.
pub const GAS_PAYLOAD_BYTE: u64 = 16;
/// The gas limit of a v0 payload, which has no field for it.
pub const GAS_IMPLIED_V0: u64 = 50_000;

/// The gas a transfer uses: reads and writes one account (to oneself) or two.
pub fn transfer_gas(sender: &Address, payload: &Payload) -> u64 {
    let accounts = if payload.recipient() == *sender { 1 } else { 2 };
    let bytes = match payload {
        Payload::V0(_) => 48,
        Payload::V1(_) => 72,
        Payload::Call(..) => payload.encode().len() as u64,
    };
    GAS_BASE + accounts * (GAS_ACCOUNT_READ + GAS_ACCOUNT_WRITE) + GAS_PAYLOAD_BYTE * bytes
}

/// The most block gas `tx` takes up: exactly what it uses; nothing if its payload is malformed,
/// because then it is skipped.
///
/// Not the gas limit its sender states: transfers cannot use more than this, and a sender could
/// otherwise fill a block with one large number.
pub fn gas_bound(tx: &Transaction) -> u64 {
    Payload::decode(&tx.payload).map_or(0, |payload| transfer_gas(&tx.sender, &payload))
}

/// Gas limit and price: stated by v1, implied by v0.
pub(crate) fn offer(payload: &Payload) -> (u64, u128) {
    match payload {
        Payload::V0(_) => (GAS_IMPLIED_V0, 0),
        Payload::V1(t) | Payload::Call(t, _) => (t.gas_limit, t.max_fee_per_gas),
    }
}

/// The most `tx` may take from its sender: amount and gas limit at the offered price.
///
/// `None` if the payload is malformed or the sum exceeds any possible balance.
pub fn max_spend(tx: &Transaction) -> Option<u128> {
    let payload = Payload::decode(&tx.payload).ok()?;
    let (limit, price) = offer(&payload);
    u128::from(limit).checked_mul(price)?.checked_add(payload.amount())
}

/// Which of two transactions goes first; greater goes first, and of equals the earlier arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FeePriority {
    /// Price of one unit of gas.
    pub max_fee_per_gas: u128,
    /// Gas limit times price, saturating.
    pub max_fee: u128,
}

/// The fee priority of `tx`; zero for v0 and malformed payloads.
pub fn fee_priority(tx: &Transaction) -> FeePriority {
    let Ok(payload) = Payload::decode(&tx.payload) else {
        return FeePriority::default();
    };
    let (limit, price) = offer(&payload);
    FeePriority { max_fee_per_gas: price, max_fee: u128::from(limit).saturating_mul(price) }
}
