//! What the loop counts: the core neither counts nor logs.

use crate::metrics::{
    AckResult, BlockCheck, Connections, CouplingCheck, DiversityReason, EvictionReason,
    ExecutionError, MessageKind, Metrics, Offense, PeerEviction, ProposalResult, SlashingDecision,
    StageBMode, VoteResult,
};
use qbind_consensus::{Event as ConsensusEvent, Unsigned};
use qbind_dag::{BatchRefusal, Note};
use qbind_ledger::{
    Decision, Mode, Registry, SerialReason, SkipReason, Status,
    monetary::{Closed, Policy},
};
use qbind_network::{
    Channel, DialStep, DropReason, EvictReason, Health, HeartbeatStep, NetworkObserver,
    RefuseReason,
};
use qbind_replica::{
    Channel as CoreChannel, CommitRecord, CouplingResult, Effect, Event, Gauges, Halt, References,
};
use qbind_types::{Height, Offence, ValidatorSet};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Numbers of the core.
pub(super) fn gauges(metrics: &Metrics, gauges: &Gauges) {
    let executed = gauges.current_view.0;
    metrics.consensus.set_views(gauges.view.0, executed, executed + gauges.view_lag());
    metrics.consensus.committed_height.set(gauges.height.0);
    metrics.mempool.txs.set(gauges.dag.pending as u64);
    metrics.execution.queue.set(gauges.waiting_blocks as u64);
}

/// A verified message.
pub(super) fn received(metrics: &Metrics, event: &Event) {
    if let Event::Consensus(event) = event {
        match **event {
            ConsensusEvent::Vote(_) | ConsensusEvent::CommitVote(_) => {
                metrics.consensus.vote(VoteResult::Accepted);
            }
            ConsensusEvent::Proposal(_) => {
                metrics.consensus.proposals.inc(ProposalResult::Accepted);
            }
            _ => {}
        }
    }
}

/// A message that a sentry passed on.
pub(super) fn relayed(metrics: &Metrics, channel: Channel, copies: usize) {
    metrics.p2p.messages_relayed.of(kind(channel)).add(copies as u64);
}

/// A message that did not verify.
pub(super) fn refused(metrics: &Metrics, channel: CoreChannel) {
    match channel {
        // What it claimed to be is not known of bytes that do not verify.
        CoreChannel::Consensus => metrics.consensus.vote(VoteResult::Invalid),
        CoreChannel::Dag => metrics.dag.acks.inc(AckResult::Invalid),
        CoreChannel::Sync => {}
    }
}

/// An effect, before it is carried out.
pub(super) fn effect(metrics: &Metrics, set: &ValidatorSet, effect: &Effect) {
    let consensus = &metrics.consensus;
    match effect {
        Effect::Entered { by_timeout, .. } => {
            consensus.leader_changes.inc();
            if *by_timeout {
                consensus.view_changes.inc();
            }
        }
        Effect::Certified { .. } => consensus.qcs_formed.inc(),
        Effect::GaveUp { .. } => consensus.timeouts.inc(),
        Effect::Equivocation(evidence) => {
            if let Some(member) = set.get(evidence.validator) {
                consensus.equivocations.inc(member.id);
            }
        }
        Effect::Sign(unsigned) => {
            if let Unsigned::Proposal { block, .. } = &**unsigned
                && !block.batches.is_empty()
            {
                metrics.dag.certified_frontier_select.inc();
            }
        }
        Effect::StoreBatch { batch, .. } => {
            metrics.dag.batch_stored(batch.parents.len(), batch.transactions.len());
        }
        Effect::StoreCertificate(_) => metrics.dag.certificates.inc(),
        Effect::Accepted(_) => metrics.mempool.inserted.inc(),
        Effect::Coupling(result) => coupling(metrics, *result),
        Effect::Halt(Halt::StateRoot { .. }) => metrics.execution.stage_b_mismatch.inc(),
        Effect::Note(found) => note(metrics, found),
        _ => {}
    }
}

