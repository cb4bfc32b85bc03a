//! What am I missing, whom do I ask, may I trust the answer.
//!
//! Nodes tell each other their height once a second. Who is behind and does not move asks peers
//! that are ahead for ranges of committed blocks, several peers at once, and hands the answers on
//! in order. Uncommitted blocks are asked for by id.
//!
//! Promises: a block is handed on only with a verified commit certificate and in height order; every
//! buffer is bounded; a peer that does not answer, or answers nonsense, is not asked again for a
//! while and never blocks the others.
//!
//! Never here: a signature check (answers come verified), a clock, a socket, the choice what is
//! final.
#![no_std]
extern crate alloc;

mod machine;
mod message;
#[cfg(test)]
mod tests;

pub use machine::{Effect, Event, Sync};
pub use message::SyncMessage;

/// Bounds, and what gives way.
pub mod bounds {
    /// Blocks in one answer.
    pub const BLOCKS_PER_ANSWER: u64 = 32;
    /// Ranges asked for at once.
    pub const RANGES: usize = 4;
    /// Blocks waiting for their predecessors; later ranges are not asked for until there is room.
    pub const BUFFER: usize = 256;
    /// Uncommitted blocks asked for by id at once; further ones are dropped; who still
    /// needs one asks again.
    pub const BY_ID: usize = 64;
    /// Peers whose height is remembered; the one silent longest gives way.
    pub const PEERS: usize = 256;
}
