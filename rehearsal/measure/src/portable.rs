//! The portable engine: `surge-ping`, stamped in the program.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use surge_ping::{Client, Config, PingIdentifier, PingSequence};
use tokio::task::JoinSet;

use crate::error::MeasureError;

/// Waited for the answer to one probe; what counts as lost is decided later.
const WAIT: Duration = Duration::from_secs(12);
/// The runtime's timers are that coarse; the rest of the way to a due time is yielded away.
const TIMER: Duration = Duration::from_millis(2);

/// One target.
pub(crate) struct PortableLane {
    pub(crate) target: Ipv4Addr,
    pub(crate) phase: Duration,
}

/// What was seen of one target: lateness and round trip of each counted probe.
pub(crate) struct PortableSamples {
    pub(crate) late_us: Vec<u64>,
    pub(crate) rtt_ns: Vec<i64>,
}

pub(crate) struct PortableGrid {
    pub(crate) start: Instant,
    pub(crate) interval: Duration,
    pub(crate) warm_up: u32,
    pub(crate) probes: u32,
    pub(crate) size_bytes: usize,
}

/// An open client with the runtime its receiver lives on.
pub(crate) struct PortableProber {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl PortableProber {
    /// Opens the socket on the calling thread.
    pub(crate) fn open(source: Ipv4Addr) -> Result<Self, MeasureError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                MeasureError::Permission { source_address: source }
            }
            std::io::ErrorKind::AddrNotAvailable => {
                MeasureError::Bind { source_address: source, source: error }
            }
            _ => MeasureError::Socket { doing: "open ICMP", source_address: source, source: error },
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let client = runtime.block_on(async {
            let bind = SocketAddr::new(IpAddr::V4(source), 0);
            Client::new(&Config::builder().bind(bind).build()).map_err(failed)
        })?;
        Ok(Self { runtime, client })
    }

    /// Sends the whole grid and collects what comes back; `progress` hears of every counted probe.
    pub(crate) fn run(
        self,
        lanes: &[PortableLane],
        grid: &PortableGrid,
        stop: &AtomicBool,
        progress: impl Fn(),
    ) -> Result<Vec<PortableSamples>, MeasureError> {
        let Self { runtime, client } = self;
        #[cfg(target_os = "linux")]
        crate::kernel::raise_priority();
        runtime.block_on(send_all(client, lanes, grid, stop, progress))
    }
}

async fn send_all(
    client: Client,
    lanes: &[PortableLane],
    grid: &PortableGrid,
    stop: &AtomicBool,
    progress: impl Fn(),
) -> Result<Vec<PortableSamples>, MeasureError> {
    let count = grid.probes as usize;
    let mut samples: Vec<PortableSamples> = lanes
        .iter()
        .map(|_| PortableSamples { late_us: vec![0; count], rtt_ns: vec![-1; count] })
        .collect();
    let due = |lane: &PortableLane, number: u32| grid.start + lane.phase + grid.interval * number;
    let mut order: Vec<(Instant, usize, u32)> = lanes
        .iter()
        .enumerate()
        .flat_map(|(at, lane)| {
            (0..grid.warm_up + grid.probes).map(move |number| (due(lane, number), at, number))
        })
        .collect();
    order.sort_unstable();
    let payload: Arc<[u8]> = vec![0; grid.size_bytes - 8].into();
    let mut answers = JoinSet::new();
    for (due, lane, number) in order {
        if stop.load(Ordering::Relaxed) {
            return Err(MeasureError::Stopped);
        }
        if let Some(sleep_until) = due.checked_sub(TIMER) {
            tokio::time::sleep_until(sleep_until.into()).await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        let late = Instant::now().saturating_duration_since(due);
        // The same identifier for each target, so that the pair of it and the number is unique.
        let identifier = PingIdentifier(lane as u16);
        let mut pinger = client.pinger(IpAddr::V4(lanes[lane].target), identifier).await;
        pinger.timeout(WAIT);
        let payload = Arc::clone(&payload);
        let counted = number.checked_sub(grid.warm_up);
        answers.spawn(async move {
            let answer = pinger.ping(PingSequence(number as u16), &payload).await;
            (lane, counted, answer.ok().map(|(_, rtt)| rtt))
        });
        if let Some(counted) = counted {
            samples[lane].late_us[counted as usize] = late.as_micros() as u64;
            progress();
        }
        while let Some(answer) = answers.try_join_next() {
            record(&mut samples, answer)?;
        }
    }
    while let Some(answer) = answers.join_next().await {
        if stop.load(Ordering::Relaxed) {
            return Err(MeasureError::Stopped);
        }
        record(&mut samples, answer)?;
    }
    Ok(samples)
}

type Answer = Result<(usize, Option<u32>, Option<Duration>), tokio::task::JoinError>;

fn record(samples: &mut [PortableSamples], answer: Answer) -> Result<(), MeasureError> {
    let (lane, counted, rtt) =
        answer.map_err(|error| MeasureError::Thread { reason: error.to_string() })?;
    if let (Some(counted), Some(rtt)) = (counted, rtt) {
        samples[lane].rtt_ns[counted as usize] =
            i64::try_from(rtt.as_nanos()).expect("at most the wait");
    }
    Ok(())
}
