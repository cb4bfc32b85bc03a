//! Directed links: delay, jitter, loss, cuts.

use qbind_consensus::Message;
use qbind_dag::DagMessage;
use qbind_links::LinkProfile;
use qbind_replica::Wire;
use rand::{Rng, RngExt};
use std::collections::{BTreeMap, BTreeSet};

/// One direction between two regions. Each message is drawn for itself, so one overtakes another
/// wherever jitter exceeds the time between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// One-way delay in microseconds.
    pub delay_us: u64,
    /// Uniform deviation to either side, in microseconds.
    pub jitter_us: u64,
    /// Loss of single messages, of 10,000.
    pub loss_bps: u32,
    /// Messages that arrive twice, of 10,000.
    pub duplicate_bps: u32,
    /// What each pair of nodes may send over it; 0 is without limit. Messages queue.
    pub bytes_per_s: u64,
}

impl From<LinkProfile> for Link {
    fn from(profile: LinkProfile) -> Self {
        Self {
            jitter_us: profile.jitter_ms * 1_000,
            loss_bps: profile.loss_bps,
            ..Self::exact(profile.base_latency_ms * 1_000)
        }
    }
}

impl Link {
    /// A link that only delays.
    pub fn exact(delay_us: u64) -> Self {
        Self { delay_us, jitter_us: 0, loss_bps: 0, duplicate_bps: 0, bytes_per_s: 0 }
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
    pub(crate) duplicated: u64,
    pub(crate) delay_us: u64,
}

/// The network between all nodes.
#[derive(Debug)]
pub(crate) struct Network {
    links: Vec<Vec<Link>>,
    replaced: BTreeMap<(usize, usize), Link>,
    regions: Vec<usize>,
    cut: BTreeSet<(usize, usize)>,
    drops: Vec<(MessageKind, u32)>,
    /// When the last byte of what a pair has queued is sent.
    busy_until_us: BTreeMap<(usize, usize), u64>,
    pub(crate) counts: Counts,
}

/// A message on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parcel {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: u64,
}

impl Network {
    pub(crate) fn new(links: Vec<Vec<Link>>, regions: Vec<usize>) -> Self {
        Self {
            links,
            replaced: BTreeMap::new(),
            regions,
            cut: BTreeSet::new(),
            drops: Vec::new(),
            busy_until_us: BTreeMap::new(),
            counts: Counts::default(),
        }
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

    pub(crate) fn replace(&mut self, from: usize, to: usize, link: Link) {
        self.replaced.insert((from, to), link);
    }

    pub(crate) fn restore_links(&mut self) {
        self.replaced.clear();
    }

    pub(crate) fn drop_share(&mut self, kind: MessageKind, bps: u32) {
        self.drops.push((kind, bps));
    }

    pub(crate) fn stop_drops(&mut self) {
        self.drops.clear();
    }

    /// Microseconds until the message arrives, and until it arrives again; none when it never does.
    pub(crate) fn send(
        &mut self,
        now_us: u64,
        parcel: Parcel,
        wire: &Wire,
        rng: &mut impl Rng,
    ) -> [Option<u64>; 2] {
        let Parcel { from, to, bytes } = parcel;
        let between = (self.regions[from], self.regions[to]);
        let link = self.replaced.get(&between).unwrap_or(&self.links[between.0][between.1]);
        let link = *link;
        // Drawn in every case, so that a cut changes nothing but what it cuts.
        let delay = link.draw(rng);
        let bps = self.drops.iter().filter(|(k, _)| k.covers(wire)).map(|(_, b)| *b).max();
        let dropped = bps.is_some_and(|bps| rng.random_range(0..10_000) < bps);
        let twice = link.duplicate_bps > 0 && rng.random_range(0..10_000) < link.duplicate_bps;
        let again = if twice { link.draw(rng) } else { None };
        if self.cut.contains(&(from, to)) {
            self.counts.cut += 1;
            return [None, None];
        }
        if dropped {
            self.counts.dropped += 1;
            return [None, None];
        }
        let queued = self.queue(now_us, (from, to), bytes, link.bytes_per_s);
        match delay {
            Some(delay) => {
                self.counts.delivered += 1;
                self.counts.delay_us += queued + delay;
            }
            None => self.counts.lost += 1,
        }
        self.counts.duplicated += u64::from(again.is_some());
        [delay, again].map(|delay| delay.map(|delay| queued + delay))
    }

    /// Microseconds until the message has left, after all that waits before it.
    fn queue(&mut self, now_us: u64, pair: (usize, usize), bytes: u64, bytes_per_s: u64) -> u64 {
        if bytes_per_s == 0 {
            return 0;
        }
        let busy = self.busy_until_us.entry(pair).or_insert(0);
        *busy = (*busy).max(now_us) + bytes * 1_000_000 / bytes_per_s;
        *busy - now_us
    }
}
