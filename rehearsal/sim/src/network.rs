//! Directed links: delay, jitter, loss, cuts.

use qbind_consensus::Message;
use qbind_dag::DagMessage;
use qbind_links::LinkProfile;
use qbind_replica::Wire;
use rand::{Rng, RngExt};
use std::collections::BTreeSet;

/// One direction between two regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// One-way delay in microseconds.
    pub delay_us: u64,
    /// Uniform deviation to either side, in microseconds.
    pub jitter_us: u64,
    /// Loss of single messages, of 10,000.
    pub loss_bps: u32,
}

impl From<LinkProfile> for Link {
    fn from(profile: LinkProfile) -> Self {
        Self {
            delay_us: profile.base_latency_ms * 1_000,
            jitter_us: profile.jitter_ms * 1_000,
            loss_bps: profile.loss_bps,
        }
    }
}

impl Link {
    /// A link without jitter and loss.
    pub fn exact(delay_us: u64) -> Self {
        Self { delay_us, jitter_us: 0, loss_bps: 0 }
    }

    fn draw(&self, rng: &mut impl Rng) -> Option<u64> {
        if self.loss_bps > 0 && rng.random_range(0..10_000) < self.loss_bps {
            return None;
        }
        let deviation =
            if self.jitter_us == 0 { 0 } else { rng.random_range(0..=2 * self.jitter_us) };
        Some((self.delay_us + deviation).saturating_sub(self.jitter_us))
    }
}

/// Kinds of messages a fault may single out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// Leaders' blocks.
    Proposal,
    /// First- and second-phase votes.
    Vote,
    /// Timeouts and the certificates that go with them.
    NewView,
    /// Availability acks.
    DagAck,
    /// Availability certificates.
    DagCert,
    /// Every message.
    All,
}

impl MessageKind {
    fn covers(self, wire: &Wire) -> bool {
        match self {
            Self::All => true,
            Self::Proposal => {
                matches!(wire, Wire::Consensus(m) if matches!(**m, Message::Proposal(_)))
            }
            Self::Vote => matches!(wire, Wire::Consensus(m)
                if matches!(**m, Message::Vote(_) | Message::CommitVote(_))),
            Self::NewView => matches!(wire, Wire::Consensus(m)
                if matches!(**m, Message::Timeout(_) | Message::Tc(_) | Message::Qc(_))),
            Self::DagAck => matches!(wire, Wire::Dag(m) if matches!(**m, DagMessage::Ack(_))),
            Self::DagCert => {
                matches!(wire, Wire::Dag(m) if matches!(**m, DagMessage::Certificate(_)))
            }
        }
    }
}

/// What the network did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) cut: u64,
    pub(crate) dropped: u64,
    pub(crate) delay_us: u64,
}

/// The network between all nodes.
#[derive(Debug)]
pub(crate) struct Network {
    links: Vec<Vec<Link>>,
    regions: Vec<usize>,
    cut: BTreeSet<(usize, usize)>,
    drops: Vec<(MessageKind, u32)>,
    pub(crate) counts: Counts,
}

impl Network {
    pub(crate) fn new(links: Vec<Vec<Link>>, regions: Vec<usize>) -> Self {
        Self { links, regions, cut: BTreeSet::new(), drops: Vec::new(), counts: Counts::default() }
    }

    pub(crate) fn cut_between(&mut self, groups: &[Vec<usize>]) {
        let group = |n: usize| groups.iter().position(|g| g.contains(&n));
        for a in 0..self.regions.len() {
            for b in 0..self.regions.len() {
                if group(a) != group(b) {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    pub(crate) fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn drop_share(&mut self, kind: MessageKind, bps: u32) {
        self.drops.push((kind, bps));
    }

    pub(crate) fn stop_drops(&mut self) {
        self.drops.clear();
    }

    /// Microseconds until the message arrives; `None` when it never does.
    pub(crate) fn send(
        &mut self,
        from: usize,
        to: usize,
        wire: &Wire,
        rng: &mut impl Rng,
    ) -> Option<u64> {
        let link = self.links[self.regions[from]][self.regions[to]];
        // Drawn in every case, so that a cut changes nothing but what it cuts.
        let delay = link.draw(rng);
        let bps = self.drops.iter().filter(|(k, _)| k.covers(wire)).map(|(_, b)| *b).max();
        let dropped = bps.is_some_and(|bps| rng.random_range(0..10_000) < bps);
        if self.cut.contains(&(from, to)) {
            self.counts.cut += 1;
            return None;
        }
        if dropped {
            self.counts.dropped += 1;
            return None;
        }
        match delay {
            Some(delay) => {
                self.counts.delivered += 1;
                self.counts.delay_us += delay;
            }
            None => self.counts.lost += 1,
        }
        delay
    }
}
