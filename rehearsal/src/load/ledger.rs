//! Every transfer of the load and what is known of it.

use crate::load::Progress;
use qbind_gates::{
    records::{Fate, LOAD_SCHEMA, LatencyUs, LoadSecond, LoadSummary, LoadTransaction},
    stats::percentile,
};
use qbind_types::TxId;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// One transfer while it is open.
pub(super) struct Entry {
    record: LoadTransaction,
    /// Signed bytes; dropped when they can no longer be needed.
    bytes: Option<Arc<Vec<u8>>>,
    /// Heights it was seen in with success.
    heights: BTreeSet<u64>,
    /// Whether nothing more can happen to it but a second commit.
    is_settled: bool,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    by_id: HashMap<TxId, usize>,
    codes: BTreeMap<String, u64>,
    progress: Progress,
    settled: u64,
    resubmitted: u64,
    late_sends: u64,
    start: Option<Instant>,
}

/// All transfers; shared by everything that sends or follows.
pub(super) struct Ledger {
    state: Mutex<State>,
    changed: Notify,
}

/// What the summary says besides counts.
pub(super) struct Frame {
    pub(super) started_unix_ms: u64,
    pub(super) ended_unix_ms: u64,
    pub(super) window_ms: u64,
    pub(super) rate_per_second: u64,
    pub(super) targets: Vec<String>,
    pub(super) followed: Vec<String>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    pub(super) fn start(&self, at: Instant) {
        self.state().start = Some(at);
    }

    /// Adds a signed transfer, before anybody can have seen it.
    pub(super) fn add(&self, record: LoadTransaction, bytes: Vec<u8>) {
        let mut state = self.state();
        let at = state.entries.len();
        state.by_id.insert(record.id, at);
        state.entries.push(Entry {
            record,
            bytes: Some(Arc::new(bytes)),
            heights: BTreeSet::new(),
            is_settled: false,
        });
    }

    pub(super) fn offered(&self, was_late: bool) {
        let mut state = self.state();
        state.progress.offered += 1;
        state.late_sends += u64::from(was_late);
    }

    /// The bytes to send; nothing if it is settled.
    pub(super) fn bytes(&self, n: usize) -> Option<Arc<Vec<u8>>> {
        let state = self.state();
        let entry = &state.entries[n];
        if entry.is_settled { None } else { entry.bytes.clone() }
    }

    pub(super) fn sent(&self, n: usize, node: &str) {
        let mut state = self.state();
        let now = state.now_us();
        let record = &mut state.entries[n].record;
        record.sent_us.get_or_insert(now);
        record.submissions += 1;
        if record.accepted_us.is_none() {
            record.node = node.to_owned();
        }
        if record.submissions > 1 {
            state.resubmitted += 1;
        }
    }

    pub(super) fn accepted(&self, n: usize) {
        let mut state = self.state();
        let now = state.now_us();
        if state.entries[n].record.accepted_us.is_none() {
            state.entries[n].record.accepted_us = Some(now);
            state.progress.accepted += 1;
        }
    }

    pub(super) fn was_accepted(&self, n: usize) -> bool {
        self.state().entries[n].record.accepted_us.is_some()
    }

    pub(super) fn is_settled(&self, n: usize) -> bool {
        self.state().entries[n].is_settled
    }

    /// Notes an error code a node gave, final or not.
    pub(super) fn code(&self, n: usize, code: &str) {
        let mut state = self.state();
        *state.codes.entry(code.to_owned()).or_default() += 1;
        state.entries[n].record.code = Some(code.to_owned());
    }

    /// Refused for good, or given up because an earlier one was.
    pub(super) fn end(&self, n: usize, fate: Fate) {
        let mut state = self.state();
        state.entries[n].record.fate = fate;
        state.settle(n);
        drop(state);
        self.changed.notify_waiters();
    }

