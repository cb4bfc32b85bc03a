//! What a run showed.

use crate::work::Work;
use std::collections::BTreeMap;

/// Facts of one run; verdicts are made of them elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Heights at which two nodes committed different blocks, with both ids.
    pub divergences: Vec<String>,
    /// Committed blocks of which some reference was not certified, or its content another.
    pub block_mismatches: Vec<String>,
    /// Heights at which two nodes computed different state roots.
    pub state_divergences: Vec<String>,
    /// Nodes that stopped because the chain contradicted itself or their state.
    pub halts: Vec<String>,
    /// Two statements of one validator that exclude each other.
    pub equivocations: u64,
    /// Signatures of honest validators that exclude an earlier one or that a crash could forget.
    pub broken_promises: Vec<String>,
    /// Nodes that lost power at a chosen place.
    pub power_losses: u64,
    /// Proposals whose references break a rule of blocks, as shown by whoever refused them.
    pub coupling_violations: u64,
    /// Proofs against validators that keep the rules.
    pub false_evidence: u64,
    /// Proofs that stand alone, by offence.
    pub proofs: BTreeMap<&'static str, u64>,
    /// Proofs tried against validators that keep the rules, where signatures are real.
    pub trials: u64,
    /// Those that held.
    pub convictions: Vec<String>,
    /// The newest epoch that started.
    pub epochs: u64,
    /// Ids of its validators.
    pub validators: Vec<u64>,
    /// Blocks of each epoch by their proposers' ids.
    pub proposers: BTreeMap<(u64, u64), u64>,
    /// Effects each node carried out; an index for [`crate::PowerCut`].
    pub effects: Vec<u64>,
    /// Messages that no honest node accepts: wrong signatures, certificates, form.
    pub refused: u64,
    /// Messages that arrived twice.
    pub duplicated: u64,
    /// Executed height of each honest node at the end.
    pub heights: Vec<u64>,
    /// Highest height when the last fault ended.
    pub height_at_calm: u64,
    /// Milliseconds from the end of the last fault to the next new commit; `None` if none came.
    pub recovery_ms: Option<u64>,
    /// Milliseconds from the last planned fault, which may be a heal, to the next new commit; `None` if
    /// none came, or nothing was planned.
    pub resumed_ms: Option<u64>,
    /// Messages that Byzantine validators did not send to whom the rules name.
    pub withheld: u64,
    /// Largest difference between executed heights of running honest nodes, sampled every 100 ms.
    pub max_height_divergence: u64,
    /// The same at the end.
    pub final_height_divergence: u64,
    /// Views that were given up by certificate, on the node that saw most.
    pub view_changes: u64,
    /// Transfers handed in, accepted, committed exactly once, committed more than once.
    pub submitted: u64,
    /// Told "accepted".
    pub accepted: u64,
    /// Found exactly once in the committed chain with effect.
    pub committed_once: u64,
    /// Found with effect more than once.
    pub double_spends: u64,
    /// Submit to execution on the receiving node, microseconds: p50, p90, p99.
    pub latency_us: [u64; 3],
    /// Proposal to commit on the proposing node, microseconds: p50.
    pub block_latency_us: u64,
    /// Proposal to commit on every honest node, microseconds: mean.
    pub commit_latency_mean_us: u64,
    /// Messages and signature checks, if they were counted.
    pub work: Option<Work>,
    /// Highest view of a committed block.
    pub views: u64,
    /// Proposals a validator refused or had to wait for, by reason.
    pub coupling: BTreeMap<String, u64>,
    /// Messages delivered, lost on links, cut, dropped on purpose.
    pub messages: [u64; 4],
    /// Mean delay of delivered messages in microseconds.
    pub mean_delay_us: u64,
    /// Faults that happened.
    pub faults_injected: u64,
    /// Total supply is what it was, less what was burned.
    pub supply_conserved: bool,
    /// SHA3-256 of everything that happened, in order.
    pub trace: String,
}

impl Outcome {
    /// No conflicting commits, no mismatch, no state divergence, no broken promise, no double spend,
    /// nobody halted, nobody convicted that keeps the rules.
    pub fn is_safe(&self) -> bool {
        self.divergences.is_empty()
            && self.block_mismatches.is_empty()
            && self.state_divergences.is_empty()
            && self.halts.is_empty()
            && self.broken_promises.is_empty()
            && self.convictions.is_empty()
            && self.double_spends == 0
            && self.supply_conserved
    }
}
