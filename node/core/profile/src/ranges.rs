//! What every node needs, on any network.

use crate::{
    choice::{ExecutionProfile, Role, SignerMode},
    config::NodeConfig,
    knob::Value,
};
use alloc::string::{String, ToString};
use core::fmt;
use qbind_types::limits;

/// A value no node can run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeError {
    /// Which key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is accepted.
    pub demands: String,
    /// What to try next.
    pub hint: &'static str,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, demands, hint } = self;
        write!(f, "{key} is {value}; it must be {demands}; {hint}")
    }
}

impl core::error::Error for RangeError {}

/// Keys with the least and greatest number that makes sense.
const RANGES: &[(&str, u64, u64)] = &[
    ("fee_burn_bps", 0, 10_000),
    ("fee_proposer_bps", 0, 10_000),
    ("mempool_max_pending_txs", 1, 1_000_000),
    ("mempool_max_txs_per_sender", 1, 1_000_000),
    ("mempool_max_bytes_per_sender", limits::REPORT_TRANSACTION_BYTES as u64, 1 << 40),
    ("mempool_eviction_interval_secs", 1, 86_400),
    ("batch_max_transactions", 1, limits::BATCH_TRANSACTIONS as u64),
    ("batch_max_bytes", limits::REPORT_TRANSACTION_BYTES as u64, 16 * 1024 * 1024),
    ("batch_interval_ms", 1, 60_000),
    ("discovery_interval_secs", 1, 86_400),
    ("discovery_max_known_peers", 1, 100_000),
    ("p2p_max_outbound", 1, 1_024),
    ("p2p_max_inbound", 0, 4_096),
    ("p2p_gossip_fanout", 1, 1_024),
    ("outbound_peer_target", 1, 1_024),
    ("diversity_max_bucket_bps", 1, 10_000),
    ("heartbeat_interval_secs", 1, 3_600),
    ("heartbeat_timeout_secs", 1, 3_600),
    ("heartbeat_max_failures", 1, 1_000),
    ("slashing_o1_bps", 0, 10_000),
    ("slashing_o2_bps", 0, 10_000),
    ("slashing_o3a_bps", 0, 10_000),
    ("slashing_o3b_bps", 0, 10_000),
    ("slashing_o3b_votes", 2, 10),
    ("slashing_o3b_window", 100, 10_000),
    ("slashing_o4_bps", 0, 10_000),
    ("slashing_o5_bps", 0, 10_000),
    ("state_prune_interval", 1, 1_000_000_000),
    ("snapshot_interval", limits::CHECKPOINT, 1_000_000_000),
    ("max_snapshots", 1, 1_000),
    ("view_timeout_ms", 100, 60_000),
    ("view_timeout_cap_ms", 100, 600_000),
    ("empty_block_interval_ms", 1, 60_000),
];

/// Checks the values that would break a node on any network.
///
/// # Errors
/// The operator's fault: the first key out of range, or that contradicts another.
pub fn check_ranges(config: &NodeConfig) -> Result<(), RangeError> {
    for &(key, least, most) in RANGES {
        let Some(Value::Integer(value)) = config.get(key) else {
            unreachable!("{key} is in the table of numbers");
        };
        if !(least..=most).contains(&value) {
            return Err(RangeError {
                key,
                value: value.to_string(),
                demands: alloc::format!("{least} to {most}"),
                hint: "remove the override, or choose a number in the range",
            });
        }
    }
    relations(config)
}

fn relations(c: &NodeConfig) -> Result<(), RangeError> {
    let demand = |holds: bool, key: &'static str, demands: &str, hint: &'static str| {
        if holds {
            return Ok(());
        }
        let value = c.get(key).map_or_else(String::new, |v| v.to_string());
        Err(RangeError { key, value, demands: demands.to_string(), hint })
    };
    demand(
        c.env == c.profile.network(),
        "env",
        "the network of the profile",
        "pass --profile and --env of the same network, or only one of them",
    )?;
    demand(
        c.fee_burn_bps + c.fee_proposer_bps == 10_000,
        "fee_proposer_bps",
        "10000 less fee_burn_bps",
        "burned and proposer's shares are the whole fee",
    )?;
    demand(
        !c.enable_gas || c.execution_profile == ExecutionProfile::VmV0,
        "execution_profile",
        "vm-v0 while enable_gas is true",
        "pass --execution-profile vm-v0, or --enable-gas false",
    )?;
    demand(
        c.p2p_max_outbound >= c.outbound_peer_target,
        "p2p_max_outbound",
        "at least outbound_peer_target",
        "raise --p2p-max-outbound or lower --outbound-peer-target",
    )?;
    demand(
        c.view_timeout_cap_ms >= c.view_timeout_ms,
        "view_timeout_cap_ms",
        "at least view_timeout_ms",
        "raise --view-timeout-cap-ms",
    )?;
    demand(
        c.empty_block_interval_ms < c.view_timeout_ms,
        "empty_block_interval_ms",
        "below view_timeout_ms",
        "a leader that waits longer than the view timeout is voted out every time",
    )?;
    demand(
        c.sentries.is_empty() || c.role == Role::Validator,
        "sentries",
        "empty but for a validator",
        "remove --sentries: a sentry learns who is behind it when they dial it",
    )?;
    demand(
        c.sentries.is_empty() || (c.bootstrap_peers.is_empty() && c.p2p_advertised_addr.is_none()),
        "sentries",
        "empty where bootstrap_peers or p2p_advertised_addr is set",
        "remove those two: a validator behind sentries dials only them and tells no address",
    )?;
    demand(
        c.role != Role::Validator || c.validator_id.is_some(),
        "validator_id",
        "set for a validator",
        "pass --validator-id N, or --role rpc for a node that does not vote",
    )?;
    demand(
        // Who does not sign needs no keystore: it proves a key of this start to its peers.
        c.role != Role::Validator
            || c.signer_mode != SignerMode::EncryptedFs
            || c.signer_keystore_path.is_some(),
        "signer_keystore_path",
        "a folder while signer_mode is encrypted-fs",
        "pass --signer-keystore-path DIR",
    )?;
    demand(
        c.snapshot_interval.is_multiple_of(limits::CHECKPOINT),
        "snapshot_interval",
        "a multiple of 10",
        "some block names the state after every tenth height, and no other is sure to be named",
    )?;
    demand(c.data_dir.is_some(), "data_dir", "a folder", "pass --data-dir DIR")?;
    demand(
        c.genesis_path.is_some(),
        "genesis_path",
        "a file",
        "pass --genesis-path FILE; `qbindctl genesis new` makes one",
    )
}
