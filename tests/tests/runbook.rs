//! The runbook's command lines, run as they are typed there (sections 3.1 to 3.4, 4.1, 4.3, 5 and 8.2),
//! on a host of their own: a mount namespace with its own `/data/qbind`, `/etc/qbind` and
//! `/mnt/snapshots`, and a network namespace in which its ports are free. Needs root.

mod runbook_host;
mod support;

use runbook_host::{Daemon, Host, host_or_skip, hsm_host_or_skip, network_or_skip, signer_or_skip};

/// Section 3.1.
const CANONICAL: &str = "qbind-node --profile mainnet --data-dir /data/qbind";
const EQUIVALENT: &str = "qbind-node \\
  --env mainnet \\
  --execution-profile vm-v0 \\
  --enable-gas true \\
  --enable-fee-priority true \\
  --mempool-mode dag \\
  --enable-dag-availability true \\
  --network-mode p2p \\
  --enable-p2p true \\
  --enable-stage-b true \\
  --enable-discovery true \\
  --data-dir /data/qbind";

/// Section 3.4.
const STANDARD: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --signer-mode encrypted-fs \\
  --signer-keystore-path /data/qbind/keystore \\
  --validator-id 42 \\
  --p2p-listen-addr 0.0.0.0:9000 \\
  --p2p-advertised-addr validator42.qbind.network:9000 \\
  --bootstrap-peers mainnet-bootstrap-1.qbind.network:9000,mainnet-bootstrap-2.qbind.network:9000 \\
  --snapshot-dir /data/qbind/snapshots";
const WITH_HSM: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --signer-mode hsm-pkcs11 \\
  --hsm-config-path /etc/qbind/hsm.toml \\
  --validator-id 42 \\
  --p2p-listen-addr 0.0.0.0:9000 \\
  --bootstrap-peers mainnet-bootstrap-1.qbind.network:9000";
const WITH_REMOTE_SIGNER: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --signer-mode remote-signer \\
  --remote-signer-url kemtls://signer.internal:9443 \\
  --validator-id 42 \\
  --p2p-listen-addr 0.0.0.0:9000";
/// Section 4.1, option B, step 4.
const REMOTE_SIGNER: &str = "qbind-remote-signer --config /etc/qbind/remote_signer.toml";
const RETENTION: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --state-retention-mode height \\
  --state-retain-height 1000000 \\
  --snapshot-dir /mnt/snapshots \\
  --snapshot-interval 100000";

/// Section 4.3.
const COLD_START: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --signer-mode encrypted-fs \\
  --signer-keystore-path /data/qbind/keystore \\
  --validator-id 42 \\
  --bootstrap-peers mainnet-genesis.qbind.network:9000";

/// Section 5.1.
const SNAPSHOTS: &str = "qbind-node \\
  --profile mainnet \\
  --snapshot-dir /data/qbind/snapshots \\
  --snapshot-interval 50000 \\
  --max-snapshots 5";

/// Section 4.3.
const COPY: &str =
    "rsync -avz snapshot-server:/snapshots/mainnet/500000/ /data/qbind/snapshots/500000/";
const VALIDATE: &str = "qbind-snapshot validate /data/qbind/snapshots/500000";
const FAST_SYNC: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --fast-sync-snapshot-dir /data/qbind/snapshots/500000 \\
  --signer-mode encrypted-fs \\
  --signer-keystore-path /data/qbind/keystore \\
  --validator-id 42";

/// Section 5.3.
const LATEST: &str = "curl https://snapshots.qbind.network/mainnet/latest.json";
const DOWNLOAD: &str = "wget https://snapshots.qbind.network/mainnet/500000.tar.gz";
const UNPACK: &str = "tar -xzf 500000.tar.gz -C /data/qbind/snapshots/";
const START_WITH_FAST_SYNC: &str = "qbind-node \\
  --profile mainnet \\
  --data-dir /data/qbind \\
  --fast-sync-snapshot-dir /data/qbind/snapshots/500000";

/// Stands for the snapshot server: what it serves lies in `/mnt/snapshots`.
const RSYNC: &str = "#!/bin/sh\nset -eu\n\
    mkdir -p \"$3\"\ncp -a \"/mnt/snapshots/${2#snapshot-server:/snapshots/}.\" \"$3\"\n";

