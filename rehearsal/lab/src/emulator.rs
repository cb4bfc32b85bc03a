//! The WAN between the namespaces: one thread that moves every packet.
//!
//! Each place (a region, or the operator's) has a TUN device. The thread reads a packet from one,
//! looks up whose address it is for, asks the directed link what becomes of it (`shape`), holds
//! it until it is due, and writes it to the other. One thread needs no locks and wakes on one
//! timer; it asks for a real-time priority so that busy nodes do not bend the delays. A packet may
//! be delivered up to 0.1 ms early, and on a busy network waits up to 0.2 ms until it is read.
//!
//! Traffic inside a region does not come here: all its addresses are on one loopback device.

mod counters;
mod engine;
mod shape;
mod wire;

pub use counters::{DELAY_BIN_US, LATENESS_BOUNDS_US, LinkSnapshot};
pub use shape::Degradation;

use counters::LinkCounters;
use engine::Engine;
use qbind_plan::topology::{OPS, OPS_ADDRESS, Topology};
use serde::{Deserialize, Serialize};
use shape::Shaper;
use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

/// Counts that belong to no link, and the state of the thread.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) unroutable: AtomicU64,
    pub(crate) ignored: AtomicU64,
    pub(crate) cpu_ns: AtomicU64,
}

/// How the kernel schedules the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    /// Ahead of all ordinary threads.
    Realtime,
    /// As a favoured ordinary thread.
    Nice,
    /// As any thread: delays depend on the load of the machine.
    Ordinary,
}

/// Everything the emulator has counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmulatorSnapshot {
    /// Every directed link; those from and to `ops` too, which have no delay.
    pub links: Vec<LinkSnapshot>,
    /// Packets to addresses nobody has.
    pub unroutable: u64,
    /// Packets that are not IPv4.
    pub ignored: u64,
    /// Processor time of the emulator's thread.
    pub cpu_ns: u64,
    /// How it is scheduled.
    pub scheduling: Scheduling,
}

/// What the emulator's thread is told.
pub(crate) enum Command {
    Degrade { links: Vec<usize>, harm: Degradation },
    SetCut { links: Vec<usize>, cut: bool },
    Stop,
}

