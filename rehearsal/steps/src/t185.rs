//! T185: the MainNet profile and its invariants, each broken on purpose.
//!
//! Covers: T185.
//!
//! Every rule of [`Invariant::ALL`] is broken alone, by every knob that can break it, and must be
//! refused by its own name; the values on either side of each bound are tried. A checker that
//! forgets a rule, refuses too much, or names the wrong rule fails a check here.

use crate::result::{Check, Scenario, StepResult};
use qbind_profile::{
    Invariant, KEYS, NodeConfig, Profile, Setting, Source, check_all, resolve,
    validate_mainnet_invariants,
};
use std::collections::BTreeSet;

/// The checker under test.
pub type Checker = fn(&NodeConfig) -> Vec<Invariant>;

/// One rule and the settings that break it.
#[derive(Debug, Clone, Copy)]
pub struct Breach {
    /// Which rule.
    pub invariant: Invariant,
    /// `key=text`, applied over an accepted configuration; `key!` clears a key.
    pub settings: &'static [&'static str],
}

impl Breach {
    /// An accepted configuration with this rule broken.
    pub fn config(&self) -> NodeConfig {
        let mut config = accepted();
        self.settings.iter().for_each(|s| apply(&mut config, s));
        config
    }
}

macro_rules! breaches {
    ($($name:ident: $([$($setting:expr),+]),+;)+) => {
        &[$($(Breach { invariant: Invariant::$name, settings: &[$($setting),+] },)+)+]
    };
}

/// The fourteen rules of the runbook, section 3.2, in its order.
pub const RUNBOOK: &[Breach] = breaches! {
    WrongEnvironment: ["env=devnet"], ["env=testnet"];
    GasDisabled: ["enable_gas=false"];
    FeePriorityDisabled: ["enable_fee_priority=false"];
    WrongMempoolMode: ["mempool_mode=fifo"];
    DagAvailabilityDisabled: ["enable_dag_availability=false"];
    WrongNetworkMode: ["network_mode=local-mesh"];
    DiscoveryDisabled: ["enable_discovery=false"];
    MissingDataDir: ["data_dir!"];
    SignerModeLoopbackForbidden: ["signer_mode=loopback-testing"];
    SignerFailureModeInvalid: ["signer_failure_mode=log-and-continue"];
    DiversityNotEnforced: ["diversity_mode=off"], ["diversity_mode=warn"];
    MonetaryModeOff: ["monetary_mode=off"];
    SnapshotsDisabled: ["snapshots_enabled=false"];
    SnapshotIntervalTooLow: ["snapshot_interval=9999"], ["snapshot_interval=0"];
    SnapshotIntervalTooHigh: ["snapshot_interval=500001"];
};

