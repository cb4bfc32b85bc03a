//! A rehearsal of a network in which one node is not as it should be must not pass, and the gate that
//! says so is the right one. Needs the lab: network namespaces and TUN.

mod support;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};
use support::{lab_or_skip, program};

/// As short as a manifest may be, without planned faults: whatever is wrong was planted.
const MANIFEST: &str = "
schema: qbind.manifest/v1
name: planted
form: quick
gate_type: mainnet_launch
seed: 7
measure: { probes_per_pair: 1000, rate_per_second: 100, warmup_probes: 50, payload_bytes: 64 }
steps: { form: short }
load: { rate_per_second: 10, accounts: 20, drain_s: 15, resubmit_after_s: 8 }
live: { window_s: 30, warmup_s: 5, scrape_interval_ms: 5000, commit_poll_ms: 500 }
";

/// The machine holds one lab at a time.
static LAB: Mutex<()> = Mutex::new(());

/// What a rehearsal came to.
struct Rehearsed {
    exit: Option<i32>,
    gates: Value,
}

impl Rehearsed {
    fn gate(&self, id: &str) -> (&str, &str) {
        let gates = self.gates["gates"].as_array().expect("a list of gates");
        let gate = gates.iter().find(|g| g["id"] == id).expect("every gate is listed");
        (gate["verdict"].as_str().expect("text"), gate["note"].as_str().unwrap_or_default())
    }

    fn of_verdict(&self, verdict: &str) -> Vec<&str> {
        let gates = self.gates["gates"].as_array().expect("a list of gates");
        let with = gates.iter().filter(|g| g["verdict"] == verdict);
        with.filter_map(|g| g["id"].as_str()).collect()
    }
}

/// Rehearses with `fault` planted; `live` is called when the live window begins.
fn rehearse(fault: &str, live: impl FnOnce(&Path)) -> Option<Rehearsed> {
    if !lab_or_skip() {
        return None;
    }
    let _alone = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (manifest, out) = (dir.path().join("manifest.yaml"), dir.path().join("out"));
    fs::write(&manifest, MANIFEST).expect("a temporary file");
    let mut child = Command::new(program("qbindctl"))
        .args(["rehearse", "--target", "lab", "--topology", "standard-tri-region"])
        .args([Path::new("--manifest"), &manifest, Path::new("--out"), &out])
        .args([Path::new("--node-binary"), &program("qbind-node-sabotaged")])
        .env("SABOTAGE", fault)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it is built");
    let mut live = Some(live);
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line = line.expect("text");
        if line.contains("live:")
            && let Some(live) = live.take()
        {
            live(&out);
        }
        said += &(line + "\n");
    }
    let exit = child.wait().expect("it ends").code();
    let gates = fs::read(out.join("gates.json")).unwrap_or_else(|e| panic!("{e}\n{said}"));
    Some(Rehearsed { exit, gates: serde_json::from_slice(&gates).expect("JSON") })
}

#[test]
fn a_validator_that_votes_for_two_blocks_turns_g1_red() {
    let Some(ended) = rehearse("votes-twice:6", |_| ()) else { return };
    let (verdict, note) = ended.gate("G1");
    assert_eq!((verdict, ended.exit), ("FAIL", Some(1)), "{note}");
    assert!(note.contains("two messages for one view"), "{note}");
    let safety = ["G2", "G3", "G4", "G11", "G12", "G13"].map(|id| ended.gate(id).0);
    assert_eq!(safety, ["PASS"; 6], "no unrelated gate");
}

#[test]
fn a_node_that_reports_another_state_root_turns_g4_red() {
    let Some(ended) = rehearse("wrong-root:6", |_| ()) else { return };
    let (verdict, note) = ended.gate("G4");
    assert_eq!((verdict, ended.exit), ("FAIL", Some(1)), "{note}");
    assert!(note.contains("jp-v2"), "{note}");
    let safety = ["G1", "G2", "G3", "G11", "G12", "G13"].map(|id| ended.gate(id).0);
    assert_eq!(safety, ["PASS"; 6], "no unrelated gate");
}

#[test]
fn a_node_that_cannot_be_scraped_makes_the_verdict_inconclusive() {
    // No validator has this id: every node is honest. One stops answering with the window.
    let mut stopped = None;
    let ended = rehearse("votes-twice:99", |out| stopped = Some(stop(out, "jp-rpc1")));
    let Some(ended) = ended else { return };
    assert!(stopped.is_some(), "the live window began");
    let failed: Vec<_> = ended.of_verdict("FAIL").iter().map(|id| (*id, ended.gate(id))).collect();
    assert_eq!(failed, [], "nothing is known to be wrong");
    assert_eq!((&ended.gates["verdict"], ended.exit), (&Value::from("INCONCLUSIVE"), Some(2)));
    let (verdict, note) = ended.gate("G6");
    assert_eq!(verdict, "UNKNOWN");
    assert!(note.contains("jp-rpc1"), "{note}");
}

/// Freezes a node of the lab, which the end of the lab kills.
fn stop(out: &Path, node: &str) -> Pid {
    let of_node = out.join("network/nodes").join(node);
    let of_node = of_node.to_str().expect("a temporary path is text").to_owned();
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let pid = processes
        .filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            command.contains("sabotaged") && command.contains(&of_node)
        })
        .expect("the node runs");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is ours");
    Pid::from_raw(pid)
}
