//! `qbindctl measure`: round-trip times, jitter and loss between regions.

mod lab;
mod store;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use qbind_measure::{
    Coordinates, Engine, MeasureError, Measurement, Pair, Place, Progress, RawMeasurement,
    Schedule, Soundness, measure_pairs, terminal,
};

const SOUND: u8 = 0;
const UNKNOWN: u8 = 2;
const INVALID: u8 = 3;
const USAGE: u8 = 64;
const BUG: u8 = 70;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum MeasureOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What sends the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum MeasureEngine {
    /// Our own prober, with the kernel's time stamps (Linux)
    #[default]
    Kernel,
    /// The portable one, which stamps in the program
    SurgePing,
}

/// Arguments of `measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Measure all directed pairs of regions of the lab that is up in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "to"])]
    #[arg(required_unless_present = "from")]
    pub(crate) lab: Option<PathBuf>,
    /// The region this host is in, and the address to send from
    #[arg(long, value_name = "REGION[=ADDRESS]", requires = "to")]
    pub(crate) from: Option<String>,
    /// A region to measure to, and a host in it; give it once for each
    #[arg(long, value_name = "REGION=HOST", requires = "from")]
    pub(crate) to: Vec<String>,
    /// Where a region lies, in degrees: answers faster than light in fibre make the result INVALID
    #[arg(long, value_name = "REGION=LATITUDE,LONGITUDE", value_parser = parse_place)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) place: Vec<(String, Place)>,
    /// 1,000 probes at 50 a second instead of 3,000 at 20
    #[arg(long)]
    pub(crate) quick: bool,
    /// Probes for each directed pair
    #[arg(long, value_name = "N")]
    pub(crate) probes: Option<u64>,
    /// From one probe of a pair to its next, in milliseconds
    #[arg(long, value_name = "MS")]
    pub(crate) interval_ms: Option<u64>,
    /// Bytes of the ICMP message: 64 or 1200
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(crate) size: u64,
    /// The code point of the probes, from 0 to 63
    #[arg(long, value_name = "DSCP", default_value_t = 0)]
    pub(crate) dscp: u8,
    /// Where on the grid each pair starts comes from this [default: the clock]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// What sends the probes
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: MeasureEngine,
    /// Also write samples, tables and heat maps here
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: MeasureOutput,
}

/// What went wrong, and the exit code that says so.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: USAGE }
    }

    /// With every cause.
    fn caused(error: &dyn Error, code: u8) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self { message, code }
    }
}

/// Runs the command and returns its exit code.
///
/// Call it before other threads are started: a lab of an ordinary user lives in a user namespace,
/// which a process with several threads cannot enter.
pub(crate) fn run(args: MeasureArgs) -> u8 {
    let existed = args.out.as_ref().is_some_and(|out| out.exists());
    let ended = measure(&args);
    if ended.is_err()
        && !existed
        && let Some(out) = &args.out
    {
        // Made for results that did not come.
        std::fs::remove_dir(out).unwrap_or_default();
    }
    match ended {
        Ok(measurement) => {
            match args.output {
                MeasureOutput::Text => print_text(&measurement),
                MeasureOutput::Json => {
                    let text = serde_json::to_string_pretty(&measurement);
                    println!("{}", text.expect("plain data serialises"));
                }
            }
            match measurement.soundness {
                Soundness::Sound => SOUND,
                Soundness::Void => UNKNOWN,
                Soundness::Invalid => INVALID,
            }
        }
        Err(failure) => {
            eprintln!("qbindctl: {}", failure.message);
            failure.code
        }
    }
}

/// Measures all directed pairs of the lab that is up in `dir`; else an exit code and why.
pub(crate) fn measure_lab(dir: &Path, schedule: &Schedule) -> Result<RawMeasurement, (u8, String)> {
    let failed = |failure: Failure| (failure.code, failure.message);
    let pairs = lab::pairs(dir).map_err(failed)?;
    let seconds = schedule.duration_us().div_ceil(1_000_000);
    eprintln!("measuring {} directed pairs, about {seconds} s", pairs.len());
    measure_pairs(&pairs, schedule, |_| ControlFlow::Continue(()))
        .map_err(|error| failed(Failure::caused(&error, UNKNOWN)))
}

