//! What one directed link does to one packet: a pure function of its state, a seed and the time.

use qbind_plan::topology::{Burst, Link};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize};

/// One basis point is one in this many.
const BPS: u64 = 10_000;

/// Harm on top of what the topology asks of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Degradation {
    /// Additional one-way delay in microseconds.
    pub delay_us: u64,
    /// Additional half width of the offset, in microseconds; at most the delay is used.
    pub jitter_us: u64,
    /// Additional independent loss, in units of 0.01 %.
    pub loss_bps: u32,
}

/// Why a packet was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The link's loss process, or a degradation.
    Random,
    /// Too much was waiting already.
    Queue,
    /// The link is cut.
    Partition,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Deliver when the clock shows this.
    Deliver { at_ns: u64 },
    /// Never.
    Lose(Loss),
}

/// One directed link at work.
pub(crate) struct Shaper {
    link: Figures,
    harm: Degradation,
    cut: bool,
    loss: LossProcess,
    harm_loss: ChaCha8Rng,
    jitter: ChaCha8Rng,
    drift: Drift,
    /// When the last admitted byte will have left the sender.
    free_at_ns: u64,
}

/// A link's figures in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Figures {
    delay_ns: u64,
    jitter_ns: u64,
    loss_bps: u32,
    rate_mbit: u64,
    queue_ns: u64,
    burst: Option<Burst>,
    reorder: bool,
}

impl Shaper {
    /// A link that behaves as the topology asks; `seed` is its own.
    pub(crate) fn new(link: &Link, seed: u64) -> Self {
        // Streams of their own, so that a degradation does not shift the link's other draws.
        let stream = |n: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(n);
            rng
        };
        Self {
            link: Figures {
                delay_ns: link.delay_us * 1_000,
                jitter_ns: link.jitter_us * 1_000,
                loss_bps: link.loss_bps,
                rate_mbit: u64::from(link.rate_mbit),
                queue_ns: u64::from(link.queue_ms) * 1_000_000,
                burst: link.burst,
                reorder: link.reorder,
            },
            harm: Degradation::default(),
            cut: false,
            loss: LossProcess { rng: stream(0), bad: false },
            harm_loss: stream(1),
            jitter: stream(2),
            drift: Drift { rng: stream(3), knot: None },
            free_at_ns: 0,
        }
    }

    pub(crate) fn degrade(&mut self, harm: Degradation) {
        self.harm = harm;
    }

    pub(crate) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Decides about a packet that enters now; `ordered` ones must not overtake each other.
    ///
    /// `now_ns` never goes back between calls.
    pub(crate) fn admit(&mut self, now_ns: u64, bytes: usize, ordered: bool) -> Verdict {
        if self.cut {
            return Verdict::Lose(Loss::Partition);
        }
        if self.loss.draw(&self.link) || draw_bps(&mut self.harm_loss, self.harm.loss_bps) {
            return Verdict::Lose(Loss::Random);
        }
        let starts_ns = self.free_at_ns.max(now_ns);
        if starts_ns - now_ns > self.link.queue_ns {
            return Verdict::Lose(Loss::Queue);
        }
        // bits / (Mbit/s) are microseconds.
        self.free_at_ns = starts_ns + bytes as u64 * 8_000 / self.link.rate_mbit;
        let delay_ns = self.link.delay_ns + self.harm.delay_us * 1_000;
        let width_ns = (self.link.jitter_ns + self.harm.jitter_us * 1_000).min(delay_ns);
        let offset_ns = if ordered && !self.link.reorder {
            self.drift.offset(self.free_at_ns, width_ns)
        } else {
            uniform(&mut self.jitter, width_ns)
        };
        Verdict::Deliver { at_ns: (self.free_at_ns + delay_ns).saturating_add_signed(offset_ns) }
    }
}

/// Loss that has memory when the link has bursts, and none otherwise.
struct LossProcess {
    rng: ChaCha8Rng,
    bad: bool,
}

impl LossProcess {
    fn draw(&mut self, link: &Figures) -> bool {
        let Some(burst) = link.burst else {
            return draw_bps(&mut self.rng, link.loss_bps);
        };
        let (mean, in_bad) = (u64::from(burst.mean_packets), u64::from(burst.loss_bps));
        // Leaving the bad state has probability 1/mean. Its share of the packets must be
        // loss/in_bad, hence entering it has loss / (in_bad - loss) / mean.
        let loss = u64::from(link.loss_bps);
        self.bad = if self.bad {
            !draw(&mut self.rng, 1, mean)
        } else {
            draw(&mut self.rng, loss, (in_bad - loss) * mean)
        };
        self.bad && draw(&mut self.rng, in_bad, BPS)
    }
}

fn draw_bps(rng: &mut ChaCha8Rng, bps: u32) -> bool {
    bps > 0 && draw(rng, u64::from(bps), BPS)
}

/// True with probability `part / whole`.
fn draw(rng: &mut ChaCha8Rng, part: u64, whole: u64) -> bool {
    below(rng, whole) < part
}

/// Uniform in `0..limit`; the bias of the multiplication is below 2^-32 for limits in use.
fn below(rng: &mut ChaCha8Rng, limit: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(limit)) >> 64) as u64
}

/// Uniform in `-width..=width`.
fn uniform(rng: &mut ChaCha8Rng, width_ns: u64) -> i64 {
    below(rng, 2 * width_ns + 1) as i64 - width_ns as i64
}

/// An offset that all ordered packets share and that changes slowly.
///
/// Straight lines between uniform draws ("knots") four widths apart: it falls by at most half a
/// second a second, so that what was sent later never arrives earlier.
struct Drift {
    rng: ChaCha8Rng,
    knot: Option<Knot>,
}

#[derive(Clone, Copy)]
struct Knot {
    at_ns: u64,
    /// Draws as shares of the width, in units of 2^-32.
    from: i64,
    to: i64,
}

const UNIT: i64 = 1 << 32;

impl Drift {
    fn offset(&mut self, now_ns: u64, width_ns: u64) -> i64 {
        if width_ns == 0 {
            return 0;
        }
        let spacing_ns = 4 * width_ns;
        let fresh = |rng: &mut ChaCha8Rng| uniform(rng, UNIT as u64);
        let mut knot = match self.knot {
            // After two spacings without a packet there is nothing to stay continuous with.
            Some(knot) if now_ns < knot.at_ns.saturating_add(2 * spacing_ns) => knot,
            _ => Knot { at_ns: now_ns, from: fresh(&mut self.rng), to: fresh(&mut self.rng) },
        };
        if now_ns >= knot.at_ns + spacing_ns {
            let to = fresh(&mut self.rng);
            knot = Knot { at_ns: knot.at_ns + spacing_ns, from: knot.to, to };
        }
        self.knot = Some(knot);
        let passed = i128::from(now_ns.saturating_sub(knot.at_ns));
        let (from, to) = (i128::from(knot.from), i128::from(knot.to));
        let share = from + (to - from) * passed / i128::from(spacing_ns);
        (share * i128::from(width_ns) / i128::from(UNIT)) as i64
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
