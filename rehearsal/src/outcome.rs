//! How a rehearsal ends.

use qbind_gates::{Comparison, Controls, GatesResult};
use std::{error::Error, path::PathBuf};

/// A rehearsal that came to a verdict.
#[derive(Debug)]
pub struct Finished {
    /// Every gate.
    pub gates: GatesResult,
    /// What a planted violation did to each gate, if that was asked for.
    pub controls: Option<Controls>,
    /// What changed against the run before, if one was named.
    pub compared: Option<Comparison>,
    /// The page for people.
    pub report: PathBuf,
    /// The signed file.
    pub bundle: PathBuf,
    /// The key it is signed with.
    pub trust: PathBuf,
}

/// A rehearsal that came to none.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub struct RehearsalError {
    /// What was being done.
    pub doing: String,
    /// Whether the operator can mend it before anything runs.
    pub is_usage: bool,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// Turns an error into "cannot do this".
pub(crate) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, RehearsalError>;
    fn usage(self, what: &str) -> Result<T, RehearsalError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, RehearsalError> {
        self.map_err(|source| RehearsalError {
            doing: what.to_owned(),
            is_usage: false,
            source: source.into(),
        })
    }

    fn usage(self, what: &str) -> Result<T, RehearsalError> {
        self.map_err(|source| RehearsalError {
            doing: what.to_owned(),
            is_usage: true,
            source: source.into(),
        })
    }
}
