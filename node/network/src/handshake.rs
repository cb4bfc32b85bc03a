//! Both sides prove their ML-DSA keys, bound to this one channel.
//!
//! ```text
//!   dialler                          listener
//!     | ---- Hello ----------------->  |     who I am, a nonce
//!     | <---------------- Hello ----   |
//!     | ---- Proof or Refuse ------->  |     signature over both Hellos, both Noise peer ids
//!     | <------- Proof or Refuse ---   |     and the signer's side
//! ```
//!
//! The peer ids are those the Noise handshake authenticated, so a proof made for one channel says
//! nothing on another: who sits between two honest nodes has a Noise key of its own, and the two
//! sign different peer ids. The nonces keep a proof from being used twice under the same ids.

use crate::{
    Identity, NodeId, Role,
    frame::{FrameError, read_frame, write_frame},
    transport::Side,
};
use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;
use qbind_types::{GenesisHash, Network, PublicKey, Signature, decode, encode};
use std::{error::Error, fmt, io, sync::Arc};
use tokio::sync::Semaphore;

/// Raised when a message between peers changes.
const VERSION: u16 = 2;

/// A Hello is below 2 kB, a proof 2,421 bytes.
const MAX_FRAME: usize = 8 * 1024;

/// Longest advertised address: a DNS name and a port.
const MAX_ADDRESS: usize = 262;

/// What a side says about itself before it proves anything.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) network: Network,
    pub(crate) genesis_hash: GenesisHash,
    /// Digest of the rules under which it executes blocks.
    pub(crate) rules: [u8; 32],
    pub(crate) role: Role,
    pub(crate) public_key: PublicKey,
    pub(crate) advertised: Option<String>,
    pub(crate) listen_port: u16,
    pub(crate) nonce: [u8; 32],
}

/// Why a side does not want the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RefuseReason {
    /// Another version of this protocol.
    Version,
    /// Another network.
    Network,
    /// Another genesis.
    Genesis,
    /// Other settings of execution, fees, slashing or money than ours: its state would not be ours.
    Rules,
    /// A node reached itself.
    SelfConnection,
    /// The signature does not prove the key on this channel.
    BadProof,
    /// Bytes that are no message of this handshake.
    Malformed,
    /// Sent away before.
    Banned,
    /// No slot left.
    Full,
    /// Too many peers share its prefix, or the slot is kept for another autonomous system.
    Diversity,
    /// The two are connected already.
    Duplicate,
    /// About to stop.
    Stopping,
}

impl RefuseReason {
    /// Label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Network => "network",
            Self::Genesis => "genesis",
            Self::Rules => "rules",
            Self::SelfConnection => "self_connection",
            Self::BadProof => "bad_proof",
            Self::Malformed => "malformed",
            Self::Banned => "banned",
            Self::Full => "full",
            Self::Diversity => "diversity",
            Self::Duplicate => "duplicate",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules => f.write_str(
                "rules: settings of execution, fees, slashing or money differ; compare both nodes' \
                 /v1/config",
            ),
            _ => f.write_str(self.label()),
        }
    }
}

/// Second message of the handshake.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
enum Answer {
    Proof(Signature),
    Refuse(RefuseReason),
}

/// Third stage: whether the proven peer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Verdict {
    /// Yes. From the deciding side the number puts its decisions about the pair in order.
    Accept(u64),
    Refuse(RefuseReason),
}

/// Why a handshake ended without two proofs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("we refused the peer: {reason}")]
    Refused { reason: RefuseReason },
    #[error("the peer refused us: {reason}")]
    RefusedByPeer { reason: RefuseReason },
    #[error("the peer broke off")]
    Ended,
    #[error("the handshake could not be read")]
    Read {
        #[source]
        source: FrameError,
    },
    #[error("our own key's keeper made no proof")]
    Identity {
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the handshake could not be written")]
    Write {
        #[source]
        source: io::Error,
    },
}

/// What this node says and signs with.
pub(crate) struct Introduction {
    pub(crate) identity: Arc<dyn Identity>,
    /// One proof is made at a time: a key's keeper has more urgent things to sign.
    pub(crate) turn: Arc<Semaphore>,
    pub(crate) hello: Hello,
}

impl Hello {
    pub(crate) fn new(
        network: Network,
        (genesis_hash, rules): (GenesisHash, [u8; 32]),
        role: Role,
        public_key: PublicKey,
        advertised: Option<String>,
        listen_port: u16,
    ) -> Self {
        Self {
            version: VERSION,
            network,
            genesis_hash,
            rules,
            role,
            public_key,
            advertised,
            listen_port,
            nonce: rand::random(),
        }
    }

