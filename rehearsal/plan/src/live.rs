//! What the conductor records about the live window; the gates hold it against the plan.

use serde::{Deserialize, Serialize};

/// The schema line of `live.json`.
pub const LIVE_SCHEMA: &str = "qbind.live/v1";

/// A fault as it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutedFault {
    /// The planned fault's id.
    pub id: String,
    /// Nodes harmed: the victim of a kill, else the plan's list.
    pub nodes: Vec<String>,
    /// When it began.
    pub from_unix_ms: u64,
    /// When it was undone.
    pub healed_unix_ms: u64,
    /// Whether the harm was done and undone as asked.
    pub done: bool,
    /// What went wrong, if anything.
    #[serde(default)]
    pub note: String,
}

/// `live.json` of the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveRecord {
    /// Always [`LIVE_SCHEMA`].
    pub schema: String,
    /// Start of the window; the load starts here.
    pub started_unix_ms: u64,
    /// End of the window; the load's drain comes after.
    pub ended_unix_ms: u64,
    /// Faults in order.
    pub faults: Vec<ExecutedFault>,
}

impl LiveRecord {
    /// A record of a window without faults yet.
    pub fn new(started_unix_ms: u64, ended_unix_ms: u64) -> Self {
        Self { schema: LIVE_SCHEMA.to_owned(), started_unix_ms, ended_unix_ms, faults: Vec::new() }
    }
}
