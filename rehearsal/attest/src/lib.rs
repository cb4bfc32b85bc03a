//! Who must agree, and whether they did.
//!
//! ```text
//!   policy.yaml ─┐
//!   bundle ──────┼─▶ judge ─▶ Standing: APPROVED, PENDING, REFUSED ─┐
//!   time ────────┘                                                 ├─▶ upgrade::judge ─▶ accepted or not
//!   keyset, envelope, binaries ────────────────────────────────────┘
//! ```
//!
//! Promises: every answer is a function of files and a time, and says why; one person counts once,
//! however many keys, names or copies of a signature they hold; what is not provably met is not met.
//!
//! Never here: a gate, a file system but for reading what is named, a terminal.

mod policy;
mod standing;
pub mod upgrade;

pub use policy::{Algorithm, Instant, Member, Policy, PolicyError};
pub use standing::{Decided, Standing, Voice, judge, moved_bar};

#[cfg(test)]
mod tests;
