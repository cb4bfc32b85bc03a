//! The profiles: one coherent setting of all knobs for each kind of network.

use crate::{
    choice::*,
    config::{MIB, NodeConfig},
    knob::{Knob, Shape, Value},
};
use alloc::string::ToString;
use core::{fmt, str::FromStr};
use qbind_types::Network;

/// Which preset a configuration starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// One developer, one machine.
    Devnet,
    /// Early public test network.
    TestnetAlpha,
    /// Public test network close to MainNet.
    TestnetBeta,
    /// The main network.
    Mainnet,
}

impl Profile {
    /// Every profile.
    pub const ALL: &'static [Self] =
        &[Self::Devnet, Self::TestnetAlpha, Self::TestnetBeta, Self::Mainnet];

    /// The short name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Devnet => "devnet",
            Self::TestnetAlpha => "testnet-alpha",
            Self::TestnetBeta => "testnet-beta",
            Self::Mainnet => "mainnet",
        }
    }

    /// The network it belongs to.
    pub fn network(self) -> Network {
        match self {
            Self::Devnet => Network::Devnet,
            Self::TestnetAlpha | Self::TestnetBeta => Network::Testnet,
            Self::Mainnet => Network::Mainnet,
        }
    }

    /// The profile for a node of which only the network is known.
    pub fn of_network(network: Network) -> Self {
        match network {
            Network::Devnet => Self::Devnet,
            Network::Testnet => Self::TestnetBeta,
            Network::Mainnet => Self::Mainnet,
        }
    }

    /// All knobs as this profile sets them.
    pub fn preset(self) -> NodeConfig {
        let mainnet = NodeConfig::mainnet();
        match self {
            Self::Mainnet => mainnet,
            Self::TestnetBeta => beta(mainnet),
            Self::TestnetAlpha => alpha(beta(mainnet)),
            Self::Devnet => devnet(alpha(beta(mainnet))),
        }
    }
}

/// Heights of state that a sentry keeps at most; about a week on MainNet.
const SENTRY_RETAIN_HEIGHT: u64 = 100_000;

/// A profile's knobs for a node of this role.
pub(crate) fn of_role(preset: NodeConfig, role: Role) -> NodeConfig {
    match role {
        Role::Validator => NodeConfig { role, ..preset },
        Role::Sentry => NodeConfig {
            role,
            state_retain_height: preset.state_retain_height.min(SENTRY_RETAIN_HEIGHT),
            snapshots_enabled: false,
            ..preset
        },
        Role::Rpc => NodeConfig { role, enable_index: true, ..preset },
    }
}

fn beta(mainnet: NodeConfig) -> NodeConfig {
    NodeConfig {
        profile: Profile::TestnetBeta,
        env: Network::Testnet,
        fee_burn_bps: 10_000,
        fee_proposer_bps: 0,
        enable_stage_b: false,
        dag_coupling_mode: DagCouplingMode::Off,
        mempool_max_txs_per_sender: 2_000,
        mempool_max_bytes_per_sender: 16 * MIB,
        mempool_eviction_max_per_interval: 2_000,
        batch_max_transactions: 5_000,
        batch_max_bytes: 2 * MIB,
        discovery_max_known_peers: 200,
        p2p_gossip_fanout: 6,
        diversity_mode: DiversityMode::Warn,
        max_peers_per_prefix24: 4,
        max_peers_per_prefix16: 16,
        diversity_min_buckets: 2,
        diversity_max_bucket_bps: 5_000,
        heartbeat_max_failures: 4,
        anti_eclipse_enforce: false,
        anti_eclipse_min_outbound: 6,
        state_retain_height: 100_000,
        snapshot_interval: 100_000,
        max_snapshots: 3,
        ..mainnet
    }
}

fn alpha(beta: NodeConfig) -> NodeConfig {
    NodeConfig {
        profile: Profile::TestnetAlpha,
        enable_gas: false,
        enable_fee_priority: false,
        mempool_max_txs_per_sender: 10_000,
        mempool_max_bytes_per_sender: 64 * MIB,
        mempool_eviction_mode: EvictionMode::Warn,
        mempool_eviction_max_per_interval: 5_000,
        state_retention_mode: StateRetentionMode::Disabled,
        snapshots_enabled: false,
        ..beta
    }
}

fn devnet(alpha: NodeConfig) -> NodeConfig {
    NodeConfig {
        profile: Profile::Devnet,
        env: Network::Devnet,
        mempool_eviction_mode: EvictionMode::Off,
        mempool_eviction_max_per_interval: 10_000,
        batch_max_transactions: 10_000,
        batch_max_bytes: 4 * MIB,
        enable_discovery: false,
        discovery_interval_secs: 10,
        outbound_peer_target: 4,
        diversity_mode: DiversityMode::Off,
        heartbeat_interval_secs: 10,
        heartbeat_timeout_secs: 5,
        heartbeat_max_failures: 5,
        anti_eclipse_min_outbound: 4,
        anti_eclipse_min_asn: 1,
        signer_mode: SignerMode::LoopbackTesting,
        monetary_mode: MonetaryMode::Off,
        slashing_mode: SlashingMode::EnforceCritical,
        ..alpha
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = UnknownChoice;
    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let lower = text.to_ascii_lowercase();
        let short = lower.strip_suffix("-v0").unwrap_or(&lower);
        let found = Self::ALL.iter().find(|p| p.as_str() == short);
        found.copied().ok_or(UnknownChoice { expected: Self::EXPECTS })
    }
}

impl Knob for Profile {
    const SHAPE: Shape = Shape::Text;
    const EXPECTS: &'static str =
        "devnet | testnet-alpha | testnet-beta | mainnet (each also with -v0)";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }
}
