//! What is simulated.

use crate::network::{Link, MessageKind};
use qbind_dag::CouplingMode;
use std::collections::BTreeMap;

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
    /// Clocks of the first nodes; the others keep true time.
    pub clocks: Vec<Clock>,
    /// Validators that break the rules, and how.
    pub byzantine: BTreeMap<usize, Byzantine>,
    /// A loss of power at one exact place.
    pub power_cut: Option<PowerCut>,
    /// An election every so many blocks.
    pub epoch_blocks: u64,
    /// How many of `validators`, the last ones, only follow until they have joined.
    pub candidates: usize,
    /// Calls to the validators' registry, by the owner of a node's validator.
    pub calls: Vec<Call>,
    /// How validators sign.
    pub signatures: Signatures,
    /// Whether bytes and signature checks are counted.
    pub counts_work: bool,
}

/// A call to the validators' registry.
#[derive(Debug, Clone)]
pub struct Call {
    /// When.
    pub at_ms: u64,
    /// Whose owner.
    pub node: usize,
    /// What.
    pub kind: CallKind,
}

/// What the owner of a node's validator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// To become a validator.
    Join,
    /// To stop being one.
    Leave,
    /// To go on with its second key, from so many epochs after the next election on.
    Rotate {
        /// How many.
        ahead: u64,
        /// Epochs in which the first key is valid too; none in an emergency.
        grace: Option<u64>,
    },
    /// To judge the first double sign that honest nodes have proof of. In a run with such a call,
    /// double signs cost stake and lead to jail.
    Report,
}

/// How validators sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signatures {
    /// ML-DSA-44, each checked.
    #[default]
    Real,
    /// Of the same size, valid because their validator made them, and unforgeable because every other
    /// is checked as ML-DSA-44: five times as many runs in the same time.
    Ideal,
}

/// How a node's clock is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds its wall clock is ahead of true time.
    pub skew_ms: i64,
    /// Microseconds both its clocks gain per second of true time.
    pub drift_ppm: i32,
}

impl Clock {
    /// What it shows, from the start, when so much true time has passed.
    pub(crate) fn shown_us(self, true_us: u64) -> u64 {
        scale(true_us, i128::from(self.drift_ppm) + MILLION, MILLION)
    }

    /// The first true time at which it shows this much.
    pub(crate) fn true_us(self, shown_us: u64) -> u64 {
        scale(shown_us, MILLION, i128::from(self.drift_ppm) + MILLION)
    }
}

const MILLION: i128 = 1_000_000;

fn scale(us: u64, by: i128, of: i128) -> u64 {
    let scaled = (i128::from(us) * by + of - 1) / of;
    u64::try_from(scaled).expect("a clock that runs")
}

/// A node loses power just before one effect; its unsynced writes are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// Which node.
    pub node: usize,
    /// The effect, counted from the node's first; each sync counts as one.
    pub effect: u64,
    /// How long it stays down.
    pub down_ms: u64,
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
    /// The next leader to get there dies in this phase of its own view; `RestartCrashed` brings it
    /// back.
    CrashLeaderAt(Phase),
    /// Whoever was crashed starts again.
    RestartCrashed,
    /// It starts again with its second key, as soon as that is valid.
    SecondKey(usize),
    /// Only nodes of the same group hear each other.
    Partition(Vec<Vec<usize>>),
    /// Messages from the first to the second are cut; the other way works.
    CutOneWay(usize, usize),
    /// All cuts end.
    Heal,
    /// The link from the first region to the second becomes another.
    Replace(Region, Region, Link),
    /// All links are as configured again.
    RestoreLinks,
    /// This share of messages of a kind is lost, of 10,000.
    Drop(MessageKind, u32),
    /// No messages are lost on purpose any more.
    StopDrop,
}

/// Where in its own view a leader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its block is recorded and not signed.
    BeforeProposal,
    /// Its proposal is on the wire, its vote is not.
    AfterProposal,
    /// Its vote is recorded and not signed.
    BeforeVote,
    /// It has the certificate, its commit vote is recorded and not signed.
    BeforeCommitVote,
    /// Its block is final; it is about to write what the block changed.
    BeforeCommit,
}

impl Phase {
    /// In the order a view goes through them.
    pub const ALL: [Self; 5] = [
        Self::BeforeProposal,
        Self::AfterProposal,
        Self::BeforeVote,
        Self::BeforeCommitVote,
        Self::BeforeCommit,
    ];
}

/// How a validator breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Byzantine {
    /// A second instance with the same key and a disk of its own; it is node `n`, `n + 1`, … in the
    /// order of the twins. Both hear what is sent to the validator. Source: Bano et al., Twins,
    /// OPODIS 2021.
    Twin,
    /// Never proposes.
    SilentLeader,
    /// Never votes, commit-votes or gives a view up.
    Mute,
    /// Keeps its batches to itself, and acks nobody's.
    WithholdBatches,
    /// Sends to this many validators after itself and to nobody else.
    Selective(usize),
    /// Leads with two blocks, one to each half of the others, each with certificates it made itself.
    Forger(Forgery),
    /// Computes another state than the rules say.
    WrongState,
    /// Puts references to batches that nobody certified into its blocks.
    ForgedBatch,
    /// Claims other content for a certified reference.
    MismatchedBatch,
    /// Leaves batches out between those it puts into its blocks.
    BrokenSequence,
    /// Changes the blocks and batches it is asked for.
    LyingServer,
}

/// What a made-up certificate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// The forger's signature alone.
    BelowQuorum,
    /// The forger's signature as often as a quorum has members.
    OneSigner,
    /// A quorum's signatures, made for another network where the same keys vote.
    ForeignNetwork,
}