/// The rules beyond the runbook's.
pub const BEYOND_RUNBOOK: &[Breach] = breaches! {
    DagCouplingNotEnforced: ["dag_coupling_mode=off"], ["dag_coupling_mode=warn"];
    P2pDisabled: ["enable_p2p=false"];
    InsufficientTargetOutboundPeers: ["outbound_peer_target=7"], ["outbound_peer_target=0"];
    InvalidDiversityParameters:
        ["max_peers_per_prefix24=0"], ["max_peers_per_prefix16=0"], ["max_peers_per_prefix48=0"],
        ["diversity_min_buckets=1"], ["diversity_max_bucket_bps=0"],
        ["diversity_max_bucket_bps=10001"];
    WrongFeeDistributionPolicy:
        ["fee_burn_bps=10000", "fee_proposer_bps=0"], ["fee_proposer_bps=4999"];
    MonetaryAccountsMissing: ["monetary_mode=active"];
    SeigniorageSplitInvalid:
        ["monetary_mode=active", ACCOUNTS, "monetary_split_bps=8200,1200,400,199"],
        ["monetary_mode=active", ACCOUNTS, "monetary_split_bps=8200,1200,600"];
    MonetaryAccountsInvalid:
        ["monetary_mode=active", TWICE], ["monetary_mode=active", WITH_ZERO];
    StateRetentionDisabled: ["state_retention_mode=disabled"];
    StateRetentionInvalid: ["state_retain_height=9999"];
    SignerKeystorePathMissing: ["signer_mode=encrypted-fs", "signer_keystore_path!"];
    RemoteSignerUrlMissing: ["signer_mode=remote-signer"];
    HsmConfigPathMissing: ["signer_mode=hsm-pkcs11"];
    SnapshotDirMissing: ["snapshot_dir!"];
    MempoolDosMisconfigured:
        ["mempool_max_pending_txs=0"], ["mempool_max_txs_per_sender=0"],
        ["mempool_max_txs_per_sender=100001"], ["mempool_max_bytes_per_sender=0"],
        ["batch_max_transactions=0"], ["batch_max_bytes=0"];
    MempoolEvictionMisconfigured:
        ["mempool_eviction_mode=off"], ["mempool_eviction_mode=warn"],
        ["mempool_eviction_max_per_interval=0"], ["mempool_eviction_max_per_interval=1000001"],
        ["mempool_eviction_interval_secs=0"];
    P2pDiscoveryMisconfigured: ["discovery_max_known_peers=7"];
    P2pLivenessMisconfigured: ["heartbeat_interval_secs=0"], ["heartbeat_max_failures=0"];
    P2pAntiEclipseMisconfigured:
        ["anti_eclipse_enforce=false"], ["anti_eclipse_min_outbound=3"], ["anti_eclipse_min_asn=1"];
    SlashingMisconfigured:
        ["slashing_mode=off"],
        ["slashing_mode=enforce-critical", "slashing_o1_bps=499"],
        ["slashing_mode=enforce-critical", "slashing_o1_bps=1001"],
        ["slashing_mode=enforce-all", "slashing_o2_bps=449"],
        ["slashing_mode=enforce-all", "slashing_o2_bps=551"],
        ["slashing_mode=enforce-critical", "slashing_o1_jail_epochs=0"],
        ["slashing_mode=enforce-critical", "slashing_o2_jail_epochs=1000001"],
        ["slashing_mode=enforce-all", "slashing_o3a_bps=101"],
        ["slashing_mode=enforce-all", "slashing_o3b_bps=99"],
        ["slashing_mode=enforce-all", "slashing_o3b_jail_epochs=0"],
        ["slashing_mode=enforce-all", "slashing_o4_bps=499"],
        ["slashing_mode=enforce-all", "slashing_o4_jail_epochs=0"],
        ["slashing_mode=enforce-all", "slashing_o5_bps=1001"],
        ["slashing_mode=enforce-all", "slashing_o5_jail_epochs=0"];
    GenesisMisconfigured: ["genesis_path!"];
    ExpectedGenesisHashMissing: ["expect_genesis_hash!"];
};

const ACCOUNTS: &str = "monetary_accounts=\
    1111111111111111111111111111111111111111111111111111111111111111,\
    2222222222222222222222222222222222222222222222222222222222222222,\
    3333333333333333333333333333333333333333333333333333333333333333,\
    4444444444444444444444444444444444444444444444444444444444444444";
const TWICE: &str = "monetary_accounts=\
    1111111111111111111111111111111111111111111111111111111111111111,\
    2222222222222222222222222222222222222222222222222222222222222222,\
    2222222222222222222222222222222222222222222222222222222222222222,\
    4444444444444444444444444444444444444444444444444444444444444444";
const WITH_ZERO: &str = "monetary_accounts=\
    1111111111111111111111111111111111111111111111111111111111111111,\
    2222222222222222222222222222222222222222222222222222222222222222,\
    0000000000000000000000000000000000000000000000000000000000000000,\
    4444444444444444444444444444444444444444444444444444444444444444";

