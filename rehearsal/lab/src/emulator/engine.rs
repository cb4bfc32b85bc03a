//! The thread: read, decide, hold, deliver.

use super::{
    Command, Shared,
    counters::{LinkCounters, add},
    shape::{Loss, Shaper, Verdict},
    wire,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{eventfd::EventFd, prctl, time::TimeSpec},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

/// Packets held at once over all links; what comes beyond them is lost as from a full queue.
const MAX_HELD: usize = 100_000;
/// Packets read from one device before the others and the due ones get a turn.
const READ_BURST: usize = 64;
/// How long the thread sleeps, whatever comes, once packets follow each other closely: waking for
/// each of them costs several times what moving it does, above all in a virtual machine.
const REST_NS: u64 = 200_000;
/// What is due within this time is delivered now, so that packets microseconds apart share a
/// waking and the errors of a busy network are early as often as late.
const EARLY_NS: u64 = 100_000;
/// Largest IP packet.
const PACKET_BYTES: usize = 65_536;

/// A packet under way; the earliest due is the greatest, ties in the order they came.
struct Held {
    due: Reverse<(u64, u64)>,
    since_ns: u64,
    link: usize,
    ordered: bool,
    packet: Vec<u8>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Held {}
impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

type Inbox = mpsc::Receiver<(Command, mpsc::Sender<()>)>;

pub(super) struct Engine {
    /// The places' devices.
    ports: Arc<Vec<OwnedFd>>,
    routes: HashMap<[u8; 4], usize>,
    shapers: Vec<Option<Shaper>>,
    counters: Arc<Vec<LinkCounters>>,
    shared: Arc<Shared>,
    inbox: Inbox,
    wake: Arc<EventFd>,
    held: BinaryHeap<Held>,
    sequence: u64,
    spare: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    cpu_read_ns: u64,
}

impl Engine {
    pub(super) fn new(
        ports: Vec<OwnedFd>,
        routes: HashMap<[u8; 4], usize>,
        shapers: Vec<Option<Shaper>>,
        counters: Arc<Vec<LinkCounters>>,
        shared: Arc<Shared>,
        inbox: Inbox,
        wake: Arc<EventFd>,
    ) -> Self {
        Self {
            ports: Arc::new(ports),
            routes,
            shapers,
            counters,
            shared,
            inbox,
            wake,
            held: BinaryHeap::new(),
            sequence: 0,
            spare: Vec::new(),
            buffer: vec![0; PACKET_BYTES],
            cpu_read_ns: 0,
        }
    }

    /// Runs until told to stop or a device fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        // The kernel may otherwise wake an ordinary thread 50 us late to save power.
        prctl::set_timerslack(1)?;
        let (ports, wake) = (Arc::clone(&self.ports), Arc::clone(&self.wake));
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled: Vec<PollFd<'_>> = ports.iter().map(|p| readable(p.as_fd())).collect();
        polled.push(readable(wake.as_fd()));
        let mut is_busy = false;
        loop {
            if is_busy {
                std::thread::sleep(Duration::from_nanos(REST_NS));
            }
            let wait = self.deliver_due();
            self.note_cpu();
            let asleep_ns = now_ns();
            let ready = ppoll(&mut polled, wait.map(TimeSpec::from_duration), None);
            is_busy = now_ns() - asleep_ns < REST_NS / 2;
            match ready {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            for (at, fd) in polled.iter().enumerate() {
                let is_ready = fd.any().unwrap_or(true);
                if is_ready && at == ports.len() {
                    if self.obey()? {
                        return Ok(());
                    }
                } else if is_ready {
                    self.read(at)?;
                }
            }
        }
    }

    /// Writes every packet whose time has come; returns how long until the next one's.
    fn deliver_due(&mut self) -> Option<Duration> {
        while let Some(next) = self.held.peek() {
            let Reverse((due_ns, _)) = next.due;
            let now_ns = now_ns();
            if due_ns > now_ns + EARLY_NS {
                return Some(Duration::from_nanos(due_ns - now_ns));
            }
            let held = self.held.pop().expect("just peeked");
            let counters = &self.counters[held.link];
            if self.shapers[held.link].as_ref().is_some_and(Shaper::is_cut) {
                add(&counters.lost_partition, 1);
            } else {
                let to = held.link % self.ports.len();
                let late_us = now_ns.saturating_sub(due_ns) / 1_000;
                let delay_us = (now_ns - held.since_ns) / 1_000;
                if self.write(to, &held.packet) {
                    let bytes = held.packet.len();
                    counters.count_delivery(bytes, delay_us, late_us, held.ordered);
                } else {
                    add(&counters.lost_device, 1);
                }
            }
            self.spare.push(held.packet);
        }
        None
    }

    /// Reads what has come from one place, up to a burst.
    fn read(&mut self, from: usize) -> io::Result<()> {
        for _ in 0..READ_BURST {
            let length = match nix::unistd::read(&self.ports[from], &mut self.buffer) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.route(from, length);
        }
        Ok(())
    }

    /// Decides about the packet in the buffer.
    fn route(&mut self, from: usize, length: usize) {
        let packet = &self.buffer[..length];
        let Some(header) = wire::parse(packet) else {
            add(&self.shared.ignored, 1);
            return;
        };
        let to = match self.routes.get(&header.destination) {
            Some(to) if *to != from => *to,
            _ => {
                add(&self.shared.unroutable, 1);
                return;
            }
        };
        let link = from * self.ports.len() + to;
        let counters = &self.counters[link];
        add(&counters.packets_in, 1);
        add(&counters.bytes_in, length as u64);
        let now_ns = now_ns();
        let Some(shaper) = &mut self.shapers[link] else {
            // To or from ops: no WAN in between.
            if self.write(to, packet) {
                counters.count_delivery(length, 0, 0, header.ordered);
            } else {
                add(&counters.lost_device, 1);
            }
            return;
        };
        let at_ns = match shaper.admit(now_ns, length, header.ordered) {
            Verdict::Deliver { .. } if self.held.len() >= MAX_HELD => {
                return add(&counters.lost_queue, 1);
            }
            Verdict::Deliver { at_ns } => at_ns,
            Verdict::Lose(Loss::Random) => return add(&counters.lost_random, 1),
            Verdict::Lose(Loss::Queue) => return add(&counters.lost_queue, 1),
            Verdict::Lose(Loss::Partition) => return add(&counters.lost_partition, 1),
        };
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(packet);
        self.sequence += 1;
        self.held.push(Held {
            due: Reverse((at_ns, self.sequence)),
            since_ns: now_ns,
            link,
            ordered: header.ordered,
            packet: kept,
        });
    }

    /// Hands a packet to a place; false if its device refuses it.
    fn write(&self, to: usize, packet: &[u8]) -> bool {
        loop {
            match nix::unistd::write(&self.ports[to], packet) {
                Ok(_) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Carries out commands; true when told to stop.
    fn obey(&mut self) -> io::Result<bool> {
        match self.wake.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        let mut stop = false;
        while let Ok((command, done)) = self.inbox.try_recv() {
            match command {
                Command::Degrade { links, harm } => {
                    for link in links {
                        if let Some(shaper) = &mut self.shapers[link] {
                            shaper.degrade(harm);
                        }
                    }
                }
                Command::SetCut { links, cut } => {
                    for link in links {
                        if let Some(shaper) = &mut self.shapers[link] {
                            shaper.set_cut(cut);
                        }
                    }
                }
                Command::Stop => stop = true,
            }
            // Who asked may have given up waiting; the command stands.
            done.send(()).ok();
        }
        Ok(stop)
    }

    /// Publishes the thread's processor time, at most ten times a second.
    fn note_cpu(&mut self) {
        let now_ns = now_ns();
        if now_ns - self.cpu_read_ns < 100_000_000 {
            return;
        }
        self.cpu_read_ns = now_ns;
        let cpu_ns = clock_ns(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
        self.shared.cpu_ns.store(cpu_ns, Ordering::Relaxed);
    }
}

fn now_ns() -> u64 {
    clock_ns(nix::time::ClockId::CLOCK_MONOTONIC)
}

fn clock_ns(clock: nix::time::ClockId) -> u64 {
    let time = nix::time::clock_gettime(clock).expect("the kernel has this clock");
    Duration::from(time).as_nanos() as u64
}
