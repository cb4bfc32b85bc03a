//! The lines and objects of the raw evidence: what scrapers and the load generator write, and the
//! gates read.

use qbind_types::{BlockId, StateRoot, SystemRoot, TxId};
use serde::{Deserialize, Serialize};

/// Names inside an evidence directory.
pub mod paths {
    /// The plan.
    pub const PLAN: &str = "plan.yaml";
    /// The genesis file, byte for byte.
    pub const GENESIS: &str = "genesis.json";
    /// What was done during the live window.
    pub const LIVE: &str = "faults/live.json";
    /// One line for every scrape, whether it succeeded or not.
    pub const SCRAPE_INDEX: &str = "scrapes/index.jsonl";
    /// One line for every block fetched.
    pub const BLOCK_INDEX: &str = "blocks/index.jsonl";
    /// Every transfer of the load.
    pub const TRANSACTIONS: &str = "load/transactions.jsonl";
    /// The load's own summary.
    pub const LOAD_SUMMARY: &str = "load/summary.json";
    /// Every probe between the regions.
    pub const SAMPLES: &str = "measure/samples.jsonl";
    /// What was done when.
    pub const JOURNAL: &str = "journal.jsonl";
    /// The table that follows from the samples.
    pub const MATRIX: &str = "measure/matrix.json";
    /// Emulator counters around the measurement and the live window.
    pub const LINK_SNAPSHOTS: [&str; 4] = [
        "links/measure-start.json",
        "links/measure-end.json",
        "links/live-start.json",
        "links/live-end.json",
    ];

    /// A `/metrics` body.
    pub fn scrape(node: &str, seq: u64) -> String {
        format!("scrapes/{node}/{seq:06}.txt")
    }

    /// A node's commit feed.
    pub fn commits(node: &str) -> String {
        format!("commits/{node}.jsonl")
    }

    /// A node's claims about committed transactions.
    pub fn transactions(node: &str) -> String {
        format!("transactions/{node}.jsonl")
    }

    /// A node's answers to `/v1/peers`.
    pub fn peers(node: &str) -> String {
        format!("peers/{node}.jsonl")
    }

    /// A node's answers to `/v1/status`.
    pub fn status(node: &str) -> String {
        format!("status/{node}.jsonl")
    }

    /// A node's effective configuration, as `/v1/config` gave it.
    pub fn config(node: &str) -> String {
        format!("config/{node}.json")
    }

    /// A committed block with its proof (borsh).
    pub fn block(height: u64) -> String {
        format!("blocks/{height:010}.borsh")
    }

    /// The validators of an epoch (borsh).
    pub fn validators(epoch: u64) -> String {
        format!("validators/{epoch:010}.borsh")
    }

    /// A certified batch (borsh); `id` without `0x`.
    pub fn batch(id: &str) -> String {
        format!("batches/{id}.borsh")
    }

    /// The result of a step; `id` in lower case.
    pub fn step(id: &str) -> String {
        format!("steps/{id}/result.json")
    }
}

/// One line of `commits/<node>.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FeedLine {
    /// The node answered.
    Poll {
        /// When the request was sent.
        at_unix_ms: u64,
        /// Until the whole answer was there.
        duration_ms: u64,
        /// The height it said it had.
        tip: u64,
    },
    /// The node did not answer, or not with a commit feed.
    Gap {
        /// When the request was sent.
        at_unix_ms: u64,
        /// Until it was given up.
        duration_ms: u64,
        /// Why.
        error: String,
    },
    /// The node says it committed this. A second line for a height is a changed mind.
    Commit {
        /// Height.
        height: u64,
        /// View.
        view: u64,
        /// Block.
        block_id: BlockId,
        /// Root after executing it.
        state_root: StateRoot,
        /// The part of it that is not accounts.
        system_root: SystemRoot,
        /// The node's clock when it committed.
        committed_unix_ms: u64,
        /// Transactions in it.
        transactions: u64,
        /// Our clock when the answer was there.
        seen_unix_ms: u64,
    },
}

/// One line of `transactions/<node>.jsonl`: what a node claims of a block's transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimLine {
    /// Height.
    pub height: u64,
    /// Transactions listed.
    pub transactions: u64,
    /// SHA3-256 over the 32-byte ids in the order listed, `0x…`.
    pub ids_sha3: String,
    /// One character each in the same order: `1` succeeded, `0` did not.
    pub success: String,
}

