//! Deletes old history while the node runs: at the interval, and when an operator asks.
//!
//! A thread of its own works in small steps; the replica thread only tells it how far the chain is.
//! Whatever fails there is logged, and the node goes on.

use super::DATABASE;
use crate::{
    metrics::Metrics,
    requests::{self, PruneAnswer, PruneRequest, PruneState},
    retention::{Needs, dir_bytes, hopeless_below},
    tools::explain,
};
use qbind_profile::{NodeConfig, StateRetentionMode};
use qbind_storage::{Pruned, SnapshotFolder, Store, StoreError};
use qbind_types::{Height, Network};
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often a request is told how far its work is.
const PROGRESS: Duration = Duration::from_millis(500);

/// What the thread is told.
#[derive(Debug, Clone, Copy)]
struct Wake {
    tip: Height,
    /// A snapshot is being taken: it reads blocks of the epoch it began in.
    is_snapshot_taken: bool,
}

/// Deletes old history.
pub(super) struct Pruner {
    wake: Option<SyncSender<Wake>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is told between the thread that prunes and the one that owns the replica.
#[derive(Debug)]
pub(super) struct Reach {
    /// Height below which history is deleted, or about to be.
    lowest: AtomicU64,
    /// Of the peers that are waited for, the height of the slowest; the maximum stands for none.
    slowest_peer: AtomicU64,
}

impl Default for Reach {
    fn default() -> Self {
        Self { lowest: AtomicU64::new(0), slowest_peer: AtomicU64::new(u64::MAX) }
    }
}

impl Reach {
    /// Height below which history is deleted, or about to be.
    pub(super) fn lowest(&self) -> Height {
        Height(self.lowest.load(Ordering::Acquire))
    }

    pub(super) fn set_lowest(&self, lowest: Height) {
        self.lowest.fetch_max(lowest.0, Ordering::Release);
    }

    fn slowest_peer(&self) -> Option<Height> {
        let height = self.slowest_peer.load(Ordering::Acquire);
        (height < u64::MAX).then_some(Height(height))
    }

    pub(super) fn set_slowest_peer(&self, height: Option<Height>) {
        self.slowest_peer.store(height.map_or(u64::MAX, |h| h.0), Ordering::Release);
    }
}

impl Pruner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The world's fault: there are no more threads.
    pub(super) fn start(config: &NodeConfig, worker: Worker) -> io::Result<Self> {
        let mut run = Run::new(config, worker);
        let stop = run.stop.clone();
        // One word is enough: the next says how far the chain is by then.
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("prune".to_owned()).spawn(move || {
            while let Ok(wake) = woken.recv() {
                run.turn(wake);
            }
        })?;
        Ok(Self { wake: Some(wake), stop, thread: Some(thread) })
    }

    /// A block has been executed and is in the store. Never waits.
    pub(super) fn committed(&self, tip: Height, is_snapshot_taken: bool) {
        if let Some(wake) = &self.wake
            && let Err(TrySendError::Disconnected(_)) =
                wake.try_send(Wake { tip, is_snapshot_taken })
        {
            tracing::warn!("the thread that deletes old history has ended; restart the node");
        }
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread that deletes old history panicked");
        }
    }
}

/// What it works with.
pub(super) struct Worker {
    pub(super) data_dir: PathBuf,
    pub(super) network: Network,
    pub(super) store: Arc<Store>,
    pub(super) reach: Arc<Reach>,
    pub(super) metrics: Arc<Metrics>,
}

struct Run {
    worker: Worker,
    /// Heights between two runs; an archival node has none.
    interval: Option<u64>,
    retain: u64,
    snapshots: SnapshotFolder,
    stop: Arc<AtomicBool>,
    /// The interval of the last run.
    last: Option<u64>,
}

/// A request under way.
struct Asked {
    id: String,
    bytes_before: u64,
    told: Instant,
}

impl Run {
    fn new(config: &NodeConfig, worker: Worker) -> Self {
        let snapshots = config.snapshot_dir.as_ref().map(PathBuf::from);
        let snapshots = snapshots.unwrap_or(worker.data_dir.join("snapshots"));
        Self {
            worker,
            interval: match config.state_retention_mode {
                StateRetentionMode::Height => Some(config.state_prune_interval.max(1)),
                StateRetentionMode::Disabled => None,
            },
            retain: config.state_retain_height,
            snapshots: SnapshotFolder::at(snapshots),
            stop: Arc::default(),
            last: None,
        }
    }

    /// Does what is due at a height.
    fn turn(&mut self, wake: Wake) {
        if wake.is_snapshot_taken {
            return;
        }
        self.serve(wake);
        let Some(interval) = self.interval else { return };
        let due = wake.tip.0 / interval;
        if self.last == Some(due) {
            return;
        }
        self.last = Some(due);
        if let Err(error) = self.prune(wake.tip, self.retain, None) {
            let error = explain(&error);
            tracing::warn!(error, "old history could not be deleted; the node goes on");
        }
    }

