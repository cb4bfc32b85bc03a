//! Every knob of the node, the profiles that preset them, and the rules they must meet.
//!
//! Promises: a [`NodeConfig`] has one key per knob, and [`NodeConfig::set`] is the only parser, so
//! file, environment and flag accept the same text; [`resolve`] tells for each key who set it;
//! [`validate_mainnet_invariants`] refuses every configuration that MainNet must not run, with an
//! error of its own per rule, in a fixed order.
//!
//! Never here: a file, an environment variable, a clock, a secret. Paths are only text.
//!
//! ```text
//! profile preset < file < environment < flag   -> resolve -> Resolved -> validate -> the node
//! ```
//!
//! Deviations from the published profile table. Blocks of this protocol reference certified
//! batches and nothing else, so the DevNet and TestNet Alpha presets use the DAG mempool over P2P
//! where the table says FIFO and LocalMesh; those values exist so that they can be refused by name.
#![no_std]
extern crate alloc;

mod choice;
mod config;
mod invariants;
mod knob;
mod preset;
mod ranges;
mod resolve;

pub use choice::{
    DagCouplingMode, DiversityMode, EvictionMode, ExecutionProfile, MempoolMode, MonetaryMode,
    NetworkMode, Role, SignerFailureMode, SignerMode, SlashingMode, StateRetentionMode,
    UnknownChoice,
};
pub use config::{KEYS, NodeConfig, SetError};
pub use invariants::{Invariant, InvariantError, Warning, check_all, validate_mainnet_invariants};
pub use knob::{HostPort, Key, Shape, Value};
pub use preset::Profile;
pub use ranges::{RangeError, check_ranges};
pub use resolve::{ConfigError, Origin, ResolveError, Resolved, Setting, Source, resolve};

#[cfg(test)]
mod tests;
