//! Everything the gates look at.

use crate::{
    records::{AnswerLine, ClaimLine, FeedLine, LinkSnapshot, LoadSummary, LoadTransaction, paths},
    series::Samples,
    stored::Stored,
};
use qbind_measure::RawMeasurement;
use qbind_plan::{LiveRecord, Plan};
use serde::de::DeserializeOwned;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// One scrape of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrape {
    /// Number of its round.
    pub seq: u64,
    /// When the request was sent.
    pub at_unix_ms: u64,
    /// The series the gates know; nothing if the scrape failed.
    pub samples: Option<Samples>,
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
    pub feeds: BTreeMap<String, Stored<Vec<FeedLine>>>,
    /// `transactions/<node>.jsonl`.
    pub claims: BTreeMap<String, Stored<Vec<ClaimLine>>>,
    /// `blocks/*.borsh` by height.
    pub blocks: BTreeMap<u64, Stored<Vec<u8>>>,
    /// `validators/*.borsh` by epoch.
    pub validators: BTreeMap<u64, Stored<Vec<u8>>>,
    /// `batches/*.borsh` by id without `0x`.
    pub batches: BTreeMap<String, Stored<Vec<u8>>>,
    /// Scrapes by node, in time order.
    pub scrapes: BTreeMap<String, Vec<Scrape>>,
    /// `config/<node>.json`.
    pub configs: BTreeMap<String, serde_json::Value>,
    /// `status/<node>.jsonl`.
    pub statuses: BTreeMap<String, Stored<Vec<AnswerLine>>>,
    /// `peers/<node>.jsonl`.
    pub peers: BTreeMap<String, Stored<Vec<AnswerLine>>>,
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
        match self.damage.get(path).cloned().or_else(|| self.unread(path)) {
            Some(why) => format!("{path} cannot be read: {why}"),
            None => format!("{path} is missing"),
        }
    }

    /// What is wrong with the lines of a file that was not read yet.
    fn unread(&self, path: &str) -> Option<String> {
        let (folder, name) = path.split_once('/')?;
        let node = name.strip_suffix(".jsonl")?;
        match folder {
            "commits" => self.feeds.get(node)?.lines().err(),
            "transactions" => self.claims.get(node)?.lines().err(),
            "peers" => self.peers.get(node)?.lines().err(),
            "status" => self.statuses.get(node)?.lines().err(),
            _ => None,
        }
    }

    /// What a node claims of committed transactions; why not, in a sentence.
    pub(crate) fn claims_of(&self, node: &str) -> Result<Cow<'_, [ClaimLine]>, String> {
        lines(&self.claims, node).ok_or_else(|| self.absence(&paths::transactions(node)))
    }

    /// A node's answers to `/v1/peers`; why not, in a sentence.
    pub(crate) fn peers_of(&self, node: &str) -> Result<Cow<'_, [AnswerLine]>, String> {
        lines(&self.peers, node).ok_or_else(|| self.absence(&paths::peers(node)))
    }

    /// A node's answers to `/v1/status`; why not, in a sentence.
    pub(crate) fn statuses_of(&self, node: &str) -> Result<Cow<'_, [AnswerLine]>, String> {
        lines(&self.statuses, node).ok_or_else(|| self.absence(&paths::status(node)))
    }
}

fn lines<'a, T: DeserializeOwned + Clone>(
    by_node: &'a BTreeMap<String, Stored<Vec<T>>>,
    node: &str,
) -> Option<Cow<'a, [T]>> {
    by_node.get(node)?.lines().ok()
}
