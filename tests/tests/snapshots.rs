//! Snapshots of a network under load, and a fresh node that starts from one. Needs network namespaces
//! and TUN.

mod support;

use qbind_lab::{
    Lab, LabConfig,
    network::{CreateOptions, NetworkProfile, Reach, create},
};
use qbind_plan::{Role, topology::Topology};
use qbind_rehearsal::load::{Load, Options};
use qbind_scrape::Target;
use qbind_types::Network;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use support::{lab_or_skip, program};

const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Heights between two snapshots: an epoch ends between some of them and the block that names them.
const INTERVAL: u64 = 40;
const EPOCH_BLOCKS: u64 = 16;
/// Transfers a second.
const RATE: u32 = 100;
/// The first timeout of a view, which no pause may exceed.
const VIEW_TIMEOUT_MS: u64 = 1_000;
/// Heights that are compared above the snapshot.
const FURTHER: u64 = 100;

struct Network4 {
    lab: Lab,
    dir: tempfile::TempDir,
}

impl Network4 {
    fn up() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let network = create(&CreateOptions {
            topology: Topology::generated(4, 1).expect("a small network"),
            out: dir.path().join("network"),
            profile: NetworkProfile::Devnet,
            load_accounts: 64,
            epoch_blocks: EPOCH_BLOCKS,
            reach: Reach::Lab,
        })
        .expect("a new directory");
        let env = [
            ("QBIND_SNAPSHOTS_ENABLED", "true".to_owned()),
            ("QBIND_SNAPSHOT_INTERVAL", INTERVAL.to_string()),
            ("QBIND_MAX_SNAPSHOTS", "2".to_owned()),
            // The load pays fees.
            ("QBIND_ENABLE_GAS", "true".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.into(), value.into())).to_vec();
        let config =
            LabConfig { dir: network.dir().into(), node_binary: program("qbind-node"), env };
        let lab = Lab::up(config).expect("the rights are there");
        lab.wait_ready(PATIENCE, |_, _| true).expect("every node gets ready");
        Self { lab, dir }
    }

    fn names(&self, role: &str) -> Vec<String> {
        let all = self.lab.nodes().iter();
        all.filter(|n| n.role.as_str() == role).map(|n| n.name.clone()).collect()
    }

    fn get(&self, node: &str, path: &str) -> Option<qbind_lab::HttpReply> {
        let http = self.lab.node(node).expect("a node of the topology").http;
        self.lab.http().get(http, path, Duration::from_secs(2)).ok()
    }

    fn json(&self, node: &str, path: &str) -> Option<Value> {
        self.get(node, path)?.json()
    }

    fn height(&self, node: &str) -> Option<u64> {
        self.json(node, "/v1/status")?["height"].as_u64()
    }

    fn metric(&self, node: &str, name: &str) -> Option<u64> {
        let reply = self.get(node, "/metrics")?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    fn wait<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < until, "in vain: {what}");
            std::thread::sleep(POLL);
        }
    }

    fn node_dir(&self, node: &str) -> PathBuf {
        self.lab.network().node_dir(node)
    }

    /// The commit feed of a node by height, from `from` on.
    fn feed(&self, node: &str, from: u64) -> BTreeMap<u64, Value> {
        let mut seen = BTreeMap::new();
        let mut next = from;
        loop {
            let page = self.json(node, &format!("/v1/commits?from={next}&limit=1000"));
            let page = page.expect("it answers");
            let commits = page["commits"].as_array().expect("a list");
            if commits.is_empty() {
                return seen;
            }
            for commit in commits {
                let height = commit["height"].as_u64().expect("a number");
                next = next.max(height + 1);
                seen.insert(height, commit.clone());
            }
        }
    }

    fn load(&self) -> tokio::task::JoinHandle<()> {
        let network = self.lab.network();
        let accounts = network.load_accounts().expect("they were made");
        let validators = self.lab.nodes().iter().filter(|n| n.validator_id.is_some());
        let targets: Vec<Target> = validators
            .map(|node| Target {
                name: node.name.clone(),
                region: node.region.clone(),
                role: Role::Validator,
                http: node.http.to_string(),
            })
            .collect();
        let options = Options {
            network: Network::Devnet,
            rate_per_second: RATE,
            window: 4 * PATIENCE,
            drain: Duration::from_secs(1),
            resubmit_after: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            follow_poll: Duration::from_millis(50),
            accounts: accounts.iter().map(|a| a.seed).collect(),
            followed: targets[..1].to_vec(),
            targets,
            amount: 1,
            gas_limit: 50_000,
            max_fee_per_gas: 1,
        };
        let runtime = Box::leak(Box::new(self.lab.ops_runtime(2).expect("threads")));
        let load = runtime.block_on(async { runtime.spawn(Load::prepare(options)).await });
        let load = load.expect("no panic").expect("funded accounts");
        let out = self.dir.path().join("load");
        fs::create_dir_all(&out).expect("a new folder");
        runtime.spawn(async move { drop(load.run(&out).await) })
    }
}

