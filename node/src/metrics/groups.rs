//! The series, room by room.

use super::{label::*, series::*};

/// Milliseconds; the top is the longest commit a rehearsal accepts.
const LATENCY_MS: &[f64] = &[
    5., 10., 25., 50., 75., 100., 150., 200., 300., 400., 500., 750., 1_000., 1_500., 2_000.,
    3_000., 5_000., 7_500., 10_000.,
];
/// Seconds, the same with room above.
const LATENCY_SECONDS: &[f64] =
    &[0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1., 1.5, 2., 3., 5., 7.5, 10., 15., 30.];
/// Seconds; alerts ask whether 95 % stay below half a second, which must not be the last bound.
const APPLY_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.];
const STAGE_B_LEVELS: &[f64] = &[4., 16., 64.];

/// Snapshots of the state.
#[derive(Debug)]
pub struct Snapshots {
    /// Snapshots taken.
    pub success: Counter,
    /// Snapshots that could not be taken.
    pub failure: Counter,
    /// Whether one is being taken.
    pub in_progress: Gauge,
    /// Height of the newest.
    pub last_height: Gauge,
    /// Its size.
    pub last_size_bytes: Gauge,
    /// How long it took.
    pub last_duration_ms: Gauge,
    /// When it was taken.
    pub last_created_at_ms: Gauge,
}

impl Snapshots {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            success: b.counter("qbind_snapshot_success_total", "Snapshots taken."),
            failure: b
                .counter("qbind_snapshot_failure_total", "Snapshots that could not be taken."),
            in_progress: b
                .gauge("qbind_snapshot_in_progress", "1 while a snapshot is being taken, else 0."),
            last_height: b.gauge("qbind_snapshot_last_height", "Height of the newest snapshot."),
            last_size_bytes: b
                .gauge("qbind_snapshot_last_size_bytes", "Bytes of the newest snapshot."),
            last_duration_ms: b.gauge(
                "qbind_snapshot_last_duration_ms",
                "Milliseconds from the checkpoint to the end of the snapshot taken last.",
            ),
            last_created_at_ms: b.gauge(
                "qbind_snapshot_last_created_at_ms",
                "When the newest snapshot was made, Unix milliseconds; 0 where there is none.",
            ),
        }
    }
}

/// Deleted history.
#[derive(Debug)]
pub struct Pruning {
    /// Runs.
    pub runs: Counter,
    /// Keys looked at.
    pub keys_scanned: Counter,
    /// Keys deleted.
    pub keys_pruned: Counter,
    /// Time spent.
    pub duration_ms: Counter,
    /// How far.
    pub last_height: Gauge,
}

impl Pruning {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            runs: b.counter("qbind_state_prune_runs_total", "Runs that deleted old history."),
            keys_scanned: b.counter(
                "qbind_state_prune_keys_scanned_total",
                "Keys of the database looked at to delete old history.",
            ),
            keys_pruned: b.counter(
                "qbind_state_prune_keys_pruned_total",
                "Keys of the database deleted as old history.",
            ),
            duration_ms: b.counter(
                "qbind_state_prune_duration_ms_total",
                "Milliseconds spent on deleting old history.",
            ),
            last_height: b.gauge(
                "qbind_state_prune_last_height",
                "Height below which history is deleted; 0 where nothing is.",
            ),
        }
    }
}

