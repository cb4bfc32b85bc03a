//! All tasks of a scrape, from start to stop.

use crate::{blocks, feed, fetch::Fetcher, round, store::StoreError};
use qbind_plan::{Plan, Role};
use qbind_types::BlockId;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

/// One node to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Unique; of `[a-z0-9-]`, because it becomes a file name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its role.
    pub role: Role,
    /// `ip:port` of its HTTP listener.
    pub http: String,
}

impl Target {
    /// A node of which nothing is known but where it listens.
    pub fn at(http: &str) -> Self {
        let (name, region, http) = ("node".to_owned(), String::new(), http.to_owned());
        Self { name, region, role: Role::Rpc, http }
    }

    /// All nodes of a plan.
    pub fn of_plan(plan: &Plan) -> Vec<Self> {
        let target = |n: &qbind_plan::PlannedNode| Self {
            name: n.name.clone(),
            region: n.region.clone(),
            role: n.role,
            http: n.http.clone(),
        };
        plan.nodes.iter().map(target).collect()
    }
}

/// How often and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Between scrapes of `/metrics`.
    pub scrape_interval: Duration,
    /// Between polls of a commit feed.
    pub commit_poll: Duration,
    /// For one request, from start to last byte.
    pub timeout: Duration,
    /// For blocks still missing after the stop.
    pub drain: Duration,
    /// Heights whose blocks are left until the stop, when nodes have nothing else to do: what they spend on
    /// handing them over they do not have for the load. They keep at least 10,000.
    pub left: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(5),
            commit_poll: Duration::from_millis(500),
            timeout: Duration::from_secs(4),
            drain: Duration::from_secs(120),
            left: 4_000,
        }
    }
}

/// Why scraping cannot start or go on.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// The caller's fault.
    #[error("node name {name:?} is not of [a-z0-9-], or appears twice; it becomes a file name")]
    Name {
        /// Which.
        name: String,
    },
    /// The host's fault.
    #[error("cannot make an HTTP client")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The operator's disk.
    #[error("cannot keep the evidence")]
    Store {
        /// Where and why.
        #[from]
        source: StoreError,
    },
    /// Our fault: a task panicked.
    #[error("the {task} task of the scraper panicked; report this as a bug")]
    Task {
        /// Which.
        task: String,
    },
}

/// What was collected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScrapeSummary {
    /// `/metrics` bodies stored.
    pub scrapes: u64,
    /// `/metrics` requests without a usable answer.
    pub failed_scrapes: u64,
    /// Commit polls without a usable answer.
    pub feed_gaps: u64,
    /// Blocks stored.
    pub blocks: u64,
    /// Batches stored.
    pub batches: u64,
    /// Blocks some node reported and none handed over.
    pub missing_blocks: u64,
    /// Highest height reported, by node.
    pub tips: BTreeMap<String, u64>,
}

/// What the tasks share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) targets: Arc<Vec<Target>>,
    pub(crate) dir: Arc<PathBuf>,
    pub(crate) fetcher: Fetcher,
    pub(crate) stop: watch::Receiver<bool>,
    state: Arc<Mutex<State>>,
    feeds_running: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    summary: ScrapeSummary,
    /// Who reported what, for the heights whose blocks are not fetched yet.
    reported: BTreeMap<u64, BTreeMap<String, BlockId>>,
}

/// Heights remembered with their reporters.
const REPORTED: usize = 20_000;

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut ScrapeSummary)) {
        change(&mut self.state().summary);
    }

    pub(crate) fn note_commit(&self, node: &str, height: u64, id: BlockId) {
        let mut state = self.state();
        let tip = state.summary.tips.entry(node.to_owned()).or_default();
        *tip = (*tip).max(height);
        state.reported.entry(height).or_default().insert(node.to_owned(), id);
        while state.reported.len() > REPORTED {
            state.reported.pop_first();
        }
    }

    /// The highest height any node reported.
    pub(crate) fn tip(&self) -> u64 {
        self.state().summary.tips.values().max().copied().unwrap_or(0)
    }

    /// Nodes that reported a height, with the block they say it is.
    pub(crate) fn holders(&self, height: u64) -> Vec<(Target, BlockId)> {
        let state = self.state();
        let Some(by_node) = state.reported.get(&height) else { return Vec::new() };
        let holders = self.targets.iter().filter_map(|t| Some((t.clone(), *by_node.get(&t.name)?)));
        holders.collect()
    }

    /// Whether no feed will report anything new.
    pub(crate) fn feeds_ended(&self) -> bool {
        self.feeds_running.load(Ordering::Acquire) == 0
    }
}

/// A running scrape.
pub struct Scraper {
    shared: Shared,
    stop: watch::Sender<bool>,
    tasks: Vec<(String, JoinHandle<Result<(), StoreError>>)>,
}

impl Scraper {
    /// Starts all tasks on `runtime`, whose threads decide from which network namespace nodes are
    /// asked. Evidence goes to folders under `dir`.
    ///
    /// # Errors
    /// A bad node name, no HTTP client.
    pub fn start(
        runtime: &Handle,
        targets: Vec<Target>,
        options: Options,
        dir: PathBuf,
    ) -> Result<Self, ScrapeError> {
        let mut seen = std::collections::BTreeSet::new();
        for target in &targets {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let name = &target.name;
            if name.is_empty() || !name.chars().all(allowed) || !seen.insert(name) {
                return Err(ScrapeError::Name { name: name.clone() });
            }
        }
        let fetcher =
            Fetcher::new(options.timeout).map_err(|source| ScrapeError::Client { source })?;
        let (stop, stopped) = watch::channel(false);
        let shared = Shared {
            feeds_running: Arc::new(AtomicUsize::new(targets.len())),
            targets: Arc::new(targets),
            dir: Arc::new(dir),
            fetcher,
            stop: stopped,
            state: Arc::default(),
        };
        let mut tasks = Vec::new();
        let scrape = round::run(shared.clone(), options.scrape_interval);
        tasks.push(("metrics".to_owned(), runtime.spawn(scrape)));
        for target in shared.targets.iter() {
            let (shared, target) = (shared.clone(), target.clone());
            let name = format!("feed of {}", target.name);
            let follow = async move {
                let running = shared.feeds_running.clone();
                let result = feed::run(shared, target, options.commit_poll).await;
                running.fetch_sub(1, Ordering::Release);
                result
            };
            tasks.push((name, runtime.spawn(follow)));
        }
        let fetch = blocks::run(shared.clone(), options.drain, options.left);
        tasks.push(("block".to_owned(), runtime.spawn(fetch)));
        Ok(Self { shared, stop, tasks })
    }

    /// What was collected so far.
    pub fn summary(&self) -> ScrapeSummary {
        self.shared.state().summary.clone()
    }

    /// Takes a last round, fetches what is still missing, and ends all tasks.
    ///
    /// # Errors
    /// Evidence could not be kept, or a task panicked.
    pub async fn stop(self) -> Result<ScrapeSummary, ScrapeError> {
        self.stop.send_replace(true);
        for (task, handle) in self.tasks {
            handle.await.map_err(|_| ScrapeError::Task { task })??;
        }
        let summary = self.shared.state().summary.clone();
        Ok(summary)
    }
}
