//! The knobs.

use crate::{
    choice::*,
    knob::{HostPort, Key, Knob, Value},
    preset::Profile,
};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use qbind_types::{Address, GenesisHash, Network};

/// A knob could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// No knob has this name.
    UnknownKey {
        /// As given.
        key: String,
        /// The known name that looks most like it, if one does.
        similar: Option<&'static str>,
    },
    /// The knob does not accept this text.
    Value {
        /// Which knob.
        key: &'static str,
        /// As given.
        text: String,
        /// What it accepts.
        expects: &'static str,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, similar: Some(name) } => {
                write!(f, "unknown key `{key}`; did you mean `{name}`?")
            }
            Self::UnknownKey { key, similar: None } => {
                write!(f, "unknown key `{key}`; `qbind-node --print-config` lists every key")
            }
            Self::Value { key, text, expects } => {
                write!(f, "{key} is `{text}`; expected {expects}")
            }
        }
    }
}

impl core::error::Error for SetError {}

macro_rules! knobs {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr,)+) => {
        /// Every knob of the node. Build one with [`Profile::preset`] or [`crate::resolve`].
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct NodeConfig {
            $($(#[doc = $doc])+ pub $name: $kind,)+
        }

        /// Every knob, in the order they are listed to operators.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            help: concat!($($doc),+).trim_ascii(),
            shape: <$kind as Knob>::SHAPE,
            expects: <$kind as Knob>::EXPECTS,
        },)+];

        impl NodeConfig {
            /// MainNet's values; the other presets say where they differ.
            pub(crate) fn mainnet() -> Self {
                Self { $($name: $default,)+ }
            }

            /// Sets one knob from text, the same text in file, environment and flag.
            ///
            /// # Errors
            /// The operator's fault: no such knob, or text it does not accept.
            pub fn set(&mut self, key: &str, text: &str) -> Result<(), SetError> {
                match key {
                    $(stringify!($name) => {
                        self.$name = Knob::parse(text).ok_or_else(|| SetError::Value {
                            key: stringify!($name),
                            text: text.to_string(),
                            expects: <$kind as Knob>::EXPECTS,
                        })?;
                        Ok(())
                    })+
                    _ => Err(SetError::UnknownKey {
                        key: key.to_string(),
                        similar: similar(key),
                    }),
                }
            }

            /// The value of one knob, or `None` where there is no such knob.
            pub fn get(&self, key: &str) -> Option<Value> {
                match key {
                    $(stringify!($name) => Some(self.$name.show()),)+
                    _ => None,
                }
            }
        }
    };
}

