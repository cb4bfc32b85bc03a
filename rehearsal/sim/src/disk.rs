//! A disk that forgets at a crash what was not fsynced.

use qbind_consensus::SafetyRecord;
use qbind_dag::PendingTransaction;
use qbind_ledger::{Account, Ledger, Params, Registry, Slashing, System, Tally, monetary};
use qbind_replica::{CommitRecord, Restored};
use qbind_types::{
    Address, Batch, BatchCertificate, BatchRef, Block, BlockId, CertifiedBatch, CommittedBlock,
    Epoch, EpochStart, Height, StateRoot, TxId, ValidatorIndex,
};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Write {
    Safety(Box<SafetyRecord>),
    Block(Box<Block>),
    Own(Box<Batch>),
    Ack(BatchRef),
    Batch(BatchRef, Box<Batch>),
    Certificate(Box<BatchCertificate>),
    Pending(Box<PendingTransaction>),
    Forget(Vec<TxId>),
    Commit(Box<CommitRecord>),
}

#[derive(Debug, Clone)]
struct Content {
    safety: Option<SafetyRecord>,
    blocks: Vec<Block>,
    own: Option<Batch>,
    acks: BTreeMap<(Epoch, ValidatorIndex, u64), BatchRef>,
    batches: BTreeMap<BatchRef, Batch>,
    certificates: BTreeMap<BatchRef, BatchCertificate>,
    pending: BTreeMap<TxId, PendingTransaction>,
    commits: BTreeMap<Height, CommitRecord>,
    accounts: BTreeMap<Address, Account>,
    included: BTreeMap<ValidatorIndex, u64>,
    tally: Tally,
    registry: Registry,
    slashing: Slashing,
    monetary: monetary::State,
    start: EpochStart,
}

/// What was written, and how much of it a crash cannot take.
#[derive(Debug)]
pub(crate) struct Disk {
    durable: Content,
    pending: Vec<Write>,
}

impl Content {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Safety(record) => self.safety = Some(*record),
            Write::Block(block) => self.blocks.push(*block),
            Write::Own(batch) => self.own = Some(*batch),
            Write::Ack(r) => {
                self.acks.insert((r.epoch, r.creator, r.round), r);
            }
            Write::Batch(r, batch) => {
                self.batches.insert(r, *batch);
            }
            Write::Certificate(c) => {
                self.certificates.insert(c.batch, *c);
            }
            Write::Pending(p) => {
                self.pending.insert(p.id, *p);
            }
            Write::Forget(ids) => ids.iter().for_each(|id| {
                self.pending.remove(id);
            }),
            Write::Commit(record) => self.commit(*record),
        }
    }

    fn commit(&mut self, record: CommitRecord) {
        let height = record.committed.block.height;
        self.accounts.extend(record.changes.iter().copied());
        self.tally = record.tally;
        let block = &record.committed.block;
        for r in &block.batches {
            self.included.insert(r.creator, r.round + 1);
        }
        if let Some(registry) = &record.registry {
            self.registry.clone_from(registry);
        }
        if let Some(slashing) = &record.slashing {
            self.slashing.clone_from(slashing);
        }
        if let Some(closed) = &record.monetary {
            self.monetary.clone_from(&closed.state);
        }
        if block.ends_epoch() {
            self.included.clear();
            let (epoch, view, block) = (block.next_epoch(), block.view, record.id);
            self.start = EpochStart { epoch, height, view, block };
        }
        self.blocks.retain(|b| b.height > height);
        self.commits.insert(height, record);
    }
}

impl Disk {
    pub(crate) fn new(
        genesis: BlockId,
        accounts: BTreeMap<Address, Account>,
        registry: Registry,
    ) -> Self {
        let durable = Content {
            safety: None,
            blocks: Vec::new(),
            own: None,
            acks: BTreeMap::new(),
            batches: BTreeMap::new(),
            certificates: BTreeMap::new(),
            pending: BTreeMap::new(),
            commits: BTreeMap::new(),
            accounts,
            included: BTreeMap::new(),
            tally: Tally::default(),
            registry,
            slashing: Slashing::default(),
            monetary: monetary::State::default(),
            start: EpochStart::genesis(genesis),
        };
        Self { durable, pending: Vec::new() }
    }

    /// The safety record a loss of power would leave.
    pub(crate) fn durable_safety(&self) -> Option<&SafetyRecord> {
        self.durable.safety.as_ref()
    }

    /// Whether a loss of power would leave this own batch.
    pub(crate) fn has_durable_batch(&self, reference: &BatchRef) -> bool {
        self.durable.own.as_ref().map(|b| (b.epoch, b.round))
            >= Some((reference.epoch, reference.round))
    }

    /// Whether a loss of power would leave this ack decision.
    pub(crate) fn has_durable_ack(&self, reference: &BatchRef) -> bool {
        self.durable.acks.get(&(reference.epoch, reference.creator, reference.round))
            == Some(reference)
    }

    fn write(&mut self, write: Write) {
        self.pending.push(write);
    }

    /// Makes what was written survive a crash.
    pub(crate) fn sync(&mut self) {
        for write in self.pending.drain(..) {
            self.durable.apply(write);
        }
    }

    /// Writes that a crash may take.
    pub(crate) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn persist_safety(&mut self, record: SafetyRecord) {
        self.write(Write::Safety(Box::new(record)));
    }

    pub(crate) fn persist_own(&mut self, batch: Batch) {
        self.write(Write::Own(Box::new(batch)));
    }

