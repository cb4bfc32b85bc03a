//! The machine.

use crate::{SyncMessage, bounds};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use qbind_crypto::{Verified, block_id};
use qbind_dag::Peer;
use qbind_types::{Block, BlockId, CommittedBlock, Epoch, Height, Millis, ValidatorIndex};

/// How often the own height is told.
const STATUS_INTERVAL: Millis = Millis(1_000);
/// How long the chain may stand still before a small gap is asked for: consensus usually closes it.
const PATIENCE: Millis = Millis(1_000);
/// A gap that consensus will not close by itself.
const LARGE_GAP: u64 = 16;
/// How often a standing chain looks for someone to ask.
const LOOK: Millis = Millis(250);
/// How long an answer is waited for before another peer is asked as well.
const HEDGE: Millis = Millis(750);
/// How long an answer may take.
const ANSWER: Millis = Millis(3_000);
/// How long a peer that failed is left alone; doubled with each failure in a row.
const PENALTY: Millis = Millis(5_000);
/// Doublings at most: five minutes.
const DOUBLINGS: u32 = 6;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time went by.
    Tick,
    /// A peer told its height.
    Status {
        /// Who.
        from: Peer,
        /// How far.
        height: Height,
        /// Lowest height it can give.
        lowest: Height,
    },
    /// This node is about to delete its blocks below a height.
    Pruned {
        /// The lowest that stays.
        lowest: Height,
    },
    /// A peer answered a range; each block verified.
    Blocks {
        /// Who.
        from: Peer,
        /// What.
        blocks: Vec<Verified<CommittedBlock>>,
    },
    /// A peer is in an epoch whose validators are not known here yet: what it sends cannot be checked,
    /// so consensus will not close the gap.
    Ahead {
        /// Who.
        from: Peer,
    },
    /// A peer answered with blocks of an epoch whose validators are not known here yet.
    TooNew {
        /// Who.
        from: Peer,
    },
    /// A peer sent something false.
    Lied {
        /// Who.
        from: Peer,
    },
    /// A peer answered a request by id.
    Block(Box<Block>),
    /// Consensus lacks a block.
    NeedBlock {
        /// Its id.
        id: BlockId,
        /// Validators that have it.
        holders: Vec<ValidatorIndex>,
    },
    /// The chain moved to this height here.
    Advanced {
        /// Last final height known to consensus.
        height: Height,
        /// Last executed height.
        executed: Height,
    },
    /// A connection ended.
    Gone {
        /// Whose.
        peer: Peer,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// To one peer.
    Send {
        /// Whom.
        to: Peer,
        /// What.
        message: SyncMessage,
    },
    /// To everyone.
    Broadcast(SyncMessage),
    /// The next final block.
    Committed(Box<Verified<CommittedBlock>>),
    /// A block asked for by id.
    Block(Box<Block>),
    /// The next block is pruned at every peer that is ahead. Said once, until somebody has it again.
    OutOfReach {
        /// The height.
        height: Height,
        /// Who pruned, and the lowest height each has.
        peers: Vec<(Peer, Height)>,
    },
}

#[derive(Debug, Clone, Copy)]
struct PeerState {
    height: Height,
    lowest: Height,
    heard: Millis,
    shunned_until: Millis,
    /// In a row.
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    from: Height,
    due: Millis,
    /// Until then nobody else is asked; unset afterwards.
    hedge: Option<Millis>,
}

/// One node's view of how far the others are.
#[derive(Debug)]
pub struct Sync {
    height: Height,
    /// Lowest height this node can give.
    lowest: Height,
    /// Nobody can give the next block.
    out_of_reach: bool,
    executed: Height,
    moved: Millis,
    looked: Millis,
    status_due: Millis,
    peers: BTreeMap<Peer, PeerState>,
    ranges: BTreeMap<Peer, Range>,
    buffer: BTreeMap<Height, (Peer, Verified<CommittedBlock>)>,
    /// The epoch of the next block.
    epoch: Epoch,
    /// Consensus waits for what only sync can bring.
    is_urgent: bool,
    /// The last block of an epoch was handed on: nothing follows before the next epoch starts.
    is_held: bool,
    by_id: BTreeMap<BlockId, Wanted>,
}

#[derive(Debug, Clone, Default)]
struct Wanted {
    holders: Vec<ValidatorIndex>,
    attempts: usize,
    due: Millis,
}

impl Sync {
    /// Starts at a height, in the epoch of the next block; blocks below `lowest` are pruned here.
    pub fn new(height: Height, lowest: Height, epoch: Epoch, now: Millis) -> Self {
        Self {
            height,
            lowest,
            out_of_reach: false,
            executed: height,
            moved: now,
            looked: now,
            status_due: now,
            peers: BTreeMap::new(),
            ranges: BTreeMap::new(),
            buffer: BTreeMap::new(),
            epoch,
            is_urgent: false,
            is_held: false,
            by_id: BTreeMap::new(),
        }
    }

    /// The highest height a peer told.
    pub fn highest_peer(&self) -> Height {
        self.peers.values().map(|p| p.height).max().unwrap_or_default()
    }

