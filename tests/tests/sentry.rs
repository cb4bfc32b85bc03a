//! Two of four validators stand behind sentries. The chain needs them, and nobody learns where they are.

mod support;

use qbind_crypto::{SecretKey, preimage};
use qbind_lab::network::{
    CreateOptions, EPOCH_BLOCKS, NetworkDir, NetworkProfile, NodeInfo, Reach, create,
};
use qbind_plan::topology::{NodeRole, Topology};
use qbind_types::{Payload, PublicKey, Signature, Transaction, TransferV0, encode};
use serde_json::Value;
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::program;

const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

/// Nodes that run; they end with it.
struct Cluster {
    network: NetworkDir,
    running: Vec<(String, Child)>,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut topology = Topology::generated(4, 2).expect("four validators");
        for region in &mut topology.regions {
            region.rpc = 1;
        }
        let network = create(&CreateOptions {
            topology,
            out: dir.path().join("network"),
            profile: NetworkProfile::Devnet,
            load_accounts: 1,
            epoch_blocks: EPOCH_BLOCKS,
            reach: Reach::Loopback,
        });
        Self { network: network.expect("a network"), running: Vec::new(), dir }
    }

    fn nodes(&self, role: NodeRole) -> Vec<NodeInfo> {
        self.network.nodes().iter().filter(|n| n.role == role).cloned().collect()
    }

    /// Starts a node with its own file but for the lines that say whom it knows.
    fn start(&mut self, node: &NodeInfo, lines: &[String], is_hidden: bool) {
        let file = self.network.node_config(&node.name);
        let text = fs::read_to_string(&file).expect("made");
        let kept = text.lines().filter(|line| {
            let is_told = ["bootstrap_peers", "role"].iter().any(|key| line.starts_with(key));
            !is_told && (!is_hidden || !line.starts_with("p2p_advertised_addr"))
        });
        let text: Vec<&str> = kept.chain(lines.iter().map(String::as_str)).collect();
        fs::write(&file, text.join("\n") + "\n").expect("written");
        let log = fs::File::create(self.dir.path().join(format!("{}.log", node.name)));
        let log = log.expect("a file");
        let also = log.try_clone().expect("a file");
        let child = Command::new(program("qbind-node"))
            .arg("--config")
            .arg(&file)
            .env(qbind_lab::PASSPHRASE_ENV, self.network.passphrase().expect("made"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn();
        self.running.push((node.name.clone(), child.expect("the program starts")));
    }

    fn stop(&mut self, node: &NodeInfo) {
        let at = self.running.iter().position(|(name, _)| *name == node.name).expect("it runs");
        let (_, mut child) = self.running.remove(at);
        child.kill().expect("ours");
        child.wait().expect("ours");
    }

    fn log(&self, node: &NodeInfo) -> String {
        fs::read_to_string(self.dir.path().join(format!("{}.log", node.name))).unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, what: &str, node: &NodeInfo, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            let log = if Instant::now() > until { self.log(node) } else { String::new() };
            assert!(Instant::now() < until, "in vain: {what} on {}:\n{log}", node.name);
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            child.kill().unwrap_or_default();
            child.wait().map(drop).unwrap_or_default();
        }
    }
}

fn curl(node: &NodeInfo, path: &str, more: &[&str]) -> String {
    let url = format!("http://{}{path}", node.http);
    let output = Command::new("curl").arg("-s").args(more).arg(url).output();
    String::from_utf8_lossy(&output.expect("curl starts").stdout).into_owned()
}

fn json(node: &NodeInfo, path: &str) -> Value {
    serde_json::from_str(&curl(node, path, &[])).unwrap_or_default()
}

fn height(node: &NodeInfo) -> u64 {
    json(node, "/v1/status")["height"].as_u64().unwrap_or(0)
}

