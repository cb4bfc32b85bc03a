//! Why a snapshot cannot be taken or is refused.

use crate::StoreError;
use qbind_crypto::LightError;
use qbind_ledger::{GenesisError, RestoreError};
use qbind_types::{BlockId, Epoch, GenesisHash, Height, StateRoot};
use std::{io, path::PathBuf};
use thiserror::Error;

/// The disk's fault, or of whoever made the snapshot.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The disk, or missing permission.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no such folder.
    #[error("{} is no folder; name a snapshot's own folder, <snapshot_dir>/<height>", path.display())]
    NoFolder {
        /// Where.
        path: PathBuf,
    },
    /// `meta.json` is not one.
    #[error("{} is damaged or of another release: {reason}", path.display())]
    Meta {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file that `meta.json` lists is not there.
    #[error("{file} is missing")]
    Missing {
        /// Relative to the snapshot.
        file: String,
    },
    /// It is longer or shorter than it was.
    #[error("{file} has {found} bytes, and {expected} were written")]
    Size {
        /// Relative to the snapshot.
        file: String,
        /// Bytes now.
        found: u64,
        /// Bytes once.
        expected: u64,
    },
    /// Its bytes are others.
    #[error("{file} is damaged: its bytes are not those that were written")]
    Digest {
        /// Relative to the snapshot.
        file: String,
    },
    /// A file nobody listed.
    #[error("{file} is not listed in meta.json")]
    Unlisted {
        /// Relative to the snapshot.
        file: String,
    },
    /// The database in it cannot be used.
    #[error("its database cannot be used")]
    Store(#[from] StoreError),
    /// Something that no snapshot holds.
    #[error("its database holds {what}, which no snapshot does")]
    Foreign {
        /// What was found.
        what: String,
    },
    /// `certified.bin` is not one.
    #[error("certified.bin is damaged: {reason}")]
    Certified {
        /// What is wrong.
        reason: &'static str,
    },
    /// Of another chain than the one asked for.
    #[error("it is of the chain with genesis {found}, expected {expected}")]
    OtherChain {
        /// What it is of.
        found: GenesisHash,
        /// What was asked for.
        expected: GenesisHash,
    },
    /// It contradicts itself.
    #[error("meta.json says {what} {said}, and it holds {held}")]
    Contradiction {
        /// Of what.
        what: &'static str,
        /// In `meta.json`.
        said: String,
        /// In the rest.
        held: String,
    },
    /// The genesis file in it is none.
    #[error("its genesis file cannot be used")]
    Genesis(#[from] GenesisError),
    /// Its certificates do not lead from genesis to its block.
    #[error("its certificates do not lead from genesis to height {height}")]
    Chain {
        /// Its height.
        height: Height,
        /// Where they fail.
        #[source]
        source: LightError,
    },
    /// The validators of an epoch are missing.
    #[error("the validators of epoch {epoch} are missing")]
    NoValidators {
        /// Which epoch.
        epoch: Epoch,
    },
    /// Validators that no block of the chain names.
    #[error("the validators it holds for epoch {epoch} are not the chain's")]
    Validators {
        /// Which epoch.
        epoch: Epoch,
    },
    /// The blocks of the epoch are not the ancestors of its block.
    #[error("the blocks of its epoch do not lead to block {block}")]
    Ancestors {
        /// Its block.
        block: BlockId,
    },
    /// What follows from those blocks is something else.
    #[error("its {what} does not follow from its blocks")]
    Derived {
        /// What does not.
        what: &'static str,
    },
    /// Accounts that add up to more than there can be.
    #[error("its accounts cannot be a ledger's")]
    Accounts(#[from] RestoreError),
    /// The certified block names another root than its state has.
    #[error(
        "its state has root {found}, and the chain certified {certified} for height {height}: \
         it was changed"
    )]
    Root {
        /// Its height.
        height: Height,
        /// Of its state.
        found: StateRoot,
        /// Of the chain.
        certified: StateRoot,
    },
    /// The certified block names another height.
    #[error("certified.bin names the state after height {found}, not {height}")]
    Named {
        /// Its height.
        height: Height,
        /// What the block names.
        found: Height,
    },
    /// A block of the epoch is no longer in the database.
    #[error("block {height} of the epoch under way is not in the database; keep whole epochs")]
    Pruned {
        /// Which.
        height: Height,
    },
    /// Not enough room.
    #[error("{} has {free} bytes free, and a snapshot may take {needed}; free some", path.display())]
    Space {
        /// Where.
        path: PathBuf,
        /// Bytes there are.
        free: u64,
        /// Bytes there must be.
        needed: u64,
    },
    /// No later block named the state while the node ran.
    #[error("the node stopped, or went on, before a block named the state after height {height}")]
    Unnamed {
        /// Which.
        height: Height,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
    /// A snapshot of that height is there.
    #[error("{} is there already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
}

impl SnapshotError {
    /// For `map_err`.
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
