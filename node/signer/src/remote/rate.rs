//! How fast a signer signs at most.

use std::time::{Duration, Instant};

/// A request waits this long for its turn at most; one that would wait longer is refused.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A bucket that holds a second's worth and may owe as much again.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Full at `now`.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: f64::from(per_second), level: f64::from(per_second), at: now }
    }

    /// How long to wait before going on, or `None`: refused, and not counted.
    pub(super) fn take(&mut self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + since * self.per_second).min(self.per_second);
        self.at = now;
        let owed = 1. - self.level;
        let wait = Duration::from_secs_f64((owed / self.per_second).max(0.));
        if wait > LONGEST_WAIT {
            return None;
        }
        self.level -= 1.;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_then_requests_wait_their_turn_then_they_are_refused() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        let waits: Vec<_> = (0..25).map(|_| bucket.take(start)).collect();
        assert!(waits[..10].iter().all(|wait| *wait == Some(Duration::ZERO)), "{waits:?}");
        let millis = |wait: &Option<Duration>| wait.map(|w| w.as_secs_f64() * 1_000.);
        for (turn, wait) in waits[10..20].iter().enumerate() {
            let expected = 100. * (turn as f64 + 1.);
            assert!(millis(wait).is_some_and(|w| (w - expected).abs() < 1.), "{turn}: {wait:?}");
        }
        assert!(waits[20..].iter().all(Option::is_none), "{waits:?}");
        // Refused ones owe nothing: two seconds later the bucket is full again.
        let later = start + Duration::from_secs(2);
        let waits: Vec<_> = (0..10).map(|_| bucket.take(later)).collect();
        assert!(waits.iter().all(|wait| *wait == Some(Duration::ZERO)), "{waits:?}");
    }
}
