//! What this build cannot do, said before it starts rather than after.

use qbind_profile::{
    ExecutionProfile, MempoolMode, NetworkMode, NodeConfig, SignerFailureMode, SlashingMode,
};

/// A setting that asks for more than this build does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("UNSUPPORTED: {key} = {value}: {what}; {hint}")]
pub struct Unsupported {
    /// Which key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is missing.
    pub what: &'static str,
    /// What to set instead.
    pub hint: &'static str,
    /// Whether the node would do something else than it was told; otherwise it does less, which
    /// is only warned about.
    pub refused: bool,
}

/// Every setting that asks for more than this build does.
pub fn unsupported(c: &NodeConfig) -> Vec<Unsupported> {
    let mut found = Vec::new();
    let mut note = |holds: bool, refused: bool, key: &'static str, what, hint| {
        if holds {
            let value = c.get(key).map_or_else(String::new, |v| v.to_string());
            found.push(Unsupported { key, value, what, hint, refused });
        }
    };
    let (refuse, warn) = (true, false);
    note(
        c.mempool_mode == MempoolMode::Fifo,
        refuse,
        "mempool_mode",
        "blocks reference certified batches only",
        "pass --mempool-mode dag",
    );
    note(
        !c.enable_dag_availability,
        refuse,
        "enable_dag_availability",
        "every batch is certified before it is referenced",
        "pass --enable-dag-availability true",
    );
    note(
        c.network_mode == NetworkMode::LocalMesh || !c.enable_p2p,
        refuse,
        "network_mode",
        "nodes are processes that reach each other over sockets",
        "pass --network-mode p2p --enable-p2p true",
    );
    note(
        c.execution_profile == ExecutionProfile::NonceOnly,
        refuse,
        "execution_profile",
        "transactions are transfers",
        "pass --execution-profile vm-v0",
    );
    note(
        c.signer_failure_mode == SignerFailureMode::LogAndContinue,
        refuse,
        "signer_failure_mode",
        "a node that cannot sign stops",
        "pass --signer-failure-mode exit-on-failure",
    );
    note(
        c.fast_sync_snapshot_dir.as_ref().is_some_and(|source| source.starts_with("https://")),
        refuse,
        "fast_sync_snapshot_dir",
        "the node speaks http only; what makes a snapshot trustworthy is its chain's certificates",
        "fetch it with wget, unpack it, and name its folder",
    );
    note(
        matches!(c.slashing_mode, SlashingMode::EnforceCritical | SlashingMode::EnforceAll)
            && !c.enable_gas,
        warn,
        "slashing_mode",
        "offences are reported by transfers with gas, which is off",
        "pass --enable-gas true, or --slashing-mode record-only",
    );
    found
}