    /// A followed node lists these with success in one block.
    pub(super) fn committed(&self, height: u64, ids: impl Iterator<Item = TxId>) {
        let mut state = self.state();
        let now = state.now_us();
        let mut here = BTreeSet::new();
        for id in ids {
            let Some(n) = state.by_id.get(&id).copied() else { continue };
            let twice_here = !here.insert(id);
            let entry = &mut state.entries[n];
            let is_new = entry.heights.insert(height);
            if entry.heights.len() > 1 || twice_here {
                entry.record.fate = Fate::Duplicated;
            }
            if is_new && entry.heights.len() == 1 {
                entry.record.committed_us = Some(now);
                entry.record.height = Some(height);
                if entry.record.fate != Fate::Duplicated {
                    entry.record.fate = Fate::Committed;
                }
                state.progress.committed += 1;
                state.settle(n);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until all of `total` transfers are settled, at most until `deadline`.
    pub(super) async fn settled(&self, total: u64, deadline: Instant) {
        loop {
            let notified = self.changed.notified();
            if self.state().settled >= total {
                return;
            }
            if timeout_at(deadline, notified).await.is_err() {
                return;
            }
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.state().progress
    }

    /// The final records: what is still open was lost or never answered.
    pub(super) fn records(&self) -> Vec<LoadTransaction> {
        self.state().entries.iter().map(Entry::closed).collect()
    }

    pub(super) fn summary(&self, frame: Frame) -> LoadSummary {
        let records = self.records();
        let state = self.state();
        let count = |fate: Fate| records.iter().filter(|r| r.fate == fate).count() as u64;
        let mut latencies: Vec<u64> = records
            .iter()
            .filter_map(|r| Some(r.committed_us?.saturating_sub(r.scheduled_us)))
            .collect();
        latencies.sort_unstable();
        let at = |permille| percentile(&latencies, permille).unwrap_or(0);
        let within = |us: Option<u64>| us.is_some_and(|us| us < frame.window_ms * 1000);
        let in_window = records.iter().filter(|r| within(r.committed_us)).count() as u64;
        LoadSummary {
            schema: LOAD_SCHEMA.to_owned(),
            started_unix_ms: frame.started_unix_ms,
            window_ms: frame.window_ms,
            ended_unix_ms: frame.ended_unix_ms,
            rate_per_second: frame.rate_per_second,
            targets: frame.targets,
            followed: frame.followed,
            offered: records.len() as u64,
            submitted: records.iter().filter(|r| r.sent_us.is_some()).count() as u64,
            accepted: records.iter().filter(|r| r.accepted_us.is_some()).count() as u64,
            rejected: count(Fate::Rejected),
            codes: state.codes.clone(),
            committed: records.iter().filter(|r| r.committed_us.is_some()).count() as u64,
            lost: count(Fate::Lost),
            duplicated: count(Fate::Duplicated),
            resubmitted: state.resubmitted,
            late_sends: state.late_sends,
            tps_milli: in_window * 1_000_000 / frame.window_ms.max(1),
            latency_us: LatencyUs {
                p50: at(500),
                p90: at(900),
                p99: at(990),
                max: latencies.last().copied().unwrap_or(0),
            },
            series: series(&records),
        }
    }
}

impl Entry {
    fn closed(&self) -> LoadTransaction {
        let mut record = self.record.clone();
        if !self.is_settled {
            record.fate = match record.accepted_us {
                Some(_) => Fate::Lost,
                None => Fate::Unanswered,
            };
        }
        record
    }
}

impl State {
    fn now_us(&self) -> u64 {
        let since = self.start.map_or(0, |start| start.elapsed().as_micros());
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn settle(&mut self, n: usize) {
        let entry = &mut self.entries[n];
        if !entry.is_settled {
            entry.is_settled = true;
            entry.bytes = None;
            self.settled += 1;
        }
    }
}

fn series(records: &[LoadTransaction]) -> Vec<LoadSecond> {
    let mut seconds: BTreeMap<u64, LoadSecond> = BTreeMap::new();
    let mut at = |us: u64, count: fn(&mut LoadSecond)| {
        let second = us / 1_000_000;
        count(seconds.entry(second).or_insert(LoadSecond { second, ..LoadSecond::default() }));
    };
    for record in records {
        at(record.scheduled_us, |s| s.offered += 1);
        if let Some(us) = record.accepted_us {
            at(us, |s| s.accepted += 1);
        }
        if let Some(us) = record.committed_us {
            at(us, |s| s.committed += 1);
        }
    }
    seconds.into_values().collect()
}
