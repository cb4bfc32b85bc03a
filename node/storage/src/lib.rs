//! Blocks, state and the safety record in RocksDB; fsync means fsync.
//!
//! One database, one column family per kind of value. Keys are big-endian so that iteration follows
//! heights and rounds; values are the canonical encoding. RocksDB checks the checksum of every block
//! it reads (its default, relied on here) and all column families share one write-ahead log, so a
//! synced write makes everything written before it durable.
//!
//! A snapshot is a folder with the state after one height and what proves it; see the head of
//! `snapshot.rs`.
//!
//! Promises: `persist_*` returns after fsync; a committed block and all it changes are written
//! atomically; a database of another chain or a newer schema is refused, never changed.
//!
//! Never here: a decision what to store.

mod error;
mod history;
mod in_use;
mod load;
mod prune;
mod schema;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use history::{History, HistoryError, HistoryQuery, IndexedTransaction, Place};
pub use in_use::{DirLock, is_in_use};
pub use load::Loaded;
pub use prune::Pruned;
pub use schema::{CommitIndex, TransactionIndex};
pub use snapshot::{
    CERTIFIED, Draft, FileEntry, META_FILE, Meta, STATE, SnapshotError, SnapshotFolder, Validated,
    clear_leftovers, digest_of, sync_dir,
};
pub use store::Store;