fn measure(args: &MeasureArgs) -> Result<Measurement, Failure> {
    let schedule = schedule(args)?;
    let coordinates: Coordinates = args.place.iter().cloned().collect();
    if let Some(out) = &args.out {
        store::prepare(out)?;
    }
    let pairs = match (&args.lab, &args.from) {
        (Some(dir), _) => lab::pairs(dir)?,
        (None, Some(from)) => pairs_from_here(from, &args.to)?,
        (None, None) => return Err(Failure::usage("give --lab, or --from and --to")),
    };
    let seconds = schedule.duration_us().div_ceil(1_000_000);
    eprintln!("measuring {} directed pairs, about {seconds} s", pairs.len());
    let mut watch = Watch::new(pairs.len() as u64 * schedule.probes);
    let raw =
        measure_pairs(&pairs, &schedule, |progress| watch.see(progress)).map_err(|error| {
            let code = match error {
                MeasureError::Thread { .. } => BUG,
                MeasureError::Socket { ref source, .. } if has_no_way(source) => USAGE,
                MeasureError::Socket { .. } | MeasureError::Stopped => UNKNOWN,
                _ => USAGE,
            };
            Failure::caused(&error, code)
        })?;
    watch.bar.finish_and_clear();
    let measurement = raw.evaluate(&coordinates);
    if let Some(out) = &args.out {
        store::write(out, &raw, &measurement)?;
    }
    Ok(measurement)
}

/// Whether the system knows no way from source to target: a wrong address, not an outage.
fn has_no_way(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, InvalidInput, NetworkUnreachable};
    matches!(error.kind(), HostUnreachable | InvalidInput | NetworkUnreachable)
}

fn schedule(args: &MeasureArgs) -> Result<Schedule, Failure> {
    let seed = args.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64
    });
    let mut schedule = if args.quick { Schedule::quick(seed) } else { Schedule::standard(seed) };
    schedule.probes = args.probes.unwrap_or(schedule.probes);
    if let Some(ms) = args.interval_ms {
        schedule.interval_us = ms.saturating_mul(1_000);
    }
    schedule.size_bytes = args.size;
    schedule.dscp = args.dscp;
    schedule.engine = match args.engine {
        MeasureEngine::Kernel => Engine::Kernel,
        MeasureEngine::SurgePing => Engine::SurgePing,
    };
    schedule.validate().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(schedule)
}

/// The pairs from this host to others.
fn pairs_from_here(from: &str, to: &[String]) -> Result<Vec<Pair>, Failure> {
    let (from, own) = match from.split_once('=') {
        Some((from, address)) => (from, Some(resolve("--from", address)?)),
        None => (from, None),
    };
    let mut pairs = Vec::new();
    for text in to {
        let Some((region, host)) = text.split_once('=') else {
            return Err(Failure::usage(format!("--to {text}: give it as REGION=HOST")));
        };
        let target = resolve("--to", host)?;
        let source = match own {
            Some(source) => source,
            None => source_towards(target)?,
        };
        let (from, to) = (from.to_owned(), region.to_owned());
        pairs.push(Pair { from, to, source, target, enter: None });
    }
    Ok(pairs)
}

fn resolve(flag: &str, host: &str) -> Result<Ipv4Addr, Failure> {
    let wrong = |reason: String| Failure::usage(format!("{flag} {host}: {reason}"));
    let addresses: Vec<SocketAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| wrong(format!("not found ({error}); check the name")))?
        .collect();
    let v4 = addresses.iter().find_map(|address| match address.ip() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    v4.ok_or_else(|| wrong("UNSUPPORTED: only IPv4 is measured; give an IPv4 address".into()))
}

/// The address the system would send from. Nothing is sent to find out.
fn source_towards(target: Ipv4Addr) -> Result<Ipv4Addr, Failure> {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((target, 9))?;
        socket.local_addr()
    };
    match ask() {
        Ok(SocketAddr::V4(own)) => Ok(*own.ip()),
        Ok(own) => Err(Failure::usage(format!("{target}: no IPv4 address of our own ({own})"))),
        Err(error) => Err(Failure::usage(format!(
            "{target} cannot be reached from here ({error}); give --from REGION=ADDRESS"
        ))),
    }
}

