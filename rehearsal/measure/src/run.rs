//! All pairs at once: one thread for each source.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::MeasureError;
use crate::portable::{PortableGrid, PortableLane, PortableProber};
use crate::raw::{RawMeasurement, RawPair};
use crate::schedule::{Engine, Schedule};

/// More sources than this are not one host's.
const MOST_SOURCES: usize = 64;
/// More directed pairs than this cannot be interleaved on time.
const MOST_PAIRS: usize = 1_024;
/// Probes of all pairs kept in memory at once.
const MOST_PROBES: u64 = 20_000_000;
/// From the last prober's readiness to the grid's zero.
const HEAD_START: Duration = Duration::from_millis(200);
/// Between two reports of progress.
const REPORT: Duration = Duration::from_millis(100);

/// Moves the calling thread into the network of a source.
pub type Enter = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A directed pair of regions to measure.
#[derive(Clone)]
pub struct Pair {
    /// The region probed from.
    pub from: String,
    /// The region probed.
    pub to: String,
    /// The address probed from.
    pub source: Ipv4Addr,
    /// The address probed.
    pub target: Ipv4Addr,
    /// How a thread gets to where `source` lives; nothing where it is already there.
    pub enter: Option<Enter>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Counted probes that have left, of all pairs.
    pub sent: u64,
    /// How many there will be.
    pub total: u64,
}

/// Measures all pairs at once, interleaved, one thread for each source.
///
/// Takes the schedule's length and up to the wait for the last answers. `progress` is called about ten times
/// a second and can end the run.
///
/// # Errors
/// See [`MeasureError`]; no part of a failed run is returned.
pub fn measure_pairs(
    pairs: &[Pair],
    schedule: &Schedule,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<RawMeasurement, MeasureError> {
    schedule.validate()?;
    if schedule.engine == Engine::SurgePing && schedule.dscp != 0 {
        let what = "a code point with surge-ping; take the kernel engine, or leave --dscp out";
        return Err(MeasureError::Unsupported { what });
    }
    if cfg!(not(target_os = "linux")) && schedule.engine == Engine::Kernel {
        let what = "kernel time stamps on this system; take --engine surge-ping";
        return Err(MeasureError::Unsupported { what });
    }
    let sources = by_source(pairs, schedule)?;
    let shared = Shared { schedule, stop: AtomicBool::new(false), sent: AtomicU64::new(0) };
    let total = pairs.len() as u64 * schedule.probes;
    std::thread::scope(|scope| {
        let (report, reports) = channel();
        let mut starts = Vec::new();
        for (at, (region, source)) in sources.iter().enumerate() {
            let (start, started) = channel();
            starts.push(start);
            let (report, shared) = (report.clone(), &shared);
            let work = move || {
                let outcome = probe(region, source, shared, &report, &started);
                // The receiver outlives the thread; if it does not, nobody wants the outcome.
                report.send(Report::Done(outcome)).unwrap_or_default();
            };
            let spawned =
                std::thread::Builder::new().name(format!("probe-{at}")).spawn_scoped(scope, work);
            if let Err(error) = spawned {
                // Dropping the senders of starts ends the threads that wait for one.
                return Err(MeasureError::Thread { reason: error.to_string() });
            }
        }
        drop(report);
        conduct(&reports, starts, &shared, total, &mut progress)
    })
    .map(|(started_unix_ms, mut lanes)| RawMeasurement {
        schedule: schedule.clone(),
        started_unix_ms,
        pairs: (0..pairs.len())
            .map(|at| lanes.remove(&at).expect("every pair belongs to one source"))
            .collect(),
    })
}

struct Shared<'a> {
    schedule: &'a Schedule,
    stop: AtomicBool,
    sent: AtomicU64,
}

/// The pairs of one source, each with its place in the caller's list.
type Source<'a> = Vec<(usize, &'a Pair)>;

enum Report {
    Ready,
    Done(Result<Vec<(usize, RawPair)>, MeasureError>),
}

