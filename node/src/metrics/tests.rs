//! Covers: every family moves, names are the published ones, the text is as stored.

use super::*;
use qbind_ledger::monetary::{Closed, EpochInputs, Payout, Policy, State, close_epoch, issue};
use qbind_profile::{Profile, SignerMode};
use std::collections::{BTreeMap, BTreeSet};

fn fresh() -> Metrics {
    Metrics::new(&Profile::Mainnet.preset(), &[1, 7])
}

/// Calls every method the loop has.
fn move_everything(m: &Metrics) {
    let c = &m.consensus;
    c.set_views(12, 9, 11);
    c.committed_height.set(8);
    ProposalResult::ALL.iter().for_each(|l| c.proposals.inc(*l));
    VoteResult::ALL.iter().for_each(|l| c.vote(*l));
    for counter in [&c.timeouts, &c.qcs_formed, &c.view_changes, &c.leader_changes] {
        counter.inc();
    }
    c.safety_violations.inc();
    c.equivocations.inc(7);
    c.qc_formation_latency_ms.observe(120.);
    c.commit_latency_seconds.observe(0.3);
    CouplingCheck::ALL.iter().for_each(|l| m.coupling.proposal(*l, true));
    BlockCheck::ALL.iter().for_each(|l| m.coupling.block(*l));
    let d = &m.dag;
    d.batch_stored(7, 100);
    AckResult::ALL.iter().for_each(|l| d.acks.inc(*l));
    for counter in [
        &d.certified_frontier_select,
        &d.certificates,
        &d.missing_recorded,
        &d.missing_fetched,
        &d.size_limited,
        &d.refused,
    ] {
        counter.inc();
    }
    let p = &m.mempool;
    p.txs.set(3);
    p.inserted.inc();
    p.committed.inc();
    for code in ["E_FULL", "E_SENDER_LIMIT", "E_RATE", "E_SIGNATURE", "E_NONCE", "E_BALANCE"] {
        p.reject(code);
    }
    EvictionReason::ALL.iter().for_each(|l| p.evictions.inc(*l));
    p.evicted_low_priority.inc();
    p.eviction_intervals.inc();
    p.eviction_rate_limit.inc(Strictness::Warn);
    let e = &m.execution;
    e.txs_applied.add(5);
    ExecutionError::ALL.iter().for_each(|l| e.errors.inc(*l));
    e.block_apply_seconds.observe(0.01);
    StageBMode::ALL.iter().for_each(|l| e.stage_b_blocks.inc(*l));
    e.stage_b_mismatch.inc();
    e.stage_b_levels.observe(5.);
    e.stage_b_seconds.observe(0.01);
    e.fallbacks.inc();
    e.workers_active.raise();
    e.queue.set(2);
    let n = &m.p2p;
    let now = Connections {
        outbound: 4,
        inbound: 5,
        known: 9,
        distinct_buckets: 9,
        max_bucket_bps: 1_111,
        distinct_asn: 3,
        below_min_outbound: true,
        below_min_asn: true,
    };
    n.set_connections(&Connections::default(), &now);
    n.set_connections(&now, &now);
    for kind in MessageKind::ALL {
        n.sent(*kind, 10);
        n.received(*kind, 10);
        n.messages_dropped.inc(*kind);
        n.messages_relayed.inc(*kind);
    }
    PeerEviction::ALL.iter().for_each(|l| n.evicted.inc(*l));
    for reason in DiversityReason::ALL {
        n.diversity_violated(*reason, true);
        n.diversity_violated(*reason, false);
    }
    for counter in [
        &n.discovered,
        &n.exchange_success,
        &n.exchange_failure,
        &n.heartbeat_sent,
        &n.heartbeat_success,
        &n.heartbeat_failed,
        &n.dial_attempt,
        &n.dial_success,
        &n.dial_failure,
        &n.handshake_failures,
        &n.rejected_asn,
    ] {
        counter.inc();
    }
    SignKind::ALL.iter().for_each(|l| m.signer.requests.inc(*l));
    m.signer.refusals.inc();
    m.signer.failures.inc();
    m.consensus.epoch.set(3);
    m.consensus.validators.set(7);
    m.consensus.key_rotation_pending.set(7, 1);
    m.consensus.key_rotation_grace.set(7, 95);
    m.signer.load_success.inc(KeystoreBackend::EncryptedFsV1);
    m.signer.load_failure.inc(KeystoreBackend::EncryptedFsV1);
    HttpClass::ALL.iter().for_each(|l| m.http.requests.inc(*l));
    Offense::ALL.iter().for_each(|l| m.slashing.evidence.inc(*l));
    SlashingDecision::ALL.iter().for_each(|l| m.slashing.judged(*l, true));
    m.slashing.stake_burned.add(740_000);
    let s = &m.pruning;
    for counter in [&s.runs, &s.keys_scanned, &s.keys_pruned, &s.duration_ms] {
        counter.inc();
    }
    s.last_height.set(40);
    m.state_size_bytes.set(1 << 20);
    for minted in [false, true] {
        epochs(minted).iter().for_each(|closed| m.monetary.closed(&Policy::shadow(), closed));
    }
    let s = &m.snapshots;
    s.success.inc();
    s.failure.inc();
    for gauge in [
        &s.in_progress,
        &s.last_height,
        &s.last_size_bytes,
        &s.last_duration_ms,
        &s.last_created_at_ms,
    ] {
        gauge.set(1);
    }
}

