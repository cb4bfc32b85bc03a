//! Every committed transaction run again, by an interpreter of its own.
//!
//! Deliberately plain: one map, one loop, no scheduling. The rules (protocol digest, section 3, as
//! the ledger documents them): a transaction is *skipped* without effect if its payload is not of
//! the network's version, its gas limit is below what it uses or
//! above a block's, its price is below the least, its
//! nonce is not its sender's next, its block's gas is used up, or its fee cannot be paid. It *fails*
//! if the fee can be paid and the amount cannot: nonce and fee are gone. Else it *succeeds*. Money that
//! genesis locks until later than the block's time can pay neither; what its owner has bonded counts
//! towards it. Of the fee the proposer gets its share at the end of the block and the rest is burned.

use crate::{
    chain::Tx,
    registry::Registry,
    state_root::{Account, AccountsRoot, Leaves},
};
use qbind_types::{Address, Epoch, Millis, Network, Payload, REGISTRY, ValidatorSet};
use std::collections::{BTreeMap, BTreeSet};

const GAS_BASE: u64 = 21_000;
const GAS_PER_ACCOUNT: u64 = 2_600 + 5_000;
const GAS_PER_BYTE: u64 = 16;
const GAS_LIMIT_V0: u64 = 50_000;
const BLOCK_GAS: u64 = 30_000_000;
const LEAST_PRICE: u128 = 1;

/// What the network's rules are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Amounts move.
    transfers: bool,
    /// v1 payloads, fees, block gas.
    gas: bool,
    /// Proposer's share of a fee.
    proposer_bps: u128,
}

impl Rules {
    /// DevNet counts nonces only, TestNet burns all fees, MainNet shares them with the proposer.
    pub(crate) fn of(network: Network) -> Self {
        match network {
            Network::Devnet => Self { transfers: false, gas: false, proposer_bps: 0 },
            Network::Testnet => Self { transfers: true, gas: true, proposer_bps: 0 },
            Network::Mainnet => Self { transfers: true, gas: true, proposer_bps: 5_000 },
        }
    }
}

/// What became of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    Failed,
    Skipped,
}

/// What a replayed block did.
#[derive(Debug, Clone)]
pub(crate) struct Replayed {
    pub(crate) statuses: Vec<Status>,
    /// Filled in when asked for.
    pub(crate) root: Option<AccountsRoot>,
}

/// Something no correct ledger does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// The state while blocks are replayed.
pub(crate) struct Replay {
    rules: Rules,
    accounts: BTreeMap<Address, Account>,
    changed: BTreeSet<Address>,
    leaves: Leaves,
    /// Sum of the allocations.
    pub(crate) supply: u128,
    /// Left the supply so far.
    pub(crate) burned: u128,
    height: u64,
    registry: Registry,
    locks: BTreeMap<Address, (u128, u64)>,
    /// Who was elected for the last epochs that are decided.
    elected: BTreeMap<Epoch, ValidatorSet>,
}

impl Replay {
    /// From the allocations of genesis.
    pub(crate) fn new(
        rules: Rules,
        allocations: &[(Address, u128)],
        locks: BTreeMap<Address, (u128, u64)>,
        registry: Registry,
    ) -> Result<Self, Broken> {
        let mut replay = Self {
            rules,
            accounts: BTreeMap::new(),
            changed: BTreeSet::new(),
            leaves: Leaves::default(),
            supply: 0,
            burned: 0,
            height: 0,
            registry,
            locks,
            elected: BTreeMap::new(),
        };
        for (address, amount) in allocations {
            let account = Account { nonce: 0, balance: *amount };
            if replay.accounts.insert(*address, account).is_some() {
                return Err(Broken(format!("genesis allocates to {address} twice")));
            }
            replay.changed.insert(*address);
            replay.supply = replay
                .supply
                .checked_add(*amount)
                .ok_or_else(|| Broken("the supply exceeds 2^128 - 1".to_owned()))?;
        }
        // The registry holds the stakes from the start.
        let mut staked = Account { nonce: 0, balance: 0 };
        for (owner, stake) in replay.registry.stakes() {
            let account = replay.accounts.entry(owner).or_default();
            account.balance = account.balance.checked_sub(stake).ok_or_else(|| {
                Broken(format!("genesis allocates to {owner} less than its stake"))
            })?;
            staked.balance += stake;
        }
        replay.accounts.insert(REGISTRY, staked);
        replay.changed.insert(REGISTRY);
        Ok(replay)
    }

