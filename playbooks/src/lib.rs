//! Incident playbooks as data, and their runner.
//!
//! **What it is.** A playbook is a YAML file with four parts, always in this order:
//!
//! ```text
//!   diagnose ──> interlocks ──> act ──> done
//!   observes     may refuse     harms   waits until the condition holds, or its time is over
//! ```
//!
//! **What it promises.** A metric that is missing, not a number or given several times is unknown, and unknown is
//! never yes. Programs get a list of arguments; there is no shell, an argument is either plain text or one
//! whole variable, and no variable's value begins with a dash. Every check, program and wait has a time limit.
//! Nothing destructive runs without consent, and nothing at all runs after an interlock refused. Each
//! thing that was done is on disk, in a journal whose records are chained by their hashes, before the next begins.
//!
//! **What it must never do.** Try a destructive step twice, or go on after one failed.

mod check;
mod error;
mod exposition;
mod http;
mod library;
mod model;
mod process;
mod read;
mod runner;
mod values;

pub use check::{Answer, Outcome};
pub use error::{PlaybookError, RunError};
pub use http::{Http, HttpAnswer, HttpClient};
pub use library::{builtin, builtins};
pub use model::{
    Action, Check, Comparison, HttpCheck, Interlock, InterlockRule, Kind, MetricCheck, Playbook,
    Program, Quorum, Severity, Step, Text, Variable, Wait,
};
pub use read::parse;
pub use runner::{Consent, Event, Run, Verdict, plan};
pub use values::Values;

pub use qbind_evidence::{Journal, verify_journal};

#[cfg(test)]
mod tests;
