//! One proven connection: four channels, heartbeats, and how it ends.

use crate::{
    Channel, DropReason, HeartbeatStep, NodeId,
    context::{Context, ToManager},
    control::{Control, Farewell, MAX_ENTRIES},
    driver::Streams,
    event::{NetworkEvent, Received},
    frame::{FrameError, read_frame, write_frame},
    queue::{Push, SendQueue},
    transport::Side,
};
use futures::{
    AsyncReadExt, AsyncWriteExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::core::muxing::SubstreamBox;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// Time the queues may take to empty when a connection is closed for good.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the manager wants of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Carry messages.
    Run,
    /// A better connection took over: send what waits, read to the end, then go.
    Drain,
    /// Send what waits and go; read no more.
    Close,
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// As ordered, or the other side went.
    Ended,
    /// No heartbeat was answered.
    Silent,
    /// The peer broke the protocol.
    Violation(&'static str),
}

/// The sending ends of a link, one queue per channel, and what is known of its pace.
pub(crate) struct Lanes {
    queues: [SendQueue; 4],
    /// Round trip of the last heartbeat, microseconds; nothing measured is `u64::MAX`.
    round_trip_us: AtomicU64,
    /// Frames read, of any channel.
    heard: AtomicU64,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            queues: Channel::ALL.map(SendQueue::new),
            round_trip_us: AtomicU64::new(u64::MAX),
            heard: AtomicU64::new(0),
        }
    }

    pub(crate) fn queue(&self, channel: Channel) -> &SendQueue {
        &self.queues[channel.index()]
    }

    pub(crate) fn close(&self) {
        self.queues.iter().for_each(SendQueue::close);
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self.round_trip_us.load(Ordering::Relaxed) {
            u64::MAX => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Queues a message and counts what had to give way. Whether it waits now.
    pub(crate) fn push(&self, channel: Channel, message: Arc<[u8]>, context: &Context) -> Push {
        let pushed = self.queue(channel).push(message);
        let observer = &context.observer;
        match pushed {
            Push::Queued => {}
            Push::QueuedEvicting(n) => observer.dropped(channel, DropReason::Evicted, n),
            Push::Full => observer.dropped(channel, DropReason::Full, 1),
            Push::Closed => observer.dropped(channel, DropReason::Closed, 1),
        }
        pushed
    }
}

/// What the manager hands to a connection it admitted.
pub(crate) struct LinkStart {
    pub(crate) id: u64,
    pub(crate) node_id: NodeId,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) orders: watch::Receiver<Order>,
}

enum Part {
    Written,
    ReadToEnd,
    HeartbeatsOver,
    Left(Farewell),
    Failed(LinkEnd),
}

/// Carries messages until the link ends. `control` is the stream the handshake used.
pub(crate) async fn run(
    start: LinkStart,
    side: Side,
    mut streams: Streams,
    control: SubstreamBox,
    context: Arc<Context>,
) -> LinkEnd {
    let opening = open_channels(side, &mut streams, control);
    let end = match tokio::time::timeout(context.config.timing.dial_timeout, opening).await {
        Ok(Ok(channels)) => carry(&start, &streams, channels, &context).await,
        Ok(Err(end)) => end,
        Err(_) => LinkEnd::Silent,
    };
    start.lanes.close();
    for channel in Channel::ALL {
        let mut lost = 0;
        while start.lanes.queue(channel).try_pop().is_some() {
            lost += 1;
        }
        if lost > 0 {
            context.observer.dropped(channel, DropReason::Closed, lost);
        }
    }
    end
}

/// The dialler opens the other three streams and writes each one's channel number first.
async fn open_channels(
    side: Side,
    streams: &mut Streams,
    control: SubstreamBox,
) -> Result<[SubstreamBox; 4], LinkEnd> {
    let mut slots: [Option<SubstreamBox>; 4] = [None, None, None, Some(control)];
    for channel in Channel::ALL.into_iter().filter(|c| *c != Channel::Control) {
        let number = u8::try_from(channel.index()).expect("four channels");
        let (stream, at) = match side {
            Side::Dialler => {
                let opened = async {
                    let mut stream = streams.open().await?;
                    stream.write_all(&[number]).await?;
                    stream.flush().await?;
                    Ok::<_, io::Error>(stream)
                };
                (opened.await.map_err(|_| LinkEnd::Ended)?, channel.index())
            }
            Side::Listener => {
                let mut stream = streams.accept().await.map_err(|_| LinkEnd::Ended)?;
                let mut first = [0u8; 1];
                stream.read_exact(&mut first).await.map_err(|_| LinkEnd::Ended)?;
                (stream, usize::from(first[0]))
            }
        };
        match slots.get_mut(at) {
            Some(slot @ None) => *slot = Some(stream),
            _ => return Err(LinkEnd::Violation("a stream of an unknown or repeated channel")),
        }
    }
    Ok(slots.map(|slot| slot.expect("three distinct numbers below four and control")))
}

