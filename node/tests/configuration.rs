//! File, environment and flags: who wins, and what a mistake is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use clap::Parser;
use qbind_node::{Cli, Configuration, Environment};
use qbind_profile::{Profile, Role, Source};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Configuration, String> {
    let cli = Cli::try_parse_from([&["qbind-node"], arguments].concat())
        .map_err(|error| error.to_string())?;
    let environment: Environment = environment.iter().copied().collect();
    let nowhere = Path::new("/nowhere/etc/node.toml");
    Configuration::read_beside(&cli, &environment, nowhere).map_err(|error| error.to_string())
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("node.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn read_file(text: &str) -> Result<Configuration, String> {
    let (folder, path) = file(text);
    let result = read(&["--config", path.to_str().unwrap()], &[]);
    result.map_err(|e| e.replace(folder.path().to_str().unwrap(), "DIR"))
}

#[test]
fn flag_beats_environment_beats_file_beats_profile() {
    let (_folder, path) = file(
        "profile = \"mainnet\"\nname = \"file\"\nstate_retain_height = 20000\nmax_snapshots = 9\n",
    );
    let path = path.to_str().unwrap();
    let c = read(
        &["--config", path, "--name", "flag"],
        &[("QBIND_NAME", "env"), ("QBIND_STATE_RETAIN_HEIGHT", "30000")],
    )
    .unwrap();
    let config = c.config();
    assert_eq!(
        (config.name.as_str(), config.state_retain_height, config.max_snapshots),
        ("flag", 30_000, 9)
    );
    let origin = |key: &str| (c.resolved.origin[key].source, c.resolved.origin[key].place.clone());
    assert_eq!(origin("name"), (Source::Flag, "--name".into()));
    let env = "QBIND_STATE_RETAIN_HEIGHT".to_string();
    assert_eq!(origin("state_retain_height"), (Source::Env, env));
    assert_eq!(origin("max_snapshots"), (Source::File, format!("{path}:4")));
    assert_eq!(origin("enable_gas"), (Source::Profile, "mainnet".into()));
}

#[test]
fn an_unknown_key_names_file_and_line() {
    assert_eq!(
        read_file("profile = \"mainnet\"\n\n# comment\nvalidatorid = 7\n").unwrap_err(),
        "DIR/node.toml:4: unknown key `validatorid`; did you mean `validator_id`?"
    );
}

#[test]
fn mistakes_in_a_file_name_line_key_and_remedy() {
    let error = |text| read_file(text).unwrap_err();
    assert_eq!(
        error("name = \"a\"\nenable_gas = \"true\"\n"),
        "DIR/node.toml:2: enable_gas is of type string; write true or false, without quotes \
         (true | false)"
    );
    assert_eq!(
        error("validator_id = -1\n"),
        "DIR/node.toml:1: validator_id is of type integer; write a whole number, without quotes \
         (a whole number)"
    );
    assert_eq!(
        error("\nmempool_mode = \"tree\"\n"),
        "DIR/node.toml:2: mempool_mode is `tree`; expected fifo | dag"
    );
    assert!(error("name = \"a\"\nname = \"b\"\n").starts_with("DIR/node.toml:2: duplicate key"));
    assert!(error("name = \n").starts_with("DIR/node.toml:1: "));
    assert!(error("[p2p]\nlisten = 1\n").starts_with("DIR/node.toml:1: unknown key `p2p`"));
    assert!(error("bootstrap_peers = [\"a:1,b:2\"]\n").contains("write a list in brackets"));
    assert!(error(&"#".repeat(1024 * 1024 + 1)).contains("more than 1048576 bytes"));
    assert!(read(&["--config", "/nowhere/node.toml"], &[]).unwrap_err().contains("/nowhere"));
}

#[test]
fn every_kind_of_value_is_read_from_a_file() {
    let c = read_file(
        "role = \"rpc\"\nenable_stage_b = false\nvalidator_id = 0x2a\n\
         bootstrap_peers = [\"a.example:9000\", \"[::1]:9000\"]\nmonetary_split_bps = [1, 2]\n\
         expect_genesis_hash = \"0xabababababababababababababababababababababababababababababababab\"\n",
    )
    .unwrap();
    let config = c.config();
    assert_eq!((config.role, config.enable_stage_b), (Role::Rpc, false));
    assert_eq!((config.validator_id, &*config.monetary_split_bps), (Some(42), &[1, 2][..]));
    let peers: Vec<_> = config.bootstrap_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["a.example:9000", "[::1]:9000"]);
    assert_eq!(config.expect_genesis_hash.unwrap().0, [0xab; 32]);
}

