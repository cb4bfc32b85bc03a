//! The prober on Linux: an ICMP socket whose packets the kernel stamps when they leave and arrive.
//!
//! The kernel's stamps are of the wall clock. A round trip whose stamps contradict the program's own
//! monotonic clock (a step between the two), or that lack one end, takes the program's times instead,
//! and is counted as such.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::SockAddr;

use crate::error::MeasureError;
use crate::icmp::{LEAST, ProbeId, TAG, write_request};
use crate::stats::{LEAST_WAIT_US, wait_us};

mod clock;
mod socket;

use clock::ClockOffset;
pub use clock::monotonic_ns;
pub(crate) use clock::raise_priority;
use socket::{IcmpSocket, Seen};

/// However slow the answers, the end of a run is not waited for longer.
const MOST_WAIT_US: u64 = 60_000_000;
/// Messages read before the grid is looked at again.
const READ_AT_ONCE: usize = 32;

/// How a prober's messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProberOptions {
    /// Bytes of the ICMP message.
    pub size_bytes: usize,
    /// Their code point.
    pub dscp: u8,
}

/// When a prober sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The grid's zero, as [`monotonic_ns`] reads it.
    pub start_ns: i64,
    /// From one probe of a lane to its next.
    pub interval_ns: i64,
    /// Probes sent and dropped first.
    pub warm_up: u32,
    /// Probes counted.
    pub probes: u32,
}

/// One target of a prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Who is probed.
    pub target: Ipv4Addr,
    /// Where this lane starts on the grid.
    pub phase_ns: i64,
}

/// What a prober saw of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneSamples {
    /// How much later than due each counted probe left.
    pub late_us: Vec<u64>,
    /// Its round trip, or -1.
    pub rtt_ns: Vec<i64>,
    /// Answers to probes already answered.
    pub duplicates: u64,
    /// Round trips without the kernel's stamps at both ends.
    pub program_stamped: u64,
    /// Probes that the system refused to send.
    pub refused: u64,
    /// Steps of the wall clock seen by this prober.
    pub clock_steps: u64,
    /// The largest of them.
    pub largest_clock_step_us: u64,
}

/// An open socket that probes from one address, in the network it was opened in.
pub struct Prober {
    socket: IcmpSocket,
    source: Ipv4Addr,
    options: ProberOptions,
    tag: [u8; TAG],
}

/// One probe on its way.
#[derive(Clone, Copy, Default)]
struct Probe {
    late_us: u64,
    sent_ns: i64,
    left_wall_ns: Option<i64>,
    came_wall_ns: Option<i64>,
    came_ns: Option<i64>,
}

impl Prober {
    /// Opens the socket on the calling thread, whose network namespace the caller has set.
    ///
    /// # Errors
    /// The host's or the caller's fault: no permission, or an address of somebody else.
    pub fn open(source: Ipv4Addr, options: ProberOptions) -> Result<Self, MeasureError> {
        assert!(options.size_bytes >= LEAST, "a probe needs room for its number");
        let socket = IcmpSocket::open(source, options.dscp)?;
        Ok(Self { socket, source, options, tag: rand::random() })
    }

