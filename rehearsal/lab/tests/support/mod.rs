//! What the tests of the lab share: probes, places, and the word about missing rights.
#![allow(dead_code, reason = "each test program uses its own part")]

use qbind_lab::Enter;
use std::{
    collections::BTreeSet,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Whether this process can have a lab; says why not.
pub(crate) fn needs_lab() -> bool {
    match qbind_lab::check() {
        Ok(()) => true,
        Err(error) => {
            println!("SKIPPED: {error}");
            false
        }
    }
}

/// Runs something on a thread inside a place.
pub(crate) fn in_place<T: Send>(enter: &Enter, run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = || {
            enter().unwrap();
            run()
        };
        scope.spawn(inside).join().unwrap()
    })
}

/// The network namespace of a place.
pub(crate) fn namespace_of(enter: &Enter) -> PathBuf {
    in_place(enter, || std::fs::read_link("/proc/thread-self/ns/net").unwrap())
}

/// Waits for something that must come true within ten seconds.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come true");
        std::thread::yield_now();
    }
}

/// Network namespaces this process holds.
pub(crate) fn own_namespaces() -> BTreeSet<PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("net:")).collect()
}

/// Sends ICMP echoes on a grid and notes when their answers come.
pub(crate) struct Prober {
    socket: socket2::Socket,
    to: SocketAddr,
}

impl Prober {
    pub(crate) fn new(to: Ipv4Addr) -> Self {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)).unwrap();
        socket.set_recv_buffer_size(4 << 20).unwrap();
        Self { socket, to: SocketAddr::from((to, 0)) }
    }

    /// Round trip of each probe in microseconds, `None` without an answer.
    pub(crate) fn run(&self, count: u16, gap: Duration) -> Vec<Option<u64>> {
        let receiver = self.socket.try_clone().unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let collect = move || {
                let mut arrived = vec![None; usize::from(count)];
                let mut buffer = [0u8; 1500];
                let mut left = usize::from(count);
                while left > 0 {
                    let Ok(length) = (&receiver).read(&mut buffer) else { break };
                    let now = start.elapsed();
                    assert!(length >= 8, "an ICMP header");
                    let at = usize::from(u16::from_be_bytes([buffer[6], buffer[7]]));
                    arrived[at] = Some(now);
                    left -= 1;
                }
                arrived
            };
            let collector = scope.spawn(collect);
            let mut sent = Vec::new();
            for n in 0..count {
                let due = start + gap * u32::from(n);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let mut echo = [0u8; 64];
                echo[0] = 8;
                echo[6..8].copy_from_slice(&n.to_be_bytes());
                sent.push(start.elapsed());
                self.socket.send_to(&echo, &self.to.into()).unwrap();
            }
            let arrived = collector.join().unwrap();
            let rtt = |(sent, arrived): (&Duration, Option<Duration>)| {
                arrived.map(|at| (at - *sent).as_micros() as u64)
            };
            sent.iter().zip(arrived).map(rtt).collect()
        })
    }
}