#[test]
fn paths_in_a_file_are_relative_to_it_and_flags_to_the_caller() {
    let (folder, path) = file("data_dir = \"data\"\ngenesis_path = \"/etc/genesis.json\"\n");
    let path = path.to_str().unwrap();
    let c = read(&["--config", path], &[]).unwrap();
    let data = folder.path().join("data");
    assert_eq!(c.config().data_dir.as_deref(), data.to_str());
    assert_eq!(c.config().genesis_path.as_deref(), Some("/etc/genesis.json"));
    let c = read(&["--config", path, "--data-dir", "here"], &[]).unwrap();
    assert_eq!(c.config().data_dir.as_deref(), Some("here"));
}

#[test]
fn a_provisioned_hosts_file_is_read_where_no_other_is_named() {
    let (_folder, path) = file("name = \"host\"\nvalidator_id = 42\n");
    let (_other_folder, other) = file("name = \"other\"\n");
    let read = |arguments: &[&str], environment: &[(&str, &str)], default: &Path| {
        let cli = Cli::try_parse_from([&["qbind-node"], arguments].concat()).unwrap();
        let environment: Environment = environment.iter().copied().collect();
        Configuration::read_beside(&cli, &environment, default).map_err(|e| e.to_string())
    };
    let other = other.to_str().unwrap();
    let c = read(&[], &[], &path).unwrap();
    assert_eq!((c.config().name.as_str(), c.config().validator_id), ("host", Some(42)));
    assert_eq!(c.resolved.origin["validator_id"].place, format!("{}:2", path.display()));
    let printed = c.to_toml();
    assert!(printed.starts_with(&format!("# file {}\n", path.display())), "{printed}");
    assert!(printed.contains(&format!("name = \"host\"  # file {}:1", path.display())));
    let flag_wins = read(&["--config", other], &[("QBIND_CONFIG", "/nowhere/x")], &path).unwrap();
    assert_eq!(flag_wins.config().name, "other");
    let variable = read(&[], &[("QBIND_CONFIG", other)], &path).unwrap();
    assert_eq!((variable.config().name.as_str(), variable.warnings.len()), ("other", 0));
    let none = read(&[], &[("QBIND_CONFIG", "")], &path).unwrap();
    assert_eq!((none.config().name.as_str(), &none.file), ("qbind-node", &None));
    let absent = read(&[], &[], &path.with_file_name("none.toml")).unwrap();
    assert_eq!(absent.file, None);
    let missing = read(&[], &[("QBIND_CONFIG", "/nowhere/x")], &path).unwrap_err();
    assert!(missing.contains("cannot read the configuration file /nowhere/x"), "{missing}");
    // Not a file one can read, but there: never passed over in silence.
    assert!(read(&[], &[], path.parent().unwrap()).unwrap_err().contains("cannot read"));
}

#[test]
fn the_older_name_of_the_http_address_works_and_must_not_contradict() {
    let old = ("QBIND_METRICS_HTTP_ADDR", "127.0.0.1:9100");
    assert_eq!(read(&[], &[old]).unwrap().config().http_addr.port(), 9100);
    let both = read(&[], &[old, ("QBIND_HTTP_ADDR", "127.0.0.1:9101")]);
    assert!(both.unwrap_err().contains("unset one of them"));
}

#[test]
fn variables_nobody_reads_are_warned_about() {
    let c = read(
        &["--passphrase-env", "QBIND_MY_SECRET"],
        &[("QBIND_MY_SECRET", "s"), ("QBIND_LOG", "info"), ("QBIND_VALIDATORID", "7")],
    )
    .unwrap();
    let expected = "environment variable QBIND_VALIDATORID is none of this node's; ignored";
    assert_eq!(c.warnings, [expected]);
    assert!(!c.to_toml().contains("\"s\""));
}

