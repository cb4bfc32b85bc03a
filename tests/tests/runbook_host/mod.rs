//! A provisioned MainNet host in namespaces of its own, and daemons on it.

use crate::support::{program, token};
use qbind_crypto::{address_of, genesis_hash};
use qbind_types::PublicKey;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PASSPHRASE: &str = "a passphrase for tests";
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// Makes a root of its own out of this machine's, with what the runbook names at its place, and stays
/// there until its standard input ends.
const SETUP: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 qbind-host "$ROOT"
for entry in /*; do
    name=${entry#/}
    case "$name" in
        etc|data|mnt|proc|lost+found) continue ;;
    esac
    if [ -L "$entry" ]; then
        cp -P "$entry" "$ROOT/$name"
    elif [ -d "$entry" ]; then
        mkdir "$ROOT/$name"
        mount --rbind "$entry" "$ROOT/$name"
    fi
done
mkdir -p "$ROOT/etc/qbind" "$ROOT/data/qbind" "$ROOT/mnt/snapshots" "$ROOT/proc"
mount --rbind /proc "$ROOT/proc"
for file in passwd group nsswitch.conf ld.so.cache ld.so.conf alternatives ssl; do
    if [ -e "/etc/$file" ]; then cp -a "/etc/$file" "$ROOT/etc/$file"; fi
done
echo "127.0.0.1 localhost" > "$ROOT/etc/hosts"
: > "$ROOT/etc/resolv.conf"
mount --bind "$HOST/data" "$ROOT/data/qbind"
mount --bind "$HOST/etc" "$ROOT/etc/qbind"
mount --bind "$HOST/snapshots" "$ROOT/mnt/snapshots"
mount -t tmpfs qbind-host "$ROOT/var/lib"
ip link set lo up
# Whoever is told has the new root before him.
exec chroot "$ROOT" sh -c 'echo ready; exec cat > /dev/null'
"#;

/// One host; everything of it is gone with it.
pub(crate) struct Host {
    dir: TempDir,
    /// Holds the namespaces; ends when its input is closed.
    keeper: Child,
    tools: PathBuf,
}

/// A host whose operator did section 4.1: keys are made, `/etc/qbind` holds the genesis file of a
/// network with this one validator and the node's configuration. `None`, and a word why, where this
/// process may not make namespaces.
pub(crate) fn host_or_skip() -> Option<Host> {
    let host = bare_host_or_skip()?;
    host.make_keys();
    host.provision(&genesis(&host.key()));
    Some(host)
}

/// As [`host_or_skip`], with the key in a device (section 4.1, option B): a software token that stands
/// for the vendor's.
pub(crate) fn hsm_host_or_skip() -> Option<Host> {
    let host = bare_host_or_skip()?;
    host.make_hsm_key();
    host.provision(&genesis(&host.key()));
    Some(host)
}

/// A validator's host, which holds no key, and its signer's, which holds it in a device.
pub(crate) fn signer_or_skip() -> Option<(Host, Host)> {
    let (node, signer) = (bare_host_or_skip()?, bare_host_or_skip()?);
    connect(&node, &signer);
    node.done("echo 10.99.0.2 signer.internal >> /etc/hosts");
    signer.make_hsm_key();
    // Section 4.1, option B, step 3, as typed.
    signer.write(
        "/etc/qbind/remote_signer.toml",
        "listen_addr = \"0.0.0.0:9443\"\n\
         validator_id = 42\n\
         backend_mode = \"hsm-pkcs11\"\n\
         hsm_config_path = \"/etc/qbind/hsm.toml\"\n\
         rate_limit_rps = 100\n",
    );
    node.provision(&genesis(&signer.key()));
    Some((node, signer))
}

/// The host of a network's only validator, and a fresh one that is to join it, with a cable between
/// them and the names of bootstrap peers on the second.
pub(crate) fn network_or_skip() -> Option<(Host, Host)> {
    let (founder, fresh) = (bare_host_or_skip()?, bare_host_or_skip()?);
    connect(&founder, &fresh);
    let names = "mainnet-genesis.qbind.network mainnet-bootstrap-1.qbind.network";
    fresh.done(&format!("echo 10.99.0.1 {names} >> /etc/hosts"));
    founder.make_keys();
    fresh.make_keys();
    let genesis = genesis(&founder.key());
    founder.provision(&genesis);
    fresh.provision(&genesis);
    let peers = "bootstrap_peers = [\"mainnet-bootstrap-1.qbind.network:9000\"]\n";
    fresh.write("/etc/qbind/node.toml", &(fresh.node_toml(true) + peers));
    Some((founder, fresh))
}

/// A cable: 10.99.0.1 and 10.99.0.2.
fn connect(first: &Host, second: &Host) {
    let (one, other) = (first.keeper.id().to_string(), second.keeper.id().to_string());
    let cable = ["link", "add", "q1", "netns", &one, "type", "veth", "peer", "name", "q2"];
    let cable = Command::new("ip").args(cable).args(["netns", &other]).status();
    assert!(cable.expect("ip starts").success(), "no cable between two namespaces");
    first.done("/usr/sbin/ip addr add 10.99.0.1/24 dev q1; /usr/sbin/ip link set q1 up");
    second.done("/usr/sbin/ip addr add 10.99.0.2/24 dev q2; /usr/sbin/ip link set q2 up");
}

/// A network with one validator.
fn genesis(key: &PublicKey) -> String {
    let owner = address_of(key);
    let members: Vec<String> = (1..=7).map(|n| format!("member {n}")).collect();
    let genesis = json!({
        "chain_id": "qbind-mainnet-v0",
        "network": "mainnet",
        "genesis_time_unix_ms": 1_750_000_000_000u64,
        "epoch_blocks": 50,
        "allocations": [{"address": owner, "amount": "1000000000000"}],
        "validators": [{"id": 42, "address": owner, "stake": "1000000",
            "pqc_public_key": key, "name": "validator42"}],
        "council": {"members": members, "threshold": 5},
    });
    genesis.to_string()
}

fn bare_host_or_skip() -> Option<Host> {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: mount namespaces need root");
        return None;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["root", "data", "etc", "snapshots"] {
        fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    let mut keeper = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", SETUP])
        .env("ROOT", dir.path().join("root"))
        .env("HOST", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut said = String::new();
    let stdout = keeper.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut said).expect("a line");
    if said.trim() != "ready" {
        let mut why = String::new();
        keeper.stderr.as_mut().expect("piped").read_to_string(&mut why).expect("text");
        keeper.wait().expect("ours");
        println!("SKIPPED: no namespaces here: {}", why.trim());
        return None;
    }
    program("qbind-node");
    program("qbind-snapshot");
    let tools = program("qbind-keygen").parent().expect("in a folder").to_owned();
    Some(Host { dir, keeper, tools })
}

impl Host {
    /// Section 4.1, step 1, as typed.
    fn make_keys(&self) {
        self.done(
            "qbind-keygen generate \\
  --output /data/qbind/keystore \\
  --validator-id 42 \\
  --key-roles consensus,p2p-identity,batch-signing \\
  --encrypt \\
  --passphrase-env QBIND_KEYSTORE_PASSPHRASE",
        );
    }

    /// Section 4.1, option B, steps 1 and 2.
    fn make_hsm_key(&self) {
        fs::copy(token(), self.path("/etc/qbind/token.so")).expect("copied");
        let slot = "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"/etc/qbind/token.sql\"\n";
        self.write("/etc/qbind/token.conf", slot);
        self.write(
            "/etc/qbind/hsm.toml",
            "# HSM PKCS#11 Configuration\n\
             library_path = \"/etc/qbind/token.so\"  # Vendor-specific\n\
             token_label = \"qbind-validator-42\"\n\
             key_label = \"qbind-consensus-42\"\n\
             pin_env_var = \"QBIND_HSM_PIN\"\n",
        );
        let tool = "pkcs11-tool --module /etc/qbind/token.so --slot 1 --so-pin 12345678";
        self.done(&format!("{tool} --init-token --label qbind-validator-42"));
        self.done(&format!("{tool} --login --login-type so --init-pin --new-pin $QBIND_HSM_PIN"));
        self.done("qbind-keygen hsm --generate --output /data/qbind/keystore");
    }

    fn key(&self) -> PublicKey {
        let key = fs::read_to_string(self.dir.path().join("data/keystore/consensus.pub"));
        key.expect("made").trim().parse().expect("a key")
    }

    fn provision(&self, genesis: &str) {
        self.write("/etc/qbind/genesis.json", genesis);
        self.write("/etc/qbind/node.toml", &self.node_toml(true));
    }

    /// What provisioning leaves to no flag.
    pub(crate) fn node_toml(&self, names_data_dir: bool) -> String {
        let genesis = fs::read(self.dir.path().join("etc/genesis.json")).expect("written");
        let keystore = match self.exists("/data/qbind/keystore/consensus.key") {
            true => "signer_keystore_path = \"/data/qbind/keystore\"\n",
            false => "",
        };
        let data_dir = if names_data_dir { "data_dir = \"/data/qbind\"\n" } else { "" };
        format!(
            "{data_dir}genesis_path = \"/etc/qbind/genesis.json\"\n\
             expect_genesis_hash = \"{}\"\n\
             validator_id = 42\n\
             {keystore}\
             snapshot_dir = \"/data/qbind/snapshots\"\n",
            genesis_hash(&genesis)
        )
    }

    /// The place on this machine of a path on the host.
    fn path(&self, path: &str) -> PathBuf {
        let places =
            [("/data/qbind", "data"), ("/etc/qbind", "etc"), ("/mnt/snapshots", "snapshots")];
        let place = places.iter().find_map(|(from, to)| {
            let rest = path.strip_prefix(from)?;
            Some(self.dir.path().join(to).join(rest.trim_start_matches('/')))
        });
        place.expect("a path the runbook names")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).expect("written");
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Carries a file from this host to another.
    pub(crate) fn copy_to(&self, other: &Self, from: &str, to: &str) {
        fs::copy(self.path(from), other.path(to)).expect("copied");
    }

    /// A command that runs a line on the host, in a shell.
    fn command(&self, line: &str) -> Command {
        let keeper = self.keeper.id().to_string();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &keeper, "--mount", "--net", "--root", "--wd", "--"])
            .args(["/bin/sh", "-ec", line])
            .env_clear()
            .env("PATH", format!("{}:/etc/qbind/bin:/usr/bin:/bin", self.tools.display()))
            .env("QBIND_KEYSTORE_PASSPHRASE", PASSPHRASE)
            .env("QBIND_HSM_PIN", "9081")
            .env("KRYOPTIC_CONF", "/etc/qbind/token.conf")
            .stdin(Stdio::null());
        command
    }

    /// Runs a line to its end.
    pub(crate) fn typed(&self, line: &str) -> Output {
        self.command(line).output().expect("nsenter starts")
    }

    /// Runs a line that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn done(&self, line: &str) -> String {
        let output = self.typed(line);
        assert!(output.status.success(), "{line}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a line that must be refused with this code and these words.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str, code: i32, words: &[&str]) {
        let output = self.typed(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", text(&output));
        for word in words {
            assert!(text(&output).contains(word), "{line}: no `{word}` in {}", text(&output));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().map(drop).unwrap_or_default();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A line that does not end by itself.
pub(crate) struct Daemon<'a> {
    host: &'a Host,
    line: String,
    child: Child,
    log: PathBuf,
}

impl<'a> Daemon<'a> {
    pub(crate) fn start(host: &'a Host, line: &str) -> Self {
        let log = host.dir.path().join("log");
        let file = fs::File::create(&log).expect("a file");
        let also = file.try_clone().expect("a file");
        // The shell makes way, so that a signal reaches the node.
        let child = host.command(&format!("exec {line}")).stdout(file).stderr(also).spawn();
        Self { host, line: line.to_owned(), child: child.expect("nsenter starts"), log }
    }

    /// Waits until it ends by itself: its exit code and its last words.
    pub(crate) fn ends(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("ours") {
                return (status.code(), self.said());
            }
            assert!(Instant::now() < until, "{}: goes on: {}", self.line, self.said());
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the line succeeds on its host.
    pub(crate) fn until(&mut self, line: &str) {
        self.wait(line, |daemon| daemon.host.typed(line).status.success());
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("ours");
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn get(&self, path: &str) -> Option<String> {
        let output = self.host.typed(&format!("curl -sf http://localhost:9090{path}"));
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(self) {
            let ended = self.child.try_wait().expect("ours");
            assert!(ended.is_none(), "{}: ended with {ended:?}: {}", self.line, self.said());
            assert!(Instant::now() < until, "{}: in vain: {what}: {}", self.line, self.said());
            std::thread::sleep(POLL);
        }
    }

    /// Waits until it is ready and has committed so many blocks since it was.
    pub(crate) fn commits(&mut self, blocks: u64) {
        self.wait("/readyz", |node| node.get("/readyz").is_some());
        let before = self.height();
        self.wait("new blocks", |node| node.height() >= before + blocks);
    }

    /// Waits until it is ready at this height or a later one.
    pub(crate) fn reaches(&mut self, height: u64) {
        self.wait("the height", |node| node.height() >= height);
        self.wait("/readyz", |node| node.get("/readyz").is_some());
    }

    pub(crate) fn height(&self) -> u64 {
        self.status("height").parse().unwrap_or(0)
    }

    pub(crate) fn status(&self, key: &str) -> String {
        let status = self.get("/v1/status").unwrap_or_default();
        let status: Value = serde_json::from_str(&status).unwrap_or_default();
        status[key].to_string()
    }

    /// The state root of a height.
    pub(crate) fn root_at(&self, height: u64) -> Option<String> {
        let page = self.get(&format!("/v1/commits?from={height}&limit=1"))?;
        let page: Value = serde_json::from_str(&page).ok()?;
        let commit = &page["commits"][0];
        (commit["height"] == height).then(|| commit["state_root"].to_string())
    }

    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let text = self.get("/metrics")?;
        text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Stops it as systemd would; it must end well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let status = self.child.wait().expect("ours");
        assert_eq!(status.code(), Some(0), "{}: {}", self.line, self.said());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // After `stop`, or of a test that failed.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}