knobs! {
    /// Preset all other keys start from.
    profile: Profile = Profile::Mainnet,
    /// Which chain: its id and its signatures' domain tags.
    env: Network = Network::Mainnet,
    /// What this node is for.
    role: Role = Role::Validator,
    /// Name shown in status and reports.
    name: String = "qbind-node".into(),
    /// Folder of everything the node stores.
    data_dir: Option<String> = None,
    /// The operator's number for this validator, as in the genesis file.
    validator_id: Option<u64> = None,
    /// The genesis file.
    genesis_path: Option<String> = None,
    /// SHA3-256 the genesis file's bytes must have.
    expect_genesis_hash: Option<GenesisHash> = None,
    /// Whether transactions are indexed by account and by height; on for role rpc.
    enable_index: bool = false,
    /// Listener of /metrics, health and the HTTP API.
    http_addr: SocketAddr = any_address(9090),
    /// Listener for peers.
    p2p_listen_addr: SocketAddr = any_address(9000),
    /// Where peers can reach this node, if not at the listener's own address.
    p2p_advertised_addr: Option<HostPort> = None,
    /// Peers to dial first.
    bootstrap_peers: Vec<HostPort> = Vec::new(),
    /// Sentries of this validator: it dials them and nobody else, and is told of to nobody.
    sentries: Vec<HostPort> = Vec::new(),
    /// File of lines `PREFIX ASN`: which autonomous system an address belongs to.
    asn_table_path: Option<String> = None,
    /// Who holds the signing key.
    signer_mode: SignerMode = SignerMode::EncryptedFs,
    /// Folder with consensus.key and consensus.pub (encrypted-fs).
    signer_keystore_path: Option<String> = None,
    /// Where the signer listens, such as kemtls://host:9443 (remote-signer).
    remote_signer_url: Option<String> = None,
    /// File naming the PKCS#11 library, token and key (hsm-pkcs11).
    hsm_config_path: Option<String> = None,
    /// What the node does when it cannot sign.
    signer_failure_mode: SignerFailureMode = SignerFailureMode::ExitOnFailure,
    /// Environment variable that holds the keystore's passphrase.
    passphrase_env: String = "QBIND_KEYSTORE_PASSPHRASE".into(),
    /// What a transaction may do.
    execution_profile: ExecutionProfile = ExecutionProfile::VmV0,
    /// Whether transactions pay for gas.
    enable_gas: bool = true,
    /// Whether higher fees go first.
    enable_fee_priority: bool = true,
    /// Share of each fee that is burned, in basis points.
    fee_burn_bps: u64 = 5_000,
    /// Share of each fee that the proposer gets, in basis points.
    fee_proposer_bps: u64 = 5_000,
    /// Whether independent transactions execute in parallel.
    enable_stage_b: bool = true,
    /// Where transactions wait.
    mempool_mode: MempoolMode = MempoolMode::Dag,
    /// Whether batches need a quorum of availability acks.
    enable_dag_availability: bool = true,
    /// Whether a vote needs the availability certificates of what it votes for.
    dag_coupling_mode: DagCouplingMode = DagCouplingMode::Enforce,
    /// Most transactions waiting at this node.
    mempool_max_pending_txs: u64 = 10_000,
    /// Most transactions of one sender waiting here.
    mempool_max_txs_per_sender: u64 = 1_000,
    /// Most bytes of one sender's transactions waiting here.
    mempool_max_bytes_per_sender: u64 = 8 * MIB,
    /// Whether evictions are limited.
    mempool_eviction_mode: EvictionMode = EvictionMode::Enforce,
    /// Most evictions in one interval.
    mempool_eviction_max_per_interval: u64 = 1_000,
    /// Length of the eviction interval, in seconds.
    mempool_eviction_interval_secs: u64 = 10,
    /// Most transactions in one batch.
    batch_max_transactions: u64 = 4_000,
    /// Most bytes in one batch.
    batch_max_bytes: u64 = 2 * MIB,
    /// Pause between this validator's batches, in milliseconds.
    batch_interval_ms: u64 = 50,
    /// How nodes reach each other.
    network_mode: NetworkMode = NetworkMode::P2p,
    /// Whether peers are connected to at all.
    enable_p2p: bool = true,
    /// Whether peers tell each other about peers.
    enable_discovery: bool = true,
    /// Pause between rounds of discovery, in seconds.
    discovery_interval_secs: u64 = 30,
    /// Most peers remembered.
    discovery_max_known_peers: u64 = 300,
    /// Most connections this node opens.
    p2p_max_outbound: u64 = 16,
    /// Most connections this node accepts.
    p2p_max_inbound: u64 = 64,
    /// Peers a message is passed on to.
    p2p_gossip_fanout: u64 = 8,
    /// Connections this node tries to have opened itself.
    outbound_peer_target: u64 = 8,
    /// Whether peers must come from different networks.
    diversity_mode: DiversityMode = DiversityMode::Enforce,
    /// Most peers in one IPv4 /24.
    max_peers_per_prefix24: u64 = 2,
    /// Most peers in one IPv4 /16.
    max_peers_per_prefix16: u64 = 8,
    /// Most peers in one IPv6 /48.
    max_peers_per_prefix48: u64 = 4,
    /// Fewest distinct /16 (IPv6: /32) buckets.
    diversity_min_buckets: u64 = 4,
    /// Largest share of peers in one bucket, in basis points; checked from 4 peers on.
    diversity_max_bucket_bps: u64 = 2_500,
    /// Pause between heartbeats, in seconds.
    heartbeat_interval_secs: u64 = 15,
    /// How long an answer to a heartbeat may take, in seconds.
    heartbeat_timeout_secs: u64 = 10,
    /// Missed heartbeats before a peer is dropped.
    heartbeat_max_failures: u64 = 3,
    /// Whether the anti-eclipse rules are enforced.
    anti_eclipse_enforce: bool = true,
    /// Fewest connections opened by this node before it counts a violation.
    anti_eclipse_min_outbound: u64 = 8,
    /// Fewest autonomous systems among the peers before it counts a violation.
    anti_eclipse_min_asn: u64 = 2,
    /// Whether issuance is computed, and whether it is paid.
    monetary_mode: MonetaryMode = MonetaryMode::Shadow,
    /// Accounts that receive issuance: validators, treasury, insurance, community.
    monetary_accounts: Vec<Address> = Vec::new(),
    /// Their shares in the same order, in basis points.
    monetary_split_bps: Vec<u64> = [8_200, 1_200, 400, 200].into(),
    /// What follows from proven misbehaviour.
    slashing_mode: SlashingMode = SlashingMode::RecordOnly,
    /// Stake lost for a double sign, in basis points.
    slashing_o1_bps: u64 = 750,
    /// Epochs in jail for a double sign.
    slashing_o1_jail_epochs: u64 = 10,
    /// Stake lost for a bad proposer signature, in basis points.
    slashing_o2_bps: u64 = 500,
    /// Epochs in jail for a bad proposer signature.
    slashing_o2_jail_epochs: u64 = 5,
    /// Stake lost for one vote for a block that cannot be valid, in basis points.
    slashing_o3a_bps: u64 = 25,
    /// Stake lost for repeated such votes, in basis points.
    slashing_o3b_bps: u64 = 200,
    /// Epochs in jail for repeated such votes.
    slashing_o3b_jail_epochs: u64 = 2,
    /// How many such votes are repeated ones.
    slashing_o3b_votes: u64 = 3,
    /// Within how many views, each of which makes at most one block.
    slashing_o3b_window: u64 = 1_000,
    /// Stake lost for two batches of one round, in basis points.
    slashing_o4_bps: u64 = 750,
    /// Epochs in jail for two batches of one round.
    slashing_o4_jail_epochs: u64 = 5,
    /// Stake lost for a block with a wrong list of batches, in basis points.
    slashing_o5_bps: u64 = 300,
    /// Epochs in jail for a block with a wrong list of batches.
    slashing_o5_jail_epochs: u64 = 3,
    /// Whether old state is deleted.
    state_retention_mode: StateRetentionMode = StateRetentionMode::Height,
    /// Heights of state that are kept.
    state_retain_height: u64 = 500_000,
    /// Heights between two prunings.
    state_prune_interval: u64 = 1_000,
    /// Whether snapshots are taken.
    snapshots_enabled: bool = true,
    /// Folder for snapshots; `snapshots` below `data_dir` unless it is set.
    snapshot_dir: Option<String> = None,
    /// Heights between two snapshots; a multiple of 10.
    snapshot_interval: u64 = 50_000,
    /// Snapshots that are kept.
    max_snapshots: u64 = 5,
    /// Snapshot to start from instead of genesis: its folder, or the http address of a server's.
    fast_sync_snapshot_dir: Option<String> = None,
    /// First timeout of a view, in milliseconds; doubles while views fail.
    view_timeout_ms: u64 = 1_000,
    /// Longest timeout of a view, in milliseconds.
    view_timeout_cap_ms: u64 = 30_000,
    /// How long a leader waits for transactions before it proposes an empty block, in milliseconds.
    empty_block_interval_ms: u64 = 250,
}

pub(crate) const MIB: u64 = 1024 * 1024;

fn any_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// The known name that differs least from `key`, if it differs by a third or by two swapped letters
/// at most.
fn similar(key: &str) -> Option<&'static str> {
    let key = key.get(..key.len().min(64))?;
    let near = KEYS.iter().map(|known| (edit_distance(key, known.name), known.name)).min()?;
    let swapped = if key.len() >= 4 { 2 } else { 0 };
    (near.0 <= swapped.max(near.1.len() / 3)).then_some(near.1)
}

/// Insertions, deletions and substitutions that turn one text into the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
