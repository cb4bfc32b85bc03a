//! What can go wrong on a disk.

use std::path::PathBuf;
use thiserror::Error;

/// The world's fault, or the operator's.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Opening failed; another process may hold the lock.
    #[error("cannot open the database in {}; is another qbind-node using it?", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// RocksDB's word.
        #[source]
        source: rocksdb::Error,
    },
    /// Reading or writing failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// RocksDB's word.
        #[source]
        source: rocksdb::Error,
    },
    /// A value is not what its kind demands; the disk is damaged.
    #[error("damaged {what} in the database; restore the data directory from a snapshot")]
    Damaged {
        /// Which kind of value.
        what: &'static str,
    },
    /// Written by a newer release.
    #[error("database schema {found}, this release knows {known}; run the newer release")]
    Schema {
        /// In the database.
        found: u32,
        /// Known here.
        known: u32,
    },
    /// Of another chain.
    #[error("the data directory belongs to genesis {found}, not {expected}")]
    Genesis {
        /// In the database.
        found: String,
        /// Asked for.
        expected: String,
    },
}
