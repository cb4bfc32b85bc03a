//! A validator's key rotates in a real network by the runbook's own command lines, and whoever was
//! not there follows the chain through all of it by certificates. Needs network namespaces and TUN.

mod support;

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};
use support::{lab_or_skip, program};

/// Short, so that a grace period passes in seconds.
const EPOCH_BLOCKS: &str = "8";
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

/// A lab of ten nodes, run by the operator's program; ends with the test.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn up() -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        program("qbind-node");
        lab.ctl(&["up", "--epoch-blocks", EPOCH_BLOCKS]);
        lab
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("lab")
    }

    fn run(&self, args: &[&str]) -> Output {
        let passphrase = std::fs::read_to_string(self.path().join("passphrase"));
        Command::new(program("qbindctl"))
            .args(args)
            .current_dir(self.dir.path())
            .env("QBIND_KEYSTORE_PASSPHRASE", passphrase.unwrap_or_default().trim())
            .env("PATH", format!("{}:/usr/bin:/bin", tools().display()))
            .output()
            .expect("the program starts")
    }

    fn ctl(&self, args: &[&str]) {
        let (verb, rest) = args.split_first().expect("a verb");
        let dir = self.path();
        let dir = dir.to_str().expect("a text path");
        let output = self.run(&[&["lab", verb, "--dir", dir], rest].concat());
        assert!(output.status.success(), "lab {args:?}: {}", text(&output));
    }

    /// A shell command line as an operator types it beside a node.
    fn typed(&self, node: &str, line: &str) -> Output {
        let dir = self.path();
        let dir = dir.to_str().expect("a text path");
        let url = format!("export QBIND_NODE_URL=http://{}; {line}", self.http(node));
        self.run(&["lab", "exec", "--dir", dir, node, "--", "/bin/sh", "-ec", &url])
    }

    fn done(&self, node: &str, line: &str) -> String {
        let output = self.typed(node, line);
        assert!(output.status.success(), "{line}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn http(&self, node: &str) -> String {
        let file = std::fs::read(self.path().join("network.json")).expect("the lab wrote it");
        let network: Value = serde_json::from_slice(&file).expect("JSON");
        let nodes = network["nodes"].as_array().expect("a list");
        let found = nodes.iter().find(|n| n["name"] == node).expect("a node of the topology");
        found["http"].as_str().expect("text").to_owned()
    }

    fn status(&self, node: &str) -> Value {
        let line = format!("curl -s http://{}/v1/status", self.http(node));
        let output = self.typed(node, &line);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn metric(&self, node: &str, name: &str) -> Option<u64> {
        let line = format!("curl -s http://{}/metrics", self.http(node));
        let output = self.typed(node, &line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
    }

    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < until, "in vain: {what}");
            std::thread::sleep(POLL);
        }
    }

    fn wait_for_epoch(&self, node: &str, epoch: u64) {
        self.wait(&format!("epoch {epoch} on {node}"), || {
            self.status(node)["epoch"].as_u64() >= Some(epoch)
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let dir = self.path();
        self.run(&["lab", "down", "--dir", dir.to_str().unwrap_or_default()]);
    }
}

/// Where the programs are; all of them built.
fn tools() -> PathBuf {
    program("qbind-node").parent().expect("in a folder").to_owned()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn exchange(from: &Path, to: &Path, old: &Path) {
    std::fs::rename(to, old).expect("mv current old");
    std::fs::rename(from, to).expect("mv new current");
}

#[test]
fn a_key_rotates_as_the_runbook_types_it_and_an_emergency_ends_the_old_key_at_once() {
    if !lab_or_skip() {
        return;
    }
    let lab = Lab::up();
    let keystore = lab.path().join("nodes/us-v2/keystore");
    let new = lab.path().join("nodes/us-v2/new");
    let (current, fresh) = (keystore.display(), new.display());
    // Section 6.2, steps 1 to 3.
    lab.done(
        "us-v2",
        &format!(
            "qbind-keygen generate --output {fresh} --validator-id 5 --key-role consensus \
             --encrypt --passphrase-env QBIND_KEYSTORE_PASSPHRASE"
        ),
    );
    lab.done("us-v2", &format!("qbind-keygen verify --keystore {fresh}"));
    let init = |grace: &str, output: &str| {
        let line = format!(
            "qbind-key-rotation init --validator-id 5 --key-role consensus \
             --old-key-path {current}/consensus.pub --new-key-path {fresh}/consensus.pub \
             --grace-epochs {grace} --output {output}"
        );
        lab.done("us-v2", &line);
        let event = std::fs::read(lab.dir.path().join(output.split(' ').next().expect("a name")));
        let event: Value = serde_json::from_slice(&event.expect("written")).expect("JSON");
        event["effective_epoch"].as_u64().expect("a number")
    };
    let epoch = lab.status("us-v2")["epoch"].as_u64().expect("a number");
    let planned = init("100", "planned.json");
    assert!(planned == epoch + 10 || planned == epoch + 11, "{planned}, now {epoch}");
    // Ten epochs are long for a test.
    let effective = epoch + 2;
    init("4", &format!("rotation-event.json --effective-epoch {effective}"));
    let submit = format!(
        "qbind-validator-registry submit-rotation --event rotation-event.json \
         --sign-with {current}/consensus.key"
    );
    lab.done("us-v2", &submit);
    // Wrong input: the same again, somebody else's key, an event that is none.
    let again = lab.typed("us-v2", &submit);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert!(text(&again).contains("rotation in progress"), "{}", text(&again));
    let foreign = submit.replace("us-v2", "jp-v1");
    let foreign = lab.typed("us-v2", &foreign);
    assert!(text(&foreign).contains("does not own validator 5"), "{}", text(&foreign));
    let none = lab.typed("us-v2", &submit.replace("rotation-event.json", "lab/network.json"));
    assert_eq!(none.status.code(), Some(64), "{}", text(&none));
    // Step 4.
    let pending = "qbind_consensus_key_rotation_pending{validator=\"5\"}";
    let remaining = "qbind_consensus_key_rotation_grace_epochs_remaining{validator=\"5\"}";
    lab.wait("the rotation is pending everywhere", || lab.metric("jp-v1", pending) == Some(1));
    assert_eq!(lab.metric("jp-v1", remaining), Some(4));
    // In grace the operator changes the keystore and starts the node again.
    lab.wait_for_epoch("us-v2", effective);
    assert_eq!(lab.status("us-v2")["validator_id"], 5, "the old key is valid too");
    lab.ctl(&["stop", "us-v2"]);
    exchange(&new, &keystore, &lab.path().join("nodes/us-v2/old"));
    lab.ctl(&["restart", "us-v2"]);
    lab.wait("the node validates with its new key", || {
        lab.status("us-v2")["validator_id"] == 5
            && lab.metric("us-v2", "qbind_signer_sign_requests_total{kind=\"commit_vote\"}")
                > Some(5)
    });
    // Step 5.
    lab.wait("the rotation is over", || lab.metric("jp-v1", pending) == Some(0));
    assert_eq!(lab.metric("jp-v1", remaining), Some(0));
    assert_eq!(lab.status("us-v2")["validator_id"], 5);
    // Section 10.1: another validator's key is suspected.
    let host = lab.path().join("nodes/jp-v1/new");
    let (host, owner) = (host.display(), lab.path().join("nodes/jp-v1/keystore"));
    let owner = owner.display();
    let emergency = "qbind-key-rotation emergency --validator-id 3 --reason suspected_compromise \
                     --effective-immediately";
    let unprepared = lab.typed("us-v2", emergency);
    assert!(text(&unprepared).contains("there is no new key"), "{}", text(&unprepared));
    lab.done(
        "us-v2",
        &format!(
            "qbind-keygen generate --output {host} --validator-id 3 --key-role consensus --encrypt"
        ),
    );
    lab.done("us-v2", &format!("{emergency} --new-key-path {host}/consensus.pub"));
    lab.done(
        "us-v2",
        &format!(
            "qbind-validator-registry submit-rotation --event emergency-rotation-event.json \
             --sign-with {owner}/consensus.key --expedited"
        ),
    );
    lab.wait("the old key is worth nothing", || {
        lab.status("jp-v1")["validator_id"].is_null() && lab.status("jp-v1")["height"].is_u64()
    });
    let height = lab.status("us-v2")["height"].as_u64();
    lab.wait("the others go on", || lab.status("us-v2")["height"].as_u64() > height);
    // Who was not there: from genesis through every epoch, all blocks and by the ends of epochs.
    let genesis = lab.path().join("genesis.json");
    let genesis = genesis.display();
    let verify = format!(
        "qbindctl chain verify --genesis {genesis} --node {} --output json",
        lab.http("eu-rpc1")
    );
    let all: Value = serde_json::from_str(&lab.done("us-v2", &verify)).expect("JSON");
    let few: Value =
        serde_json::from_str(&lab.done("us-v2", &format!("{verify} --skip"))).expect("JSON");
    let (epochs, heights) = (&all["epochs"], all["height"].as_u64().unwrap_or(0));
    assert!(epochs.as_array().is_some_and(|e| e.len() as u64 > effective + 4), "{all}");
    assert_eq!(all["certificates"].as_u64(), Some(heights));
    assert!(few["certificates"].as_u64().is_some_and(|few| few < heights / 2), "{few}");
    assert!(few["height"].as_u64() >= Some(heights), "{few}");
    let changed = std::fs::read_to_string(lab.path().join("genesis.json")).expect("it is there");
    let changed = changed.replacen("000000\"", "000001\"", 1);
    std::fs::write(lab.dir.path().join("other.json"), changed).expect("a file");
    let other = verify.replace(&genesis.to_string(), "other.json");
    let other = lab.typed("us-v2", &other);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));
    assert!(text(&other).contains("does not show the chain of this genesis"), "{}", text(&other));
}
