//! Bytes of a stranger become authenticated messages of a known peer, or a ban.
//!
//! What it promises:
//! - A message is delivered under the [`NodeId`] whose ML-DSA-44 key was proven on the very
//!   connection it came over: the proof signs the Noise peer ids of both ends, both nonces, the
//!   direction, the network and the genesis. It cannot be replayed or relayed.
//! - One connection carries a pair's messages. When a second one comes about, one side decides
//!   which stays and the other is emptied first; no [`NetworkEvent::PeerDisconnected`] between.
//! - Every pair has one dialler (see `ring.rs`), so that in a mesh of n everybody dials at least
//!   `floor((n-1)/2)` of the others, and redials for ever.
//! - Everything is bounded and says what gives way: queues ([`Channel`]), frames, nodes known,
//!   handshakes, bytes in flight ([`Received`]).
//! - Consensus messages have a stream, queues and a budget of their own, and the kernel holds
//!   little unsent data, so bulk does not delay them by more than that.
//!
//! What it must never do: deliver a byte of a peer that has not proven its key; set memory aside
//! because a length says so; look up a name a stranger chose; lose a connected peer because a
//! better connection replaced its old one.
//!
//! ```text
//!  TCP -> Noise -> yamux -> Hello, Proof -> verdict of the lower id -> Run -+-> Drain -> gone
//!   |       |        |          |                |                          +-> Close -> gone
//!   +-------+--------+--- gone, counted ---------+                          +-> broken, silent
//! ```
//!
//! Deviations from libp2p's usual ways: no `Swarm`, `identify`, QUIC or gossipsub, which assume
//! classical identities; the sockets are our own (see `transport.rs`). The Noise key is made anew
//! at every start, so another peer id of the same node means that it restarted.
//!
//! When the application does not take its events, everything waits for it, eventually also the
//! management of connections.

mod asn;
mod book;
mod channel;
mod config;
mod context;
mod control;
mod diversity;
mod driver;
mod error;
mod event;
mod frame;
mod handle;
mod handshake;
mod health;
mod identity;
mod lanes;
mod link;
mod manager;
mod observer;
mod peers;
mod queue;
mod ring;
mod setup;
mod traffic;
mod transport;

#[cfg(test)]
mod tests;

pub use asn::{AsnLineProblem, AsnTable, AsnTableError};
pub use channel::Channel;
pub use config::{AntiEclipse, Heartbeat, Limits, NetworkConfig, Timing};
pub use diversity::{DiversityConfig, DiversityMode, DiversityReason};
pub use error::{NetworkError, SendError};
pub use event::{NetworkEvent, PeerSummary, Received};
pub use handle::{NetworkHandle, start};
pub use handshake::RefuseReason;
pub use health::Health;
pub use identity::{Direction, Identity, NodeId, Role};
pub use observer::{DialStep, DropReason, EvictReason, HeartbeatStep, NetworkObserver};