    pub(crate) fn persist_ack(&mut self, reference: BatchRef) {
        self.write(Write::Ack(reference));
    }

    pub(crate) fn store_block(&mut self, block: Block) {
        self.write(Write::Block(Box::new(block)));
    }

    pub(crate) fn store_batch(&mut self, reference: BatchRef, batch: Batch) {
        self.write(Write::Batch(reference, Box::new(batch)));
    }

    pub(crate) fn store_certificate(&mut self, certificate: BatchCertificate) {
        self.write(Write::Certificate(Box::new(certificate)));
    }

    pub(crate) fn store_pending(&mut self, pending: PendingTransaction) {
        self.write(Write::Pending(Box::new(pending)));
    }

    pub(crate) fn forget_pending(&mut self, ids: Vec<TxId>) {
        self.write(Write::Forget(ids));
    }

    pub(crate) fn commit(&mut self, record: CommitRecord) {
        self.write(Write::Commit(Box::new(record)));
    }

    /// The machine lost power: of what was not synced, only the first `kept` writes are there.
    pub(crate) fn crash(&mut self, kept: usize) {
        for write in self.pending.drain(..).take(kept).collect::<Vec<_>>() {
            self.durable.apply(write);
        }
    }

    /// A running process also reads what is not durable yet.
    pub(crate) fn certified(&self, reference: &BatchRef) -> Option<CertifiedBatch> {
        let fresh = |w: &Write| match w {
            Write::Batch(r, b) if r == reference => Some((**b).clone()),
            _ => None,
        };
        let stored = || self.durable.batches.get(reference).cloned();
        let batch = self.pending.iter().find_map(fresh).or_else(stored)?;
        let fresh = |w: &Write| match w {
            Write::Certificate(c) if c.batch == *reference => Some((**c).clone()),
            _ => None,
        };
        let stored = || self.durable.certificates.get(reference).cloned();
        let certificate = self.pending.iter().find_map(fresh).or_else(stored)?;
        Some(CertifiedBatch { batch, certificate })
    }

    pub(crate) fn committed(&self, from: Height, limit: u64) -> Vec<CommittedBlock> {
        // An answer ends with its epoch: who asks may not know yet who validates the next.
        let range = from..Height(from.0.saturating_add(limit));
        let fresh = self.pending.iter().filter_map(|w| match w {
            Write::Commit(r) if range.contains(&r.committed.block.height) => Some(&**r),
            _ => None,
        });
        let stored = self.durable.commits.range(range.clone()).map(|(_, r)| r);
        let mut has_ended = false;
        let blocks = stored.chain(fresh).map(|r| r.committed.clone());
        let of_epoch = |c: &CommittedBlock| {
            let is_after = has_ended;
            has_ended |= c.block.ends_epoch();
            !is_after
        };
        blocks.take_while(of_epoch).collect()
    }

    /// First round of a creator that no committed block includes.
    pub(crate) fn next_round(&self, creator: ValidatorIndex) -> u64 {
        let fresh = self.pending.iter().filter_map(|w| match w {
            Write::Commit(r) => Some(&r.committed.block.batches),
            _ => None,
        });
        let fresh = fresh.flatten().filter(|r| r.creator == creator).map(|r| r.round + 1).max();
        fresh.or(self.durable.included.get(&creator).copied()).unwrap_or(0)
    }

    pub(crate) fn restored(&self, params: &Params) -> Restored {
        let content = &self.durable;
        let height = content.commits.keys().next_back().copied().unwrap_or_default();
        let accounts = content.accounts.iter().map(|(a, b)| (*a, *b));
        let (registry, slashing) = (content.registry.clone(), content.slashing.clone());
        let monetary = content.monetary.clone();
        let system = System { tally: content.tally, registry, slashing, monetary };
        let ledger = Ledger::restore(params.clone(), height, system, accounts)
            .expect("the simulated disk keeps what it was given");
        let mut roots: Vec<(Height, StateRoot)> =
            content.commits.iter().map(|(h, r)| (*h, r.state_root)).collect();
        if height == Height(0) {
            roots.push((height, ledger.state_root()));
        }
        let epoch = content.start.epoch;
        let included = |r: &BatchRef| content.included.get(&r.creator).copied().unwrap_or(0);
        let open = |r: &BatchRef| r.epoch == epoch && r.round + 8 >= included(r);
        let nonce = |p: &PendingTransaction| {
            content.accounts.get(&p.transaction.sender).map_or(0, |a| a.nonce)
        };
        Restored {
            start: content.start,
            safety: content.safety.clone(),
            committed: content.commits.get(&height).map(|r| r.committed.block.clone()),
            pending: content.blocks.clone(),
            dag: qbind_dag::Restored {
                included: content.included.clone(),
                own: content.own.clone().filter(|own| own.epoch == epoch),
                batches: content
                    .batches
                    .iter()
                    .filter(|(r, _)| open(r))
                    .map(|(_, b)| b.clone())
                    .collect(),
                certificates: content
                    .certificates
                    .iter()
                    .filter(|(r, _)| open(r))
                    .map(|(_, c)| c.clone())
                    .collect(),
                acks: content.acks.values().filter(|r| open(r)).copied().collect(),
                pending: content.pending.values().map(|p| (p.clone(), nonce(p))).collect(),
            },
            ledger,
            roots,
            lowest: Height(1),
        }
    }
}
