//! A key on another host: the node asks, `qbind-remote-signer` answers.
//!
//! ```text
//!   node                                       signer
//!     | ==== TLS 1.3, see `kemtls` =========>  |   both proved the keys they use for this
//!     | ---- Hello ------------------------->  |   which validator, which chain
//!     | <------------- Ready or Refused ----   |   the validator's key, and its word for the signer's
//!     | ---- Request ----------------------->  |
//!     | <--------- Signature or Refused ----   |   and so on
//! ```
//!
//! The signer's own key is new with each start, and the validator's key vouches for it once: a stranger
//! cannot make a device sign by dialling.
//!
//! Each message is a length (4 bytes, little-endian) and that many bytes of borsh.

mod client;
mod config;
mod kemtls;
mod pin;
mod rate;
mod service;
#[cfg(test)]
mod tests;
mod timed;

pub use client::{ClientKeyError, RemoteError, RemoteSigner, SignerUrl, client_key};
pub use config::{Backend, ConfigError, RemoteConfig, STATE_DIR};
pub use pin::{Admission, PinError};
pub use service::{Notice, OpenSigner, Service};

use borsh::{BorshDeserialize, BorshSerialize};
use qbind_crypto::sha3_256;
use qbind_types::{GenesisHash, Network, PublicKey, Signature};
use std::{
    fmt,
    io::{self, Read, Write},
};

/// Raised when a message changes.
const VERSION: u16 = 1;
/// A request is below 9 kB, a signature 2,420 bytes.
const MAX_FRAME: u32 = 16 * 1024;

/// What a node says first.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Hello {
    version: u16,
    validator_id: u64,
    network: Network,
    genesis_hash: GenesisHash,
}

/// What the signer says.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Reply {
    /// To a Hello: go on.
    Ready {
        /// The validator's.
        key: PublicKey,
        /// Its signature over [`vouching`].
        vouch: Signature,
    },
    /// To a request.
    Signature(Signature),
    /// To either.
    Refused { code: Code, why: String },
}

/// Why a signer refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Code {
    /// It holds another validator's key.
    InvalidKey,
    /// Its device made no signature.
    Crypto,
    /// It does not serve this node, or not for this chain.
    Unauthorized,
    /// Too many requests in too short a time.
    RateLimited,
    /// It cannot write its guard.
    Server,
    /// It would contradict what the key signed before.
    Contradiction,
    /// Not a message of this protocol, or of another version.
    Protocol,
}

impl Code {
    /// Label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid_key",
            Self::Crypto => "crypto",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Server => "server",
            Self::Contradiction => "contradiction",
            Self::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How a node is named to a signer: SHA3-256 over `QBIND:SIGNER_CLIENT:v1` and the public key it
/// proves there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of this key.
    pub fn of(key: &PublicKey) -> Self {
        Self(sha3_256(&[b"QBIND:SIGNER_CLIENT:v1", key.as_bytes()]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = hex::decode(digits).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        bytes.map(Self).ok_or_else(|| format!("`{text}` is not 0x and 64 hexadecimal digits"))
    }
}

/// What a validator's key signs to vouch for the key that a signer proves to nodes.
fn vouching(signer: &PublicKey) -> Vec<u8> {
    [b"QBIND:SIGNER:v1", &signer.as_bytes()[..]].concat()
}

fn write_message<M: BorshSerialize>(to: &mut impl Write, message: &M) -> io::Result<()> {
    let body = qbind_types::encode(message);
    let length = u32::try_from(body.len()).ok().filter(|l| *l <= MAX_FRAME);
    let length = length.ok_or_else(|| io::Error::other("the message is too long to be sent"))?;
    to.write_all(&[&length.to_le_bytes()[..], &body].concat())?;
    to.flush()
}

/// `None` where the other side ended between two messages.
fn read_message<M: BorshDeserialize>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_le_bytes(length);
    let malformed = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if length > MAX_FRAME {
        return Err(malformed(format!("a message of {length} bytes; the most is {MAX_FRAME}")));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    qbind_types::decode(&body).map(Some).map_err(|e| malformed(e.to_string()))
}