#[test]
fn what_is_printed_can_be_read_again() {
    let c = read(&["--profile", "mainnet", "--bootstrap-peers", "a:1,b:2"], &[]).unwrap();
    let again = read_file(&c.to_toml()).unwrap();
    assert_eq!(again.config(), c.config());
    assert!(c.to_toml().contains("bootstrap_peers = [\"a:1\", \"b:2\"]  # flag --bootstrap-peers"));
}

/// The command lines of the runbook, sections 3 to 5 and 8.
const RUNBOOK: &[&str] = &[
    "--profile mainnet --data-dir /data/qbind",
    "--env mainnet --execution-profile vm-v0 --enable-gas true --enable-fee-priority true \
     --mempool-mode dag --enable-dag-availability true --network-mode p2p --enable-p2p true \
     --enable-stage-b true --enable-discovery true --data-dir /data/qbind",
    "--profile mainnet --data-dir /data/qbind --signer-mode encrypted-fs \
     --signer-keystore-path /data/qbind/keystore --validator-id 42 \
     --p2p-listen-addr 0.0.0.0:9000 --p2p-advertised-addr validator42.qbind.network:9000 \
     --bootstrap-peers mainnet-bootstrap-1.qbind.network:9000,mainnet-bootstrap-2.qbind.network:9000 \
     --snapshot-dir /data/qbind/snapshots",
    "--profile mainnet --data-dir /data/qbind --signer-mode hsm-pkcs11 \
     --hsm-config-path /etc/qbind/hsm.toml --validator-id 42 --p2p-listen-addr 0.0.0.0:9000 \
     --bootstrap-peers mainnet-bootstrap-1.qbind.network:9000",
    "--profile mainnet --data-dir /data/qbind --signer-mode remote-signer \
     --remote-signer-url kemtls://signer.internal:9443 --validator-id 42 \
     --p2p-listen-addr 0.0.0.0:9000",
    "--profile mainnet --data-dir /data/qbind --state-retention-mode height \
     --state-retain-height 1000000 --snapshot-dir /mnt/snapshots --snapshot-interval 100000",
    "--profile mainnet --data-dir /data/qbind \
     --fast-sync-snapshot-dir /data/qbind/snapshots/500000 --signer-mode encrypted-fs \
     --signer-keystore-path /data/qbind/keystore --validator-id 42",
    "--profile mainnet --snapshot-dir /data/qbind/snapshots --snapshot-interval 50000 \
     --max-snapshots 5",
    "--profile mainnet --monetary-mode shadow",
    "-P mainnet -e mainnet -v 42 -d /data/qbind --enable-p2p --p2p-peer a:1 --p2p-peer b:2 \
     --p2p-diversity-mode enforce",
];

#[test]
fn the_runbooks_command_lines_parse() {
    for line in RUNBOOK {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let c = read(&arguments, &[]).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(c.config().profile, Profile::Mainnet, "{line}");
    }
    let last: Vec<&str> = RUNBOOK[RUNBOOK.len() - 1].split_whitespace().collect();
    assert_eq!(read(&last, &[]).unwrap().config().bootstrap_peers.len(), 2);
}

#[test]
fn the_long_form_means_the_profile() {
    let short: Vec<&str> = RUNBOOK[0].split_whitespace().collect();
    let long: Vec<&str> = RUNBOOK[1].split_whitespace().collect();
    assert_eq!(read(&short, &[]).unwrap().config(), read(&long, &[]).unwrap().config());
}

#[test]
fn mainnet_takes_the_monetary_modes_shadow_and_active_and_refuses_off() {
    let accepted = qbind_steps::t185::accepted();
    let check = |mode: &str| {
        let mut config = accepted.clone();
        config.set("monetary_mode", mode).unwrap();
        let accounts: Vec<String> = (1..=4).map(|n| format!("0x{n:064x}")).collect();
        config.set("monetary_accounts", &accounts.join(",")).unwrap();
        let breaches = qbind_profile::check_all(&config);
        let lacks = qbind_node::unsupported(&config);
        assert!(lacks.iter().all(|lack| lack.key != "monetary_mode"), "{lacks:?}");
        breaches.iter().map(|breach| format!("{:?}", breach.invariant)).collect::<Vec<_>>()
    };
    assert_eq!(check("shadow"), Vec::<String>::new());
    assert_eq!(check("active"), Vec::<String>::new());
    assert_eq!(check("off"), ["MonetaryModeOff"]);
}
