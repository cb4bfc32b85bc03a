//! Snapshots at the interval and on request.
//!
//! The replica thread takes the checkpoint, which is hard links, and hands over blocks as they are
//! committed; everything else happens on a thread of its own. Whatever fails there is counted and
//! logged, and the node goes on.

use super::unix_now;
use crate::{
    metrics::Metrics,
    requests::{self, SnapshotAnswer, SnapshotRequest},
};
use qbind_profile::NodeConfig;
use qbind_replica::CommitRecord;
use qbind_storage::{Draft, Meta, SnapshotError, SnapshotFolder, Store};
use qbind_types::{Block, CommittedBlock, ExecutedState, Height, limits};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

/// A checkpoint before it is a snapshot, in the data directory: hard links end at its file system.
const CHECKPOINT: &str = "checkpoint.partial";

/// Takes snapshots.
pub(super) struct Snapshots {
    means: Means,
    /// Heights between two; none are taken unasked without it.
    interval: Option<u64>,
    running: Option<Running>,
    /// Asked for, not begun.
    request: Option<String>,
}

#[derive(Clone)]
struct Means {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    data_dir: PathBuf,
    folder: SnapshotFolder,
    keep: usize,
    stop: Arc<AtomicBool>,
}

/// What proves a snapshot: the last blocks of epochs that ended after it, and the block that names it.
type Proof = (Vec<CommittedBlock>, CommittedBlock);

/// A snapshot that is being taken.
struct Running {
    state: ExecutedState,
    ends: Vec<CommittedBlock>,
    /// Where the proof is waited for.
    proof: Option<SyncSender<Proof>>,
    thread: JoinHandle<()>,
}

impl Snapshots {
    /// Makes room for them and says what there is.
    pub(super) fn new(
        config: &NodeConfig,
        data_dir: &Path,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let dir = config.snapshot_dir.as_ref().map_or(data_dir.join("snapshots"), PathBuf::from);
        let folder = SnapshotFolder::at(dir);
        if config.snapshots_enabled
            && let Err(error) = folder.prepare()
        {
            let error = crate::tools::explain(&error);
            tracing::warn!(error, "the snapshot folder cannot be used; snapshots will fail");
        }
        if let Some(meta) = folder.newest() {
            show(&metrics, &meta);
        }
        let keep = usize::try_from(config.max_snapshots).unwrap_or(usize::MAX);
        let (data_dir, stop) = (data_dir.to_owned(), Arc::default());
        Self {
            means: Means { store, metrics, data_dir, folder, keep, stop },
            interval: config.snapshots_enabled.then_some(config.snapshot_interval),
            running: None,
            request: None,
        }
    }

    /// A block has been executed and is in the store.
    pub(super) fn committed(&mut self, record: &CommitRecord) {
        let block = &record.committed.block;
        self.prove(&record.committed);
        self.look_for_request();
        let height = block.height.0;
        let is_due = self.interval.is_some_and(|interval| height.is_multiple_of(interval));
        let is_asked = self.request.is_some() && height.is_multiple_of(limits::CHECKPOINT);
        if !is_due && !is_asked {
            return;
        }
        if self.running.is_some() {
            tracing::warn!(height, "no snapshot: the one before is still being taken");
            return;
        }
        if self.means.folder.snapshot(block.height).exists() {
            self.means.answer(self.request.take(), Ok(self.means.folder.snapshot(block.height)));
            return;
        }
        let request = self.request.take();
        if let Ok(false) = self.means.store.has_whole_epoch() {
            let why = "this node was made of a snapshot within this epoch and lacks the epoch's first \
                blocks; the next epoch has all of its own";
            tracing::info!(height, "no snapshot: {why}");
            self.means.answer(request, Err(why.to_owned()));
            return;
        }
        match self.begin(record, request.clone()) {
            Ok(running) => self.running = Some(running),
            Err(error) => self.means.failed(block.height, request, &error),
        }
    }

