//! What MainNet demands of every node.

use crate::{choice::*, config::NodeConfig, preset::Profile};
use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use qbind_types::Network;

macro_rules! invariants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The rules, in the order they are checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Invariant {
            /// Every rule, in the order they are checked.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name, as in the error.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

invariants! {
    /// `env` is mainnet.
    WrongEnvironment,
    /// Gas is on.
    GasDisabled,
    /// Fee priority is on.
    FeePriorityDisabled,
    /// The mempool is the DAG.
    WrongMempoolMode,
    /// Batches need availability certificates.
    DagAvailabilityDisabled,
    /// Votes need them too.
    DagCouplingNotEnforced,
    /// Peers are reached over the network.
    WrongNetworkMode,
    /// Peers are reached at all.
    P2pDisabled,
    /// Peers are discovered.
    DiscoveryDisabled,
    /// At least 8 connections are wanted.
    InsufficientTargetOutboundPeers,
    /// Diversity is enforced.
    DiversityNotEnforced,
    /// Its limits exclude something and do not exclude everything.
    InvalidDiversityParameters,
    /// There is a place to store things.
    MissingDataDir,
    /// Half of each fee is burned, half is the proposer's.
    WrongFeeDistributionPolicy,
    /// Issuance is computed.
    MonetaryModeOff,
    /// When issuance is paid, four accounts receive it.
    MonetaryAccountsMissing,
    /// Their shares are the whole.
    SeigniorageSplitInvalid,
    /// They are four different accounts, none of them zero.
    MonetaryAccountsInvalid,
    /// Old state is deleted (only an RPC node may be an archive).
    StateRetentionDisabled,
    /// Not too soon.
    StateRetentionInvalid,
    /// Nobody else can derive the signing key.
    SignerModeLoopbackForbidden,
    /// encrypted-fs knows its folder.
    SignerKeystorePathMissing,
    /// remote-signer knows its host.
    RemoteSignerUrlMissing,
    /// hsm-pkcs11 knows its device.
    HsmConfigPathMissing,
    /// A node that cannot sign stops.
    SignerFailureModeInvalid,
    /// Snapshots are taken.
    SnapshotsDisabled,
    /// Not too often.
    SnapshotIntervalTooLow,
    /// Not too seldom.
    SnapshotIntervalTooHigh,
    /// There is a place for them.
    SnapshotDirMissing,
    /// No sender can fill the mempool or a batch without bound.
    MempoolDosMisconfigured,
    /// Evictions are limited.
    MempoolEvictionMisconfigured,
    /// Enough peers are remembered to connect to.
    P2pDiscoveryMisconfigured,
    /// Dead peers are noticed.
    P2pLivenessMisconfigured,
    /// The anti-eclipse rules are enforced and mean something.
    P2pAntiEclipseMisconfigured,
    /// Misbehaviour is at least recorded, and penalties are in bounds.
    SlashingMisconfigured,
    /// Genesis is a file the operator chose.
    GenesisMisconfigured,
    /// With a hash the operator expects.
    ExpectedGenesisHashMissing,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A configuration MainNet must not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvariantError {
    /// Which rule is broken.
    pub invariant: Invariant,
    /// Which key breaks it.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What the rule demands.
    pub demands: &'static str,
    /// What to try next.
    pub hint: &'static str,
}

impl fmt::Display for InvariantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, key, value, demands, hint } = self;
        write!(f, "{invariant}: {key} is {value}, but MainNet demands {demands}; {hint}")
    }
}

impl core::error::Error for InvariantError {}

/// Allowed, but worth a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// MainNet validators are sized for parallel execution.
    StageBDisabled,
    /// A heartbeat may still be unanswered when the next one is due.
    HeartbeatTimeoutNotBelowInterval,
    /// Nobody to dial; the node waits to be dialled.
    NoBootstrapPeers,
    /// A rehearsal accepts Warn, MainNet does not.
    CouplingOnlyWarns,
    /// Snapshots are on, but no folder is named, so none can be taken.
    SnapshotsWithoutFolder,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StageBDisabled => {
                "enable_stage_b is false: blocks execute on one core; set --enable-stage-b true"
            }
            Self::HeartbeatTimeoutNotBelowInterval => {
                "heartbeat_timeout_secs is not below heartbeat_interval_secs: \
                 heartbeats to a slow peer overlap"
            }
            Self::NoBootstrapPeers => {
                "bootstrap_peers is empty: this node waits to be dialled; \
                 set --bootstrap-peers HOST:PORT,…"
            }
            Self::CouplingOnlyWarns => {
                "dag_coupling_mode is warn: accepted here, refused on MainNet"
            }
            Self::SnapshotsWithoutFolder => {
                "snapshots_enabled is true without a snapshot_dir: none will be taken"
            }
        })
    }
}

