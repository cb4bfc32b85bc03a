//! Snapshots as files that travel: packed for a static file server, fetched, unpacked.
//!
//! ```text
//! OUT/latest.json        which one is the newest, with its file's size and digest
//!     <height>.tar.gz    the snapshot's folder, with the height as top folder
//! ```
//!
//! Promises: an archive is a stranger's until it has been validated; of one, nothing is ever written
//! outside the folder made for it, nor without bound. What makes a snapshot trustworthy are its
//! chain's certificates, never the way it came.

mod archive;
mod create;
mod fetch;
mod tar;

pub use archive::{ArchiveError, Latest, pack, unpack};
pub use create::{Asked, create};
pub use fetch::{FetchError, fetch};

#[cfg(test)]
mod tests;