/// This node has proof of an offence.
pub(super) fn offence(metrics: &Metrics, offence: Offence) {
    metrics.slashing.evidence.inc(match offence {
        Offence::O1DoubleSign => Offense::O1DoubleSign,
        Offence::O2InvalidProposal => Offense::O2InvalidProposerSig,
        Offence::O3aLazyVote => Offense::O3aLazyVoteSingle,
        Offence::O3bLazyVotes => Offense::O3bLazyVoteRepeated,
        Offence::O4InvalidDagCertificate => Offense::O4InvalidDagCert,
        Offence::O5CouplingViolation => Offense::O5DagCouplingViolation,
    });
}

/// A block judged accusations, or burned stake for them.
pub(super) fn judged(metrics: &Metrics, record: &CommitRecord) {
    for judged in &record.judged {
        let decision = match judged.decision {
            Decision::AcceptedNoop => SlashingDecision::AcceptedNoop,
            Decision::EvidenceOnly => SlashingDecision::EvidenceOnly,
            Decision::PenaltyApplied => SlashingDecision::PenaltyApplied,
            Decision::RejectedInvalid => SlashingDecision::RejectedInvalid,
            Decision::RejectedDuplicate => SlashingDecision::RejectedDuplicate,
        };
        metrics.slashing.judged(decision, judged.jails);
    }
    metrics.slashing.stake_burned.add(u64::try_from(record.stake_burned).unwrap_or(u64::MAX));
}

/// Key rotations under way.
pub(super) fn rotations(metrics: &Metrics, registry: &Registry, set: &ValidatorSet) {
    for (id, registered) in registry.validators() {
        let member = set.index_of(id).and_then(|index| set.get(index));
        let in_grace = member.is_some_and(|member| member.previous_key.is_some());
        let left = registered.rotation.as_ref().map_or(0, |rotation| {
            let from = rotation.effective.0.max(set.epoch().0);
            rotation.grace_until.0.saturating_sub(from)
        });
        let is_pending = in_grace || registered.rotation.is_some();
        metrics.consensus.key_rotation_pending.set(id, u64::from(is_pending));
        metrics.consensus.key_rotation_grace.set(id, left);
        if is_pending {
            tracing::info!(
                validator = id,
                grace_epochs_remaining = left,
                "Key rotation in progress"
            );
        }
    }
}

fn coupling(metrics: &Metrics, result: CouplingResult) {
    let (found, refused) = match result {
        CouplingResult::Ok => (CouplingCheck::Ok, false),
        CouplingResult::NotRequired => (CouplingCheck::NotRequired, false),
        // Counted only when the vote was cast all the same; waiting is not refusing.
        CouplingResult::Missing => (CouplingCheck::UncoupledMissing, false),
        CouplingResult::Mismatch => (CouplingCheck::UncoupledMismatch, true),
        CouplingResult::WrongState => (CouplingCheck::WrongState, true),
        CouplingResult::OverGas => (CouplingCheck::OverGas, true),
    };
    metrics.coupling.proposal(found, refused);
    if refused {
        metrics.consensus.proposals.inc(ProposalResult::Rejected);
    }
}

fn note(metrics: &Metrics, note: &Note) {
    match note {
        Note::BatchRefused { reason: BatchRefusal::Size, .. } => metrics.dag.size_limited.inc(),
        Note::BatchRefused { .. } => metrics.dag.refused.inc(),
        Note::AckCounted => metrics.dag.acks.inc(AckResult::Accepted),
        Note::AckUseless => metrics.dag.acks.inc(AckResult::Useless),
        Note::FetchStarted => metrics.dag.missing_recorded.inc(),
        Note::Fetched => metrics.dag.missing_fetched.inc(),
        Note::Evicted => {
            metrics.mempool.evictions.inc(EvictionReason::Capacity);
            metrics.mempool.evicted_low_priority.inc();
        }
        Note::EvictionIntervalStarted => metrics.mempool.eviction_intervals.inc(),
        Note::EvictionOverLimit => {
            metrics.mempool.eviction_rate_limit.inc(crate::metrics::Strictness::Warn);
        }
        Note::Expired { count } => {
            metrics.mempool.evictions.of(EvictionReason::Lifetime).add(*count as u64);
        }
        _ => {}
    }
}