/// Settings on the allowed side of each bound.
pub const ALLOWED: &[&[&str]] = &[
    &["outbound_peer_target=8"],
    &["max_peers_per_prefix24=1", "max_peers_per_prefix16=1", "max_peers_per_prefix48=1"],
    &["diversity_min_buckets=2", "diversity_max_bucket_bps=1"],
    &["diversity_max_bucket_bps=10000"],
    &["monetary_mode=active", ACCOUNTS],
    &["state_retain_height=10000"],
    &["state_retention_mode=disabled", "role=rpc"],
    &["signer_mode=remote-signer", "signer_keystore_path!", "remote_signer_url=kemtls://s:9443"],
    &["signer_mode=hsm-pkcs11", "signer_keystore_path!", "hsm_config_path=/etc/qbind/hsm.toml"],
    &["snapshot_interval=10000"],
    &["snapshot_interval=500000"],
    &["mempool_max_txs_per_sender=100000"],
    &["mempool_eviction_max_per_interval=1000000", "mempool_eviction_interval_secs=1"],
    &["discovery_max_known_peers=8"],
    &["anti_eclipse_min_outbound=4", "anti_eclipse_min_asn=2"],
    &["slashing_mode=enforce-all", "slashing_o1_bps=500", "slashing_o2_bps=450"],
    &["slashing_mode=enforce-all", "slashing_o1_bps=1000", "slashing_o2_bps=550"],
    &["slashing_mode=enforce-all", "slashing_o1_jail_epochs=1", "slashing_o2_jail_epochs=1000000"],
    &["slashing_mode=enforce-all", "slashing_o3a_bps=0", "slashing_o3b_bps=500"],
    &["slashing_mode=enforce-all", "slashing_o4_bps=1500", "slashing_o5_bps=100"],
    // Penalties that are not enforced need not be in bounds.
    &["slashing_o1_bps=1"],
    &["enable_stage_b=false"],
    &["heartbeat_timeout_secs=15"],
];

/// What the MainNet preset sets, as operators are told.
const DEFAULTS: &[(&str, &str)] = &[
    ("env", "mainnet"),
    ("execution_profile", "vm-v0"),
    ("enable_gas", "true"),
    ("enable_fee_priority", "true"),
    ("mempool_mode", "dag"),
    ("enable_dag_availability", "true"),
    ("dag_coupling_mode", "enforce"),
    ("enable_stage_b", "true"),
    ("network_mode", "p2p"),
    ("enable_p2p", "true"),
    ("enable_discovery", "true"),
    ("fee_burn_bps", "5000"),
    ("fee_proposer_bps", "5000"),
    ("p2p_listen_addr", "0.0.0.0:9000"),
    ("http_addr", "0.0.0.0:9090"),
    ("p2p_max_outbound", "16"),
    ("p2p_max_inbound", "64"),
    ("p2p_gossip_fanout", "8"),
    ("outbound_peer_target", "8"),
    ("discovery_interval_secs", "30"),
    ("discovery_max_known_peers", "300"),
    ("heartbeat_interval_secs", "15"),
    ("heartbeat_timeout_secs", "10"),
    ("heartbeat_max_failures", "3"),
    ("diversity_mode", "enforce"),
    ("max_peers_per_prefix24", "2"),
    ("max_peers_per_prefix16", "8"),
    ("max_peers_per_prefix48", "4"),
    ("diversity_min_buckets", "4"),
    ("diversity_max_bucket_bps", "2500"),
    ("anti_eclipse_enforce", "true"),
    ("anti_eclipse_min_outbound", "8"),
    ("anti_eclipse_min_asn", "2"),
    ("mempool_max_txs_per_sender", "1000"),
    ("mempool_max_bytes_per_sender", "8388608"),
    ("batch_max_transactions", "4000"),
    ("batch_max_bytes", "2097152"),
    ("mempool_eviction_mode", "enforce"),
    ("mempool_eviction_max_per_interval", "1000"),
    ("mempool_eviction_interval_secs", "10"),
    ("monetary_mode", "shadow"),
    ("slashing_mode", "record-only"),
    ("slashing_o1_bps", "750"),
    ("slashing_o1_jail_epochs", "10"),
    ("slashing_o2_bps", "500"),
    ("slashing_o2_jail_epochs", "5"),
    ("slashing_o3a_bps", "25"),
    ("slashing_o3b_bps", "200"),
    ("slashing_o3b_jail_epochs", "2"),
    ("slashing_o3b_votes", "3"),
    ("slashing_o3b_window", "1000"),
    ("slashing_o4_bps", "750"),
    ("slashing_o4_jail_epochs", "5"),
    ("slashing_o5_bps", "300"),
    ("slashing_o5_jail_epochs", "3"),
    ("state_retention_mode", "height"),
    ("state_retain_height", "500000"),
    ("state_prune_interval", "1000"),
    ("snapshots_enabled", "true"),
    ("snapshot_interval", "50000"),
    ("max_snapshots", "5"),
    ("signer_mode", "encrypted-fs"),
    ("signer_failure_mode", "exit-on-failure"),
    ("view_timeout_ms", "1000"),
    ("view_timeout_cap_ms", "30000"),
];

