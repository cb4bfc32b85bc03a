//! What was done to the lab, and when.

use crate::Degradation;
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

/// One thing that was done or happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When, after it was done; Unix time in milliseconds.
    pub at_unix_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: LabEvent,
}

/// What can be done to a lab, or happen in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LabEvent {
    /// Namespaces and emulator are there.
    Up {
        /// Which topology.
        topology: String,
        /// Its seed.
        seed: u64,
    },
    /// A node's process was started.
    NodeStarted {
        /// Which node.
        node: String,
        /// Its process.
        pid: u32,
    },
    /// A node's process was killed with SIGKILL.
    NodeKilled {
        /// Which node.
        node: String,
        /// Its process.
        pid: u32,
    },
    /// A node's process was asked to stop, and did or was killed after the grace period.
    NodeStopped {
        /// Which node.
        node: String,
        /// Its process.
        pid: u32,
        /// How it ended.
        status: String,
    },
    /// A node's process ended although nobody asked it to.
    NodeExited {
        /// Which node.
        node: String,
        /// Its process.
        pid: u32,
        /// How it ended.
        status: String,
    },
    /// Links suffer this from now on.
    Degraded {
        /// Which, `from>to`.
        links: Vec<String>,
        /// What.
        degradation: Degradation,
    },
    /// Links deliver nothing from now on.
    Cut {
        /// Which, `from>to`.
        links: Vec<String>,
    },
    /// Links behave as the topology asks again.
    Healed {
        /// Which, `from>to`.
        links: Vec<String>,
    },
    /// Everything is gone.
    Down,
}

/// Entries in memory, and in a file where there is one.
pub(crate) struct Journal {
    inner: Mutex<(Vec<JournalEntry>, Option<File>)>,
}

impl Journal {
    /// A journal that also appends to `file`.
    pub(crate) fn open(file: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let file = file.map(open).transpose()?;
        Ok(Self { inner: Mutex::new((Vec::new(), file)) })
    }

    pub(crate) fn note(&self, event: LabEvent) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let entry = JournalEntry { at_unix_ms, event };
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if let Some(file) = &mut inner.1 {
            let mut line = serde_json::to_string(&entry).expect("plain data serialises");
            line.push('\n');
            if let Err(error) = file.write_all(line.as_bytes()) {
                eprintln!("lab: cannot write the journal: {error}");
            }
        }
        inner.0.push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<JournalEntry> {
        self.inner.lock().expect("no holder of this lock panics").0.clone()
    }
}
