use super::{Link, Topology};

/// What probes across a pair of links must see if the links do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedRtt {
    /// Median: the two delays, because the offsets are symmetric about zero.
    pub p50_us: u64,
    /// 95th percentile less median.
    pub jitter_us: u64,
    /// Least possible.
    pub min_us: u64,
    /// Greatest possible without queueing.
    pub max_us: u64,
    /// Share of echoes without an answer, in units of 0.01 %, rounded to nearest.
    pub loss_bps: u32,
}

impl Topology {
    /// What a datagram probe from `from` to `to` and back must see; `None` for an unknown pair.
    pub fn expected_rtt(&self, from: &str, to: &str) -> Option<ExpectedRtt> {
        Some(ExpectedRtt::of(self.link(from, to)?, self.link(to, from)?))
    }
}

impl ExpectedRtt {
    /// From the two directions of a pair.
    pub fn of(there: &Link, back: &Link) -> Self {
        let p50_us = there.delay_us + back.delay_us;
        let width = there.jitter_us + back.jitter_us;
        let kept = u64::from(10_000 - there.loss_bps) * u64::from(10_000 - back.loss_bps);
        let loss_bps = 10_000 - (kept + 5_000) / 10_000;
        Self {
            p50_us,
            jitter_us: p95_of_sum(there.jitter_us, back.jitter_us),
            min_us: p50_us - width,
            max_us: p50_us + width,
            loss_bps: u32::try_from(loss_bps).expect("at most 10,000"),
        }
    }
}

/// 95th percentile of the sum of two independent offsets, uniform in `±a` and `±b`.
///
/// The density of the sum is a trapezoid. With `a >= b`, the upper tail above `x` holds
/// `(a+b-x)^2 / 8ab` of the mass where `x >= a-b`, and `(a-x) / 2a` below that.
fn p95_of_sum(a: u64, b: u64) -> u64 {
    let (a, b) = (a.max(b), a.min(b));
    let x = a + b - (2 * a * b / 5).isqrt();
    if b > 0 && x >= a - b { x } else { a * 9 / 10 }
}
