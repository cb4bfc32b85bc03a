//! Blocks in which every kind of transaction that must not succeed occurs: each reason is counted,
//! and serial and parallel execution give it to the same transactions.

use super::{
    drive::{Outcome, Subject, drive},
    workload::{address, blank, blank_transfer},
};
use crate::result::{Check, Scenario};
use qbind_ledger::{Account, FailureReason, Ledger, LevelRunner, Params, SkipReason};
use qbind_types::{Address, Payload, REGISTRY, RegistryCall, Transaction, TransferV0, TransferV1};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

const SENDERS: usize = 48;
const BLOCKS: u64 = 40;
const BALANCE: u128 = 1_000_000_000;
/// Holds enough for a fee at price 1 and not at price 2.
const POOR: u128 = 60_000;
/// Room for the sound transfers of a block and not for the last ones.
const BLOCK_GAS: u64 = 24 * 37_352;

/// Every reason to skip a transaction.
pub(super) const SKIPS: [SkipReason; 6] = [
    SkipReason::Payload,
    SkipReason::GasLimit,
    SkipReason::FeeLow,
    SkipReason::Nonce,
    SkipReason::FeeUnpayable,
    SkipReason::BlockGas,
];
/// Every reason for a transaction to fail.
pub(super) const FAILURES: [FailureReason; 2] =
    [FailureReason::InsufficientBalance, FailureReason::Registry];

fn poor(n: usize) -> Address {
    address(1_000 + n)
}

fn genesis(params: Params) -> Ledger {
    let rich = (0..SENDERS).map(|n| (address(n), Account { nonce: 0, balance: BALANCE }));
    let blocks = usize::try_from(BLOCKS).expect("a few");
    let poor = (0..blocks).map(|n| (poor(n), Account { nonce: 0, balance: POOR }));
    super::workload::ledger_of(params, rich.chain(poor))
}

/// A call about a validator that does not exist.
fn call(from: Address, nonce: u64, price: u128) -> Transaction {
    let t =
        TransferV1 { recipient: REGISTRY, amount: 5, gas_limit: 100_000, max_fee_per_gas: price };
    blank(from, nonce, Payload::Call(t, Box::new(RegistryCall::Leave { id: 77 })).encode())
}

/// One transaction of every kind and sound ones around them, in an order drawn from the seed; what
/// comes last is beyond the block's gas.
fn block(rng: &mut ChaCha8Rng, ledger: &Ledger) -> Vec<Transaction> {
    let mut places: Vec<usize> = (0..SENDERS).collect();
    places.shuffle(rng);
    let mut sender = places.into_iter().map(address);
    let mut next = || {
        let from = sender.next().expect("more senders than transactions");
        (from, ledger.account(&from).nonce)
    };
    let to = address(rng.random_range(0..SENDERS));
    let transfer = TransferV1 { recipient: to, amount: 9, gas_limit: 50_000, max_fee_per_gas: 2 };
    let v1 = |change: TransferV1| Payload::V1(change).encode();
    let mut all = Vec::new();
    let mut odd = |payload: Vec<u8>| {
        let (from, nonce) = next();
        all.push(blank(from, nonce, payload));
    };
    odd(vec![0; 17]);
    odd(Payload::V0(TransferV0 { recipient: to, amount: 9 }).encode());
    odd(v1(TransferV1 { gas_limit: 29_000, ..transfer }));
    odd(v1(TransferV1 { gas_limit: BLOCK_GAS + 1, ..transfer }));
    odd(v1(TransferV1 { max_fee_per_gas: 0, ..transfer }));
    odd(v1(TransferV1 { max_fee_per_gas: u128::MAX, ..transfer }));
    odd(v1(TransferV1 { amount: BALANCE * 1_000, ..transfer }));
    let (from, nonce) = next();
    all.push(blank_transfer(from, nonce + 1, to, 9, 2));
    let (from, nonce) = next();
    all.push(call(from, nonce, 2));
    // The first cannot pay, so the second's nonce never comes: seen only when it runs.
    let from = poor(usize::try_from(ledger.height().0).expect("a few"));
    let nonce = ledger.account(&from).nonce;
    let pair = [blank_transfer(from, nonce, to, 9, 2), blank_transfer(from, nonce + 1, to, 9, 1)];
    for _ in 0..16 {
        let (from, nonce) = next();
        all.push(blank_transfer(from, nonce, to, 9, rng.random_range(1..=4)));
    }
    all.shuffle(rng);
    let place = rng.random_range(0..=all.len());
    all.splice(place..place, pair);
    // Sent again: its nonce is used.
    let again = all.iter().find(|tx| tx.payload.len() == 72).cloned();
    all.extend(again);
    for _ in 0..12 {
        let (from, nonce) = next();
        all.push(blank_transfer(from, nonce, to, 9, 1));
    }
    all
}

