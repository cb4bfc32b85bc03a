//! The real binary: exit codes, standard output, standard error.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use sha3::{Digest, Sha3_256};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn run(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.replace("DIR", folder.to_str().unwrap());
    Command::new(env!("CARGO_BIN_EXE_qbind-node"))
        .args(arguments.split_whitespace())
        .env_clear()
        // Whatever the host this runs on is provisioned with.
        .env("QBIND_CONFIG", "")
        .output()
        .unwrap()
}

/// A folder with a genesis file, and a complete MainNet command line for it.
fn mainnet() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let bytes = b"{\"chain_id\":\"qbind-mainnet-v0\"}";
    fs::write(folder.path().join("genesis.json"), bytes).unwrap();
    let line = format!(
        "--profile mainnet --data-dir DIR/data --snapshot-dir DIR/snapshots \
         --signer-keystore-path DIR/keystore --validator-id 1 --bootstrap-peers a:9000 \
         --genesis-path DIR/genesis.json --expect-genesis-hash 0x{}",
        hex::encode(Sha3_256::digest(bytes))
    );
    (folder, line)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, stderr: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for part in stderr {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    if code != 0 {
        assert!(output.stdout.is_empty(), "an error writes nothing to standard output");
    }
}

#[test]
fn a_complete_configuration_is_valid() {
    let (folder, line) = mainnet();
    let output = run(folder.path(), &format!("{line} --validate-only"));
    check(&output, 0, &[]);
    assert!(text(&output.stdout).starts_with("valid: profile mainnet, genesis 0x"));
    let output = run(folder.path(), &format!("{line} --validate-only --output json"));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["schema"], &json["valid"]), (&"qbind.validation/v1".into(), &true.into()));
    assert!(!folder.path().join("data").exists(), "validation creates nothing");
}

#[test]
fn a_broken_invariant_refuses_with_its_name_and_code_20() {
    let (folder, line) = mainnet();
    let output = run(folder.path(), &format!("{line} --enable-gas false"));
    check(&output, 20, &["GasDisabled: enable_gas is false", "pass --enable-gas true"]);
    let output = run(folder.path(), "--profile mainnet --data-dir DIR/data");
    check(&output, 20, &["SignerKeystorePathMissing"]);
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_wrong_genesis_hash_is_refused() {
    let (folder, line) = mainnet();
    fs::write(folder.path().join("genesis.json"), b"{ \"chain_id\":\"qbind-mainnet-v0\"}").unwrap();
    let output = run(folder.path(), &line);
    check(&output, 20, &["GenesisHashMismatch", "genesis.json has SHA3-256 0x"]);
    fs::remove_file(folder.path().join("genesis.json")).unwrap();
    check(&run(folder.path(), &line), 20, &["cannot read the genesis file", "No such file"]);
}

#[test]
fn the_genesis_hash_is_printed_without_any_other_setting() {
    let (folder, _) = mainnet();
    let output = run(folder.path(), "--print-genesis-hash --genesis-path DIR/genesis.json");
    check(&output, 0, &[]);
    let bytes = fs::read(folder.path().join("genesis.json")).unwrap();
    assert_eq!(text(&output.stdout), format!("0x{}\n", hex::encode(Sha3_256::digest(bytes))));
    check(&run(folder.path(), "--print-genesis-hash"), 20, &["pass --genesis-path FILE"]);
}

#[test]
fn a_wrong_command_line_ends_with_64() {
    let (folder, _) = mainnet();
    check(&run(folder.path(), "--no-such-flag"), 64, &["--no-such-flag"]);
    check(&run(folder.path(), "--validate-only --print-config"), 64, &["cannot be used with"]);
}

#[test]
fn a_wrong_value_ends_with_20_and_names_its_place() {
    let (folder, line) = mainnet();
    let output = run(folder.path(), "--enable-gas maybe");
    check(&output, 20, &["--enable-gas: enable_gas is `maybe`; expected true | false"]);
    fs::write(folder.path().join("node.toml"), "name = \"a\"\nnmae = 1\n").unwrap();
    let output = run(folder.path(), "--config DIR/node.toml");
    check(&output, 20, &["node.toml:2: unknown key `nmae`; did you mean `name`?"]);
    check(
        &run(folder.path(), &format!("{line} --log qbind_node=loud")),
        20,
        &["--log is `qbind_node=loud`"],
    );
}

#[test]
fn what_this_build_cannot_do_is_refused_before_it_starts() {
    let (folder, line) = mainnet();
    let line = format!("{line} --fast-sync-snapshot-dir https://snapshots.qbind.network/mainnet");
    let hint = "fetch it with wget, unpack it, and name its folder";
    check(&run(folder.path(), &line), 20, &["UNSUPPORTED: fast_sync_snapshot_dir = ", hint]);
}

#[test]
fn version_and_help_are_answers() {
    let (folder, _) = mainnet();
    let output = run(folder.path(), "--version");
    check(&output, 0, &[]);
    assert!(text(&output.stdout).starts_with("qbind-node "));
    let help = text(&run(folder.path(), "--help").stdout);
    // Lines are wrapped to the terminal's width.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in ["--validator-id", "--config", "[env: QBIND_VALIDATOR_ID]", "30 safety stop"] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn the_metric_reference_is_printed() {
    let (folder, _) = mainnet();
    let output = run(folder.path(), "--metrics-docs");
    check(&output, 0, &[]);
    assert!(text(&output.stdout).contains("| `qbind_consensus_view_lag` | gauge |"));
}
