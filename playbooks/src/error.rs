//! What can be wrong with a playbook, and with running one.

use std::io;

use thiserror::Error;

/// Why a playbook or its variables were refused: their author's fault.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlaybookError {
    /// Not YAML, an unknown key, or a value of the wrong type.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// A rule of playbooks is broken.
    #[error("{file}: {key}: {reason}")]
    Rule {
        /// The file.
        file: String,
        /// The step, variable or field.
        key: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No playbook has this name.
    #[error("no playbook is named {name}; `qbindctl playbook list` shows them")]
    NotFound {
        /// The name.
        name: String,
    },
    /// A variable's value cannot be used.
    #[error("--set {name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Why a run ended without a verdict: the machine's fault.
#[derive(Debug, Error)]
pub enum RunError {
    /// The journal cannot be written; nothing is done that is not journalled.
    #[error("the run was ended because it cannot be journalled")]
    Journal(#[from] qbind_evidence::JournalError),
    /// No runtime or client.
    #[error("cannot prepare to {doing}")]
    Prepare {
        /// What for.
        doing: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
