//! Messages of peers, verified before they reach the replica.

use super::{driver::Input, meters, relay::Relayed, shared::Shared, unix_now};
use crate::metrics::Metrics;
use qbind_crypto::{Proof, Reject};
use qbind_dag::Peer;
use qbind_network::{Channel, NetworkEvent, NetworkHandle, NodeId, Received};
use qbind_replica::{Channel as CoreChannel, Event, OpenError, open, refused_proposal};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Messages of a channel waiting for verification; when full, the network waits.
const WAITING: usize = 1_024;
/// Messages that do not verify after which a peer is banned for a while.
const STRIKES: u32 = 16;
/// How many of them a false answer counts for: it was asked for and waited for.
const LIE: u32 = 4;
const BAN: Duration = Duration::from_secs(60);

type Job = (NodeId, Received);

struct Worker {
    channel: CoreChannel,
    shared: Arc<Shared>,
    inputs: SyncSender<Input>,
    network: NetworkHandle,
    metrics: Arc<Metrics>,
    strikes: Arc<Mutex<BTreeMap<NodeId, u32>>>,
    /// A sentry passes on what verified.
    relays: Option<Arc<Relayed>>,
}

/// Starts the threads between network and replica; they end when the network does.
pub(super) fn start(
    mut events: mpsc::Receiver<NetworkEvent>,
    inputs: SyncSender<Input>,
    shared: Arc<Shared>,
    network: NetworkHandle,
    metrics: Arc<Metrics>,
    relays: Option<Relayed>,
) {
    let strikes = Arc::new(Mutex::new(BTreeMap::new()));
    let relays = relays.map(Arc::new);
    let lane = |channel: CoreChannel, threads: usize| {
        let (sender, receiver) = sync_channel::<Job>(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let worker = Worker {
                channel,
                shared: shared.clone(),
                inputs: inputs.clone(),
                network: network.clone(),
                metrics: metrics.clone(),
                strikes: strikes.clone(),
                relays: relays.clone(),
            };
            let receiver = receiver.clone();
            thread::spawn(move || {
                // Deaf would be worse than gone: whoever supervises this node starts it again.
                if catch_unwind(AssertUnwindSafe(|| worker.run(&receiver))).is_err() {
                    tracing::error!(
                        ?channel,
                        "a thread that checks messages panicked; the node ends"
                    );
                    std::process::exit(i32::from(crate::Exit::Transient.code()));
                }
            });
        }
        sender
    };
    // Consensus has a thread of its own: a vote never waits behind a batch's transactions.
    let consensus = lane(CoreChannel::Consensus, 1);
    // Half the machine: the rest is for the replica, the network and clients.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let dag = lane(CoreChannel::Dag, (cores / 2).max(1));
    let sync = lane(CoreChannel::Sync, 1);
    thread::spawn(move || {
        while let Some(event) = events.blocking_recv() {
            let sent = match event {
                NetworkEvent::PeerConnected { node_id, .. } => {
                    shared.book.connected(node_id);
                    Ok(())
                }
                NetworkEvent::PeerDisconnected { node_id } => {
                    let peer = shared.book.peer(node_id);
                    shared.book.disconnected(node_id);
                    let gone = Event::Sync(qbind_sync::Event::Gone { peer });
                    inputs.send(Input::Event(gone)).map_err(drop)
                }
                NetworkEvent::Message { from, channel, bytes } => match channel {
                    Channel::Consensus => consensus.send((from, bytes)).map_err(drop),
                    Channel::Dag => dag.send((from, bytes)).map_err(drop),
                    Channel::Sync => sync.send((from, bytes)).map_err(drop),
                    Channel::Control => Ok(()),
                },
            };
            if sent.is_err() {
                return;
            }
        }
    });
}

impl Worker {
    fn run(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let job = jobs.lock().expect("no panic while held").recv();
            let Ok((from, bytes)) = job else { return };
            let peer = self.shared.book.peer(from);
            match open(self.channel, peer, &bytes, &self.shared.verifiers) {
                Ok(event) => {
                    meters::received(&self.metrics, &event);
                    if let Some(relays) = &self.relays
                        && let Some(channel) = relayed(&event)
                    {
                        self.relay(relays, from, channel, &bytes);
                    }
                    if self.inputs.send(Input::Event(event)).is_err() {
                        return;
                    }
                }
                // Nobody's fault: one of the two is not where the other is.
                Err(OpenError::Reject(Reject::WrongEpoch { epoch })) => {
                    let is_ahead = epoch > self.shared.verifiers.newest().set().epoch();
                    let ahead = Event::Sync(qbind_sync::Event::Ahead { from: peer });
                    if is_ahead && self.inputs.send(Input::Event(ahead)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    meters::refused(&self.metrics, self.channel);
                    if self.channel == CoreChannel::Consensus {
                        self.accuse(&bytes);
                    }
                    tracing::debug!(%error, peer = %from, "refused a message");
                    let is_answer = self.channel == CoreChannel::Sync;
                    let lied = Event::Sync(qbind_sync::Event::Lied { from: peer });
                    if is_answer && self.inputs.send(Input::Event(lied)).is_err() {
                        return;
                    }
                    self.strike(from, if is_answer { LIE } else { 1 });
                }
            }
        }
    }

    /// Passes on what a peer said, once.
    fn relay(&self, relays: &Relayed, from: NodeId, channel: Channel, bytes: &[u8]) {
        let serves = |id| matches!(self.shared.book.peer(id), Peer::Validator(_));
        let to_all = self.network.is_hidden(from) && serves(from);
        if relays.is_new(bytes, to_all, Instant::now()) {
            let copies = self.network.relay(from, channel, bytes, serves);
            meters::relayed(&self.metrics, channel, copies);
        }
    }

    /// Keeps the proof, if a leader signed a block that is none.
    fn accuse(&self, bytes: &[u8]) {
        let Some(evidence) = refused_proposal(bytes) else { return };
        let Ok(verifier) = self.shared.verifiers.of(evidence.epoch()) else { return };
        let found = &self.shared.evidence;
        let Some(proof) = found.keep(verifier.set(), &evidence, unix_now()) else { return };
        let Proof { validator, offence, epoch, at } = proof;
        tracing::warn!(validator, offence = offence.as_str(), at, "proof of an offence kept");
        if found.count(validator, offence, epoch.0, at) {
            meters::offence(&self.metrics, offence);
        }
    }

    fn strike(&self, from: NodeId, weight: u32) {
        let mut strikes = self.strikes.lock().expect("no panic while held");
        let count = strikes.entry(from).or_insert(0);
        *count += weight;
        if *count >= STRIKES {
            strikes.remove(&from);
            tracing::warn!(peer = %from, "banned for messages that do not verify");
            self.network.ban(from, "messages do not verify", BAN);
        }
    }
}

/// The channel of a message that a sentry passes on: what validators say to everybody. Questions and
/// answers it takes itself, for it follows the chain.
fn relayed(event: &Event) -> Option<Channel> {
    match event {
        Event::Consensus(_) => Some(Channel::Consensus),
        Event::Batch(_) | Event::Ack(_) | Event::Certificate(_) => Some(Channel::Dag),
        _ => None,
    }
}
