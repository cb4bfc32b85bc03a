//! Starting a supervisor in the background and hearing from it until the lab is up.

use serde::{Deserialize, Serialize};
use std::{
    fs::OpenOptions,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};
use thiserror::Error;

/// What a supervisor says on its standard output, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announcement {
    /// How many nodes are ready.
    Progress {
        /// Ready.
        ready: usize,
        /// Of all.
        of: usize,
    },
    /// All are, and the control socket answers.
    Up,
    /// There is no lab, and nothing is left of it.
    Failed {
        /// Why, with its causes.
        error: String,
        /// The exit code that says so.
        exit: u8,
    },
}

/// Why a supervisor did not bring its lab up.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// Its process cannot be started or heard.
    #[error("cannot start the lab's supervisor")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// It failed, and said why.
    #[error("{error}")]
    Failed {
        /// Why.
        error: String,
        /// The exit code that says so.
        exit: u8,
    },
    /// It ended without a word.
    #[error("the lab's supervisor ended without a word: see supervisor.log in its directory")]
    Silent,
    /// The caller was interrupted; the lab has been taken down again.
    #[error("interrupted; the lab has been taken down again")]
    Interrupted,
}

/// What the waiting caller hears.
enum Heard {
    Said(Announcement),
    End,
    Signal,
}

/// Says something to who launched this supervisor; false if nobody listens any more.
pub fn announce(announcement: &Announcement) -> bool {
    let mut line = serde_json::to_string(announcement).expect("plain data serialises");
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Sends everything this process writes to standard error to `supervisor.log` in a directory.
///
/// # Errors
/// The file cannot be opened.
pub fn log_to(dir: &Path) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("supervisor.log"))?;
    Ok(nix::unistd::dup2_stderr(&log)?)
}

/// Starts a supervisor in a session of its own and waits until its lab is up.
///
/// `command` must [`announce`] what it does. SIGINT, SIGTERM and SIGHUP end it again; call this
/// before other threads are started.
///
/// # Errors
/// See [`LaunchError`]; whatever it is, no lab is left.
pub fn launch(
    mut command: Command,
    mut progress: impl FnMut(usize, usize),
) -> Result<(), LaunchError> {
    let start = |source| LaunchError::Start { source };
    let (tell, heard) = mpsc::channel();
    let on_signal = tell.clone();
    super::serve::watch_signals(move || on_signal.send(Heard::Signal).is_ok()).map_err(start)?;
    // Its standard error would keep the caller's pipe or terminal busy as long as the lab lives.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let detach = || {
        nix::unistd::setsid()?;
        // Blocked here, to be waited for; the child decides for itself.
        Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?)
    };
    // SAFETY: two system calls; no allocation, no lock.
    unsafe { command.pre_exec(detach) };
    let mut child = command.spawn().map_err(start)?;
    let output = child.stdout.take().expect("piped above");
    let listen = move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Anything else is not meant for us.
            if let Ok(announcement) = serde_json::from_str(&line)
                && tell.send(Heard::Said(announcement)).is_err()
            {
                return;
            }
        }
        // The caller may have gone on already.
        tell.send(Heard::End).ok();
    };
    std::thread::Builder::new().name("listen".to_owned()).spawn(listen).map_err(start)?;
    loop {
        match heard.recv().unwrap_or(Heard::End) {
            Heard::Said(Announcement::Progress { ready, of }) => progress(ready, of),
            Heard::Said(Announcement::Up) => return Ok(()),
            Heard::Said(Announcement::Failed { error, exit }) => {
                child.wait().map_err(start)?;
                return Err(LaunchError::Failed { error, exit });
            }
            Heard::End => {
                child.wait().map_err(start)?;
                return Err(LaunchError::Silent);
            }
            Heard::Signal => return Err(interrupt(&mut child)),
        }
    }
}

/// Ends a supervisor that is still bringing its lab up.
fn interrupt(child: &mut Child) -> LaunchError {
    let ended = crate::process::terminate(child).and_then(|()| child.wait());
    ended.map_or_else(|source| LaunchError::Start { source }, |_| LaunchError::Interrupted)
}
