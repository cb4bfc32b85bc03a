//! Nodes under test and what they did.

use crate::*;
use qbind_crypto::SecretKey;
use qbind_types::{GenesisHash, Network};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Far beyond what anything here takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const GENESIS: GenesisHash = GenesisHash([7; 32]);

/// What a node let us observe.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    Refused(RefuseReason),
    Diversity(DiversityReason, bool),
    AsnRefused,
    Evicted(EvictReason),
    Dropped(Channel, DropReason),
    Heartbeat(HeartbeatStep),
    Dial(DialStep),
    Sent(Channel),
    Received(Channel),
    Exchanged,
    Discovered,
    Health(Health),
}

struct Notes(mpsc::UnboundedSender<Note>);

impl Notes {
    fn note(&self, note: Note) {
        // A test that has ended no longer reads.
        if self.0.send(note).is_err() {}
    }
}

impl NetworkObserver for Notes {
    fn sent(&self, channel: Channel, _: usize) {
        self.note(Note::Sent(channel));
    }
    fn received(&self, channel: Channel, _: usize) {
        self.note(Note::Received(channel));
    }
    fn dropped(&self, channel: Channel, reason: DropReason, _: usize) {
        self.note(Note::Dropped(channel, reason));
    }
    fn diversity_violated(&self, reason: DiversityReason, refused: bool) {
        self.note(Note::Diversity(reason, refused));
    }
    fn asn_refused(&self) {
        self.note(Note::AsnRefused);
    }
    fn handshake_refused(&self, reason: RefuseReason) {
        self.note(Note::Refused(reason));
    }
    fn heartbeat(&self, step: HeartbeatStep) {
        self.note(Note::Heartbeat(step));
    }
    fn dial(&self, step: DialStep) {
        self.note(Note::Dial(step));
    }
    fn discovered(&self) {
        self.note(Note::Discovered);
    }
    fn exchanged(&self, _: bool) {
        self.note(Note::Exchanged);
    }
    fn evicted(&self, reason: EvictReason) {
        self.note(Note::Evicted(reason));
    }
    fn health(&self, health: &Health) {
        self.note(Note::Health(health.clone()));
    }
}

pub(crate) struct Node {
    pub(crate) handle: NetworkHandle,
    pub(crate) events: mpsc::Receiver<NetworkEvent>,
    pub(crate) notes: mpsc::UnboundedReceiver<Note>,
}

pub(crate) fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn id(seed: u8) -> NodeId {
    NodeId::of(&secret(seed).public_key())
}

/// Two seeds, the first of which has the lower node id.
pub(crate) fn ordered(a: u8, b: u8) -> (u8, u8) {
    if id(a) < id(b) { (a, b) } else { (b, a) }
}

pub(crate) fn config(seed: u8, listen: &str) -> NetworkConfig {
    let mut config = NetworkConfig::new(
        listen.parse().unwrap(),
        Arc::new(secret(seed)),
        Network::Devnet,
        GENESIS,
        Role::Validator,
    );
    config.diversity.mode = DiversityMode::Off;
    config.anti_eclipse.enforce = false;
    config.timing.settle = Duration::from_millis(200);
    config
}

impl Node {
    pub(crate) fn start(config: NetworkConfig) -> Self {
        let (notes, notes_rx) = mpsc::unbounded_channel();
        let (handle, events) = start(config, Arc::new(Notes(notes))).unwrap();
        Self { handle, events, notes: notes_rx }
    }

    /// A node on a free port that knows `others`.
    pub(crate) fn knowing(seed: u8, others: &[&Self]) -> Self {
        let mut config = config(seed, "127.0.0.1:0");
        config.bootstrap = others.iter().map(|o| o.address()).collect();
        Self::start(config)
    }

    pub(crate) fn address(&self) -> String {
        self.handle.local_addr().to_string()
    }

    pub(crate) fn id(&self) -> NodeId {
        self.handle.node_id()
    }

    pub(crate) async fn event(&mut self) -> NetworkEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("no event").expect("network stopped")
    }

    pub(crate) async fn connected(&mut self) -> (NodeId, Direction) {
        match self.event().await {
            NetworkEvent::PeerConnected { node_id, direction, .. } => (node_id, direction),
            other => panic!("expected a connection, got {other:?}"),
        }
    }

    pub(crate) async fn disconnected(&mut self) -> NodeId {
        match self.event().await {
            NetworkEvent::PeerDisconnected { node_id } => node_id,
            other => panic!("expected a disconnection, got {other:?}"),
        }
    }

    pub(crate) async fn message(&mut self) -> (NodeId, Channel, Vec<u8>) {
        match self.event().await {
            NetworkEvent::Message { from, channel, bytes } => (from, channel, bytes.into_vec()),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// Waits for the first note that `wanted` accepts.
    pub(crate) async fn noted(&mut self, wanted: impl Fn(&Note) -> bool) -> Note {
        let search = async {
            loop {
                let note = self.notes.recv().await.expect("network stopped");
                if wanted(&note) {
                    return note;
                }
            }
        };
        timeout(PATIENCE, search).await.expect("what was waited for never happened")
    }

    pub(crate) async fn healthy(&mut self, wanted: impl Fn(&Health) -> bool) -> Health {
        match self.noted(|n| matches!(n, Note::Health(health) if wanted(health))).await {
            Note::Health(health) => health,
            other => unreachable!("{other:?}"),
        }
    }
}
