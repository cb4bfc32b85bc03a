//! The binary's contract: exit codes, streams, schemas.

use std::{
    io::Read,
    process::{Command, Output, Stdio},
};

fn qbindctl(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_qbindctl")).args(arguments).output();
    output.expect("cargo built it")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn wrong_usage_is_64_and_leaves_standard_output_alone() {
    for arguments in [&["steps", "run", "T999"][..], &["nonsense"], &[]] {
        let output = qbindctl(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(qbindctl(&["--help"]).status.code(), Some(0));
    assert_eq!(qbindctl(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_step_answers_in_json_and_leaves_its_files() {
    let out = tempfile::tempdir().expect("a directory");
    let dir = out.path().to_str().expect("UTF-8");
    let output = qbindctl(&["steps", "run", "T185", "--output", "json", "--out", dir]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["schema"], "qbindctl.steps/v1");
    assert_eq!(answer["verdict"], "PASS");
    let file = std::fs::read(out.path().join("T185/result.json")).expect("written");
    let file: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    assert_eq!(file, answer["steps"][0]);
    assert!(out.path().join("T185/log.txt").is_file());
}

#[test]
fn a_step_that_cannot_run_is_a_failure() {
    let output = qbindctl(&["steps", "run", "T234", "--quick", "--node", "/nowhere/qbind-node"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("verdict: FAIL"));
    assert!(text(&output.stderr).contains("/nowhere/qbind-node"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_qbindctl"))
        .args(["docs", "cli"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo built it");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    assert_eq!((child.wait().expect("ours").code(), said.as_str()), (Some(0), ""));
}
