//! `meta.json`, and what `certified.bin` holds.

use super::{FileEntry, SnapshotError};
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{
    Block, BlockId, CommittedBlock, Epoch, GenesisHash, Height, Millis, StateRoot, decode, encode,
};
use serde::{Deserialize, Serialize};
use std::{fs::File, io::Read, path::Path};

/// The file that says what a snapshot is.
pub const META_FILE: &str = "meta.json";
/// The folder of the database.
pub const STATE: &str = "state";
/// The file with the blocks that prove it.
pub const CERTIFIED: &str = "certified.bin";

pub(super) const SCHEMA: &str = "qbind.snapshot/v1";
/// A line for each of a hundred thousand files.
const META_BYTES: u64 = 32 << 20;
/// The blocks of an epoch as long as a genesis file can ask for, referencing batches as usual.
const CERTIFIED_BYTES: u64 = 512 << 20;

/// What a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Form of this file.
    pub schema: String,
    /// The state is the one after this height.
    pub height: Height,
    /// The block of that height.
    pub block_hash: BlockId,
    /// Root of the state.
    pub state_root: StateRoot,
    /// The epoch of that block.
    pub epoch: Epoch,
    /// The network's number.
    pub chain_id: u64,
    /// The chain's name in its genesis file.
    pub chain_name: String,
    /// SHA3-256 of the genesis file.
    pub genesis_hash: GenesisHash,
    /// How many accounts.
    pub accounts: u64,
    /// When it was made.
    pub created_at_unix_ms: Millis,
    /// Every other file, by name.
    pub files: Vec<FileEntry>,
}

impl Meta {
    /// Reads the `meta.json` of the snapshot in `dir`; nothing it says is checked yet.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn load(dir: &Path) -> Result<Self, SnapshotError> {
        if !dir.is_dir() {
            return Err(SnapshotError::NoFolder { path: dir.to_owned() });
        }
        let path = dir.join(META_FILE);
        let bytes = read(&path, META_FILE, META_BYTES)?;
        let damaged = |reason: String| SnapshotError::Meta { path: path.clone(), reason };
        let meta: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if meta.schema != SCHEMA {
            return Err(damaged(format!("schema {}, this release knows {SCHEMA}", meta.schema)));
        }
        Ok(meta)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain data serialises");
        text.push(b'\n');
        text
    }

    /// Bytes of all its files but `meta.json`.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// What proves a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Certified {
    /// The block of its height.
    pub(crate) block: CommittedBlock,
    /// The blocks of the same epoch before it, in order; none where it ends the epoch.
    pub(crate) before: Vec<Block>,
    /// The last blocks of the epochs that ended after it and before `naming`.
    pub(crate) ends: Vec<CommittedBlock>,
    /// A later block, whose header names the state after the height.
    pub(crate) naming: CommittedBlock,
}

impl Certified {
    pub(super) fn load(dir: &Path) -> Result<Self, SnapshotError> {
        let bytes = read(&dir.join(CERTIFIED), CERTIFIED, CERTIFIED_BYTES)?;
        let reason = "it is not the encoding of blocks";
        decode(&bytes).map_err(|_| SnapshotError::Certified { reason })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let bytes = encode(self);
        let fits = bytes.len() as u64 <= CERTIFIED_BYTES;
        let reason = "the blocks of the epoch are too many";
        if fits { Ok(bytes) } else { Err(SnapshotError::Certified { reason }) }
    }
}

fn read(path: &Path, name: &str, most: u64) -> Result<Vec<u8>, SnapshotError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => SnapshotError::Missing { file: name.to_owned() },
        _ => SnapshotError::Io { what: "open", path: path.to_owned(), source },
    })?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(SnapshotError::io("read", path))?;
    if bytes.len() as u64 > most {
        let (file, found) = (name.to_owned(), bytes.len() as u64);
        return Err(SnapshotError::Size { file, found, expected: most });
    }
    Ok(bytes)
}
