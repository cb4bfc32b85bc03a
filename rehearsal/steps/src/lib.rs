//! The seven harnesses behind one interface with structured results.

pub mod replay;
mod result;
pub mod t185;
pub mod t223;

pub use result::{Check, STEP_SCHEMA, Scenario, StepResult, Verdict};
