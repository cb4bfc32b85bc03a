//! One registry; every series is written by somebody, and a test makes each move.
//!
//! Names that operators' guides, alerts and dashboards use are kept verbatim, aliases included.

mod groups;
mod keys;
mod label;
mod monetary;
mod reference;
mod series;

pub use groups::{
    Connections, Consensus, Coupling, Dag, Execution, Http, Mempool, P2p, Pruning, Slashing,
    Snapshots,
};
pub(crate) use keys::millis;
pub use keys::{Hsm, RemoteSign, Signer, SignerMetrics};
pub use label::{
    AckResult, BlockCheck, CouplingCheck, CouplingRejection, DiversityReason, EvictionReason,
    ExecutionError, HsmErrorKind, HttpClass, IssuanceBucket, KeystoreBackend, Label,
    MempoolRejection, MessageKind, MonetaryEffect, Offense, PeerEviction, ProposalResult,
    RemoteSignFailure, SignKind, SignerRefusal, SlashingDecision, SlashingRejection, StageBMode,
    Strictness, VoteResult,
};
pub use monetary::Monetary;
pub use reference::reference;
pub use series::{Counter, Counters, Gauge, GaugePerValidator, Histogram, PerValidator};

use prometheus::{Registry, TextEncoder};
use qbind_profile::{
    DagCouplingMode, DiversityMode, EvictionMode, MonetaryMode, NodeConfig, Role, check_all,
};
use series::Builder;
use std::sync::Arc;

/// Everything the node counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Views, votes, certificates, commits.
    pub consensus: Consensus,
    /// Whether blocks and batches agree.
    pub coupling: Coupling,
    /// Batches, acks, certificates.
    pub dag: Dag,
    /// Waiting transactions.
    pub mempool: Mempool,
    /// Executed transactions.
    pub execution: Execution,
    /// Peers.
    pub p2p: P2p,
    /// Keys.
    pub signer: Arc<Signer>,
    /// The monetary engine.
    pub monetary: Monetary,
    /// Requests to this listener.
    pub http: Http,
    /// Offences and what follows from them.
    pub slashing: Slashing,
    /// Deleted history.
    pub pruning: Pruning,
    /// Bytes on disk.
    pub state_size_bytes: Gauge,
    /// Snapshots.
    pub snapshots: Snapshots,
}

impl Metrics {
    /// Registers everything; `validators` are the ids that get a series of their own.
    pub fn new(config: &NodeConfig, validators: &[u64]) -> Self {
        let registry = Registry::new();
        let b = Builder { registry: &registry };
        let mode = (config.role == Role::Validator).then_some(config.signer_mode);
        let metrics = Self {
            consensus: Consensus::new(&b, validators),
            coupling: Coupling::new(&b),
            dag: Dag::new(&b),
            mempool: Mempool::new(&b),
            execution: Execution::new(&b),
            p2p: P2p::new(&b),
            signer: Arc::new(Signer::new(&b, mode)),
            monetary: Monetary::new(&b),
            http: Http::new(&b),
            slashing: Slashing::new(&b),
            pruning: Pruning::new(&b),
            state_size_bytes: b.gauge("qbind_state_size_bytes", "Bytes of data_dir on disk."),
            snapshots: Snapshots::new(&b),
            registry: registry.clone(),
        };
        describe(&b, config);
        metrics
    }

    /// The answer of `/metrics`: Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("our own families have samples and encode to memory")
    }

    /// Each family's name, type, labels with their words, and help.
    fn families(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }
}

/// What follows from the configuration and does not move while a node runs.
fn describe(b: &Builder<'_>, config: &NodeConfig) {
    let network = config.env.to_string();
    let chain = format!("{:#018x}", config.env.chain_id());
    b.info(
        "qbind_chain_id",
        "1; the labels say which chain this node is on.",
        &[("network", &network), ("chain_id", &chain), ("scope", config.env.tag())],
    );
    b.info(
        "qbind_build_env",
        "1; the labels say what is running, and with which profile.",
        &[("version", env!("CARGO_PKG_VERSION")), ("profile", config.profile.as_str())],
    );
    b.info(
        "qbind_slashing_mode_info",
        "1; the label says what follows from an offence.",
        &[("mode", config.slashing_mode.as_str())],
    );
    let gauge = |name, help, value| b.gauge(name, help).set(value);
    gauge(
        "qbind_mainnet_profile_invariants_ok",
        "1 where this configuration meets every MainNet invariant, else 0.",
        u64::from(check_all(config).is_empty()),
    );
    gauge(
        "qbind_monetary_mode",
        "0 off, 1 shadow, 2 active.",
        match config.monetary_mode {
            MonetaryMode::Off => 0,
            MonetaryMode::Shadow => 1,
            MonetaryMode::Active => 2,
        },
    );
    gauge(
        "qbind_dag_coupling_mode",
        "0 off, 1 warn, 2 enforce.",
        match config.dag_coupling_mode {
            DagCouplingMode::Off => 0,
            DagCouplingMode::Warn => 1,
            DagCouplingMode::Enforce => 2,
        },
    );
    gauge(
        "qbind_mempool_eviction_mode",
        "0 off, 1 warn, 2 enforce.",
        match config.mempool_eviction_mode {
            EvictionMode::Off => 0,
            EvictionMode::Warn => 1,
            EvictionMode::Enforce => 2,
        },
    );
    gauge(
        "qbind_mempool_max_evictions_per_interval",
        "Most evictions in one interval.",
        config.mempool_eviction_max_per_interval,
    );
    gauge(
        "qbind_mempool_eviction_interval_secs",
        "Length of the eviction interval.",
        config.mempool_eviction_interval_secs,
    );
    gauge(
        "qbind_execution_stage_b_enabled",
        "1 where independent transactions execute in parallel, else 0.",
        u64::from(config.enable_stage_b),
    );
    gauge(
        "qbind_p2p_discovery_enabled",
        "1 where peers tell each other about peers, else 0.",
        u64::from(config.enable_discovery),
    );
    gauge(
        "qbind_p2p_diversity_mode",
        "0 off, 1 warn, 2 enforce.",
        match config.diversity_mode {
            DiversityMode::Off => 0,
            DiversityMode::Warn => 1,
            DiversityMode::Enforce => 2,
        },
    );
    gauge(
        "qbind_p2p_outbound_target",
        "Connections this node tries to have opened itself.",
        config.outbound_peer_target,
    );
    gauge(
        "qbind_p2p_anti_eclipse_config_max_peers_per_prefix",
        "Most peers in one IPv4 /24.",
        config.max_peers_per_prefix24,
    );
    gauge(
        "qbind_p2p_anti_eclipse_config_min_outbound",
        "Fewest connections opened by this node before it counts a violation.",
        config.anti_eclipse_min_outbound,
    );
    gauge(
        "qbind_p2p_anti_eclipse_config_min_asn",
        "Fewest autonomous systems among the peers before it counts a violation.",
        config.anti_eclipse_min_asn,
    );
    gauge(
        "qbind_p2p_anti_eclipse_config_enforce",
        "1 where the anti-eclipse rules are enforced, else 0.",
        u64::from(config.anti_eclipse_enforce),
    );
}

#[cfg(test)]
mod tests;