/// The MainNet preset with what only an operator can know: paths, hash, number, peers.
pub fn accepted() -> NodeConfig {
    let mut config = Profile::Mainnet.preset();
    for setting in [
        "data_dir=/data/qbind",
        "snapshot_dir=/data/qbind/snapshots",
        "signer_keystore_path=/data/qbind/keystore",
        "genesis_path=/etc/qbind/genesis.json",
        "expect_genesis_hash=0xabababababababababababababababababababababababababababababababab",
        "validator_id=42",
        "bootstrap_peers=mainnet-bootstrap-1.qbind.network:9000",
    ] {
        apply(&mut config, setting);
    }
    config
}

/// Applies `key=text` or `key!` (clear).
fn apply(config: &mut NodeConfig, setting: &str) {
    if let Some(key) = setting.strip_suffix('!') {
        let path = match key {
            "data_dir" => &mut config.data_dir,
            "snapshot_dir" => &mut config.snapshot_dir,
            "signer_keystore_path" => &mut config.signer_keystore_path,
            "genesis_path" => &mut config.genesis_path,
            "expect_genesis_hash" => {
                config.expect_genesis_hash = None;
                return;
            }
            _ => unreachable!("the tables above clear no `{key}`"),
        };
        *path = None;
        return;
    }
    let (key, text) = setting.split_once('=').expect("the tables above write key=text");
    config.set(key, text).expect("the tables above set known keys");
}

/// The checker the node runs at start.
pub fn shipped(config: &NodeConfig) -> Vec<Invariant> {
    check_all(config).into_iter().map(|e| e.invariant).collect()
}

/// Runs the step. Nothing in it is random; `seed` is only recorded.
pub fn run(seed: u64) -> StepResult {
    run_against(shipped, seed)
}

/// Runs the step against any checker, so that a broken one can be shown to fail.
pub fn run_against(checker: Checker, seed: u64) -> StepResult {
    let scenarios = vec![
        Scenario::new("mainnet_preset_sets_the_published_defaults", defaults()),
        Scenario::new("profiles_are_found_by_any_spelling", names()),
        Scenario::new("complete_mainnet_configuration_is_accepted", canonical(checker)),
        breach_scenario("each_runbook_invariant_is_refused_by_name", RUNBOOK, checker),
        breach_scenario("each_further_invariant_is_refused_by_name", BEYOND_RUNBOOK, checker),
        Scenario::new("every_invariant_was_broken", coverage()),
        Scenario::new("values_on_the_allowed_side_are_accepted", allowed(checker)),
        Scenario::new("the_first_broken_rule_is_the_one_reported", order(checker)),
        Scenario::new("flag_beats_environment_beats_file_beats_profile", precedence()),
    ];
    let title = "MainNet profile and invariants";
    StepResult::new("T185", title, seed, scenarios, "qbindctl steps run T185")
}

fn defaults() -> Vec<Check> {
    let preset = Profile::Mainnet.preset();
    let shown = |key| preset.get(key).map_or_else(|| "no such key".into(), |v| v.to_string());
    DEFAULTS.iter().map(|(key, text)| Check::equal(*key, text, shown(key))).collect()
}

fn names() -> Vec<Check> {
    let good = [
        ("mainnet", "mainnet"),
        ("mainnet-v0", "mainnet"),
        ("MAINNET", "mainnet"),
        ("MainNet-V0", "mainnet"),
        ("testnet-beta", "testnet-beta"),
        ("TestNet-Beta-v0", "testnet-beta"),
        ("testnet-alpha", "testnet-alpha"),
        ("devnet", "devnet"),
        ("DEVNET-V0", "devnet"),
    ];
    let bad = ["", "main", "mainnet-v1", "mainnet-v0-v0", " mainnet", "mainnet_v0", "prod"];
    let found = |text: &str| {
        text.parse::<Profile>().map_or_else(|_| "refused".to_string(), |p| p.to_string())
    };
    let good = good.iter().map(|(text, profile)| Check::equal(*text, profile, found(text)));
    let bad = bad.iter().map(|text| Check::equal(format!("{text:?}"), "refused", found(text)));
    good.chain(bad).collect()
}

