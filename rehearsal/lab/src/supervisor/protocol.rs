use crate::{Degradation, EmulatorSnapshot, JournalEntry, NodeState, Privilege, network::NodeInfo};
use serde::{Deserialize, Serialize};

/// What a supervisor can be asked; one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What runs, and how.
    Status,
    /// The emulator's counters.
    Counters,
    /// The same as Prometheus text.
    Metrics,
    /// What was done so far.
    Journal,
    /// Where a place's namespace is, to enter it.
    Place {
        /// `ops`, a region, or a node.
        name: String,
    },
    /// Adds harm to links.
    Degrade {
        /// Which, as [`crate::LinkSelection`] reads it.
        links: String,
        /// What.
        degradation: Degradation,
    },
    /// Cuts links.
    Partition {
        /// Which.
        links: String,
    },
    /// Heals links.
    Heal {
        /// Which.
        links: String,
    },
    /// Kills a node with SIGKILL.
    Kill {
        /// Which.
        node: String,
    },
    /// Stops a node if it runs, and starts it.
    Restart {
        /// Which.
        node: String,
    },
    /// Stops a node.
    Stop {
        /// Which.
        node: String,
    },
    /// Ends the lab.
    Down,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To `status`.
    Status(Box<Status>),
    /// To `counters`.
    Counters(Box<EmulatorSnapshot>),
    /// To `metrics`.
    Metrics {
        /// Prometheus text.
        text: String,
    },
    /// To `journal`.
    Journal {
        /// In order.
        entries: Vec<JournalEntry>,
    },
    /// To `place`.
    Place(PlaceStatus),
    /// To `degrade`, `partition` and `heal`.
    Links {
        /// The links concerned, `from>to`.
        links: Vec<String>,
    },
    /// To `kill`, `restart` and `stop`.
    Node {
        /// What its process does now.
        state: NodeState,
    },
    /// To `down`: everything is gone.
    Down,
    /// It cannot be done.
    Failed {
        /// Why, with its causes.
        error: String,
        /// Whether the request was wrong, not the machine.
        callers_fault: bool,
    },
}

/// What runs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The topology's name.
    pub topology: String,
    /// The supervisor's process.
    pub pid: u32,
    /// Where its rights come from.
    pub privilege: Privilege,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
    /// Links that are cut or degraded now, in words.
    pub harm: Vec<String>,
    /// Packets the kernel dropped before the emulator saw them.
    pub overruns: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who and where.
    #[serde(flatten)]
    pub info: NodeInfo,
    /// Its process.
    pub process: NodeState,
    /// Whether it answers `/readyz` with 200.
    pub is_ready: bool,
    /// Its own account (`/v1/status`), where it answers.
    pub status: Option<serde_json::Value>,
}

/// Where a place's namespace is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// The process that holds it.
    pub pid: u32,
    /// Its descriptor there.
    pub fd: i32,
    /// How to get in.
    pub privilege: Privilege,
}
