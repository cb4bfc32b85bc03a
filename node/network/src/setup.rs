//! From a TCP connection to an admitted link.
//!
//! After the proofs, the two agree whether to keep the connection. One of them, the node with the
//! lower id, decides for both and numbers its decisions, so the two can never keep different
//! connections: the other side first says whether it would have this one at all.

use crate::{
    Direction, NodeId, RefuseReason,
    book::Target,
    context::{Admission, Candidate, Context, DialOutcome, ToManager},
    driver::Streams,
    handshake::{
        self, ChannelBinding, HandshakeError, Hello, Introduction, Verdict, receive, send,
    },
    link,
    transport::{self, Side, TransportError},
};
use futures::AsyncWriteExt;
use libp2p::core::muxing::SubstreamBox;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, oneshot},
};

/// Why a connection was not admitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("no encrypted connection")]
    Transport {
        #[source]
        source: TransportError,
    },
    #[error("no proof")]
    Handshake {
        #[source]
        source: HandshakeError,
    },
    #[error("the stream for the handshake could not be opened")]
    Stream {
        #[source]
        source: io::Error,
    },
    #[error("not done in time")]
    Late,
    #[error("this node is stopping")]
    Stopping,
}

impl SetupError {
    fn refusal(&self) -> Option<RefuseReason> {
        match self {
            Self::Handshake {
                source:
                    HandshakeError::Refused { reason } | HandshakeError::RefusedByPeer { reason },
            } => Some(*reason),
            _ => None,
        }
    }
}

impl From<HandshakeError> for SetupError {
    fn from(source: HandshakeError) -> Self {
        Self::Handshake { source }
    }
}

impl From<TransportError> for SetupError {
    fn from(source: TransportError) -> Self {
        Self::Transport { source }
    }
}

struct Ready {
    admission: Admission,
    streams: Streams,
    control: SubstreamBox,
}

/// Serves an accepted connection to its end. `slot` is given back when the handshake is over.
pub(crate) async fn serve(
    context: Arc<Context>,
    stream: TcpStream,
    remote: SocketAddr,
    slot: OwnedSemaphorePermit,
) {
    let setup = establish(&context, stream, remote, None);
    let limit = context.config.timing.dial_timeout;
    let ready = tokio::time::timeout(limit, setup).await.unwrap_or(Err(SetupError::Late));
    drop(slot);
    match ready {
        Ok(ready) => carry(context, ready, Side::Listener).await,
        Err(error) => note(&context, &remote, &error),
    }
}

/// Dials, and serves the connection to its end.
pub(crate) async fn dial(context: Arc<Context>, target: Target) {
    let setup = async {
        let source = Some(context.local.ip());
        let stream = transport::connect(&target.address, source).await?;
        let remote = stream.peer_addr().map_err(|source| SetupError::Stream { source })?;
        establish(&context, stream, remote, Some(target.clone())).await
    };
    let limit = context.config.timing.dial_timeout;
    let ready = tokio::time::timeout(limit, setup).await.unwrap_or(Err(SetupError::Late));
    let outcome = match &ready {
        Ok(_) => DialOutcome::Connected,
        Err(error) => {
            note(&context, &target.address, error);
            match error.refusal() {
                Some(RefuseReason::Duplicate) => DialOutcome::Duplicate,
                Some(RefuseReason::SelfConnection) => DialOutcome::Ourselves,
                _ => DialOutcome::Failed,
            }
        }
    };
    if context.manager.send(ToManager::DialEnded { target, outcome }).await.is_err() {
        return;
    }
    if let Ok(ready) = ready {
        carry(context, ready, Side::Dialler).await;
    }
}

fn note(context: &Context, peer: &dyn std::fmt::Display, error: &SetupError) {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match error.refusal() {
        Some(reason) => {
            context.observer.handshake_refused(reason);
            let is_routine =
                matches!(reason, RefuseReason::Duplicate | RefuseReason::SelfConnection);
            if is_routine {
                tracing::debug!(%peer, %reason, "connection not kept");
            } else {
                tracing::warn!(%peer, %reason, detail = source, "connection refused");
            }
        }
        None => {
            context.observer.handshake_failed();
            tracing::debug!(%peer, %error, detail = source, "connection failed");
        }
    }
}

async fn carry(context: Arc<Context>, ready: Ready, side: Side) {
    let link = ready.admission.start.id;
    let Ready { admission, streams, control } = ready;
    let end = link::run(admission.start, side, streams, control, context.clone()).await;
    let ended = ToManager::LinkEnded { link, end };
    if context.manager.send(ended).await.is_err() {
        tracing::trace!("the manager stopped before its links");
    }
}