fn canonical(checker: Checker) -> Vec<Check> {
    let preset = checker(&Profile::Mainnet.preset());
    // What an operator must still provide, and nothing else, is missing from the bare preset.
    let missing = "MissingDataDir, SignerKeystorePathMissing, SnapshotDirMissing, \
                   GenesisMisconfigured, ExpectedGenesisHashMissing";
    let warnings = match validate_mainnet_invariants(&accepted()) {
        Ok(warnings) => format!("{} warnings", warnings.len()),
        Err(error) => error.to_string(),
    };
    let mut serial = accepted();
    serial.enable_stage_b = false;
    let serial = match validate_mainnet_invariants(&serial) {
        Ok(warnings) => format!("{warnings:?}"),
        Err(error) => error.to_string(),
    };
    vec![
        Check::equal("complete", "accepted", describe(&checker(&accepted()))),
        Check::equal("complete, at start", "0 warnings", warnings),
        Check::equal("bare preset", missing, describe(&preset)),
        Check::equal("stage B off only warns", "[StageBDisabled]", serial),
    ]
}

fn breach_scenario(name: &str, breaches: &[Breach], checker: Checker) -> Scenario {
    let checks = breaches
        .iter()
        .map(|breach| {
            let config = breach.config();
            let name = breach.settings.iter().map(|s| brief(s)).collect::<Vec<_>>().join(", ");
            Check::equal(name, breach.invariant, describe(&checker(&config)))
        })
        .collect();
    let rules: BTreeSet<Invariant> = breaches.iter().map(|b| b.invariant).collect();
    Scenario::new(name, checks).fact("rules", rules.len())
}

fn coverage() -> Vec<Check> {
    let broken: BTreeSet<Invariant> =
        RUNBOOK.iter().chain(BEYOND_RUNBOOK).map(|b| b.invariant).collect();
    Invariant::ALL
        .iter()
        .map(|rule| {
            let got = if broken.contains(rule) { "broken on purpose" } else { "never broken" };
            Check::equal(rule.name(), "broken on purpose", got)
        })
        .collect()
}

fn allowed(checker: Checker) -> Vec<Check> {
    let check = |settings: &&[&str]| {
        let mut config = accepted();
        settings.iter().for_each(|s| apply(&mut config, s));
        let name = settings.iter().map(|s| brief(s)).collect::<Vec<_>>().join(", ");
        Check::equal(name, "accepted", describe(&checker(&config)))
    };
    ALLOWED.iter().map(check).collect()
}

/// Breaks each rule together with the next one in order: the earlier must be the one reported.
fn order(checker: Checker) -> Vec<Check> {
    let of = |rule: Invariant| RUNBOOK.iter().chain(BEYOND_RUNBOOK).find(|b| b.invariant == rule);
    let mut checks = Vec::new();
    for pair in Invariant::ALL.windows(2) {
        let (Some(first), Some(second)) = (of(pair[0]), of(pair[1])) else { continue };
        let key = |s: &str| s.split(['=', '!']).next().map(str::to_string);
        let keys: Vec<_> = first.settings.iter().map(|s| key(s)).collect();
        // Two values of one key cannot be set at once.
        if second.settings.iter().any(|s| keys.contains(&key(s))) {
            continue;
        }
        let mut config = accepted();
        // The later one first, so that a setting both need keeps the earlier one's value.
        second.settings.iter().chain(first.settings).for_each(|s| apply(&mut config, s));
        let name = format!("{} and {}", pair[0], pair[1]);
        let first = checker(&config).first().copied();
        let got = describe(first.as_slice());
        checks.push(Check::equal(name.clone(), pair[0], got));
        let at_start = validate_mainnet_invariants(&config).err().map(|e| e.invariant);
        let got = describe(at_start.as_slice());
        checks.push(Check::equal(format!("{name}, at start"), pair[0], got));
    }
    checks
}

