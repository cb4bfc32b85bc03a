//! Taking a snapshot: a checkpoint at once, the rest whenever.

use super::{
    CERTIFIED, META_FILE, Meta, STATE, SnapshotError, SnapshotFolder, files,
    meta::{Certified, SCHEMA},
};
use crate::{Store, StoreError, schema};
use qbind_crypto::block_id;
use qbind_ledger::Genesis;
use qbind_types::{
    Block, CommittedBlock, EpochStart, ExecutedState, GenesisHash, Height, Millis, StateRoot,
};
use rocksdb::{BottommostLevelCompaction, CompactOptions, WriteBatch, checkpoint::Checkpoint};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// A checkpoint on its way to become a snapshot; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    checkpoint: PathBuf,
    block: CommittedBlock,
    root: StateRoot,
}

impl Store {
    /// A copy of the database as it is now, made of hard links to files that never change. What has
    /// not been written to such a file yet is copied with the log and not flushed, so that whoever
    /// writes the database waits for milliseconds.
    fn checkpoint(&self, to: &Path) -> Result<(), StoreError> {
        let fault = |source| StoreError::Io { what: "take a checkpoint", source };
        let checkpoint = Checkpoint::new(&self.db).map_err(fault)?;
        checkpoint.create_checkpoint_with_log_size(to, u64::MAX).map_err(fault)
    }

    /// Bytes of the accounts.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn accounts_bytes(&self) -> Result<u64, StoreError> {
        self.family_bytes(schema::ACCOUNTS)
    }
}

impl Draft {
    /// Takes the checkpoint, in a folder beside the database that is not there yet. `block` is the
    /// last one in the store, `root` that of the state after it.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn begin(
        store: &Store,
        checkpoint: PathBuf,
        block: CommittedBlock,
        root: StateRoot,
    ) -> Result<Self, SnapshotError> {
        let draft = Self { checkpoint, block, root };
        files::remove_tree(&draft.checkpoint)?;
        store.checkpoint(&draft.checkpoint)?;
        Ok(draft)
    }

    /// Its height.
    pub fn height(&self) -> Height {
        self.block.block.height
    }

    /// What the header of a later block must say of it.
    pub fn state(&self) -> ExecutedState {
        ExecutedState { height: self.height(), root: self.root }
    }

    /// Removes everything that belongs to this node alone, or that no certificate vouches for.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn trim(&self) -> Result<(), SnapshotError> {
        let mut copy = Store::open_existing(&self.checkpoint)?;
        let what = "trim the checkpoint";
        let fault = |source| StoreError::Io { what, source };
        let others = schema::FAMILIES.iter().filter(|f| !schema::SNAPSHOT_FAMILIES.contains(f));
        for family in others {
            copy.db.drop_cf(family).map_err(fault)?;
            copy.db.create_cf(family, &rocksdb::Options::default()).map_err(fault)?;
        }
        let mut batch = WriteBatch::default();
        copy.each(schema::META, &[], |key, _| {
            if !schema::SNAPSHOT_META.contains(&key) {
                batch.delete_cf(copy.family(schema::META), key);
            }
            Ok(true)
        })?;
        copy.write_synced(batch, what)?;
        for family in schema::FAMILIES {
            copy.db.flush_cf(copy.family(family)).map_err(fault)?;
        }
        // A deleted record is still in the file it was written to; only this takes it out.
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        let meta = copy.family(schema::META);
        copy.db.compact_range_cf_opt(meta, None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    /// Makes a snapshot of the trimmed checkpoint. `naming` is a later block whose header names the
    /// state, `ends` are the last blocks of the epochs that ended between the two.
    ///
    /// # Errors
    /// The disk's fault; nothing is left behind.
    pub fn complete(
        self,
        store: &Store,
        folder: &SnapshotFolder,
        ends: Vec<CommittedBlock>,
        naming: CommittedBlock,
        now: Millis,
        stop: &AtomicBool,
    ) -> Result<(PathBuf, Meta), SnapshotError> {
        let height = self.height();
        if naming.block.executed != self.state() {
            let (found, certified) = (self.root, naming.block.executed.root);
            return Err(SnapshotError::Root { height, found, certified });
        }
        let (to, partial) = (folder.snapshot(height), folder.partial(height));
        if to.exists() {
            return Err(SnapshotError::Exists { path: to });
        }
        let before = self.before(store)?;
        let block = self.block.clone();
        let certified = Certified { block, before, ends, naming }.encode()?;
        let mut meta = self.describe(store, now)?;
        let fill = || -> Result<Meta, SnapshotError> {
            fs::create_dir_all(&partial).map_err(SnapshotError::io("create", &partial))?;
            files::move_folder(&self.checkpoint, &partial.join(STATE))?;
            files::write_synced(&partial.join(CERTIFIED), &certified)?;
            meta.files = files::list_and_sync(&partial, stop)?;
            files::write_synced(&partial.join(META_FILE), &meta.encode())?;
            files::sync_dir(&partial)?;
            fs::rename(&partial, &to).map_err(SnapshotError::io("move to", &to))?;
            files::sync_dir(folder.dir())?;
            Ok(meta)
        };
        let made = fill();
        if made.is_err() {
            // The first error says more than this one could.
            files::remove_tree(&partial).unwrap_or_default();
        }
        Ok((to, made?))
    }

    /// The blocks of the epoch before this one's.
    fn before(&self, store: &Store) -> Result<Vec<Block>, SnapshotError> {
        let block = &self.block.block;
        if block.ends_epoch() {
            return Ok(Vec::new());
        }
        let copy = Store::open_read_only(&self.checkpoint)?;
        let start: Option<EpochStart> =
            copy.get(schema::META, schema::KEY_START, "epoch's start")?;
        let first = start.map_or(1, |start| start.height.0 + 1);
        let block_of = |h| {
            let found = store.committed(Height(h))?.map(|committed| committed.block);
            found.ok_or(SnapshotError::Pruned { height: Height(h) })
        };
        (first..block.height.0).map(block_of).collect()
    }

    fn describe(&self, store: &Store, now: Millis) -> Result<Meta, SnapshotError> {
        let copy = Store::open_read_only(&self.checkpoint)?;
        let damaged = |what| SnapshotError::Store(StoreError::Damaged { what });
        let hash: Option<GenesisHash> =
            copy.get(schema::META, schema::KEY_GENESIS, "genesis hash")?;
        let genesis = copy.genesis_file()?.ok_or_else(|| damaged("genesis file"))?;
        let mut accounts = 0;
        copy.each(schema::ACCOUNTS, &[], |_, _| {
            accounts += 1;
            Ok(true)
        })?;
        let block = &self.block.block;
        let genesis = Genesis::parse(&genesis)?;
        // A part that is cut off with what is this node's alone would show only to who starts from it.
        let index = store.commit_index(block.height)?.ok_or_else(|| damaged("commit index"))?;
        if copy.system(&genesis)?.root() != index.system_root {
            return Err(damaged("state beside the accounts"));
        }
        drop(copy);
        files::remove_noise(&self.checkpoint)?;
        Ok(Meta {
            schema: SCHEMA.to_owned(),
            height: block.height,
            block_hash: block_id(block),
            state_root: self.root,
            epoch: block.epoch,
            chain_id: block.network.chain_id(),
            chain_name: genesis.chain_id,
            genesis_hash: hash.ok_or_else(|| damaged("genesis hash"))?,
            accounts,
            created_at_unix_ms: now,
            files: Vec::new(),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Whatever this leaves is removed when the node starts again.
        files::remove_tree(&self.checkpoint).unwrap_or_default();
    }
}