/// A block that ended an epoch was executed and stored.
pub(super) fn epoch_closed(metrics: &Metrics, policy: &Policy, closed: &Closed) {
    metrics.monetary.closed(policy, closed);
    let decision = &closed.decision;
    tracing::info!(
        epoch = decision.epoch.0,
        phase = decision.phase.as_str(),
        recommendation = decision.recommendation.as_str(),
        r_inf_annual_bps = decision.r_inf_annual_bps,
        fee_coverage_bps = decision.fee_coverage_bps(),
        minted = closed.issued.as_ref().map_or(0, |issued| issued.total()),
        "monetary decision"
    );
}

/// How a block was executed.
fn ran(metrics: &Metrics, height: Height, mode: Mode) {
    let execution = &metrics.execution;
    let why = match mode {
        Mode::Parallel { levels } => {
            execution.stage_b_blocks.inc(StageBMode::Parallel);
            // A block has a few thousand transfers at most: exact in a float.
            execution.stage_b_levels.observe(levels as f64);
            return;
        }
        Mode::Serial { why } => why,
    };
    execution.stage_b_blocks.inc(StageBMode::Fallback);
    if why != SerialReason::Disabled {
        execution.fallbacks.inc();
    }
    if why == SerialReason::Mismatch {
        execution.stage_b_mismatch.inc();
        tracing::error!(
            %height,
            "parallel execution gave another state than serial execution, which stands; start with \
             --enable-stage-b false and report this"
        );
    }
}

/// A block was executed and stored.
pub(super) fn commit(
    metrics: &Metrics,
    record: &CommitRecord,
    latency_seconds: f64,
    took: Duration,
) {
    metrics.consensus.commit_latency_seconds.observe(latency_seconds);
    metrics.execution.block_apply_seconds.observe(took.as_secs_f64());
    metrics.coupling.block(match record.references {
        References::Ok => BlockCheck::Ok,
        References::Fetched => BlockCheck::Missing,
        References::Mismatch => BlockCheck::Mismatch,
    });
    ran(metrics, record.committed.block.height, record.mode);
    for receipt in &record.receipts {
        match receipt.status {
            Status::Success => metrics.execution.txs_applied.inc(),
            Status::Skipped(SkipReason::Nonce) => {
                metrics.execution.errors.inc(ExecutionError::NonceMismatch);
            }
            Status::Skipped(_) | Status::Failed(_) => {
                metrics.execution.errors.inc(ExecutionError::Other);
            }
        }
    }
    metrics.mempool.committed.add(record.receipts.iter().filter(|r| r.is_success()).count() as u64);
}

/// Counts what the network does.
pub(super) struct PeerMeters {
    metrics: Arc<Metrics>,
    last: Mutex<Connections>,
}

impl PeerMeters {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, last: Mutex::default() }
    }
}

fn kind(channel: Channel) -> MessageKind {
    match channel {
        Channel::Consensus => MessageKind::Consensus,
        Channel::Dag => MessageKind::Dag,
        Channel::Sync => MessageKind::Sync,
        Channel::Control => MessageKind::Control,
    }
}

fn connections(health: &Health) -> Connections {
    Connections {
        outbound: health.outbound as u64,
        inbound: health.inbound as u64,
        known: health.known as u64,
        distinct_buckets: health.distinct_buckets as u64,
        max_bucket_bps: u64::from(health.max_bucket_share_bps),
        distinct_asn: health.distinct_asn as u64,
        below_min_outbound: health.below_min_outbound,
        below_min_asn: health.below_min_asn,
    }
}

