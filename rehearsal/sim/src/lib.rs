//! Seeded clock, network and disks that run the real node core.
//!
//! One [`Simulation`] is a cluster of [`qbind_replica::Replica`]s driven through
//! [`qbind_replica::perform`], exactly as the daemon drives one. Virtual time is in microseconds.
//! Messages are really encoded, decoded and verified; each is delayed, lost, doubled, queued or cut on
//! its directed link. A disk forgets at a crash what was not fsynced. Validators may be Byzantine, and
//! clocks wrong. Everything random comes from the seed, and no outcome depends on signature bytes, so
//! the same seed gives the same trace digest.
//!
//! Never here: a decision of the protocol, a real clock, a thread, a socket.

mod byzantine;
mod calls;
mod cluster;
mod config;
mod disk;
mod load;
mod network;
mod oracle;
mod outcome;
mod promises;
mod trial;
mod work;
mod world;

#[cfg(test)]
mod tests;

pub use cluster::Simulation;
pub use config::{
    Action, Byzantine, Call, CallKind, Clock, Faults, Forgery, LoadSpec, Phase, PowerCut, Region,
    Signatures, SimConfig, Timed,
};
pub use network::{Link, MessageKind};
pub use outcome::Outcome;
pub use work::{Traffic, Work};
