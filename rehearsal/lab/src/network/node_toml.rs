//! A node's configuration file.

use super::{NetworkProfile, NodeInfo};
use qbind_plan::topology::NodeRole;
use qbind_types::GenesisHash;
use serde::Serialize;
use std::path::Path;

/// Outbound connections MainNet wants of each node; fewer nodes than this needs cannot all have
/// them, because n nodes share n(n-1)/2 links.
const WANTED_OUTBOUND: usize = 8;
/// Fewest outbound connections MainNet accepts as a threshold.
const LEAST_OUTBOUND: usize = 4;

#[derive(Serialize)]
struct NodeToml<'a> {
    profile: &'a str,
    role: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    validator_id: Option<u64>,
    data_dir: String,
    genesis_path: String,
    expect_genesis_hash: GenesisHash,
    http_addr: String,
    p2p_listen_addr: String,
    p2p_advertised_addr: String,
    bootstrap_peers: Vec<String>,
    asn_table_path: String,
    signer_mode: &'a str,
    signer_keystore_path: String,
    signer_failure_mode: &'a str,
    passphrase_env: &'a str,
    snapshot_dir: String,
    #[serde(flatten)]
    baseline: Option<Baseline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anti_eclipse_min_outbound: Option<usize>,
}

/// What a rehearsal checks of every node (guide 3.1, runbook 3.2), written out although the
/// profile sets the same, so that the file shows it.
#[derive(Serialize)]
struct Baseline {
    env: &'static str,
    execution_profile: &'static str,
    enable_gas: bool,
    enable_fee_priority: bool,
    mempool_mode: &'static str,
    mempool_eviction_mode: &'static str,
    enable_dag_availability: bool,
    dag_coupling_mode: &'static str,
    enable_stage_b: bool,
    network_mode: &'static str,
    enable_p2p: bool,
    enable_discovery: bool,
    diversity_mode: &'static str,
    anti_eclipse_enforce: bool,
    monetary_mode: &'static str,
    slashing_mode: &'static str,
    snapshots_enabled: bool,
}

const MAINNET: Baseline = Baseline {
    env: "mainnet",
    execution_profile: "vm-v0",
    enable_gas: true,
    enable_fee_priority: true,
    mempool_mode: "dag",
    mempool_eviction_mode: "enforce",
    enable_dag_availability: true,
    dag_coupling_mode: "enforce",
    enable_stage_b: true,
    network_mode: "p2p",
    enable_p2p: true,
    enable_discovery: true,
    diversity_mode: "enforce",
    anti_eclipse_enforce: true,
    monetary_mode: "shadow",
    slashing_mode: "record-only",
    snapshots_enabled: true,
};

/// The file for `nodes[at]`; `dir` is where the network will stand.
pub(super) fn node_toml(
    profile: NetworkProfile,
    dir: &Path,
    genesis_hash: GenesisHash,
    nodes: &[NodeInfo],
    at: usize,
) -> String {
    let node = &nodes[at];
    let own = dir.join("nodes").join(&node.name);
    let path = |name: &str| own.join(name).display().to_string();
    let mainnet = profile == NetworkProfile::Mainnet;
    let crowded = nodes.len() * (nodes.len() - 1) / 2 >= nodes.len() * WANTED_OUTBOUND;
    let file = NodeToml {
        profile: profile.as_str(),
        role: node.role.as_str(),
        name: &node.name,
        validator_id: node.validator_id,
        data_dir: path("data"),
        genesis_path: dir.join("genesis.json").display().to_string(),
        expect_genesis_hash: genesis_hash,
        http_addr: node.http.to_string(),
        p2p_listen_addr: node.p2p.to_string(),
        p2p_advertised_addr: node.p2p.to_string(),
        bootstrap_peers: bootstrap_peers(nodes, at),
        asn_table_path: dir.join("asn.txt").display().to_string(),
        signer_mode: "encrypted-fs",
        signer_keystore_path: path("keystore"),
        signer_failure_mode: "exit-on-failure",
        passphrase_env: crate::PASSPHRASE_ENV,
        snapshot_dir: path("snapshots"),
        baseline: mainnet.then_some(MAINNET),
        anti_eclipse_min_outbound: (mainnet && !crowded).then_some(LEAST_OUTBOUND),
    };
    let role = match node.role {
        NodeRole::Validator => "Validator",
        NodeRole::Rpc => "RPC node",
    };
    let body = toml::to_string(&file).expect("plain data serialises");
    format!("# {role} {} in region {}.\n{body}", node.name, node.region)
}

/// The nodes after this one, around the ring: four where there are enough.
///
/// Every link of the ring then has one end that dials it, so that each node opens as many
/// connections as it accepts.
fn bootstrap_peers(nodes: &[NodeInfo], at: usize) -> Vec<String> {
    let count = ((nodes.len() - 1) / 2).clamp(1, LEAST_OUTBOUND);
    (1..=count).map(|step| nodes[(at + step) % nodes.len()].p2p.to_string()).collect()
}
