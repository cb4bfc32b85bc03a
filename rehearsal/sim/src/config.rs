//! What is simulated.

use crate::network::{Link, MessageKind};
use qbind_dag::CouplingMode;

/// Where a node is; an index into [`SimConfig::links`].
pub type Region = usize;

/// A cluster, its network, its load and its faults.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Everything random comes from it.
    pub seed: u64,
    /// Region of each validator; their number is the cluster's size.
    pub validators: Vec<Region>,
    /// One-way behaviour from row region to column region.
    pub links: Vec<Vec<Link>>,
    /// How strictly votes depend on batches.
    pub coupling: CouplingMode,
    /// Stage B on or off.
    pub stage_b: bool,
    /// First view timeout.
    pub view_timeout_ms: u64,
    /// How long an idle leader waits.
    pub empty_block_interval_ms: u64,
    /// Clients.
    pub load: LoadSpec,
    /// When what goes wrong.
    pub faults: Faults,
    /// How long, with faults.
    pub duration_ms: u64,
    /// How long after, without: everything must converge in this time.
    pub cooldown_ms: u64,
    /// A deliberate break of the core's environment that the oracle must notice.
    pub canary: Option<Canary>,
}

/// Clients' transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSpec {
    /// Accounts that send.
    pub senders: usize,
    /// Transfers in all, spread evenly over the first half of the run.
    pub transfers: usize,
    /// What each transfer moves.
    pub amount: u128,
}

/// A fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// Milliseconds from the start.
    pub at_ms: u64,
    /// What happens.
    pub action: Action,
}

/// All faults of a run.
pub type Faults = Vec<Timed>;

/// Something that happens to nodes or links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The node dies; writes that were not fsynced are gone.
    Crash(usize),
    /// It starts again from its disk.
    Restart(usize),
    /// The leader of the highest view dies; `RestartCrashed` brings it back.
    CrashLeader,
    /// Whoever was crashed starts again.
    RestartCrashed,
    /// Only nodes of the same group hear each other.
    Partition(Vec<Vec<usize>>),
    /// Messages from the first to the second are cut; the other way works.
    CutOneWay(usize, usize),
    /// All cuts end.
    Heal,
    /// This share of messages of a kind is lost, of 10,000.
    Drop(MessageKind, u32),
    /// No messages are lost on purpose any more.
    StopDrop,
}

/// Ways to be broken that must be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// Two instances of every one of this many validators run with the same key and opposite
    /// audiences: with more than a third, safety must break and the oracle must see it.
    Twins(usize),
    /// The disk forgets the safety record at a crash.
    Amnesia,
    /// This node commits another state than it computed.
    WrongState(usize),
    /// References to batches that nobody certified are put into blocks by this leader.
    ForgedBatch(usize),
    /// The data layer of this leader claims other content for a certified reference.
    MismatchedBatch(usize),
}