/// Views, votes, certificates, commits.
#[derive(Debug)]
pub struct Consensus {
    current_view: Gauge,
    view_number: Gauge,
    highest_seen_view: Gauge,
    view_lag: Gauge,
    /// Last executed height.
    pub committed_height: Gauge,
    /// Proposals by what became of them.
    pub proposals: Counters<ProposalResult>,
    /// Votes of both phases by what became of them.
    pub votes: Counters<VoteResult>,
    votes_observed: Counter,
    /// Views this node gave up.
    pub timeouts: Counter,
    /// Quorum certificates this node came to know.
    pub qcs_formed: Counter,
    /// Views entered because the one before was given up.
    pub view_changes: Counter,
    /// Changes of leader.
    pub leader_changes: Counter,
    /// Milliseconds from entering a view to its certificate.
    pub qc_formation_latency_ms: Histogram,
    /// Seconds from a block's timestamp to its execution here.
    pub commit_latency_seconds: Histogram,
    /// Conflicting final blocks or states, as seen here.
    pub safety_violations: Counter,
    /// Proven contradictions by validator.
    pub equivocations: PerValidator,
    /// The epoch this node is in.
    pub epoch: Gauge,
    /// Validators of that epoch.
    pub validators: Gauge,
    /// 1 while a validator has a key rotation under way.
    pub key_rotation_pending: GaugePerValidator,
    /// Epochs in which its old key will be valid too.
    pub key_rotation_grace: GaugePerValidator,
}

impl Consensus {
    pub(super) fn new(b: &Builder<'_>, validators: &[u64]) -> Self {
        Self {
            current_view: b
                .gauge("qbind_consensus_current_view", "View of the last executed block."),
            view_number: b.gauge("qbind_consensus_view_number", "The view this node is in."),
            highest_seen_view: b
                .gauge("qbind_consensus_highest_seen_view", "Highest view a certificate proved."),
            view_lag: b.gauge(
                "qbind_consensus_view_lag",
                "highest_seen_view less current_view: how far this node is behind.",
            ),
            committed_height: b
                .gauge("qbind_consensus_committed_height", "Height of the last executed block."),
            proposals: b.counters("qbind_consensus_proposals_total", "Proposals received."),
            votes: b.counters("qbind_consensus_votes_total", "Votes of both phases received."),
            votes_observed: b.counter(
                "qbind_consensus_votes_observed_total",
                "Votes of both phases received, whatever became of them.",
            ),
            timeouts: b.counter("qbind_consensus_timeouts_total", "Views this node gave up."),
            qcs_formed: b
                .counter("qbind_consensus_qcs_formed_total", "Views this node knows certified."),
            view_changes: b.counter(
                "qbind_consensus_view_changes_total",
                "Views entered because the one before was given up.",
            ),
            leader_changes: b.counter(
                "qbind_consensus_leader_changes_total",
                "Views entered with another leader than the one before.",
            ),
            qc_formation_latency_ms: b.histogram(
                "qbind_consensus_qc_formation_latency_ms",
                "Milliseconds from entering a view to its quorum certificate.",
                LATENCY_MS,
            ),
            commit_latency_seconds: b.histogram(
                "qbind_consensus_commit_latency_seconds",
                "Seconds from a block's timestamp to its execution here.",
                LATENCY_SECONDS,
            ),
            safety_violations: b.counter(
                "qbind_consensus_safety_violations_total",
                "Conflicting final blocks, conflicting batch certificates, or states that differ.",
            ),
            equivocations: b.per_validator(
                "qbind_consensus_validator_equivocations_total",
                "Contradicting signed messages, proven, by validator id.",
                validators,
            ),
            epoch: b.gauge("qbind_consensus_epoch", "The epoch this node is in."),
            validators: b.gauge("qbind_consensus_validators", "Validators of this epoch."),
            key_rotation_pending: b.gauge_per_validator(
                "qbind_consensus_key_rotation_pending",
                "1 from the commit of a key rotation to the end of its grace, by validator id.",
                validators,
            ),
            key_rotation_grace: b.gauge_per_validator(
                "qbind_consensus_key_rotation_grace_epochs_remaining",
                "Epochs of grace left, in which the old key is valid too, by validator id.",
                validators,
            ),
        }
    }

    /// Where this node is: the view it is in, of its last executed block, and the highest proved.
    pub fn set_views(&self, in_view: u64, executed: u64, highest_seen: u64) {
        self.view_number.set(in_view);
        self.current_view.set(executed);
        self.highest_seen_view.set(highest_seen);
        self.view_lag.set(highest_seen.saturating_sub(executed));
    }