/// Every broken rule, in order; empty where MainNet accepts the configuration.
pub fn check_all(config: &NodeConfig) -> Vec<InvariantError> {
    let mut check = Check { config, broken: Vec::new() };
    check.protocol();
    check.peers();
    check.money();
    check.storage_and_signer();
    check.limits();
    check.genesis();
    check.broken
}

/// Checks what MainNet demands of a node before it may start.
///
/// # Errors
/// The operator's fault: the first broken rule.
pub fn validate_mainnet_invariants(config: &NodeConfig) -> Result<Vec<Warning>, InvariantError> {
    match check_all(config).into_iter().next() {
        Some(error) => Err(error),
        None => Ok(warnings(config)),
    }
}

/// What is allowed but worth a second look.
pub(crate) fn warnings(config: &NodeConfig) -> Vec<Warning> {
    let mainnet = config.profile == Profile::Mainnet;
    let found = [
        (mainnet && !config.enable_stage_b, Warning::StageBDisabled),
        (
            config.heartbeat_timeout_secs >= config.heartbeat_interval_secs,
            Warning::HeartbeatTimeoutNotBelowInterval,
        ),
        (
            config.enable_p2p && config.bootstrap_peers.is_empty() && config.sentries.is_empty(),
            Warning::NoBootstrapPeers,
        ),
        (config.dag_coupling_mode == DagCouplingMode::Warn, Warning::CouplingOnlyWarns),
        (
            config.snapshots_enabled && config.snapshot_dir.is_none(),
            Warning::SnapshotsWithoutFolder,
        ),
    ];
    found.into_iter().filter_map(|(holds, warning)| holds.then_some(warning)).collect()
}

struct Check<'a> {
    config: &'a NodeConfig,
    broken: Vec<InvariantError>,
}

