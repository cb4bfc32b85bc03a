//! What a supervisor writes down so that the next one can clean up after it.

use super::{LOCK, SOCKET, STATE};
use crate::process;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use thiserror::Error;

const SCHEMA: &str = "qbind.lab-state/v1";
/// How long a killed supervisor may take to die, and how often it is looked at.
const DYING: Duration = Duration::from_secs(10);
const DYING_POLL: Duration = Duration::from_millis(20);

/// A process that may have to be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRef {
    pub(super) pid: u32,
    /// Tells it from a later process of the same number.
    pub(super) start_ticks: u64,
}

impl ProcessRef {
    /// Whether it is there and not on its way out.
    fn is_alive(&self) -> bool {
        process::start_ticks(self.pid) == Some(self.start_ticks) && !process::is_dying(self.pid)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) schema: String,
    pub(super) supervisor: ProcessRef,
    pub(super) nodes: Vec<ProcessRef>,
}

/// Why a directory cannot be taken over.
#[derive(Debug, Error)]
pub enum StateError {
    /// A lab is up there.
    #[error("a lab is already up in {} (process {pid}): end it with `lab down`", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Its supervisor.
        pid: u32,
    },
    /// A file there cannot be read, written or removed.
    #[error("cannot use {}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process of a dead lab cannot be ended.
    #[error("cannot end process {pid}, which a dead lab left")]
    Leftover {
        /// Which.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

/// Holds a directory until dropped; the kernel lets go of it when the process dies.
pub(super) struct Hold(#[expect(dead_code, reason = "held, not used")] Flock<File>);

/// Takes a directory, and removes what a killed supervisor left there.
pub(super) fn take(dir: &Path) -> Result<Hold, StateError> {
    let file = dir.join(LOCK);
    let fail = |source| StateError::File { file: file.clone(), source };
    let deadline = Instant::now() + DYING;
    let hold = loop {
        let lock = File::options().create(true).append(true).open(&file).map_err(fail)?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(hold) => break hold,
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(fail(errno.into())),
        }
        // A killed supervisor holds it until the kernel has removed its devices.
        let holder = read(dir)?.map(|state| state.supervisor);
        if holder.as_ref().is_none_or(ProcessRef::is_alive) || Instant::now() > deadline {
            let pid = holder.map_or(0, |process| process.pid);
            return Err(StateError::InUse { dir: dir.to_owned(), pid });
        }
        std::thread::sleep(DYING_POLL);
    };
    if let Some(state) = read(dir)? {
        for process in &state.nodes {
            end(process)?;
        }
    }
    for name in [SOCKET, STATE] {
        remove(&dir.join(name))?;
    }
    Ok(Hold(hold))
}

/// Removes what a killed supervisor left in a directory.
///
/// # Errors
/// The directory's lab is up, or something cannot be removed.
pub fn clean(dir: &Path) -> Result<(), StateError> {
    let _hold = take(dir)?;
    Ok(())
}

/// Writes the state, whole or not at all.
pub(super) fn write(dir: &Path, nodes: &[u32]) -> Result<(), StateError> {
    let reference =
        |pid| process::start_ticks(pid).map(|start_ticks| ProcessRef { pid, start_ticks });
    let own = std::process::id();
    let supervisor = reference(own).unwrap_or(ProcessRef { pid: own, start_ticks: 0 });
    let nodes = nodes.iter().filter_map(|pid| reference(*pid)).collect();
    let state = State { schema: SCHEMA.to_owned(), supervisor, nodes };
    let text = serde_json::to_string(&state).expect("plain data serialises");
    let file = dir.join(STATE);
    let draft = dir.join(format!("{STATE}.new"));
    let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &file));
    written.map_err(|source| StateError::File { file, source })
}

/// The state, where there is one.
pub(super) fn read(dir: &Path) -> Result<Option<State>, StateError> {
    let file = dir.join(STATE);
    match fs::read(&file) {
        // A state nobody can read names no process; it is removed with the rest.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::File { file, source }),
    }
}

pub(super) fn remove(file: &Path) -> Result<(), StateError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StateError::File { file: file.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Kills a process if it is still the one that was meant.
fn end(leftover: &ProcessRef) -> Result<(), StateError> {
    if process::start_ticks(leftover.pid) != Some(leftover.start_ticks) {
        return Ok(());
    }
    match kill(Pid::from_raw(leftover.pid.cast_signed()), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(StateError::Leftover { pid: leftover.pid, source: errno.into() }),
    }
}