    /// One vote of either phase arrived.
    pub fn vote(&self, result: VoteResult) {
        self.votes_observed.inc();
        self.votes.inc(result);
    }
}

/// Whether blocks and batches agree.
#[derive(Debug)]
pub struct Coupling {
    validation: Counters<CouplingCheck>,
    rejected: Counters<CouplingRejection>,
    block_check: Counters<BlockCheck>,
    block_mismatch: Counter,
    block_missing: Counter,
}

impl Coupling {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            validation: b.counters(
                "qbind_dag_coupling_validation_total",
                "Proposals by what the check of their references found.",
            ),
            rejected: b.counters(
                "qbind_dag_coupling_rejected_total",
                "Proposals not voted for because of that check.",
            ),
            block_check: b.counters(
                "qbind_dag_coupling_block_check_total",
                "Committed blocks by what the check of their references found.",
            ),
            block_mismatch: b.counter(
                "qbind_dag_coupling_block_mismatch_total",
                "Committed blocks with a reference that contradicts a certificate.",
            ),
            block_missing: b.counter(
                "qbind_dag_coupling_block_missing_total",
                "Committed blocks of which a batch had to be fetched first.",
            ),
        }
    }

    /// A proposal was checked; `refused` says whether that kept this node from voting.
    pub fn proposal(&self, found: CouplingCheck, refused: bool) {
        self.validation.inc(found);
        let reason = match found {
            CouplingCheck::Ok | CouplingCheck::NotRequired => return,
            CouplingCheck::UncoupledMissing => CouplingRejection::UncoupledMissing,
            CouplingCheck::UncoupledMismatch => CouplingRejection::UncoupledMismatch,
            CouplingCheck::WrongState => CouplingRejection::WrongState,
            CouplingCheck::OverGas => CouplingRejection::OverGas,
        };
        if refused {
            self.rejected.inc(reason);
        }
    }

    /// A committed block was checked.
    pub fn block(&self, found: BlockCheck) {
        self.block_check.inc(found);
        match found {
            BlockCheck::Mismatch => self.block_mismatch.inc(),
            BlockCheck::Missing => self.block_missing.inc(),
            BlockCheck::Ok | BlockCheck::NotChecked => {}
        }
    }
}

/// Batches, acks, certificates.
#[derive(Debug)]
pub struct Dag {
    batches: Counter,
    edges: Counter,
    txs: Counter,
    /// Proposals of this node that carried certified batches.
    pub certified_frontier_select: Counter,
    /// Acks by what became of them.
    pub acks: Counters<AckResult>,
    /// Availability certificates stored.
    pub certificates: Counter,
    /// Batches looked for.
    pub missing_recorded: Counter,
    /// Of those, found.
    pub missing_fetched: Counter,
    /// Batches not taken because of their size.
    pub size_limited: Counter,
    /// Batches not taken for another reason.
    pub refused: Counter,
}

impl Dag {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            batches: b.counter("qbind_dag_batches_total", "Batches stored."),
            edges: b.counter("qbind_dag_edges_total", "Parents of stored batches."),
            txs: b.counter("qbind_dag_txs_total", "Transactions in stored batches."),
            certified_frontier_select: b.counter(
                "qbind_dag_certified_frontier_select_total",
                "Proposals of this node that reference certified batches.",
            ),
            acks: b.counters("qbind_dag_batch_acks_total", "Acks received."),
            certificates: b
                .counter("qbind_dag_batch_certs_total", "Availability certificates stored."),
            missing_recorded: b.counter(
                "qbind_dag_missing_batches_recorded",
                "Batches this node had to look for.",
            ),
            missing_fetched: b.counter("qbind_dag_missing_batches_fetched", "Of those, found."),
            size_limited: b.counter(
                "qbind_dag_batch_size_limited_total",
                "Batches not taken because of their number of transactions or bytes.",
            ),
            refused: b.counter(
                "qbind_dag_batches_refused_total",
                "Batches not taken for another reason than their size.",
            ),
        }
    }

    /// A batch was stored.
    pub fn batch_stored(&self, parents: usize, transactions: usize) {
        self.batches.inc();
        self.edges.add(parents as u64);
        self.txs.add(transactions as u64);
    }
}

