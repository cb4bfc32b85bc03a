//! What committed transactions and their receipts say about money, worked out without the ledger.
//!
//! A second bookkeeper: it believes a receipt's status and nothing else, keeps its own accounts,
//! and notes whatever does not add up.

use qbind_ledger::{Account, Applied, BlockInput, Ledger, Params, Status};
use qbind_types::{Address, Payload, Transaction};
use std::collections::BTreeMap;

/// Gas of a transfer between two accounts and to oneself, v0 then v1.
const GAS: [[u64; 2]; 2] = [[36_968, 29_368], [37_352, 29_752]];

/// What did not add up, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// A nonce used twice, or out of order.
    pub double_spends: u64,
    /// A balance that would have gone below zero.
    pub negative_balances: u64,
    /// A receipt whose gas or fee is not what its transaction says.
    pub wrong_charges: u64,
    /// A fee that was not divided as the network's split says.
    pub wrong_splits: u64,
    /// A block above the gas limit.
    pub gas_excesses: u64,
    /// Accounts of the ledger that differ from this book's.
    pub wrong_accounts: u64,
    /// Blocks after which balances and burned fees did not add up to the supply at the start.
    pub supply_errors: u64,
}

impl Findings {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.double_spends
            + self.negative_balances
            + self.wrong_charges
            + self.wrong_splits
            + self.gas_excesses
            + self.wrong_accounts
            + self.supply_errors
    }
}

/// The book.
#[derive(Debug, Clone)]
pub struct Replay {
    params: Params,
    accounts: BTreeMap<Address, Account>,
    supply: u128,
    /// Fees of all transactions.
    pub charged: u128,
    /// The part that was burned.
    pub burned: u128,
    /// The part that went to proposers.
    pub paid: u128,
    /// What did not add up.
    pub findings: Findings,
}

impl Replay {
    /// Opens the book with the accounts of a ledger at genesis.
    pub fn new(ledger: &Ledger) -> Self {
        let accounts: BTreeMap<_, _> = ledger.accounts().map(|(a, b)| (*a, *b)).collect();
        Self {
            params: ledger.params().clone(),
            supply: accounts.values().map(|account| account.balance).sum(),
            accounts,
            charged: 0,
            burned: 0,
            paid: 0,
            findings: Findings::default(),
        }
    }

    /// Enters a block and compares the accounts it changed with the ledger's.
    pub fn enter(&mut self, block: &BlockInput<'_>, applied: &Applied, ledger: &Ledger) {
        let (mut gas, mut reward) = (0u64, 0u128);
        for receipt in &applied.receipts {
            let Some(&tx) = block.transactions.get(receipt.tx_index as usize) else {
                self.findings.wrong_charges += 1;
                continue;
            };
            if let Status::Skipped(_) = receipt.status {
                let is_free = (receipt.gas_used, receipt.fee, receipt.burned) == (0, 0, 0);
                self.findings.wrong_charges += u64::from(!is_free);
                continue;
            }
            self.enter_transaction(tx, receipt.is_success());
            let due = self.due(tx);
            if due != Some((receipt.gas_used, receipt.fee)) {
                self.findings.wrong_charges += 1;
            }
            let share =
                receipt.fee.saturating_mul(u128::from(self.params.fee_split.proposer_bps()))
                    / 10_000;
            if receipt.burned.checked_add(share) != Some(receipt.fee) {
                self.findings.wrong_splits += 1;
            }
            self.charged += receipt.fee;
            self.burned += receipt.burned;
            reward += receipt.fee.saturating_sub(receipt.burned);
            gas += receipt.gas_used;
        }
        self.paid += reward;
        self.accounts.entry(block.proposer).or_default().balance += reward;
        if self.params.gas_enabled && gas > self.params.block_gas_limit {
            self.findings.gas_excesses += 1;
        }
        self.compare(ledger);
    }

    fn enter_transaction(&mut self, tx: &Transaction, moves: bool) {
        let fee = self.due(tx).map_or(0, |(_, fee)| fee);
        let Ok(payload) = Payload::decode(&tx.payload) else {
            self.findings.wrong_charges += 1;
            return;
        };
        let sender = self.accounts.entry(tx.sender).or_default();
        if sender.nonce != tx.nonce {
            self.findings.double_spends += 1;
        }
        sender.nonce = tx.nonce.saturating_add(1);
        let amount = if moves { payload.amount() } else { 0 };
        match fee.checked_add(amount).and_then(|spent| sender.balance.checked_sub(spent)) {
            Some(rest) => sender.balance = rest,
            None => {
                self.findings.negative_balances += 1;
                sender.balance = 0;
            }
        }
        self.accounts.entry(payload.recipient()).or_default().balance += amount;
    }

