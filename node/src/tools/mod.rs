//! What the tools beside the daemon share: keys, rotation events, a node's HTTP listener.
//!
//! Promises: a key is only ever written encrypted; nothing is sent before it was checked against what
//! the node says; every refusal says whose fault it is and what to try.
//!
//! Never here: a rule of the registry. The chain decides, the tools only spare a round trip.

mod client;
mod event;
mod evidence;
mod keys;
mod prune;
/// Snapshots, packed, moved and unpacked.
pub mod snapshot;
mod submit;

use std::{fmt, process::ExitCode};

pub use client::{Client, RegistryAnswer};
pub use event::{EventError, RotationEvent};
pub use evidence::{EvidenceCommand, HistoryArgs, NodeArgs, SubmitArgs, evidence, slash_history};
pub use keys::{passphrase, read_public, read_secret};
pub use prune::{PruneArgs, prune_state};
pub use submit::{Submission, Waited, submit};

/// Why a tool ends without having done what it was asked.
#[derive(Debug)]
pub struct ToolError {
    code: u8,
    message: String,
}

impl ToolError {
    /// The operator's fault, or the node's: nothing was done.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: 64, message: message.to_string() }
    }

    /// The chain says no.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }
}

/// Ends a tool: its answer to standard output, its error to standard error.
pub fn end(tool: &str, result: Result<String, ToolError>) -> ExitCode {
    match result {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{tool}: {}", error.message);
            ExitCode::from(error.code)
        }
    }
}

/// What clap has to say, and with which code the tool ends.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nowhere is left to report that printing failed.
    error.print().unwrap_or_default();
    ExitCode::from(if error.use_stderr() { 64 } else { 0 })
}

/// A message with all its causes.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text += &format!(": {source}");
        next = source.source();
    }
    text
}