/// Waiting transactions.
#[derive(Debug)]
pub struct Mempool {
    /// Waiting now.
    pub txs: Gauge,
    /// Accepted.
    pub inserted: Counter,
    /// Of those, committed.
    pub committed: Counter,
    /// Refused, by reason.
    pub rejected: Counters<MempoolRejection>,
    /// Refused because the sender has too many waiting.
    pub sender_limited: Counter,
    /// Thrown out, by reason.
    pub evictions: Counters<EvictionReason>,
    /// Thrown out for a better paid one.
    pub evicted_low_priority: Counter,
    /// Eviction intervals begun.
    pub eviction_intervals: Counter,
    /// Evictions over the interval's limit, by what the mode did.
    pub eviction_rate_limit: Counters<Strictness>,
}

impl Mempool {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            txs: b.gauge("qbind_mempool_txs_total", "Transactions waiting now."),
            inserted: b.counter("qbind_mempool_inserted_total", "Transactions accepted."),
            committed: b
                .counter("qbind_mempool_committed_total", "Accepted transactions since committed."),
            rejected: b.counters("qbind_mempool_rejected_total", "Transactions refused."),
            sender_limited: b.counter(
                "qbind_dag_sender_rate_limited_total",
                "Transactions refused because their sender has too many waiting.",
            ),
            evictions: b.counters(
                "qbind_mempool_evictions_total",
                "Accepted transactions dropped before they were committed.",
            ),
            evicted_low_priority: b.counter(
                "qbind_mempool_evicted_low_priority_total",
                "Accepted transactions dropped for a better paid one because the pool was full.",
            ),
            eviction_intervals: b.counter(
                "qbind_mempool_evictions_window_reset_total",
                "Eviction intervals begun: the count of evictions starts again.",
            ),
            eviction_rate_limit: b.counters(
                "qbind_mempool_eviction_rate_limit_total",
                "Evictions over the interval's limit.",
            ),
        }
    }

    /// A transaction was refused with this code (`E_…`).
    pub fn reject(&self, code: &str) {
        self.rejected.inc(match code {
            "E_FULL" | "E_SENDER_LIMIT" | "E_RATE" => MempoolRejection::Full,
            "E_SIGNATURE" => MempoolRejection::InvalidSignature,
            "E_NONCE" | "E_DUPLICATE" => MempoolRejection::InvalidNonce,
            _ => MempoolRejection::Other,
        });
        match code {
            "E_SENDER_LIMIT" => self.sender_limited.inc(),
            "E_RATE" => self.eviction_rate_limit.inc(Strictness::Enforce),
            _ => {}
        }
    }
}

/// Executed transactions.
#[derive(Debug)]
pub struct Execution {
    /// With effect.
    pub txs_applied: Counter,
    /// Without effect, by reason.
    pub errors: Counters<ExecutionError>,
    /// Seconds per block.
    pub block_apply_seconds: Histogram,
    /// Blocks by how they executed.
    pub stage_b_blocks: Counters<StageBMode>,
    /// Blocks whose parallel and serial outcomes differ.
    pub stage_b_mismatch: Counter,
    /// Conflict levels per block that ran in parallel.
    pub stage_b_levels: Histogram,
    /// Seconds per block that ran in parallel.
    pub stage_b_seconds: Histogram,
    /// Blocks that ran serially although Stage B is on.
    pub fallbacks: Counter,
    /// Threads at work on a block now.
    pub workers_active: Gauge,
    /// Final blocks that wait for a batch.
    pub queue: Gauge,
}

