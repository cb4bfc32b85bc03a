//! Everything the gates look at, in memory.

use crate::{
    records::{AnswerLine, ClaimLine, FeedLine, LinkSnapshot, LoadSummary, LoadTransaction},
    series::Sample,
};
use qbind_measure::RawMeasurement;
use qbind_plan::{LiveRecord, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// One scrape of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrape {
    /// When the request was sent.
    pub at_unix_ms: u64,
    /// The series the gates know, by name and then by labels; nothing if the scrape failed.
    pub samples: Option<BTreeMap<String, BTreeMap<String, Sample>>>,
}

/// The result file of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFile {
    /// Parsed.
    pub result: serde_json::Value,
    /// SHA3-256 of the file, `0x…`.
    pub sha3: String,
}

/// The evidence of one run. What is absent is absent, and what could not be read is in `damage`.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// `plan.yaml`.
    pub plan: Option<Plan>,
    /// The bytes of `genesis.json`.
    pub genesis: Option<Vec<u8>>,
    /// `faults/live.json`.
    pub live: Option<LiveRecord>,
    /// `commits/<node>.jsonl`.
    pub feeds: BTreeMap<String, Vec<FeedLine>>,
    /// `transactions/<node>.jsonl`.
    pub claims: BTreeMap<String, Vec<ClaimLine>>,
    /// `blocks/*.borsh` by height.
    pub blocks: BTreeMap<u64, Vec<u8>>,
    /// `validators/*.borsh` by epoch.
    pub validators: BTreeMap<u64, Vec<u8>>,
    /// `batches/*.borsh` by id without `0x`.
    pub batches: BTreeMap<String, Vec<u8>>,
    /// Scrapes by node, in time order.
    pub scrapes: BTreeMap<String, Vec<Scrape>>,
    /// `config/<node>.json`.
    pub configs: BTreeMap<String, serde_json::Value>,
    /// `status/<node>.jsonl`.
    pub statuses: BTreeMap<String, Vec<AnswerLine>>,
    /// `peers/<node>.jsonl`.
    pub peers: BTreeMap<String, Vec<AnswerLine>>,
    /// `load/summary.json`.
    pub load: Option<LoadSummary>,
    /// `load/transactions.jsonl`.
    pub transactions: Vec<LoadTransaction>,
    /// `measure/samples.jsonl`.
    pub samples: Option<RawMeasurement>,
    /// `steps/<id>/result.json` by lower-case id.
    pub steps: BTreeMap<String, StepFile>,
    /// `links/*.json` by path.
    pub links: BTreeMap<String, LinkSnapshot>,
    /// `journal.jsonl`: SHA3-256 of the result of each step, by lower-case id, as noted when it was done;
    /// nothing if there is no journal.
    pub noted_steps: Option<BTreeMap<String, String>>,
    /// `journal.jsonl`: steps noted with another verdict than PASS, however often they were run since; by
    /// lower-case id.
    pub failed_steps: BTreeSet<String>,
    /// Files that are there and could not be read, and why.
    pub damage: BTreeMap<String, String>,
}

impl Evidence {
    /// Why `path` is absent, for notes.
    pub(crate) fn absence(&self, path: &str) -> String {
        match self.damage.get(path) {
            Some(why) => format!("{path} cannot be read: {why}"),
            None => format!("{path} is missing"),
        }
    }
}
