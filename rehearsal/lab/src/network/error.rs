use qbind_plan::topology::TopologyError;
use qbind_types::GenesisHash;
use std::{io, path::PathBuf};
use thiserror::Error;

/// Why a network's directory cannot be made or used.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// Something is there already.
    #[error("{} exists and is not empty: name a new directory, or remove it first", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory above does not exist, or the path has no name.
    #[error("cannot make {}: its parent is not a directory that can be written", dir.display())]
    Parent {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not made by `genesis new`.
    #[error(
        "{} is no network directory: make one with `qbindctl genesis new --out DIR`",
        dir.display()
    )]
    NotANetwork {
        /// The directory.
        dir: PathBuf,
        /// Why its description cannot be read.
        source: io::Error,
    },
    /// A file of it cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of it cannot be written.
    #[error("cannot write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of it is not what it should be.
    #[error("{}: {detail}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The genesis file is not the one the network was made with.
    #[error("{} has the hash {found}, but the network was made with {expected}", file.display())]
    GenesisChanged {
        /// The file.
        file: PathBuf,
        /// Its hash.
        found: GenesisHash,
        /// The hash its nodes expect.
        expected: GenesisHash,
    },
    /// Its topology is none.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A directory of another network where this one was to be used.
    #[error(
        "{} was made for {found}, not for {asked} as given: name another directory, or remove \
         it first",
        dir.display()
    )]
    OtherNetwork {
        /// The directory.
        dir: PathBuf,
        /// What it was made for.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// No port is free on a loopback address.
    #[error("no free port on {address}")]
    Port {
        /// The address.
        address: std::net::Ipv4Addr,
        /// Why.
        source: io::Error,
    },
}
