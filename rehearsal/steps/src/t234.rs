//! Covers: T234. Real processes on loopback, real ML-DSA-44, submit-to-commit by a client's clock.
//!
//! ```text
//!   client ── POST, open loop ──> validators ⇄ validators      one process each
//!      └──── commits, every 20 ms ──────┘
//! ```
//!
//! A transaction's time starts when the schedule wanted it sent, not when it could be: a node that
//! makes the client wait cannot hide it. It ends when the client has seen the commit.
//! The guide's synthetic harness had three validators in its devnet profile; the protocol
//! tolerates no fault below four, so four are the fewest here.

mod client;
mod cluster;

use crate::{
    result::{Check, Scenario, StepResult},
    step::Options,
};
use qbind_lab::network::{NetworkError, NetworkProfile};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

pub use cluster::find_node_binary;

/// Highest 99th percentile of submit-to-commit time.
const P99_BOUND: Duration = Duration::from_secs(10);
/// The names of the checks on one load, in the order they are made.
const TITLE: &str = "PQC performance, end to end";

/// The cluster and what is offered to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Validators, at least 4.
    pub validators: u32,
    /// Nodes of the RPC role.
    pub rpc: u32,
    /// Settings of every node; Stage B is on whatever they say.
    pub profile: NetworkProfile,
    /// Offered transactions per second.
    pub tps: u32,
    /// How long they are offered.
    pub seconds: u32,
    /// Accounts they come from.
    pub senders: u32,
}

impl Spec {
    /// The full form: TestNet Beta's settings, 500 transactions per second.
    pub fn full() -> Self {
        let profile = NetworkProfile::TestnetBeta;
        Self { validators: 4, rpc: 0, profile, tps: 500, seconds: 15, senders: 50 }
    }

    /// The short form.
    pub fn quick() -> Self {
        Self { tps: 150, seconds: 5, senders: 20, ..Self::full() }
    }
}

/// What a load showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Validators.
    pub validators: u32,
    /// Nodes of the RPC role.
    pub rpc: u32,
    /// Transactions per second that were offered.
    pub offered_tps: u32,
    /// Committed transactions in a thousand seconds, by the time from the first submission to the last
    /// commit.
    pub tps_milli: u64,
    /// Median submit-to-commit time in microseconds, nearest rank.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Sent to a node.
    pub submitted: u64,
    /// Taken by a node.
    pub accepted: u64,
    /// Refused by a node, and what it answered.
    pub rejected: u64,
    /// Refusals by code.
    pub rejections: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub failed: u64,
    /// Seen committed.
    pub committed: u64,
    /// Seen committed more than once.
    pub duplicates: u64,
    /// Committed, but their transfer failed.
    pub unsuccessful: u64,
    /// Committed, but never submitted by this client.
    pub foreign: u64,
    /// How far the client fell behind its schedule at worst, in microseconds.
    pub lateness_us: u64,
    /// Heights that were compared on all nodes.
    pub heights: u64,
    /// Heights at which two nodes had different blocks or state roots.
    pub differing_heights: u64,
    /// What a node answered to a transaction with one flipped bit in its signature.
    pub forged_answer: String,
    /// What it answered to the same transaction untouched.
    pub sound_answer: String,
}

