//! Manifest and topology become an immutable plan with a digest; no choices are left for run time.
//!
//! Promises: what runs is what `plan.yaml` says, and its digest is the SHA3-256 of that file's
//! bytes; a requirement that no run of this cluster could meet is an error before the run, with
//! file, line and key; what each planned fault does to the quorum is said beforehand.
//!
//! Never here: a clock, a socket, a process.

mod added;
mod bounds;
mod error;
mod fault;
mod limits;
mod live;
mod manifest;
mod plan;
mod resolve;
#[cfg(test)]
mod tests;
pub mod topology;

pub use added::{AddedGate, Fact, Millionths, Otherwise, Policy, Reset, Several, Weight, Whose};
pub use bounds::{Bounds, Looser};
pub use error::{PlanError, Problem};
pub use fault::{Expectation, PlannedFault};
pub use limits::TIME_MAX_UNIX_MS;
pub use live::{ExecutedFault, LIVE_SCHEMA, LiveRecord};
pub use manifest::{
    Expect, FaultKind, FaultSpec, Form, GateType, Live, Load, MANIFEST_SCHEMA, Manifest, Measure,
    StepForm, Steps, manifest_schema,
};
pub use plan::{
    BinaryRef, GenesisRef, PLAN_SCHEMA, Plan, PlannedLink, PlannedNode, PlannedRegion, Role,
    TopologyRef, digest_of,
};
pub use resolve::{Cluster, links};