async fn establish(
    context: &Context,
    stream: TcpStream,
    remote: SocketAddr,
    dialled: Option<Target>,
) -> Result<Ready, SetupError> {
    let side = if dialled.is_some() { Side::Dialler } else { Side::Listener };
    let io = |source| SetupError::Stream { source };
    transport::tune(&stream, context.config.congestion_control.as_deref()).map_err(io)?;
    let (instance, muxer) = transport::secure(stream, &context.keypair, side).await?;
    let (mut streams, _driver) = Streams::run(muxer);
    let mut control = match side {
        Side::Dialler => streams.open().await,
        Side::Listener => streams.accept().await,
    }
    .map_err(io)?;

    let ours = context.keypair.public().to_peer_id();
    let (binding, direction) = match side {
        Side::Dialler => {
            (ChannelBinding { dialler: ours, listener: instance }, Direction::Outbound)
        }
        Side::Listener => {
            (ChannelBinding { dialler: instance, listener: ours }, Direction::Inbound)
        }
    };
    let us = Introduction {
        identity: context.config.identity.clone(),
        turn: context.turn.clone(),
        hello: Hello::new(
            context.config.network,
            (context.config.genesis_hash, context.config.rules),
            context.config.role,
            context.public_key.clone(),
            match context.config.hidden {
                true => Some(String::new()),
                false => context.config.advertised.clone(),
            },
            context.local.port(),
        ),
    };
    let agreed = async {
        let hello = handshake::exchange(&mut control, side, &binding, &us).await?;
        let advertised = hello
            .advertised
            .clone()
            .unwrap_or_else(|| SocketAddr::new(remote.ip(), hello.listen_port).to_string());
        let candidate = Candidate {
            node_id: hello.node_id(),
            public_key: hello.public_key,
            role: hello.role,
            instance,
            direction,
            remote,
            advertised,
            dialled,
        };
        agree(context, &mut control, candidate).await
    };
    match agreed.await {
        Ok(admission) => Ok(Ready { admission, streams, control }),
        Err(error) => {
            // Lets a refusal reach the peer before the connection goes.
            if let Err(error) = control.close().await {
                tracing::trace!(%error, "the peer was gone before us");
            }
            Err(error)
        }
    }
}

/// The lower id decides.
fn we_decide(us: NodeId, them: NodeId) -> bool {
    us < them
}

async fn agree(
    context: &Context,
    control: &mut SubstreamBox,
    candidate: Candidate,
) -> Result<Admission, SetupError> {
    let refused_by_peer = |reason| HandshakeError::RefusedByPeer { reason };
    if we_decide(context.node_id, candidate.node_id) {
        if let Verdict::Refuse(reason) = receive(control).await? {
            return Err(refused_by_peer(reason).into());
        }
        let admission = ask(context, |reply| ToManager::Admit { candidate, sequence: None, reply });
        let admission = told(control, admission.await?).await?;
        send(control, &Verdict::Accept(admission.sequence)).await?;
        return Ok(admission);
    }
    let asked = candidate.clone();
    let check = ask(context, |reply| ToManager::Check { candidate: asked, reply }).await?;
    told(control, check).await?;
    send(control, &Verdict::Accept(0)).await?;
    match receive(control).await? {
        Verdict::Refuse(reason) => Err(refused_by_peer(reason).into()),
        Verdict::Accept(sequence) => {
            let sequence = Some(sequence);
            let admission = ask(context, |reply| ToManager::Admit { candidate, sequence, reply });
            admission.await?.map_err(|reason| HandshakeError::Refused { reason }.into())
        }
    }
}

/// Tells the peer when the answer is no.
async fn told<T>(
    control: &mut SubstreamBox,
    answer: Result<T, RefuseReason>,
) -> Result<T, SetupError> {
    match answer {
        Ok(value) => Ok(value),
        Err(reason) => {
            send(control, &Verdict::Refuse(reason)).await?;
            Err(HandshakeError::Refused { reason }.into())
        }
    }
}

async fn ask<T>(
    context: &Context,
    question: impl FnOnce(oneshot::Sender<T>) -> ToManager,
) -> Result<T, SetupError> {
    let (reply, answer) = oneshot::channel();
    context.manager.send(question(reply)).await.map_err(|_| SetupError::Stopping)?;
    answer.await.map_err(|_| SetupError::Stopping)
}
