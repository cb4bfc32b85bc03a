//! Anonymous network namespaces, held by nothing but a descriptor of this process.
//!
//! Such a namespace has no name to clean up: when the last descriptor, thread and process in it
//! are gone, so are it, its device and its addresses, however this process ends.

use futures::TryStreamExt;
use nix::sched::CloneFlags;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use std::{
    fs::File,
    io::{self, Read, Seek},
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Mutex},
};
use thiserror::Error;

/// The device every namespace reaches the others through.
const DEVICE: &str = "wan0";
/// Packets the kernel holds for the emulator; a burst of a block must fit.
const DEVICE_QUEUE: u32 = 10_000;

/// A namespace could not be made; `doing` says at which step.
#[derive(Debug, Error)]
#[error("cannot {doing} for {place}")]
pub struct NamespaceError {
    /// Region id or `ops`.
    pub place: String,
    /// What was being done.
    pub doing: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// What a place is made of.
pub(crate) struct Namespace {
    file: Arc<File>,
    /// `/proc/net/dev` as seen inside.
    devices: Mutex<File>,
}

/// Puts the calling thread into a namespace; for `on_thread_start` and the like.
pub type Enter = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

impl Namespace {
    /// Makes a namespace that has these addresses and a TUN device as its way out.
    ///
    /// Sockets bound to no address use the first.
    pub(crate) fn create(
        place: &str,
        addresses: &[Ipv4Addr],
        mtu: u16,
    ) -> Result<(Self, OwnedFd), NamespaceError> {
        let fail = |doing| {
            let place = place.to_owned();
            move |source| NamespaceError { place, doing, source }
        };
        // A thread of its own: unshare moves the calling thread, and this one must not move.
        std::thread::scope(|scope| {
            let inside = || {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| fail("make a network namespace")(errno.into()))?;
                let file = File::open("/proc/thread-self/ns/net")
                    .map_err(fail("hold its network namespace"))?;
                let device = open_tun().map_err(fail("make a TUN device"))?;
                configure(addresses, mtu).map_err(fail("configure addresses and routes"))?;
                let devices = File::open("/proc/thread-self/net/dev")
                    .map_err(fail("open its device statistics"))?;
                allow_ping();
                Ok((Self { file: Arc::new(file), devices: Mutex::new(devices) }, device))
            };
            let thread = std::thread::Builder::new()
                .name(format!("make-{place}"))
                .spawn_scoped(scope, inside)
                .map_err(fail("start a thread"))?;
            thread.join().expect("the thread returns its errors")
        })
    }

    /// A closure that moves the thread that calls it inside.
    pub(crate) fn enter(&self) -> Enter {
        let file = Arc::clone(&self.file);
        Arc::new(move || Ok(nix::sched::setns(&*file, CloneFlags::CLONE_NEWNET)?))
    }

    /// The descriptor, for another process to open under `/proc/<pid>/fd`.
    pub(crate) fn raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// The namespace itself, to keep it or to enter it after a fork.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Packets the kernel dropped because the emulator did not take them in time.
    pub(crate) fn overruns(&self) -> io::Result<u64> {
        let mut file = self.devices.lock().expect("no holder of this lock panics");
        file.rewind()?;
        let mut table = String::new();
        file.read_to_string(&mut table)?;
        Ok(transmit_drops(&table))
    }
}

/// The "drop" column of the transmit side of our device in `/proc/net/dev`.
fn transmit_drops(table: &str) -> u64 {
    let line = table.lines().find_map(|l| l.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'));
    let column = line.and_then(|l| l.split_whitespace().nth(11));
    column.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Opens a TUN device in the calling thread's namespace, without packet information.
fn open_tun() -> io::Result<OwnedFd> {
    nix::ioctl_write_int!(tun_set_iff, b'T', 202);
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let address = std::ptr::from_ref(&request) as libc::c_ulong;
    // SAFETY: TUNSETIFF reads an ifreq at this address, which lives until after the call.
    unsafe { tun_set_iff(file.as_raw_fd(), address) }?;
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(flags))?;
    Ok(file.into())
}

/// Addresses on loopback, both devices up, everything else through the TUN.
fn configure(addresses: &[Ipv4Addr], mtu: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The socket belongs to this thread's namespace.
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let outcome = configure_through(&handle, addresses, mtu).await;
        connection.abort();
        outcome.map_err(io::Error::other)
    })
}

async fn configure_through(
    handle: &Handle,
    addresses: &[Ipv4Addr],
    mtu: u16,
) -> Result<(), rtnetlink::Error> {
    let loopback = index_of(handle, "lo").await?;
    let wan = index_of(handle, DEVICE).await?;
    for address in addresses {
        handle.address().add(loopback, IpAddr::V4(*address), 32).execute().await?;
    }
    let up = LinkMessageBuilder::<LinkUnspec>::new().index(loopback).up().build();
    handle.link().change(up).execute().await?;
    let up = LinkMessageBuilder::<LinkUnspec>::new()
        .index(wan)
        .mtu(u32::from(mtu))
        .txqueuelen(DEVICE_QUEUE)
        .up()
        .build();
    handle.link().change(up).execute().await?;
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(wan);
    if let Some(first) = addresses.first() {
        route = route.pref_source(*first);
    }
    handle.route().add(route.build()).execute().await
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
    Ok(link.header.index)
}

/// Lets every group send ICMP echoes without raw sockets.
fn allow_ping() {
    // Where /proc/sys is read-only, probes need raw sockets, for which a lab has the right anyway.
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_transmit_drops_of_our_device() {
        let table = "Inter-|   Receive                     |  Transmit\n \
                     face |bytes packets errs drop fifo frame compressed multicast|bytes ...\n    \
                     lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
                     wan0: 1 2 3 4 5 6 7 8 9 10 11 42 13 14 15 16\n";
        assert_eq!(transmit_drops(table), 42);
        assert_eq!(transmit_drops(""), 0);
    }
}