    /// Whether one is being taken.
    pub(super) fn is_taken(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.thread.is_finished())
    }

    /// Hands over what proves the snapshot under way once it is committed.
    fn prove(&mut self, committed: &CommittedBlock) {
        let Some(running) = &mut self.running else { return };
        let block = &committed.block;
        if let Some(proof) = &running.proof {
            match names(block, &running.state) {
                Names::This => {
                    let ends = std::mem::take(&mut running.ends);
                    // The thread may have failed; it has said so.
                    proof.send((ends, committed.clone())).unwrap_or_default();
                    running.proof = None;
                }
                // Nobody will name it any more; the thread says so when it finds the channel closed.
                Names::Later => running.proof = None,
                Names::Earlier if block.ends_epoch() => running.ends.push(committed.clone()),
                Names::Earlier => {}
            }
        }
        if running.thread.is_finished() {
            self.running = None;
        }
    }

    fn look_for_request(&mut self) {
        if self.request.is_some() {
            return;
        }
        match requests::take::<SnapshotRequest>(&self.means.data_dir, SnapshotRequest::NAME) {
            Ok(request) => self.request = request.map(|request| request.id),
            Err(error) => tracing::warn!(%error, "a request for a snapshot cannot be read"),
        }
    }

    /// The part that holds the replica up: looking for room, and hard links.
    fn begin(
        &self,
        record: &CommitRecord,
        request: Option<String>,
    ) -> Result<Running, SnapshotError> {
        let means = self.means.clone();
        let begun = Instant::now();
        means.folder.create()?;
        means.folder.check_space(means.store.accounts_bytes()?)?;
        let to = means.data_dir.join(CHECKPOINT);
        let draft = Draft::begin(&means.store, to, record.committed.clone(), record.state_root)?;
        let (height, pause_ms) = (draft.height(), millis(begun));
        tracing::info!(height = height.0, pause_ms, "taking a snapshot");
        let state = draft.state();
        let (proof, proven) = sync_channel(1);
        means.metrics.snapshots.in_progress.set(1);
        let spawned = std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || means.finish(draft, &proven, request));
        let thread = spawned.map_err(|source| {
            self.means.metrics.snapshots.in_progress.set(0);
            let path = self.means.data_dir.clone();
            SnapshotError::Io { what: "start a thread for the snapshot in", path, source }
        })?;
        Ok(Running { state, ends: Vec::new(), proof: Some(proof), thread })
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.means.stop.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            drop(running.proof);
            if running.thread.join().is_err() {
                tracing::warn!("the thread of a snapshot panicked");
            }
        }
    }
}

/// Of which state a block speaks, seen from one.
#[derive(Debug, PartialEq, Eq)]
enum Names {
    Earlier,
    This,
    Later,
}

fn names(block: &Block, state: &ExecutedState) -> Names {
    match block.executed.height.cmp(&state.height) {
        std::cmp::Ordering::Less => Names::Earlier,
        std::cmp::Ordering::Equal => Names::This,
        std::cmp::Ordering::Greater => Names::Later,
    }
}

impl Means {
    /// Everything that takes time.
    fn finish(&self, draft: Draft, proven: &Receiver<Proof>, request: Option<String>) {
        let height = draft.height();
        let begun = Instant::now();
        match self.make(draft, proven) {
            Ok((path, meta)) => {
                let snapshots = &self.metrics.snapshots;
                show(&self.metrics, &meta);
                snapshots.last_duration_ms.set(millis(begun));
                snapshots.success.inc();
                let (bytes, accounts, took_ms) = (meta.size_bytes(), meta.accounts, millis(begun));
                tracing::info!(height = height.0, bytes, accounts, took_ms, "snapshot taken");
                match self.folder.keep(self.keep, height) {
                    Ok(removed) => removed
                        .iter()
                        .for_each(|h| tracing::info!(height = h.0, "old snapshot removed")),
                    Err(error) => {
                        let error = crate::tools::explain(&error);
                        tracing::warn!(error, "an old snapshot cannot be removed");
                    }
                }
                self.answer(request, Ok(path));
            }
            Err(SnapshotError::Stopped | SnapshotError::Unnamed { .. })
                if self.stop.load(Ordering::Relaxed) =>
            {
                tracing::info!(height = height.0, "the node stops before its snapshot is taken");
                self.answer(request, Err("the node stopped; start it and ask again".to_owned()));
            }
            Err(error) => self.failed(height, request, &error),
        }
        self.metrics.snapshots.in_progress.set(0);
    }

    fn make(
        &self,
        draft: Draft,
        proven: &Receiver<Proof>,
    ) -> Result<(PathBuf, Meta), SnapshotError> {
        let height = draft.height();
        draft.trim()?;
        let (ends, naming) = proven.recv().map_err(|_| SnapshotError::Unnamed { height })?;
        draft.complete(&self.store, &self.folder, ends, naming, unix_now(), &self.stop)
    }

    fn failed(&self, height: Height, request: Option<String>, error: &SnapshotError) {
        self.metrics.snapshots.failure.inc();
        let error = crate::tools::explain(error);
        tracing::warn!(height = height.0, error, "no snapshot was taken; the node goes on");
        self.answer(request, Err(error));
    }

    fn answer(&self, request: Option<String>, result: Result<PathBuf, String>) {
        let Some(id) = request else { return };
        let (path, error) = match result {
            Ok(path) => (Some(path), None),
            Err(error) => (None, Some(error)),
        };
        let schema = SnapshotRequest::ANSWER.to_owned();
        let answer = SnapshotAnswer { schema, id, path, error };
        if let Err(error) = requests::answer(&self.data_dir, SnapshotRequest::NAME, &answer) {
            tracing::warn!(%error, "a request for a snapshot cannot be answered");
        }
    }
}

fn show(metrics: &Metrics, meta: &Meta) {
    let snapshots = &metrics.snapshots;
    snapshots.last_height.set(meta.height.0);
    snapshots.last_size_bytes.set(meta.size_bytes());
    snapshots.last_created_at_ms.set(meta.created_at_unix_ms.0);
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
