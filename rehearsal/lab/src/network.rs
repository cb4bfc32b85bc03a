//! A network's directory: genesis, keys, the configuration of every node.
//!
//! ```text
//! DIR/network.json       what stands below, for programs
//! DIR/topology.yaml      the topology it was made from
//! DIR/genesis.json       and genesis.sha3, the hash of its bytes
//! DIR/asn.txt            lines `PREFIX ASN`
//! DIR/passphrase         opens the keystores; a lab's secret, mode 0600
//! DIR/accounts/load-accounts.json   addresses and seeds of funded accounts, mode 0600
//! DIR/council/           sealed keys of the governance council
//! DIR/nodes/NAME/node.toml, keystore/, data/, snapshots/
//! ```
//!
//! A directory is made whole or not at all: everything is written beside it and moved there last.

mod create;
mod error;
mod genesis;
mod keys;
mod node_toml;
#[cfg(test)]
mod tests;

pub use create::{CreateOptions, EPOCH_BLOCKS, Reach, create, open_or_create};
pub use error::NetworkError;
pub use keys::LoadAccount;

use qbind_plan::topology::{NodeRole, Topology};
use qbind_types::GenesisHash;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

const SCHEMA: &str = "qbind.network/v1";
const DESCRIPTION: &str = "network.json";

/// The settings all nodes of a network start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkProfile {
    /// The main network's, as rehearsals use.
    Mainnet,
    /// The public test network's.
    TestnetBeta,
    /// A developer's.
    Devnet,
}

/// One node of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// `<region>-v1`, `<region>-rpc1`.
    pub name: String,
    /// Region id.
    pub region: String,
    /// What it is for.
    pub role: NodeRole,
    /// As in the genesis file, for validators.
    pub validator_id: Option<u64>,
    /// Its own address.
    pub ip: IpAddr,
    /// Metrics and HTTP API.
    pub http: SocketAddr,
    /// Peers.
    pub p2p: SocketAddr,
    /// The autonomous system its address comes from.
    pub asn: u32,
}

/// A network's directory that exists.
#[derive(Debug, Clone)]
pub struct NetworkDir {
    dir: PathBuf,
    description: Description,
    topology: Topology,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    schema: String,
    profile: NetworkProfile,
    genesis_hash: GenesisHash,
    nodes: Vec<NodeInfo>,
}

impl NetworkDir {
    /// Opens a directory made by [`create`].
    ///
    /// # Errors
    /// The caller's fault: not such a directory, or its files were changed.
    pub fn open(dir: &Path) -> Result<Self, NetworkError> {
        let dir = fs::canonicalize(dir)
            .map_err(|source| NetworkError::NotANetwork { dir: dir.to_owned(), source })?;
        let read = |name: &str| {
            let file = dir.join(name);
            fs::read_to_string(&file).map_err(|source| NetworkError::Read { file, source })
        };
        let file = dir.join(DESCRIPTION);
        let description = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(source) => return Err(NetworkError::NotANetwork { dir, source }),
        };
        let malformed = |detail| NetworkError::Malformed { file: file.clone(), detail };
        let description: Description =
            serde_json::from_str(&description).map_err(|error| malformed(error.to_string()))?;
        if description.schema != SCHEMA {
            return Err(malformed(format!("schema is {}, expected {SCHEMA}", description.schema)));
        }
        let topology = Topology::parse(&read("topology.yaml")?, &dir.join("topology.yaml"))?;
        let found = qbind_crypto::genesis_hash(read("genesis.json")?.as_bytes());
        if found != description.genesis_hash {
            return Err(NetworkError::GenesisChanged {
                file: dir.join("genesis.json"),
                found,
                expected: description.genesis_hash,
            });
        }
        Ok(Self { dir, description, topology })
    }

    /// Its absolute path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings its nodes start from.
    pub fn profile(&self) -> NetworkProfile {
        self.description.profile
    }

    /// SHA3-256 of the genesis file's bytes.
    pub fn genesis_hash(&self) -> GenesisHash {
        self.description.genesis_hash
    }

    /// The genesis file.
    pub fn genesis_path(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    /// Every node, in topology order.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.description.nodes
    }

    /// What it was made from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The directory of one node.
    pub fn node_dir(&self, name: &str) -> PathBuf {
        self.dir.join("nodes").join(name)
    }

    /// The configuration file of one node.
    pub fn node_config(&self, name: &str) -> PathBuf {
        self.node_dir(name).join("node.toml")
    }

    /// What opens the keystores.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn passphrase(&self) -> Result<String, NetworkError> {
        let file = self.dir.join("passphrase");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(source) => Err(NetworkError::Read { file, source }),
        }
    }

    /// The funded accounts for load.
    ///
    /// # Errors
    /// The file cannot be read or was changed.
    pub fn load_accounts(&self) -> Result<Vec<LoadAccount>, NetworkError> {
        keys::read_load_accounts(&self.dir.join("accounts/load-accounts.json"))
    }
}

impl NetworkProfile {
    /// As in `node.toml` and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::TestnetBeta => "testnet-beta",
            Self::Devnet => "devnet",
        }
    }
}

impl FromStr for NetworkProfile {
    type Err = UnknownProfile;
    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let all = [Self::Mainnet, Self::TestnetBeta, Self::Devnet];
        all.into_iter().find(|p| p.as_str() == text).ok_or(UnknownProfile)
    }
}

/// The text names no profile a network can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected mainnet, testnet-beta or devnet")]
pub struct UnknownProfile;
