//! Final blocks execute in order, once all their batches are here.

use crate::{
    CommitRecord, Court, Effect, Halt, Now, References, Replica, Transfer, replica::ROOTS,
};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use qbind_crypto::{Verified, batch_id, block_id, tx_id};
use qbind_dag::{Availability, Standing, Submission};
use qbind_ledger::BlockInput;
use qbind_types::{
    Address, BatchRef, BlockId, CertifiedBatch, CommittedBlock, Height, Transaction, TxId,
    ValidatorIndex,
};

/// Final blocks whose batches are fetched at once.
const PREFETCH: usize = 96;
/// Batches that must have come before more are looked for.
const ROOM: usize = 64;

impl Replica {
    /// A client's transaction: the ledger's rules first, then the pool's.
    pub(crate) fn submit(
        &mut self,
        now: Now,
        transaction: Verified<Transaction>,
        id: TxId,
        out: &mut Vec<Effect>,
    ) {
        // Order among pending transactions is the pool's matter, so the ledger is told of no limit.
        if let Err(rejection) = self.ledger.admit(&transaction, u64::MAX, 0) {
            out.push(Effect::Rejected {
                id,
                code: rejection.code(),
                message: alloc::format!("{rejection}"),
                hint: rejection.hint(),
            });
            return;
        }
        let submission = Submission {
            id,
            account: self.standing(&transaction.sender),
            cost: qbind_ledger::max_spend(&transaction).expect("admitted, so it can be paid"),
            fee_per_gas: qbind_ledger::fee_priority(&transaction).max_fee_per_gas,
            gas: qbind_ledger::gas_bound(&transaction),
            transaction,
            now: now.monotonic,
        };
        self.dag(now, qbind_dag::Event::Submit(submission), out);
    }

    fn standing(&self, address: &Address) -> Standing {
        let nonce = self.ledger.account(address).nonce;
        Standing { nonce, spendable: self.ledger.spendable(address) }
    }

    /// First round of each creator that neither executed nor waiting blocks include.
    pub(crate) fn included_at_tip(&self) -> BTreeMap<ValidatorIndex, u64> {
        let members = self.set.count();
        let mut included: BTreeMap<ValidatorIndex, u64> = (0..members)
            .map(|i| ValidatorIndex(u16::try_from(i).expect("at most 256 validators")))
            .map(|i| (i, self.dag.included(i)))
            .collect();
        for waiting in &self.queue {
            include(&mut included, &waiting.block.batches);
        }
        included
    }

    /// As above, for the block `parent` on an uncommitted branch.
    pub(crate) fn included_at(&self, parent: &BlockId) -> Option<BTreeMap<ValidatorIndex, u64>> {
        let mut included = self.included_at_tip();
        for block in self.consensus.branch(parent)? {
            include(&mut included, &block.batches);
        }
        Some(included)
    }

    pub(crate) fn execute_ready(&mut self, now: Now, out: &mut Vec<Effect>) {
        while let Some(next) = self.queue.front() {
            let is_here = |r: &BatchRef| self.dag.availability(r) == Availability::CertifiedAndHeld;
            if !next.block.batches.iter().all(is_here) {
                self.lacked = true;
                self.prefetch(now, next.block.height, out);
                return;
            }
            let Some(next) = self.queue.pop_front() else { return };
            self.execute(now, next, out);
            if self.halted {
                return;
            }
        }
    }

    /// Looks for the batches of the next final blocks, of which `first` is the first. Looking through
    /// all of them is no work for every message that comes: only for a new first, and when enough has
    /// come to look for more.
    fn prefetch(&mut self, now: Now, first: Height, out: &mut Vec<Effect>) {
        let wanted = self.dag.sizes().wanted;
        let of = (first, self.queue.len().min(PREFETCH));
        if self.prefetched.is_some_and(|(last, then)| last == of && wanted + ROOM > then.max(ROOM))
        {
            return;
        }
        let queue = self.queue.iter().take(PREFETCH);
        let wanted: Vec<BatchRef> = queue.flat_map(|c| c.block.batches.iter().copied()).collect();
        let effects = self.dag.need(&wanted, now.monotonic);
        self.route_dag(now, effects, out);
        self.prefetched = Some((of, self.dag.sizes().wanted));
    }

    fn execute(&mut self, now: Now, committed: CommittedBlock, out: &mut Vec<Effect>) {
        let block = committed.block.clone();
        let height = block.height;
        if let Some(ours) = self.roots.get(&block.executed.height).copied()
            && ours != block.executed.root
        {
            let theirs = block.executed.root;
            self.halt(Halt::StateRoot { height: block.executed.height, ours, theirs }, out);
            return;
        }
        let batches: Vec<CertifiedBatch> =
            block.batches.iter().filter_map(|r| self.dag.certified(r)).collect();
        let is_named = |(c, r): (&CertifiedBatch, &BatchRef)| {
            c.certificate.batch == *r && batch_id(self.config.network, &c.batch) == r.id
        };
        let references = if !batches.iter().zip(&block.batches).all(is_named) {
            References::Mismatch
        } else if core::mem::take(&mut self.lacked) {
            References::Fetched
        } else {
            References::Ok
        };
        let transactions: Vec<&Transaction> =
            batches.iter().flat_map(|c| c.batch.transactions.iter()).collect();
        let ids: Vec<TxId> = transactions.iter().map(|t| tx_id(self.config.network, t)).collect();
        let transfers = transactions.iter().map(|t| Transfer::of(t)).collect();
        let Some(proposer) = self.set.get(block.proposer).map(|member| member.address) else {
            self.halt(Halt::Rule { height, rule: "the proposer is a validator" }, out);
            return;
        };
        let input = BlockInput {
            height,
            epoch: block.epoch,
            time: block.timestamp_unix_ms,
            proposer,
            transactions: &transactions,
        };
        let court = Court(self.config.network);
        let applied = self.ledger.apply(&input, self.config.runner.as_ref(), &court);
        self.roots.insert(height, applied.state_root);
        while self.roots.len() > ROOTS {
            self.roots.pop_first();
        }
        self.executed_view = block.view;
        let changed = applied.changes.iter().map(|(address, _)| *address);
        let accounts = changed.map(|address| (address, self.standing(&address))).collect();
        let record = CommitRecord {
            id: block_id(&block),
            committed,
            transactions: ids,
            receipts: applied.receipts,
            transfers,
            changes: applied.changes,
            state_root: applied.state_root,
            system_root: applied.system_root,
            tally: self.ledger.tally(),
            mode: applied.mode,
            registry: applied.changes_registry.then(|| self.ledger.registry().clone()),
            slashing: applied.changes_slashing.then(|| self.ledger.slashing().clone()),
            judged: applied.judged,
            stake_burned: applied.stake_burned,
            monetary: applied.monetary,
            references,
        };
        self.announce_election(&record, out);
        out.push(Effect::Commit(Box::new(record)));
        let event = qbind_dag::Event::Committed {
            refs: block.batches.clone(),
            accounts,
            now: now.monotonic,
        };
        self.dag(now, event, out);
        let (last, _): (Height, _) = self.consensus.committed();
        self.sync(now, qbind_sync::Event::Advanced { height: last, executed: height }, out);
        self.end_epoch(now, &block, out);
    }
}

fn include(included: &mut BTreeMap<ValidatorIndex, u64>, refs: &[BatchRef]) {
    for reference in refs {
        let next = included.entry(reference.creator).or_insert(0);
        *next = (*next).max(reference.round.saturating_add(1));
    }
}
