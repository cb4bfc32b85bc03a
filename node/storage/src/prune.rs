//! Deleting history that is older than a node keeps.
//!
//! Height by height from the lowest on, a few at a time: each step deletes what belongs to its heights
//! and says how far it is in one write, so that whatever ends the process, the database says what it
//! holds. What deletions leave behind in the files goes when RocksDB merges them, and files with many
//! deletions are merged first.
//!
//! Promises: the last block of every epoch with its proof, the epochs' validators, the genesis file and
//! the accounts are never deleted; nor are the last block and the blocks of the epoch under way, without
//! which neither a restart nor a snapshot would succeed.

use crate::{CommitIndex, Store, StoreError, TransactionIndex, schema};
use qbind_types::{BatchRef, CommittedBlock, Epoch, EpochStart, Height, encode};
use rocksdb::{BottommostLevelCompaction, CompactOptions, Options, WriteBatch};
use std::collections::BTreeSet;

/// Heights of one step.
const HEIGHTS: u64 = 64;
/// Deletions after which a step takes no further height.
const KEYS: u64 = 2_000;

/// Indexed transactions forgotten in one write.
const INDEXED: usize = 1_000;

/// Deletions among so many keys in a row that make a file worth merging.
const DELETIONS: (usize, usize) = (1_024, 512);

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Heights.
    pub heights: u64,
    /// Keys looked at.
    pub scanned: u64,
    /// Keys deleted.
    pub deleted: u64,
    /// The lowest height that is left.
    pub lowest: Height,
}

impl Pruned {
    /// Counts a further step.
    pub fn add(&mut self, step: &Self) {
        self.heights += step.heights;
        self.scanned += step.scanned;
        self.deleted += step.deleted;
        self.lowest = step.lowest;
    }
}

/// What prunes: families with history.
const PRUNED: [&str; 9] = [
    schema::COMMITTED,
    schema::INDEX,
    schema::TRANSACTIONS,
    schema::BATCHES,
    schema::BATCH_IDS,
    schema::CERTIFICATES,
    schema::ACKS,
    schema::HISTORY,
    schema::ACCOUNT_HISTORY,
];

/// Lets files with many deletions be merged before others.
pub(crate) fn prepare(family: &str, options: &mut Options) {
    if PRUNED.contains(&family) {
        let (window, deletions) = DELETIONS;
        options.add_compact_on_deletion_collector_factory(window, deletions, 0.5);
    }
}

/// Deletions of a step that are not written yet.
struct Step<'a> {
    store: &'a Store,
    batch: WriteBatch,
    /// What is in `batch`: the database still shows it.
    gone: BTreeSet<(&'static str, Vec<u8>)>,
    done: Pruned,
}