/// Why there is no result; the world's fault, or the node's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to start.
    #[error(
        "no qbind-node at {}; build it with `cargo build -p qbind-node`, or name it with --node \
         or QBIND_NODE_BIN",
        tried.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoBinary {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The network's directory could not be made.
    #[error("cannot make a network")]
    Network(#[from] NetworkError),
    /// The request makes no network.
    #[error("cannot make a network of {validators} validators: {detail}")]
    Shape {
        /// How many were asked for.
        validators: u32,
        /// Why not.
        detail: String,
    },
    /// A directory or a log file.
    #[error("cannot use {}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A node could not be started.
    #[error("cannot start {} for {node}", binary.display())]
    Spawn {
        /// Name of the node.
        node: String,
        /// What was started.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A node ended by itself.
    #[error("{node} ended by itself ({status}); its log, {}, ends with:\n{tail}", log.display())]
    Ended {
        /// Name of the node.
        node: String,
        /// How.
        status: ExitStatus,
        /// All it said.
        log: PathBuf,
        /// The last of it.
        tail: String,
    },
    /// A node was not ready in time.
    #[error("{node} was not ready within {} s: {answer}; its log is {}", waited.as_secs(), log.display())]
    NotReady {
        /// Name of the node.
        node: String,
        /// How long was waited.
        waited: Duration,
        /// What it said last.
        answer: String,
        /// All it said.
        log: PathBuf,
    },
    /// A node did not answer as the API says.
    #[error("no usable answer from http://{node}{path}")]
    Answer {
        /// Address of the node.
        node: SocketAddr,
        /// What was asked.
        path: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The client's own threads.
    #[error("cannot start the client's threads")]
    Client(#[source] io::Error),
}

/// Starts a cluster, offers it load, and reports what came of it.
///
/// Blocks for the load's time and some seconds before and after. The cluster's processes end with
/// this call, however it ends; their logs are kept where it fails.
///
/// # Errors
/// The world's fault or the node's: there was no load to report about.
pub fn baseline(spec: &Spec, node_binary: Option<&Path>) -> Result<Baseline, Error> {
    let mut cluster = cluster::Cluster::start(spec, &find_node_binary(node_binary)?)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Error::Client)?;
    let outcome = runtime.block_on(async {
        cluster.ready().await?;
        client::offer(spec, &mut cluster).await
    });
    if outcome.as_ref().is_ok_and(|b| checks(b).iter().all(|c| c.ok)) {
        cluster.discard();
    }
    outcome
}

/// Runs the step: the form's load, and a short one at `options.offered_tps` if that is another.
/// `seed` chooses the amounts; keys are new each time.
pub fn run(seed: u64, options: &Options) -> StepResult {
    let started = Instant::now();
    let form = if options.quick { Spec::quick() } else { Spec::full() };
    let as_offered = options.offered_tps.filter(|tps| *tps != form.tps);
    let as_offered = as_offered.map(|tps| Spec { tps, ..Spec::quick() });
    let node = options.node_binary.as_deref();
    let scenarios = [Some(form), as_offered].into_iter().flatten().map(|s| scenario(&s, node));
    let quick = if options.quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T234 --seed {seed}{quick}");
    let mut result = StepResult::new("T234", TITLE, seed, scenarios.collect(), replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

fn scenario(spec: &Spec, node: Option<&Path>) -> Scenario {
    let name = format!(
        "{} validators, {} tx/s for {} s from {} accounts",
        spec.validators, spec.tps, spec.seconds, spec.senders
    );
    match baseline(spec, node) {
        Ok(baseline) => {
            let facts = serde_json::to_value(&baseline).expect("plain data serialises");
            Scenario::new(name, checks(&baseline)).fact("baseline", facts)
        }
        Err(error) => {
            Scenario::new(name, vec![Check::that("runs", "a result", chain(&error), false)])
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// What must hold of a load, whatever its size.
fn checks(b: &Baseline) -> Vec<Check> {
    let bound = u64::try_from(P99_BOUND.as_micros()).expect("ten seconds fit");
    let ordered = b.p50_us <= b.p90_us && b.p90_us <= b.p99_us && b.p50_us > 0;
    let percentiles = format!("{} {} {}", b.p50_us, b.p90_us, b.p99_us);
    vec![
        Check::equal("forged_signature", "E_SIGNATURE", &b.forged_answer),
        Check::equal("sound_signature", "accepted", &b.sound_answer),
        Check::that("accepted", "> 0", b.accepted, b.accepted > 0),
        Check::equal("unanswered", 0, b.failed),
        Check::equal("committed", b.accepted, b.committed),
        Check::equal("committed_twice", 0, b.duplicates),
        Check::equal("committed_unasked", 0, b.foreign),
        Check::equal("transfers_failed", 0, b.unsuccessful),
        Check::that("percentiles_us", "0 < p50 <= p90 <= p99", percentiles, ordered),
        Check::that("p99_us", format!("< {bound}"), b.p99_us, b.p99_us < bound),
        Check::that("heights_compared", "> 0", b.heights, b.heights > 0),
        Check::equal("heights_that_differ", 0, b.differing_heights),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Baseline {
        Baseline {
            validators: 4,
            rpc: 0,
            offered_tps: 100,
            tps_milli: 99_000,
            p50_us: 100_000,
            p90_us: 200_000,
            p99_us: 300_000,
            submitted: 10,
            accepted: 10,
            rejected: 0,
            rejections: BTreeMap::new(),
            failed: 0,
            committed: 10,
            duplicates: 0,
            unsuccessful: 0,
            foreign: 0,
            lateness_us: 50,
            heights: 5,
            differing_heights: 0,
            forged_answer: "E_SIGNATURE".into(),
            sound_answer: "accepted".into(),
        }
    }

    /// What is wrong, and how it comes to be.
    type Fault = (&'static str, fn(&mut Baseline));

    #[test]
    fn each_fault_fails_exactly_its_own_check() {
        let faults: [Fault; 10] = [
            ("forged_signature", |b| b.forged_answer = "accepted".into()),
            ("sound_signature", |b| b.sound_answer = "E_SIGNATURE".into()),
            ("unanswered", |b| b.failed = 1),
            ("committed", |b| b.committed = 9),
            ("committed_twice", |b| b.duplicates = 1),
            ("committed_unasked", |b| b.foreign = 1),
            ("transfers_failed", |b| b.unsuccessful = 1),
            ("percentiles_us", |b| b.p90_us = b.p99_us + 1),
            ("heights_compared", |b| b.heights = 0),
            ("heights_that_differ", |b| b.differing_heights = 1),
        ];
        assert!(checks(&sound()).iter().all(|c| c.ok));
        for (name, plant) in faults {
            let mut baseline = sound();
            plant(&mut baseline);
            let failed = checks(&baseline).into_iter().filter(|c| !c.ok).map(|c| c.name);
            assert_eq!(failed.collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn a_cluster_that_commits_nothing_or_too_late_fails() {
        let none =
            Baseline { accepted: 0, committed: 0, p50_us: 0, p90_us: 0, p99_us: 0, ..sound() };
        assert!(checks(&none).iter().any(|c| c.name == "accepted" && !c.ok));
        let late = Baseline { p99_us: 10_000_000, ..sound() };
        assert!(checks(&late).iter().any(|c| c.name == "p99_us" && !c.ok));
    }

    #[test]
    fn without_a_binary_the_step_fails_and_says_where_it_looked() {
        let node_binary = Some("/nowhere/qbind-node".into());
        let result = run(3, &Options { quick: true, node_binary, ..Options::default() });
        assert!(!result.verdict.is_pass());
        let (_, check) = result.failures().next().expect("one check failed");
        assert!(check.got.contains("/nowhere/qbind-node"), "{}", check.got);
        assert_eq!(result.replay, "qbindctl steps run T234 --seed 3 --quick");
    }
}
