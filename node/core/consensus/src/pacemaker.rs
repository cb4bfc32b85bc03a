//! How long to wait for a leader.

use qbind_types::Millis;

/// The three numbers of the pacemaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// First timeout of a view.
    pub base: Millis,
    /// Longest timeout.
    pub cap: Millis,
    /// How often a timeout is sent again while the view lasts.
    pub resend: Millis,
}

impl Default for Timing {
    fn default() -> Self {
        Self { base: Millis(1_000), cap: Millis(30_000), resend: Millis(1_000) }
    }
}

/// Doubles the wait with each view given up in a row; progress resets it.
#[derive(Debug, Clone)]
pub struct Pacemaker {
    timing: Timing,
    failures: u32,
    deadline: Millis,
}

impl Pacemaker {
    /// Starts waiting.
    pub fn new(timing: Timing, now: Millis) -> Self {
        Self { timing, failures: 0, deadline: now.plus(timing.base) }
    }

    /// A view starts because the one before was certified.
    pub fn progress(&mut self, now: Millis) {
        self.failures = 0;
        self.deadline = now.plus(self.wait());
    }

    /// A view starts because the one before was given up.
    pub fn failure(&mut self, now: Millis) {
        self.failures = self.failures.saturating_add(1);
        self.deadline = now.plus(self.wait());
    }

    /// The view was given up; wait before saying so again.
    pub fn resend(&mut self, now: Millis) {
        self.deadline = now.plus(self.timing.resend);
    }

    /// When to act next.
    pub fn deadline(&self) -> Millis {
        self.deadline
    }

    /// The current view's timeout.
    pub fn wait(&self) -> Millis {
        let factor = 1u64.checked_shl(self.failures.min(32)).unwrap_or(u64::MAX);
        Millis(self.timing.base.0.saturating_mul(factor).min(self.timing.cap.0))
    }
}
