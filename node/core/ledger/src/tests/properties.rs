//! Random blocks against a second, plain interpreter of the rules.

use super::{PROPOSER, address, v1};
use crate::{
    Account, Applied, BlockInput, Ledger, LevelRunner, Mode, Params, Status, ledger::MACHINERY,
};
use alloc::{collections::BTreeMap, vec::Vec};
use proptest::prelude::*;
use qbind_types::{Address, Height, Payload, Transaction};

/// Runs the jobs of a level backwards: any order must do.
struct Backwards;

impl LevelRunner for Backwards {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        for i in (0..jobs).rev() {
            job(i);
        }
    }
}

/// The rules of a block once more, one transaction after the other, without plan or schedule.
fn reference(
    params: &Params,
    accounts: &BTreeMap<Address, Account>,
    transactions: &[Transaction],
) -> (BTreeMap<Address, Account>, u128) {
    let mut accounts = accounts.clone();
    let (mut reward, mut burned) = (0, 0);
    // The first transaction with a nonce is the only one tried in this block.
    let mut tried = BTreeMap::new();
    for tx in transactions {
        let Ok(Payload::V1(t)) = Payload::decode(&tx.payload) else { continue };
        let gas: u64 = if t.recipient == tx.sender { 29_752 } else { 37_352 };
        let sender = accounts.entry(tx.sender).or_default();
        let Some(fee) = u128::from(gas).checked_mul(t.max_fee_per_gas) else { continue };
        let fits = gas <= t.gas_limit && t.gas_limit <= params.block_gas_limit;
        let next: &mut u64 = tried.entry(tx.sender).or_insert(sender.nonce);
        if t.max_fee_per_gas < 1 || !fits || tx.nonce != *next {
            continue;
        }
        *next += 1;
        if sender.nonce != tx.nonce || sender.balance < fee {
            continue;
        }
        sender.nonce += 1;
        sender.balance -= fee;
        let share = fee * u128::from(params.fee_split.proposer_bps()) / 10_000;
        reward += share;
        burned += fee - share;
        if sender.balance >= t.amount {
            sender.balance -= t.amount;
            accounts.entry(t.recipient).or_default().balance += t.amount;
        }
    }
    accounts.entry(PROPOSER).or_default().balance += reward;
    accounts.retain(|_, account| *account != Account::default());
    (accounts, burned)
}

/// Transfers whose nonces mostly come in order.
fn blocks() -> impl Strategy<Value = Vec<Vec<Transaction>>> {
    let step = (1u8..=6, 1u8..=8, 0u128..40_000, 0u128..3, 0u8..20);
    prop::collection::vec(prop::collection::vec(step, 0..40), 1..5).prop_map(|blocks| {
        let mut nonces = BTreeMap::new();
        let one = |(from, to, amount, price, slip): (u8, u8, u128, u128, u8)| {
            let nonce: &mut u64 = nonces.entry(from).or_default();
            let tx = v1(from, *nonce, to, amount, price);
            // Now and then a duplicate or a gap follows.
            match slip {
                0 => {}
                1 => *nonce += 2,
                _ => *nonce += u64::from(price > 0),
            }
            tx
        };
        let mut one = one;
        blocks.into_iter().map(|block| block.into_iter().map(&mut one).collect()).collect()
    })
}

fn run(ledger: &mut Ledger, block: &[Transaction]) -> Applied {
    let transactions: Vec<&Transaction> = block.iter().collect();
    let height = ledger.height().next();
    let input = BlockInput {
        height,
        epoch: qbind_types::Epoch(0),
        time: qbind_types::Millis(0),
        proposer: PROPOSER,
        transactions: &transactions,
    };
    ledger.apply_with(&input, &Backwards, &crate::NoEvidence, &MACHINERY)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn parallel_equals_serial_equals_reference(blocks in blocks(), balance in 0u128..400_000) {
        let mainnet = Params::mainnet();
        let serial = Params { stage_b: false, ..mainnet.clone() };
        let mut parallel = super::ledger(mainnet.clone(), 6, balance);
        let mut serial = super::ledger(serial, 6, balance);
        let mut model: BTreeMap<Address, Account> =
            parallel.accounts().map(|(a, b)| (*a, *b)).collect();
        model.retain(|_, account| *account != Account::default());
        for block in &blocks {
            let (next, burned) = reference(&mainnet, &model, block);
            let a = run(&mut parallel, block);
            let mut b = run(&mut serial, block);
            let is_serial = matches!(b.mode, Mode::Serial { .. });
            prop_assert!(is_serial);
            b.mode = a.mode;
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(a.burned, burned);
            let got: BTreeMap<Address, Account> = parallel
                .accounts()
                .map(|(a, b)| (*a, *b))
                .filter(|(_, account)| *account != Account::default())
                .collect();
            prop_assert_eq!(&got, &next);
            model = next;
        }
    }

    #[test]
    fn money_nonces_and_gas_add_up(
        blocks in blocks(),
        balance in 0u128..400_000,
        limit in 50_000u64..900_000,
        burn in 0u16..=10_000,
    ) {
        let fee_split = crate::FeeSplit::new(burn, 10_000 - burn).expect("a whole");
        let params = Params { block_gas_limit: limit, fee_split, ..Params::mainnet() };
        let mut ledger = super::ledger(params.clone(), 6, balance);
        let supply = ledger.supply();
        let mut used = BTreeMap::<Address, u64>::new();
        for block in &blocks {
            let before: BTreeMap<Address, Account> =
                ledger.accounts().map(|(a, b)| (*a, *b)).collect();
            let applied = run(&mut ledger, block);
            prop_assert_eq!(applied.receipts.len(), block.len());
            let gas: u64 = applied.receipts.iter().map(|r| r.gas_used).sum();
            prop_assert!(gas <= limit);
            let (fees, burned): (u128, u128) = (
                applied.receipts.iter().map(|r| r.fee).sum(),
                applied.receipts.iter().map(|r| r.burned).sum(),
            );
            prop_assert_eq!(burned, applied.burned);
            let paid = ledger.account(&PROPOSER).balance
                - before.get(&PROPOSER).map_or(0, |account| account.balance);
            prop_assert_eq!(fees, burned + paid);
            for (i, (tx, receipt)) in block.iter().zip(&applied.receipts).enumerate() {
                prop_assert_eq!(receipt.tx_index as usize, i);
                if !matches!(receipt.status, Status::Skipped(_)) {
                    *used.entry(tx.sender).or_default() += 1;
                }
            }
            prop_assert_eq!(ledger.supply() + ledger.burned(), supply);
        }
        for n in 1..=8 {
            let expected = used.get(&address(n)).copied().unwrap_or(0);
            prop_assert_eq!(ledger.account(&address(n)).nonce, expected);
        }
        let accounts: Vec<_> = ledger.accounts().map(|(a, b)| (*a, *b)).collect();
        let height = Height(ledger.height().0);
        let restored = Ledger::restore(params, height, super::system(&ledger), accounts).expect("sound");
        prop_assert_eq!(restored.state_root(), ledger.state_root());
    }

    #[test]
    fn fee_shares_are_exact(fee in any::<u128>(), bps in 0u16..=10_000) {
        let split = crate::FeeSplit::new(10_000 - bps, bps).expect("a whole");
        let part = split.proposer_part(fee);
        // part = floor(fee * bps / 10000), told without the product, which need not fit.
        let (whole, rest) = (fee / 10_000, fee % 10_000);
        let floor = whole * u128::from(bps) + rest * u128::from(bps) / 10_000;
        prop_assert_eq!(part, floor);
        prop_assert!(part <= fee);
    }
}
