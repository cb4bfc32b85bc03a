//! What can be said about a block's transactions before any of them runs.
//!
//! Everything here depends on the transactions and on the senders' nonces before the block, never
//! on a balance, so that it is the same however the rest is executed.

use crate::{Account, Execution, Params, Rejection, SkipReason, admission, gas};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{Address, Payload, RegistryCall, Transaction};

/// A transaction that will be tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Place in the block's transaction list.
    pub(crate) tx_index: usize,
    /// Place of the sender in [`Plan::touched`].
    pub(crate) sender: usize,
    /// Place of the recipient; the sender's own where nothing moves.
    pub(crate) recipient: usize,
    /// The nonce the sender must have.
    pub(crate) nonce: u64,
    /// What moves.
    pub(crate) amount: u128,
    /// Gas used.
    pub(crate) gas: u64,
    /// Gas times price.
    pub(crate) fee: u128,
}

/// A block, sorted out.
pub(crate) struct Plan {
    /// To be tried, in block order.
    pub(crate) runs: Vec<Run>,
    /// Without effect, by place in the block's transaction list.
    pub(crate) skipped: Vec<(usize, SkipReason)>,
    /// Every account a run reads or writes, and what it was before the block.
    pub(crate) touched: Vec<(Address, Account)>,
    /// Calls to the registry, each with the place of its run, in block order.
    pub(crate) calls: Vec<(usize, RegistryCall)>,
}

/// Sorts out a block: payload, gas limit and price; then nonce order; then block gas.
///
/// Of several transactions with one nonce, the first is tried and the others are skipped, even if
/// the first turns out to be unable to pay: clients may hand one transaction to several
/// validators, and its copies must not take block gas. From the first transaction that does not
/// fit, the block is closed.
pub(crate) fn plan(
    params: &Params,
    transactions: &[&Transaction],
    account: impl Fn(&Address) -> Account,
) -> Plan {
    let mut interner = Interner { places: BTreeMap::new(), touched: Vec::new() };
    let mut plan =
        Plan { runs: Vec::new(), skipped: Vec::new(), touched: Vec::new(), calls: Vec::new() };
    let mut next_nonce: BTreeMap<Address, u64> = BTreeMap::new();
    let mut gas_left = if params.gas_enabled { params.block_gas_limit } else { u64::MAX };
    let mut closed = false;
    for (tx_index, &tx) in transactions.iter().enumerate() {
        let payload = match admission::check_offer(params, tx) {
            Ok(payload) => payload,
            Err(rejection) => {
                plan.skipped.push((tx_index, skip_reason(&rejection)));
                continue;
            }
        };
        if closed {
            plan.skipped.push((tx_index, SkipReason::BlockGas));
            continue;
        }
        let expected = next_nonce.entry(tx.sender).or_insert_with(|| account(&tx.sender).nonce);
        if tx.nonce != *expected || tx.nonce == u64::MAX {
            plan.skipped.push((tx_index, SkipReason::Nonce));
            continue;
        }
        let (gas, fee) = match cost(params, tx, &payload) {
            Some(cost) => cost,
            None => {
                plan.skipped.push((tx_index, SkipReason::FeeUnpayable));
                continue;
            }
        };
        match gas_left.checked_sub(gas) {
            Some(left) => gas_left = left,
            None => {
                closed = true;
                plan.skipped.push((tx_index, SkipReason::BlockGas));
                continue;
            }
        }
        *expected += 1;
        let sender = interner.place(tx.sender, &account);
        let (recipient, amount) = match params.execution {
            Execution::Transfers => {
                (interner.place(payload.recipient(), &account), payload.amount())
            }
            Execution::NonceOnly => (sender, 0),
        };
        if let Payload::Call(_, call) = payload {
            plan.calls.push((plan.runs.len(), *call));
        }
        plan.runs.push(Run { tx_index, sender, recipient, nonce: tx.nonce, amount, gas, fee });
    }
    plan.touched = interner.touched;
    plan
}

/// Gas used and fee; `None` if the fee exceeds any possible balance.
fn cost(params: &Params, tx: &Transaction, payload: &Payload) -> Option<(u64, u128)> {
    if params.execution == Execution::NonceOnly {
        return Some((0, 0));
    }
    let gas = gas::transfer_gas(&tx.sender, payload);
    let price = if params.gas_enabled { gas::offer(payload).1 } else { 0 };
    Some((gas, u128::from(gas).checked_mul(price)?))
}

fn skip_reason(rejection: &Rejection) -> SkipReason {
    match rejection {
        Rejection::PayloadLength { .. } | Rejection::PayloadVersion | Rejection::Registry(_) => {
            SkipReason::Payload
        }
        Rejection::GasLimit { .. } => SkipReason::GasLimit,
        Rejection::FeeLow { .. } => SkipReason::FeeLow,
        Rejection::Nonce { .. } => SkipReason::Nonce,
        Rejection::Balance { .. } => SkipReason::FeeUnpayable,
    }
}

/// Gives each address a place in `touched`.
struct Interner {
    places: BTreeMap<Address, usize>,
    touched: Vec<(Address, Account)>,
}

impl Interner {
    fn place(&mut self, address: Address, account: &impl Fn(&Address) -> Account) -> usize {
        *self.places.entry(address).or_insert_with(|| {
            self.touched.push((address, account(&address)));
            self.touched.len() - 1
        })
    }
}
