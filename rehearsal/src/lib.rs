//! The conductor: runs the stages of a rehearsal in order, and the load generator.

pub mod chain;
mod faults;
pub mod load;
mod outcome;
mod resume;
mod stages;

pub use outcome::{Finished, RehearsalError};
pub use stages::{Request, rehearse};
