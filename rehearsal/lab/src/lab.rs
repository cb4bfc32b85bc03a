//! Nodes on the emulated network.

use crate::{
    Degradation, EmulatorSnapshot, Enter, JournalEntry, LabError, LinkSelection, NotReady, Place,
    PlaceHttp, Wan,
    journal::LabEvent,
    network::{NetworkDir, NodeInfo},
    process::{self, Spawner},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

/// How long a node may take to stop by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How often nodes are asked whether they are ready, and how long they may take to answer.
const READY_POLL: Duration = Duration::from_millis(200);
const READY_ANSWER: Duration = Duration::from_secs(2);
/// How much of a log is quoted when a node fails.
const LOG_TAIL_BYTES: u64 = 2_000;

/// What to start.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// A network directory, made by [`crate::network::create`] for [`crate::network::Reach::Lab`].
    pub dir: PathBuf,
    /// The `qbind-node` program.
    pub node_binary: PathBuf,
    /// Additional environment of every node. `QBIND_*` variables of this process are not passed
    /// on: they would override the nodes' files.
    pub env: Vec<(OsString, OsString)>,
}

/// A running lab; dropping it kills every node and removes the network.
pub struct Lab {
    // Dropped in this order: nodes, their parent thread, the network.
    nodes: Vec<Mutex<Process>>,
    http: PlaceHttp,
    spawner: Spawner,
    wan: Wan,
    network: NetworkDir,
    config: LabConfig,
    passphrase: String,
}

/// One node's process.
struct Process {
    child: Option<Child>,
    state: NodeState,
}

/// What a node's process is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum NodeState {
    /// Never started.
    Created,
    /// Running.
    Running {
        /// Its process.
        pid: u32,
    },
    /// Killed with SIGKILL on request.
    Killed,
    /// Stopped on request.
    Stopped {
        /// How it ended.
        status: String,
    },
    /// Ended without a request.
    Exited {
        /// How it ended.
        status: String,
    },
}

impl Lab {
    /// Makes the network and starts every node; does not wait for them.
    ///
    /// # Errors
    /// As [`Lab::network_up`] and [`Lab::start`].
    pub fn up(config: LabConfig) -> Result<Self, LabError> {
        let lab = Self::network_up(config)?;
        lab.start_all()?;
        Ok(lab)
    }