    fn serve(&mut self, wake: Wake) {
        let request =
            match requests::take::<PruneRequest>(&self.worker.data_dir, PruneRequest::NAME) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a request to delete history cannot be read");
                    return;
                }
            };
        let retain = request.retain_height;
        let refused = if self.interval.is_none() {
            Some("state_retention_mode is disabled: this node keeps everything".to_owned())
        } else {
            PruneRequest::objection(self.worker.network, retain)
        };
        if let Some(why) = refused {
            self.answer(&request.id, PruneState::Refused, None, 0, Some(why));
            return;
        }
        let bytes_before = self.bytes();
        let asked = Asked { id: request.id.clone(), bytes_before, told: Instant::now() };
        match self.prune(wake.tip, retain, Some(asked)) {
            Ok(done) if self.stop.load(Ordering::Relaxed) => {
                let why = "the node stopped; ask again: what was deleted is deleted".to_owned();
                self.answer(&request.id, PruneState::Refused, Some(done), bytes_before, Some(why));
            }
            Ok(done) => {
                let reclaimed = self.worker.store.reclaim().err().map(|e| explain(&e));
                self.measure();
                self.answer(&request.id, PruneState::Done, Some(done), bytes_before, reclaimed);
            }
            Err(error) => {
                let why = Some(explain(&error));
                self.answer(&request.id, PruneState::Refused, None, bytes_before, why);
            }
        }
    }

    /// Deletes what nobody needs, step by step.
    fn prune(
        &self,
        tip: Height,
        retain: u64,
        mut asked: Option<Asked>,
    ) -> Result<Pruned, StoreError> {
        let store = &self.worker.store;
        let snapshots = self.snapshots.heights().unwrap_or_else(|error| {
            let error = explain(&error);
            tracing::warn!(error, "cannot tell which snapshots there are");
            Vec::new()
        });
        let needs = Needs {
            tip,
            retain,
            snapshots,
            slowest_peer: self.worker.reach.slowest_peer(),
            hopeless_below: hopeless_below(tip, self.retain.max(retain)),
        };
        for stale in needs.stale_snapshots() {
            let dir = self.snapshots.snapshot(stale);
            tracing::warn!(
                dir = %dir.display(),
                "a snapshot is older than twice state_retain_height: what follows it is deleted, so \
                 nobody can start from it any more; remove it"
            );
        }
        let floor = store.prunable(needs.floor())?;
        let begun = Instant::now();
        let mut done = Pruned { lowest: store.lowest()?, ..Pruned::default() };
        // Told before it is gone, so that nobody asks in vain.
        self.worker.reach.set_lowest(floor);
        while !self.stop.load(Ordering::Relaxed)
            && let Some(step) = store.prune_step(floor)?
        {
            done.add(&step);
            let metrics = &self.worker.metrics.pruning;
            metrics.keys_scanned.add(step.scanned);
            metrics.keys_pruned.add(step.deleted);
            metrics.last_height.set(step.lowest.0);
            if let Some(asked) = &mut asked
                && asked.told.elapsed() >= PROGRESS
            {
                asked.told = Instant::now();
                self.answer(&asked.id, PruneState::Running, Some(done), asked.bytes_before, None);
            }
        }
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.worker.metrics.pruning.runs.inc();
        // A run of less than a millisecond is one.
        self.worker.metrics.pruning.duration_ms.add(took_ms.max(u64::from(done.heights > 0)));
        if done.heights > 0 {
            let (heights, keys, lowest) = (done.heights, done.deleted, done.lowest.0);
            tracing::info!(heights, keys, lowest, took_ms, "old history deleted");
            self.measure();
        }
        Ok(done)
    }

    fn bytes(&self) -> u64 {
        dir_bytes(&self.worker.data_dir.join(DATABASE))
    }

    fn measure(&self) {
        match self.worker.store.size_bytes() {
            Ok(bytes) => self.worker.metrics.state_size_bytes.set(bytes),
            Err(error) => tracing::warn!(%error, "cannot tell the database's size"),
        }
    }

    fn answer(
        &self,
        id: &str,
        state: PruneState,
        done: Option<Pruned>,
        bytes_before: u64,
        error: Option<String>,
    ) {
        let done = done.unwrap_or_default();
        let answer = PruneAnswer {
            schema: PruneRequest::ANSWER.to_owned(),
            id: id.to_owned(),
            state,
            heights: done.heights,
            keys: done.deleted,
            lowest_height: done.lowest.0,
            bytes_before,
            bytes_after: self.bytes(),
            error,
        };
        if let Err(error) = requests::answer(&self.worker.data_dir, PruneRequest::NAME, &answer) {
            tracing::warn!(%error, "a request to delete history cannot be answered");
        }
    }
}

#[cfg(test)]
mod tests;
