//! A node's database, made of a validated snapshot.

use super::{SnapshotError, Validated, files};
use crate::{Store, StoreError, schema};
use qbind_types::{CommittedBlock, Millis, decode, encode};
use rocksdb::WriteBatch;
use std::{fs, path::Path};

/// Bytes written at once.
const BATCH: usize = 4 << 20;

/// The database of a node.
const DATABASE: &str = "state";
/// One that is being made.
const PARTIAL: &str = "state.partial";
/// A checkpoint that is on its way to become a snapshot.
const CHECKPOINT: &str = "checkpoint.partial";

/// Removes what an interrupted process left in a node's data directory.
///
/// # Errors
/// The disk's fault, or missing permission.
pub fn clear_leftovers(data_dir: &Path) -> Result<(), SnapshotError> {
    files::remove_tree(&data_dir.join(PARTIAL))?;
    files::remove_tree(&data_dir.join(CHECKPOINT))
}

impl Validated {
    /// Makes the database of `data_dir`, which has none, of this snapshot: it is there whole and
    /// durable or not at all. Every value that was checked is written anew; no file of a stranger
    /// becomes one of the database.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn install(&self, data_dir: &Path, now: Millis) -> Result<(), SnapshotError> {
        let (partial, to) = (data_dir.join(PARTIAL), data_dir.join(DATABASE));
        if to.exists() {
            return Err(SnapshotError::Exists { path: to });
        }
        files::remove_tree(&partial)?;
        let target = Store::open(&partial, self.meta.genesis_hash)?;
        for family in schema::SNAPSHOT_FAMILIES {
            self.copy(family, &target)?;
        }
        let mut batch = WriteBatch::default();
        let committed = target.family(schema::COMMITTED);
        batch.put_cf(committed, schema::height_key(self.meta.height), encode(&self.block));
        let meta = target.family(schema::META);
        batch.put_cf(meta, schema::KEY_SYNCED, encode(&now));
        // The block is there, its batches are not.
        batch.put_cf(meta, schema::KEY_LOWEST, encode(&self.meta.height.next()));
        target.write_synced(batch, "write the database")?;
        // What is only in the log would be read again with every start.
        let fault = |source| StoreError::Io { what: "write the database", source };
        for family in schema::FAMILIES {
            target.db.flush_cf(target.family(family)).map_err(fault)?;
        }
        drop(target);
        files::sync_dir(&partial)?;
        fs::rename(&partial, &to).map_err(SnapshotError::io("move to", &to))?;
        files::sync_dir(data_dir)
    }

    fn copy(&self, family: &str, target: &Store) -> Result<(), SnapshotError> {
        let what = "write the database";
        let mut batch = WriteBatch::default();
        self.store.each(family, &[], |key, value| {
            batch.put_cf(target.family(family), key, value);
            if family == schema::EPOCH_ENDS {
                // Where whoever follows the chain asks for it.
                let damaged = |_| StoreError::Damaged { what: "last block of an epoch" };
                let end: CommittedBlock = decode(value).map_err(damaged)?;
                let key = schema::height_key(end.block.height);
                batch.put_cf(target.family(schema::COMMITTED), key, value);
            }
            if batch.size_in_bytes() >= BATCH {
                let full = std::mem::take(&mut batch);
                target.db.write(full).map_err(|source| StoreError::Io { what, source })?;
            }
            Ok(true)
        })?;
        target.write_synced(batch, what)?;
        Ok(())
    }
}
