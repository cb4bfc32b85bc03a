//! The evidence of a small sound run, and faults to plant in it.
//!
//! Promises: the chain is made by the node's own ledger and signed with real keys, so that what judges
//! it is held against other code than itself; a fault is one change, and says which gates it must turn.
//! Hostile bundles are made as an attacker would, with ordinary tools.
//!
//! For tests and benchmarks only: nothing here is part of a program that judges.

#![allow(
    clippy::unwrap_used,
    reason = "made for tests: what does not hold here is a fault of its own"
)]

mod bundle;
mod faults;
mod hostile;
mod sound;
mod store;

pub use bundle::{Lies, Operator, sealed, sealed_with};
pub use faults::{Fault, faults, sound_with_added_gates};
pub use hostile::{Hostile, files, hostile, repacked};
pub use sound::{Shape, sound, sound_of};
pub use store::store;
