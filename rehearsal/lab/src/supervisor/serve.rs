//! The process that owns the lab.

use super::{
    NodeStatus, PlaceStatus, Reply, Request, SOCKET, STATE, Status, socket_path,
    state::{self, StateError},
};
use crate::{
    Degradation, Lab, LabConfig, LabError, NodeState, Place, Privilege, error::chain, prometheus,
};
use nix::sys::signal::{SigSet, Signal};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    time::Duration,
};
use thiserror::Error as ThisError;

/// How long a node may take to answer for `status`.
const STATUS_ANSWER: Duration = Duration::from_millis(800);

/// What to own.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// What to start.
    pub lab: LabConfig,
    /// How long nodes may take to become ready.
    pub ready_timeout: Duration,
    /// Where this process got its rights.
    pub privilege: Privilege,
}

/// Why there is no lab any more, or never was.
#[derive(Debug, ThisError)]
pub enum ServeError {
    /// The lab could not be made, or its nodes did not become ready.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The directory is in use or cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No control socket.
    #[error("cannot listen on the control socket")]
    Socket {
        /// Why.
        source: io::Error,
    },
    /// Told to stop before the nodes were ready.
    #[error("interrupted before the nodes were ready")]
    Interrupted,
}

/// Why the lab ends.
enum End {
    /// Told by a signal; the lab is still up.
    Signal,
    /// Asked to; the lab is down and the reply written.
    Asked,
}

/// Brings a lab up, answers requests until told to end, and takes it down.
///
/// `progress` hears how many nodes are ready, and may give up by returning false; `is_up` is
/// called once, when all are and requests are answered. Call this before other threads are
/// started: it takes SIGINT, SIGTERM and SIGHUP for itself.
///
/// # Errors
/// See [`ServeError`]; whatever it is, nothing is left behind.
pub fn serve(
    options: &ServeOptions,
    mut progress: impl FnMut(usize, usize) -> bool,
    is_up: impl FnOnce(),
) -> Result<(), ServeError> {
    let (end, ended) = mpsc::channel();
    let on_signal = end.clone();
    watch_signals(move || on_signal.send(End::Signal).is_ok())
        .map_err(|source| ServeError::Socket { source })?;
    let dir = std::fs::canonicalize(&options.lab.dir)
        .map_err(|source| StateError::File { file: options.lab.dir.clone(), source })?;
    let _hold = state::take(&dir)?;
    let _files = Files(&dir);
    let lab = Lab::up(options.lab.clone())?;
    state::write(&dir, &pids(&lab)?)?;
    let socket = |source| ServeError::Socket { source };
    let directory = File::open(&dir).map_err(socket)?;
    let listener = UnixListener::bind(socket_path(&directory)).map_err(socket)?;

    let mut interrupted = false;
    let ready = lab.wait_ready(options.ready_timeout, |ready, of| {
        interrupted = matches!(ended.try_recv(), Ok(End::Signal));
        !interrupted && progress(ready, of)
    });
    if interrupted {
        return Err(ServeError::Interrupted);
    }
    ready?;

    let desk = Arc::new(Desk {
        lab: RwLock::new(Some(lab)),
        dir: dir.clone(),
        privilege: options.privilege,
        changing: Mutex::new(()),
    });
    let accepting = Arc::clone(&desk);
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let (desk, end) = (Arc::clone(&accepting), end.clone());
            let converse = move || desk.converse(&stream, &end);
            if let Err(error) = std::thread::Builder::new().spawn(converse) {
                eprintln!("lab: cannot answer a request: {error}");
            }
        }
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(accept).map_err(socket)?;
    is_up();
    match ended.recv() {
        Ok(End::Asked) => Ok(()),
        Ok(End::Signal) | Err(_) => Ok(desk.down()?),
    }
}

/// Removes socket and state when the lab ends, however.
struct Files<'a>(&'a std::path::Path);

impl Drop for Files<'_> {
    fn drop(&mut self) {
        for name in [SOCKET, STATE] {
            if let Err(error) = state::remove(&self.0.join(name)) {
                eprintln!("lab: {error}");
            }
        }
    }
}

/// Calls back for SIGINT, SIGTERM and SIGHUP instead of dying of them, until it returns false.
pub(super) fn watch_signals(hear: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let watch = move || while signals.wait().is_ok() && hear() {};
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}

