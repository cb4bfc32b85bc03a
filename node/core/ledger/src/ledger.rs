//! The state and the function from one block to the next.

use crate::{
    Account, EvidenceCheck, FailureReason, FeeSplit, Genesis, Judged, LevelRunner, Params, Phase,
    Receipt, Registry, Rejection, SerialRunner, Slashing, Status, System, Tally, admission,
    execute::Board,
    monetary::{self, Closed},
    money::Moved,
    plan::{self, Plan, Run},
    receipt,
    registry::Caller,
    schedule::{self, Levels},
    system::{self, Part},
    tree::Tree,
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use qbind_crypto::AccountProof;
use qbind_types::{
    Address, Epoch, Height, Millis, Payload, REGISTRY, RegistryCall, StateRoot, SystemRoot,
    Transaction,
};

/// A block as the ledger sees it.
#[derive(Debug, Clone, Copy)]
pub struct BlockInput<'a> {
    /// One above the ledger's.
    pub height: Height,
    /// Whose validators decided it.
    pub epoch: Epoch,
    /// Its timestamp.
    pub time: Millis,
    /// Who is paid.
    pub proposer: Address,
    /// In the order they execute; signatures are verified, and each sender is the address of its
    /// key.
    pub transactions: &'a [&'a Transaction],
}

/// Why a block ran one transaction after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SerialReason {
    /// Stage B is off.
    Disabled,
    /// There was at most one transaction to run.
    TooFew,
    /// Running it in parallel as well gave something else: a fault of ours, which this block is spared.
    Mismatch,
}

/// How a block ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Conflict levels, each in parallel.
    Parallel {
        /// How many.
        levels: usize,
    },
    /// One after the other.
    Serial {
        /// Why.
        why: SerialReason,
    },
}

/// What a block did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// One per transaction, in order.
    pub receipts: Vec<Receipt>,
    /// Commits to the receipts.
    pub receipts_root: [u8; 32],
    /// Commits to the state after the block.
    pub state_root: StateRoot,
    /// The part of it that is not accounts.
    pub system_root: SystemRoot,
    /// Accounts that differ from before, by address.
    pub changes: Vec<(Address, Account)>,
    /// Whether the validators' registry differs from before.
    pub changes_registry: bool,
    /// Whether what is held against validators differs from before.
    pub changes_slashing: bool,
    /// What became of the accusations in it.
    pub judged: Vec<Judged>,
    /// Stake it burned for offences; part of `burned`.
    pub stake_burned: u128,
    /// What this block took out of the supply.
    pub burned: u128,
    /// What it put in.
    pub issued: u128,
    /// The end of an epoch, where the monetary engine is on.
    pub monetary: Option<Closed>,
    /// How it ran; the only field that may differ between nodes.
    pub mode: Mode,
}

/// Stored accounts do not make a ledger: a damaged database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The same account twice.
    #[error("account {address} is stored twice")]
    Duplicate {
        /// Which.
        address: Address,
    },
    /// More money than there can be.
    #[error("the stored balances and the burned amount add up to more than 2^128")]
    SupplyOverflow,
}

/// The steps of a block that a test replaces by broken ones, to see that they are noticed.
pub(crate) struct Machinery {
    pub(crate) levels: fn(&[Run], usize) -> Levels,
    pub(crate) proposer_part: fn(FeeSplit, u128) -> u128,
    pub(crate) burned_part: fn(FeeSplit, u128) -> u128,
    pub(crate) monetary: monetary::Machinery,
}

pub(crate) const MACHINERY: Machinery = Machinery {
    levels: schedule::levels,
    proposer_part: FeeSplit::proposer_part,
    burned_part: |split, fee| fee - split.proposer_part(fee),
    monetary: monetary::MACHINERY,
};

/// All accounts at one height.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) params: Params,
    height: Height,
    accounts: BTreeMap<Address, Account>,
    /// The sum of all balances.
    pub(crate) supply: u128,
    tree: Tree,
    pub(crate) tally: Tally,
    pub(crate) registry: Part<Registry>,
    pub(crate) slashing: Part<Slashing>,
    pub(crate) monetary: Part<monetary::State>,
    system_root: SystemRoot,
    /// The states of the last heights, this one's included, ascending: to prove accounts at.
    recent: VecDeque<Recent>,
}