    /// Starts every node that is not running.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub fn start_all(&self) -> Result<(), LabError> {
        self.nodes().iter().try_for_each(|node| self.start(&node.name).map(drop))
    }

    /// Makes the network, and starts no node.
    ///
    /// # Errors
    /// The caller's fault (rights, directory, program) or the machine's; nothing is left behind.
    pub fn network_up(config: LabConfig) -> Result<Self, LabError> {
        let network = NetworkDir::open(&config.dir)?;
        if network.nodes().iter().any(|n| n.ip.is_loopback()) {
            return Err(LabError::Loopback { dir: network.dir().to_owned() });
        }
        // Nodes start in directories of their own.
        let binary = fs::canonicalize(&config.node_binary)
            .map_err(|_| LabError::NoBinary { binary: config.node_binary.clone() })?;
        let config = LabConfig { node_binary: binary, ..config };
        let passphrase = network.passphrase()?;
        let journal = network.dir().join("lab-journal.jsonl");
        let wan = Wan::up(network.topology(), Some(&journal))?;
        let thread = |source| LabError::Thread { source };
        let spawner = Spawner::start().map_err(thread)?;
        let http = PlaceHttp::new(wan.enter(&Place::Ops)?).map_err(thread)?;
        let created = || Mutex::new(Process { child: None, state: NodeState::Created });
        let nodes = network.nodes().iter().map(|_| created()).collect();
        Ok(Self { nodes, http, spawner, wan, network, config, passphrase })
    }

    /// Every node, in topology order.
    pub fn nodes(&self) -> &[NodeInfo] {
        self.network.nodes()
    }

    /// One node by name.
    ///
    /// # Errors
    /// The caller's fault: no such node.
    pub fn node(&self, name: &str) -> Result<&NodeInfo, LabError> {
        Ok(&self.nodes()[self.index(name)?])
    }

    /// The directory the nodes run from.
    pub fn network(&self) -> &NetworkDir {
        &self.network
    }

    /// The network below the nodes.
    pub fn wan(&self) -> &Wan {
        &self.wan
    }

    /// A closure that moves the calling thread into a place, for good.
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn enter(&self, place: &Place) -> Result<Enter, LabError> {
        self.wan.enter(place)
    }

    /// A runtime for asynchronous work in ops; see [`crate::runtime_in`].
    ///
    /// # Errors
    /// The machine's fault.
    pub fn ops_runtime(&self, threads: usize) -> Result<tokio::runtime::Runtime, LabError> {
        crate::runtime_in(self.wan.enter(&Place::Ops)?, threads)
            .map_err(|source| LabError::Thread { source })
    }

    /// A client whose sockets are in ops.
    pub fn http(&self) -> &PlaceHttp {
        &self.http
    }

    /// What a node's process is doing now.
    ///
    /// # Errors
    /// The caller's fault: no such node.
    pub fn state(&self, name: &str) -> Result<NodeState, LabError> {
        let at = self.index(name)?;
        Ok(self.look(at, &mut self.lock(at)))
    }

    /// Starts a node that is not running.
    ///
    /// # Errors
    /// The machine's fault: the program does not start. A running node is left as it is.
    pub fn start(&self, name: &str) -> Result<u32, LabError> {
        let at = self.index(name)?;
        let mut process = self.lock(at);
        if let NodeState::Running { pid } = self.look(at, &mut process) {
            return Ok(pid);
        }
        let failed = |source| LabError::Start { node: name.to_owned(), source };
        let command = self.command(name).map_err(failed)?;
        let place = Place::Region(self.nodes()[at].region.clone());
        let namespace = self.wan.namespace_file(&place)?;
        let child = self.spawner.spawn(command, namespace).map_err(failed)?;
        let pid = child.id();
        process.child = Some(child);
        process.state = NodeState::Running { pid };
        self.wan.note(LabEvent::NodeStarted { node: name.to_owned(), pid });
        Ok(pid)
    }

    /// Kills a node with SIGKILL, as a crash of its machine would.
    ///
    /// # Errors
    /// The caller's fault: it is not running.
    pub fn kill(&self, name: &str) -> Result<(), LabError> {
        let at = self.index(name)?;
        let mut process = self.lock(at);
        let state = self.look(at, &mut process);
        let (NodeState::Running { pid }, Some(child)) = (&state, process.child.as_mut()) else {
            let state = format!("{state:?}");
            return Err(LabError::NotRunning { node: name.to_owned(), state });
        };
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|source| LabError::Stop { node: name.to_owned(), source })?;
        self.wan.note(LabEvent::NodeKilled { node: name.to_owned(), pid: *pid });
        *process = Process { child: None, state: NodeState::Killed };
        Ok(())
    }

    /// Asks a node to stop (SIGTERM) and waits; kills it after 10 s.
    ///
    /// # Errors
    /// The machine's fault. A node that is not running is left as it is.
    pub fn stop(&self, name: &str) -> Result<NodeState, LabError> {
        let at = self.index(name)?;
        let mut process = self.lock(at);
        let state = self.look(at, &mut process);
        let (NodeState::Running { pid }, Some(child)) = (&state, process.child.as_mut()) else {
            return Ok(state);
        };
        let status = process::stop(child, STOP_GRACE)
            .map_err(|source| LabError::Stop { node: name.to_owned(), source })?;
        let status = process::describe(status);
        let (node, pid) = (name.to_owned(), *pid);
        self.wan.note(LabEvent::NodeStopped { node, pid, status: status.clone() });
        *process = Process { child: None, state: NodeState::Stopped { status } };
        Ok(process.state.clone())
    }

    /// Stops a node if it runs, and starts it.
    ///
    /// # Errors
    /// As [`Lab::stop`] and [`Lab::start`].
    pub fn restart(&self, name: &str) -> Result<u32, LabError> {
        self.stop(name)?;
        self.start(name)
    }

    /// Waits until every node answers 200 on `/readyz`; `progress` hears how many do, and may
    /// give up by returning false.
    ///
    /// # Errors
    /// Nodes that ended, or did not become ready in time, each with its reason and log.
    pub fn wait_ready(
        &self,
        timeout: Duration,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<(), LabError> {
        let deadline = Instant::now() + timeout;
        let nodes: Vec<&NodeInfo> = self.nodes().iter().collect();
        let addresses: Vec<_> = nodes.iter().map(|n| n.http).collect();
        loop {
            let answers = self.http.get_all(&addresses, "/readyz", READY_ANSWER);
            let mut waiting = Vec::new();
            let mut ended = false;
            for (node, answer) in nodes.iter().zip(answers) {
                let mut reason = match answer {
                    Ok(reply) if reply.status == 200 => continue,
                    Ok(reply) => format!("{} {}", reply.status, reply.text().trim()),
                    Err(error) => error.to_string(),
                };
                let state = self.state(&node.name)?;
                if !matches!(state, NodeState::Running { .. }) {
                    ended = true;
                    reason = format!("its process is not running: {state:?}");
                }
                waiting.push(((*node).clone(), reason));
            }
            let ready = nodes.len() - waiting.len();
            let go_on = progress(ready, nodes.len());
            if waiting.is_empty() {
                return Ok(());
            }
            if ended || !go_on || Instant::now() >= deadline {
                let explain = |(node, reason): (NodeInfo, String)| {
                    let log_tail = self.log_tail(&node.name);
                    NotReady { node, reason, log_tail }
                };
                return Err(LabError::NotReady {
                    nodes: waiting.into_iter().map(explain).collect(),
                });
            }
            std::thread::sleep(READY_POLL);
        }
    }

    /// See [`Wan::degrade`].
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn degrade(&self, on: &LinkSelection, harm: Degradation) -> Result<Vec<String>, LabError> {
        self.wan.degrade(on, harm)
    }

    /// See [`Wan::partition`].
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn partition(&self, on: &LinkSelection) -> Result<Vec<String>, LabError> {
        self.wan.partition(on)
    }

    /// See [`Wan::heal`].
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn heal(&self, on: &LinkSelection) -> Result<Vec<String>, LabError> {
        self.wan.heal(on)
    }

    /// Everything the emulator has counted.
    pub fn link_counters(&self) -> EmulatorSnapshot {
        self.wan.counters()
    }

    /// What was done so far; unexpected ends of nodes are noticed here at the latest.
    pub fn journal(&self) -> Vec<JournalEntry> {
        for (at, process) in self.nodes.iter().enumerate() {
            self.look(at, &mut process.lock().expect("no holder of this lock panics"));
        }
        self.wan.journal()
    }

    /// Stops every node, all at once, and removes the network.
    ///
    /// # Errors
    /// The first node that could not be stopped; the others are stopped all the same.
    pub fn down(self) -> Result<(), LabError> {
        let outcome = std::thread::scope(|scope| {
            let lab = &self;
            let mut stops = Vec::new();
            for node in lab.nodes() {
                stops.push(scope.spawn(move || lab.stop(&node.name).map(drop)));
            }
            let outcomes: Vec<_> = stops.into_iter().map(|s| s.join()).collect();
            outcomes.into_iter().try_for_each(|o| o.expect("the thread returns its errors"))
        });
        self.wan.note(LabEvent::Down);
        outcome
    }

    fn command(&self, name: &str) -> io::Result<Command> {
        let dir = self.network.node_dir(name);
        let log = OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        let mut command = Command::new(&self.config.node_binary);
        command.arg("--config").arg(self.network.node_config(name)).current_dir(&dir);
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"QBIND_") {
                command.env_remove(key);
            }
        }
        command.env(crate::PASSPHRASE_ENV, &self.passphrase);
        command.envs(self.config.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Brings a process's state up to date.
    fn look(&self, at: usize, process: &mut Process) -> NodeState {
        let Some(child) = &mut process.child else { return process.state.clone() };
        let pid = child.id();
        if let Ok(Some(status)) = child.try_wait() {
            let status = process::describe(status);
            let node = self.nodes()[at].name.clone();
            self.wan.note(LabEvent::NodeExited { node, pid, status: status.clone() });
            *process = Process { child: None, state: NodeState::Exited { status } };
        }
        process.state.clone()
    }

    fn lock(&self, at: usize) -> std::sync::MutexGuard<'_, Process> {
        self.nodes[at].lock().expect("no holder of this lock panics")
    }

    fn index(&self, name: &str) -> Result<usize, LabError> {
        self.nodes().iter().position(|n| n.name == name).ok_or_else(|| LabError::UnknownNode {
            node: name.to_owned(),
            known: self.nodes().iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    fn log_tail(&self, name: &str) -> String {
        read_tail(&self.network.node_dir(name).join("log")).unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for (process, node) in self.nodes.iter_mut().zip(self.network.nodes()) {
            let process = process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(mut child) = process.child.take()
                && let Err(error) = child.kill().and_then(|()| child.wait())
            {
                eprintln!("lab: cannot kill node {}: {error}", node.name);
            }
        }
    }
}

/// The last lines of a file.
fn read_tail(file: &Path) -> io::Result<String> {
    let mut file = fs::File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