impl Execution {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            txs_applied: b
                .counter("qbind_execution_txs_applied_total", "Transactions that had an effect."),
            errors: b.counters(
                "qbind_execution_errors_total",
                "Committed transactions that had no effect.",
            ),
            block_apply_seconds: b.histogram(
                "qbind_execution_block_apply_seconds",
                "Seconds to execute and store a block.",
                APPLY_SECONDS,
            ),
            stage_b_blocks: b
                .counters("qbind_execution_stage_b_blocks_total", "Blocks by how they executed."),
            stage_b_mismatch: b.counter(
                "qbind_execution_stage_b_mismatch_total",
                "Blocks whose state in parallel differs from the serial one, or from what a quorum signed.",
            ),
            stage_b_levels: b.histogram(
                "qbind_execution_stage_b_levels_histogram",
                "Conflict levels of the blocks that ran in parallel.",
                STAGE_B_LEVELS,
            ),
            stage_b_seconds: b.histogram(
                "qbind_execution_stage_b_parallel_seconds",
                "Seconds the transfers of a block took that ran in parallel.",
                APPLY_SECONDS,
            ),
            fallbacks: b.counter(
                "qbind_execution_parallel_fallback_total",
                "Blocks that ran serially although Stage B is on: at most one transfer to run, or a mismatch.",
            ),
            workers_active: b.gauge(
                "qbind_execution_parallel_workers_active",
                "Threads at work on a block now.",
            ),
            queue: b.gauge(
                "qbind_execution_queue_len",
                "Final blocks that wait for a batch before they can execute.",
            ),
        }
    }
}

/// Peers.
#[derive(Debug)]
pub struct P2p {
    outbound: Gauge,
    inbound: Gauge,
    connected: Gauge,
    connections: Gauge,
    known: Gauge,
    distinct_buckets: Gauge,
    max_bucket_bps: Gauge,
    eclipse_outbound: Gauge,
    eclipse_asn: Gauge,
    asn_diversity: Gauge,
    bytes_sent: Counter,
    bytes_received: Counter,
    messages_sent: Counters<MessageKind>,
    messages_received: Counters<MessageKind>,
    /// Messages lost before they were written, by class.
    pub messages_dropped: Counters<MessageKind>,
    /// Copies of messages that this node, a sentry, passed on, by class.
    pub messages_relayed: Counters<MessageKind>,
    /// Nodes heard of for the first time.
    pub discovered: Counter,
    /// Lists of addresses told to a peer.
    pub exchange_success: Counter,
    /// Lists of addresses that could not be used.
    pub exchange_failure: Counter,
    /// Peers let go, by reason.
    pub evicted: Counters<PeerEviction>,
    /// Heartbeats asked.
    pub heartbeat_sent: Counter,
    /// Heartbeats answered.
    pub heartbeat_success: Counter,
    /// Heartbeats not answered in time.
    pub heartbeat_failed: Counter,
    /// Dials begun.
    pub dial_attempt: Counter,
    /// Dials that ended in a proven connection.
    pub dial_success: Counter,
    /// Dials that did not.
    pub dial_failure: Counter,
    /// Handshakes refused or broken off.
    pub handshake_failures: Counter,
    rejected_diversity: Counters<DiversityReason>,
    diversity_violation: Counters<Strictness>,
    rejected_prefix: Counter,
    /// Outbound slots kept for another autonomous system.
    pub rejected_asn: Counter,
    min_outbound_violation: Counter,
    min_asn_violation: Counter,
}

/// How well connected a node is, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Connections this node opened.
    pub outbound: u64,
    /// Connections it accepted.
    pub inbound: u64,
    /// Nodes it knows of.
    pub known: u64,
    /// Distinct pieces of the address space among peers.
    pub distinct_buckets: u64,
    /// Share of the fullest, in basis points.
    pub max_bucket_bps: u64,
    /// Distinct autonomous systems among peers.
    pub distinct_asn: u64,
    /// Fewer outbound than the anti-eclipse minimum.
    pub below_min_outbound: bool,
    /// Fewer autonomous systems than the anti-eclipse minimum.
    pub below_min_asn: bool,
}