fn relayed(node: &NodeInfo, kind: &str) -> u64 {
    let name = format!("qbind_p2p_messages_relayed_total{{kind=\"{kind}\"}} ");
    let text = curl(node, "/metrics", &[]);
    text.lines().find_map(|l| l.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// A transfer of the load account to itself.
fn transfer(cluster: &Cluster, network: qbind_types::Network) -> Transaction {
    let account = &cluster.network.load_accounts().expect("made")[0];
    let key = SecretKey::from_seed(&account.seed);
    let payload = Payload::V0(TransferV0 { recipient: account.address, amount: 1 });
    let public_key: PublicKey = key.public_key();
    let unsigned = Signature::from_slice(&[0; qbind_types::SIGNATURE_BYTES]).expect("the length");
    let mut transaction = Transaction {
        sender: account.address,
        nonce: 0,
        payload: payload.encode(),
        suite: 100,
        public_key,
        signature: unsigned,
    };
    transaction.signature = key.sign(&preimage::transaction(network, &transaction));
    transaction
}

#[test]
fn validators_behind_sentries_are_needed_heard_and_not_found() {
    let mut cluster = Cluster::new();
    let validators = cluster.nodes(NodeRole::Validator);
    let sentries = cluster.nodes(NodeRole::Rpc);
    let (public, hidden) = validators.split_at(2);
    let known: Vec<String> =
        public.iter().chain(&sentries).map(|n| format!("\"{}\"", n.p2p)).collect();
    let known = format!("bootstrap_peers = [{}]", known.join(", "));
    let discovery = "enable_discovery = true".to_owned();
    for node in public {
        let role = "role = \"validator\"".to_owned();
        cluster.start(node, &[role, known.clone(), discovery.clone()], false);
    }
    for node in &sentries {
        let role = "role = \"sentry\"".to_owned();
        cluster.start(node, &[role, known.clone(), discovery.clone()], false);
    }
    for (node, sentry) in hidden.iter().zip(&sentries) {
        let role = "role = \"validator\"".to_owned();
        let own = format!("sentries = [\"{}\"]", sentry.p2p);
        cluster.start(node, &[role, own, discovery.clone()], true);
    }
    for node in validators.iter().chain(&sentries) {
        cluster.wait("/readyz", node, || json(node, "/readyz")["ready"] == true);
    }
    // Of four equal validators three decide: without one of the public ones every block needs both
    // that are hidden, and each of their votes goes over two sentries to the other.
    cluster.stop(&public[1]);
    let before = height(&public[0]);
    for node in validators.iter().filter(|n| n.name != public[1].name).chain(&sentries) {
        cluster.wait("new blocks", node, || height(node) >= before + 8);
    }
    // A transaction handed to a hidden validator reaches everybody: its batch goes out and the acks
    // come in over the sentries.
    let network = json(&public[0], "/v1/status")["network"].clone();
    let network = serde_json::from_value(network).expect("a network");
    let bytes = cluster.dir.path().join("transaction");
    fs::write(&bytes, encode(&transfer(&cluster, network))).expect("written");
    let data = format!("@{}", bytes.display());
    let kind = "content-type: application/octet-stream";
    let answer = curl(&hidden[0], "/v1/transactions", &["-H", kind, "--data-binary", &data]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let id = answer["tx_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    for node in [&public[0], &hidden[1], &sentries[1]] {
        let path = format!("/v1/transactions/{id}");
        cluster.wait("the transaction", node, || json(node, &path)["status"] == "committed");
    }
    for node in &sentries {
        assert!(relayed(node, "consensus") > 0 && relayed(node, "dag") > 0, "{}", node.name);
    }
    assert_eq!(relayed(&public[0], "consensus"), 0, "only sentries relay");
    // Whoever asks any node for its peers, or listens to what it tells others, finds no hidden one.
    for (node, sentry) in hidden.iter().zip(&sentries) {
        let peers = json(node, "/v1/peers");
        let peers = peers["peers"].as_array().expect("a list");
        assert_eq!(peers.len(), 1, "{} has only its sentry: {peers:?}", node.name);
        assert_eq!(peers[0]["address"], sentry.p2p.to_string());
        let seen = json(sentry, "/v1/peers");
        let entry = seen["peers"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|p| p["validator_id"].as_u64() == node.validator_id);
        assert_eq!(entry.expect("the sentry has it")["address"], "hidden");
        let (address, ip) = (node.p2p.to_string(), node.p2p.ip().to_string());
        for other in [&public[0], &sentries[0], &sentries[1]] {
            let peers = curl(other, "/v1/peers", &[]);
            assert!(!peers.contains(&ip), "{} tells of {ip}: {peers}", other.name);
            if other.name != sentry.name {
                assert!(!cluster.log(other).contains(&address), "{} knows {address}", other.name);
            }
        }
    }
}