fn run(seed: u64, subjects: &[Subject<'_>]) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    drive(BLOCKS, &genesis, &mut |ledger| block(&mut rng, ledger), subjects)
}

fn params() -> Params {
    Params { block_gas_limit: BLOCK_GAS, ..Params::mainnet() }
}

fn judge(seed: u64, outcome: &Outcome) -> Scenario {
    let in_all = |what: String, count: u64| {
        Check::that(what, format!(">= {BLOCKS}"), count, count >= BLOCKS)
    };
    let mut checks: Vec<Check> = Vec::new();
    for reason in SKIPS {
        let count = outcome.skipped.get(&reason).copied().unwrap_or(0);
        checks.push(in_all(format!("skipped: {}", name(&reason)), count));
    }
    for reason in FAILURES {
        let count = outcome.failed.get(&reason).copied().unwrap_or(0);
        checks.push(in_all(format!("failed: {}", name(&reason)), count));
    }
    checks.push(Check::equal("blocks run in parallel", BLOCKS, outcome.parallel));
    checks.extend(outcome.checks());
    let mut scenario = Scenario::new("every_kind_of_failure", checks)
        .fact("seed", seed)
        .fact("transactions_succeeded", outcome.succeeded);
    for (reason, count) in &outcome.skipped {
        scenario = scenario.fact(format!("skipped_{}", name(reason)), *count);
    }
    for (reason, count) in &outcome.failed {
        scenario = scenario.fact(format!("failed_{}", name(reason)), *count);
    }
    let summary = format!(
        "{} skipped for {} reasons, {} failed for {}",
        outcome.skips(),
        outcome.skipped.len(),
        outcome.failures(),
        outcome.failed.len()
    );
    scenario.summed_up(summary)
}

/// As it is written in receipts.
fn name(reason: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(reason).expect("a word");
    value.as_str().unwrap_or_default().to_owned()
}

/// The scenario.
pub(super) fn scenario(seed: u64, runners: &[&dyn LevelRunner]) -> Scenario {
    let subjects: Vec<Subject<'_>> = runners.iter().map(|r| Subject::under(params(), *r)).collect();
    judge(seed, &run(seed, &subjects))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_ledger::{SerialRunner, Status};

    fn failing(report: fn(&mut qbind_ledger::Applied)) -> Vec<String> {
        let subject = Subject { report, ..Subject::under(params(), &SerialRunner) };
        let scenario = judge(5, &run(5, &[subject]));
        scenario.checks.into_iter().filter(|c| !c.ok).map(|c| c.name).collect()
    }

    #[test]
    fn every_reason_occurs_in_every_block() {
        assert_eq!(failing(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn a_reason_that_never_occurs_and_one_given_to_another_transaction_are_noticed() {
        let never = failing(|applied| {
            applied.receipts.retain(|r| r.status != Status::Skipped(SkipReason::BlockGas));
        });
        assert!(never.contains(&"skipped: block_gas".to_owned()), "{never:?}");
        let swapped = failing(|applied| {
            if let Some(receipt) = applied.receipts.iter_mut().find(|r| r.is_success()) {
                receipt.status = Status::Failed(FailureReason::Registry);
            }
        });
        assert!(swapped.contains(&"receipt status divergence".to_owned()), "{swapped:?}");
    }
}
