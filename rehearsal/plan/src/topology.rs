//! The network a rehearsal runs on: regions, directed links, addresses, autonomous systems.
//!
//! A [`Topology`] is read from YAML (`qbind.topology/v1`), checked as a whole, and from then on
//! only read. Everything derived from it (names, addresses, ids, the ASN table, what a probe must
//! see) follows from the file alone, so that two machines derive the same.
//!
//! What a link does to a packet, in this order:
//! 1. it is lost with `loss_bps` (independently, or in bursts of the same long-run rate);
//! 2. it queues behind earlier bytes at `rate_mbit`, and is lost if the queue is full;
//! 3. it is delivered `delay_us` later, plus or minus a *uniform* offset of at most `jitter_us`.
//!
//! The offset of ICMP and UDP packets is drawn anew for each packet, so that they can overtake
//! each other as datagrams do. Other packets (TCP) share an offset that drifts between uniform
//! draws slowly enough to keep their order, unless the link says `reorder: true`.

mod address;
mod error;
mod expect;
mod generate;
mod read;
mod shipped;
#[cfg(test)]
mod tests;
mod validate;

pub use address::{AsnEntry, NodePlacement, NodeRole, Prefix, PrefixError};
pub use error::{Fault, TopologyError};
pub use expect::ExpectedRtt;
pub use shipped::{builtin, builtin_names};

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The only schema understood.
pub const SCHEMA: &str = "qbind.topology/v1";
/// Fewest validators that tolerate one fault (`n >= 3f + 1`).
pub const MIN_VALIDATORS: u32 = 4;
/// Most nodes of one topology; each has an IPv4 /16 of its own.
pub const MAX_NODES: u32 = 200;
/// Most regions of one topology.
pub const MAX_REGIONS: usize = 32;
/// Name of the place operators, load and scrapers work from; no region may take it.
pub const OPS: &str = "ops";
/// Address of [`OPS`].
pub const OPS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);

/// Regions, links between them, and who lives where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// [`SCHEMA`].
    pub schema: String,
    /// Short name, `[a-z0-9-]`.
    pub name: String,
    /// Seeds every random draw of the emulator.
    pub seed: u64,
    /// Where the figures come from, for people.
    pub source: String,
    /// Largest IP packet a link carries, in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// In the order that numbers their nodes.
    pub regions: Vec<Region>,
    /// One for each directed pair of regions.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Prefixes and their origin; nodes outside all of them get a default (see [`Topology::asn_table`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asn: Vec<AsnEntry>,
    /// Exceptions for single nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeOverride>,
}

/// A place with one delay to every other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Short name, `[a-z0-9-]`, at most 16 characters.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Continent, for the layout check.
    pub continent: String,
    /// Degrees north; absent, as is `longitude`, for a region that is nowhere in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Validators here.
    pub validators: u32,
    /// Nodes of the RPC role here.
    #[serde(default)]
    pub rpc: u32,
}

/// One direction between two regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Region id of the sender.
    pub from: String,
    /// Region id of the receiver.
    pub to: String,
    /// One-way delay in microseconds, at most 10 s.
    pub delay_us: u64,
    /// Half width of the uniform offset around the delay; not above it.
    pub jitter_us: u64,
    /// Long-run share of packets lost, in units of 0.01 %.
    pub loss_bps: u32,
    /// Rate in Mbit/s.
    pub rate_mbit: u32,
    /// Most time a packet may wait for earlier ones, in milliseconds.
    #[serde(default = "default_queue_ms")]
    pub queue_ms: u32,
    /// Losses come in runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// TCP packets may overtake each other too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reorder: bool,
}

/// A two-state loss process (Gilbert-Elliott) with the same long-run rate as `loss_bps`.
///
/// In the good state nothing is lost; in the bad one each packet is with `loss_bps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Mean number of packets the bad state lasts; at least 1.
    pub mean_packets: u32,
    /// Share of packets lost in the bad state; above the link's own `loss_bps`.
    #[serde(default = "default_burst_loss")]
    pub loss_bps: u32,
}

/// What is different about one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOverride {
    /// Which node: `<region>-v1`, `<region>-rpc1`.
    pub name: String,
    /// Its address instead of the derived one, for instance to break diversity on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Its origin instead of what the table says of its prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Its stake instead of the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stake: Option<u64>,
}

impl Topology {
    /// The region with this id.
    pub fn region(&self, id: &str) -> Option<&Region> {
        self.regions.iter().find(|r| r.id == id)
    }

    /// The link from one region to another.
    pub fn link(&self, from: &str, to: &str) -> Option<&Link> {
        self.links.iter().find(|l| l.from == from && l.to == to)
    }

    /// Validators of all regions.
    pub fn validator_count(&self) -> u32 {
        self.regions.iter().map(|r| r.validators).sum()
    }

    /// Nodes of all roles and regions.
    pub fn node_count(&self) -> u32 {
        self.regions.iter().map(|r| r.validators + r.rpc).sum()
    }

    /// The YAML of this topology; reading it gives an equal one.
    ///
    /// # Panics
    /// Never: every field is plain data.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("plain data serialises")
    }
}

impl Region {
    /// Degrees north and east, where the region is somewhere.
    pub fn coordinates(&self) -> Option<(f64, f64)> {
        Some((self.latitude?, self.longitude?))
    }
}

fn default_mtu() -> u16 {
    1500
}

fn default_queue_ms() -> u32 {
    200
}

fn default_burst_loss() -> u32 {
    10_000
}
