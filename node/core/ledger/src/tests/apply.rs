use super::{PROPOSER, address, apply, ledger, v0, v1};
use crate::{FailureReason, FeeSplit, Mode, Params, SerialReason, SkipReason, Status};
use alloc::vec::Vec;

const GAS: u128 = 37_352;

#[test]
fn a_transfer_moves_amount_and_shares_the_fee() {
    let mut ledger = ledger(Params::mainnet(), 2, 1_000_000);
    let applied = apply(&mut ledger, &[v1(1, 0, 2, 100, 3)]);
    let receipt = &applied.receipts[0];
    assert_eq!((receipt.status, receipt.gas_used), (Status::Success, 37_352));
    assert_eq!((receipt.fee, receipt.burned), (3 * GAS, 3 * GAS / 2));
    assert_eq!(ledger.account(&address(1)).balance, 1_000_000 - 100 - 3 * GAS);
    assert_eq!(ledger.account(&address(1)).nonce, 1);
    assert_eq!(ledger.account(&address(2)).balance, 1_000_100);
    assert_eq!(ledger.account(&PROPOSER).balance, 3 * GAS / 2);
    assert_eq!((ledger.burned(), applied.burned), (3 * GAS / 2, 3 * GAS / 2));
    assert_eq!(applied.changes.len(), 3);
}

#[test]
fn an_odd_fee_is_rounded_down_for_the_proposer() {
    // 37,352 at a third is no whole number.
    let split = FeeSplit::new(6_667, 3_333).expect("a whole");
    let params = Params { fee_split: split, ..Params::mainnet() };
    let mut ledger = ledger(params, 2, 1_000_000);
    let applied = apply(&mut ledger, &[v1(1, 0, 2, 100, 1)]);
    assert_eq!(ledger.account(&PROPOSER).balance, 12_449);
    assert_eq!(applied.burned, GAS - 12_449);
}

#[test]
fn a_transfer_that_cannot_pay_its_amount_burns_nonce_and_fee() {
    let mut ledger = ledger(Params::mainnet(), 2, 100_000);
    let applied = apply(&mut ledger, &[v1(1, 0, 2, 99_999, 1), v1(1, 1, 2, 5, 1)]);
    assert_eq!(applied.receipts[0].status, Status::Failed(FailureReason::InsufficientBalance));
    assert_eq!(applied.receipts[0].fee, GAS);
    assert!(applied.receipts[1].is_success());
    assert_eq!(ledger.account(&address(1)).nonce, 2);
    assert_eq!(ledger.account(&address(1)).balance, 100_000 - 2 * GAS - 5);
}

#[test]
fn what_is_skipped_has_no_effect() {
    let mut ledger = ledger(Params::mainnet(), 2, 100_000);
    let before = ledger.state_root();
    let mut malformed = v0(1, 0, 2, 1);
    malformed.payload.truncate(3);
    let block = [
        v1(1, 1, 2, 1, 1),
        v1(1, 0, 2, 1, 0),
        v1(1, 0, 2, 1, u128::MAX),
        v1(1, 0, 2, 1, 3),
        v1(1, 0, 2, 1, 1),
        v1(9, 0, 2, 1, 1),
        v0(1, 0, 2, 1),
        malformed,
    ];
    let applied = apply(&mut ledger, &block);
    let reasons: Vec<Status> = applied.receipts.iter().map(|r| r.status).collect();
    assert_eq!(
        reasons,
        [
            SkipReason::Nonce,
            SkipReason::FeeLow,
            SkipReason::FeeUnpayable,
            SkipReason::FeeUnpayable,
            // The first with a nonce is the one that is tried.
            SkipReason::Nonce,
            SkipReason::FeeUnpayable,
            SkipReason::FeeLow,
            SkipReason::Payload,
        ]
        .map(Status::Skipped)
    );
    assert_eq!(ledger.state_root(), before);
    assert!(applied.changes.is_empty());
}

#[test]
fn a_committed_transaction_never_runs_twice() {
    let mut ledger = ledger(Params::mainnet(), 2, 1_000_000);
    let tx = v1(1, 0, 2, 10, 1);
    let first = apply(&mut ledger, &[tx.clone(), tx.clone()]);
    assert!(first.receipts[0].is_success());
    assert_eq!(first.receipts[1].status, Status::Skipped(SkipReason::Nonce));
    let again = apply(&mut ledger, &[tx]);
    assert_eq!(again.receipts[0].status, Status::Skipped(SkipReason::Nonce));
    assert_eq!(ledger.account(&address(2)).balance, 1_000_010);
}

#[test]
fn a_transfer_to_oneself_costs_the_fee_only() {
    let mut ledger = ledger(Params::mainnet(), 1, 100_000);
    let applied = apply(&mut ledger, &[v1(1, 0, 1, 60_000, 1)]);
    assert!(applied.receipts[0].is_success());
    assert_eq!(ledger.account(&address(1)).balance, 100_000 - 29_752);
}

