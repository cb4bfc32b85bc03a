//! What a node tells its network.

use crate::{AsnTable, DiversityConfig, Identity, Role};
use qbind_types::{GenesisHash, Network};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// Everything [`crate::start`] needs.
#[derive(Debug)]
pub struct NetworkConfig {
    /// Where to accept. Unless the address is unspecified, outgoing connections leave from it too,
    /// so that a peer sees the address this node is known by.
    pub listen: SocketAddr,
    /// What others shall dial (`host:port`), when it is not the address they see and the port in
    /// `listen`.
    pub advertised: Option<String>,
    /// Whether this node keeps to itself: it dials its bootstrap peers and nobody else, accepts
    /// nobody, and tells no address, so that no honest peer can pass one on. `discovery` must be off.
    pub hidden: bool,
    /// First addresses to try (`host:port`); who answers there is learnt by asking.
    pub bootstrap: Vec<String>,
    /// The key this node proves to its peers.
    pub identity: Arc<dyn Identity>,
    /// Which network's tags its proofs carry.
    pub network: Network,
    /// Peers with another genesis are refused.
    pub genesis_hash: GenesisHash,
    /// Digest of the rules under which this node executes blocks; peers with another are refused.
    pub rules: [u8; 32],
    /// What this node is for.
    pub role: Role,
    /// Bounds on connections.
    pub limits: Limits,
    /// Bounds on peers that share a prefix.
    pub diversity: DiversityConfig,
    /// Bounds on being surrounded.
    pub anti_eclipse: AntiEclipse,
    /// Which autonomous system an address belongs to.
    pub asn_table: AsnTable,
    /// Whether addresses of further nodes are asked for, told and dialled.
    pub discovery: bool,
    /// When a silent peer is given up.
    pub heartbeat: Heartbeat,
    /// When to dial.
    pub timing: Timing,
    /// TCP congestion control to ask for; the system's own where it is unknown or not permitted.
    /// BBR keeps its rate on a long path with random loss, where loss-based control falls to
    /// about 130 kB/s (200 ms, 0.5 %).
    pub congestion_control: Option<String>,
}

/// Bounds on connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most connections this node dials.
    pub max_outbound: usize,
    /// Most connections this node accepts.
    pub max_inbound: usize,
    /// Outbound connections aimed at; fewer is reported in [`crate::Health`].
    pub outbound_target: usize,
    /// Most nodes remembered. When full, a node that was only heard of gives way to one that
    /// proved itself; other newcomers are forgotten.
    pub max_known: usize,
    /// Most strangers in the middle of a handshake; more wait in the listen queue.
    pub max_handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_outbound: 16,
            max_inbound: 64,
            outbound_target: 8,
            max_known: 300,
            max_handshakes: 50,
        }
    }
}

/// Bounds on being surrounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AntiEclipse {
    /// Whether the last outbound slots are kept for autonomous systems not yet connected.
    pub enforce: bool,
    /// Fewest outbound peers before it counts as a violation.
    pub min_outbound: usize,
    /// Fewest autonomous systems among connected peers before it counts as a violation.
    pub min_asn: usize,
}

impl Default for AntiEclipse {
    fn default() -> Self {
        Self { enforce: true, min_outbound: 4, min_asn: 2 }
    }
}

/// When a silent peer is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time between two questions.
    pub interval: Duration,
    /// Time an answer may take.
    pub timeout: Duration,
    /// Unanswered questions in a row, without any other message, after which a peer is evicted.
    pub max_failures: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(5), max_failures: 3 }
    }
}

/// When to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// A node that another should dial is left to that other for this long.
    pub grace: Duration,
    /// From the first SYN to the proven connection.
    pub dial_timeout: Duration,
    /// First pause after a failed dial; doubles.
    pub redial_first: Duration,
    /// Longest pause for a node connected within the last ten minutes.
    pub redial_max_recent: Duration,
    /// Longest pause for any other.
    pub redial_max: Duration,
    /// The known nodes must not have changed for this long before a connection is turned round
    /// to suit the ring.
    pub settle: Duration,
    /// Time between two tellings of known addresses.
    pub exchange: Duration,
    /// A replaced connection may take this long to empty its queues.
    pub drain: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            redial_first: Duration::from_secs(1),
            redial_max_recent: Duration::from_secs(5),
            redial_max: Duration::from_secs(30),
            settle: Duration::from_secs(2),
            exchange: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

impl NetworkConfig {
    /// A configuration with every default.
    pub fn new(
        listen: SocketAddr,
        identity: Arc<dyn Identity>,
        network: Network,
        genesis_hash: GenesisHash,
        role: Role,
    ) -> Self {
        Self {
            listen,
            advertised: None,
            hidden: false,
            bootstrap: Vec::new(),
            identity,
            network,
            genesis_hash,
            rules: [0; 32],
            role,
            limits: Limits::default(),
            diversity: DiversityConfig::default(),
            anti_eclipse: AntiEclipse::default(),
            asn_table: AsnTable::default(),
            discovery: true,
            heartbeat: Heartbeat::default(),
            timing: Timing::default(),
            congestion_control: Some("bbr".to_owned()),
        }
    }
}
