//! Planned harm: when, to whom, and what it must do to the quorum.

use crate::manifest::FaultKind;
use serde::{Deserialize, Serialize};

/// What a fault must do to the chain, from stake alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// A quorum stays connected: commits go on.
    Continues,
    /// No side holds a quorum: the chain stops until the fault ends.
    HaltsUntilHealed,
}

/// One planned fault, all choices made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// Unique in the plan.
    pub id: String,
    /// What is done.
    pub kind: FaultKind,
    /// Start, counted from the start of the live window.
    pub at_ms: u64,
    /// Until it is undone.
    pub duration_ms: u64,
    /// Then until it must no longer show.
    pub recovery_ms: u64,
    /// `cut_region`: which.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    /// `loss_burst`: one end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// `loss_burst`: the other end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// `loss_burst`: loss added.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss_bps: Option<u32>,
    /// Nodes whose performance gates are cut for the window. Empty for `kill_leader`: the victim
    /// is whoever leads, and the live record names it.
    pub affected: Vec<String>,
    /// What it must do to the chain.
    pub expectation: Expectation,
    /// The same in a sentence with the numbers.
    pub note: String,
}

impl PlannedFault {
    /// End of the fault itself, counted from the start of the live window.
    pub fn heals_at_ms(&self) -> u64 {
        self.at_ms + self.duration_ms
    }

    /// End of fault and recovery.
    pub fn clear_at_ms(&self) -> u64 {
        self.heals_at_ms() + self.recovery_ms
    }
}
