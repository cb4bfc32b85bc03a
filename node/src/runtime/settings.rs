//! The node's configuration in the terms of the core and the network.

use crate::NodeError;
use qbind_consensus::Timing;
use qbind_dag::{CouplingMode, DagConfig, EvictionMode, MempoolConfig};
use qbind_ledger::{
    Execution, FeeSplit, Genesis, Params, SlashingMode, SlashingParams, SlashingRule,
    monetary::{Mode, Payout, Policy},
};
use qbind_network::{
    AntiEclipse, AsnTable, DiversityConfig, DiversityMode, Heartbeat, Identity, Limits,
    NetworkConfig, Role,
};
use qbind_profile::{
    DagCouplingMode, DiversityMode as ProfileDiversity, EvictionMode as ProfileEviction,
    ExecutionProfile, MonetaryMode, NodeConfig, Role as ProfileRole,
    SlashingMode as ProfileSlashing,
};
use qbind_types::{Address, GenesisHash, Millis, Network};
use std::{sync::Arc, time::Duration};

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(super) fn timing(config: &NodeConfig) -> Timing {
    let base = Millis(config.view_timeout_ms);
    Timing { base, cap: Millis(config.view_timeout_cap_ms), resend: base }
}

pub(super) fn coupling(config: &NodeConfig) -> CouplingMode {
    match config.dag_coupling_mode {
        DagCouplingMode::Off => CouplingMode::Off,
        DagCouplingMode::Warn => CouplingMode::Warn,
        DagCouplingMode::Enforce => CouplingMode::Enforce,
    }
}

/// The ledger's rules.
///
/// # Errors
/// The operator's fault: the fee shares make no whole, or there is nobody to mint for.
pub(super) fn params(config: &NodeConfig, genesis: &Genesis) -> Result<Params, NodeError> {
    let bps = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let fee_split = FeeSplit::new(bps(config.fee_burn_bps), bps(config.fee_proposer_bps))
        .map_err(|e| NodeError::configuration("fee_burn_bps, fee_proposer_bps").because(e))?;
    let execution = match config.execution_profile {
        ExecutionProfile::NonceOnly => Execution::NonceOnly,
        ExecutionProfile::VmV0 => Execution::Transfers,
    };
    Ok(Params {
        execution,
        gas_enabled: config.enable_gas,
        fee_split,
        stage_b: config.enable_stage_b,
        locks: genesis.locks(),
        slashing: slashing(config),
        monetary: monetary(config, genesis)?,
        ..Params::mainnet()
    })
}

fn slashing(c: &NodeConfig) -> SlashingParams {
    let rule = |bps, jail_epochs| SlashingRule { bps, jail_epochs };
    SlashingParams {
        mode: match c.slashing_mode {
            ProfileSlashing::Off => SlashingMode::Off,
            ProfileSlashing::RecordOnly => SlashingMode::RecordOnly,
            ProfileSlashing::EnforceCritical => SlashingMode::EnforceCritical,
            ProfileSlashing::EnforceAll => SlashingMode::EnforceAll,
        },
        rules: [
            rule(c.slashing_o1_bps, c.slashing_o1_jail_epochs),
            rule(c.slashing_o2_bps, c.slashing_o2_jail_epochs),
            rule(c.slashing_o3a_bps, 0),
            rule(c.slashing_o3b_bps, c.slashing_o3b_jail_epochs),
            rule(c.slashing_o4_bps, c.slashing_o4_jail_epochs),
            rule(c.slashing_o5_bps, c.slashing_o5_jail_epochs),
        ],
        lazy_votes: c.slashing_o3b_votes,
        lazy_window: c.slashing_o3b_window,
    }
}

/// Figures of genesis, or the built-in ones; mode, accounts and shares of the configuration.
fn monetary(config: &NodeConfig, genesis: &Genesis) -> Result<Policy, NodeError> {
    let mode = match config.monetary_mode {
        MonetaryMode::Off => Mode::Off,
        MonetaryMode::Shadow => Mode::Shadow,
        MonetaryMode::Active => Mode::Active(payout(config)?),
    };
    Ok(Policy { mode, figures: genesis.monetary.clone().unwrap_or_default() })
}

fn payout(config: &NodeConfig) -> Result<Payout, NodeError> {
    let fault = |key: &str, got: usize| {
        NodeError::configuration(format!(
            "{key} has {got} entries; monetary_mode = active needs 4, for validators, treasury, \
             insurance and community"
        ))
    };
    let (accounts, split) = (&config.monetary_accounts, &config.monetary_split_bps);
    let accounts = <[Address; 4]>::try_from(accounts.as_slice())
        .map_err(|_| fault("monetary_accounts", accounts.len()))?;
    let split = <[u64; 4]>::try_from(split.as_slice())
        .map_err(|_| fault("monetary_split_bps", split.len()))?
        .map(|share| u16::try_from(share).unwrap_or(u16::MAX));
    Payout::new(accounts, split)
        .map_err(|e| NodeError::configuration("monetary_accounts, monetary_split_bps").because(e))
}

