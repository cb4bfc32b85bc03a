//! A mempool, a ledger and the book over both: everything a submitted transaction goes through.

use crate::replay::Replay;
use crate::result::Check;
use qbind_crypto::{Verifier, tx_id};
use qbind_dag::{BatchLimits, Mempool, MempoolConfig, Submission};
use qbind_ledger::{
    Account, Applied, BlockInput, Ledger, NoEvidence, Params, SerialRunner, Status, System,
    fee_priority, gas_bound, max_spend,
};
use qbind_types::{Address, Height, Millis, Network, Transaction, TxId};
use std::collections::{BTreeMap, BTreeSet};

/// Virtual time between two blocks.
pub(super) const BLOCK_MS: u64 = 100;
/// Validators that take turns to propose.
const PROPOSERS: u64 = 4;

/// Sizes of a market.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) network: Network,
    pub(super) mempool: MempoolConfig,
    pub(super) block_transactions: usize,
    /// Falsifies what the ledger reports; the tests put a lie here.
    pub(super) report: fn(&mut Applied),
}

/// Counts of one run that do not depend on who sent what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rejections: BTreeMap<&'static str, u64>,
    pub(super) evictions: u64,
    pub(super) replacements: u64,
    pub(super) most_evictions_in_interval: u32,
    pub(super) largest_pool: usize,
    pub(super) most_pending_of_a_sender: usize,
    /// Taken from the pool for a block and then without effect.
    pub(super) taken_in_vain: u64,
    /// Put into blocks by a dishonest proposer: replays and double spends.
    pub(super) injected: u64,
    pub(super) injected_with_effect: u64,
}

/// A transaction with effect, as the block that holds it tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Included {
    pub(super) id: TxId,
    pub(super) sender: Address,
    pub(super) fee: u128,
    pub(super) is_success: bool,
}

/// The market.
pub(super) struct Market {
    pub(super) rules: Rules,
    pub(super) ledger: Ledger,
    pub(super) pool: Mempool,
    pub(super) tally: Tally,
    pub(super) book: Replay,
    verifier: Verifier,
    now: Millis,
    senders: BTreeSet<Address>,
}

impl Market {
    pub(super) fn new(
        rules: Rules,
        verifier: Verifier,
        accounts: impl IntoIterator<Item = (Address, u128)>,
    ) -> Self {
        let accounts = accounts.into_iter().map(|(a, balance)| (a, Account { nonce: 0, balance }));
        let ledger = Ledger::restore(Params::mainnet(), Height(0), System::none(), accounts)
            .expect("a few accounts with 10^15 each");
        Self {
            pool: Mempool::new(rules.mempool.clone()),
            book: Replay::new(&ledger),
            tally: Tally::default(),
            now: Millis(0),
            senders: BTreeSet::new(),
            rules,
            ledger,
            verifier,
        }
    }

    pub(super) fn id(&self, tx: &Transaction) -> TxId {
        tx_id(self.rules.network, tx)
    }

    /// The nonce after a sender's pending transactions.
    pub(super) fn next_nonce(&self, sender: &Address) -> u64 {
        let pending = u64::try_from(self.pool.pending_of(sender)).expect("a pool is small");
        self.ledger.account(sender).nonce + pending
    }