/// Two epochs of a chain that is old, well paid and well staked enough for two changes of phase.
fn epochs(minted: bool) -> Vec<Closed> {
    let payout = [1, 2, 3, 4].map(|n| qbind_types::Address([n; 32]));
    let payout = Payout::new(payout, [8_200, 1_200, 400, 200]).unwrap();
    let (mut state, mut closed) = (State::default(), Vec::new());
    for epoch in [400_000, 400_001] {
        let inputs = EpochInputs {
            epoch: qbind_types::Epoch(epoch),
            // Three per cent of the stake a year.
            fees: 570_776_256,
            staked: 1_000_000_000_000_000,
            circulating: 2_000_000_000_000_000,
            room: u128::MAX,
        };
        let (next, decision) = close_epoch(&Policy::default().figures, &state, &inputs);
        let issued = minted.then(|| issue(&payout, decision.issuance, &[]));
        closed.push(Closed { state: next.clone(), decision, issued });
        state = next;
    }
    closed
}

fn samples(m: &Metrics) -> BTreeMap<String, String> {
    m.render()
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.rsplit_once(' '))
        .map(|(series, value)| (series.to_string(), value.to_string()))
        .collect()
}

#[test]
fn every_series_moves() {
    let m = fresh();
    let before = samples(&m);
    move_everything(&m);
    let still: Vec<&String> = samples(&m)
        .iter()
        .filter(|(series, value)| before.get(*series) == Some(value))
        .filter_map(|(series, _)| before.get_key_value(series).map(|(k, _)| k))
        // Buckets below the observed value, the other validator, and what only a restart changes.
        .filter(|s| !s.contains("_bucket{") && !s.contains("validator=\"1\""))
        .filter(|s| !FIXED.iter().any(|fixed| s.starts_with(fixed)))
        .collect();
    assert_eq!(still, Vec::<&String>::new());
}

/// Set by the configuration.
const FIXED: &[&str] = &[
    "qbind_chain_id",
    "qbind_build_env",
    "qbind_slashing_mode_info",
    "qbind_mainnet_profile_invariants_ok",
    "qbind_monetary_mode",
    "qbind_dag_coupling_mode",
    "qbind_mempool_eviction_mode",
    "qbind_mempool_max_evictions_per_interval",
    "qbind_mempool_eviction_interval_secs",
    "qbind_execution_stage_b_enabled",
    "qbind_p2p_discovery_enabled",
    "qbind_p2p_diversity_mode",
    "qbind_p2p_outbound_target",
    "qbind_p2p_anti_eclipse_config_",
];

