//! Blocks, state and the safety record in RocksDB; fsync means fsync.
//!
//! One database, one column family per kind of value. Keys are big-endian so that iteration follows
//! heights and rounds; values are the canonical encoding. RocksDB checks the checksum of every block
//! it reads (its default, relied on here) and all column families share one write-ahead log, so a
//! synced write makes everything written before it durable.
//!
//! Promises: `persist_*` returns after fsync; a committed block and all it changes are written
//! atomically; a database of another chain or a newer schema is refused, never changed.
//!
//! Never here: a decision what to store.

mod error;
mod history;
mod load;
mod schema;
mod store;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use history::{History, HistoryError, HistoryQuery, IndexedTransaction, Place};
pub use load::Loaded;
pub use schema::{CommitIndex, TransactionIndex};
pub use store::Store;
