//! Everything a report says, as plain data.

use qbind_gates::{Control, Gate, Verdict};
use serde::{Deserialize, Serialize};

/// A whole report. [`ReportInput::from_dir`] makes one from an evidence directory; a caller may add
/// what no file holds (`controls`, `not_tested`, `operator`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportInput {
    /// Which run.
    pub run: Run,
    /// Overall verdict, as `gates.json` has it. INCONCLUSIVE when there is no such file.
    pub verdict: Verdict,
    /// All gates, in order.
    pub gates: Vec<Gate>,
    /// Measured directed pairs of regions, in order of the plan.
    pub pairs: Vec<Pair>,
    /// The preset they map to.
    pub mapping: Option<Mapping>,
    /// The seven steps, in guide order; a step without a result has no verdict.
    pub steps: Vec<Step>,
    /// Planned faults, by start.
    pub faults: Vec<Fault>,
    /// What the client saw of the load.
    pub figures: Option<Figures>,
    /// Height, view, throughput and latency over time.
    pub plots: Vec<Plot>,
    /// Injected violations and the gates they turned red. Empty: none were run.
    pub controls: Vec<Control>,
    /// Sentences of the plan for the operator.
    pub notes: Vec<String>,
    /// What was not tested, in addition to what follows from the rest.
    pub not_tested: Vec<String>,
    /// Evidence that should be there and is not, or cannot be read: file and reason.
    pub missing: Vec<String>,
    /// Nodes of which at least one scrape succeeded.
    pub scraped_nodes: Vec<String>,
    /// What others decided since, under one policy. `None`: nobody asked, as in the report that goes into a bundle.
    #[serde(default)]
    pub sign_offs: Option<SignOffs>,
}

/// Whose agreement a bundle has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOffs {
    /// Name of the policy.
    pub policy: String,
    /// `APPROVED`, `PENDING`, `REFUSED`.
    pub standing: String,
    /// As of when, RFC 3339.
    pub asked_at: String,
    /// Persons whose approval counts.
    pub approvals: u64,
    /// How many must.
    pub threshold: u64,
    /// What is lacking, or in the way.
    pub reasons: Vec<String>,
    /// Every decision in the bundle.
    pub decisions: Vec<SignedDecision>,
    /// Gates that were let through, and who did.
    pub waived: Vec<Waived>,
}

/// What one person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDecision {
    /// Name, person and organisation, or the key of a stranger.
    pub who: String,
    /// As what.
    pub role: String,
    /// Whether they agree.
    pub approves: bool,
    /// Why.
    pub reason: String,
    /// When, RFC 3339.
    pub decided_at: String,
    /// Why it does not count; `None` where it does.
    pub objection: Option<String>,
}

/// A gate that did not pass and was let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    /// Which.
    pub gate: String,
    /// Who let it.
    pub by: Vec<String>,
    /// Their reasons.
    pub reasons: Vec<String>,
}

/// Which run it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Short id, as in the name of the bundle.
    pub id: String,
    /// Name of the manifest.
    pub name: String,
    /// `lab` or `inventory`.
    pub target: String,
    /// `quick` or `full`.
    pub form: String,
    /// Purpose, in words: `MainNet launch`, `Class C upgrade`, `post-incident`.
    pub gate_type: String,
    /// Who ran it. `None` leaves a line to fill in.
    pub operator: Option<String>,
    /// Start, if known.
    pub started_unix_ms: Option<u64>,
    /// End, if known.
    pub finished_unix_ms: Option<u64>,
    /// Regions, in order of the plan.
    pub regions: Vec<Region>,
    /// Number of nodes.
    pub nodes: Vec<String>,
    /// Name of the topology.
    pub topology: String,
    /// Chain id.
    pub chain_id: String,
    /// Digests: plan, genesis, topology, programs.
    pub artifacts: Vec<Artifact>,
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// File name of the bundle this report goes into.
    pub bundle: Option<String>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its id.
    pub id: String,
    /// Where it lies.
    pub continent: String,
    /// Validators in it.
    pub validators: u64,
    /// Other nodes in it.
    pub others: u64,
}

/// A digest under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What.
    pub name: String,
    /// SHA3-256, `0x…`.
    pub sha3: String,
}

/// One measured directed pair. *Units*: microseconds, counts, ten-thousandths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Region that sent.
    pub from: String,
    /// Region that answered.
    pub to: String,
    /// Probes sent.
    pub sent: u64,
    /// Probes without an answer.
    pub lost: u64,
    /// Median round trip.
    pub p50_us: u64,
    /// 99th percentile, where known.
    pub p99_us: Option<u64>,
    /// 95th percentile less the median.
    pub jitter_us: u64,
    /// Upper end of the 95 % interval of the loss, in millionths, where known.
    pub loss_high_ppm: Option<u64>,
}

/// The preset a measurement maps to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Such as `Asymmetric`.
    pub class: String,
    /// Flags that are set.
    pub flags: Vec<String>,
    /// The numbers that decided, in sentences.
    pub reasons: Vec<String>,
    /// Height bound that follows.
    pub height_bound: Option<u64>,
    /// What the preset does not express of what was measured.
    pub not_expressed: Vec<String>,
}

/// One of the seven steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Such as `T222`.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// `PASS` or `FAIL`; `None` when there is no result.
    pub verdict: Option<String>,
    /// How long it ran.
    pub duration_ms: u64,
    /// Scenarios in it.
    pub scenarios: u64,
    /// Checks in them.
    pub checks: u64,
    /// Checks that did not hold: scenario, check, expected, got.
    pub failures: Vec<String>,
    /// The command that runs the same again.
    pub replay: String,
}

/// One planned fault and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Id in the plan.
    pub id: String,
    /// What was done, in words.
    pub what: String,
    /// Nodes harmed.
    pub nodes: Vec<String>,
    /// Start; `None` when it was not carried out.
    pub from_unix_ms: Option<u64>,
    /// When it was undone.
    pub healed_unix_ms: Option<u64>,
    /// Allowance for recovery after that.
    pub recovery_ms: u64,
    /// What the plan expected of the chain.
    pub expectation: String,
    /// Whether it was carried out as planned.
    pub done: bool,
    /// More about it.
    pub note: String,
}

/// What the client saw of the load. *Units*: counts, thousandths per second, microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Asked for, per second.
    pub rate_per_second: u64,
    /// Length of the window.
    pub window_ms: u64,
    /// Due by the schedule.
    pub offered: u64,
    /// Accepted by some node.
    pub accepted: u64,
    /// Seen committed.
    pub committed: u64,
    /// Accepted and never seen committed.
    pub lost: u64,
    /// Committed twice.
    pub duplicated: u64,
    /// Committed per second.
    pub tps_milli: u64,
    /// Submit to commit, median.
    pub latency_p50_us: u64,
    /// Submit to commit, 99th percentile.
    pub latency_p99_us: u64,
}

/// One figure over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plot {
    /// Such as `Height`.
    pub title: String,
    /// How it was made, in a sentence.
    pub caption: String,
    /// Unit of the values, after division by `scale`.
    pub unit: String,
    /// Values are given in this fraction of the unit.
    pub scale: u64,
    /// Whether the axis starts at zero.
    pub from_zero: bool,
    /// Time of the first value.
    pub start_unix_ms: u64,
    /// Distance of values.
    pub step_ms: u64,
    /// One line for each region.
    pub series: Vec<Series>,
}

/// One line of a plot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Region.
    pub name: String,
    /// One value for each step; `None` is a gap.
    pub values: Vec<Option<u64>>,
}
