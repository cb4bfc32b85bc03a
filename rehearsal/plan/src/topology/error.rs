use super::{MAX_NODES, MAX_REGIONS, MIN_VALIDATORS};
use std::{io, path::PathBuf};
use thiserror::Error;

/// Why there is no topology: always the fault of who wrote or named the file.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// Neither a built-in name nor a readable file.
    #[error(
        "no topology {name}: not a file that can be read, and not one of the built-in {builtin}"
    )]
    NotFound {
        /// What was asked for.
        name: String,
        /// The names there are.
        builtin: String,
        /// Why the file cannot be read.
        source: io::Error,
    },
    /// Larger than any real topology.
    #[error("{}: {bytes} bytes, more than a topology may have ({limit})", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not YAML of this schema; the text says line and column.
    #[error("{}: {detail}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        detail: String,
    },
    /// YAML of this schema, but no network.
    #[error("{}:{line}: {fault}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line of the entry at fault; 0 when it is the whole file.
        line: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// A request for a generated topology that makes no network.
    #[error("{fault}")]
    Request {
        /// What is wrong.
        fault: Fault,
    },
}

/// A rule of topologies that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum Fault {
    #[error("schema: is {got}, expected {}", super::SCHEMA)]
    Schema { got: String },
    #[error(
        "{key}: \"{got}\" is not a name: 1 to {max} characters of a-z, 0-9 and -, starting with a letter"
    )]
    Name { key: String, got: String, max: usize },
    #[error("{key}: the name {name} is kept for the operator's place")]
    Reserved { key: String, name: String },
    #[error("{key}: {id} appears twice")]
    Duplicate { key: String, id: String },
    #[error("{got} validators: n >= 3f+1 needs at least {MIN_VALIDATORS}")]
    TooFewValidators { got: u32 },
    #[error("{got} nodes: at most {MAX_NODES} get an address")]
    TooManyNodes { got: u32 },
    #[error("{got} regions: between 1 and {MAX_REGIONS} are possible")]
    RegionCount { got: usize },
    #[error("{regions} regions for {validators} validators: every region needs at least one")]
    MoreRegionsThanValidators { regions: u32, validators: u32 },
    #[error("{key}: region {id} has no node")]
    EmptyRegion { key: String, id: String },
    #[error("{key}: latitude and longitude come together, within -90..90 and -180..180")]
    Coordinates { key: String },
    #[error("{key}: no region {id}; there are {known}")]
    UnknownRegion { key: String, id: String, known: String },
    #[error("{key}: {id} to itself: traffic inside a region does not cross a link")]
    SelfLink { key: String, id: String },
    #[error("links: {from} to {to} is missing: every directed pair of regions needs one")]
    MissingLink { from: String, to: String },
    #[error("{key}: is {got}, expected {expected}")]
    Range { key: String, got: String, expected: String },
    #[error("{key}: no node {name}; the first is {first}")]
    UnknownNode { key: String, name: String, first: String },
    #[error("{key}: {address} is already the address of {owner}")]
    AddressTaken { key: String, address: String, owner: String },
    #[error(
        "{key}: {address} is outside 10.0.0.0/8, or in 10.254.0.0/15, which the lab itself uses"
    )]
    AddressRange { key: String, address: String },
}
