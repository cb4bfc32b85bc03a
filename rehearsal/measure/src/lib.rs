//! Probes on a schedule become raw samples, and samples become tables.
//!
//! **What it is.** A prober for directed pairs of regions: ICMP echo requests on a fixed grid, sent whether or
//! not answers came, stamped by the kernel when they leave and when answers arrive. What was seen is kept
//! as a [`RawMeasurement`]; everything else ([`RawMeasurement::evaluate`]) is a pure function of it.
//!
//! **What it promises.** One thread per source, which first moves where its caller wants it and does nothing
//! but probe. No probe is held back because an answer is late, and lateness of its own is reported and, when
//! it is too large, makes the run void. Late, duplicate and reordered answers are counted apart. The same
//! samples give the same table on every machine: integers only.
//!
//! **What it must never do.** Mix two kinds, sizes or code points of probe in one measurement; count a probe
//! that could not be sent as one that was not sent; show a percentile of nothing as a number that decides.
//!
//! ```text
//!   Pair ── measure_pairs ──> RawMeasurement ── evaluate ──> Measurement ── tables, heat map, map
//!                                  │  ▲
//!                             write_to  read_from   (JSON lines: a header, then one line a pair)
//! ```

mod error;
mod heat;
mod icmp;
#[cfg(target_os = "linux")]
mod kernel;
mod lint;
mod measurement;
mod portable;
mod raw;
mod run;
mod schedule;
mod sphere;
mod stats;
mod table;

pub use error::{MeasureError, SamplesError};
pub use heat::{HeatValue, heat_map_svg};
#[cfg(target_os = "linux")]
pub use kernel::{Lane, LaneSamples, Prober, ProberOptions, Timing, monotonic_ns};
pub use lint::{Finding, FindingKind};
pub use measurement::{Coordinates, Measurement, Soundness};
pub use raw::{RawMeasurement, RawPair};
pub use run::{Enter, Pair, Progress, measure_pairs};
pub use schedule::{Engine, Schedule};
pub use sphere::{Place, fibre_bound_us};
pub use stats::PairStats;
pub use table::{csv, markdown, terminal};