fn parse_place(text: &str) -> Result<(String, Place), String> {
    let usage = || format!("`{text}` is not REGION=LATITUDE,LONGITUDE");
    let (region, rest) = text.split_once('=').ok_or_else(usage)?;
    let (latitude, longitude) = rest.split_once(',').ok_or_else(usage)?;
    let degrees = |text: &str, most: f64| {
        text.parse::<f64>().ok().filter(|number| number.abs() <= most).ok_or_else(usage)
    };
    let place = Place::from_degrees(degrees(latitude, 90.0)?, degrees(longitude, 180.0)?);
    Ok((region.to_owned(), place))
}

/// Shows how far it is: a bar on a terminal, a line for each tenth elsewhere.
struct Watch {
    bar: ProgressBar,
    is_terminal: bool,
    tenths: u64,
}

impl Watch {
    fn new(total: u64) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} probes, {eta} left")
            .expect("the template is ours");
        let bar = ProgressBar::new(total).with_style(style);
        Self { bar, is_terminal: std::io::stderr().is_terminal(), tenths: 0 }
    }

    fn see(&mut self, progress: Progress) -> ControlFlow<()> {
        self.bar.set_position(progress.sent);
        let tenths = progress.sent * 10 / progress.total.max(1);
        if !self.is_terminal && tenths > self.tenths {
            self.tenths = tenths;
            eprintln!("{} of {} probes sent", progress.sent, progress.total);
        }
        ControlFlow::Continue(())
    }
}

fn print_text(measurement: &Measurement) {
    println!("{}", terminal(measurement));
    let engine = match measurement.engine {
        Engine::Kernel => "kernel time stamps",
        Engine::SurgePing => "surge-ping, time stamps of the program",
    };
    println!(
        "ICMP echo of {} bytes, DSCP {}, {engine}, seed {}; own lateness {} us at p99",
        measurement.size_bytes, measurement.dscp, measurement.seed, measurement.lateness_p99_us
    );
    for finding in &measurement.findings {
        println!("note: {}: {}", finding.pair, finding.text);
    }
    let verdict = match measurement.soundness {
        Soundness::Sound => return,
        Soundness::Void => "VOID",
        Soundness::Invalid => "INVALID",
    };
    println!("{verdict}: {}", measurement.reasons.join("; "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_named_as_given_and_the_source_is_found() {
        let to = ["us=127.0.0.2".to_owned(), "ap=127.0.0.3".to_owned()];
        let pairs = pairs_from_here("eu", &to).map_err(|failure| failure.message).expect("fine");
        let named: Vec<(&str, &str)> =
            pairs.iter().map(|pair| (pair.from.as_str(), pair.to.as_str())).collect();
        assert_eq!(named, [("eu", "us"), ("eu", "ap")]);
        assert_eq!(pairs[0].source, Ipv4Addr::LOCALHOST);
        let pairs = pairs_from_here("eu=127.0.0.9", &to).map_err(|failure| failure.message);
        assert_eq!(pairs.expect("fine")[1].source, Ipv4Addr::new(127, 0, 0, 9));
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_a_hint() {
        let refused = |to: &str| {
            let failure = pairs_from_here("eu", &[to.to_owned()]).err().expect("refused");
            assert_eq!(failure.code, USAGE);
            failure.message
        };
        assert!(refused("us").contains("REGION=HOST"));
        assert!(refused("us=::1").contains("UNSUPPORTED: only IPv4"));
        assert!(refused("us=no such host").contains("not found"));
    }

    #[test]
    fn places_are_degrees_on_earth() {
        let (region, place) = parse_place("ap=-33.87,151.21").expect("fine");
        assert_eq!((region.as_str(), place.latitude_udeg), ("ap", -33_870_000));
        for wrong in ["ap", "ap=1", "ap=91,0", "ap=0,181", "ap=a,b", "ap=NaN,0"] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
    }
}
