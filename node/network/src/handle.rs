//! Starting the network, and what the application holds of it.

use crate::{
    Channel, Health, NetworkConfig, NetworkError, NetworkEvent, NetworkObserver, NodeId,
    PeerSummary, SendError,
    context::Context,
    event::Budget,
    manager::{Command, Manager},
    peers::Peers,
    transport,
};
use std::{
    net::SocketAddr,
    sync::{Arc, mpsc as blocking},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Events the application has not taken; when full, reading stops.
const EVENTS: usize = 8192;
const REQUESTS: usize = 1024;
/// Time to wait for a shutdown that takes two seconds at worst.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The running network. Clones are the same network; it stops when the last is dropped.
///
/// No method waits for the network or for a peer, but for [`NetworkHandle::shutdown`].
#[derive(Clone)]
pub struct NetworkHandle {
    context: Arc<Context>,
    peers: Arc<Peers>,
    commands: mpsc::UnboundedSender<Command>,
}

impl std::fmt::Debug for NetworkHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetworkHandle({} at {})", self.context.node_id, self.context.local)
    }
}

/// Listens, dials, and serves on threads of its own until the handle is dropped.
///
/// The receiver must be emptied: when the application falls behind, reading stops.
///
/// # Errors
/// The configuration's fault, or the host's: see [`NetworkError`].
pub fn start(
    config: NetworkConfig,
    observer: Arc<dyn NetworkObserver>,
) -> Result<(NetworkHandle, mpsc::Receiver<NetworkEvent>), NetworkError> {
    for address in &config.bootstrap {
        check_address("bootstrap_peers", address)?;
    }
    if let Some(address) = &config.advertised {
        check_address("p2p_advertised_addr", address)?;
    }
    let refused = |source| NetworkError::Listen { address: config.listen, source };
    let listener = transport::listen(config.listen).map_err(refused)?;
    let local = listener.local_addr().map_err(refused)?;

    let threads = |source| NetworkError::Threads { source };
    // One thread: a message costs microseconds here, and waking another thread costs as much.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(threads)?;
    let (events, events_rx) = mpsc::channel(EVENTS);
    let (requests, requests_rx) = mpsc::channel(REQUESTS);
    let (commands, commands_rx) = mpsc::unbounded_channel();
    let public_key = config.identity.public_key();
    let context = Arc::new(Context {
        node_id: NodeId::of(&public_key),
        public_key,
        local,
        keypair: libp2p::identity::Keypair::generate_ed25519(),
        observer,
        manager: requests,
        events,
        budget: Budget::new(),
        turn: Arc::new(Semaphore::new(1)),
        config,
    });
    let peers = Arc::new(Peers::default());
    let manager = Manager::new(context.clone(), peers.clone());
    let listener = {
        let _guard = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(threads)?
    };
    std::thread::Builder::new()
        .name("qbind-network".to_owned())
        .spawn(move || {
            runtime.block_on(manager.run(listener, requests_rx, commands_rx));
            runtime.shutdown_background();
        })
        .map_err(threads)?;
    Ok((NetworkHandle { context, peers, commands }, events_rx))
}

fn check_address(key: &'static str, text: &str) -> Result<(), NetworkError> {
    let is_address = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
    if is_address { Ok(()) } else { Err(NetworkError::Address { key, text: text.to_owned() }) }
}

impl NetworkHandle {
    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.context.node_id
    }

    /// The address listened on, with the port the system chose where the configuration has 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.context.local
    }

    /// Queues a message for everybody connected; says for how many. What does not fit is dropped
    /// and counted, see [`Channel::evicts_oldest`]; a message too long for its channel goes to
    /// nobody.
    pub fn broadcast(&self, channel: Channel, bytes: impl Into<Arc<[u8]>>) -> usize {
        self.peers.broadcast(channel, bytes.into(), &self.context)
    }

    /// Queues a message for one node.
    ///
    /// # Errors
    /// Not connected, queue full, or too long; nothing was queued then.
    pub fn send(
        &self,
        to: NodeId,
        channel: Channel,
        bytes: impl Into<Arc<[u8]>>,
    ) -> Result<(), SendError> {
        self.peers.send(to, channel, bytes.into(), &self.context)
    }

    /// Passes on what a peer said to those who cannot hear it themselves: a hidden peer's words to
    /// everybody, everybody else's to hidden peers; hidden peers that `serves` does not name count as
    /// any other, for anybody can say of itself that it is hidden. How many queues took it.
    pub fn relay(
        &self,
        from: NodeId,
        channel: Channel,
        bytes: impl Into<Arc<[u8]>>,
        serves: impl Fn(NodeId) -> bool,
    ) -> usize {
        self.peers.relay(from, channel, bytes.into(), &serves, &self.context)
    }

    /// Whether a connected node keeps its address to itself.
    pub fn is_hidden(&self, id: NodeId) -> bool {
        self.peers.is_hidden(id)
    }

    /// Everybody connected, by id.
    pub fn peers(&self) -> Vec<PeerSummary> {
        self.peers.summaries(&self.context)
    }

    /// How well connected this node is.
    pub fn health(&self) -> Health {
        self.peers.health()
    }

    /// Closes the connection with a node; it may come back.
    pub fn disconnect(&self, node_id: NodeId, reason: &str) {
        self.command(Command::Disconnect { node_id, reason: reason.to_owned() });
    }

    /// Closes the connection with a node and refuses it for `duration`.
    pub fn ban(&self, node_id: NodeId, reason: &str, duration: Duration) {
        self.command(Command::Ban { node_id, reason: reason.to_owned(), duration });
    }

    fn command(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::debug!("the network has stopped");
        }
    }

    /// Sends what waits, says goodbye, and frees the port. Waits for it, some seconds at most.
    pub fn shutdown(&self) {
        let (done, stopped) = blocking::channel();
        self.command(Command::Stop { done });
        if stopped.recv_timeout(STOP_TIMEOUT).is_err() {
            tracing::debug!("the network had stopped already, or did not in time");
        }
    }
}
