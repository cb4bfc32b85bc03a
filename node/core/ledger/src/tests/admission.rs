use super::{ledger, v0, v1};
use crate::{FeePriority, Params, fee_priority, gas_bound};
use qbind_types::{Payload, Transaction, TransferV1};

/// The code admission answers with, or `ok`.
#[track_caller]
fn check(params: Params, tx: &Transaction, pending: (u64, u128), expected: &str) {
    let got = match ledger(params, 3, 1_000_000).admit(tx, pending.0, pending.1) {
        Ok(()) => "ok",
        Err(rejection) => {
            assert!(!rejection.hint().is_empty());
            rejection.code()
        }
    };
    assert_eq!(got, expected);
}

fn with_gas_limit(gas_limit: u64) -> Transaction {
    let mut tx = v1(1, 0, 2, 10, 1);
    let Ok(Payload::V1(t)) = Payload::decode(&tx.payload) else { panic!("made as v1") };
    tx.payload = Payload::V1(TransferV1 { gas_limit, ..t }).encode();
    tx
}

#[test]
fn admits_by_nonce_between_committed_and_next() {
    let mainnet = Params::mainnet;
    check(mainnet(), &v1(1, 0, 2, 10, 1), (0, 0), "ok");
    check(mainnet(), &v1(1, 1, 2, 10, 1), (0, 0), "E_NONCE");
    check(mainnet(), &v1(1, 1, 2, 10, 1), (1, 0), "ok");
    check(mainnet(), &v1(1, 3, 2, 10, 1), (2, 0), "E_NONCE");
    check(mainnet(), &v1(1, u64::MAX, 2, 10, 1), (u64::MAX, 0), "E_NONCE");
    let mut later = ledger(mainnet(), 3, 1_000_000);
    super::apply(&mut later, &[v1(1, 0, 2, 10, 1)]);
    let used = later.admit(&v1(1, 0, 2, 10, 1), 0, 0);
    assert_eq!(used.map_err(|r| r.code()), Err("E_NONCE"));
}

#[test]
fn balance_covers_amount_highest_fee_and_pending() {
    // Gas limit 50,000 at price 1: 950,000 remain of a million.
    check(Params::mainnet(), &v1(1, 0, 2, 950_000, 1), (0, 0), "ok");
    check(Params::mainnet(), &v1(1, 0, 2, 950_001, 1), (0, 0), "E_BALANCE");
    check(Params::mainnet(), &v1(1, 0, 2, 900_000, 1), (0, 50_000), "ok");
    check(Params::mainnet(), &v1(1, 0, 2, 900_000, 1), (0, 50_001), "E_BALANCE");
    check(Params::mainnet(), &v1(1, 0, 2, 1, u128::MAX), (0, 0), "E_BALANCE");
    check(Params::mainnet(), &v1(1, 0, 2, u128::MAX, 1), (0, 0), "E_BALANCE");
    check(Params::mainnet(), &v1(9, 0, 2, 0, 1), (0, 0), "E_BALANCE");
}

#[test]
fn gas_decides_on_payload_versions() {
    check(Params::mainnet(), &v0(1, 0, 2, 10), (0, 0), "E_FEE_LOW");
    let free_gas = Params { min_fee_per_gas: 0, ..Params::mainnet() };
    check(free_gas, &v0(1, 0, 2, 10), (0, 0), "ok");
    check(Params::testnet_alpha(), &v0(1, 0, 2, 10), (0, 0), "ok");
    check(Params::testnet_alpha(), &v1(1, 0, 2, 10, 1), (0, 0), "E_PAYLOAD");
    check(Params::devnet(), &v0(9, 0, 2, 10), (0, 0), "ok");
    // Nothing moves, but what is admitted can always be summed up.
    let odd_mix = Params { gas_enabled: true, ..Params::devnet() };
    check(odd_mix.clone(), &v1(9, 0, 2, 10, 1), (0, 0), "ok");
    check(odd_mix, &v1(9, 0, 2, 10, u128::MAX), (0, 0), "E_BALANCE");
    let mut odd = v0(1, 0, 2, 10);
    odd.payload.push(0);
    check(Params::mainnet(), &odd, (0, 0), "E_PAYLOAD");
    check(Params::devnet(), &odd, (0, 0), "E_PAYLOAD");
}

#[test]
fn gas_limit_lies_between_transfer_and_block() {
    check(Params::mainnet(), &with_gas_limit(37_351), (0, 0), "E_GAS_LIMIT");
    check(Params::mainnet(), &with_gas_limit(37_352), (0, 0), "ok");
    check(Params::mainnet(), &with_gas_limit(30_000_001), (0, 0), "E_GAS_LIMIT");
}

#[test]
fn price_reaches_the_minimum() {
    check(Params::mainnet(), &v1(1, 0, 2, 10, 0), (0, 0), "E_FEE_LOW");
    let dear = Params { min_fee_per_gas: 5, ..Params::mainnet() };
    check(dear.clone(), &v1(1, 0, 2, 10, 4), (0, 0), "E_FEE_LOW");
    check(dear, &v1(1, 0, 2, 10, 5), (0, 0), "ok");
}

#[test]
fn gas_is_what_the_schedule_of_prices_says() {
    assert_eq!(gas_bound(&v0(1, 0, 2, 1)), 36_968);
    assert_eq!(gas_bound(&v0(1, 0, 1, 1)), 29_368);
    assert_eq!(gas_bound(&v1(1, 0, 2, 1, 1)), 37_352);
    assert_eq!(gas_bound(&v1(1, 0, 1, 1, 1)), 29_752);
}

#[test]
fn priority_is_price_then_highest_fee() {
    let price = |p| FeePriority { max_fee_per_gas: p, max_fee: 50_000 * p };
    assert_eq!(fee_priority(&v1(1, 0, 2, 1, 7)), price(7));
    assert!(fee_priority(&v1(1, 0, 2, 1, 7)) > fee_priority(&v1(1, 0, 2, 1, 6)));
    assert!(fee_priority(&with_gas_limit(60_000)) > fee_priority(&with_gas_limit(40_000)));
    assert_eq!(fee_priority(&v0(1, 0, 2, 1)), price(0));
}