pub(super) fn dag(config: &NodeConfig, network: Network, params: &Params) -> DagConfig {
    let eviction_mode = match config.mempool_eviction_mode {
        ProfileEviction::Off => EvictionMode::Off,
        ProfileEviction::Warn => EvictionMode::Warn,
        ProfileEviction::Enforce => EvictionMode::Enforce,
    };
    let evictions = config.mempool_eviction_max_per_interval;
    DagConfig {
        batch_interval: Millis(config.batch_interval_ms),
        batch_max_transactions: size(config.batch_max_transactions),
        batch_max_bytes: size(config.batch_max_bytes),
        batch_max_gas: params.block_gas_limit,
        mempool: MempoolConfig {
            capacity: size(config.mempool_max_pending_txs),
            sender_transactions: size(config.mempool_max_txs_per_sender),
            sender_bytes: size(config.mempool_max_bytes_per_sender),
            transaction_gas: params.block_gas_limit,
            fee_priority: config.enable_fee_priority,
            eviction_mode,
            evictions_per_interval: u32::try_from(evictions).unwrap_or(u32::MAX),
            eviction_interval: Millis(config.mempool_eviction_interval_secs.saturating_mul(1_000)),
            ..MempoolConfig::default()
        },
        ..DagConfig::new(network, None)
    }
}

/// How peers are found, proven and limited.
///
/// # Errors
/// The operator's fault: the ASN table.
pub(super) fn network(
    config: &NodeConfig,
    identity: Arc<dyn Identity>,
    (network, genesis_hash): (Network, GenesisHash),
    params: &Params,
) -> Result<NetworkConfig, NodeError> {
    let role = match config.role {
        ProfileRole::Validator => Role::Validator,
        ProfileRole::Rpc => Role::Rpc,
        ProfileRole::Sentry => Role::Sentry,
    };
    let seconds = Duration::from_secs;
    let mode = match config.diversity_mode {
        ProfileDiversity::Off => DiversityMode::Off,
        ProfileDiversity::Warn => DiversityMode::Warn,
        ProfileDiversity::Enforce => DiversityMode::Enforce,
    };
    let failures = u32::try_from(config.heartbeat_max_failures).unwrap_or(u32::MAX);
    let defaults =
        NetworkConfig::new(config.p2p_listen_addr, identity, network, genesis_hash, role);
    Ok(NetworkConfig {
        rules: params.digest(),
        advertised: config.p2p_advertised_addr.as_ref().map(ToString::to_string),
        hidden: !config.sentries.is_empty(),
        bootstrap: match config.sentries.is_empty() {
            true => config.bootstrap_peers.iter().map(ToString::to_string).collect(),
            false => config.sentries.iter().map(ToString::to_string).collect(),
        },
        limits: Limits {
            max_outbound: size(config.p2p_max_outbound),
            max_inbound: size(config.p2p_max_inbound),
            outbound_target: size(config.outbound_peer_target),
            max_known: size(config.discovery_max_known_peers),
            ..Limits::default()
        },
        diversity: DiversityConfig { mode, ..diversity(config) },
        anti_eclipse: AntiEclipse {
            enforce: config.anti_eclipse_enforce,
            min_outbound: size(config.anti_eclipse_min_outbound),
            min_asn: size(config.anti_eclipse_min_asn),
        },
        asn_table: asn_table(config)?,
        // Who dials its sentries alone asks nobody for others.
        discovery: config.enable_discovery && config.sentries.is_empty(),
        heartbeat: Heartbeat {
            interval: seconds(config.heartbeat_interval_secs),
            timeout: seconds(config.heartbeat_timeout_secs),
            max_failures: failures,
        },
        ..defaults
    })
}

fn diversity(config: &NodeConfig) -> DiversityConfig {
    DiversityConfig {
        max_per_prefix24: size(config.max_peers_per_prefix24),
        max_per_prefix16: size(config.max_peers_per_prefix16),
        max_per_prefix48: size(config.max_peers_per_prefix48),
        min_buckets: size(config.diversity_min_buckets),
        max_bucket_share_bps: u32::try_from(config.diversity_max_bucket_bps).unwrap_or(u32::MAX),
        ..DiversityConfig::default()
    }
}

fn asn_table(config: &NodeConfig) -> Result<AsnTable, NodeError> {
    let Some(path) = &config.asn_table_path else { return Ok(AsnTable::default()) };
    let fault = || NodeError::configuration(format!("cannot use asn_table_path {path}"));
    let text = std::fs::read_to_string(path).map_err(|e| fault().because(e))?;
    AsnTable::parse(&text).map_err(|e| fault().because(e))
}

#[cfg(test)]
mod tests;
