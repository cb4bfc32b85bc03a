//! Asking a supervisor.

use super::{LOCK, PlaceStatus, Reply, Request, Status, socket_path};
use crate::Privilege;
use nix::{
    fcntl::{Flock, FlockArg},
    sched::{CloneFlags, setns},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};
use thiserror::Error;

/// Why a supervisor does not do what it was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No lab is up there.
    #[error("no lab is up in {}: start one with `lab up`", dir.display())]
    NotUp {
        /// The directory.
        dir: PathBuf,
        /// Why its socket cannot be reached.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the lab's supervisor hung up")]
    HungUp {
        /// Why.
        source: io::Error,
    },
    /// It answered something else.
    #[error("the lab's supervisor answered \"{answer}\", which does not fit the request")]
    Unexpected {
        /// What it said.
        answer: String,
    },
    /// It refused.
    #[error("{error}")]
    Refused {
        /// Why.
        error: String,
        /// Whether the request was wrong, not the machine.
        callers_fault: bool,
    },
    /// The place cannot be entered.
    #[error("cannot enter the place")]
    Enter {
        /// Why.
        source: io::Error,
    },
    /// The command cannot be run.
    #[error("cannot run {program}")]
    Exec {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// A conversation with the supervisor of a directory.
pub struct Client {
    dir: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Reaches the supervisor of a directory.
    ///
    /// # Errors
    /// No lab is up there.
    pub fn connect(dir: &Path) -> Result<Self, ControlError> {
        let connect = || UnixStream::connect(socket_path(&File::open(dir)?));
        let stream =
            connect().map_err(|source| ControlError::NotUp { dir: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The supervisor's refusal, or its end.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ControlError> {
        let hung_up = |source| ControlError::HungUp { source };
        let mut line = serde_json::to_string(request).expect("plain data serialises");
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).map_err(hung_up)?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer).map_err(hung_up)? == 0 {
            return Err(hung_up(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&answer) {
            Ok(Reply::Failed { error, callers_fault }) => {
                Err(ControlError::Refused { error, callers_fault })
            }
            Ok(reply) => Ok(reply),
            Err(_) => Err(ControlError::Unexpected { answer }),
        }
    }

    /// What runs, and how.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn status(&mut self) -> Result<Status, ControlError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Where a place's namespace is; a node's place is its region.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn place(&mut self, name: &str) -> Result<PlaceStatus, ControlError> {
        match self.ask(&Request::Place { name: name.to_owned() })? {
            Reply::Place(place) => Ok(place),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the lab, and waits until nothing of it is left.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub fn down(mut self) -> Result<(), ControlError> {
        match self.ask(&Request::Down)? {
            Reply::Down => {}
            other => return Err(unexpected(&other)),
        }
        let hung_up = |source| ControlError::HungUp { source };
        let lock = File::options().append(true).open(self.dir.join(LOCK)).map_err(hung_up)?;
        // The supervisor holds it until it has removed its last file.
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| hung_up(errno.into()))?;
        Ok(())
    }
}

fn unexpected(reply: &Reply) -> ControlError {
    let answer = serde_json::to_string(reply).expect("plain data serialises");
    ControlError::Unexpected { answer }
}

/// Replaces this process by a command inside a place; returns only when it cannot.
///
/// Where the lab lives in a user namespace, call it before other threads are started.
pub fn exec(place: &PlaceStatus, program: &str, arguments: &[String]) -> ControlError {
    let enter = |path: String, kind| -> io::Result<()> {
        let namespace = File::open(path)?;
        Ok(setns(namespace, kind)?)
    };
    let PlaceStatus { pid, fd, privilege } = place;
    let entered = match privilege {
        Privilege::Capabilities => Ok(()),
        Privilege::UserNamespace => {
            enter(format!("/proc/{pid}/ns/user"), CloneFlags::CLONE_NEWUSER)
        }
    };
    let entered =
        entered.and_then(|()| enter(format!("/proc/{pid}/fd/{fd}"), CloneFlags::CLONE_NEWNET));
    if let Err(source) = entered {
        return ControlError::Enter { source };
    }
    let source = Command::new(program).args(arguments).exec();
    ControlError::Exec { program: program.to_owned(), source }
}
