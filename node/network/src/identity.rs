//! Who a node is: the hash of its ML-DSA key.

use borsh::{BorshDeserialize, BorshSerialize};
use qbind_crypto::SecretKey;
use qbind_types::{Network, PublicKey, Signature};
use std::{error::Error, fmt};

const TAG: &[u8] = b"QBIND:NODE:v1";

/// A node: SHA3-256 over `QBIND:NODE:v1` and its ML-DSA-44 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The node that holds this key.
    pub fn of(key: &PublicKey) -> Self {
        Self(qbind_crypto::sha3_256(&[TAG, key.as_bytes()]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId(0x{}…)", hex::encode(&self.0[..4]))
    }
}

/// The key a node proves to its peers, wherever it lies.
pub trait Identity: fmt::Debug + Send + Sync {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// Signs `said` under the tag of proofs to peers ([`qbind_crypto::preimage::peer`]). May block.
    ///
    /// # Errors
    /// The key's keeper makes no signature now.
    fn prove(
        &self,
        network: Network,
        said: Vec<u8>,
    ) -> Result<Signature, Box<dyn Error + Send + Sync>>;
}

impl Identity for SecretKey {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn prove(
        &self,
        network: Network,
        said: Vec<u8>,
    ) -> Result<Signature, Box<dyn Error + Send + Sync>> {
        Ok(self.sign(&qbind_crypto::preimage::peer(network, &said)))
    }
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Role {
    /// Votes.
    Validator,
    /// Serves clients.
    Rpc,
    /// Shields a validator.
    Sentry,
}

impl Role {
    /// As in configuration files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Rpc => "rpc",
            Self::Sentry => "sentry",
        }
    }
}

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// We did.
    Outbound,
    /// They did.
    Inbound,
}

impl Direction {
    /// As in metrics and the HTTP API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}
