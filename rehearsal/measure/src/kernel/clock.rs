//! The two clocks, and a thread that is not kept waiting.

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// The program's clock in nanoseconds.
pub fn monotonic_ns() -> i64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The clock of the kernel's stamps in nanoseconds.
pub(crate) fn wall_ns() -> i64 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> i64 {
    clock_gettime(clock).expect("every Linux has this clock").num_nanoseconds()
}

/// Slewing moves the clocks apart by half a microsecond a millisecond; a step is more.
const STEP_NS: i64 = 1_000_000;
/// Between the two readings of the program's clock; longer, and something else ran between them.
const STEADY_NS: i64 = 50_000;

/// Watches the distance between the two clocks.
pub(super) struct ClockOffset {
    last: Option<i64>,
    steps: u64,
    largest_ns: i64,
}

impl ClockOffset {
    pub(super) fn new() -> Self {
        Self { last: None, steps: 0, largest_ns: 0 }
    }

    /// Looks at both clocks; a look that was interrupted is left out.
    pub(super) fn observe(&mut self) {
        let before = monotonic_ns();
        let wall = wall_ns();
        if monotonic_ns() - before <= STEADY_NS {
            self.record(wall - before);
        }
    }

    fn record(&mut self, offset: i64) {
        let moved = self.last.map_or(0, |last| (offset - last).abs());
        if moved > STEP_NS {
            self.steps += 1;
            self.largest_ns = self.largest_ns.max(moved);
        }
        self.last = Some(offset);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn largest_us(&self) -> u64 {
        (self.largest_ns / 1_000) as u64
    }
}

/// Above whatever else is in a hurry: a lab's emulator wakes for each probe that leaves, and would keep the
/// next one waiting.
const PRIORITY: i32 = 30;

/// Asks to be run as soon as a probe is due; where that is not allowed, the lateness will tell.
pub(crate) fn raise_priority() {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: zero names the calling thread, and the parameters live through the call.
    let real_time = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    if real_time != 0 {
        // SAFETY: no pointers; zero names the calling thread. A refusal changes nothing.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_a_slew() {
        let mut clock = ClockOffset::new();
        for slewed in [0, 900_000, 1_800_000] {
            clock.record(slewed);
        }
        assert_eq!(clock.steps(), 0);
        clock.record(-500_000_000);
        assert_eq!((clock.steps(), clock.largest_us()), (1, 501_800));
    }
}
