//! What can be wrong with a manifest or a plan: always its author's or the operator's fault.

use std::{fmt, io, path::PathBuf};
use thiserror::Error;

/// One thing wrong with a manifest, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator named it.
    pub file: String,
    /// Line, from 1; absent when the problem is something missing from the whole file.
    pub line: Option<u64>,
    /// Dotted path of the key, such as `faults[1].at_s`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why there is no plan. `qbindctl` answers all of them with exit code 64.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read {}: check the path and its permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not YAML of the expected shape.
    #[error("{file}:{line}:{column}: {message}")]
    Parse {
        /// The file as the operator named it.
        file: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What the parser expected.
        message: String,
    },
    /// The file is well formed and asks for something impossible.
    #[error("{}", list(problems))]
    Problems {
        /// Every problem found, in file order.
        problems: Vec<Problem>,
    },
    /// The plan's bytes are not what its digest names.
    #[error("plan digest is {got}, expected {expected}: the plan was changed after it was fixed")]
    Digest {
        /// Digest of the bytes read.
        got: String,
        /// Digest asked for.
        expected: String,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl PlanError {
    /// The problem list, where there is one.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Problems { problems } => problems,
            _ => &[],
        }
    }
}

/// Reads YAML into `T`, with the place of the first error.
///
/// # Errors
/// The file author's fault: not YAML, an unknown key, a value of the wrong type.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    file: &str,
    text: &str,
) -> Result<T, PlanError> {
    serde_saphyr::from_str(text).map_err(|e| {
        let plain = e.without_snippet();
        let (line, column) = plain.location().map_or((1, 1), |l| (l.line(), l.column()));
        // The parser repeats the place at the end; it stands in front already.
        let text = plain.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        PlanError::Parse { file: file.to_owned(), line, column, message }
    })
}