/// Stand for the snapshot server too.
const CURL: &str = "#!/bin/sh\nset -eu\n\
    case \"$1\" in https://*) ;; *) exec /usr/bin/curl \"$@\" ;; esac\n\
    cat \"/mnt/snapshots/${1#https://snapshots.qbind.network/}\"\n";
const WGET: &str = "#!/bin/sh\nset -eu\n\
    cp \"/mnt/snapshots/${1#https://snapshots.qbind.network/}\" .\n";

/// Section 8.2.
const MONETARY: &str = "qbind-node --profile mainnet --monetary-mode shadow";

/// Section 3.2: each invariant with what breaks it and the name of the refusal.
const INVARIANTS: &[(u8, &str, &str)] = &[
    (1, "--env testnet", "WrongEnvironment"),
    (2, "--enable-gas false", "GasDisabled"),
    (3, "--enable-fee-priority false", "FeePriorityDisabled"),
    (4, "--mempool-mode fifo", "WrongMempoolMode"),
    (5, "--enable-dag-availability false", "DagAvailabilityDisabled"),
    (6, "--network-mode local-mesh", "WrongNetworkMode"),
    (7, "--enable-discovery false", "DiscoveryDisabled"),
    (9, "--signer-mode loopback-testing", "SignerModeLoopbackForbidden"),
    (10, "--signer-failure-mode log-and-continue", "SignerFailureModeInvalid"),
    (11, "--diversity-mode warn", "DiversityNotEnforced"),
    (11, "--diversity-mode off", "DiversityNotEnforced"),
    (12, "--monetary-mode off", "MonetaryModeOff"),
    (13, "--snapshots-enabled false", "SnapshotsDisabled"),
    (14, "--snapshot-interval 9999", "SnapshotIntervalTooLow"),
    (14, "--snapshot-interval 500001", "SnapshotIntervalTooHigh"),
];

/// Starts the line's daemon, waits until it is ready and commits, stops it as systemd would.
fn runs(host: &Host, line: &str) {
    let mut daemon = Daemon::start(host, line);
    daemon.commits(3);
    daemon.stop();
}

