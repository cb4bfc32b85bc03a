//! Processes on loopback addresses of their own, which end with their owner.

use super::{Error, Spec};
use nix::sys::{prctl, signal::Signal};
use qbind_lab::network::{self, CreateOptions, EPOCH_BLOCKS, NetworkDir, NodeInfo, Reach};
use qbind_plan::topology::{NodeRole, Topology};
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a cluster may take until every node takes transactions.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a node is asked whether it does.
const POLL: Duration = Duration::from_millis(50);
/// How much of a log an error shows.
const TAIL_BYTES: usize = 2_000;

/// Nodes that run.
pub(super) struct Cluster {
    network: NetworkDir,
    nodes: Vec<(NodeInfo, Child)>,
    directory: Option<TempDir>,
}

impl Cluster {
    /// Makes a network and starts its nodes, all from the calling thread: the kernel kills a node
    /// with the thread that started it.
    pub(super) fn start(spec: &Spec, binary: &Path) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("qbind-t234-")
            .tempdir()
            .map_err(|source| Error::Disk { path: std::env::temp_dir(), source })?;
        let shape = |detail: String| Error::Shape { validators: spec.validators, detail };
        let mut topology =
            Topology::generated(spec.validators, 1).map_err(|error| shape(error.to_string()))?;
        for region in &mut topology.regions {
            region.rpc = spec.rpc;
        }
        let network = network::create(&CreateOptions {
            topology,
            out: directory.path().join("network"),
            profile: spec.profile,
            // One more than send: the probe of the signature check has its own.
            load_accounts: spec.senders + 1,
            epoch_blocks: EPOCH_BLOCKS,
            reach: Reach::Loopback,
        })?;
        let passphrase = network.passphrase()?;
        let mut cluster = Self { nodes: Vec::new(), directory: Some(directory), network };
        for node in cluster.network.nodes().to_vec() {
            let child = cluster.spawn(&node, binary, &passphrase)?;
            cluster.nodes.push((node, child));
        }
        Ok(cluster)
    }

    fn spawn(&self, node: &NodeInfo, binary: &Path, passphrase: &str) -> Result<Child, Error> {
        let path = self.log(node);
        let disk = |source| Error::Disk { path: path.clone(), source };
        let log = File::create(&path).map_err(disk)?;
        let also = log.try_clone().map_err(disk)?;
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(self.network.node_config(&node.name))
            .args(["--enable-stage-b", "true"])
            .env(qbind_lab::PASSPHRASE_ENV, passphrase)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also);
        let parent = nix::unistd::getpid();
        let bind_to_parent = move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        };
        // SAFETY: two system calls on values made before the fork; no allocation, no lock.
        unsafe { command.pre_exec(bind_to_parent) };
        let (node, binary) = (node.name.clone(), binary.to_owned());
        command.spawn().map_err(|source| Error::Spawn { node, binary, source })
    }

    /// The network's directory.
    pub(super) fn network(&self) -> &NetworkDir {
        &self.network
    }

    /// Nodes that take transactions.
    pub(super) fn validators(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().map(|(node, _)| node).filter(|n| n.role == NodeRole::Validator)
    }

    /// Waits until every node takes transactions.
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let http = reqwest::Client::new();
        for at in 0..self.nodes.len() {
            let node = self.nodes[at].0.clone();
            loop {
                self.still_runs()?;
                let request =
                    http.get(format!("http://{}/readyz", node.http)).timeout(READY_WITHIN);
                let answer = match request.send().await {
                    Ok(response) if response.status().is_success() => break,
                    Ok(response) => {
                        let status = response.status();
                        format!("{status} {}", response.text().await.unwrap_or_default())
                    }
                    Err(error) => super::chain(&error),
                };
                if started.elapsed() > READY_WITHIN {
                    let (waited, log) = (READY_WITHIN, self.log(&node));
                    return Err(Error::NotReady { node: node.name, waited, answer, log });
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Nobody has ended by itself.
    pub(super) fn still_runs(&mut self) -> Result<(), Error> {
        for at in 0..self.nodes.len() {
            let (node, child) = &mut self.nodes[at];
            let name = node.name.clone();
            let waited = child.try_wait();
            let log = self.log(&self.nodes[at].0);
            match waited {
                Ok(None) => {}
                Ok(Some(status)) => {
                    let tail = tail(&log);
                    return Err(Error::Ended { node: name, status, log, tail });
                }
                Err(source) => return Err(Error::Disk { path: log, source }),
            }
        }
        Ok(())
    }

    /// Nothing went wrong: the logs are not needed.
    pub(super) fn discard(mut self) {
        self.stop();
        if let Some(directory) = self.directory.take()
            && let Err(error) = directory.close()
        {
            eprintln!("T234: cannot remove the cluster's directory: {error}");
        }
    }

    fn log(&self, node: &NodeInfo) -> PathBuf {
        self.network.node_dir(&node.name).join("node.log")
    }

    fn stop(&mut self) {
        for (node, child) in &mut self.nodes {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("T234: cannot end {}: {error}", node.name);
            }
        }
        self.nodes.clear();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
        if let Some(directory) = self.directory.take() {
            eprintln!(
                "T234: configuration, data and logs are kept in {}",
                directory.keep().display()
            );
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_else(|error| error.to_string().into_bytes());
    let from = text.len().saturating_sub(TAIL_BYTES);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

/// The `qbind-node` to start: the one that was named, else `QBIND_NODE_BIN`, else one beside this
/// program or up to two folders above it, where cargo puts it for tests.
///
/// # Errors
/// There is no such file.
pub fn find_node_binary(named: Option<&Path>) -> Result<PathBuf, Error> {
    let named = named.map(Path::to_owned);
    let tried = match named.or_else(|| std::env::var_os("QBIND_NODE_BIN").map(PathBuf::from)) {
        Some(path) => vec![path],
        None => match std::env::current_exe() {
            Ok(own) => own.ancestors().skip(1).take(3).map(|d| d.join("qbind-node")).collect(),
            Err(_) => vec![PathBuf::from("qbind-node")],
        },
    };
    let found = tried.iter().find(|path| path.is_file()).cloned();
    found.ok_or(Error::NoBinary { tried })
}