impl NetworkObserver for PeerMeters {
    fn sent(&self, channel: Channel, bytes: usize) {
        self.metrics.p2p.sent(kind(channel), bytes);
    }

    fn received(&self, channel: Channel, bytes: usize) {
        self.metrics.p2p.received(kind(channel), bytes);
    }

    fn dropped(&self, channel: Channel, _reason: DropReason, messages: usize) {
        self.metrics.p2p.messages_dropped.of(kind(channel)).add(messages as u64);
    }

    fn diversity_violated(&self, reason: qbind_network::DiversityReason, refused: bool) {
        let reason = match reason {
            qbind_network::DiversityReason::Prefix24 => DiversityReason::Prefix24,
            qbind_network::DiversityReason::Prefix16 => DiversityReason::Prefix16,
            qbind_network::DiversityReason::Prefix48 => DiversityReason::Prefix48,
            qbind_network::DiversityReason::MaxFraction => DiversityReason::MaxFraction,
        };
        self.metrics.p2p.diversity_violated(reason, refused);
    }

    fn asn_refused(&self) {
        self.metrics.p2p.rejected_asn.inc();
    }

    fn handshake_refused(&self, _reason: RefuseReason) {
        self.metrics.p2p.handshake_failures.inc();
    }

    fn handshake_failed(&self) {
        self.metrics.p2p.handshake_failures.inc();
    }

    fn heartbeat(&self, step: HeartbeatStep) {
        let p2p = &self.metrics.p2p;
        match step {
            HeartbeatStep::Sent => p2p.heartbeat_sent.inc(),
            HeartbeatStep::Success => p2p.heartbeat_success.inc(),
            HeartbeatStep::Failed => p2p.heartbeat_failed.inc(),
        }
    }

    fn dial(&self, step: DialStep) {
        let p2p = &self.metrics.p2p;
        match step {
            DialStep::Attempt => p2p.dial_attempt.inc(),
            DialStep::Success => p2p.dial_success.inc(),
            DialStep::Failure => p2p.dial_failure.inc(),
        }
    }

    fn discovered(&self) {
        self.metrics.p2p.discovered.inc();
    }

    fn exchanged(&self, success: bool) {
        let p2p = &self.metrics.p2p;
        if success { p2p.exchange_success.inc() } else { p2p.exchange_failure.inc() }
    }

    fn evicted(&self, reason: EvictReason) {
        self.metrics.p2p.evicted.inc(match reason {
            EvictReason::Liveness => PeerEviction::Liveness,
            EvictReason::Violation => PeerEviction::Violation,
            EvictReason::Banned => PeerEviction::Banned,
        });
    }

    fn health(&self, health: &Health) {
        let now = connections(health);
        let mut last = self.last.lock().expect("no panic while held");
        self.metrics.p2p.set_connections(&last, &now);
        *last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_profile::Profile;

    #[test]
    fn a_mismatch_is_counted_as_one_and_as_a_fallback() {
        let metrics = Metrics::new(&Profile::Mainnet.preset(), &[1]);
        let values = |why| {
            ran(&metrics, Height(16), Mode::Serial { why });
            let text = metrics.render();
            let value = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|value| value.trim().parse::<u64>().ok()).expect("a counter")
            };
            [
                value("qbind_execution_stage_b_mismatch_total"),
                value("qbind_execution_parallel_fallback_total"),
                value("qbind_execution_stage_b_blocks_total{mode=\"fallback\"}"),
            ]
        };
        assert_eq!(values(SerialReason::Disabled), [0, 0, 1]);
        assert_eq!(values(SerialReason::TooFew), [0, 1, 2]);
        assert_eq!(values(SerialReason::Mismatch), [1, 2, 3]);
    }
}