/// One line of `scrapes/index.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeLine {
    /// Node.
    pub node: String,
    /// Number of the round; all nodes are scraped in each.
    pub seq: u64,
    /// When the request was sent.
    pub at_unix_ms: u64,
    /// Until the body was there or given up.
    pub duration_ms: u64,
    /// HTTP status, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the body.
    pub bytes: u64,
    /// Where the body lies; only for a complete answer with status 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One line of `blocks/index.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockLine {
    /// Height.
    pub height: u64,
    /// Which node handed it over.
    pub node: String,
    /// When.
    pub at_unix_ms: u64,
    /// What it is, as computed from its bytes.
    pub block_id: BlockId,
    /// Batches it references.
    pub batches: u64,
    /// Nodes asked in vain before, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// One line of `peers/<node>.jsonl` or `status/<node>.jsonl`: an answer as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerLine {
    /// Number of the scrape round.
    pub seq: u64,
    /// When the request was sent.
    pub at_unix_ms: u64,
    /// The JSON body, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of one transfer of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Accepted and seen committed with success, once.
    Committed,
    /// Seen committed with success more than once.
    Duplicated,
    /// Accepted and not seen committed by the end of the drain.
    Lost,
    /// Refused for good.
    Rejected,
    /// Never accepted by any node before the end.
    Unanswered,
    /// Not sent, because an earlier transfer of its account was refused for good.
    Skipped,
}

/// One line of `load/transactions.jsonl`. Times count from [`LoadSummary::started_unix_ms`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadTransaction {
    /// Place in the schedule.
    pub n: u64,
    /// Its id.
    pub id: TxId,
    /// Which load account.
    pub account: u32,
    /// Its nonce.
    pub nonce: u64,
    /// The node that accepted it first, else the last that was asked.
    pub node: String,
    /// When the schedule wanted it sent. Latency counts from here: a client that waits for a slow
    /// node must not hide it.
    pub scheduled_us: u64,
    /// When it was first sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_us: Option<u64>,
    /// When it was first accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_us: Option<u64>,
    /// When a commit with success was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_us: Option<u64>,
    /// In which block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Times it was submitted.
    pub submissions: u32,
    /// What became of it.
    pub fate: Fate,
    /// The last error code a node gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Figures of a set of latencies, by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyUs {
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
}

/// One second of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSecond {
    /// Which, from 0.
    pub second: u64,
    /// Transfers scheduled in it.
    pub offered: u64,
    /// First accepted in it.
    pub accepted: u64,
    /// First seen committed in it.
    pub committed: u64,
}

/// The schema line of `load/summary.json`.
pub const LOAD_SCHEMA: &str = "qbind.load/v1";

/// `load/summary.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSummary {
    /// Always [`LOAD_SCHEMA`].
    pub schema: String,
    /// Time zero of every `_us` in `load/transactions.jsonl`.
    pub started_unix_ms: u64,
    /// When the last transfer was due.
    pub window_ms: u64,
    /// When it all ended, the drain included.
    pub ended_unix_ms: u64,
    /// Transfers per second, as asked.
    pub rate_per_second: u64,
    /// Nodes transfers went to.
    pub targets: Vec<String>,
    /// Nodes whose commits were followed.
    pub followed: Vec<String>,
    /// Due by the schedule.
    pub offered: u64,
    /// Sent at least once.
    pub submitted: u64,
    /// Accepted by some node.
    pub accepted: u64,
    /// Refused for good.
    pub rejected: u64,
    /// Error codes nodes gave, transient ones included, and how often.
    pub codes: std::collections::BTreeMap<String, u64>,
    /// Seen committed with success.
    pub committed: u64,
    /// Accepted and never seen committed.
    pub lost: u64,
    /// Committed with success more than once.
    pub duplicated: u64,
    /// Submissions beyond each transfer's first.
    pub resubmitted: u64,
    /// Handed on more than 100 ms after they were due because *we* were late.
    pub late_sends: u64,
    /// Committed within the window, in thousandths per second.
    pub tps_milli: u64,
    /// From schedule to commit seen.
    pub latency_us: LatencyUs,
    /// Per second.
    pub series: Vec<LoadSecond>,
}

/// One link of an emulator snapshot; further keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounters {
    /// Sending region.
    pub from: String,
    /// Receiving region.
    pub to: String,
    /// Packets that came in.
    pub packets_in: u64,
    /// Packets handed over.
    pub delivered: u64,
    /// Packets the emulator chose to lose.
    pub lost_random: u64,
    /// Packets lost to a full queue.
    pub lost_queue: u64,
    /// Packets lost to a cut.
    pub lost_partition: u64,
    /// Achieved delays of ICMP and UDP: lower edge of a bin in microseconds, packets in it.
    pub datagram_delay_bins: Vec<(u64, u64)>,
    /// Achieved delays of everything else.
    pub ordered_delay_bins: Vec<(u64, u64)>,
}

/// An emulator snapshot; further keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSnapshot {
    /// Every directed link.
    pub links: Vec<LinkCounters>,
}