    /// Signature, then the ledger's rules, then the pool's: as a node does it.
    pub(super) fn submit(&mut self, tx: &Transaction) -> Result<TxId, &'static str> {
        let result = self.try_submit(tx);
        if let Err(code) = result {
            *self.tally.rejections.entry(code).or_default() += 1;
        }
        self.observe(tx.sender);
        result
    }

    fn try_submit(&mut self, tx: &Transaction) -> Result<TxId, &'static str> {
        // A payload of unknown length is the ledger's to name; the verifier would only say no.
        if gas_bound(tx) > 0 && self.verifier.verify_transaction(tx.clone()).is_err() {
            return Err("E_SIGNATURE");
        }
        self.ledger.admit(tx, u64::MAX, 0).map_err(|r| r.code())?;
        let transaction =
            self.verifier.verify_transaction(tx.clone()).map_err(|_| "E_SIGNATURE")?;
        let account = self.ledger.account(&tx.sender);
        let id = self.id(tx);
        let submission = Submission {
            transaction,
            id,
            account_nonce: account.nonce,
            account_balance: account.balance,
            cost: max_spend(tx).ok_or("E_BALANCE")?,
            fee_per_gas: fee_priority(tx).max_fee_per_gas,
            gas: gas_bound(tx),
            now: self.now,
        };
        let inserted = self.pool.insert(submission).map_err(|r| r.code())?;
        self.tally.evictions += u64::from(inserted.evicted.is_some());
        self.tally.replacements += u64::from(inserted.replaced.is_some());
        Ok(id)
    }

    fn observe(&mut self, sender: Address) {
        self.senders.insert(sender);
        let tally = &mut self.tally;
        tally.largest_pool = tally.largest_pool.max(self.pool.len());
        tally.most_pending_of_a_sender =
            tally.most_pending_of_a_sender.max(self.pool.pending_of(&sender));
        tally.most_evictions_in_interval =
            tally.most_evictions_in_interval.max(self.pool.evictions_in_interval());
    }

    /// Makes and executes the next block. `inject` may add what the pool would never offer.
    pub(super) fn block(
        &mut self,
        inject: impl FnOnce(&[Transaction]) -> Vec<Transaction>,
    ) -> Vec<Included> {
        let limits = BatchLimits {
            transactions: self.rules.block_transactions,
            bytes: usize::MAX,
            gas: self.ledger.params().block_gas_limit,
        };
        let ledger = &self.ledger;
        let taken = self.pool.take_batch(limits, self.now, |a| ledger.account(a).nonce);
        let ids: Vec<TxId> = taken.iter().map(|p| p.id).collect();
        let mut transactions: Vec<Transaction> = taken.into_iter().map(|p| p.transaction).collect();
        let honest = transactions.len();
        transactions.extend(inject(&transactions));
        let list: Vec<&Transaction> = transactions.iter().collect();
        let height = self.ledger.height().next();
        let proposer = proposer(height.0);
        let block = BlockInput {
            height,
            epoch: qbind_types::Epoch(0),
            time: qbind_types::Millis(0),
            proposer,
            transactions: &list,
        };
        let mut applied = self.ledger.apply(&block, &SerialRunner, &NoEvidence);
        (self.rules.report)(&mut applied);
        self.book.enter(&block, &applied, &self.ledger);
        let mut included = Vec::new();
        for receipt in &applied.receipts {
            let place = receipt.tx_index as usize;
            let Some(tx) = transactions.get(place) else { continue };
            let has_effect = !matches!(receipt.status, Status::Skipped(_));
            if place >= honest {
                self.tally.injected += 1;
                self.tally.injected_with_effect += u64::from(has_effect);
            } else if !has_effect {
                self.tally.taken_in_vain += 1;
            }
            if has_effect {
                let (id, sender) = (self.id(tx), tx.sender);
                let is_success = receipt.is_success();
                included.push(Included { id, sender, fee: receipt.fee, is_success });
            }
        }
        for (address, account) in &applied.changes {
            self.pool.on_committed(address, account.nonce);
        }
        self.pool.return_unused(&ids);
        self.now = self.now.plus(Millis(BLOCK_MS));
        included
    }

    /// What must hold in every market, whoever trades there.
    pub(super) fn checks(&self) -> Vec<Check> {
        let (tally, mempool) = (&self.tally, &self.rules.mempool);
        let findings = &self.book.findings;
        let at_most = |name: &str, limit: u64, got: u64| {
            Check::that(name, format!("<= {limit}"), got, got <= limit)
        };
        let count = |n: usize| u64::try_from(n).expect("a pool is small");
        vec![
            Check::equal(
                "double spends or replays in the committed chain",
                0,
                findings.double_spends,
            ),
            Check::equal("negative balances", 0, findings.negative_balances),
            Check::equal("accounts that differ from the replay", 0, findings.wrong_accounts),
            Check::equal(
                "blocks after which the supply does not add up",
                0,
                findings.supply_errors,
            ),
            Check::equal("charges that are not gas times price", 0, findings.wrong_charges),
            Check::equal("fees not shared half and half", 0, findings.wrong_splits),
            Check::equal("blocks above the gas limit", 0, findings.gas_excesses),
            Check::equal(
                "fees charged = burned + paid to proposers",
                self.book.charged,
                self.book.burned + self.book.paid,
            ),
            Check::that("fees charged", "> 0", self.book.charged, self.book.charged > 0),
            Check::equal(
                "injected replays and double spends with effect",
                0,
                tally.injected_with_effect,
            ),
            Check::equal("transactions taken from the pool in vain", 0, tally.taken_in_vain),
            at_most("transactions in the pool", count(mempool.capacity), count(tally.largest_pool)),
            at_most(
                "transactions of one sender",
                count(mempool.sender_transactions),
                count(tally.most_pending_of_a_sender),
            ),
            at_most(
                "evictions in one interval",
                u64::from(mempool.evictions_per_interval),
                u64::from(tally.most_evictions_in_interval),
            ),
        ]
    }
}

/// Whose turn it is; proposers have accounts of their own.
fn proposer(height: u64) -> Address {
    let mut bytes = [0xb0; 32];
    bytes[..8].copy_from_slice(&(height % PROPOSERS).to_be_bytes());
    Address(bytes)
}
