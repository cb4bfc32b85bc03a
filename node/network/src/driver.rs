//! Keeps one connection's streams moving: yamux makes progress only while it is polled.

use futures::future::poll_fn;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use std::{io, task::Poll, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Streams the other side opened that nobody has asked for yet; more are refused.
const INBOUND_STREAMS: usize = 4;

/// Time to say goodbye to a peer that may not listen.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The streams of a running connection. Dropping it closes the connection, after what was
/// written to its streams has left.
pub(crate) struct Streams {
    open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    accepted: mpsc::Receiver<SubstreamBox>,
    ended: watch::Receiver<bool>,
    _close: oneshot::Sender<()>,
}

impl Streams {
    /// Runs `muxer` in a task of its own.
    pub(crate) fn run(muxer: StreamMuxerBox) -> (Self, JoinHandle<()>) {
        let (open, requests) = mpsc::channel(1);
        let (inbound, accepted) = mpsc::channel(INBOUND_STREAMS);
        let (ending, ended) = watch::channel(false);
        let (close, closed) = oneshot::channel();
        let task = tokio::spawn(async move {
            if let Err(error) = drive(muxer, requests, inbound, closed).await {
                tracing::debug!(%error, "connection ended");
            }
            ending.send_replace(true);
        });
        (Self { open, accepted, ended, _close: close }, task)
    }

    /// Opens a stream; the other side learns of it with the first byte written.
    pub(crate) async fn open(&self) -> io::Result<SubstreamBox> {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.map_err(|_| gone())?;
        stream.await.map_err(|_| gone())
    }

    /// The next stream the other side opened.
    pub(crate) async fn accept(&mut self) -> io::Result<SubstreamBox> {
        self.accepted.recv().await.ok_or_else(gone)
    }

    /// Becomes true when the connection has ended.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection ended")
}

async fn drive(
    mut muxer: StreamMuxerBox,
    mut requests: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    inbound: mpsc::Sender<SubstreamBox>,
    mut closed: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut waiting: Option<oneshot::Sender<SubstreamBox>> = None;
    poll_fn(|cx| {
        loop {
            if std::pin::Pin::new(&mut closed).poll(cx).is_ready() {
                return Poll::Ready(Ok::<(), io::Error>(()));
            }
            if waiting.is_none()
                && let Poll::Ready(Some(reply)) = requests.poll_recv(cx)
            {
                waiting = Some(reply);
            }
            if let Some(reply) = waiting.take() {
                match muxer.poll_outbound_unpin(cx)? {
                    Poll::Ready(stream) => {
                        // Who asked may have given up; then the stream is dropped with the reply.
                        drop(reply.send(stream));
                        continue;
                    }
                    Poll::Pending => waiting = Some(reply),
                }
            }
            match muxer.poll_inbound_unpin(cx)? {
                Poll::Ready(stream) => {
                    // Nobody asked for it: dropping resets it.
                    drop(inbound.try_send(stream));
                    continue;
                }
                Poll::Pending => {}
            }
            match muxer.poll_unpin(cx)? {
                Poll::Ready(_address_change) => continue,
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await?;
    let closing = poll_fn(|cx| std::pin::Pin::new(&mut muxer).poll_close(cx));
    match tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not take the rest")),
    }
}
