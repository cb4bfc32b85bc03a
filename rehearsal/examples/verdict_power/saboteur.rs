//! What a saboteur can do from outside while a rehearsal goes on: to its files, to processes, and on the way
//! from a node to who asks it.

use crate::proxy::{self, Lie};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a node may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Saboteur {
    /// Output directory of the rehearsal.
    pub(crate) out: PathBuf,
    /// The program every node runs.
    pub(crate) node_binary: PathBuf,
    /// When the live window began.
    live: Arc<OnceLock<Instant>>,
    is_over: Arc<AtomicBool>,
    work: Mutex<Vec<JoinHandle<()>>>,
}

impl Saboteur {
    pub(crate) fn new(out: PathBuf, node_binary: PathBuf) -> Self {
        let (live, is_over) = (Arc::default(), Arc::default());
        Self { out, node_binary, live, is_over, work: Mutex::default() }
    }

    /// That the live window begins.
    pub(crate) fn live(&self) {
        self.live.get_or_init(Instant::now);
    }

    /// Stops what is still under way.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let work = std::mem::take(&mut *self.work.lock().expect("no panic while it is held"));
        work.into_iter().for_each(|work| drop(work.join()));
    }

    /// Changes a file below the output directory.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(String) -> String) {
        let path = self.out.join(path);
        let text = fs::read_to_string(&path).expect("the file is there");
        fs::write(&path, change(text)).expect("the file can be written");
    }

    pub(crate) fn edit_toml(&self, node: &str, from: &str, to: &str) {
        self.edit(&format!("network/nodes/{node}/node.toml"), |text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
    }

    /// Puts another program in the place of the nodes'; those that run keep theirs.
    pub(crate) fn swap_binary(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(&self.node_binary).expect("a program");
        change(&mut bytes);
        let beside = self.node_binary.with_extension("new");
        fs::write(&beside, bytes).expect("a disk");
        let mode = fs::metadata(&self.node_binary).expect("a program").permissions();
        fs::set_permissions(&beside, mode).expect("a disk");
        fs::rename(beside, &self.node_binary).expect("a disk");
    }

    /// Names of all nodes.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let nodes = fs::read_dir(self.out.join("network/nodes")).expect("a network");
        nodes.map(|n| n.expect("a node").file_name().into_string().expect("ASCII")).collect()
    }

    /// Does something after a while, unless the run is over.
    pub(crate) fn later(&self, after: Duration, what: impl FnOnce() + Send + 'static) {
        let is_over = self.is_over.clone();
        self.start(move || {
            let begun = Instant::now();
            while begun.elapsed() < after {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(PAUSE);
            }
            what();
        });
    }

    fn start(&self, work: impl FnOnce() + Send + 'static) {
        let handle = thread::spawn(work);
        self.work.lock().expect("no panic while it is held").push(handle);
    }

    /// The process of a node; waits for it.
    pub(crate) fn pid(out: &Path, node: &str) -> i32 {
        let config = out.join(format!("network/nodes/{node}/node.toml"));
        let config = config.to_str().expect("ASCII");
        let begun = Instant::now();
        loop {
            let found = fs::read_dir("/proc").expect("procfs").flatten().find_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let line = fs::read(entry.path().join("cmdline")).ok()?;
                line.split(|b| *b == 0).any(|word| word == config.as_bytes()).then_some(pid)
            });
            match found {
                Some(pid) => return pid,
                None => assert!(begun.elapsed() < PATIENCE, "{node} never appeared"),
            }
            thread::sleep(PAUSE);
        }
    }

    /// Sends a signal to a node's process after a while.
    pub(crate) fn signal_later(&self, node: &str, after: Duration, signal: i32) {
        let (out, node) = (self.out.clone(), node.to_owned());
        self.later(after, move || {
            let pid = Self::pid(&out, &node);
            // SAFETY: no pointers; the process is a node of this rehearsal.
            unsafe { libc::kill(pid, signal) };
        });
    }

    /// Stands between a node and who asks it: call it before the node starts. The node listens elsewhere, and
    /// what it says is rewritten.
    pub(crate) fn stand_between(&self, node: &str, lie: Lie) {
        let path = self.out.join(format!("network/nodes/{node}/node.toml"));
        let text = fs::read_to_string(&path).expect("a configuration");
        let http = text.lines().find_map(|l| l.strip_prefix("http_addr = ")).expect("a listener");
        let front = http.trim_matches('"').to_owned();
        let back = front.replace(":9090", ":19090");
        fs::write(&path, text.replace(&front, &back)).expect("the file can be written");
        let (out, node, is_over) = (self.out.clone(), node.to_owned(), self.is_over.clone());
        let live = self.live.clone();
        self.start(move || {
            let pid = Self::pid(&out, &node);
            let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("its namespace");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("the right to enter it");
            proxy::serve(&front, &back, lie, &live, &is_over);
        });
    }
}
