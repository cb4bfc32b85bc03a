//! The QBIND daemon: configuration, sockets, HTTP, metrics, the loop.
//!
//! Promises: a node starts only with a configuration its network accepts and the genesis file its
//! operator expects; every refusal names the key, its place and what to try, and ends with the
//! exit code that tells a supervisor whether to try again (see [`Exit`]).
//!
//! Never here: a protocol rule. This crate moves bytes and counts; the core decides.
//!
//! ```text
//! flags, environment, node.toml -> Configuration -> Prepared -> the loop -> HTTP, metrics, peers
//! ```

mod cli;
mod configuration;
mod custody;
mod exit;
mod genesis;
/// The HTTP interface: health, metrics, transactions, blocks.
pub mod http;
/// What the node counts, and under which names.
pub mod metrics;
/// The daemon that keeps a validator's key on another host.
pub mod remote_signer;
/// What tools ask of a running node.
pub mod requests;
/// From which height on a node keeps history.
pub mod retention;
mod runtime;
mod shutdown;
mod start;
mod support;
mod toml_file;
/// What the tools beside the daemon share.
pub mod tools;

pub use cli::{Cli, Output};
pub use configuration::{Configuration, ConfigurationError, Environment};
pub use exit::{Exit, NodeError};
pub use genesis::{GenesisFile, GenesisFileError};
pub use runtime::{Intercept, run, run_with};
pub use shutdown::{Shutdown, ShutdownTrigger, shutdown_channel, stop_on_signals};
pub use start::{Outcome, Prepared, prepare};
pub use support::{Unsupported, unsupported};