fn by_source<'a>(
    pairs: &'a [Pair],
    schedule: &Schedule,
) -> Result<BTreeMap<(String, Ipv4Addr), Source<'a>>, MeasureError> {
    let refuse = |reason: String| Err(MeasureError::Pairs { reason });
    if pairs.is_empty() {
        return refuse("none given; name at least one".into());
    }
    if pairs.len() > MOST_PAIRS {
        return refuse(format!("{} given, at most {MOST_PAIRS} possible", pairs.len()));
    }
    let probes = pairs.len() as u64 * (schedule.probes + schedule.warm_up);
    if probes > MOST_PROBES {
        return refuse(format!("{probes} probes in all, at most {MOST_PROBES}: send fewer"));
    }
    let mut names = std::collections::BTreeSet::new();
    let mut sources: BTreeMap<(String, Ipv4Addr), Source<'_>> = BTreeMap::new();
    for (at, pair) in pairs.iter().enumerate() {
        if pair.from == pair.to {
            return refuse(format!("{} -> {} is one region", pair.from, pair.to));
        }
        if !names.insert((&pair.from, &pair.to)) {
            return refuse(format!("{} -> {} is given twice", pair.from, pair.to));
        }
        sources.entry((pair.from.clone(), pair.source)).or_default().push((at, pair));
    }
    if sources.len() > MOST_SOURCES {
        return refuse(format!("{} sources, at most {MOST_SOURCES} possible", sources.len()));
    }
    Ok(sources)
}

