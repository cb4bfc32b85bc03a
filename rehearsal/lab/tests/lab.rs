//! Processes inside the lab, and what is left when it ends in any way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stand_in.rs"]
mod stand_in;
mod support;

use qbind_lab::{
    Lab, LabConfig, LabError, LabEvent, LinkSelection, NodeState, Place, Privilege,
    network::{CreateOptions, EPOCH_BLOCKS, NetworkProfile, Reach, create},
    supervisor::{self, Client, Reply, Request, ServeOptions},
};
use qbind_plan::topology::Topology;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};
use support::{namespace_of, needs_lab, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn stand_in_node() {
    stand_in::run();
}

/// Four validators and two RPC nodes in two regions.
///
/// Made once and copied: sealing keys is slow on purpose.
fn config(dir: &Path, mode: &str) -> LabConfig {
    static ORIGINAL: OnceLock<tempfile::TempDir> = OnceLock::new();
    let original = ORIGINAL.get_or_init(|| {
        let temp = tempfile::tempdir().unwrap();
        let options = CreateOptions {
            topology: Topology::generated(4, 2).unwrap(),
            out: temp.path().join("net"),
            profile: NetworkProfile::Devnet,
            load_accounts: 0,
            epoch_blocks: EPOCH_BLOCKS,
            reach: Reach::Lab,
        };
        create(&options).unwrap();
        temp
    });
    let (from, out) = (original.path().join("net"), dir.join("net"));
    copy(&from, &out, &[from.to_str().unwrap(), out.to_str().unwrap()]);
    let (node_binary, env) = stand_in::program(dir, mode);
    LabConfig { dir: out, node_binary, env }
}

/// Copies a directory of text files, replacing one text by another in them.
fn copy(from: &Path, to: &Path, [old, new]: &[&str; 2]) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, &[old, new]);
        } else {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            std::fs::write(target, text.replace(old, new)).unwrap();
        }
    }
}

fn pid(lab: &Lab, node: &str) -> u32 {
    match lab.state(node).unwrap() {
        NodeState::Running { pid } => pid,
        other => panic!("{node} is {other:?}"),
    }
}

fn is_alive(pid: u32) -> bool {
    // A zombie is dead: it only waits for its parent to hear of it.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn nodes_run_in_their_regions_and_can_be_killed_and_restarted() {
    if !needs_lab() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let lab = Lab::up(config(temp.path(), "good")).unwrap();
    let mut heard = Vec::new();
    let hear = |ready, of| {
        heard.push((ready, of));
        true
    };
    lab.wait_ready(PATIENCE, hear).unwrap();
    assert_eq!(heard.last(), Some(&(6, 6)));

    // Each node is in its region's network, seen from ops through its own address.
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let namespace = |node: &str| {
        let pid = pid(&lab, node);
        std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
    };
    assert_eq!(namespace("r1-v1"), namespace("r1-rpc1"));
    assert_ne!(namespace("r1-v1"), namespace("r2-v1"));
    assert_ne!(namespace("r1-v1"), own);
    for node in lab.nodes() {
        let reply = lab.http().get(node.http, "/v1/status", PATIENCE).unwrap();
        assert_eq!(reply.json().unwrap()["name"], node.name.as_str());
    }
    let enter = lab.enter(&Place::Region("r1".into())).unwrap();
    assert_eq!(namespace_of(&enter), namespace("r1-v1"));

    let first = pid(&lab, "r1-v2");
    lab.kill("r1-v2").unwrap();
    assert!(!is_alive(first));
    assert_eq!(lab.state("r1-v2").unwrap(), NodeState::Killed);
    assert!(matches!(lab.kill("r1-v2"), Err(LabError::NotRunning { .. })));
    assert!(lab.http().get(lab.node("r1-v2").unwrap().http, "/readyz", PATIENCE).is_err());
    assert_ne!(lab.restart("r1-v2").unwrap(), first);
    lab.wait_ready(PATIENCE, |_, _| true).unwrap();
    assert!(matches!(lab.state("mars-v1"), Err(LabError::UnknownNode { .. })));

    // An end nobody asked for is noticed.
    let victim = pid(&lab, "r2-v1");
    let target = nix::unistd::Pid::from_raw(victim.cast_signed());
    nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGABRT).unwrap();
    let exited = |status: &str| {
        let (node, status) = ("r2-v1".to_owned(), status.to_owned());
        LabEvent::NodeExited { node, pid: victim, status }
    };
    wait_until(|| lab.journal().iter().any(|e| e.event == exited("signal 6")));

    // A runtime's tasks are in ops.
    let runtime = lab.ops_runtime(1).unwrap();
    let inside = runtime.spawn(async { std::fs::read_link("/proc/thread-self/ns/net").unwrap() });
    assert_ne!(runtime.block_on(inside).unwrap(), own);
    drop(runtime);

    let pids: Vec<u32> = ["r1-v1", "r1-v2", "r2-v2"].map(|n| pid(&lab, n)).to_vec();
    lab.down().unwrap();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let journal = std::fs::read_to_string(temp.path().join("net/lab-journal.jsonl")).unwrap();
    assert!(journal.lines().last().unwrap().contains("down"), "{journal}");
}

