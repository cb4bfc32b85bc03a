//! The core machines wired together, and [`perform`]: all that daemon and simulator ever drive.
//!
//! [`Replica::step`] routes events to consensus, data layer, ledger and sync, and their effects to
//! each other or to the [`World`]. [`perform`] carries out the effects and feeds the answers back;
//! signatures wait for one sync of what was written before. The first fault stops the node.
//!
//! ```text
//!  bytes ─ open ─▶ Event ─▶ Replica ─┬─▶ consensus ─ Lead, Check ─▶ data layer
//!                                    ├─▶ data layer                   │ candidates, coupling
//!                                    ├─▶ sync ── final blocks ─▶ consensus ── Commit ─▶ ledger
//!                                    └─▶ Effects ─ perform ─▶ World (disk, keys, network)
//! ```
//!
//! Each epoch has a consensus and a data layer of its own; ledger and sync stay.
//!
//! Promises: a validator votes only for a block whose batches are held and certified (mode
//! `Enforce`), whose executed state equals its own, and whose gas fits; committed blocks execute in
//! height order, once, when all their batches are here; a certified wrong state root stops the node.
//!
//! Never here: a decision of the protocol (they are in the machines), a clock, IO, randomness.
#![no_std]
extern crate alloc;

mod commit;
mod early;
mod epoch;
mod event;
mod evidence;
mod open;
mod propose;
mod replica;
mod world;

pub use event::{
    CommitRecord, CouplingResult, CouplingViolation, Effect, Event, Halt, Now, References, Target,
    Transfer, Wire,
};
pub use evidence::{Court, refused_proposal};
pub use open::{Channel, OpenError, open};
pub use replica::{Gauges, Replica, ReplicaConfig, Restored};
pub use world::{World, begin, perform};
