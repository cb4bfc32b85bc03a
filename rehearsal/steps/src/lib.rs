//! The seven harnesses behind one interface with structured results.

pub mod replay;
mod result;
mod simulated;
mod step;
mod sweep;
pub mod t185;
pub mod t221;
pub mod t222;
pub mod t223;
pub mod t234;
pub mod t236;
pub mod t238;

pub use result::{Check, STEP_SCHEMA, Scenario, StepResult, Verdict};
pub use step::{Options, STEPS_SCHEMA, StepId, StepsResult, UnknownStep, run};
pub use sweep::Selection;