#[test]
fn a_block_closes_at_its_gas_limit() {
    let params = Params { block_gas_limit: 80_000, ..Params::mainnet() };
    let mut ledger = ledger(params, 5, 1_000_000);
    // Two transfers fit; the third does not, and closes the block for the fourth, which would.
    let block = [v1(1, 0, 2, 1, 1), v1(2, 0, 3, 1, 1), v1(3, 0, 4, 1, 1), v1(4, 0, 4, 1, 1)];
    let applied = apply(&mut ledger, &block);
    let skipped = Status::Skipped(SkipReason::BlockGas);
    let statuses: Vec<Status> = applied.receipts.iter().map(|r| r.status).collect();
    assert_eq!(statuses, [Status::Success, Status::Success, skipped, skipped]);
    // What was skipped can run in the next block.
    assert!(apply(&mut ledger, &block[2..3]).receipts[0].is_success());
}

#[test]
fn duplicates_take_no_block_gas() {
    let params = Params { block_gas_limit: 80_000, ..Params::mainnet() };
    let mut ledger = ledger(params, 5, 1_000_000);
    let tx = v1(1, 0, 2, 1, 1);
    let block = [tx.clone(), tx.clone(), tx, v1(2, 0, 3, 1, 1)];
    assert!(apply(&mut ledger, &block).receipts[3].is_success());
}

#[test]
fn devnet_uses_nonces_and_moves_nothing() {
    let mut ledger = ledger(Params::devnet(), 2, 100);
    let applied = apply(&mut ledger, &[v0(1, 0, 2, 10), v0(9, 0, 2, 10)]);
    assert!(applied.receipts.iter().all(|r| r.is_success() && r.fee == 0));
    assert_eq!(ledger.account(&address(1)).balance, 100);
    assert_eq!(ledger.account(&address(9)).nonce, 1);
}

#[test]
fn alpha_transfers_are_free() {
    let mut ledger = ledger(Params::testnet_alpha(), 2, 100);
    let applied = apply(&mut ledger, &[v0(1, 0, 2, 10)]);
    assert_eq!((applied.receipts[0].fee, applied.receipts[0].gas_used), (0, 36_968));
    assert_eq!(ledger.account(&address(2)).balance, 110);
}

#[test]
fn the_proposer_is_paid_after_the_block() {
    let mut ledger = ledger(Params::mainnet(), 1, 1_000_000);
    // The proposer cannot spend in this block what this block pays it.
    let mut spend = v1(1, 0, 1, 1, 1);
    spend.sender = PROPOSER;
    let applied = apply(&mut ledger, &[v1(1, 0, 2, 1, 4), spend]);
    assert_eq!(applied.receipts[1].status, Status::Skipped(SkipReason::FeeUnpayable));
}

#[test]
fn the_mode_says_how_a_block_ran() {
    let mut on = ledger(Params::mainnet(), 4, 1_000_000);
    assert_eq!(apply(&mut on, &[]).mode, Mode::Serial { why: SerialReason::TooFew });
    let chain = [v1(1, 0, 2, 1, 1), v1(2, 0, 3, 1, 1), v1(4, 0, 5, 1, 1)];
    assert_eq!(apply(&mut on, &chain).mode, Mode::Parallel { levels: 2 });
    let mut off = ledger(Params::testnet_beta(), 4, 1_000_000);
    assert_eq!(apply(&mut off, &chain).mode, Mode::Serial { why: SerialReason::Disabled });
}

#[test]
fn extremes_do_not_overflow() {
    let mut ledger = ledger(Params::mainnet(), 1, u128::MAX);
    let price = u128::MAX / GAS;
    let applied = apply(&mut ledger, &[v1(1, 0, 2, 0, price), v1(1, 1, 2, u128::MAX, 1)]);
    assert!(applied.receipts[0].is_success());
    assert_eq!(applied.receipts[1].status, Status::Skipped(SkipReason::FeeUnpayable));
    assert_eq!(ledger.supply() + ledger.burned(), u128::MAX);
    assert_eq!(FeeSplit::HALF.proposer_part(u128::MAX), u128::MAX / 2);
    let paid = FeeSplit::new(0, 10_000).expect("a whole").proposer_part(u128::MAX);
    assert_eq!(paid, u128::MAX);
}

#[test]
#[should_panic(expected = "blocks are applied one after the other")]
fn a_height_cannot_be_left_out() {
    let mut ledger = ledger(Params::mainnet(), 1, 1);
    let block = crate::BlockInput {
        height: qbind_types::Height(2),
        epoch: qbind_types::Epoch(0),
        time: qbind_types::Millis(0),
        proposer: PROPOSER,
        transactions: &[],
    };
    ledger.apply(&block, &crate::SerialRunner, &crate::NoEvidence);
}