#[test]
fn dropping_a_lab_leaves_nothing() {
    if !needs_lab() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let lab = Lab::up(config(temp.path(), "good")).unwrap();
    let pids: Vec<u32> = lab.nodes().iter().map(|n| pid(&lab, &n.name)).collect();
    let places = ["r1", "r2"].map(|region| lab.enter(&Place::Region(region.into())).unwrap());
    let namespaces = places.map(|enter| namespace_of(&enter));
    assert!(namespaces.iter().all(|ns| support::own_namespaces().contains(ns)));
    drop(lab);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(!namespaces.iter().any(|ns| support::own_namespaces().contains(ns)));
}

#[test]
fn a_node_that_ends_or_stays_unready_is_named_with_its_reason() {
    if !needs_lab() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let lab = Lab::up(config(temp.path(), "fail")).unwrap();
    let error = lab.wait_ready(PATIENCE, |_, _| true).unwrap_err().to_string();
    for part in ["r1-v2: ", "exit 20", "data_dir: is on fire"] {
        assert!(error.contains(part), "{error}");
    }
    drop(lab);
    let temp = tempfile::tempdir().unwrap();
    let lab = Lab::up(config(temp.path(), "unready")).unwrap();
    wait_until(|| lab.http().get(lab.nodes()[0].http, "/", PATIENCE).is_ok());
    let error = lab.wait_ready(Duration::ZERO, |_, _| true).unwrap_err().to_string();
    assert!(error.contains("r1-v1: 503 {\"reason\":\"no peers\"}"), "{error}");
}

#[test]
fn what_is_missing_is_said_before_anything_is_made() {
    if !needs_lab() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(temp.path(), "good");
    config.node_binary = temp.path().join("no-such-program");
    let error = Lab::up(config.clone()).err().unwrap();
    assert!(matches!(error, LabError::NoBinary { .. }), "{error}");
    config.dir = temp.path().to_owned();
    let error = Lab::up(config).err().unwrap();
    assert!(error.to_string().contains("genesis new"), "{error}");
}

const SUPERVISED: &str = "LAB_SUPERVISED_DIR";

/// The supervisor's process: this program started again; does nothing in an ordinary run.
#[test]
fn supervisor_process() {
    let Ok(dir) = std::env::var(SUPERVISED) else { return };
    let node_binary = PathBuf::from(std::env::var("LAB_NODE").unwrap());
    let env = vec![("LAB_STAND_IN".into(), "good".into())];
    let options = ServeOptions {
        lab: LabConfig { dir: dir.into(), node_binary, env },
        ready_timeout: PATIENCE,
        privilege: Privilege::Capabilities,
    };
    let outcome = supervisor::serve(&options, |_, _| true, || println!("\nall ready"));
    if let Err(error) = outcome {
        println!("\nfailed: {error}");
        std::process::exit(1);
    }
}

/// A supervisor's process.
struct Supervisor {
    child: Child,
    /// Its output; it must be able to write until it ends.
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Supervisor {
    fn succeeds(mut self) -> bool {
        let rest = self.lines.by_ref().count();
        self.child.wait().unwrap().success() && rest > 0
    }
}

/// Starts a supervisor and waits for its nodes; the answer is what it said.
fn supervise(config: &LabConfig) -> (Supervisor, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "supervisor_process", "--nocapture"])
        .env(SUPERVISED, &config.dir)
        .env("LAB_NODE", &config.node_binary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let says = |line: &String| line == "all ready" || line.starts_with("failed: ");
    let said = lines.by_ref().map(Result::unwrap).find(says).unwrap_or_default();
    (Supervisor { child, lines }, said)
}

