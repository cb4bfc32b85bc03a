//! The ICMP socket with the kernel's stamps.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::sockopt::Timestamping;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, TimestampingFlag, Timestamps, recvmsg, setsockopt,
};
use nix::sys::time::{TimeSpec, TimeValLike};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::MeasureError;
use crate::icmp::{ProbeId, TAG, find};

/// Room for answers that arrive while probes are sent.
const BUFFER_BYTES: usize = 4 << 20;
/// Larger than any probe with its headers.
const PACKET_BYTES: usize = 2_048;

pub(super) struct IcmpSocket {
    socket: Socket,
    identifier: u16,
}

/// Which of the socket's queues to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Our own packets, stamped when they left.
    Left,
    /// Answers, stamped when they came.
    Came,
}

/// One message of a queue.
pub(super) enum Seen {
    /// One of our probes left.
    Left { id: ProbeId, wall_ns: Option<i64> },
    /// One of our probes was answered.
    Came { id: ProbeId, wall_ns: Option<i64> },
    /// Nothing of ours.
    Foreign,
}

impl IcmpSocket {
    pub(super) fn open(source: Ipv4Addr, dscp: u8) -> Result<Self, MeasureError> {
        let failed = |doing| {
            move |error| MeasureError::Socket { doing, source_address: source, source: error }
        };
        // The unprivileged kind first; a raw socket where the group has no place in ping_group_range.
        let (socket, is_raw) = match open(Type::DGRAM) {
            Ok(socket) => (socket, false),
            Err(_) => match open(Type::RAW) {
                Ok(socket) => (socket, true),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(MeasureError::Permission { source_address: source });
                }
                Err(error) => return Err(failed("open ICMP")(error)),
            },
        };
        socket
            .bind(&SockAddr::from(SocketAddrV4::new(source, 0)))
            .map_err(|error| MeasureError::Bind { source_address: source, source: error })?;
        socket.set_nonblocking(true).map_err(failed("switch to non-blocking"))?;
        socket.set_recv_buffer_size(BUFFER_BYTES).map_err(failed("enlarge the buffer"))?;
        if is_raw {
            accept_only_answers(&socket).map_err(failed("filter messages"))?;
        }
        if dscp > 0 {
            socket.set_tos_v4(u32::from(dscp) << 2).map_err(failed("set the code point"))?;
        }
        let stamps = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(&socket, Timestamping, &stamps)
            .map_err(|errno| failed("ask for time stamps")(errno.into()))?;
        Ok(Self { socket, identifier: rand::random() })
    }

    /// For the message's header; the kernel replaces it on unprivileged sockets.
    pub(super) fn identifier(&self) -> u16 {
        self.identifier
    }

    pub(super) fn send(&self, message: &[u8], to: &SockAddr) -> io::Result<()> {
        self.socket.send_to(message, to).map(|_| ())
    }

    /// Waits for a message in either queue; false when the time is over.
    pub(super) fn wait(&self, ns: i64) -> io::Result<bool> {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, Some(TimeSpec::nanoseconds(ns)), None) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next message of a queue, if there is one.
    pub(super) fn read(&self, queue: Queue, tag: &[u8; TAG]) -> io::Result<Option<Seen>> {
        let mut packet = [0; PACKET_BYTES];
        let mut slices = [IoSliceMut::new(&mut packet)];
        let mut control =
            cmsg_space!(Timestamps, libc::sock_extended_err, SockaddrIn, libc::sockaddr_in);
        let mut flags = MsgFlags::MSG_DONTWAIT;
        if queue == Queue::Left {
            flags |= MsgFlags::MSG_ERRQUEUE;
        }
        let fd = self.socket.as_raw_fd();
        let (bytes, wall_ns) =
            match recvmsg::<SockaddrIn>(fd, &mut slices, Some(&mut control), flags) {
                Ok(message) => {
                    let mut wall_ns = None;
                    for item in message.cmsgs().into_iter().flatten() {
                        if let ControlMessageOwned::ScmTimestampsns(stamps) = item {
                            wall_ns = Some(stamps.system.num_nanoseconds()).filter(|ns| *ns > 0);
                        }
                    }
                    (message.bytes, wall_ns)
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                // An ICMP error about an earlier probe, which is lost then: not this socket's end.
                Err(
                    Errno::EHOSTUNREACH
                    | Errno::ENETUNREACH
                    | Errno::ECONNREFUSED
                    | Errno::EHOSTDOWN
                    | Errno::EPROTO
                    | Errno::EMSGSIZE,
                ) => return Ok(Some(Seen::Foreign)),
                Err(errno) => return Err(errno.into()),
            };
        let Some(id) = find(&packet[..bytes.min(PACKET_BYTES)], tag) else {
            return Ok(Some(Seen::Foreign));
        };
        Ok(Some(match queue {
            Queue::Left => Seen::Left { id, wall_ns },
            Queue::Came => Seen::Came { id, wall_ns },
        }))
    }
}

fn open(kind: Type) -> io::Result<Socket> {
    Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4))
}

/// A raw socket hears all ICMP of the host; only echo replies are let through.
fn accept_only_answers(socket: &Socket) -> io::Result<()> {
    const SOL_RAW: libc::c_int = 255;
    const ICMP_FILTER: libc::c_int = 1;
    let blocked: u32 = !1; // a set bit blocks that type; echo reply is type 0
    // SAFETY: the option's value is the four bytes of `blocked`, which outlive the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            SOL_RAW,
            ICMP_FILTER,
            (&raw const blocked).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