fn validate(dir: &Path) -> String {
    let output = Command::new(program("qbind-snapshot")).arg("validate").arg(dir).output();
    let output = output.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Longest time between two blocks in a row, in milliseconds, and the height after it.
fn longest_pause(feed: &BTreeMap<u64, Value>) -> (u64, u64) {
    let times = feed.iter().map(|(h, c)| (*h, c["committed_unix_ms"].as_u64().expect("a number")));
    let times: Vec<(u64, u64)> = times.collect();
    let pauses = times.windows(2).map(|w| (w[1].1.saturating_sub(w[0].1), w[1].0));
    pauses.max().expect("several blocks")
}

#[test]
fn a_fresh_node_starts_from_a_snapshot_taken_under_load_and_has_the_others_state() {
    if !lab_or_skip() {
        return;
    }
    let network = Network4::up();
    let (validators, fresh) = (network.names("validator"), network.names("rpc").remove(0));
    network.lab.kill(&fresh).expect("it runs");
    let running = network.load();
    let first = &validators[0];
    let taken = |node: &str, least: u64| {
        let last = network.metric(node, "qbind_snapshot_last_height")?;
        (last >= least && network.metric(node, "qbind_snapshot_in_progress") == Some(0))
            .then_some(last)
    };
    let height = network.wait("a second snapshot", || taken(first, 2 * INTERVAL));
    assert_eq!(network.metric(first, "qbind_snapshot_failure_total"), Some(0));
    assert!(network.metric(first, "qbind_snapshot_success_total") >= Some(2));
    for name in ["last_size_bytes", "last_duration_ms", "last_created_at_ms"] {
        assert!(network.metric(first, &format!("qbind_snapshot_{name}")) > Some(0), "{name}");
    }
    let snapshot = network.dir.path().join("snapshot");
    fs::rename(network.node_dir(first).join("snapshots").join(height.to_string()), &snapshot)
        .expect("on one disk");
    let text = validate(&snapshot);
    let block = network.json(first, &format!("/v1/commits?from={height}&limit=1"));
    let block = block.expect("it answers")["commits"][0].clone();
    let said = |key: &str| block[key].as_str().expect("text").to_owned();
    let expected = format!(
        "Snapshot height: {height}\nChain ID: QBIND_DEVNET_CHAIN_ID\nBlock hash: {}\nState root: {}\n\
         Validation: OK\n",
        said("block_id"),
        said("state_root")
    );
    assert_eq!(text, expected);
    // Nothing is left of the fresh node's first start, and there is no network of genesis to sync from.
    let dir = network.node_dir(&fresh);
    fs::remove_dir_all(dir.join("data")).expect("it is there");
    fs::create_dir(dir.join("data")).expect("a new folder");
    let toml = network.lab.network().node_config(&fresh);
    let text = fs::read_to_string(&toml).expect("it is there");
    let source = snapshot.display();
    fs::write(&toml, format!("{text}fast_sync_snapshot_dir = \"{source}\"\n")).expect("its owner");
    network.lab.start(&fresh).expect("it was killed");
    let begun = Instant::now();
    network.wait("the fresh node at the tip", || {
        let tip = network.height(first)?;
        (network.height(&fresh)? + 3 >= tip && tip > height + INTERVAL).then_some(())
    });
    println!("at the tip {:.1} s after its start", begun.elapsed().as_secs_f64());
    network.wait("further blocks", || (network.height(&fresh)? >= height + FURTHER).then_some(()));
    let own = network.feed(&fresh, height + 1);
    let (lowest, highest) = (own.keys().next().copied(), own.keys().last().copied());
    assert_eq!(lowest, Some(height + 1), "it began there");
    let mut transactions = 0;
    for node in &validators {
        let theirs = network.feed(node, height + 1);
        for (height, commit) in &own {
            let Some(other) = theirs.get(height) else { continue };
            for key in ["block_id", "state_root"] {
                assert_eq!(commit[key], other[key], "height {height}: {fresh} and {node}");
            }
            transactions += commit["transactions"].as_u64().unwrap_or(0);
        }
    }
    assert!(transactions > 0, "the chain was under load");
    println!("state roots equal from {} to {}", height + 1, highest.unwrap_or(0));
    for node in &validators {
        let feed = network.feed(node, INTERVAL / 2);
        let (pause, at) = longest_pause(&feed);
        println!("{node}: longest pause {pause} ms, before height {at} of {}", feed.len());
        for near in feed.keys().filter(|h| h.is_multiple_of(INTERVAL)) {
            let around = feed.range(near.saturating_sub(5)..near + 15);
            let around: BTreeMap<u64, Value> = around.map(|(h, c)| (*h, c.clone())).collect();
            let (pause, at) = longest_pause(&around);
            assert!(
                pause <= VIEW_TIMEOUT_MS,
                "{node}: {pause} ms before height {at}, around the snapshot of {near}"
            );
        }
    }
    // The flag stays in the unit's file: the next start goes on with the chain there is.
    let before = network.height(&fresh).expect("it answers");
    network.lab.restart(&fresh).expect("it runs");
    network.wait("the node goes on", || (network.height(&fresh)? > before).then_some(()));
    running.abort();
    network.lab.down().expect("nothing stays behind");
}
