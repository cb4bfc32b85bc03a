//! Exact counts per directed link, written by one thread and read by any.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Width of a bin of the delay histograms.
pub const DELAY_BIN_US: u64 = 100;
/// Bins of a delay histogram; the last one also holds everything longer.
const DELAY_BINS: usize = 20_000;
/// Upper bounds of the bins of the lateness histogram; one more bin holds the rest.
pub const LATENESS_BOUNDS_US: [u64; 9] = [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Live counters of one link.
pub(crate) struct LinkCounters {
    pub(crate) packets_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) bytes_delivered: AtomicU64,
    pub(crate) lost_random: AtomicU64,
    pub(crate) lost_queue: AtomicU64,
    pub(crate) lost_partition: AtomicU64,
    pub(crate) lost_device: AtomicU64,
    delay_sum_us: AtomicU64,
    lateness_sum_us: AtomicU64,
    lateness_max_us: AtomicU64,
    lateness: [AtomicU64; LATENESS_BOUNDS_US.len() + 1],
    datagram_delay: Vec<AtomicU64>,
    ordered_delay: Vec<AtomicU64>,
}

impl LinkCounters {
    pub(crate) fn new() -> Self {
        let bins = || (0..DELAY_BINS).map(|_| AtomicU64::new(0)).collect();
        Self {
            packets_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            bytes_delivered: AtomicU64::new(0),
            lost_random: AtomicU64::new(0),
            lost_queue: AtomicU64::new(0),
            lost_partition: AtomicU64::new(0),
            lost_device: AtomicU64::new(0),
            delay_sum_us: AtomicU64::new(0),
            lateness_sum_us: AtomicU64::new(0),
            lateness_max_us: AtomicU64::new(0),
            lateness: [const { AtomicU64::new(0) }; LATENESS_BOUNDS_US.len() + 1],
            datagram_delay: bins(),
            ordered_delay: bins(),
        }
    }

    /// Counts a delivery `delay_us` after it came in and `lateness_us` after it was due.
    pub(crate) fn count_delivery(
        &self,
        bytes: usize,
        delay_us: u64,
        lateness_us: u64,
        ordered: bool,
    ) {
        add(&self.delivered, 1);
        add(&self.bytes_delivered, bytes as u64);
        add(&self.delay_sum_us, delay_us);
        add(&self.lateness_sum_us, lateness_us);
        if lateness_us > self.lateness_max_us.load(Relaxed) {
            self.lateness_max_us.store(lateness_us, Relaxed);
        }
        let late = LATENESS_BOUNDS_US.partition_point(|bound| *bound < lateness_us);
        add(&self.lateness[late], 1);
        let bin = usize::try_from(delay_us / DELAY_BIN_US).unwrap_or(usize::MAX);
        let histogram = if ordered { &self.ordered_delay } else { &self.datagram_delay };
        add(&histogram[bin.min(DELAY_BINS - 1)], 1);
    }

    pub(crate) fn snapshot(&self, from: &str, to: &str) -> LinkSnapshot {
        let load = |counter: &AtomicU64| counter.load(Acquire);
        let bins = |histogram: &[AtomicU64]| {
            let counts = histogram.iter().map(load).enumerate();
            counts.filter(|(_, n)| *n > 0).map(|(bin, n)| (bin as u64 * DELAY_BIN_US, n)).collect()
        };
        // Fates before entries: a packet that moves between the two reads is then still seen as
        // in flight, never as delivered without having come in.
        let delivered = load(&self.delivered);
        let lost_random = load(&self.lost_random);
        let lost_queue = load(&self.lost_queue);
        let lost_partition = load(&self.lost_partition);
        let lost_device = load(&self.lost_device);
        let packets_in = load(&self.packets_in);
        let gone = delivered + lost_random + lost_queue + lost_partition + lost_device;
        LinkSnapshot {
            from: from.to_owned(),
            to: to.to_owned(),
            packets_in,
            bytes_in: load(&self.bytes_in),
            delivered,
            bytes_delivered: load(&self.bytes_delivered),
            lost_random,
            lost_queue,
            lost_partition,
            lost_device,
            in_flight: packets_in - gone,
            delay_sum_us: load(&self.delay_sum_us),
            lateness_sum_us: load(&self.lateness_sum_us),
            lateness_max_us: load(&self.lateness_max_us),
            lateness_counts: self.lateness.iter().map(load).collect(),
            datagram_delay_bins: bins(&self.datagram_delay),
            ordered_delay_bins: bins(&self.ordered_delay),
            is_cut: false,
            degradation: super::Degradation::default(),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    // One writer: no read-modify-write needed.
    counter.store(counter.load(Relaxed) + n, Release);
}

/// What one directed link did since the lab came up.
///
/// `packets_in = delivered + lost_* + in_flight`, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSnapshot {
    /// Region id, or `ops`.
    pub from: String,
    /// Region id, or `ops`.
    pub to: String,
    /// Packets that came to this link.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets handed to the receiver.
    pub delivered: u64,
    /// Their bytes.
    pub bytes_delivered: u64,
    /// Lost as the loss process or a degradation asked.
    pub lost_random: u64,
    /// Lost because too much was waiting.
    pub lost_queue: u64,
    /// Lost because the link was cut, on entry or under way.
    pub lost_partition: u64,
    /// Refused by the receiver's device; never asked for.
    pub lost_device: u64,
    /// Neither delivered nor lost yet.
    pub in_flight: u64,
    /// Sum of the delays of all delivered packets.
    pub delay_sum_us: u64,
    /// Sum of how much later than due they were delivered.
    pub lateness_sum_us: u64,
    /// The worst of that.
    pub lateness_max_us: u64,
    /// Deliveries by lateness: up to each of [`LATENESS_BOUNDS_US`], then the rest.
    pub lateness_counts: Vec<u64>,
    /// Delays of ICMP and UDP packets: lower bound of each non-empty bin of [`DELAY_BIN_US`], count.
    pub datagram_delay_bins: Vec<(u64, u64)>,
    /// Delays of other packets, likewise.
    pub ordered_delay_bins: Vec<(u64, u64)>,
    /// Whether it is cut now.
    pub is_cut: bool,
    /// What harm it suffers now.
    pub degradation: super::Degradation,
}

impl LinkSnapshot {
    /// The link's id in messages and metrics, `eu>us`.
    pub fn id(&self) -> String {
        format!("{}>{}", self.from, self.to)
    }

    /// Packets lost for any reason.
    pub fn lost(&self) -> u64 {
        self.lost_random + self.lost_queue + self.lost_partition + self.lost_device
    }

    /// The achieved one-way delay below which `percent` of datagrams stayed, to bin width.
    ///
    /// `None` before the first delivery.
    pub fn datagram_delay_us(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.datagram_delay_bins.iter().map(|(_, n)| n).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at_rank = |(_, n): &&(u64, u64)| {
            seen += n;
            seen >= rank
        };
        self.datagram_delay_bins.iter().find(at_rank).map(|(low, _)| low + DELAY_BIN_US / 2)
    }
}