    /// Sends the whole grid to every lane and collects what comes back.
    ///
    /// Blocks until the last answer is in or its time is over. `progress` hears of every counted probe that
    /// has left and may end the run, as may `stop`.
    ///
    /// # Errors
    /// The world's fault, or [`MeasureError::Stopped`].
    pub fn run(
        &mut self,
        lanes: &[Lane],
        timing: &Timing,
        stop: &AtomicBool,
        mut progress: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<LaneSamples>, MeasureError> {
        raise_priority();
        let per_lane = timing.warm_up as usize + timing.probes as usize;
        let mut run = Run {
            probes: vec![vec![Probe::default(); per_lane]; lanes.len()],
            samples: vec![LaneSamples::default(); lanes.len()],
            open: 0,
        };
        let mut next = vec![0u32; lanes.len()];
        let mut message = vec![0; self.options.size_bytes];
        let mut clock = ClockOffset::new();
        loop {
            let due = |lane: usize, number: u32| {
                timing.start_ns + lanes[lane].phase_ns + i64::from(number) * timing.interval_ns
            };
            let earliest = (0..lanes.len())
                .filter(|lane| (next[*lane] as usize) < per_lane)
                .map(|lane| (due(lane, next[lane]), lane))
                .min();
            let Some((due_ns, lane)) = earliest else { break };
            if stop.load(Ordering::Relaxed) {
                return Err(MeasureError::Stopped);
            }
            let now = monotonic_ns();
            if now < due_ns {
                self.wait_and_read(&mut run, due_ns)?;
                continue;
            }
            let id = ProbeId { lane: lane as u32, number: next[lane] };
            next[lane] += 1;
            clock.observe();
            write_request(&mut message, self.socket.identifier(), &self.tag, id);
            let sent_ns = monotonic_ns();
            let late_us = ((sent_ns - due_ns) / 1_000).max(0) as u64;
            let probe = Probe { late_us, sent_ns, ..Probe::default() };
            run.probes[lane][id.number as usize] = probe;
            run.open += 1;
            let to = SockAddr::from(SocketAddrV4::new(lanes[lane].target, 0));
            if let Err(error) = self.socket.send(&message, &to) {
                self.refuse(&mut run, id, error)?;
            }
            if id.number >= timing.warm_up && progress().is_break() {
                return Err(MeasureError::Stopped);
            }
        }
        self.await_the_last(&mut run, stop)?;
        Ok(run.finish(timing, &clock))
    }

    /// A refused probe counts as lost, unless it is our own fault.
    fn refuse(&self, run: &mut Run, id: ProbeId, error: io::Error) -> Result<(), MeasureError> {
        let ours = [libc::EMSGSIZE, libc::EINVAL, libc::EBADF, libc::EACCES, libc::EPERM];
        if error.raw_os_error().is_some_and(|code| ours.contains(&code)) {
            return Err(self.failed("send", error));
        }
        run.open = run.open.saturating_sub(1);
        run.samples[id.lane as usize].refused += 1;
        Ok(())
    }

    /// Reads until nothing is open, or no answer is waited for any longer.
    fn await_the_last(&self, run: &mut Run, stop: &AtomicBool) -> Result<(), MeasureError> {
        let last_sent = run.probes.iter().flatten().map(|probe| probe.sent_ns).max().unwrap_or(0);
        while run.open > 0 {
            let wait = wait_us(&run.answers_us()).clamp(LEAST_WAIT_US, MOST_WAIT_US);
            let end = last_sent + wait as i64 * 1_000;
            let now = monotonic_ns();
            if now >= end {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(MeasureError::Stopped);
            }
            self.wait_and_read(run, end.min(now + 100_000_000))?;
        }
        Ok(())
    }

    /// Sleeps until `until_ns` or until something arrives, and takes in a bounded number of messages.
    fn wait_and_read(&self, run: &mut Run, until_ns: i64) -> Result<(), MeasureError> {
        let wait_ns = (until_ns - monotonic_ns()).max(0);
        if !self.socket.wait(wait_ns).map_err(|error| self.failed("wait", error))? {
            return Ok(());
        }
        for queue in [socket::Queue::Left, socket::Queue::Came] {
            for _ in 0..READ_AT_ONCE {
                let seen = self.socket.read(queue, &self.tag);
                match seen.map_err(|error| self.failed("read", error))? {
                    Some(seen) => run.take(seen),
                    None => break,
                }
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> MeasureError {
        MeasureError::Socket { doing, source_address: self.source, source }
    }
}

struct Run {
    probes: Vec<Vec<Probe>>,
    samples: Vec<LaneSamples>,
    /// Sent and not answered.
    open: u64,
}

impl Run {
    fn take(&mut self, seen: Seen) {
        let (id, is_answer) = match seen {
            Seen::Left { id, .. } => (id, false),
            Seen::Came { id, .. } => (id, true),
            Seen::Foreign => return,
        };
        // Whoever copies our tag may still not make us index out of bounds.
        let lane = id.lane as usize;
        let probe = self.probes.get_mut(lane).and_then(|lane| lane.get_mut(id.number as usize));
        let Some(probe) = probe.filter(|probe| probe.sent_ns != 0) else { return };
        if is_answer && probe.came_ns.is_some() {
            self.samples[lane].duplicates += 1;
            return;
        }
        match seen {
            Seen::Left { wall_ns, .. } => probe.left_wall_ns = wall_ns,
            Seen::Came { wall_ns, .. } => {
                probe.came_wall_ns = wall_ns;
                probe.came_ns = Some(monotonic_ns());
                self.open = self.open.saturating_sub(1);
            }
            Seen::Foreign => {}
        }
    }

    fn answers_us(&self) -> Vec<u64> {
        let answered = |probe: &Probe| Some((probe.came_ns? - probe.sent_ns) / 1_000);
        let probes = self.probes.iter().flatten();
        probes.filter_map(answered).filter_map(|us| u64::try_from(us).ok()).collect()
    }

    fn finish(mut self, timing: &Timing, clock: &ClockOffset) -> Vec<LaneSamples> {
        for (samples, probes) in self.samples.iter_mut().zip(&self.probes) {
            for probe in &probes[timing.warm_up as usize..] {
                samples.late_us.push(probe.late_us);
                let (rtt, by_program) = probe.round_trip();
                samples.rtt_ns.push(rtt.unwrap_or(-1));
                samples.program_stamped += u64::from(by_program);
            }
            samples.clock_steps = clock.steps();
            samples.largest_clock_step_us = clock.largest_us();
        }
        self.samples
    }
}

impl Probe {
    /// The round trip, and whether it had to be taken from the program's clock.
    fn round_trip(&self) -> (Option<i64>, bool) {
        let Some(came) = self.came_ns else { return (None, false) };
        // The program sends before the kernel stamps and reads after it: its own time is never the shorter.
        let ours = came - self.sent_ns;
        let kernel = self.came_wall_ns.zip(self.left_wall_ns).map(|(came, left)| came - left);
        match kernel.filter(|kernel| (0..=ours).contains(kernel)) {
            Some(kernel) => (Some(kernel), false),
            None => (Some(ours.max(0)), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_that_contradict_the_monotonic_clock_are_not_believed() {
        let probe = |left, came| Probe {
            late_us: 0,
            sent_ns: 100,
            left_wall_ns: left,
            came_wall_ns: came,
            came_ns: Some(1_100),
        };
        assert_eq!(probe(Some(5_000), Some(5_900)).round_trip(), (Some(900), false));
        assert_eq!(probe(Some(5_000), Some(6_001)).round_trip(), (Some(1_000), true));
        assert_eq!(probe(Some(5_000), Some(4_000)).round_trip(), (Some(1_000), true));
        assert_eq!(probe(None, Some(5_900)).round_trip(), (Some(1_000), true));
        assert_eq!(Probe::default().round_trip(), (None, false));
    }

    #[test]
    fn a_second_answer_is_a_duplicate_and_a_strange_number_is_ignored() {
        let sent = Probe { sent_ns: 1, ..Probe::default() };
        let mut run = Run {
            probes: vec![vec![sent, Probe::default()]],
            samples: vec![LaneSamples::default()],
            open: 1,
        };
        let came = |lane, number| Seen::Came { id: ProbeId { lane, number }, wall_ns: Some(5) };
        for (lane, number) in [(0, 0), (0, 0), (0, 1), (0, 2), (1, 0), (u32::MAX, u32::MAX)] {
            run.take(came(lane, number));
        }
        assert_eq!((run.samples[0].duplicates, run.open), (1, 0));
        assert!(run.probes[0][1].came_ns.is_none(), "an answer to what was never sent");
    }
}