#[test]
fn a_supervised_lab_obeys_and_ends_when_asked() {
    if !needs_lab() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), "good");
    let error = Client::connect(&config.dir).err().unwrap().to_string();
    assert!(error.contains("no lab is up"), "{error}");
    let (supervisor, said) = supervise(&config);
    assert_eq!(said, "all ready");

    let (second, refused) = supervise(&config);
    assert!(refused.contains("already up"), "{refused}");
    assert!(!second.succeeds());

    let mut client = Client::connect(&config.dir).unwrap();
    let status = client.status().unwrap();
    assert_eq!(status.nodes.len(), 6);
    for node in &status.nodes {
        assert!(node.is_ready, "{}", node.info.name);
        assert_eq!(node.status.as_ref().unwrap()["height"], 7);
    }
    let reply = client.ask(&Request::Partition { links: "r1/r2".into() }).unwrap();
    assert_eq!(reply, Reply::Links { links: vec!["r1>r2".into(), "r2>r1".into()] });
    assert_eq!(client.status().unwrap().harm, ["r1>r2 cut", "r2>r1 cut"]);
    client.ask(&Request::Heal { links: "all".into() }).unwrap();
    assert!(client.status().unwrap().harm.is_empty());
    let Reply::Metrics { text } = client.ask(&Request::Metrics).unwrap() else { panic!() };
    assert!(text.contains("qbind_lab_packets_in_total{from=\"r1\",to=\"ops\"}"), "{text}");
    let error = client.ask(&Request::Kill { node: "mars-v1".into() }).unwrap_err().to_string();
    assert!(error.contains("no node mars-v1"), "{error}");
    client.ask(&Request::Kill { node: "r1-v1".into() }).unwrap();
    let reply = client.ask(&Request::Restart { node: "r1-v1".into() }).unwrap();
    assert!(matches!(reply, Reply::Node { state: NodeState::Running { .. } }), "{reply:?}");
    // Asked to stop, a node hears of it although the supervisor blocks that signal for itself.
    let reply = client.ask(&Request::Stop { node: "r1-v1".into() }).unwrap();
    let status = "signal 15".to_owned();
    assert_eq!(reply, Reply::Node { state: NodeState::Stopped { status } });

    // A command inside a region sees that region's addresses only.
    let place = client.place("r2-v1").unwrap();
    let namespace = std::fs::read_link(format!("/proc/{}/fd/{}", place.pid, place.fd)).unwrap();
    assert!(namespace.to_string_lossy().starts_with("net:["), "{}", namespace.display());

    client.down().unwrap();
    for left in ["lab.sock", "lab.json"] {
        assert!(!config.dir.join(left).exists(), "{left}");
    }
    assert!(supervisor.succeeds());
}

#[test]
fn a_killed_supervisor_leaves_nothing_that_the_next_one_does_not_clean() {
    if !needs_lab() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), "good");
    let (mut supervisor, said) = supervise(&config);
    assert_eq!(said, "all ready");
    let mut client = Client::connect(&config.dir).unwrap();
    let status = client.status().unwrap();
    let pids: Vec<u32> = status
        .nodes
        .iter()
        .map(|n| match n.process {
            NodeState::Running { pid } => pid,
            _ => panic!("{n:?}"),
        })
        .collect();
    let namespaces: Vec<PathBuf> =
        pids.iter().map(|pid| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()).collect();
    supervisor.child.kill().unwrap();
    supervisor.child.wait().unwrap();
    wait_until(|| pids.iter().all(|pid| !is_alive(*pid)));
    wait_until(|| !namespaces.iter().any(|ns| someone_is_in(ns)));
    assert!(config.dir.join("lab.sock").exists(), "only files are left");

    let (next, said) = supervise(&config);
    assert_eq!(said, "all ready");
    Client::connect(&config.dir).unwrap().down().unwrap();
    assert!(next.succeeds());
}

#[test]
fn two_labs_at_once_do_not_meet() {
    if !needs_lab() {
        return;
    }
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Lab::up(config(first.path(), "good")).unwrap();
    let second = Lab::up(config(second.path(), "good")).unwrap();
    for lab in [&first, &second] {
        lab.wait_ready(PATIENCE, |_, _| true).unwrap();
    }
    first.partition(&LinkSelection::All).unwrap();
    let cut = |lab: &Lab| lab.link_counters().links.iter().filter(|l| l.is_cut).count();
    assert_eq!((cut(&first), cut(&second)), (2, 0));
}

/// Whether any process is in a network namespace.
fn someone_is_in(namespace: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|p| p.path().join("ns/net"))
        .any(|link| std::fs::read_link(link).is_ok_and(|target| target == namespace))
}
