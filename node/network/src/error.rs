//! Why the network did not start, or did not take a message.

use crate::NodeId;
use std::{io, net::SocketAddr};

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}; check that p2p_listen_addr is an address of this host and \
         that no other process uses the port"
    )]
    Listen {
        /// `p2p_listen_addr`.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// An address is not `host:port`.
    #[error("{key} has `{text}`, expected host:port")]
    Address {
        /// Which configuration key.
        key: &'static str,
        /// What it holds.
        text: String,
    },
    /// The threads that serve the sockets could not be started.
    #[error("cannot start the network's threads")]
    Threads {
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Why a message was not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection to this node.
    #[error("no connection to {to}")]
    NotConnected {
        /// The addressee.
        to: NodeId,
    },
    /// The peer does not drain its channel.
    #[error("the queue to {to} is full; try again after it drained, or ask another peer")]
    Full {
        /// The addressee.
        to: NodeId,
    },
    /// Longer than the channel allows.
    #[error("a message of {bytes} bytes on a channel that allows {max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The channel's bound.
        max: usize,
    },
}