    /// The lowest height among peers that are not below this one.
    pub fn slowest_peer(&self, not_below: Height) -> Option<Height> {
        self.peers.values().map(|p| p.height).filter(|height| *height >= not_below).min()
    }

    /// The lowest height that a peer can give, while nobody can give the next.
    pub fn out_of_reach(&self) -> Option<Height> {
        let ahead = self.peers.values().filter(|p| p.height > self.height);
        ahead.map(|p| p.lowest).min().filter(|_| self.out_of_reach)
    }

    /// Peers whose height is known.
    pub fn known_peers(&self) -> usize {
        self.peers.len()
    }

    /// When `Event::Tick` is due.
    pub fn deadline(&self) -> Millis {
        let by_id = self.by_id.values().map(|w| w.due);
        let ranges = self.ranges.values().map(|r| r.hedge.unwrap_or(r.due));
        let look = self.moved.plus(PATIENCE).max(self.looked.plus(LOOK));
        let behind = (self.highest_peer() > self.height).then_some(look);
        by_id.chain(ranges).chain(behind).chain([self.status_due]).min().unwrap_or(self.status_due)
    }

    /// Applies one event. Total: never blocks, fails, logs, or reads a clock.
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Tick => {}
            Event::Status { from, height, lowest } => self.on_status(now, from, height, lowest),
            Event::Pruned { lowest } => self.lowest = self.lowest.max(lowest),
            Event::Blocks { from, blocks } => self.on_blocks(now, from, blocks, &mut out),
            Event::Ahead { from } => self.on_ahead(now, from),
            Event::TooNew { from } => self.leave_alone(from, now.plus(LOOK)),
            Event::Lied { from } => self.shun(now, from),
            Event::Block(block) => {
                if self.by_id.remove(&block_id(&block)).is_some() {
                    out.push(Effect::Block(block));
                }
            }
            Event::NeedBlock { id, holders } => {
                if self.by_id.len() < bounds::BY_ID {
                    self.by_id.entry(id).or_insert(Wanted { holders, attempts: 0, due: now });
                }
            }
            Event::Advanced { height, executed } => self.on_advanced(now, height, executed),
            Event::Gone { peer } => {
                self.peers.remove(&peer);
                self.ranges.remove(&peer);
            }
        }
        self.deliver(now, &mut out);
        self.ask(now, &mut out);
        if now >= self.status_due {
            self.status_due = now.plus(STATUS_INTERVAL);
            let (height, lowest) = (self.executed, self.lowest);
            out.push(Effect::Broadcast(SyncMessage::Status { height, lowest }));
        }
        out
    }

    fn on_status(&mut self, now: Millis, from: Peer, height: Height, lowest: Height) {
        if self.peers.len() >= bounds::PEERS
            && !self.peers.contains_key(&from)
            && let Some(silent) =
                self.peers.iter().min_by_key(|(_, p)| p.heard).map(|(peer, _)| *peer)
        {
            self.peers.remove(&silent);
        }
        let fresh = PeerState { height, lowest, heard: now, shunned_until: Millis(0), failures: 0 };
        let peer = self.peers.entry(from).or_insert(fresh);
        (peer.height, peer.lowest, peer.heard) = (height, lowest, now);
    }

    fn on_ahead(&mut self, now: Millis, from: Peer) {
        let known = self.peers.get(&from).map(|peer| (peer.height, peer.lowest));
        let (height, lowest) = known.unwrap_or_default();
        self.on_status(now, from, height.max(self.height.next()), lowest);
        self.is_urgent = true;
    }

    fn on_advanced(&mut self, now: Millis, height: Height, executed: Height) {
        if height > self.height {
            self.height = height;
            self.moved = now;
            self.buffer = self.buffer.split_off(&height.next());
        }
        self.executed = self.executed.max(executed);
    }

    fn on_blocks(
        &mut self,
        now: Millis,
        from: Peer,
        blocks: Vec<Verified<CommittedBlock>>,
        out: &mut Vec<Effect>,
    ) {
        let Some(range) = self.ranges.remove(&from) else { return };
        let ascending = (range.from.0..).zip(&blocks).all(|(h, b)| b.block.height == Height(h));
        // A final block of an epoch that has ended here helped that one's last block to its certificate:
        // certified, and not of the chain.
        let is_beside = |b: &Verified<CommittedBlock>| {
            b.block.height > self.height && b.block.epoch < self.epoch && !self.is_held
        };
        if blocks.is_empty() || !ascending || blocks.iter().any(is_beside) {
            self.shun(now, from);
            return;
        }
        if let Some(state) = self.peers.get_mut(&from) {
            state.failures = 0;
        }
        for block in blocks {
            let height = block.block.height;
            if height > self.height && self.buffer.len() < bounds::BUFFER {
                self.buffer.insert(height, (from, block));
            }
        }
        self.deliver(now, out);
    }

    /// Hands on what follows the known chain.
    fn deliver(&mut self, now: Millis, out: &mut Vec<Effect>) {
        while !self.is_held
            && let Some((from, block)) = self.buffer.remove(&self.height.next())
        {
            if block.block.epoch != self.epoch {
                self.shun(now, from);
                return;
            }
            self.height = self.height.next();
            self.is_held = block.block.ends_epoch();
            out.push(Effect::Committed(Box::new(block)));
        }
    }

    /// The epoch's last block is final.
    pub fn hold(&mut self) {
        self.is_held = true;
    }

    /// An epoch has started. If the places of the validators are new, who is who shows with the next
    /// word of each.
    pub fn start_epoch(&mut self, epoch: Epoch, places_are_new: bool) {
        self.epoch = epoch;
        self.is_held = false;
        if places_are_new {
            self.peers.clear();
            self.ranges.clear();
        }
    }

    fn shun(&mut self, now: Millis, peer: Peer) {
        let failures = self.peers.get(&peer).map_or(0, |state| state.failures);
        self.leave_alone(peer, now.plus(Millis(PENALTY.0 << failures.min(DOUBLINGS))));
        if let Some(state) = self.peers.get_mut(&peer) {
            state.failures = failures.saturating_add(1);
        }
    }

    fn leave_alone(&mut self, peer: Peer, until: Millis) {
        self.ranges.remove(&peer);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.shunned_until = until;
        }
    }

    fn ask(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let late: Vec<Peer> =
            self.ranges.iter().filter(|(_, r)| now >= r.due).map(|(p, _)| *p).collect();
        for peer in late {
            self.shun(now, peer);
        }
        for range in self.ranges.values_mut() {
            range.hedge = range.hedge.filter(|hedge| now < *hedge);
        }
        self.ask_ranges(now, out);
        self.ask_by_id(now, out);
    }

    fn ask_ranges(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let gap = self.highest_peer().0.saturating_sub(self.height.0);
        let still = now >= self.moved.plus(PATIENCE);
        self.is_urgent &= gap > 0;
        self.look_for_reach(still, out);
        if gap == 0 || (gap < LARGE_GAP && !still && !self.is_urgent) {
            return;
        }
        self.looked = now;
        let mut from = self.height.next();
        while self.ranges.len() < bounds::RANGES {
            while self.buffer.contains_key(&from) || self.is_asked(from) {
                from = from.next();
            }
            if from.0 > self.height.0 + bounds::BUFFER as u64 {
                return;
            }
            // The peer that is furthest ahead among those free and not shunned.
            let free = self
                .peers
                .iter()
                .filter(|(p, s)| {
                    let has_it = s.lowest <= from && from <= s.height;
                    has_it && now >= s.shunned_until && !self.ranges.contains_key(p)
                })
                .max_by_key(|(p, s)| (s.height, **p))
                .map(|(p, _)| *p);
            let Some(to) = free else { return };
            let (due, hedge) = (now.plus(ANSWER), Some(now.plus(HEDGE)));
            self.ranges.insert(to, Range { from, due, hedge });
            let limit = bounds::BLOCKS_PER_ANSWER;
            out.push(Effect::Send { to, message: SyncMessage::BlocksRequest { from, limit } });
        }
    }

    /// Whether the next block can be had at all. While the chain moves here, somebody has it; and anybody
    /// can say that it is ahead, so most peers must.
    fn look_for_reach(&mut self, still: bool, out: &mut Vec<Effect>) {
        let next = self.height.next();
        let ahead = || self.peers.iter().filter(|(_, s)| s.height >= next);
        let is_lost = still
            && 2 * ahead().count() > self.peers.len()
            && ahead().all(|(_, s)| s.lowest > next);
        if is_lost && !self.out_of_reach {
            let peers = ahead().map(|(peer, s)| (*peer, s.lowest)).collect();
            out.push(Effect::OutOfReach { height: next, peers });
        }
        self.out_of_reach = is_lost;
    }

    fn is_asked(&self, height: Height) -> bool {
        self.ranges.values().any(|r| {
            r.hedge.is_some()
                && height >= r.from
                && height.0 < r.from.0.saturating_add(bounds::BLOCKS_PER_ANSWER)
        })
    }

    fn ask_by_id(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let peers: Vec<Peer> = self.peers.keys().copied().collect();
        if peers.is_empty() {
            return;
        }
        // After a round through all peers the wish is dropped; who still needs it asks again.
        self.by_id.retain(|_, w| w.attempts <= 2 * peers.len());
        for (id, wanted) in &mut self.by_id {
            if now >= wanted.due {
                let holders = wanted.holders.iter().copied().map(Peer::Validator);
                let connected: Vec<Peer> =
                    holders.filter(|holder| self.peers.contains_key(holder)).collect();
                let start = usize::from(id.0[0]) + wanted.attempts;
                // Each holder once, then everybody.
                let to = match connected.get(wanted.attempts) {
                    Some(_) => connected[start % connected.len()],
                    None => peers[start % peers.len()],
                };
                wanted.attempts += 1;
                wanted.due = now.plus(Millis(500));
                out.push(Effect::Send { to, message: SyncMessage::BlockRequest(*id) });
            }
        }
    }
}