    pub(crate) fn node_id(&self) -> NodeId {
        NodeId::of(&self.public_key)
    }

    /// What `theirs` says that makes it no peer of ours.
    fn objection(&self, theirs: &Self) -> Option<RefuseReason> {
        if theirs.version != self.version {
            Some(RefuseReason::Version)
        } else if theirs.network != self.network {
            Some(RefuseReason::Network)
        } else if theirs.genesis_hash != self.genesis_hash {
            Some(RefuseReason::Genesis)
        } else if theirs.rules != self.rules {
            Some(RefuseReason::Rules)
        } else if theirs.public_key == self.public_key {
            Some(RefuseReason::SelfConnection)
        } else if theirs.advertised.as_ref().is_some_and(|a| a.len() > MAX_ADDRESS) {
            Some(RefuseReason::Malformed)
        } else {
            None
        }
    }
}

/// The two ends of the encrypted channel, as its Noise handshake authenticated them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChannelBinding {
    pub(crate) dialler: PeerId,
    pub(crate) listener: PeerId,
}

/// What a proof is over, without its tag.
fn said(binding: &ChannelBinding, signer: Side, dialler: &Hello, listener: &Hello) -> Vec<u8> {
    let side: u8 = match signer {
        Side::Dialler => 0,
        Side::Listener => 1,
    };
    encode(&(side, binding.dialler.to_bytes(), binding.listener.to_bytes(), dialler, listener))
}

/// Our proof, made on a thread that may wait for the key's keeper.
async fn prove(us: &Introduction, said: Vec<u8>) -> Result<Signature, HandshakeError> {
    let (identity, network) = (us.identity.clone(), us.hello.network);
    let turn = us.turn.clone().acquire_owned().await;
    // Who is given up while it waits for the keeper still has the turn until that answers.
    let proof = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        identity.prove(network, said)
    });
    let proof = proof.await;
    proof
        .map_err(|panicked| HandshakeError::Identity { source: panicked.into() })?
        .map_err(|source| HandshakeError::Identity { source })
}

/// Exchanges Hellos and proofs; the answer is the other side's, proven.
///
/// # Errors
/// The peer's fault, or the connection's; on ours to refuse, the peer was told.
pub(crate) async fn exchange<S>(
    stream: &mut S,
    side: Side,
    binding: &ChannelBinding,
    us: &Introduction,
) -> Result<Hello, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(stream, &us.hello).await?;
    let theirs: Hello = receive(stream).await?;
    if let Some(reason) = us.hello.objection(&theirs) {
        send(stream, &Answer::Refuse(reason)).await?;
        return Err(HandshakeError::Refused { reason });
    }
    let (dialler, listener, their_side) = match side {
        Side::Dialler => (&us.hello, &theirs, Side::Listener),
        Side::Listener => (&theirs, &us.hello, Side::Dialler),
    };
    let proof = prove(us, said(binding, side, dialler, listener)).await?;
    send(stream, &Answer::Proof(proof)).await?;
    match receive(stream).await? {
        Answer::Refuse(reason) => Err(HandshakeError::RefusedByPeer { reason }),
        Answer::Proof(proof) => {
            let signed = said(binding, their_side, dialler, listener);
            let signed = qbind_crypto::preimage::peer(dialler.network, &signed);
            if qbind_crypto::verify(&theirs.public_key, &signed, &proof) {
                return Ok(theirs);
            }
            let reason = RefuseReason::BadProof;
            send(stream, &Verdict::Refuse(reason)).await?;
            Err(HandshakeError::Refused { reason })
        }
    }
}

/// Sends one message of the handshake.
pub(crate) async fn send<S, M>(stream: &mut S, message: &M) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
    M: BorshSerialize,
{
    let written = async {
        write_frame(stream, &encode(message)).await?;
        stream.flush().await
    };
    written.await.map_err(|source| HandshakeError::Write { source })
}

/// Receives one message of the handshake.
pub(crate) async fn receive<S, M>(stream: &mut S) -> Result<M, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: BorshDeserialize,
{
    let frame = match read_frame(stream, MAX_FRAME).await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(HandshakeError::Ended),
        Err(source @ FrameError::TooLong { .. }) => {
            tracing::debug!(%source, "handshake refused");
            return Err(HandshakeError::Refused { reason: RefuseReason::Malformed });
        }
        Err(source) => return Err(HandshakeError::Read { source }),
    };
    decode(&frame).map_err(|_| HandshakeError::Refused { reason: RefuseReason::Malformed })
}