#[test]
fn section_3_1_the_canonical_profile_starts_a_validator() {
    let Some(host) = host_or_skip() else { return };
    runs(&host, CANONICAL);
    runs(&host, EQUIVALENT);
    // The long form is the short one, but for who says so.
    let values = |line: &str| -> Vec<String> {
        let printed = host.done(&format!("{line} --print-config"));
        printed.lines().map(|l| l.split("  # ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(values(CANONICAL), values(EQUIVALENT));
    // The host's own file is named as origin.
    let printed = host.done(&format!("{CANONICAL} --print-config"));
    assert!(printed.contains("validator_id = 42  # file /etc/qbind/node.toml:"), "{printed}");
    assert!(printed.contains("data_dir = \"/data/qbind\"  # flag --data-dir"), "{printed}");
}

#[test]
fn section_3_2_each_invariant_that_is_broken_is_refused_by_name() {
    let Some(host) = host_or_skip() else { return };
    for (number, change, name) in INVARIANTS {
        host.refused(&format!("{CANONICAL} {change}"), 20, &[name, "MainNet demands"]);
        println!("invariant {number}: {change} is {name}");
    }
    // Invariant 8: nobody says where to store things.
    host.write("/etc/qbind/elsewhere.toml", &host.node_toml(false));
    let line = "QBIND_CONFIG=/etc/qbind/elsewhere.toml qbind-node --profile mainnet";
    host.refused(line, 20, &["MissingDataDir", "--data-dir /data/qbind"]);
    assert!(!host.exists("/data/qbind/state"), "a refused node stores nothing");
    // Beyond the list: another genesis file than the operator expects.
    let hash = host.done("qbind-node --print-genesis-hash");
    let other = format!("0x{}", "ab".repeat(32));
    host.refused(
        &format!("{CANONICAL} --expect-genesis-hash {other}"),
        20,
        &["GenesisHashMismatch", hash.trim(), &other],
    );
}

#[test]
fn section_3_3_the_checklist_can_be_read_off_the_configuration() {
    let Some(host) = host_or_skip() else { return };
    let printed = host.done(&format!("{STANDARD} --print-config"));
    for line in [
        "signer_mode = \"encrypted-fs\"",
        "signer_failure_mode = \"exit-on-failure\"",
        "data_dir = \"/data/qbind\"",
        "snapshot_dir = \"/data/qbind/snapshots\"",
        "p2p_listen_addr = \"0.0.0.0:9000\"",
        "bootstrap_peers = [\"mainnet-bootstrap-1.qbind.network:9000\", \
         \"mainnet-bootstrap-2.qbind.network:9000\"]",
        "diversity_mode = \"enforce\"",
        "monetary_mode = \"shadow\"",
    ] {
        assert!(printed.contains(line), "`{line}` is not in: {printed}");
    }
    host.done(&format!("{STANDARD} --validate-only"));
}

#[test]
fn section_3_4_each_way_to_start_does_as_it_says() {
    let Some(host) = host_or_skip() else { return };
    // Its bootstrap peers have no address here: it goes on without them and says so.
    let mut daemon = Daemon::start(&host, STANDARD);
    daemon.commits(3);
    assert_eq!(daemon.status("validator_id"), "42");
    daemon.stop();
    runs(&host, RETENTION);
}

#[test]
fn section_3_4_with_an_hsm_the_key_never_leaves_it() {
    let Some(host) = hsm_host_or_skip() else { return };
    let mut daemon = Daemon::start(&host, WITH_HSM);
    daemon.commits(3);
    assert_eq!(daemon.status("validator_id"), "42");
    // Section 4.4, step 1.
    assert_eq!(daemon.metric("qbind_hsm_startup_ok"), Some(1));
    assert!(daemon.metric("qbind_hsm_sign_success_total") > Some(6));
    assert_eq!(daemon.metric("qbind_hsm_sign_error_total{kind=\"runtime\"}"), Some(0));
    daemon.stop();
    assert!(!host.exists("/data/qbind/keystore/consensus.key"));
    // Section 10.3: a wrong PIN is the operator's, and is tried once.
    let wrong = format!("QBIND_HSM_PIN=0000 {WITH_HSM}");
    host.refused(&wrong, 20, &["refused the login", "QBIND_HSM_PIN"]);
    let list =
        "pkcs11-tool --module /etc/qbind/token.so --login --pin $QBIND_HSM_PIN --list-objects";
    assert!(host.done(list).contains("qbind-consensus-42"));
    host.done("sed -i s/qbind-consensus-42/qbind-consensus-43/ /etc/qbind/hsm.toml");
    host.refused(WITH_HSM, 20, &["holds 0 ML-DSA private keys labelled `qbind-consensus-43`"]);
}

#[test]
fn section_3_4_with_a_remote_signer_the_node_holds_no_key() {
    let Some((host, signers)) = signer_or_skip() else { return };
    // Nobody is there yet.
    host.refused(WITH_REMOTE_SIGNER, 1, &["remote signer unreachable", "signer.internal:9443"]);
    // Section 4.1, option B, steps 4 and 5.
    let mut signer = Daemon::start(&signers, REMOTE_SIGNER);
    signer.until("curl -sf http://localhost:9443/metrics | grep qbind_hsm");
    let mut node = Daemon::start(&host, WITH_REMOTE_SIGNER);
    node.commits(3);
    assert_eq!(node.status("validator_id"), "42");
    assert!(!host.exists("/data/qbind/keystore"));
    for reason in ["transport", "timeout", "server_reject", "protocol"] {
        let name = format!("qbind_remote_sign_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(node.metric(&name), Some(0), "{reason}");
    }
    assert!(node.metric("qbind_remote_sign_requests_total{kind=\"vote\"}") > Some(2));
    let signed = "curl -sf http://signer.internal:9443/metrics | grep -q \
                  'qbind_signer_sign_requests_total{kind=\"commit_vote\"} [1-9]'";
    host.done(signed);
    // Section 6.3 and 10.2: the signer goes, the node ends with 1 and says why.
    signer.crash();
    let (code, said) = node.ends();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("remote signer unreachable"), "{said}");
    // Started again, both go on, and the guard was not lost.
    let mut signer = Daemon::start(&signers, REMOTE_SIGNER);
    signer.until("curl -sf http://localhost:9443/metrics");
    let mut node = Daemon::start(&host, WITH_REMOTE_SIGNER);
    node.commits(3);
    node.stop();
    // A node that is not the one it serves gets no signature.
    host.done("rm /data/qbind/remote-signer-client.key");
    host.refused(WITH_REMOTE_SIGNER, 20, &["unauthorized", "authorized_node_keys"]);
    signer.stop();
}

#[test]
fn section_4_a_fresh_validator_makes_its_keys_and_joins() {
    let Some(host) = host_or_skip() else { return };
    // Section 4.1, step 3; step 1 made the host's keystore.
    let verified = host.done(
        "qbind-keygen verify \\
  --keystore /data/qbind/keystore \\
  --passphrase-env QBIND_KEYSTORE_PASSPHRASE",
    );
    assert!(!verified.is_empty());
    runs(&host, COLD_START);
}

#[test]
fn section_4_3_a_cold_start_syncs_from_genesis() {
    let Some((founder, fresh)) = network_or_skip() else { return };
    let mut running = Daemon::start(&founder, CANONICAL);
    running.commits(60);
    let mut joining = Daemon::start(&fresh, COLD_START);
    joining.reaches(running.height());
    // Section 4.4: what is looked at before it joins.
    assert!(joining.metric("qbind_consensus_current_view") > Some(0));
    assert!(joining.metric("qbind_consensus_view_lag") < Some(10));
    assert_eq!(joining.metric("qbind_p2p_outbound_peers"), Some(1));
    joining.commits(3);
    assert_eq!(joining.status("validator_id"), "null", "its key validates nothing yet");
    joining.stop();
    running.stop();
}

#[test]
fn section_5_snapshots_are_configured_and_progress_is_seen() {
    let Some(host) = host_or_skip() else { return };
    let mut daemon = Daemon::start(&host, SNAPSHOTS);
    daemon.commits(3);
    // Section 5.3, step 5: the names exist and agree with each other.
    let of = |name: &str| daemon.metric(&format!("qbind_consensus_{name}"));
    assert!(of("current_view") > Some(0));
    assert!(of("highest_seen_view") >= Some(1));
    assert!(of("view_lag") < Some(10));
    daemon.stop();
    // Section 5.2 and step 1 of 5.3.
    host.done("mkdir -p /data/qbind/snapshots && ls -la /data/qbind/snapshots/");
    // Section 5.4: what each kind of node keeps.
    let value = |flags: &str, key: &str| {
        let printed = host.done(&format!("qbind-node --profile mainnet {flags} --print-config"));
        let line = printed.lines().find(|l| l.starts_with(&format!("{key} = ")));
        line.unwrap_or_default().split("  # ").next().unwrap_or_default().to_owned()
    };
    assert_eq!(value("", "state_retain_height"), "state_retain_height = 500000");
    assert_eq!(value("", "snapshot_interval"), "snapshot_interval = 50000");
    assert_eq!(value("--role sentry", "state_retain_height"), "state_retain_height = 100000");
    let archive = "--role rpc --state-retention-mode disabled --snapshot-interval 100000";
    host.done(&format!("{CANONICAL} {archive} --validate-only"));
    host.refused(
        &format!("{CANONICAL} --state-retention-mode disabled"),
        20,
        &["StateRetentionDisabled"],
    );
}

#[test]
fn sections_4_3_and_5_3_a_fresh_node_starts_from_a_snapshot_and_reaches_the_tip() {
    let Some((founder, fresh)) = network_or_skip() else { return };
    let mut running = Daemon::start(&founder, SNAPSHOTS);
    running.commits(60);
    founder.done("qbind-snapshot create --data-dir /data/qbind");
    let height = founder.done("ls /data/qbind/snapshots").trim().to_owned();
    founder.done("du -sh /data/qbind/snapshots/*");
    let served = format!("/data/qbind/snapshots/{height}");
    founder.done(&format!("tar -czf /mnt/snapshots/500000.tar.gz -C {served} ."));
    founder.copy_to(&fresh, "/mnt/snapshots/500000.tar.gz", "/mnt/snapshots/served.tar.gz");
    fresh.done("mkdir -p /mnt/snapshots/mainnet/500000 /data/qbind/snapshots /etc/qbind/bin");
    fresh.done("tar -xzf /mnt/snapshots/served.tar.gz -C /mnt/snapshots/mainnet/500000");
    for (name, script) in [("rsync", RSYNC), ("curl", CURL), ("wget", WGET)] {
        fresh.write(&format!("/etc/qbind/bin/{name}"), script);
    }
    fresh.done("chmod +x /etc/qbind/bin/*");
    // Section 4.3.
    fresh.done(COPY);
    let said = fresh.done(VALIDATE);
    for line in [
        format!("Snapshot height: {height}\n"),
        "Chain ID: QBIND_MAINNET_CHAIN_ID\n".to_owned(),
        "Block hash: 0x".to_owned(),
        "State root: 0x".to_owned(),
        "Validation: OK\n".to_owned(),
    ] {
        assert!(said.contains(&line), "`{line}` is not in: {said}");
    }
    starts_from(&fresh, FAST_SYNC, &mut running, &height);
    // Section 5.3, on a host that has lost its database.
    fresh.done("rm -r /data/qbind/state /data/qbind/snapshots/*");
    fresh.done("cd /mnt/snapshots/mainnet; qbind-snapshot pack 500000 --output .");
    assert!(fresh.done(LATEST).contains(&format!("\"height\": {height}")), "{height}");
    fresh.done("cd /mnt/snapshots/mainnet; tar -czf 500000.tar.gz 500000");
    fresh.done(&format!("cd /data/qbind; {DOWNLOAD}; {UNPACK}; ls -la /data/qbind/snapshots/"));
    fresh.done(VALIDATE);
    starts_from(&fresh, START_WITH_FAST_SYNC, &mut running, &height);
    // A damaged one is refused, by the tool and by the node.
    fresh.done("rm -r /data/qbind/state; echo >> /data/qbind/snapshots/500000/meta.json x");
    let refused = fresh.typed(VALIDATE);
    assert_eq!(refused.status.code(), Some(1));
    fresh.refused(START_WITH_FAST_SYNC, 20, &["cannot start from fast_sync_snapshot_dir"]);
    running.stop();
}

/// The line's node begins at the snapshot's height, not at genesis, and ends up with the others.
fn starts_from(host: &Host, line: &str, running: &mut Daemon<'_>, height: &str) {
    let mut joining = Daemon::start(host, line);
    joining.reaches(running.height());
    let from: u64 = height.parse().expect("a height");
    assert_eq!(joining.root_at(from / 2), None, "blocks before the snapshot are not here");
    // Section 5.3, step 5.
    assert!(joining.metric("qbind_consensus_view_lag") < Some(10));
    let later = joining.height();
    running.reaches(later);
    assert_eq!(joining.root_at(later), running.root_at(later));
    assert!(joining.root_at(later).is_some());
    joining.stop();
}

#[test]
fn section_8_2_the_monetary_mode_is_set_by_its_flag() {
    let Some(host) = host_or_skip() else { return };
    let mut daemon = Daemon::start(&host, MONETARY);
    daemon.commits(3);
    assert_eq!(daemon.metric("qbind_monetary_mode"), Some(1), "1 is Shadow");
    // Section 8.3.
    assert_eq!(daemon.metric("qbind_monetary_phase"), Some(0), "0 is Bootstrap");
    assert_eq!(daemon.metric("qbind_monetary_r_target_annual_bps"), Some(775), "7.5 to 9 %");
    for name in ["r_inf_annual_bps", "fee_coverage_ratio_bps", "phase_recommendation"] {
        assert!(daemon.metric(&format!("qbind_monetary_{name}")).is_some(), "{name}");
    }
    daemon.stop();
    let asked = |mode: &str| format!("qbind-node --profile mainnet --monetary-mode {mode}");
    host.refused(&asked("off"), 20, &["MonetaryModeOff"]);
    host.refused(&asked("active"), 20, &["MonetaryAccountsMissing"]);
}