impl P2p {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            outbound: b.gauge("qbind_p2p_outbound_peers", "Peers this node dialled."),
            inbound: b.gauge("qbind_p2p_inbound_peers", "Peers that dialled this node."),
            connected: b.gauge("qbind_p2p_connected_peers", "Connected peers."),
            connections: b.gauge("qbind_p2p_connections_current", "Connected peers."),
            known: b.gauge("qbind_p2p_known_peers", "Nodes this one knows of."),
            distinct_buckets: b.gauge(
                "qbind_p2p_diversity_distinct_buckets",
                "Distinct address prefixes (IPv4 /16, IPv6 /48) among peers.",
            ),
            max_bucket_bps: b.gauge(
                "qbind_p2p_diversity_max_bucket_fraction_bps",
                "Share of the most common prefix, in basis points.",
            ),
            eclipse_outbound: b
                .gauge("qbind_p2p_anti_eclipse_outbound_peers", "Peers this node dialled."),
            eclipse_asn: b.gauge(
                "qbind_p2p_anti_eclipse_distinct_asn",
                "Distinct autonomous systems among peers.",
            ),
            asn_diversity: b.gauge(
                "qbind_anti_eclipse_asn_diversity",
                "Distinct autonomous systems among peers.",
            ),
            bytes_sent: b.counter("qbind_p2p_bytes_sent_total", "Bytes of messages written."),
            bytes_received: b.counter("qbind_p2p_bytes_received_total", "Bytes of messages read."),
            messages_sent: b.counters("qbind_p2p_messages_sent_total", "Messages written."),
            messages_received: b.counters("qbind_p2p_messages_received_total", "Messages read."),
            messages_dropped: b.counters(
                "qbind_p2p_messages_dropped_total",
                "Messages lost before they were written: queue full or connection gone.",
            ),
            messages_relayed: b.counters(
                "qbind_p2p_messages_relayed_total",
                "Copies of messages that a sentry passed on for the validators behind it.",
            ),
            discovered: b
                .counter("qbind_p2p_peer_discovered_total", "Nodes heard of for the first time."),
            exchange_success: b.counter(
                "qbind_p2p_discovery_exchange_success_total",
                "Lists of addresses told to a peer.",
            ),
            exchange_failure: b.counter(
                "qbind_p2p_discovery_exchange_failure_total",
                "Lists of addresses that could not be used.",
            ),
            evicted: b.counters("qbind_p2p_peer_evicted_total", "Connected peers let go."),
            heartbeat_sent: b.counter("qbind_p2p_heartbeat_sent_total", "Heartbeats asked."),
            heartbeat_success: b
                .counter("qbind_p2p_heartbeat_success_total", "Heartbeats answered in time."),
            heartbeat_failed: b
                .counter("qbind_p2p_heartbeat_failed_total", "Heartbeats not answered in time."),
            dial_attempt: b.counter("qbind_p2p_discovery_dial_attempt_total", "Dials begun."),
            dial_success: b.counter(
                "qbind_p2p_discovery_dial_success_total",
                "Dials that ended in a proven connection.",
            ),
            dial_failure: b
                .counter("qbind_p2p_discovery_dial_failure_total", "Dials that ended otherwise."),
            handshake_failures: b
                .counter("qbind_p2p_handshake_failures_total", "Handshakes refused or broken off."),
            rejected_diversity: b.counters(
                "qbind_p2p_peer_rejected_diversity_total",
                "Peers refused because of their address.",
            ),
            diversity_violation: b.counters(
                "qbind_p2p_diversity_violation_total",
                "Diversity bounds a peer would break, by what the mode did.",
            ),
            rejected_prefix: b.counter(
                "qbind_p2p_anti_eclipse_rejected_prefix_limit_total",
                "Peers refused because their prefix is full.",
            ),
            rejected_asn: b.counter(
                "qbind_p2p_anti_eclipse_rejected_asn_total",
                "Dials not made, to keep a slot for another autonomous system.",
            ),
            min_outbound_violation: b.counter(
                "qbind_p2p_anti_eclipse_min_outbound_violation_total",
                "Times the outbound peers became fewer than the minimum.",
            ),
            min_asn_violation: b.counter(
                "qbind_p2p_anti_eclipse_min_asn_violation_total",
                "Times the autonomous systems became fewer than the minimum.",
            ),
        }
    }

    /// How well connected this node is; violations are counted when `now` differs from `before`.
    pub fn set_connections(&self, before: &Connections, now: &Connections) {
        self.outbound.set(now.outbound);
        self.inbound.set(now.inbound);
        self.connected.set(now.outbound + now.inbound);
        self.connections.set(now.outbound + now.inbound);
        self.known.set(now.known);
        self.distinct_buckets.set(now.distinct_buckets);
        self.max_bucket_bps.set(now.max_bucket_bps);
        self.eclipse_outbound.set(now.outbound);
        self.eclipse_asn.set(now.distinct_asn);
        self.asn_diversity.set(now.distinct_asn);
        if now.below_min_outbound && !before.below_min_outbound {
            self.min_outbound_violation.inc();
        }
        if now.below_min_asn && !before.below_min_asn {
            self.min_asn_violation.inc();
        }
    }

    /// A message was written.
    pub fn sent(&self, kind: MessageKind, bytes: usize) {
        self.messages_sent.inc(kind);
        self.bytes_sent.add(bytes as u64);
    }

    /// A message was read.
    pub fn received(&self, kind: MessageKind, bytes: usize) {
        self.messages_received.inc(kind);
        self.bytes_received.add(bytes as u64);
    }

    /// A peer would break a diversity bound.
    pub fn diversity_violated(&self, reason: DiversityReason, refused: bool) {
        if !refused {
            self.diversity_violation.inc(Strictness::Warn);
            return;
        }
        self.diversity_violation.inc(Strictness::Enforce);
        self.rejected_diversity.inc(reason);
        if reason != DiversityReason::MaxFraction {
            self.rejected_prefix.inc();
        }
    }
}

