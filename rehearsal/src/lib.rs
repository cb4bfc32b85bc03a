//! The conductor: runs the stages of a rehearsal in order, and the load generator.

pub mod chain;
mod faults;
pub mod load;
mod outcome;
mod purpose;
mod resume;
mod stages;

pub use outcome::{Finished, RehearsalError};
pub use purpose::Purpose;
pub use stages::{Request, rehearse};
