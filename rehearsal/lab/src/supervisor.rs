//! A lab that outlives the command that started it: a process that owns it, and its control socket.
//!
//! `DIR/lab.sock` speaks one JSON request and one JSON reply a line; `DIR/lab.json` says whose
//! socket it is. Both are left behind when the supervisor is killed; its nodes, namespaces and
//! devices are not, and [`clean`] removes the rest.

mod client;
mod launch;
mod protocol;
mod serve;
mod state;

pub use client::{Client, ControlError, exec};
pub use launch::{Announcement, LaunchError, announce, launch, log_to};
pub use protocol::{NodeStatus, PlaceStatus, Reply, Request, Status};
pub use serve::{ServeError, ServeOptions, serve};
pub use state::{StateError, clean};

use std::path::{Path, PathBuf};

const SOCKET: &str = "lab.sock";
const STATE: &str = "lab.json";
const LOCK: &str = "lab.lock";

/// The socket's path through a descriptor of its directory: a socket's own path is limited to 107
/// bytes, a directory's is not.
fn socket_path(dir: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(SOCKET)
}