/// What proofs at a height need.
#[derive(Debug, Clone)]
struct Recent {
    height: Height,
    tree: Tree,
    system_root: SystemRoot,
}

impl Ledger {
    /// Heights that accounts can be proven at: the last ones.
    pub const PROVABLE: usize = 64;

    /// Every so many blocks what ran in parallel runs serially too, and must come out the same.
    pub const CHECKED: u64 = 16;

    /// The state before the first block; the stakes are with the validators' registry.
    pub fn from_genesis(genesis: &Genesis, params: Params) -> Self {
        Self::restore(params, Height(0), System::new(genesis.registry()), genesis.accounts())
            .expect("a genesis has unique addresses and a sum that fits")
    }

    /// The state from stored accounts. Compare [`Ledger::state_root`] with the stored root.
    ///
    /// # Errors
    /// The world's fault: the accounts are damaged.
    pub fn restore(
        params: Params,
        height: Height,
        system: System,
        accounts: impl IntoIterator<Item = (Address, Account)>,
    ) -> Result<Self, RestoreError> {
        let accounts = accounts.into_iter().collect();
        Self::restore_with(params, height, system, accounts, &SerialRunner)
    }

    /// As [`Ledger::restore`], on as many threads as the runner has.
    ///
    /// # Errors
    /// The world's fault: the accounts are damaged.
    pub fn restore_with(
        params: Params,
        height: Height,
        system: System,
        mut accounts: Vec<(Address, Account)>,
        runner: &dyn LevelRunner,
    ) -> Result<Self, RestoreError> {
        let System { tally, registry, slashing, monetary } = system;
        accounts.sort_unstable_by_key(|(address, _)| *address);
        if let Some(pair) = accounts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RestoreError::Duplicate { address: pair[0].0 });
        }
        let mut balances = accounts.iter().map(|(_, account)| account.balance);
        let total = balances.try_fold(tally.burned, u128::checked_add);
        let supply = total.ok_or(RestoreError::SupplyOverflow)? - tally.burned;
        let mut tree = Tree::new();
        tree.update(&accounts, runner);
        let (registry, slashing) = (Part::new(registry), Part::new(slashing));
        let monetary = Part::new(monetary);
        let system_root = system::system_root(&tally, &registry, &slashing, &monetary);
        let recent = VecDeque::from([Recent { height, tree: tree.clone(), system_root }]);
        Ok(Self {
            params,
            height,
            accounts: accounts.into_iter().collect(),
            supply,
            tree,
            tally,
            registry,
            slashing,
            monetary,
            system_root,
            recent,
        })
    }

    /// The validators' registry.
    pub fn registry(&self) -> &Registry {
        self.registry.get()
    }

    /// What the monetary engine remembers.
    pub fn monetary(&self) -> &monetary::State {
        self.monetary.get()
    }

    /// The rules it runs under.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The last block applied; 0 at genesis.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Commits to everything but the height, which the block carries.
    pub fn state_root(&self) -> StateRoot {
        qbind_crypto::state_root(&self.tree.root(), &self.system_root)
    }

    /// The part of [`Ledger::state_root`] that is accounts.
    pub fn accounts_root(&self) -> [u8; 32] {
        self.tree.root()
    }

    /// The part of [`Ledger::state_root`] that is not accounts.
    pub fn system_root(&self) -> SystemRoot {
        self.system_root
    }

    /// What changed with the last block beside accounts.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// An account; empty if it was never written.
    pub fn account(&self, address: &Address) -> Account {
        self.accounts.get(address).copied().unwrap_or_default()
    }

    /// All accounts ever written, by address.
    pub fn accounts(&self) -> impl Iterator<Item = (&Address, &Account)> {
        self.accounts.iter()
    }

    /// The sum of all balances, counted now.
    pub fn supply(&self) -> u128 {
        self.accounts.values().map(|account| account.balance).sum()
    }

    /// Everything that left the supply since genesis.
    pub fn burned(&self) -> u128 {
        self.tally.burned
    }

    /// What an account may spend in a block of the last one's time.
    pub fn spendable(&self, address: &Address) -> u128 {
        let balance = self.account(address).balance;
        balance.saturating_sub(self.kept(address, self.tally.time))
    }

    /// What an account must keep in a block of `time`.
    fn kept(&self, address: &Address, time: Millis) -> u128 {
        if !self.params.locks.has(address) {
            return 0;
        }
        let bonded = self.registry.get().bonded(address);
        self.params.locks.kept(address, time, bonded)
    }

    /// Proves an account's state, or its absence, against [`Ledger::state_root`].
    pub fn prove(&self, address: &Address) -> AccountProof {
        self.tree.prove(*address, self.system_root)
    }

    /// The same against the state root of a height; `None` if it is not among the last
    /// [`Ledger::PROVABLE`] since this ledger was restored.
    pub fn prove_at(&self, height: Height, address: &Address) -> Option<AccountProof> {
        let first = self.recent.front()?.height;
        let place = usize::try_from(height.0.checked_sub(first.0)?).ok()?;
        let Recent { tree, system_root, .. } = self.recent.get(place)?;
        Some(tree.prove(*address, *system_root))
    }

    /// Whether a transaction may enter the mempool.
    ///
    /// `pending_nonce` is the nonce after the sender's pending transactions (the account's own if
    /// there are none); `pending_spend` the sum of their [`crate::max_spend`]. A nonce between the
    /// account's and `pending_nonce` is accepted here: whether it may replace a pending
    /// transaction is for the mempool to say. A mempool that keeps count of nonces and spending
    /// itself passes `u64::MAX` and 0.
    ///
    /// # Errors
    /// The sender's fault; the rejection has a code and a hint.
    pub fn admit(
        &self,
        tx: &Transaction,
        pending_nonce: u64,
        pending_spend: u128,
    ) -> Result<(), Rejection> {
        let mut account = self.account(&tx.sender);
        account.balance = self.spendable(&tx.sender);
        let payload = admission::admit(&self.params, account, tx, pending_nonce, pending_spend)?;
        if let Payload::Call(transfer, call) = payload {
            let (sender, amount) = (tx.sender, transfer.amount);
            let caller = Caller { sender, key: &tx.public_key, amount };
            let registry = self.registry.get();
            registry.check(caller, &call).map_err(Rejection::Registry)?;
            if let RegistryCall::Report(evidence) = &*call {
                let heard = self.slashing.get().check(&self.params.slashing, registry, evidence);
                heard.map_err(Rejection::Registry)?;
            }
        }
        Ok(())
    }

    /// Runs a block and moves to its height.
    ///
    /// A transaction without effect is *skipped*: malformed, under-priced, out of nonce order, not
    /// able to pay its fee, or beyond the block's gas. One that can pay its fee but not its amount
    /// *fails*: nonce and fee are gone. The fee is gas used times the price offered.
    ///
    /// # Panics
    /// Our fault, and better than a wrong state: `block.height` is not the next one, the runner
    /// did not run every job, or money would appear or vanish.
    pub fn apply(
        &mut self,
        block: &BlockInput<'_>,
        runner: &dyn LevelRunner,
        evidence: &dyn EvidenceCheck,
    ) -> Applied {
        self.apply_with(block, runner, evidence, &MACHINERY)
    }

    pub(crate) fn apply_with(
        &mut self,
        block: &BlockInput<'_>,
        runner: &dyn LevelRunner,
        evidence: &dyn EvidenceCheck,
        machinery: &Machinery,
    ) -> Applied {
        assert_eq!(block.height, self.height.next(), "blocks are applied one after the other");
        runner.begins(Phase::Plan);
        let plan = plan::plan(&self.params, block.transactions, |address| self.account(address));
        let new_board = || Board::new(&plan.touched, plan.runs.len(), |a| self.kept(a, block.time));
        let mut board = new_board();
        let mut mode = if !self.params.stage_b {
            Mode::Serial { why: SerialReason::Disabled }
        } else if plan.runs.len() < 2 {
            Mode::Serial { why: SerialReason::TooFew }
        } else {
            let levels = (machinery.levels)(&plan.runs, plan.touched.len());
            runner.begins(Phase::Run);
            board.run_levels(&plan.runs, &levels, runner);
            Mode::Parallel { levels: levels.len() }
        };
        if let Mode::Serial { .. } = mode {
            runner.begins(Phase::Run);
            board.run_serially(&plan.runs);
        }
        // A check is no part of what the transfers take.
        runner.begins(Phase::Settle);
        if matches!(mode, Mode::Parallel { .. }) && block.height.0.is_multiple_of(Self::CHECKED) {
            let serial = new_board();
            serial.run_serially(&plan.runs);
            if !board.equals(&serial) {
                (board, mode) = (serial, Mode::Serial { why: SerialReason::Mismatch });
            }
        }
        let mut settled = self.settle(&plan, &board, machinery);
        let mut after = self.after(&plan, &board);
        let mut changes_registry = self.call(block, &plan, &mut settled, &mut after);
        let judged = self.reports(block, &plan, &mut settled, &mut after, evidence);
        let mut changes_slashing = judged.iter().any(Judged::is_accepted);
        let is_election = self.registry.get().is_election(block.height, block.epoch);
        let mut stake_burned = 0;
        if is_election && self.slashing.get().has_penalties() {
            stake_burned = self.punish(&mut after);
            settled.burned += stake_burned;
            changes_slashing = true;
        }
        let slashing = self.slashing.get();
        let jailed_until = |id| slashing.jailed_until(id);
        let elected = self.registry.get_mut().elect(block.height, block.epoch, jailed_until);
        let elects = elected.is_some();
        if let Some(bonds) = elected {
            changes_registry = true;
            let oldest = self.registry.get().oldest();
            changes_slashing |= self.slashing.get_mut().forget_below(oldest);
            for (owner, bond) in bonds {
                self.transfer(&mut after, REGISTRY, owner, bond);
            }
        }
        let moved = Moved { fees: settled.fees, burned: settled.burned };
        let monetary = self.close_epoch(block, elects, moved, &machinery.monetary, &mut after);
        self.credit(&mut after, block.proposer, settled.proposer);
        let changes: Vec<(Address, Account)> =
            after.into_iter().filter(|(a, account)| self.account(a) != *account).collect();
        let minted = monetary.as_ref().filter(|closed| closed.issued.is_some());
        let issued = minted.map_or(0, |closed| closed.decision.issuance);
        self.conserve(&changes, settled.burned, issued);
        runner.begins(Phase::Root);
        let workers = if self.params.stage_b { runner } else { &SerialRunner };
        let receipts_root = receipt::root_with(&settled.receipts, workers);
        self.tree.update(&changes, workers);
        self.accounts.extend(changes.iter().copied());
        self.tally.time = block.time;
        self.tally.burned += settled.burned;
        self.tally.issued += issued;
        self.supply = self.supply - settled.burned + issued;
        if changes_registry {
            self.registry.seal();
        }
        if changes_slashing {
            self.slashing.seal();
        }
        self.system_root =
            system::system_root(&self.tally, &self.registry, &self.slashing, &self.monetary);
        self.height = block.height;
        self.remember();
        runner.begins(Phase::Done);
        Applied {
            receipts_root,
            receipts: settled.receipts,
            state_root: self.state_root(),
            system_root: self.system_root,
            changes,
            changes_registry,
            changes_slashing,
            judged,
            stake_burned,
            burned: settled.burned,
            issued,
            monetary,
            mode,
        }
    }

    fn remember(&mut self) {
        if self.recent.len() == Self::PROVABLE {
            self.recent.pop_front();
        }
        let (height, tree, system_root) = (self.height, self.tree.clone(), self.system_root);
        self.recent.push_back(Recent { height, tree, system_root });
    }

    /// Receipts in transaction order and the shares of the fees.
    fn settle(&self, plan: &Plan, board: &Board, machinery: &Machinery) -> Settled {
        let mut settled = Settled { receipts: Vec::new(), fees: 0, proposer: 0, burned: 0 };
        for &(tx_index, reason) in &plan.skipped {
            settled.receipts.push(Receipt {
                tx_index: index(tx_index),
                status: Status::Skipped(reason),
                gas_used: 0,
                fee: 0,
                burned: 0,
            });
        }
        for (i, run) in plan.runs.iter().enumerate() {
            let status = board.status(i);
            let (gas_used, fee) = match status {
                Status::Skipped(_) => (0, 0),
                Status::Success | Status::Failed(_) => (run.gas, run.fee),
            };
            let burned = (machinery.burned_part)(self.params.fee_split, fee);
            settled.proposer += (machinery.proposer_part)(self.params.fee_split, fee);
            settled.fees += fee;
            settled.burned += burned;
            let tx_index = index(run.tx_index);
            settled.receipts.push(Receipt { tx_index, status, gas_used, fee, burned });
        }
        settled.receipts.sort_by_key(|receipt| receipt.tx_index);
        settled
    }

    /// Accounts that differ from before.
    fn after(&self, plan: &Plan, board: &Board) -> BTreeMap<Address, Account> {
        plan.touched
            .iter()
            .enumerate()
            .map(|(place, (address, before))| (*address, *before, board.account(place)))
            .filter(|(_, before, after)| before != after)
            .map(|(address, _, after)| (address, after))
            .collect()
    }

    /// Hands calls whose transfers succeeded to the registry, in block order; what comes with one that
    /// is refused goes back. Says whether the registry changed.
    fn call(
        &mut self,
        block: &BlockInput<'_>,
        plan: &Plan,
        settled: &mut Settled,
        after: &mut BTreeMap<Address, Account>,
    ) -> bool {
        let mut has_changed = false;
        for (run, call) in &plan.calls {
            if matches!(call, RegistryCall::Report(_)) {
                continue;
            }
            let run = &plan.runs[*run];
            let receipt = &mut settled.receipts[run.tx_index];
            if receipt.status != Status::Success {
                continue;
            }
            let tx = block.transactions[run.tx_index];
            let (sender, amount) = (tx.sender, run.amount);
            let caller = Caller { sender, key: &tx.public_key, amount };
            if self.registry.get_mut().apply(caller, call).is_ok() {
                has_changed = true;
            } else {
                receipt.status = Status::Failed(FailureReason::Registry);
                self.transfer(after, REGISTRY, sender, amount);
            }
        }
        has_changed
    }

    pub(crate) fn transfer(
        &self,
        after: &mut BTreeMap<Address, Account>,
        from: Address,
        to: Address,
        amount: u128,
    ) {
        // Nothing moved, nothing changed: not even an empty account appears.
        if amount == 0 {
            return;
        }
        let payer = after.entry(from).or_insert_with(|| self.account(&from));
        payer.balance =
            payer.balance.checked_sub(amount).expect("the registry holds every bond it owes");
        self.credit(after, to, amount);
    }

    pub(crate) fn credit(&self, after: &mut BTreeMap<Address, Account>, to: Address, amount: u128) {
        if amount > 0 {
            let paid = after.entry(to).or_insert_with(|| self.account(&to));
            paid.balance = paid
                .balance
                .checked_add(amount)
                .expect("a balance cannot exceed the supply, which fits");
        }
    }

    /// Stops the node rather than let money appear or vanish.
    fn conserve(&self, changes: &[(Address, Account)], burned: u128, issued: u128) {
        let before: u128 = changes.iter().map(|(address, _)| self.account(address).balance).sum();
        let after: u128 = changes.iter().map(|(_, account)| account.balance).sum();
        assert_eq!(
            after.checked_add(burned),
            before.checked_add(issued),
            "a block must leave supply and burned amount together as they were, but for issuance"
        );
    }
}

/// The money side of a block.
pub(crate) struct Settled {
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) fees: u128,
    pub(crate) proposer: u128,
    pub(crate) burned: u128,
}

fn index(tx_index: usize) -> u32 {
    u32::try_from(tx_index).expect("a block holds at most 64 batches of 10,000 transactions")
}