impl Store {
    /// The lowest height from which on every block is here with its batches.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn lowest(&self) -> Result<Height, StoreError> {
        let stored: Option<Height> = self.get(schema::META, schema::KEY_LOWEST, "lowest height")?;
        Ok(stored.unwrap_or(Height(1)))
    }

    /// The last block of an epoch with its proof, if that epoch has ended; pruning leaves it.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn epoch_end(&self, epoch: Epoch) -> Result<Option<CommittedBlock>, StoreError> {
        self.get(schema::EPOCH_ENDS, &schema::epoch_key(epoch), "last block of an epoch")
    }

    /// Whether every block of the epoch under way is here: in the epoch of the snapshot that a node was
    /// made of, those before the snapshot are not.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn has_whole_epoch(&self) -> Result<bool, StoreError> {
        let start: Option<EpochStart> =
            self.get(schema::META, schema::KEY_START, "epoch's start")?;
        Ok(self.lowest()? <= start.map_or(Height(1), |start| start.height.next()))
    }

    /// How far pruning may go if asked for everything below `floor`.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn prunable(&self, floor: Height) -> Result<Height, StoreError> {
        let tip: Option<Height> = self.get(schema::META, schema::KEY_HEIGHT, "height")?;
        let start: Option<EpochStart> =
            self.get(schema::META, schema::KEY_START, "epoch's start")?;
        let first = start.map_or(Height(1), |start| start.height.next());
        Ok(floor.min(tip.unwrap_or_default()).min(first))
    }

    /// Deletes the history of a few heights below `floor`; `None` when none is left.
    ///
    /// # Errors
    /// The disk's fault; what was deleted before is deleted.
    pub fn prune_step(&self, floor: Height) -> Result<Option<Pruned>, StoreError> {
        let (lowest, floor) = (self.lowest()?, self.prunable(floor)?);
        if lowest >= floor {
            return Ok(None);
        }
        let done = Pruned { lowest, ..Pruned::default() };
        let (batch, gone) = (WriteBatch::default(), BTreeSet::new());
        let mut step = Step { store: self, batch, gone, done };
        while step.done.lowest < floor && step.done.heights < HEIGHTS && step.done.deleted < KEYS {
            step.height(step.done.lowest)?;
            step.done.heights += 1;
            step.done.lowest = step.done.lowest.next();
        }
        let Step { mut batch, mut done, .. } = step;
        batch.put_cf(self.family(schema::META), schema::KEY_LOWEST, encode(&done.lowest));
        let what = "delete old blocks";
        self.db.write(batch).map_err(|source| StoreError::Io { what, source })?;
        self.forget_index(&mut done)?;
        Ok(Some(done))
    }

    /// What an RPC node has indexed of these heights: a transaction, and its two accounts.
    fn forget_index(&self, done: &mut Pruned) -> Result<(), StoreError> {
        loop {
            let forgotten = self.prune_index(done.lowest, INDEXED)?;
            done.scanned += forgotten as u64;
            done.deleted += 3 * forgotten as u64;
            if forgotten < INDEXED {
                return Ok(());
            }
        }
    }

    /// Gives the room of what was deleted back to the disk: rewrites the files of all history.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn reclaim(&self) -> Result<(), StoreError> {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for name in PRUNED {
            let family = self.family(name);
            let what = "write the database's files anew";
            self.db.flush_cf(family).map_err(|source| StoreError::Io { what, source })?;
            self.db.compact_range_cf_opt::<&[u8], &[u8]>(family, None, None, &options);
        }
        Ok(())
    }
}

impl Step<'_> {
    /// Everything of one height, but the block itself where it ends an epoch.
    fn height(&mut self, height: Height) -> Result<(), StoreError> {
        let key = schema::height_key(height);
        if let Some(index) = self.store.commit_index(height)? {
            self.index(&index)?;
            self.delete(schema::INDEX, &key);
        }
        self.done.scanned += 2;
        let Some(committed) = self.store.committed(height)? else { return Ok(()) };
        for reference in &committed.block.batches {
            self.batch(reference);
        }
        if committed.block.ends_epoch() {
            self.epoch(committed.block.epoch)
        } else {
            self.delete(schema::COMMITTED, &key);
            Ok(())
        }
    }

    /// The entries of its transactions. One without effect here may have had its effect elsewhere.
    fn index(&mut self, index: &CommitIndex) -> Result<(), StoreError> {
        for (id, _) in &index.transactions {
            self.done.scanned += 1;
            let entry: Option<TransactionIndex> = self.store.transaction(id)?;
            if entry.is_some_and(|entry| entry.height == index.height) {
                self.delete(schema::TRANSACTIONS, &id.0);
            }
        }
        Ok(())
    }

    fn batch(&mut self, reference: &BatchRef) {
        self.done.scanned += 1;
        let key = schema::batch_key(reference);
        self.delete(schema::BATCHES, &key);
        self.delete(schema::CERTIFICATES, &key);
        self.delete(schema::BATCH_IDS, &reference.id.0);
        self.delete(schema::ACKS, &schema::round_key(reference));
    }

    /// What no block included: with its epoch it has become useless.
    fn epoch(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        let end = schema::epoch_key(epoch.next());
        for family in [schema::BATCHES, schema::CERTIFICATES, schema::ACKS] {
            let mut keys = Vec::new();
            self.store.each(family, &[], |key, _| {
                let is_older = key < &end[..];
                keys.extend(is_older.then(|| key.to_vec()));
                Ok(is_older)
            })?;
            for key in keys {
                self.done.scanned += 1;
                self.delete(family, &key);
                if family == schema::BATCHES
                    && let Some(id) = key.get(schema::ROUND_BYTES..)
                {
                    self.delete(schema::BATCH_IDS, id);
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, family: &'static str, key: &[u8]) {
        if self.gone.insert((family, key.to_vec())) {
            self.batch.delete_cf(self.store.family(family), key);
            self.done.deleted += 1;
        }
    }
}

#[cfg(test)]
mod tests;
