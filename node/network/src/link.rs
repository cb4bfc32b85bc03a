//! One proven connection: four channels, heartbeats, and how it ends.

use crate::{
    Channel, DropReason, NodeId,
    context::Context,
    control::{Control, Farewell},
    driver::Streams,
    lanes::Lanes,
    traffic::{Part, Reading, heartbeats, write_all},
    transport::Side,
};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::SubstreamBox;
use std::{io, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// Time the queues may take to empty when a connection is closed for good.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the manager wants of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Carry messages.
    Run,
    /// A better connection took over: send what waits, read to the end, then go.
    Drain,
    /// Send what waits and go; what still arrives is nobody's.
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

/// What the manager hands to a connection it admitted.
pub(crate) struct LinkStart {
    pub(crate) id: u64,
    pub(crate) node_id: NodeId,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) orders: watch::Receiver<Order>,
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
    if end == LinkEnd::Ended {
        // What was written leaves only while the connection is driven to its close.
        let mut ended = streams.ended();
        drop(streams);
        let closed = ended.wait_for(|ended| *ended);
        if tokio::time::timeout(2 * CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::debug!(peer = %start.node_id, "the connection did not close in time");
        }
    }
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
    let (pongs, answered) = watch::channel(0u64);
    for (channel, stream) in Channel::ALL.into_iter().zip(channels) {
        let (reader, writer) = stream.split();
        parts.spawn(write_all(channel, writer, start.lanes.clone(), context.clone()));
        let reading = Reading {
            channel,
            link: start.id,
            from: start.node_id,
            lanes: start.lanes.clone(),
            orders: start.orders.clone(),
            context: context.clone(),
        };
        if channel == Channel::Control {
            parts.spawn(reading.control(reader, pongs.clone()));
        } else {
            parts.spawn(reading.messages(reader));
        }
    }
    drop(pongs);
    parts.spawn(heartbeats(start.lanes.clone(), answered, context.clone()));

    let mut state = State::default();
    let mut orders = start.orders.clone();
    orders.mark_changed();
    let mut ended = streams.ended();
    let deadline = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(deadline);
    let mut has_deadline = false;
    while !state.is_done() {
        let (was_over, was_left) = (state.is_over, state.has_peer_left);
        let mut patience = None;
        tokio::select! {
            part = parts.join_next() => match part {
                Some(Ok(Part::Failed(end))) => return end,
                Some(Ok(part)) => state.note(&part),
                // Nobody aborts them; a panic must not pass for a quiet end.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => return LinkEnd::Ended,
            },
            changed = orders.changed() => {
                if changed.is_err() {
                    return LinkEnd::Ended;
                }
                state.order = *orders.borrow_and_update();
                match state.order {
                    Order::Run => {}
                    Order::Drain => {
                        start.lanes.close_data();
                        patience = Some(context.config.timing.drain);
                    }
                    Order::Close => {
                        start.lanes.close();
                        patience = Some(CLOSE_TIMEOUT);
                    }
                }
            }
            _ = ended.wait_for(|ended| *ended), if !was_over => state.is_over = true,
            () = &mut deadline, if has_deadline => return LinkEnd::Ended,
        }
        if state.is_over && !was_over {
            start.lanes.close();
            patience = Some(CLOSE_TIMEOUT);
        }
        if state.has_peer_left && !was_left {
            patience = Some(CLOSE_TIMEOUT);
        }
        if state.has_peer_left && state.has_read_data() {
            start.lanes.close();
        }
        if let Some(patience) = patience {
            deadline.as_mut().reset(tokio::time::Instant::now() + patience);
            has_deadline = true;
        }
        if state.may_say_farewell() {
            let farewell = Control::Goodbye(Farewell::Superseded).frame();
            start.lanes.push(Channel::Control, farewell, context);
            start.lanes.close();
            state.has_said_farewell = true;
        }
    }
    LinkEnd::Ended
}

/// How far a link is on its way to the end.
///
/// Whoever closes waits until the other has read everything and said so, by closing its own
/// streams: a socket closed earlier answers what still comes with a reset, and the other side
/// would lose what it had not read yet.
struct State {
    order: Order,
    /// By channel: our stream is at its end, or theirs.
    written: [bool; 4],
    read: [bool; 4],
    /// The connection is gone; what arrived before can still be read.
    is_over: bool,
    /// The peer said goodbye, not for a better connection.
    has_peer_left: bool,
    has_said_farewell: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            order: Order::Run,
            written: [false; 4],
            read: [false; 4],
            is_over: false,
            has_peer_left: false,
            has_said_farewell: false,
        }
    }
}

impl State {
    fn note(&mut self, part: &Part) {
        match part {
            Part::Wrote { channel, is_broken } => {
                self.written[channel.index()] = true;
                self.is_over |= is_broken;
            }
            Part::Read { channel, is_broken } => {
                self.read[channel.index()] = true;
                self.is_over |= is_broken;
            }
            Part::Left(reason) => {
                self.read[Channel::Control.index()] = true;
                self.has_peer_left |= *reason != Farewell::Superseded;
            }
            Part::HeartbeatsOver | Part::Failed(_) => {}
        }
    }

    fn has_read_data(&self) -> bool {
        is_all_data(&self.read)
    }

    fn may_say_farewell(&self) -> bool {
        self.order == Order::Drain
            && !self.has_said_farewell
            && is_all_data(&self.written)
            && self.has_read_data()
    }

    fn is_done(&self) -> bool {
        let has_read_all = self.read == [true; 4];
        let has_written_all = self.written == [true; 4];
        match self.order {
            Order::Run if self.has_peer_left => has_read_all && (self.is_over || has_written_all),
            Order::Run => has_read_all && self.is_over,
            Order::Drain => has_read_all && (self.is_over || has_written_all),
            Order::Close => self.is_over || (has_read_all && has_written_all),
        }
    }
}

fn is_all_data(ends: &[bool; 4]) -> bool {
    Channel::ALL.into_iter().filter(|c| *c != Channel::Control).all(|c| ends[c.index()])
}