fn pids(lab: &Lab) -> Result<Vec<u32>, LabError> {
    let mut pids = Vec::new();
    for node in lab.nodes() {
        if let NodeState::Running { pid } = lab.state(&node.name)? {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Answers requests.
struct Desk {
    /// `None` once it is down.
    lab: RwLock<Option<Lab>>,
    dir: PathBuf,
    privilege: Privilege,
    /// Held while the state file is rewritten.
    changing: Mutex<()>,
}

impl Desk {
    /// Answers one client until it hangs up.
    fn converse(&self, stream: &UnixStream, end: &mpsc::Sender<End>) {
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(line)) = lines.next() {
            let (reply, is_last) = self.answer(&line);
            let mut text = serde_json::to_string(&reply).expect("plain data serialises");
            text.push('\n');
            let mut writer = stream;
            let written = writer.write_all(text.as_bytes());
            if is_last && reply == Reply::Down {
                // When nobody listens any more the lab has ended by a signal already.
                end.send(End::Asked).ok();
            }
            if is_last || written.is_err() {
                return;
            }
        }
    }

    fn answer(&self, line: &str) -> (Reply, bool) {
        let request: Request = match serde_json::from_str(line) {
            Ok(request) => request,
            Err(error) => return (wrong(format!("not a request: {error}")), false),
        };
        if request == Request::Down {
            return match self.down() {
                Ok(()) => (Reply::Down, true),
                Err(error) => (failed(&error), true),
            };
        }
        let lab = self.lab.read().unwrap_or_else(PoisonError::into_inner);
        let Some(lab) = lab.as_ref() else {
            return (wrong("the lab is down".to_owned()), true);
        };
        (self.carry_out(lab, request).unwrap_or_else(|error| failed(&error)), false)
    }

    fn carry_out(&self, lab: &Lab, request: Request) -> Result<Reply, LabError> {
        let links = |links| Reply::Links { links };
        Ok(match request {
            Request::Status => Reply::Status(Box::new(self.status(lab)?)),
            Request::Counters => Reply::Counters(Box::new(lab.link_counters())),
            Request::Metrics => {
                Reply::Metrics { text: prometheus(&lab.link_counters(), lab.wan().overruns()?) }
            }
            Request::Journal => Reply::Journal { entries: lab.journal() },
            Request::Place { name } => {
                let node = lab.nodes().iter().find(|n| n.name == name);
                let place = Place::parse(node.map_or(&name, |n| &n.region));
                let fd = lab.wan().namespace_fd(&place)?;
                Reply::Place(PlaceStatus { pid: std::process::id(), fd, privilege: self.privilege })
            }
            Request::Degrade { links: on, degradation } => {
                links(lab.degrade(&on.parse()?, degradation)?)
            }
            Request::Partition { links: on } => links(lab.partition(&on.parse()?)?),
            Request::Heal { links: on } => links(lab.heal(&on.parse()?)?),
            Request::Kill { node } => {
                lab.kill(&node)?;
                Reply::Node { state: lab.state(&node)? }
            }
            Request::Stop { node } => Reply::Node { state: lab.stop(&node)? },
            Request::Restart { node } => {
                lab.restart(&node)?;
                let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = state::write(&self.dir, &pids(lab)?) {
                    eprintln!("lab: {error}");
                }
                Reply::Node { state: lab.state(&node)? }
            }
            Request::Down => unreachable!("answered before"),
        })
    }

    fn status(&self, lab: &Lab) -> Result<Status, LabError> {
        let addresses: Vec<_> = lab.nodes().iter().map(|n| n.http).collect();
        let ready = lab.http().get_all(&addresses, "/readyz", STATUS_ANSWER);
        let accounts = lab.http().get_all(&addresses, "/v1/status", STATUS_ANSWER);
        let mut nodes = Vec::new();
        for ((info, ready), account) in lab.nodes().iter().zip(ready).zip(accounts) {
            nodes.push(NodeStatus {
                info: info.clone(),
                process: lab.state(&info.name)?,
                is_ready: ready.is_ok_and(|r| r.status == 200),
                status: account.ok().filter(|a| a.is_success()).and_then(|a| a.json()),
            });
        }
        let harm = lab.link_counters().links.into_iter().filter_map(|link| {
            let Degradation { delay_us, jitter_us, loss_bps } = link.degradation;
            let degraded = (link.degradation != Degradation::default())
                .then(|| format!("+{delay_us} us, +-{jitter_us} us, +{loss_bps} bps lost"));
            let cut = link.is_cut.then(|| "cut".to_owned());
            Some(format!("{} {}", link.id(), cut.or(degraded)?))
        });
        Ok(Status {
            topology: lab.network().topology().name.clone(),
            pid: std::process::id(),
            privilege: self.privilege,
            nodes,
            harm: harm.collect(),
            overruns: lab.wan().overruns()?,
        })
    }

    /// Takes the lab down, once.
    fn down(&self) -> Result<(), LabError> {
        let lab = self.lab.write().unwrap_or_else(PoisonError::into_inner).take();
        lab.map_or(Ok(()), Lab::down)
    }
}

fn wrong(error: String) -> Reply {
    Reply::Failed { error, callers_fault: true }
}

fn failed(error: &LabError) -> Reply {
    let callers_fault = matches!(
        error,
        LabError::UnknownNode { .. }
            | LabError::UnknownPlace { .. }
            | LabError::NotRunning { .. }
            | LabError::Selection(_)
    );
    Reply::Failed { error: chain(error), callers_fault }
}