#[test]
fn what_the_configuration_decides_follows_it() {
    let mainnet = samples(&Metrics::new(&Profile::Mainnet.preset(), &[]));
    let mut other = Profile::Devnet.preset();
    for (key, text) in [
        ("monetary_mode", "off"),
        ("dag_coupling_mode", "off"),
        ("mempool_eviction_interval_secs", "11"),
        ("max_peers_per_prefix24", "9"),
        ("anti_eclipse_min_outbound", "5"),
    ] {
        other.set(key, text).unwrap();
    }
    let devnet = samples(&Metrics::new(&other, &[]));
    let same: Vec<&String> = mainnet
        .iter()
        .filter(|(s, v)| FIXED.iter().any(|f| s.starts_with(f)) && devnet.get(*s) == Some(v))
        .map(|(s, _)| s)
        // The bare MainNet preset lacks what only an operator knows.
        .filter(|s| *s != "qbind_mainnet_profile_invariants_ok")
        .collect();
    assert_eq!(same, Vec::<&String>::new());
}

#[test]
fn a_complete_mainnet_configuration_shows_its_invariants_hold() {
    let ok = |c: &qbind_profile::NodeConfig| {
        samples(&Metrics::new(c, &[]))["qbind_mainnet_profile_invariants_ok"].clone()
    };
    let mut config = qbind_steps::t185::accepted();
    assert_eq!(ok(&config), "1");
    config.enable_gas = false;
    assert_eq!(ok(&config), "0");
}

#[test]
fn lag_is_the_distance_to_the_highest_view_and_never_negative() {
    let m = fresh();
    m.consensus.set_views(12, 9, 11);
    assert_eq!(samples(&m)["qbind_consensus_view_lag"], "2");
    m.consensus.set_views(12, 12, 11);
    assert_eq!(samples(&m)["qbind_consensus_view_lag"], "0");
}

#[test]
fn a_violation_is_counted_once_while_it_lasts() {
    let m = fresh();
    let (good, bad) =
        (Connections::default(), Connections { below_min_asn: true, ..Connections::default() });
    for (before, now) in [(&good, &bad), (&bad, &bad), (&bad, &good), (&good, &bad)] {
        m.p2p.set_connections(before, now);
    }
    assert_eq!(samples(&m)["qbind_p2p_anti_eclipse_min_asn_violation_total"], "2");
}

#[test]
fn monetary_series_say_what_was_decided_and_count_what_was_minted() {
    let m = fresh();
    m.monetary.start(&Policy::shadow(), &State::default());
    assert_eq!(samples(&m)["qbind_monetary_r_target_annual_bps"], "775", "before any decision");
    let shadow = epochs(false);
    m.monetary.closed(&Policy::shadow(), &shadow[0]);
    let after = samples(&m);
    let is = |series: &str, value: &str| assert_eq!(after[series], value, "{series}");
    is("qbind_monetary_epoch_last_index", "400000");
    // 7.75 % less fees of 3 % of the stake; the phase that follows aims at 6.2 %.
    is("qbind_monetary_r_inf_annual_bps", "475");
    is("qbind_monetary_phase", "1");
    is("qbind_monetary_r_target_annual_bps", "620");
    is("qbind_monetary_phase_recommendation", "1");
    is("qbind_monetary_fee_coverage_ratio_bps", "6000");
    is("qbind_monetary_fee_coverage_ratio_scaled", "600000");
    is("qbind_monetary_stake_ratio_bps", "5000");
    is("qbind_monetary_smoothed_annual_fee_revenue_scaled", "30000000015360");
    is("qbind_monetary_decisions_applied_total{mode=\"shadow\"}", "1");
    is("qbind_monetary_phase_transitions_total{from=\"bootstrap\",to=\"transition\"}", "1");
    is("qbind_monetary_phase_transitions_total{from=\"transition\",to=\"mature\"}", "0");
    is("qbind_monetary_issuance_total{bucket=\"validators\"}", "0");
    let active = epochs(true);
    m.monetary.closed(&Policy::shadow(), &active[1]);
    let after = samples(&m);
    let issued: u64 = IssuanceBucket::ALL
        .iter()
        .map(|b| format!("qbind_monetary_issuance_total{{bucket=\"{}\"}}", b.as_str()))
        .map(|series| after[&series].parse::<u64>().unwrap())
        .sum();
    assert_eq!(u128::from(issued), active[1].decision.issuance);
    assert_eq!(after["qbind_monetary_decisions_total"], "2");
    // A node that starts later shows the last decision and has counted none.
    let again = fresh();
    again.monetary.start(&Policy::shadow(), &active[1].state);
    let after = samples(&again);
    assert_eq!(after["qbind_monetary_epoch_last_index"], "400001");
    assert_eq!(after["qbind_monetary_phase"], "2");
    assert_eq!(after["qbind_monetary_decisions_total"], "0");
}