/// Offences and what follows from them.
#[derive(Debug)]
pub struct Slashing {
    /// Proven offences.
    pub evidence: Counters<Offense>,
    /// Accusations in blocks.
    pub decisions: Counters<SlashingDecision>,
    /// Those that cost something.
    pub penalties: Counter,
    /// Those that were refused.
    pub rejected: Counters<SlashingRejection>,
    /// Stake burned.
    pub stake_burned: Counter,
    /// Sentences to jail.
    pub jail_events: Counter,
}

impl Slashing {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            evidence: b
                .counters("qbind_slashing_evidence_total", "Offences this node has proof of."),
            decisions: b.counters(
                "qbind_slashing_decisions_total",
                "Accusations in blocks by what became of them.",
            ),
            penalties: b.counter(
                "qbind_slashing_penalty_total",
                "Accusations that cost stake or led to jail.",
            ),
            rejected: b.counters("qbind_slashing_rejected_total", "Reports in blocks refused."),
            stake_burned: b.counter(
                "qbind_slashing_stake_burned_total",
                "Stake burned for offences, in the smallest unit.",
            ),
            jail_events: b
                .counter("qbind_slashing_jail_events_total", "Sentences of validators to jail."),
        }
    }

    /// An accusation in a block was judged.
    pub fn judged(&self, decision: SlashingDecision, jails: bool) {
        self.decisions.inc(decision);
        match decision {
            SlashingDecision::PenaltyApplied => self.penalties.inc(),
            SlashingDecision::RejectedDuplicate => self.rejected.inc(SlashingRejection::Duplicate),
            SlashingDecision::RejectedInvalid => self.rejected.inc(SlashingRejection::Invalid),
            SlashingDecision::AcceptedNoop | SlashingDecision::EvidenceOnly => {}
        }
        if jails {
            self.jail_events.inc();
        }
    }
}

/// Requests to this listener.
#[derive(Debug)]
pub struct Http {
    /// By how they ended.
    pub requests: Counters<HttpClass>,
}

impl Http {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self { requests: b.counters("qbind_http_requests_total", "HTTP requests by status.") }
    }
}