async fn carry(
    start: &LinkStart,
    streams: &Streams,
    channels: [SubstreamBox; 4],
    context: &Arc<Context>,
) -> LinkEnd {
    let mut parts = JoinSet::new();
    let mut readers: Vec<AbortHandle> = Vec::new();
    let (pongs, answered) = watch::channel(0u64);
    for (channel, stream) in Channel::ALL.into_iter().zip(channels) {
        let (reader, writer) = stream.split();
        parts.spawn(write_all(channel, writer, start.lanes.clone(), context.clone()));
        let reading = Reading {
            channel,
            link: start.id,
            from: start.node_id,
            lanes: start.lanes.clone(),
            context: context.clone(),
        };
        readers.push(if channel == Channel::Control {
            parts.spawn(reading.control(reader, pongs.clone()))
        } else {
            parts.spawn(reading.messages(reader))
        });
    }
    drop(pongs);
    parts.spawn(heartbeats(start.lanes.clone(), answered, context.clone()));

    let mut orders = start.orders.clone();
    let mut ended = streams.ended();
    let mut order = *orders.borrow_and_update();
    let (mut written, mut read) = (0, 0);
    let far = Duration::from_secs(365 * 24 * 3600);
    let deadline = tokio::time::sleep(far);
    tokio::pin!(deadline);
    let mut is_new_order = true;
    loop {
        if std::mem::take(&mut is_new_order) && order != Order::Run {
            start.lanes.close();
            let patience = if order == Order::Drain {
                context.config.timing.drain
            } else {
                readers.iter().for_each(AbortHandle::abort);
                CLOSE_TIMEOUT
            };
            deadline.as_mut().reset(tokio::time::Instant::now() + patience);
        }
        let is_done = match order {
            Order::Run => false,
            Order::Drain => written == Channel::ALL.len() && read == Channel::ALL.len(),
            Order::Close => written == Channel::ALL.len(),
        };
        if is_done {
            return LinkEnd::Ended;
        }
        tokio::select! {
            part = parts.join_next() => match part {
                Some(Ok(Part::Written)) => written += 1,
                Some(Ok(Part::ReadToEnd)) => read += 1,
                Some(Ok(Part::HeartbeatsOver)) => {}
                Some(Ok(Part::Left(reason))) => {
                    tracing::debug!(peer = %start.node_id, ?reason, "the peer left");
                    return LinkEnd::Ended;
                }
                Some(Ok(Part::Failed(end))) => return end,
                // Aborted by us; a panic in a part must not pass for a quiet end.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => return LinkEnd::Ended,
            },
            changed = orders.changed() => {
                if changed.is_err() {
                    return LinkEnd::Ended;
                }
                order = *orders.borrow_and_update();
                is_new_order = true;
            }
            _ = ended.wait_for(|ended| *ended) => return LinkEnd::Ended,
            () = &mut deadline => return LinkEnd::Ended,
        }
    }
}

async fn write_all(
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
                next = lanes.queue(channel).try_pop();
            }
            writer.flush().await?;
        }
        writer.close().await
    };
    match written.await {
        Ok(()) => Part::Written,
        Err(error) => broken(&error),
    }
}

fn broken(error: &dyn std::error::Error) -> Part {
    tracing::debug!(%error, "link broke");
    Part::Failed(LinkEnd::Ended)
}

/// What a reading part knows.
struct Reading {
    channel: Channel,
    link: u64,
    from: NodeId,
    lanes: Arc<Lanes>,
    context: Arc<Context>,
}

impl Reading {
    async fn next(&self, reader: &mut ReadHalf<SubstreamBox>) -> Result<Vec<u8>, Part> {
        match read_frame(reader, self.channel.max_message_bytes()).await {
            Ok(Some(frame)) => {
                self.lanes.heard.fetch_add(1, Ordering::Relaxed);
                self.context.observer.received(self.channel, frame.len());
                Ok(frame)
            }
            Ok(None) => Err(Part::ReadToEnd),
            Err(error @ FrameError::TooLong { .. }) => {
                tracing::warn!(peer = %self.from, channel = self.channel.label(), %error,
                    "peer broke the protocol");
                Err(Part::Failed(LinkEnd::Violation("a frame longer than its channel allows")))
            }
            Err(error) => Err(broken(&error)),
        }
    }

    /// Hands a message to the application, waiting while it is behind.
    async fn deliver(&self, bytes: Vec<u8>) -> Result<(), Part> {
        let received = Received::within(&self.context.budget, self.channel, bytes).await;
        let event =
            NetworkEvent::Message { from: self.from, channel: self.channel, bytes: received };
        self.context.events.send(event).await.map_err(|_| Part::Failed(LinkEnd::Ended))
    }

    async fn messages(self, mut reader: ReadHalf<SubstreamBox>) -> Part {
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

    async fn control(self, mut reader: ReadHalf<SubstreamBox>, pongs: watch::Sender<u64>) -> Part {
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
async fn heartbeats(
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
