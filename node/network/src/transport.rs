//! TCP, then Noise, then yamux: an encrypted connection of many streams to an ephemeral peer id.
//!
//! The sockets are our own rather than libp2p-tcp's: its only way to choose a source address is
//! port reuse, which binds the listening *port* as well, so two nodes dialling each other at once
//! would meet in one TCP connection, and a redial within TIME_WAIT would fail. Here an outgoing
//! socket is bound to the listening *address* and a fresh port.

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId,
    core::{
        muxing::StreamMuxerBox,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    identity::Keypair,
    noise, yamux,
};
use multistream_select::{Version, dialer_select_proto, listener_select_proto};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::compat::TokioAsyncReadCompatExt;

const NOISE: &str = "/noise";
const YAMUX: &str = "/yamux/1.0.0";

/// One connection has one stream per channel; anything beyond a few is an attack.
const MAX_STREAMS: usize = 16;

/// Unsent bytes the kernel may hold. Small, so that a consensus message overtakes a batch that
/// was queued before it instead of waiting behind megabytes of socket buffer.
const NOT_SENT_LOW_WATER_BYTES: u32 = 128 * 1024;

const KEEPALIVE: Duration = Duration::from_secs(15);

/// Longest pause between two tries of the kernel to send again. Its default of two minutes, doubling
/// from the round-trip time, leaves a link silent long after a cut has healed.
#[cfg(target_os = "linux")]
const RETRANSMISSION_MAX_MS: u32 = 1_000;

/// When the kernel gives a connection up on which nothing is acknowledged.
#[cfg(target_os = "linux")]
const GIVE_UP: Duration = Duration::from_secs(120);

const BACKLOG: i32 = 256;

#[cfg(target_os = "linux")]
mod options {
    /// `TCP_RTO_MAX_MS` of linux/tcp.h.
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
    sockopt_impl!(
        /// Upper bound of the retransmission timer, in milliseconds; 1,000 to 120,000.
        RtoMax,
        Both,
        libc::IPPROTO_TCP,
        TCP_RTO_MAX_MS,
        u32
    );
}
#[cfg(target_os = "linux")]
use options::RtoMax;

/// Which end of a connection one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Listener,
}

/// Why no encrypted connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("no address found for {address}")]
    NoAddress { address: String },
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("the other side speaks no common protocol")]
    Negotiate {
        #[source]
        source: multistream_select::NegotiationError,
    },
    #[error("the Noise handshake failed")]
    Noise {
        #[source]
        source: noise::Error,
    },
    #[error("yamux did not start")]
    Yamux {
        #[source]
        source: io::Error,
    },
}

/// Opens the listening socket.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node must get its port back while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connects to the first address of `target` (`host:port`) that answers, from `source` where the
/// address families agree.
pub(crate) async fn connect(
    target: &str,
    source: Option<IpAddr>,
) -> Result<TcpStream, TransportError> {
    let failed = |source| TransportError::Connect { address: target.to_owned(), source };
    let mut last = None;
    for address in tokio::net::lookup_host(target).await.map_err(failed)? {
        match connect_to(address, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => failed(error),
        None => TransportError::NoAddress { address: target.to_owned() },
    })
}

async fn connect_to(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source.filter(|s| !s.is_unspecified() && s.is_ipv4() == address.is_ipv4())
    {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// Sets what every connection wants of its socket.
pub(crate) fn tune(stream: &TcpStream, congestion_control: Option<&str>) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER_BYTES)?;
        if let Some(name) = congestion_control
            && let Err(error) = socket.set_tcp_congestion(name.as_bytes())
        {
            tracing::debug!(name, %error, "congestion control not available, keeping the default");
        }
        // Heartbeats decide when a silent peer is given up, not the number of tries.
        socket.set_tcp_user_timeout(Some(GIVE_UP))?;
        // Linux 6.15 and later; elsewhere a healed link comes back when TCP next tries.
        if let Err(error) = nix::sys::socket::setsockopt(stream, RtoMax, &RETRANSMISSION_MAX_MS) {
            tracing::debug!(%error, "cannot bound TCP's retransmission timer, keeping the default");
        }
    }
    Ok(())
}

/// Encrypts `stream` and divides it; the peer id is the one its Noise handshake proved.
pub(crate) async fn secure(
    stream: TcpStream,
    keypair: &Keypair,
    side: Side,
) -> Result<(PeerId, StreamMuxerBox), TransportError> {
    secure_io(stream.compat(), keypair, side).await
}

async fn secure_io<S>(
    io: S,
    keypair: &Keypair,
    side: Side,
) -> Result<(PeerId, StreamMuxerBox), TransportError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let negotiate = |source| TransportError::Negotiate { source };
    let refused = |source| TransportError::Noise { source };
    let security = noise::Config::new(keypair).map_err(refused)?;
    let mut multiplexer = yamux::Config::default();
    multiplexer.set_max_num_streams(MAX_STREAMS);
    match side {
        Side::Dialler => {
            let (_, io) =
                dialer_select_proto(io, [NOISE], Version::V1Lazy).await.map_err(negotiate)?;
            let (peer, io) = security.upgrade_outbound(io, NOISE).await.map_err(refused)?;
            let (_, io) =
                dialer_select_proto(io, [YAMUX], Version::V1Lazy).await.map_err(negotiate)?;
            let muxer = multiplexer
                .upgrade_outbound(io, YAMUX)
                .await
                .map_err(|source| TransportError::Yamux { source })?;
            Ok((peer, StreamMuxerBox::new(muxer)))
        }
        Side::Listener => {
            let (_, io) = listener_select_proto(io, [NOISE]).await.map_err(negotiate)?;
            let (peer, io) = security.upgrade_inbound(io, NOISE).await.map_err(refused)?;
            let (_, io) = listener_select_proto(io, [YAMUX]).await.map_err(negotiate)?;
            let muxer = multiplexer
                .upgrade_inbound(io, YAMUX)
                .await
                .map_err(|source| TransportError::Yamux { source })?;
            Ok((peer, StreamMuxerBox::new(muxer)))
        }
    }
}
