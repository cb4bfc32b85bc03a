//! Kill -9 of validators in the lab: up to f of seven the chain goes on, beyond it stops and continues
//! when one returns, and no two nodes ever commit different blocks. Needs network namespaces and TUN.

mod support;

use qbind_lab::{
    Lab, LabConfig,
    network::{CreateOptions, EPOCH_BLOCKS, NetworkProfile, Reach, create},
};
use qbind_plan::topology::Topology;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use support::{lab_or_skip, program};

/// How long a chain may take to go on after a fault, or a node to catch up.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long a chain that must stand still is watched.
const WATCH: Duration = Duration::from_secs(5);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(50);
/// Blocks that show that a chain goes on.
const PROGRESS: u64 = 5;

struct Network {
    lab: Lab,
    _dir: tempfile::TempDir,
}

impl Network {
    fn up() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = CreateOptions {
            topology: Topology::load("standard-tri-region").expect("shipped"),
            out: dir.path().join("network"),
            profile: NetworkProfile::Mainnet,
            load_accounts: 1,
            epoch_blocks: EPOCH_BLOCKS,
            reach: Reach::Lab,
        };
        let network = create(&options).expect("a new directory");
        let node_binary = program("qbind-node");
        let config = LabConfig { dir: network.dir().into(), node_binary, env: Vec::new() };
        let lab = Lab::up(config).expect("the rights are there");
        lab.wait_ready(2 * RECOVERY, |_, _| true).expect("every node gets ready");
        Self { lab, _dir: dir }
    }

    fn get(&self, node: &str, path: &str) -> Option<Value> {
        let http = self.lab.node(node).expect("a node of the topology").http;
        let reply = self.lab.http().get(http, path, Duration::from_secs(2)).ok()?;
        reply.json()
    }

    fn height(&self, node: &str) -> Option<u64> {
        self.get(node, "/v1/status")?["height"].as_u64()
    }

    fn names(&self) -> Vec<String> {
        self.lab.nodes().iter().map(|n| n.name.clone()).collect()
    }

    fn highest(&self) -> u64 {
        self.names().iter().filter_map(|n| self.height(n)).max().unwrap_or(0)
    }

    /// Waits until every node but `but` has this height.
    fn reach(&self, height: u64, but: &[&str], why: &str) {
        let deadline = Instant::now() + RECOVERY;
        for node in self.names().iter().filter(|n| !but.contains(&n.as_str())) {
            while self.height(node).is_none_or(|h| h < height) {
                let now = Instant::now();
                assert!(
                    now < deadline,
                    "{node} is at {:?}, not {height}: {why}",
                    self.height(node)
                );
                std::thread::sleep(POLL);
            }
        }
    }

    fn kill(&self, nodes: &[&str]) {
        nodes.iter().for_each(|node| self.lab.kill(node).expect("it runs"));
    }

    fn start(&self, nodes: &[&str]) {
        for node in nodes {
            self.lab.start(node).expect("it was killed");
        }
    }

    /// Every block id and state root of every node by height.
    fn compare(&self) -> u64 {
        let mut seen: BTreeMap<u64, (String, Value)> = BTreeMap::new();
        let least = self.names().iter().filter_map(|n| self.height(n)).min().unwrap_or(0);
        for node in self.names() {
            let mut from = 1;
            while from <= least {
                let page = self.get(&node, &format!("/v1/commits?from={from}&limit=1000"));
                let page = page.expect("it answers");
                for commit in page["commits"].as_array().expect("a list") {
                    let height = commit["height"].as_u64().expect("a number");
                    let what =
                        Value::from(vec![commit["block_id"].clone(), commit["state_root"].clone()]);
                    let (first, known) = seen.entry(height).or_insert((node.clone(), what.clone()));
                    assert_eq!(*known, what, "height {height}: {first} and {node} differ");
                    from = from.max(height + 1);
                }
            }
        }
        least
    }
}

/// One of each kind; with `EVERY_PAIR=1` all 21, which takes four minutes.
fn pairs() -> Vec<[&'static str; 2]> {
    const VALIDATORS: [&str; 7] = ["eu-v1", "eu-v2", "eu-v3", "us-v1", "us-v2", "jp-v1", "jp-v2"];
    if std::env::var_os("EVERY_PAIR").is_none() {
        return vec![["eu-v1", "eu-v2"], ["us-v1", "jp-v1"], ["jp-v1", "jp-v2"]];
    }
    let after = |i: usize| VALIDATORS[i + 1..].iter().map(move |other| [VALIDATORS[i], other]);
    (0..VALIDATORS.len()).flat_map(after).collect()
}

#[test]
fn two_of_seven_may_die_three_halt_and_nothing_diverges() {
    if !lab_or_skip() {
        return;
    }
    let network = Network::up();
    for pair in pairs() {
        network.kill(&pair);
        let from = network.highest();
        network.reach(from + PROGRESS, &pair, "f validators are gone, and a quorum is left");
        network.start(&pair);
        network.reach(network.highest(), &[], "who returns catches up");
    }
    let three = ["eu-v3", "us-v2", "jp-v2"];
    network.kill(&three);
    // What was certified before may still be committed.
    let end = Instant::now() + WATCH;
    let mut last = network.highest();
    let mut still_since = Instant::now();
    while Instant::now() < end || still_since.elapsed() < WATCH {
        std::thread::sleep(POLL);
        let now = network.highest();
        if now != last {
            (last, still_since) = (now, Instant::now());
            assert!(end.elapsed() < RECOVERY, "no quorum is left, and the chain goes on");
        }
    }
    network.start(&three[..1]);
    network.reach(last + PROGRESS, &three[1..], "a quorum is back");
    network.start(&three[1..]);
    network.reach(network.highest(), &[], "who returns catches up");
    let compared = network.compare();
    assert!(compared > 4 * PROGRESS, "{compared} heights compared");
    network.lab.down().expect("nothing stays behind");
}