#[test]
fn who_joins_later_gets_a_series_with_its_first_count() {
    let m = fresh();
    assert!(!m.render().contains("\"99\""));
    m.consensus.equivocations.inc(99);
    let series = "qbind_consensus_validator_equivocations_total{validator=\"99\"}";
    assert_eq!(samples(&m)[series], "1");
}

#[test]
fn every_alert_bound_has_buckets_above_it() {
    let text = fresh().render();
    // p95 above 2 s and above 0.5 s are alerts: a histogram that ends there could never fire.
    for bucket in [
        "qbind_consensus_qc_formation_latency_ms_bucket{le=\"10000\"}",
        "qbind_consensus_commit_latency_seconds_bucket{le=\"10\"}",
        "qbind_consensus_commit_latency_seconds_bucket{le=\"30\"}",
        "qbind_execution_block_apply_seconds_bucket{le=\"5\"}",
    ] {
        assert!(text.contains(bucket), "{bucket}");
    }
}

#[test]
fn names_of_the_guides_are_exported_verbatim() {
    let names: BTreeSet<String> = fresh().families().iter().map(|f| f.name().to_string()).collect();
    for name in [
        "qbind_consensus_current_view",
        "qbind_consensus_highest_seen_view",
        "qbind_consensus_view_lag",
        "qbind_consensus_qc_formation_latency_ms",
        "qbind_consensus_safety_violations_total",
        "qbind_dag_coupling_block_mismatch_total",
        "qbind_p2p_outbound_peers",
        "qbind_p2p_inbound_peers",
        "qbind_p2p_known_peers",
        "qbind_p2p_connected_peers",
        "qbind_anti_eclipse_asn_diversity",
        "qbind_p2p_peer_rejected_diversity_total",
        "qbind_p2p_peer_evicted_total",
        "qbind_p2p_heartbeat_failed_total",
        "qbind_p2p_diversity_distinct_buckets",
        "qbind_monetary_mode",
        "qbind_monetary_phase",
        "qbind_monetary_phase_recommendation",
        "qbind_monetary_r_inf_annual_bps",
        "qbind_monetary_r_target_annual_bps",
        "qbind_monetary_fee_coverage_ratio_bps",
        "qbind_monetary_fee_coverage_ratio_scaled",
        "qbind_monetary_stake_ratio_bps",
        "qbind_monetary_smoothed_annual_fee_revenue_scaled",
        "qbind_monetary_decisions_total",
        "qbind_monetary_decisions_applied_total",
        "qbind_monetary_epoch_decisions_total",
        "qbind_monetary_epoch_last_index",
        "qbind_monetary_issuance_total",
        "qbind_monetary_phase_transitions_total",
        "qbind_state_prune_runs_total",
        "qbind_state_prune_keys_scanned_total",
        "qbind_state_prune_keys_pruned_total",
        "qbind_state_prune_duration_ms_total",
        "qbind_state_prune_last_height",
        "qbind_state_size_bytes",
        "qbind_slashing_evidence_total",
        "qbind_slashing_decisions_total",
        "qbind_slashing_penalty_total",
        "qbind_slashing_rejected_total",
        "qbind_slashing_stake_burned_total",
        "qbind_slashing_jail_events_total",
        "qbind_slashing_mode_info",
        "qbind_snapshot_success_total",
        "qbind_snapshot_failure_total",
        "qbind_snapshot_in_progress",
        "qbind_snapshot_last_height",
        "qbind_snapshot_last_size_bytes",
        "qbind_snapshot_last_duration_ms",
        "qbind_snapshot_last_created_at_ms",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn series_about_a_device_or_another_host_exist_where_there_is_one_and_move() {
    let with = |mode| NodeConfig { signer_mode: mode, ..Profile::Mainnet.preset() };
    let names = |before: &'static str| move |s: &String| s.starts_with(before);
    let device = Metrics::new(&with(SignerMode::HsmPkcs11), &[1]);
    let hsm = device.signer.hsm.as_ref().unwrap();
    let still = samples(&device);
    assert!(!still.keys().any(names("qbind_remote_sign")), "{still:?}");
    hsm.success.inc();
    HsmErrorKind::ALL.iter().for_each(|l| hsm.errors.inc(*l));
    hsm.last_latency_ms.set(3);
    hsm.startup_ok.set_flag(true);
    all_moved(&still, &samples(&device), "qbind_hsm_", 5);
    let host = Metrics::new(&with(SignerMode::RemoteSigner), &[1]);
    let remote = host.signer.remote.as_ref().unwrap();
    let still = samples(&host);
    assert!(!still.keys().any(names("qbind_hsm")), "{still:?}");
    SignKind::ALL.iter().for_each(|l| remote.requests.inc(*l));
    RemoteSignFailure::ALL.iter().for_each(|l| remote.failures.inc(*l));
    remote.last_latency_ms.set(2);
    all_moved(&still, &samples(&host), "qbind_remote_sign_", 12);
    let sentry = NodeConfig { role: Role::Sentry, ..with(SignerMode::HsmPkcs11) };
    assert!(!samples(&Metrics::new(&sentry, &[1])).keys().any(names("qbind_hsm")));
    assert!(!samples(&fresh()).keys().any(names("qbind_hsm")));
    assert!(!samples(&fresh()).keys().any(names("qbind_remote_sign")));
}

fn all_moved(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    prefix: &str,
    count: usize,
) {
    let ours: Vec<_> = after.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
    assert_eq!(ours.len(), count, "{ours:?}");
    for (name, value) in ours {
        assert_ne!(before.get(name), Some(value), "{name} did not move");
    }
}

#[test]
fn everything_the_signers_daemon_counts_moves() {
    let read = |m: &SignerMetrics| -> BTreeMap<String, String> {
        let text = m.render();
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        lines.filter_map(|l| l.rsplit_once(' ')).map(|(n, v)| (n.into(), v.into())).collect()
    };
    let m = SignerMetrics::new(true);
    let before = read(&m);
    m.admitted.inc();
    SignerRefusal::ALL.iter().for_each(|l| m.refused.inc(*l));
    m.sessions.raise();
    all_moved(&before, &read(&m), "qbind_remote_signer_", 9);
    assert!(before.contains_key("qbind_hsm_startup_ok"));
    assert!(!read(&SignerMetrics::new(false)).contains_key("qbind_hsm_startup_ok"));
}

#[test]
fn text_is_as_stored() {
    let stored = include_str!("fresh.txt");
    let text = fresh().render();
    assert!(text == stored, "if this change is meant, node/src/metrics/fresh.txt is:\n{text}");
}

#[test]
fn reference_lists_every_family_once() {
    let text = reference();
    let (node, signer) = text.split_once("# Metrics of qbind-remote-signer").unwrap();
    let lists_once = |page: &str, families: Vec<prometheus::proto::MetricFamily>| {
        for family in families {
            let cell = format!("| `{}` |", family.name());
            assert_eq!(page.matches(&cell).count(), 1, "{cell}");
        }
    };
    for mode in [SignerMode::EncryptedFs, SignerMode::HsmPkcs11, SignerMode::RemoteSigner] {
        let config = NodeConfig { signer_mode: mode, ..Profile::Mainnet.preset() };
        lists_once(node, Metrics::new(&config, &[1]).families());
    }
    lists_once(signer, SignerMetrics::new(true).families());
    assert!(text.contains("`result`: accepted, rejected"), "{text}");
    let exported: BTreeSet<String> =
        fresh().families().iter().map(|f| f.name().to_string()).collect();
    for (name, _) in reference::ABSENT {
        assert!(!exported.contains(*name), "{name} is said to be absent");
    }
}