fn precedence() -> Vec<Check> {
    let layers = [Source::File, Source::Env, Source::Flag];
    let setting = |source: Source, key: &str, text: &str| Setting {
        source,
        place: source.as_str().into(),
        key: key.into(),
        text: text.into(),
    };
    let mut checks = Vec::new();
    // Every subset of sources, strongest last: the strongest present one must win.
    for present in 0..8u8 {
        let mut settings = vec![setting(Source::File, "profile", "mainnet")];
        let mut expected = ("profile", "500000".to_string());
        for (i, source) in layers.into_iter().enumerate() {
            if present & (1 << i) != 0 {
                let text = format!("{}", 600_000 + i);
                expected = (source.as_str(), text.clone());
                settings.insert(0, setting(source, "state_retain_height", &text));
            }
        }
        let got = match resolve(&settings) {
            Ok(r) => format!(
                "{} by {}",
                r.config.state_retain_height,
                r.origin["state_retain_height"].source.as_str()
            ),
            Err(error) => error.to_string(),
        };
        let names: Vec<_> = settings[..settings.len() - 1].iter().map(|s| &*s.place).collect();
        let name = format!("set by [{}]", names.join(" "));
        checks.push(Check::equal(name, format!("{} by {}", expected.1, expected.0), got));
    }
    let verdict = |settings: &[Setting]| match resolve(settings) {
        Ok(resolved) => match resolved.validate() {
            Ok(_) => "accepted".to_string(),
            Err(error) => error.to_string().split(':').next().unwrap_or_default().to_string(),
        },
        Err(error) => error.to_string(),
    };
    let flag = |key, text| setting(Source::Flag, key, text);
    checks.push(Check::equal(
        "a flag over the preset is checked too",
        "GasDisabled",
        verdict(&[flag("profile", "mainnet"), flag("enable_gas", "false")]),
    ));
    checks.push(Check::equal(
        "naming only the network does not evade the rules",
        "MissingDataDir",
        verdict(&[flag("env", "mainnet")]),
    ));
    checks.push(Check::equal(
        "another profile on the main network does not evade the rules",
        "GasDisabled",
        verdict(&[flag("profile", "devnet"), flag("env", "mainnet")]),
    ));
    let unknown = resolve(&[flag("enable_gaz", "true")]).err().map(|e| e.to_string());
    checks.push(Check::equal(
        "an unknown key is refused",
        "flag: unknown key `enable_gaz`; did you mean `enable_gas`?",
        unknown.unwrap_or_else(|| "accepted".into()),
    ));
    checks.push(Check::that("keys", "at least 60", KEYS.len(), KEYS.len() >= 60));
    checks
}

fn describe(broken: &[Invariant]) -> String {
    match broken {
        [] => "accepted".into(),
        rules => rules.iter().map(|r| r.name()).collect::<Vec<_>>().join(", "),
    }
}

/// A setting without the tail of a long value.
fn brief(setting: &str) -> String {
    let text: String = setting.chars().take(44).collect();
    if text.len() < setting.len() { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(checker: Checker) -> Vec<String> {
        let result = run_against(checker, 0);
        result.failures().map(|(s, c)| format!("{}: {}", s.name, c.name)).collect()
    }

    #[test]
    fn the_shipped_checker_passes() {
        assert_eq!(failed(shipped), Vec::<String>::new());
        assert!(run(7).verdict.is_pass());
    }

    #[test]
    fn a_checker_that_accepts_everything_fails_for_every_rule() {
        let failed = failed(|_| Vec::new());
        let refusals = RUNBOOK.len() + BEYOND_RUNBOOK.len();
        assert_eq!(failed.iter().filter(|f| f.contains("_is_refused_")).count(), refusals);
    }

    #[test]
    fn a_checker_that_forgets_one_rule_fails() {
        let failed =
            failed(|c| shipped(c).into_iter().filter(|i| *i != Invariant::GasDisabled).collect());
        assert_eq!(
            failed,
            [
                "each_runbook_invariant_is_refused_by_name: enable_gas=false",
                "the_first_broken_rule_is_the_one_reported: GasDisabled and FeePriorityDisabled",
            ]
        );
    }

    #[test]
    fn a_checker_in_another_order_fails() {
        let failed = failed(|c| shipped(c).into_iter().rev().collect());
        let order = "the_first_broken_rule_is_the_one_reported";
        assert!(failed.iter().filter(|f| f.starts_with(order)).count() > 20, "{failed:?}");
    }

    #[test]
    fn a_checker_that_refuses_too_much_fails() {
        let failed = failed(|c| {
            let mut found = shipped(c);
            if c.snapshot_interval == 500_000 {
                found.push(Invariant::SnapshotIntervalTooHigh);
            }
            found
        });
        assert_eq!(failed, ["values_on_the_allowed_side_are_accepted: snapshot_interval=500000"]);
    }
}
