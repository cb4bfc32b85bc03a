//! Decides who is dialled, who is admitted, and who must go. One task; everybody else asks it.

use crate::{
    Channel, DialStep, Direction, DiversityMode, EvictReason, Health, NetworkEvent, NodeId,
    RefuseReason,
    book::{Book, Connected, Target},
    context::{Admission, Candidate, Context, DialOutcome, ToManager},
    control::{Control, Farewell, MAX_ENTRIES, PeerEntry},
    health,
    lanes::Lanes,
    link::{LinkEnd, LinkStart, Order},
    peers::{Peer, Peers},
    setup,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::MissedTickBehavior,
};

const TICK: Duration = Duration::from_millis(200);
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// A peer that broke the protocol stays away for so long.
const VIOLATION_BAN: Duration = Duration::from_secs(60);
/// Bans remembered; the one that ends first gives way.
const MAX_BANS: usize = 1024;
/// Time all links may take to say goodbye.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the application asks of the manager.
pub(crate) enum Command {
    Disconnect { node_id: NodeId, reason: String },
    Ban { node_id: NodeId, reason: String, duration: Duration },
    Stop { done: std::sync::mpsc::Sender<()> },
}

/// The connection a peer is sent to over.
struct Active {
    link: u64,
    sequence: u64,
    instance: libp2p::PeerId,
    direction: Direction,
}

struct Link {
    node_id: NodeId,
    orders: watch::Sender<Order>,
    lanes: Arc<Lanes>,
}

pub(crate) struct Manager {
    context: Arc<Context>,
    peers: Arc<Peers>,
    book: Book,
    active: BTreeMap<NodeId, Active>,
    links: BTreeMap<u64, Link>,
    dialling: BTreeSet<Target>,
    bans: BTreeMap<NodeId, Instant>,
    handshakes: Arc<Semaphore>,
    next_link: u64,
    next_sequence: u64,
    last_health: Instant,
    last_exchange: Instant,
    is_stopping: bool,
}

impl Manager {
    pub(crate) fn new(context: Arc<Context>, peers: Arc<Peers>) -> Self {
        let now = Instant::now();
        let config = &context.config;
        let mut book = Book::new(
            context.node_id,
            config.timing.clone(),
            config.limits.max_known,
            config.bootstrap.clone(),
            now,
        );
        if config.hidden {
            book.dial_everybody();
        }
        let handshakes = Arc::new(Semaphore::new(config.limits.max_handshakes));
        Self {
            context,
            peers,
            book,
            active: BTreeMap::new(),
            links: BTreeMap::new(),
            dialling: BTreeSet::new(),
            bans: BTreeMap::new(),
            handshakes,
            next_link: 0,
            next_sequence: 1,
            last_health: now,
            last_exchange: now,
            is_stopping: false,
        }
    }

