//! Fact x bound x window x policy -> PASS, FAIL, UNKNOWN, INVALID.
//!
//! Promises: everything that decides is an integer derived from raw evidence; the same evidence
//! gives the same result on every machine, live or years later; what is missing, stale, not a
//! number or too little is UNKNOWN and never a pass; an environment that is not the planned one is
//! INVALID. Safety facts are compared across nodes and checked against certificates, not believed.
//!
//! Never here: a clock, a socket, a random number without a seed from the plan.

mod added;
mod baseline;
mod catalogue;
mod chain;
mod compare;
mod controls;
mod court;
mod coverage;
mod emulation;
mod evaluate;
mod evidence;
mod feed;
mod files;
mod finding;
mod height;
mod lint;
mod measured;
mod peers;
mod performance;
mod read;
pub mod records;
mod registry;
mod replay;
mod safety;
pub mod series;
mod state_root;
pub mod stats;
mod steps;
mod stored;
mod verdict;
mod views;
mod windows;

pub use added::severity;
pub use catalogue::{CATALOGUE, Entry, entry};
pub use chain::founders;
pub use compare::{Change, Comparison, Figure, GateChange, compare};
pub use controls::{CONTROLS_SCHEMA, Control, Controls, controls};
pub use evaluate::evaluate;
pub use evidence::{Evidence, Scrape, StepFile};
pub use files::{Files, PackError, Packed, Packer, Place};
pub use lint::{Binding, lint};
pub use read::{ReadError, SAMPLES_BYTES, evaluate_dir, read, read_dir, read_samples};
pub use steps::STEPS;
pub use stored::Stored;
pub use verdict::{
    CutWindow, GATES_SCHEMA, Gate, GatesResult, Outcome, Severity, Vantage, Verdict, Window,
};
