//! Why there is no measurement.

use std::io;
use std::net::Ipv4Addr;

use thiserror::Error;

/// Why nothing was measured. [`MeasureError::Thread`] is ours; the rest is the caller's or the host's.
#[derive(Debug, Error)]
pub enum MeasureError {
    /// The kernel lets this process send no ICMP.
    #[error(
        "no permission to send ICMP echo from {source_address}: give the program CAP_NET_RAW \
         (`setcap cap_net_raw+ep`), or this group a place in net.ipv4.ping_group_range"
    )]
    Permission {
        /// The address that was to be probed from.
        source_address: Ipv4Addr,
    },
    /// The source address is not this host's, or not that of the namespace.
    #[error("cannot send from {source_address}: give an address of this host")]
    Bind {
        /// The address.
        source_address: Ipv4Addr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A thread could not move to where its source address lives.
    #[error("cannot enter the network of region {region}")]
    Enter {
        /// The region.
        region: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A socket failed.
    #[error("cannot {doing} on the probe socket of {source_address}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// The address probed from.
        source_address: Ipv4Addr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The schedule cannot be kept.
    #[error("schedule: {key} is {value}; {range}")]
    Schedule {
        /// The field.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What is possible.
        range: &'static str,
    },
    /// The pairs cannot be measured together.
    #[error("pairs: {reason}")]
    Pairs {
        /// What is wrong with them, and what to do.
        reason: String,
    },
    /// Not possible here.
    #[error("UNSUPPORTED: {what}")]
    Unsupported {
        /// What was asked, and what to do instead.
        what: &'static str,
    },
    /// The caller ended the run.
    #[error("stopped before the last probe; nothing is concluded from a part")]
    Stopped,
    /// A thread could not be started, or ended without a result.
    #[error("prober thread: {reason}")]
    Thread {
        /// What happened.
        reason: String,
    },
}

/// Why a file of samples is not one.
#[derive(Debug, Error)]
pub enum SamplesError {
    /// It cannot be read or written.
    #[error("samples, line {line}: cannot be read or written")]
    Io {
        /// The line, from 1.
        line: usize,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("samples, line {line}: {reason}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}
