//! Snapshots: the state after one height, with everything that proves it, as a folder.
//!
//! ```text
//! <folder>/<height>/meta.json       what it is, and every other file with its size and digest
//!                   state/          a RocksDB checkpoint without what belongs to one node alone
//!                   certified.bin   the block of the height, the blocks of its epoch before it, and
//!                                   the later block that names the state after it
//! <folder>/.<height>.partial/       one that is being made
//! ```
//!
//! Promises: a snapshot appears whole and durable or not at all; a validated one holds nothing that
//! its chain's certificates, followed from the genesis file, do not vouch for.
//!
//! Never here: another validator's safety record, batch, ack or pending transaction.

mod draft;
mod error;
mod files;
mod folder;
mod install;
mod meta;
#[cfg(test)]
mod tests;
mod validate;

pub use draft::Draft;
pub use error::SnapshotError;
pub use files::{FileEntry, digest_of, sync_dir};
pub use folder::SnapshotFolder;
pub use install::clear_leftovers;
pub use meta::{CERTIFIED, META_FILE, Meta, STATE};
pub use validate::Validated;
