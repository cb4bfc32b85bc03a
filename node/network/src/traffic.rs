//! What flows over a link: one task for each direction of each channel, and the heartbeats.

use crate::{
    Channel, DropReason, HeartbeatStep, NodeId,
    context::{Context, ToManager},
    control::{Control, Farewell, MAX_ENTRIES},
    event::{NetworkEvent, Received},
    frame::{FrameError, read_frame, write_frame},
    lanes::Lanes,
    link::{LinkEnd, Order},
    queue::Push,
};
use futures::{
    AsyncWriteExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::core::muxing::SubstreamBox;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};
use tokio::sync::watch;

/// How one task of a link ended.
pub(crate) enum Part {
    /// Everything of a closed queue was written, or could not be.
    Wrote { channel: Channel, is_broken: bool },
    /// The peer's stream ended, or broke.
    Read { channel: Channel, is_broken: bool },
    /// The peer's last message on control.
    Left(Farewell),
    /// No more heartbeats, because control closed.
    HeartbeatsOver,
    /// The link must end.
    Failed(LinkEnd),
}

pub(crate) async fn write_all(
    channel: Channel,
    mut writer: WriteHalf<SubstreamBox>,
    lanes: Arc<Lanes>,
    context: Arc<Context>,
) -> Part {
    let written = async {
        while let Some(message) = lanes.queue(channel).pop().await {
            let mut next = Some(message);
            while let Some(message) = next {
                write_frame(&mut writer, &message).await?;
                context.observer.sent(channel, message.len());
                let stale = lanes.queue(channel).drop_stale();
                if stale > 0 {
                    context.observer.dropped(channel, DropReason::Stale, stale);
                }
                next = lanes.queue(channel).try_pop();
            }
            writer.flush().await?;
        }
        writer.close().await
    };
    let outcome = written.await;
    if let Err(error) = &outcome {
        tracing::debug!(channel = channel.label(), %error, "writing broke off");
    }
    Part::Wrote { channel, is_broken: outcome.is_err() }
}

/// What a reading part knows.
pub(crate) struct Reading {
    pub(crate) channel: Channel,
    pub(crate) link: u64,
    pub(crate) from: NodeId,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) context: Arc<Context>,
}

impl Reading {
    async fn next(&self, reader: &mut ReadHalf<SubstreamBox>) -> Result<Vec<u8>, Part> {
        match read_frame(reader, self.channel.max_message_bytes()).await {
            Ok(Some(frame)) => {
                self.lanes.heard.fetch_add(1, Ordering::Relaxed);
                self.context.observer.received(self.channel, frame.len());
                Ok(frame)
            }
            Ok(None) => Err(Part::Read { channel: self.channel, is_broken: false }),
            Err(error @ FrameError::TooLong { .. }) => {
                tracing::warn!(peer = %self.from, channel = self.channel.label(), %error,
                    "peer broke the protocol");
                Err(Part::Failed(LinkEnd::Violation("a frame longer than its channel allows")))
            }
            Err(error) => {
                tracing::debug!(channel = self.channel.label(), %error, "reading broke off");
                Err(Part::Read { channel: self.channel, is_broken: true })
            }
        }
    }

    /// Hands a message to the application, waiting while it is behind; drops it once the link is
    /// closed.
    async fn deliver(&self, bytes: Vec<u8>) -> Result<(), Part> {
        let mut orders = self.orders.clone();
        let sent = async {
            let bytes = Received::within(&self.context.budget, self.channel, bytes).await;
            let event = NetworkEvent::Message { from: self.from, channel: self.channel, bytes };
            self.context.events.send(event).await.map_err(|_| Part::Failed(LinkEnd::Ended))
        };
        tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order == Order::Close) => Ok(()),
            sent = sent => sent,
        }
    }

    pub(crate) async fn messages(self, mut reader: ReadHalf<SubstreamBox>) -> Part {
        loop {
            let delivered = match self.next(&mut reader).await {
                Ok(frame) => self.deliver(frame).await,
                Err(part) => return part,
            };
            if let Err(part) = delivered {
                return part;
            }
        }
    }

    pub(crate) async fn control(
        self,
        mut reader: ReadHalf<SubstreamBox>,
        pongs: watch::Sender<u64>,
    ) -> Part {
        loop {
            let frame = match self.next(&mut reader).await {
                Ok(frame) => frame,
                Err(part) => return part,
            };
            let Ok(message) = qbind_types::decode::<Control>(&frame) else {
                return Part::Failed(LinkEnd::Violation("control bytes of no known message"));
            };
            match message {
                Control::Ping(n) => {
                    self.lanes.push(Channel::Control, Control::Pong(n).frame(), &self.context);
                }
                Control::Pong(n) => {
                    pongs.send_replace(n);
                }
                Control::Peers(entries) if entries.len() > MAX_ENTRIES => {
                    return Part::Failed(LinkEnd::Violation("too many addresses at once"));
                }
                Control::Peers(entries) => {
                    let told = ToManager::Told { link: self.link, entries };
                    if self.context.manager.send(told).await.is_err() {
                        return Part::Failed(LinkEnd::Ended);
                    }
                }
                Control::Goodbye(reason) => return Part::Left(reason),
                Control::Application(bytes) => {
                    if let Err(part) = self.deliver(bytes).await {
                        return part;
                    }
                }
            }
        }
    }
}

/// Asks at the configured interval; ends the link when nothing at all comes back.
pub(crate) async fn heartbeats(
    lanes: Arc<Lanes>,
    mut answered: watch::Receiver<u64>,
    context: Arc<Context>,
) -> Part {
    let config = &context.config.heartbeat;
    let mut failures = 0;
    for n in 1u64.. {
        tokio::time::sleep(config.interval).await;
        let heard_before = lanes.heard.load(Ordering::Relaxed);
        let asked = Instant::now();
        match lanes.push(Channel::Control, Control::Ping(n).frame(), &context) {
            Push::Closed => break,
            Push::Queued | Push::QueuedEvicting(_) | Push::Full => {}
        }
        context.observer.heartbeat(HeartbeatStep::Sent);
        let answer = answered.wait_for(|pong| *pong >= n);
        if matches!(tokio::time::timeout(config.timeout, answer).await, Ok(Ok(_))) {
            let us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            lanes.round_trip_us.store(us, Ordering::Relaxed);
            context.observer.heartbeat(HeartbeatStep::Success);
            failures = 0;
            continue;
        }
        context.observer.heartbeat(HeartbeatStep::Failed);
        // Whatever else arrived shows that the peer is alive, if slow.
        failures =
            if lanes.heard.load(Ordering::Relaxed) > heard_before { 0 } else { failures + 1 };
        if failures >= config.max_failures {
            return Part::Failed(LinkEnd::Silent);
        }
    }
    Part::HeartbeatsOver
}