impl Check<'_> {
    /// Notes that `invariant` is broken by `key` unless it `holds`.
    fn demand(
        &mut self,
        holds: bool,
        invariant: Invariant,
        key: &'static str,
        demands: &'static str,
        hint: &'static str,
    ) {
        // One broken rule is reported once, by the first of its keys.
        if holds || self.broken.last().is_some_and(|e| e.invariant == invariant) {
            return;
        }
        let value = self.config.get(key).map_or_else(String::new, |v| v.to_string());
        self.broken.push(InvariantError { invariant, key, value, demands, hint });
    }

    fn protocol(&mut self) {
        use Invariant::*;
        let c = self.config;
        self.demand(
            c.env == Network::Mainnet,
            WrongEnvironment,
            "env",
            "mainnet",
            "pass --env mainnet, or another --profile for another network",
        );
        self.demand(c.enable_gas, GasDisabled, "enable_gas", "true", "pass --enable-gas true");
        self.demand(
            c.enable_fee_priority,
            FeePriorityDisabled,
            "enable_fee_priority",
            "true",
            "pass --enable-fee-priority true",
        );
        self.demand(
            c.mempool_mode == MempoolMode::Dag,
            WrongMempoolMode,
            "mempool_mode",
            "dag",
            "pass --mempool-mode dag",
        );
        self.demand(
            c.enable_dag_availability,
            DagAvailabilityDisabled,
            "enable_dag_availability",
            "true",
            "pass --enable-dag-availability true",
        );
        self.demand(
            c.dag_coupling_mode == DagCouplingMode::Enforce,
            DagCouplingNotEnforced,
            "dag_coupling_mode",
            "enforce",
            "pass --dag-coupling-mode enforce",
        );
    }

    fn peers(&mut self) {
        use Invariant::*;
        let c = self.config;
        self.demand(
            c.network_mode == NetworkMode::P2p,
            WrongNetworkMode,
            "network_mode",
            "p2p",
            "pass --network-mode p2p",
        );
        self.demand(c.enable_p2p, P2pDisabled, "enable_p2p", "true", "pass --enable-p2p true");
        self.demand(
            c.enable_discovery,
            DiscoveryDisabled,
            "enable_discovery",
            "true",
            "pass --enable-discovery true",
        );
        self.demand(
            c.outbound_peer_target >= 8,
            InsufficientTargetOutboundPeers,
            "outbound_peer_target",
            "at least 8",
            "pass --outbound-peer-target 8",
        );
        self.demand(
            c.diversity_mode == DiversityMode::Enforce,
            DiversityNotEnforced,
            "diversity_mode",
            "enforce",
            "pass --diversity-mode enforce",
        );
        let diversity = InvalidDiversityParameters;
        for (key, cap) in [
            ("max_peers_per_prefix24", c.max_peers_per_prefix24),
            ("max_peers_per_prefix16", c.max_peers_per_prefix16),
            ("max_peers_per_prefix48", c.max_peers_per_prefix48),
        ] {
            self.demand(
                cap > 0,
                diversity,
                key,
                "more than 0",
                "remove the override: the profile allows 2 per /24, 8 per /16, 4 per IPv6 /48",
            );
        }
        self.demand(
            c.diversity_min_buckets >= 2,
            diversity,
            "diversity_min_buckets",
            "at least 2",
            "pass --diversity-min-buckets 4",
        );
        self.demand(
            (1..=10_000).contains(&c.diversity_max_bucket_bps),
            diversity,
            "diversity_max_bucket_bps",
            "1 to 10000 basis points",
            "pass --diversity-max-bucket-bps 2500",
        );
        self.demand(
            c.data_dir.is_some(),
            MissingDataDir,
            "data_dir",
            "a folder",
            "pass --data-dir /data/qbind",
        );
    }

    fn money(&mut self) {
        use Invariant::*;
        let c = self.config;
        let key = if c.fee_burn_bps == 5_000 { "fee_proposer_bps" } else { "fee_burn_bps" };
        self.demand(
            c.fee_burn_bps == 5_000 && c.fee_proposer_bps == 5_000,
            WrongFeeDistributionPolicy,
            key,
            "5000 (half burned, half to the proposer)",
            "remove the override of fee_burn_bps and fee_proposer_bps",
        );
        self.demand(
            c.monetary_mode != MonetaryMode::Off,
            MonetaryModeOff,
            "monetary_mode",
            "shadow or active",
            "pass --monetary-mode shadow",
        );
        if c.monetary_mode != MonetaryMode::Active {
            return;
        }
        let accounts = &c.monetary_accounts;
        self.demand(
            accounts.len() == 4,
            MonetaryAccountsMissing,
            "monetary_accounts",
            "4 accounts while monetary_mode is active",
            "list validators, treasury, insurance and community accounts in that order",
        );
        let split = &c.monetary_split_bps;
        let sum = split.iter().try_fold(0u64, |sum, share| sum.checked_add(*share));
        self.demand(
            split.len() == 4 && sum == Some(10_000),
            SeigniorageSplitInvalid,
            "monetary_split_bps",
            "4 shares with the sum 10000",
            "pass --monetary-split-bps 8200,1200,400,200",
        );
        let distinct: BTreeSet<_> = accounts.iter().collect();
        let zero = accounts.iter().any(|a| a.0 == [0; 32]);
        self.demand(
            // Too few accounts are MonetaryAccountsMissing, which says it better.
            accounts.len() != 4 || (distinct.len() == 4 && !zero),
            MonetaryAccountsInvalid,
            "monetary_accounts",
            "4 different accounts, none of them zero",
            "give each purpose an account of its own",
        );
    }

    fn storage_and_signer(&mut self) {
        use Invariant::*;
        let c = self.config;
        let pruned = c.state_retention_mode == StateRetentionMode::Height;
        self.demand(
            pruned || c.role == Role::Rpc,
            StateRetentionDisabled,
            "state_retention_mode",
            "height (disabled only with --role rpc, an archive)",
            "pass --state-retention-mode height",
        );
        self.demand(
            !pruned || c.state_retain_height >= 10_000,
            StateRetentionInvalid,
            "state_retain_height",
            "at least 10000",
            "pass --state-retain-height 500000",
        );
        self.demand(
            c.signer_mode != SignerMode::LoopbackTesting,
            SignerModeLoopbackForbidden,
            "signer_mode",
            "encrypted-fs, remote-signer or hsm-pkcs11",
            "pass --signer-mode encrypted-fs --signer-keystore-path DIR",
        );
        let signs = c.role == Role::Validator;
        self.demand(
            !signs || c.signer_mode != SignerMode::EncryptedFs || c.signer_keystore_path.is_some(),
            SignerKeystorePathMissing,
            "signer_keystore_path",
            "a folder while signer_mode is encrypted-fs",
            "pass --signer-keystore-path /data/qbind/keystore",
        );
        self.demand(
            c.signer_mode != SignerMode::RemoteSigner || c.remote_signer_url.is_some(),
            RemoteSignerUrlMissing,
            "remote_signer_url",
            "an address while signer_mode is remote-signer",
            "pass --remote-signer-url kemtls://HOST:9443",
        );
        self.demand(
            c.signer_mode != SignerMode::HsmPkcs11 || c.hsm_config_path.is_some(),
            HsmConfigPathMissing,
            "hsm_config_path",
            "a file while signer_mode is hsm-pkcs11",
            "pass --hsm-config-path /etc/qbind/hsm.toml",
        );
        self.demand(
            c.signer_failure_mode == SignerFailureMode::ExitOnFailure,
            SignerFailureModeInvalid,
            "signer_failure_mode",
            "exit-on-failure",
            "pass --signer-failure-mode exit-on-failure",
        );
        self.demand(
            c.snapshots_enabled || c.role == Role::Sentry,
            SnapshotsDisabled,
            "snapshots_enabled",
            "true (false only with --role sentry)",
            "pass --snapshots-enabled true",
        );
        self.demand(
            c.snapshot_interval >= 10_000,
            SnapshotIntervalTooLow,
            "snapshot_interval",
            "at least 10000 blocks",
            "pass --snapshot-interval 50000",
        );
        self.demand(
            c.snapshot_interval <= 500_000,
            SnapshotIntervalTooHigh,
            "snapshot_interval",
            "at most 500000 blocks",
            "pass --snapshot-interval 50000",
        );
        self.demand(
            // Without snapshots the folder does not matter, and that is refused above.
            c.snapshot_dir.is_some() || !c.snapshots_enabled,
            SnapshotDirMissing,
            "snapshot_dir",
            "a folder",
            "pass --snapshot-dir /data/qbind/snapshots",
        );
    }

    fn limits(&mut self) {
        use Invariant::*;
        let c = self.config;
        for (key, limit, most, demands) in [
            ("mempool_max_pending_txs", c.mempool_max_pending_txs, u64::MAX, "more than 0"),
            ("mempool_max_txs_per_sender", c.mempool_max_txs_per_sender, 100_000, "1 to 100000"),
            (
                "mempool_max_bytes_per_sender",
                c.mempool_max_bytes_per_sender,
                u64::MAX,
                "more than 0",
            ),
            ("batch_max_transactions", c.batch_max_transactions, u64::MAX, "more than 0"),
            ("batch_max_bytes", c.batch_max_bytes, u64::MAX, "more than 0"),
        ] {
            let hint = "remove the override: the profile's limits are sound";
            self.demand((1..=most).contains(&limit), MempoolDosMisconfigured, key, demands, hint);
        }
        self.demand(
            c.mempool_eviction_mode == EvictionMode::Enforce,
            MempoolEvictionMisconfigured,
            "mempool_eviction_mode",
            "enforce",
            "pass --mempool-eviction-mode enforce",
        );
        self.demand(
            (1..=1_000_000).contains(&c.mempool_eviction_max_per_interval),
            MempoolEvictionMisconfigured,
            "mempool_eviction_max_per_interval",
            "1 to 1000000",
            "pass --mempool-eviction-max-per-interval 1000",
        );
        self.demand(
            c.mempool_eviction_interval_secs >= 1,
            MempoolEvictionMisconfigured,
            "mempool_eviction_interval_secs",
            "at least 1",
            "pass --mempool-eviction-interval-secs 10",
        );
        self.demand(
            // A target too low has its own rule; here only what discovery adds to it.
            c.discovery_max_known_peers >= c.outbound_peer_target.max(4),
            P2pDiscoveryMisconfigured,
            "discovery_max_known_peers",
            "at least outbound_peer_target, and at least 4",
            "pass --discovery-max-known-peers 300",
        );
        for (key, value) in [
            ("heartbeat_interval_secs", c.heartbeat_interval_secs),
            ("heartbeat_max_failures", c.heartbeat_max_failures),
        ] {
            let hint = "remove the override: the profile sends one each 15 s and forgives 2";
            self.demand(value > 0, P2pLivenessMisconfigured, key, "more than 0", hint);
        }
        self.anti_eclipse();
        self.slashing();
    }

    fn anti_eclipse(&mut self) {
        let c = self.config;
        let eclipse = Invariant::P2pAntiEclipseMisconfigured;
        self.demand(
            c.anti_eclipse_enforce,
            eclipse,
            "anti_eclipse_enforce",
            "true",
            "pass --anti-eclipse-enforce true",
        );
        self.demand(
            c.anti_eclipse_min_outbound >= 4,
            eclipse,
            "anti_eclipse_min_outbound",
            "at least 4",
            "pass --anti-eclipse-min-outbound 8",
        );
        self.demand(
            c.anti_eclipse_min_asn >= 2,
            eclipse,
            "anti_eclipse_min_asn",
            "at least 2",
            "pass --anti-eclipse-min-asn 2",
        );
    }

    fn slashing(&mut self) {
        let c = self.config;
        let slashing = Invariant::SlashingMisconfigured;
        self.demand(
            c.slashing_mode != SlashingMode::Off,
            slashing,
            "slashing_mode",
            "record-only or stronger",
            "pass --slashing-mode record-only",
        );
        if matches!(c.slashing_mode, SlashingMode::Off | SlashingMode::RecordOnly) {
            return;
        }
        for (key, value, low, high, demands) in [
            ("slashing_o1_bps", c.slashing_o1_bps, 500, 1_000, "500 to 1000"),
            ("slashing_o2_bps", c.slashing_o2_bps, 450, 550, "450 to 550"),
            ("slashing_o1_jail_epochs", c.slashing_o1_jail_epochs, 1, 1_000_000, "1 to 1000000"),
            ("slashing_o2_jail_epochs", c.slashing_o2_jail_epochs, 1, 1_000_000, "1 to 1000000"),
            ("slashing_o3a_bps", c.slashing_o3a_bps, 0, 100, "0 to 100"),
            ("slashing_o3b_bps", c.slashing_o3b_bps, 100, 500, "100 to 500"),
            ("slashing_o3b_jail_epochs", c.slashing_o3b_jail_epochs, 1, 1_000_000, "1 to 1000000"),
            ("slashing_o4_bps", c.slashing_o4_bps, 500, 1_500, "500 to 1500"),
            ("slashing_o4_jail_epochs", c.slashing_o4_jail_epochs, 1, 1_000_000, "1 to 1000000"),
            ("slashing_o5_bps", c.slashing_o5_bps, 100, 1_000, "100 to 1000"),
            ("slashing_o5_jail_epochs", c.slashing_o5_jail_epochs, 1, 1_000_000, "1 to 1000000"),
        ] {
            let hint = "remove the override: the profile's penalties are in bounds";
            self.demand((low..=high).contains(&value), slashing, key, demands, hint);
        }
    }

    fn genesis(&mut self) {
        let c = self.config;
        self.demand(
            c.genesis_path.is_some(),
            Invariant::GenesisMisconfigured,
            "genesis_path",
            "a file",
            "pass --genesis-path FILE",
        );
        self.demand(
            c.expect_genesis_hash.is_some(),
            Invariant::ExpectedGenesisHashMissing,
            "expect_genesis_hash",
            "the file's SHA3-256",
            "pass --expect-genesis-hash 0x…, from a source you trust, not from the file itself",
        );
    }
}
