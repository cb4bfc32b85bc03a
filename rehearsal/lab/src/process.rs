//! Real processes inside namespaces that cannot outlive the lab.

use nix::sys::{
    prctl,
    signal::{SigSet, Signal, kill},
};
use nix::unistd::Pid;
use std::{
    fs::File,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often a process that was asked to stop is looked at.
const POLL: Duration = Duration::from_millis(10);

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// The thread all processes are started from.
///
/// The kernel kills a process with its parent *thread* (`PR_SET_PDEATHSIG`), hence one thread
/// that lives as long as the lab.
pub(crate) struct Spawner {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let serve = move || {
            for (mut command, answer) in inbox {
                if let Err(mpsc::SendError(Ok(mut orphan))) = answer.send(command.spawn()) {
                    // Who asked is gone, so nobody else would end it.
                    orphan.kill().and_then(|()| orphan.wait().map(drop)).ok();
                }
            }
        };
        let thread = std::thread::Builder::new().name("spawner".to_owned()).spawn(serve)?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Starts a program inside a namespace; it dies with this process, even when that is killed.
    pub(crate) fn spawn(&self, mut command: Command, namespace: Arc<File>) -> io::Result<Child> {
        let parent = nix::unistd::getpid();
        let inside = move || {
            nix::sched::setns(&*namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The supervisor blocks the signals it waits for, and children inherit that.
            SigSet::empty().thread_set_mask()?;
            // The parent may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        };
        // A terminal's Ctrl-C goes to the process group: nodes are stopped by the lab, in order.
        command.process_group(0);
        // SAFETY: a few system calls on values made before the fork; no allocation, no lock.
        unsafe { command.pre_exec(inside) };
        let (answer, answered) = mpsc::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        let requests = self.requests.as_ref().expect("present until dropped");
        requests.send((command, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.requests.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("lab: the thread that starts processes panicked");
        }
    }
}

/// Sends SIGTERM, waits up to `grace`, then SIGKILL; returns how it ended.
pub(crate) fn stop(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    terminate(child)?;
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()
}

/// Sends SIGTERM to a process that has not been waited for.
pub(crate) fn terminate(child: &Child) -> io::Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed());
    Ok(kill(pid, Signal::SIGTERM)?)
}

/// How a process ended, for people: `exit 20`, `signal 9`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// When a process started, in clock ticks since boot; tells a process from a later one of the
/// same number. `None` when there is no such process.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    stat_field(pid, 22)?.parse().ok()
}

/// Whether a process is exiting or has been killed but does not know yet; true also when there is
/// none.
pub(crate) fn is_dying(pid: u32) -> bool {
    const PF_EXITING: u64 = 4;
    const SIGKILL_BIT: u64 = 1 << 8;
    let is_zombie = stat_field(pid, 3).is_none_or(|state| state == "Z" || state == "X");
    let flags: u64 = stat_field(pid, 9).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    is_zombie || flags & PF_EXITING != 0 || pending.into_iter().any(|m| m & SIGKILL_BIT != 0)
}

/// A field of `/proc/<pid>/stat`, counted from 1 as in proc(5); from the third on.
fn stat_field(pid: u32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    let after_name = stat.rsplit_once(") ")?.1;
    after_name.split_whitespace().nth(number - 3).map(str::to_owned)
}