/// The running emulator; dropping it stops the thread.
pub(crate) struct Emulator {
    places: Vec<String>,
    counters: Arc<Vec<LinkCounters>>,
    shared: Arc<Shared>,
    scheduling: Scheduling,
    /// What has been asked of each link; the thread follows.
    asked: Mutex<Vec<(Degradation, bool)>>,
    commands: mpsc::Sender<(Command, mpsc::Sender<()>)>,
    wake: Arc<nix::sys::eventfd::EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Emulator {
    /// Starts moving packets between `devices`: one TUN for each region in order, then ops.
    pub(crate) fn start(topology: &Topology, devices: Vec<OwnedFd>) -> io::Result<Self> {
        let mut places: Vec<String> = topology.regions.iter().map(|r| r.id.clone()).collect();
        places.push(OPS.to_owned());
        assert_eq!(places.len(), devices.len(), "one device for each place");
        let count = places.len() * places.len();
        let counters: Arc<Vec<_>> = Arc::new((0..count).map(|_| LinkCounters::new()).collect());
        let shared = Arc::new(Shared::default());
        let (commands, inbox) = mpsc::channel();
        let flags =
            nix::sys::eventfd::EfdFlags::EFD_CLOEXEC | nix::sys::eventfd::EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(nix::sys::eventfd::EventFd::from_value_and_flags(0, flags)?);
        let engine = Engine::new(
            devices,
            routes(topology),
            shapers(topology, &places),
            Arc::clone(&counters),
            Arc::clone(&shared),
            inbox,
            Arc::clone(&wake),
        );
        let (report, reported) = mpsc::channel();
        let thread = std::thread::Builder::new().name("wan".to_owned()).spawn(move || {
            let scheduling = favour_this_thread();
            if report.send(scheduling).is_err() {
                return Ok(()); // nobody waits for this emulator any more
            }
            engine.run()
        })?;
        let scheduling = reported.recv().map_err(|_| io::Error::other("the WAN thread died"))?;
        Ok(Self {
            places,
            counters,
            shared,
            scheduling,
            asked: Mutex::new(vec![(Degradation::default(), false); count]),
            commands,
            wake,
            thread: Some(thread),
        })
    }

    /// Indices of the directed links for which `wanted(from, to)` holds; never one of ops.
    pub(crate) fn links_where(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<usize> {
        let regions = self.places.len() - 1;
        let pairs = (0..regions).flat_map(|from| (0..regions).map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from != to && wanted(&self.places[*from], &self.places[*to]))
            .map(|(from, to)| from * self.places.len() + to)
            .collect()
    }

    /// The id of a link, `eu>us`.
    pub(crate) fn link_id(&self, link: usize) -> String {
        let (from, to) = (link / self.places.len(), link % self.places.len());
        format!("{}>{}", self.places[from], self.places[to])
    }

    /// Sets the harm of links; returns when every later packet suffers it.
    pub(crate) fn degrade(&self, links: Vec<usize>, harm: Degradation) -> io::Result<()> {
        for link in &links {
            self.lock_asked()[*link].0 = harm;
        }
        self.tell(Command::Degrade { links, harm })
    }

    /// Cuts or joins links; returns when every later packet is affected.
    pub(crate) fn set_cut(&self, links: Vec<usize>, cut: bool) -> io::Result<()> {
        for link in &links {
            self.lock_asked()[*link].1 = cut;
        }
        self.tell(Command::SetCut { links, cut })
    }

    pub(crate) fn snapshot(&self) -> EmulatorSnapshot {
        let asked = self.lock_asked().clone();
        let count = self.places.len();
        let links = (0..count * count).filter(|i| i / count != i % count).map(|i| {
            let mut link =
                self.counters[i].snapshot(&self.places[i / count], &self.places[i % count]);
            (link.degradation, link.is_cut) = asked[i];
            link
        });
        EmulatorSnapshot {
            links: links.collect(),
            unroutable: self.shared.unroutable.load(Ordering::Relaxed),
            ignored: self.shared.ignored.load(Ordering::Relaxed),
            cpu_ns: self.shared.cpu_ns.load(Ordering::Relaxed),
            scheduling: self.scheduling,
        }
    }

    fn lock_asked(&self) -> std::sync::MutexGuard<'_, Vec<(Degradation, bool)>> {
        self.asked.lock().expect("no holder of this lock panics")
    }

    fn tell(&self, command: Command) -> io::Result<()> {
        let gone = || io::Error::other("the WAN emulator has stopped");
        let (done, finished) = mpsc::channel();
        self.commands.send((command, done)).map_err(|_| gone())?;
        self.wake.write(1)?;
        finished.recv().map_err(|_| gone())
    }

    /// Stops the thread and returns its error, if it had one.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // A thread that has already failed cannot be told; its own error says more.
        let told = self.tell(Command::Stop);
        match thread.join() {
            Ok(Ok(())) => told,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the WAN thread panicked")),
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("lab: the WAN emulator ended badly: {error}");
        }
    }
}

/// Which place each address is in.
fn routes(topology: &Topology) -> HashMap<[u8; 4], usize> {
    let at = |id: &str| topology.regions.iter().position(|r| r.id == id);
    let nodes = topology.placements().into_iter().filter_map(|n| Some((n.address, at(&n.region)?)));
    let regions =
        topology.regions.iter().enumerate().map(|(i, r)| (topology.region_address(&r.id), i));
    let ops = std::iter::once((OPS_ADDRESS, topology.regions.len()));
    nodes.chain(regions).chain(ops).map(|(address, place)| (address.octets(), place)).collect()
}

/// One shaper for each pair of places; `None` from and to ops, and to itself.
fn shapers(topology: &Topology, places: &[String]) -> Vec<Option<Shaper>> {
    let pairs = places.iter().flat_map(|from| places.iter().map(move |to| (from, to)));
    let shaper = |(i, (from, to)): (usize, (&String, &String))| {
        let seed = topology.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(i as u64);
        topology.link(from, to).map(|link| Shaper::new(link, seed))
    };
    pairs.enumerate().map(shaper).collect()
}

/// Asks for the best scheduling the kernel gives us.
fn favour_this_thread() -> Scheduling {
    let parameters = libc::sched_param { sched_priority: 20 };
    // SAFETY: 0 names the calling thread; the structure outlives the call.
    let realtime = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &parameters)
    };
    if realtime == 0 {
        return Scheduling::Realtime;
    }
    // SAFETY: no pointers; 0 names the calling thread, whose niceness is its own on Linux.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) } == 0 {
        return Scheduling::Nice;
    }
    Scheduling::Ordinary
}