/// Waits for every prober, starts them at one instant, and collects what they bring.
fn conduct(
    reports: &Receiver<Report>,
    starts: Vec<Sender<Instant>>,
    shared: &Shared<'_>,
    total: u64,
    progress: &mut impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(u64, BTreeMap<usize, RawPair>), MeasureError> {
    let (mut ready, mut done) = (0, 0);
    let mut started_unix_ms = 0;
    let mut lanes = BTreeMap::new();
    let mut failure = None;
    let count = starts.len();
    let mut starts = Some(starts);
    while done < count {
        match reports.recv_timeout(REPORT) {
            Ok(Report::Ready) => ready += 1,
            Ok(Report::Done(Ok(pairs))) => {
                done += 1;
                lanes.extend(pairs);
            }
            Ok(Report::Done(Err(error))) => {
                done += 1;
                shared.stop.store(true, Ordering::Relaxed);
                starts = None;
                // The others end as stopped because of the first.
                failure = Some(failure.unwrap_or(error));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let reason = "ended without a result".into();
                return Err(failure.unwrap_or(MeasureError::Thread { reason }));
            }
        }
        if ready == count
            && let Some(starts) = starts.take()
        {
            let start = Instant::now() + HEAD_START;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            started_unix_ms = (since + HEAD_START).as_millis() as u64;
            for sender in starts {
                // A thread that has ended by now reports why.
                sender.send(start).unwrap_or_default();
            }
        }
        let sent = shared.sent.load(Ordering::Relaxed);
        if progress(Progress { sent, total }).is_break() {
            shared.stop.store(true, Ordering::Relaxed);
            starts = None;
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok((started_unix_ms, lanes)),
    }
}

/// One thread: enter, open, wait for the start, probe.
fn probe(
    (region, address): &(String, Ipv4Addr),
    source: &Source<'_>,
    shared: &Shared<'_>,
    report: &Sender<Report>,
    started: &Receiver<Instant>,
) -> Result<Vec<(usize, RawPair)>, MeasureError> {
    if let Some(enter) = source.iter().find_map(|(_, pair)| pair.enter.as_ref()) {
        enter().map_err(|source| MeasureError::Enter { region: region.clone(), source })?;
    }
    let await_start = || {
        report.send(Report::Ready).map_err(|_| MeasureError::Stopped)?;
        started.recv().map_err(|_| MeasureError::Stopped)
    };
    match shared.schedule.engine {
        #[cfg(target_os = "linux")]
        Engine::Kernel => probe_by_kernel(*address, source, shared, await_start),
        _ => probe_by_program(*address, source, shared, await_start),
    }
}

#[cfg(target_os = "linux")]
fn probe_by_kernel(
    address: Ipv4Addr,
    source: &Source<'_>,
    shared: &Shared<'_>,
    await_start: impl FnOnce() -> Result<Instant, MeasureError>,
) -> Result<Vec<(usize, RawPair)>, MeasureError> {
    use crate::kernel::{Lane, Prober, ProberOptions, Timing, monotonic_ns};
    let schedule = shared.schedule;
    let size_bytes = schedule.size_bytes as usize;
    let mut prober = Prober::open(address, ProberOptions { size_bytes, dscp: schedule.dscp })?;
    let start = await_start()?;
    let ahead = start.saturating_duration_since(Instant::now()).as_nanos() as i64;
    let timing = Timing {
        start_ns: monotonic_ns() + ahead,
        interval_ns: schedule.interval_us as i64 * 1_000,
        warm_up: schedule.warm_up as u32,
        probes: schedule.probes as u32,
    };
    let lanes: Vec<Lane> = source
        .iter()
        .map(|(at, pair)| Lane {
            target: pair.target,
            phase_ns: schedule.phase_us(*at as u64) as i64 * 1_000,
        })
        .collect();
    let samples = prober.run(&lanes, &timing, &shared.stop, || {
        shared.sent.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    })?;
    let pairs = source.iter().zip(samples).map(|((at, pair), samples)| {
        let raw = RawPair {
            duplicates: Some(samples.duplicates),
            program_stamped: samples.program_stamped,
            refused: samples.refused,
            largest_clock_step_us: samples.largest_clock_step_us,
            clock_steps: samples.clock_steps,
            ..raw_pair(*at, pair, schedule, samples.late_us, samples.rtt_ns)
        };
        (*at, raw)
    });
    Ok(pairs.collect())
}

fn probe_by_program(
    address: Ipv4Addr,
    source: &Source<'_>,
    shared: &Shared<'_>,
    await_start: impl FnOnce() -> Result<Instant, MeasureError>,
) -> Result<Vec<(usize, RawPair)>, MeasureError> {
    let schedule = shared.schedule;
    let prober = PortableProber::open(address)?;
    let grid = PortableGrid {
        start: await_start()?,
        interval: Duration::from_micros(schedule.interval_us),
        warm_up: schedule.warm_up as u32,
        probes: schedule.probes as u32,
        size_bytes: schedule.size_bytes as usize,
    };
    let lanes: Vec<PortableLane> = source
        .iter()
        .map(|(at, pair)| PortableLane {
            target: pair.target,
            phase: Duration::from_micros(schedule.phase_us(*at as u64)),
        })
        .collect();
    let samples = prober.run(&lanes, &grid, &shared.stop, || {
        shared.sent.fetch_add(1, Ordering::Relaxed);
    })?;
    let pairs = source.iter().zip(samples).map(|((at, pair), samples)| {
        let received = samples.rtt_ns.iter().filter(|rtt| **rtt >= 0).count() as u64;
        let raw = RawPair {
            program_stamped: received,
            ..raw_pair(*at, pair, schedule, samples.late_us, samples.rtt_ns)
        };
        (*at, raw)
    });
    Ok(pairs.collect())
}

fn raw_pair(
    at: usize,
    pair: &Pair,
    schedule: &Schedule,
    late_us: Vec<u64>,
    rtt_ns: Vec<i64>,
) -> RawPair {
    RawPair {
        from: pair.from.clone(),
        to: pair.to.clone(),
        source: pair.source,
        target: pair.target,
        phase_us: schedule.phase_us(at as u64),
        late_us,
        rtt_ns,
        duplicates: None,
        program_stamped: 0,
        refused: 0,
        largest_clock_step_us: 0,
        clock_steps: 0,
    }
}
