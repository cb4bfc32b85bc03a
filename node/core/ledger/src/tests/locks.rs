//! What genesis locks until later stays where it is.

use super::{address, ledger, v1};
use crate::{
    Applied, BlockInput, FailureReason, Ledger, Lock, Locks, Params, Rejection, SerialRunner,
    SkipReason, Status,
};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{Epoch, Millis, Transaction};

const FEE: u128 = 37_352;
const UNTIL: Millis = Millis(5_000);

/// Account 1 holds 1,000,000, of which `amount` is locked.
fn locked(amount: u128) -> Ledger {
    let locks = BTreeMap::from([(address(1), Lock { amount, until: UNTIL })]);
    let params = Params { locks: Locks::new(locks), ..Params::mainnet() };
    ledger(params, 3, 1_000_000)
}

fn apply_at(ledger: &mut Ledger, time: u64, transactions: &[Transaction]) -> Applied {
    let transactions: Vec<&Transaction> = transactions.iter().collect();
    let block = BlockInput {
        height: ledger.height().next(),
        epoch: Epoch(0),
        time: Millis(time),
        proposer: super::PROPOSER,
        transactions: &transactions,
    };
    ledger.apply(&block, &SerialRunner, &crate::NoEvidence)
}

#[test]
fn locked_money_pays_neither_amount_nor_fee_before_its_time() {
    let free = 1_000_000 - 900_000;
    for (amount, status) in [
        (free - FEE, Status::Success),
        (free - FEE + 1, Status::Failed(FailureReason::InsufficientBalance)),
    ] {
        let mut ledger = locked(900_000);
        let applied = apply_at(&mut ledger, 4_999, &[v1(1, 0, 2, amount, 1)]);
        assert_eq!(applied.receipts[0].status, status, "{amount}");
    }
    let mut all = locked(1_000_000);
    let applied = apply_at(&mut all, 4_999, &[v1(1, 0, 2, 0, 1), v1(2, 0, 1, 5, 1)]);
    assert_eq!(applied.receipts[0].status, Status::Skipped(SkipReason::FeeUnpayable));
    assert_eq!(applied.receipts[1].status, Status::Success, "a locked account still receives");
}

#[test]
fn it_is_free_in_the_first_block_of_its_time() {
    let mut ledger = locked(1_000_000);
    let applied = apply_at(&mut ledger, 5_000, &[v1(1, 0, 2, 900_000, 1)]);
    assert_eq!(applied.receipts[0].status, Status::Success);
}

#[test]
fn the_mempool_refuses_what_a_lock_holds_back() {
    let mut ledger = locked(1_000_000);
    let tx = v1(1, 0, 2, 10, 1);
    let refused = ledger.admit(&tx, 0, 0);
    assert!(matches!(refused, Err(Rejection::Balance { balance: 0, .. })), "{refused:?}");
    apply_at(&mut ledger, 5_000, &[]);
    assert_eq!(ledger.admit(&tx, 0, 0), Ok(()));
}