    /// Runs until stopped, or until nobody can give commands any more.
    pub(crate) async fn run(
        mut self,
        listener: TcpListener,
        mut requests: mpsc::Receiver<ToManager>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done = None;
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.on_request(request).await,
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(Command::Disconnect { node_id, reason }) => {
                        tracing::info!(peer = %node_id, reason, "disconnecting");
                        self.let_go(node_id, Farewell::Disconnected).await;
                    }
                    Some(Command::Ban { node_id, reason, duration }) => {
                        tracing::warn!(peer = %node_id, reason, ?duration, "banned");
                        self.ban(node_id, duration);
                        if self.active.contains_key(&node_id) {
                            self.context.observer.evicted(EvictReason::Banned);
                        }
                        self.let_go(node_id, Farewell::Banned).await;
                    }
                    Some(Command::Stop { done: tell }) => {
                        done = Some(tell);
                        break;
                    }
                    None => break,
                },
                accepted = accept(&listener, &self.handshakes) => match accepted {
                    Ok((stream, remote, slot)) => {
                        tokio::spawn(setup::serve(self.context.clone(), stream, remote, slot));
                    }
                    Err(error) => {
                        // Out of file descriptors, say: it passes, and must not spin meanwhile.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(TICK).await;
                    }
                },
                _ = tick.tick() => self.on_tick(Instant::now()),
            }
        }
        drop(listener);
        self.stop(requests).await;
        if let Some(done) = done
            && done.send(()).is_err()
        {
            tracing::debug!("nobody waited for the network to stop");
        }
    }

    /// Says goodbye on every link and waits for them.
    async fn stop(&mut self, mut requests: mpsc::Receiver<ToManager>) {
        self.is_stopping = true;
        for link in self.links.values() {
            say_goodbye(link, Farewell::Stopping);
        }
        let emptied = async {
            while !self.links.is_empty() {
                match requests.recv().await {
                    Some(ToManager::LinkEnded { link, .. }) => drop(self.links.remove(&link)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, emptied).await.is_err() {
            tracing::debug!("some peers did not take their farewell");
        }
        for node_id in std::mem::take(&mut self.active).into_keys() {
            self.peers.remove(node_id);
        }
    }

    async fn on_request(&mut self, request: ToManager) {
        match request {
            ToManager::Check { candidate, reply } => {
                if reply.send(self.check(&candidate, Instant::now())).is_err() {
                    tracing::trace!("a handshake ended before its answer");
                }
            }
            ToManager::Admit { candidate, sequence, reply } => {
                let answer = self.admit(candidate, sequence).await;
                if let Err(Ok(admission)) = reply.send(answer) {
                    self.on_link_ended(admission.start.id, LinkEnd::Ended).await;
                }
            }
            ToManager::DialEnded { target, outcome } => self.on_dial_ended(&target, outcome),
            ToManager::LinkEnded { link, end } => self.on_link_ended(link, end).await,
            ToManager::Told { link, entries } => self.on_told(link, &entries),
        }
    }

    // ---- dialling -------------------------------------------------------------------------

    fn on_tick(&mut self, now: Instant) {
        self.bans.retain(|_, until| *until > now);
        self.dial_due(now);
        if now.saturating_duration_since(self.last_health) >= HEALTH_EVERY {
            self.publish_health(now);
        }
        if self.context.config.discovery
            && now.saturating_duration_since(self.last_exchange)
                >= self.context.config.timing.exchange
        {
            self.last_exchange = now;
            for peer in self.peers.all() {
                self.tell_everybody_to(&peer);
            }
        }
    }

    fn dial_due(&mut self, now: Instant) {
        let connected: BTreeMap<NodeId, Connected> = self
            .active
            .iter()
            .map(|(id, active)| {
                (*id, Connected { outbound: active.direction == Direction::Outbound })
            })
            .collect();
        let outbound = connected.values().filter(|c| c.outbound).count();
        let max = self.context.config.limits.max_outbound;
        for target in self.book.due(&connected, now) {
            if outbound + self.dialling.len() >= max {
                return;
            }
            let is_busy = self.dialling.iter().any(|other| {
                other.address == target.address
                    || target.node_id.is_some() && other.node_id == target.node_id
            });
            let is_banned = target.node_id.is_some_and(|id| self.bans.contains_key(&id));
            if is_busy || is_banned {
                continue;
            }
            if let Ok(address) = target.address.parse::<SocketAddr>()
                && self.objection_to(address.ip(), target.node_id, Direction::Outbound).is_err()
            {
                self.book.failed(&target, now);
                continue;
            }
            self.context.observer.dial(DialStep::Attempt);
            self.dialling.insert(target.clone());
            tokio::spawn(setup::dial(self.context.clone(), target));
        }
    }

    fn on_dial_ended(&mut self, target: &Target, outcome: DialOutcome) {
        self.dialling.remove(target);
        let now = Instant::now();
        let step = match outcome {
            DialOutcome::Connected => DialStep::Success,
            DialOutcome::Duplicate => {
                self.book.refused_as_duplicate(target, now);
                DialStep::Success
            }
            DialOutcome::Ourselves => {
                self.book.is_us(&target.address);
                DialStep::Success
            }
            DialOutcome::Failed => {
                self.book.failed(target, now);
                DialStep::Failure
            }
        };
        self.context.observer.dial(step);
    }

    // ---- admission ------------------------------------------------------------------------

    fn check(&self, candidate: &Candidate, now: Instant) -> Result<(), RefuseReason> {
        if self.is_stopping {
            return Err(RefuseReason::Stopping);
        }
        if self.bans.get(&candidate.node_id).is_some_and(|until| *until > now) {
            return Err(RefuseReason::Banned);
        }
        let (others, outbound) = self.peers.addresses(Some(candidate.node_id));
        let limits = &self.context.config.limits;
        let is_full = match candidate.direction {
            Direction::Outbound => outbound >= limits.max_outbound,
            Direction::Inbound => {
                self.context.config.hidden || others.len() - outbound >= limits.max_inbound
            }
        };
        if is_full {
            return Err(RefuseReason::Full);
        }
        self.objection_to(candidate.remote.ip(), Some(candidate.node_id), candidate.direction)?;
        match self.active.get(&candidate.node_id) {
            // Two addresses of ours for one node.
            Some(active)
                if active.instance == candidate.instance
                    && active.direction == Direction::Outbound
                    && candidate.direction == Direction::Outbound =>
            {
                Err(RefuseReason::Duplicate)
            }
            _ => Ok(()),
        }
    }

    /// Whether an address may join the others, as far as diversity is concerned.
    fn objection_to(
        &self,
        address: IpAddr,
        node_id: Option<NodeId>,
        direction: Direction,
    ) -> Result<(), RefuseReason> {
        let config = &self.context.config;
        let (others, outbound) = self.peers.addresses(node_id);
        if config.diversity.mode != DiversityMode::Off
            && let Err(reason) = config.diversity.check(&others, address)
        {
            let is_refused = config.diversity.mode == DiversityMode::Enforce;
            self.context.observer.diversity_violated(reason, is_refused);
            if is_refused {
                return Err(RefuseReason::Diversity);
            }
        }
        if config.anti_eclipse.enforce && direction == Direction::Outbound {
            let distinct = health::distinct_asn(&config.asn_table, &others);
            let missing = config.anti_eclipse.min_asn.saturating_sub(distinct);
            let free = config.limits.max_outbound.saturating_sub(outbound);
            let mut with = others;
            with.push(address);
            let is_new = health::distinct_asn(&config.asn_table, &with) > distinct;
            if free <= missing && !is_new {
                self.context.observer.asn_refused();
                return Err(RefuseReason::Diversity);
            }
        }
        Ok(())
    }

    /// For the deciding side: which of two connections with a peer stays.
    fn prefers(&self, candidate: &Candidate, now: Instant) -> bool {
        let Some(active) = self.active.get(&candidate.node_id) else { return true };
        if active.instance != candidate.instance || active.direction == candidate.direction {
            // It restarted, or it believes that the old connection is dead: it would not have
            // dialled otherwise.
            return true;
        }
        let (dialler, other) = match candidate.direction {
            Direction::Outbound => (self.context.node_id, candidate.node_id),
            Direction::Inbound => (candidate.node_id, self.context.node_id),
        };
        self.book.owner_is(dialler, other, now)
    }

    async fn admit(
        &mut self,
        candidate: Candidate,
        sequence: Option<u64>,
    ) -> Result<Admission, RefuseReason> {
        let now = Instant::now();
        self.check(&candidate, now)?;
        if sequence.is_none() && !self.prefers(&candidate, now) {
            return Err(RefuseReason::Duplicate);
        }
        let sequence = sequence.unwrap_or_else(|| {
            self.next_sequence += 1;
            self.next_sequence - 1
        });
        let node_id = candidate.node_id;
        let id = self.next_link;
        self.next_link += 1;
        let lanes = Arc::new(Lanes::new());
        let (orders, orders_rx) = watch::channel(Order::Run);
        let start = LinkStart { id, node_id, lanes: lanes.clone(), orders: orders_rx };
        self.links.insert(id, Link { node_id, orders, lanes: lanes.clone() });

        let is_news = self.remember(&candidate, now);
        let before = self
            .active
            .get(&node_id)
            .map(|active| (active.link, active.sequence, active.instance == candidate.instance));
        match before {
            // Decided before the one in use, and only arrived later.
            Some((_, in_use, true)) if in_use > sequence => {
                self.order(id, Order::Drain);
                return Ok(Admission { sequence, start });
            }
            Some((link, _, false)) => {
                self.order(link, Order::Close);
                self.lost(node_id, now).await;
            }
            _ => {}
        }
        let active = Active {
            link: id,
            sequence,
            instance: candidate.instance,
            direction: candidate.direction,
        };
        self.active.insert(node_id, active);
        let peer = Arc::new(Peer { candidate: candidate.clone(), lanes });
        self.peers.insert(node_id, peer.clone());
        self.publish_health(now);
        let is_replacement = matches!(before, Some((_, _, true)));
        if let Some((link, _, true)) = before {
            // Only now: who finds these queues closed finds the new ones in their place.
            self.order(link, Order::Drain);
        }
        if !is_replacement {
            tracing::info!(peer = %node_id, remote = %candidate.remote,
                direction = candidate.direction.label(), role = candidate.role.label(),
                "peer connected");
            self.emit(NetworkEvent::PeerConnected {
                node_id,
                public_key: candidate.public_key,
                role: candidate.role,
                direction: candidate.direction,
            })
            .await;
        }
        if self.context.config.discovery {
            self.tell_everybody_to(&peer);
            if is_news {
                self.tell_to_everybody(&peer);
            }
        }
        Ok(Admission { sequence, start })
    }

    fn remember(&mut self, candidate: &Candidate, now: Instant) -> bool {
        let seen = candidate
            .advertised
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.ip() == candidate.remote.ip());
        let dialled = candidate.dialled.as_ref().map(|target| target.address.as_str());
        let is_news = self.book.proven(
            candidate.node_id,
            candidate.role,
            (&candidate.advertised, seen),
            dialled,
            now,
        );
        if is_news {
            self.context.observer.discovered();
        }
        is_news
    }

    fn order(&self, link: u64, order: Order) {
        if let Some(link) = self.links.get(&link) {
            link.orders.send_replace(order);
        }
    }

    // ---- leaving --------------------------------------------------------------------------

    async fn on_link_ended(&mut self, link: u64, end: LinkEnd) {
        let Some(Link { node_id, .. }) = self.links.remove(&link) else { return };
        let now = Instant::now();
        match end {
            LinkEnd::Ended => {}
            LinkEnd::Silent => {
                tracing::warn!(peer = %node_id, "peer evicted: no heartbeat was answered");
                self.context.observer.evicted(EvictReason::Liveness);
            }
            LinkEnd::Violation(what) => {
                tracing::warn!(peer = %node_id, what, "peer evicted: it broke the protocol");
                self.context.observer.evicted(EvictReason::Violation);
                self.ban(node_id, VIOLATION_BAN);
            }
        }
        if self.active.get(&node_id).is_some_and(|active| active.link == link) {
            self.lost(node_id, now).await;
        }
    }

    /// The peer has no connection any more.
    async fn lost(&mut self, node_id: NodeId, now: Instant) {
        self.active.remove(&node_id);
        self.peers.remove(node_id);
        self.book.disconnected(node_id, now);
        tracing::info!(peer = %node_id, "peer disconnected");
        self.publish_health(now);
        self.emit(NetworkEvent::PeerDisconnected { node_id }).await;
    }

    async fn let_go(&mut self, node_id: NodeId, farewell: Farewell) {
        let Some(active) = self.active.get(&node_id) else { return };
        if let Some(link) = self.links.get(&active.link) {
            say_goodbye(link, farewell);
        }
        let now = Instant::now();
        self.lost(node_id, now).await;
    }

    fn ban(&mut self, node_id: NodeId, duration: Duration) {
        if self.bans.len() >= MAX_BANS
            && let Some(first) =
                self.bans.iter().min_by_key(|(_, until)| **until).map(|(id, _)| *id)
        {
            self.bans.remove(&first);
        }
        self.bans.insert(node_id, Instant::now() + duration);
    }

    /// Waits while the application is behind; it must take its events.
    async fn emit(&self, event: NetworkEvent) {
        if self.context.events.send(event).await.is_err() {
            tracing::trace!("nobody listens to the network any more");
        }
    }

    // ---- telling --------------------------------------------------------------------------

    fn tell_everybody_to(&self, peer: &Peer) {
        let others = self.peers.all();
        let entries: Vec<PeerEntry> = others
            .iter()
            .filter(|other| other.candidate.node_id != peer.candidate.node_id)
            .filter_map(|other| entry(&other.candidate))
            .take(MAX_ENTRIES)
            .collect();
        if !entries.is_empty() {
            self.tell(peer, entries);
        }
    }

    fn tell_to_everybody(&self, newcomer: &Peer) {
        let Some(entry) = entry(&newcomer.candidate) else { return };
        for peer in self.peers.all() {
            if peer.candidate.node_id != newcomer.candidate.node_id {
                self.tell(&peer, vec![entry.clone()]);
            }
        }
    }

    fn tell(&self, peer: &Peer, entries: Vec<PeerEntry>) {
        peer.lanes.push(Channel::Control, Control::Peers(entries).frame(), &self.context);
        self.context.observer.exchanged(true);
    }

    fn on_told(&mut self, link: u64, entries: &[PeerEntry]) {
        if !self.context.config.discovery || !self.links.contains_key(&link) {
            return;
        }
        let now = Instant::now();
        for entry in entries {
            if entry.address.parse::<SocketAddr>().is_err() {
                self.context.observer.exchanged(false);
                continue;
            }
            if self.book.heard(entry.node_id, entry.role, &entry.address, now) {
                self.context.observer.discovered();
            }
        }
    }

    fn publish_health(&mut self, now: Instant) {
        self.last_health = now;
        let (addresses, outbound) = self.peers.addresses(None);
        let health = Health::of(&self.context.config, &addresses, outbound, self.book.len());
        self.context.observer.health(&health);
        self.peers.set_health(health);
    }
}

fn say_goodbye(link: &Link, farewell: Farewell) {
    // A full control queue means that the peer does not read; then it learns it from the close.
    let said = link.lanes.queue(Channel::Control).push(Control::Goodbye(farewell).frame());
    tracing::trace!(peer = %link.node_id, ?farewell, ?said, "leaving");
    link.lanes.close();
    link.orders.send_replace(Order::Close);
}

/// Where others can dial a peer: what it says if that is an address, else what we see of it with
/// the port it says.
fn entry(candidate: &Candidate) -> Option<PeerEntry> {
    let address = match candidate.advertised.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => {
            let port = candidate.advertised.rsplit_once(':')?.1.parse().ok()?;
            SocketAddr::new(candidate.remote.ip(), port)
        }
    };
    let (node_id, role) = (candidate.node_id, candidate.role);
    Some(PeerEntry { node_id, role, address: address.to_string() })
}

/// Accepts when a handshake slot is free; until then strangers wait in the listen queue.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, slot))
}