    /// Gas and fee by the price list; `None` for what nobody could pay.
    fn due(&self, tx: &Transaction) -> Option<(u64, u128)> {
        let payload = Payload::decode(&tx.payload).ok()?;
        let (version, price) = match &payload {
            Payload::V0(_) => (0, 0),
            Payload::V1(t) | Payload::Call(t, _) => (1, t.max_fee_per_gas),
        };
        // A call is a v1 transfer with more bytes behind it.
        let call = u64::try_from(tx.payload.len().saturating_sub(72)).ok()?;
        let gas = GAS[version][usize::from(payload.recipient() == tx.sender)] + 16 * call;
        let price = if self.params.gas_enabled { price } else { 0 };
        Some((gas, u128::from(gas).checked_mul(price)?))
    }

    fn compare(&mut self, ledger: &Ledger) {
        let mut held = 0u128;
        for (address, account) in &self.accounts {
            held = held.saturating_add(account.balance);
            self.findings.wrong_accounts += u64::from(ledger.account(address) != *account);
        }
        let is_whole = held.checked_add(self.burned) == Some(self.supply)
            && ledger.supply().checked_add(ledger.burned()) == Some(self.supply);
        self.findings.supply_errors += u64::from(!is_whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t223::workload::{Workload, blank_transfer, funded};
    use qbind_ledger::{NoEvidence, Receipt, SerialRunner};

    fn tampered(tamper: impl Fn(&mut Applied)) -> Findings {
        let mut workload = Workload::new(7, 8, 24);
        let mut ledger = funded(Params::mainnet(), workload.senders());
        let mut replay = Replay::new(&ledger);
        for _ in 0..5 {
            let transactions = workload.block(&ledger);
            let list: Vec<&Transaction> = transactions.iter().collect();
            let height = ledger.height().next();
            let proposer = Address([0xee; 32]);
            let block = BlockInput {
                height,
                epoch: qbind_types::Epoch(0),
                time: qbind_types::Millis(0),
                proposer,
                transactions: &list,
            };
            let mut applied = ledger.apply(&block, &SerialRunner, &NoEvidence);
            tamper(&mut applied);
            replay.enter(&block, &applied, &ledger);
        }
        replay.findings
    }

    fn first_success(applied: &mut Applied) -> Option<&mut Receipt> {
        applied.receipts.iter_mut().find(|r| r.is_success())
    }

    #[test]
    fn a_sound_ledger_leaves_no_findings() {
        assert_eq!(tampered(|_| ()), Findings::default());
    }

    #[test]
    fn every_lie_in_a_receipt_is_found() {
        let fee = tampered(|a| first_success(a).map_or((), |r| r.fee += 1));
        assert!(fee.wrong_charges > 0);
        let gas = tampered(|a| first_success(a).map_or((), |r| r.gas_used += 1));
        assert!(gas.wrong_charges > 0);
        let split = tampered(|a| first_success(a).map_or((), |r| r.burned += 1));
        assert!(split.wrong_splits > 0 && split.supply_errors + split.wrong_accounts > 0);
        let twice = tampered(|a| {
            let again = first_success(a).cloned();
            a.receipts.extend(again);
        });
        assert!(twice.double_spends > 0 && twice.wrong_accounts > 0);
        let hidden = tampered(|a| a.receipts.clear());
        assert!(hidden.wrong_accounts > 0);
    }

    #[test]
    fn spending_more_than_one_has_is_found() {
        let poor = Address([1; 32]);
        let ledger = Ledger::restore(
            Params::mainnet(),
            qbind_types::Height(0),
            qbind_ledger::System::none(),
            [(poor, Account { nonce: 0, balance: 100_000 })],
        )
        .expect("a small sum");
        let mut replay = Replay::new(&ledger);
        let tx = blank_transfer(poor, 0, Address([2; 32]), 90_000, 1);
        replay.enter_transaction(&tx, true);
        assert_eq!(replay.findings.negative_balances, 1);
    }
}