    /// Accounts held.
    pub(crate) fn accounts(&self) -> usize {
        self.accounts.len().max(self.leaves.len())
    }

    /// Sum of all balances plus what was burned.
    pub(crate) fn accounted(&self) -> Option<u128> {
        let held = self
            .accounts
            .values()
            .try_fold(0u128, |sum, account| sum.checked_add(account.balance))?;
        held.checked_add(self.burned)
    }

    /// The root of the accounts now.
    pub(crate) fn root(&mut self) -> AccountsRoot {
        for address in std::mem::take(&mut self.changed) {
            let account = self.accounts.get(&address).copied().unwrap_or_default();
            self.leaves.set(&address, account);
        }
        self.leaves.root()
    }

    /// Runs one block.
    pub(crate) fn block(
        &mut self,
        epoch: Epoch,
        time: Millis,
        proposer: Address,
        transactions: &[Tx],
        with_root: bool,
    ) -> Result<Replayed, Broken> {
        // Nonces and gas are reserved in block order before anything runs: of several copies of one
        // nonce the first counts, whatever becomes of it.
        let mut next_nonce: BTreeMap<Address, u64> = BTreeMap::new();
        let (mut gas_left, mut closed) = (BLOCK_GAS, false);
        let (mut reward, mut statuses) = (0u128, Vec::with_capacity(transactions.len()));
        let mut later: Vec<(usize, u128, Payload)> = Vec::new();
        for (at, tx) in transactions.iter().enumerate() {
            statuses.push(Status::Skipped);
            let Some((payload, gas, price)) = self.offer(tx) else { continue };
            if closed {
                continue;
            }
            let expected = next_nonce
                .entry(tx.sender)
                .or_insert_with(|| self.accounts.get(&tx.sender).map_or(0, |a| a.nonce));
            if tx.nonce != *expected || tx.nonce == u64::MAX {
                continue;
            }
            let gas = if self.rules.transfers { gas } else { 0 };
            let Some(fee) = u128::from(gas).checked_mul(price) else { continue };
            if self.rules.gas {
                match gas_left.checked_sub(gas) {
                    Some(left) => gas_left = left,
                    None => {
                        closed = true;
                        continue;
                    }
                }
            }
            *expected += 1;
            later.push((at, fee, payload));
        }
        self.height += 1;
        // What a lockup leaves with the registry is as it was before the block.
        let kept = self.kept(time);
        let mut calls = Vec::new();
        for (at, fee, payload) in later {
            let tx = &transactions[at];
            let kept = kept.get(&tx.sender).copied().unwrap_or(0);
            statuses[at] = self.transfer(tx, fee, &payload, kept)?;
            if let (Payload::Call(transfer, call), Status::Success) = (payload, statuses[at]) {
                calls.push((at, transfer.amount, call));
            }
            if statuses[at] != Status::Skipped {
                let share = fee / 10_000 * self.rules.proposer_bps
                    + fee % 10_000 * self.rules.proposer_bps / 10_000;
                reward += share;
                self.burned += fee - share;
            }
        }
        // Calls count after all transfers of the block, in its order.
        for (at, amount, call) in calls {
            let tx = &transactions[at];
            if !self.registry.call(tx, amount, &call) {
                statuses[at] = Status::Failed;
                self.pay_back(tx.sender, amount)?;
            }
        }
        if let Some((bonds, set)) = self.registry.elect(self.height, epoch) {
            for (owner, bond) in bonds {
                self.pay_back(owner, bond)?;
            }
            self.elected.insert(set.epoch(), set);
            while self.elected.len() > 2 {
                self.elected.pop_first();
            }
        }
        if reward > 0 {
            self.credit(proposer, reward)?;
        }
        let root = with_root.then(|| self.root());
        Ok(Replayed { statuses, root })
    }

