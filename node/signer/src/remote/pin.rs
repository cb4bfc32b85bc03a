//! Whom a signer serves: one chain, and the nodes it was told of, or else the first that came.

use super::{Fingerprint, Hello};
use crate::private_file;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

const FILE: &str = "remote-signer.pin";
/// Held for as long as a signer runs: two would not know of each other's pin.
const LOCK: &str = "remote-signer.lock";

/// Whom and what this signer has bound itself to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    /// The first node, as [`Fingerprint`].
    node_key: String,
    network: String,
    genesis_hash: String,
}

/// The pin's file is not as this program left it.
#[derive(Debug, Error)]
pub enum PinError {
    /// It cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another signer runs here.
    #[error("{} is held by another signer; stop that one first", path.display())]
    Held {
        /// Which file.
        path: PathBuf,
    },
    /// It is no pin.
    #[error("{}: {why}; restore it, or remove it to have the next node pinned", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Decides whether a node that proved its key is served.
#[derive(Debug)]
pub struct Admission {
    authorized: Option<Vec<Fingerprint>>,
    path: PathBuf,
    pin: Option<Pin>,
    _lock: fs::File,
}

impl Admission {
    /// Reads what was pinned in `dir`. Where `authorized` names nodes, these and no others are served.
    ///
    /// # Errors
    /// The operator's fault, or the disk's.
    pub fn open(dir: &Path, authorized: Option<Vec<Fingerprint>>) -> Result<Self, PinError> {
        let lock = dir.join(LOCK);
        let failed = |source| PinError::File { what: "lock", path: lock.clone(), source };
        let mut options = fs::OpenOptions::new();
        let held = options.write(true).create(true).truncate(false).open(&lock).map_err(failed)?;
        match held.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(PinError::Held { path: lock }),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let path = dir.join(FILE);
        let pin = match fs::read_to_string(&path) {
            Ok(text) => {
                let damaged = |e: toml::de::Error| PinError::Damaged {
                    path: path.clone(),
                    why: e.message().to_owned(),
                };
                Some(toml::from_str(&text).map_err(damaged)?)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(PinError::File { what: "read", path, source }),
        };
        Ok(Self { authorized, path, pin, _lock: held })
    }

    /// `Ok(true)` where this node was pinned just now.
    ///
    /// # Errors
    /// The outer: the disk's, nothing is pinned. The inner: the words for a node that is not served.
    pub(super) fn admit(
        &mut self,
        node: Fingerprint,
        hello: &Hello,
    ) -> Result<Result<bool, String>, PinError> {
        let named = self.authorized.is_some();
        if self.authorized.as_ref().is_some_and(|nodes| !nodes.contains(&node)) {
            return Ok(Err(format!(
                "node key {node} is not among authorized_node_keys of this signer"
            )));
        }
        let asked = Pin {
            node_key: node.to_string(),
            network: hello.network.to_string(),
            genesis_hash: hello.genesis_hash.to_string(),
        };
        let path = self.path.display();
        if let Some(pin) = &self.pin {
            if !named && pin.node_key != asked.node_key {
                return Ok(Err(format!(
                    "this signer serves node key {} and not {node}; if that is right, name the node \
                     in authorized_node_keys, or remove {path} on the signer's host",
                    pin.node_key
                )));
            }
            if (&pin.network, &pin.genesis_hash) != (&asked.network, &asked.genesis_hash) {
                return Ok(Err(format!(
                    "this signer serves {} {} and not {} {}; to move it to another chain, remove \
                     {path} on the signer's host",
                    pin.network, pin.genesis_hash, asked.network, asked.genesis_hash
                )));
            }
            return Ok(Ok(false));
        }
        self.write(&asked)?;
        self.pin = Some(asked);
        Ok(Ok(true))
    }

    fn write(&self, pin: &Pin) -> Result<(), PinError> {
        let text = toml::to_string(pin).expect("three texts");
        let path = self.path.clone();
        private_file::write(&self.path, text.as_bytes()).map_err(|source| PinError::File {
            what: "write",
            path,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_types::{GenesisHash, Network};

    fn hello(chain: u8) -> Hello {
        let genesis_hash = GenesisHash([chain; 32]);
        Hello { version: 1, validator_id: 4, network: Network::Mainnet, genesis_hash }
    }

    #[test]
    fn the_first_node_and_chain_stay_the_only_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Admission::open(dir.path(), None).unwrap();
        assert_eq!(first.admit(Fingerprint([1; 32]), &hello(1)).unwrap(), Ok(true));
        assert_eq!(first.admit(Fingerprint([1; 32]), &hello(1)).unwrap(), Ok(false));
        let second = Admission::open(dir.path(), None).unwrap_err();
        assert!(matches!(second, PinError::Held { .. }), "{second}");
        drop(first);
        // Another start knows it too.
        let mut second = Admission::open(dir.path(), None).unwrap();
        let other = second.admit(Fingerprint([2; 32]), &hello(1)).unwrap().unwrap_err();
        assert!(other.contains("remote-signer.pin"), "{other}");
        let chain = second.admit(Fingerprint([1; 32]), &hello(2)).unwrap().unwrap_err();
        assert!(chain.contains("another chain"), "{chain}");
        assert_eq!(second.admit(Fingerprint([1; 32]), &hello(1)).unwrap(), Ok(false));
    }

    #[test]
    fn where_nodes_are_named_nobody_else_is_served_or_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let named = vec![Fingerprint([7; 32]), Fingerprint([8; 32])];
        let mut admission = Admission::open(dir.path(), Some(named)).unwrap();
        let refused = admission.admit(Fingerprint([1; 32]), &hello(1)).unwrap().unwrap_err();
        assert!(refused.contains("authorized_node_keys"), "{refused}");
        assert!(!dir.path().join(FILE).exists());
        for node in [7, 8] {
            assert!(admission.admit(Fingerprint([node; 32]), &hello(1)).unwrap().is_ok());
        }
        assert!(admission.admit(Fingerprint([8; 32]), &hello(2)).unwrap().is_err());
    }

    #[test]
    fn a_damaged_pin_is_no_missing_pin() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "node_key = 3").unwrap();
        let error = Admission::open(dir.path(), None).unwrap_err();
        assert!(matches!(error, PinError::Damaged { .. }), "{error}");
    }
}
