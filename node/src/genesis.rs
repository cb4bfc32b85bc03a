//! The genesis file's bytes and their hash; what they mean is the ledger's business.

use qbind_types::GenesisHash;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Largest genesis file: 256 validators and a hundred thousand allocations fit many times.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A genesis file as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenesisFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Every byte.
    pub bytes: Vec<u8>,
    /// SHA3-256 of them.
    pub hash: GenesisHash,
}

/// The genesis file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisFileError {
    /// It cannot be read.
    #[error("cannot read the genesis file {}; check genesis_path and the file's permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{} has more than {MAX_BYTES} bytes; genesis_path must name a genesis file", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is not the file the operator expects.
    #[error(
        "GenesisHashMismatch: {} has SHA3-256 {got}, but expect_genesis_hash is {expected}; \
         get the network's genesis file, or correct --expect-genesis-hash from a source you trust",
        path.display()
    )]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// Its hash.
        got: GenesisHash,
        /// The hash wanted.
        expected: GenesisHash,
    },
}

impl GenesisFile {
    /// Reads and hashes the file.
    ///
    /// # Errors
    /// The operator's fault: no such file, not readable, far too large.
    pub fn load(path: &Path) -> Result<Self, GenesisFileError> {
        let fault = |source| GenesisFileError::Read { path: path.into(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(fault)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(GenesisFileError::TooLarge { path: path.into() });
        }
        let hash = qbind_crypto::genesis_hash(&bytes);
        Ok(Self { path: path.into(), bytes, hash })
    }

    /// Checks that it is the expected one; without an expectation any file will do.
    ///
    /// # Errors
    /// The operator's fault: another file than expected.
    pub fn expect(&self, expected: Option<GenesisHash>) -> Result<(), GenesisFileError> {
        match expected {
            Some(expected) if expected != self.hash => Err(GenesisFileError::Mismatch {
                path: self.path.clone(),
                got: self.hash,
                expected,
            }),
            _ => Ok(()),
        }
    }
}