    /// Payload, gas used and price; nothing if the network does not take it.
    fn offer(&self, tx: &Tx) -> Option<(Payload, u64, u128)> {
        let payload = Payload::decode(&tx.payload).ok()?;
        let (limit, price) = match (&payload, self.rules.gas) {
            (Payload::V1(t) | Payload::Call(t, _), true) => (t.gas_limit, t.max_fee_per_gas),
            (Payload::V0(_), true) | (Payload::V0(_), false) => (GAS_LIMIT_V0, 0),
            (Payload::V1(_) | Payload::Call(..), false) => return None,
        };
        let accounts = if payload.recipient() == tx.sender { 1 } else { 2 };
        let bytes = tx.payload.len() as u64;
        let gas = GAS_BASE + accounts * GAS_PER_ACCOUNT + GAS_PER_BYTE * bytes;
        let affordable =
            !self.rules.gas || ((gas..=BLOCK_GAS).contains(&limit) && price >= LEAST_PRICE);
        affordable.then_some((payload, gas, price))
    }

    fn transfer(
        &mut self,
        tx: &Tx,
        fee: u128,
        payload: &Payload,
        kept: u128,
    ) -> Result<Status, Broken> {
        let sender = self.accounts.entry(tx.sender).or_default();
        if sender.nonce != tx.nonce {
            return Ok(Status::Skipped);
        }
        let spend = |balance: u128, part: u128| balance.checked_sub(part).filter(|b| *b >= kept);
        let Some(after_fee) = spend(sender.balance, fee) else {
            return Ok(Status::Skipped);
        };
        sender.nonce += 1;
        sender.balance = after_fee;
        self.changed.insert(tx.sender);
        if !self.rules.transfers {
            return Ok(Status::Success);
        }
        let Some(after_amount) = spend(after_fee, payload.amount()) else {
            return Ok(Status::Failed);
        };
        sender.balance = after_amount;
        self.credit(payload.recipient(), payload.amount())?;
        Ok(Status::Success)
    }

    /// What each locked account must keep in a block of `time`.
    fn kept(&self, time: Millis) -> BTreeMap<Address, u128> {
        let locked = self.locks.iter().filter(|(_, (_, until))| time.0 < *until);
        locked
            .map(|(a, (amount, _))| (*a, amount.saturating_sub(self.registry.bonded(a))))
            .collect()
    }

    /// A report of an offence came, and what follows from it is not worked out here.
    pub(crate) fn is_stuck(&self) -> bool {
        self.registry.court.is_stuck()
    }

    /// Who validates an epoch, if it is one of the last that were elected.
    pub(crate) fn elected(&self, epoch: Epoch) -> Option<&ValidatorSet> {
        self.elected.get(&epoch)
    }

    fn pay_back(&mut self, to: Address, amount: u128) -> Result<(), Broken> {
        if amount == 0 {
            return Ok(());
        }
        let registry = self.accounts.entry(REGISTRY).or_default();
        registry.balance = registry
            .balance
            .checked_sub(amount)
            .ok_or_else(|| Broken("the registry owes more than it holds".to_owned()))?;
        self.changed.insert(REGISTRY);
        self.credit(to, amount)
    }

    fn credit(&mut self, to: Address, amount: u128) -> Result<(), Broken> {
        // A credit of nothing creates no account: the ledger stores only what changed.
        if amount == 0 {
            return Ok(());
        }
        let account = self.accounts.entry(to).or_default();
        account.balance = account
            .balance
            .checked_add(amount)
            .ok_or_else(|| Broken(format!("the balance of {to} exceeds 2^128 - 1")))?;
        self.changed.insert(to);
        Ok(())
    }
}
