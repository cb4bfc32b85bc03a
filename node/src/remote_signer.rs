//! The daemon that keeps a validator's key on another host than the node.
//!
//! One port serves both: a TLS record begins with byte 0x16, an HTTP request with a letter. Who is no
//! node it serves learns the metrics and nothing else.

use crate::{
    NodeError, Shutdown, custody,
    metrics::{SignerMetrics, SignerRefusal},
    shutdown_channel, stop_on_signals,
};
use axum::{Router, http::header, routing::get};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use qbind_signer::{
    Admission, Backend, Code, Guarded, Key, Notice, OpenSigner, RemoteConfig, Role, Service,
};
use socket2::{SockRef, TcpKeepalive};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// First byte of a TLS handshake (RFC 8446, 5.1).
const TLS: u8 = 0x16;
/// Most connections at once; further ones are closed.
const MAX_CONNECTIONS: usize = 256;
/// Of one address; a node has two, and `/metrics` is asked for now and then.
const MAX_FROM_ONE_ADDRESS: usize = 16;
/// A connection says by then what it is.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// A node that is gone is noticed after four of these.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Serves until it is told to stop; `ready` hears where it listens.
///
/// # Errors
/// The operator's fault (key, device, address), or the disk's.
pub fn serve(config: &RemoteConfig, ready: impl FnOnce(SocketAddr)) -> Result<(), NodeError> {
    let metrics = Arc::new(SignerMetrics::new(config.backend_mode == Backend::HsmPkcs11));
    let service = Arc::new(service(config, &metrics)?);
    let room = Room::default();
    let threads = |e: io::Error| NodeError::transient("cannot start its threads").because(e);
    let runtime = tokio::runtime::Runtime::new().map_err(threads)?;
    let ended = runtime.block_on(async {
        let address = config.listen_addr;
        let listener = TcpListener::bind(address).await.map_err(|e| {
            NodeError::configuration(format!("cannot listen on {address} (listen_addr)")).because(e)
        })?;
        let (trigger, shutdown) = shutdown_channel();
        stop_on_signals(trigger).map_err(threads)?;
        ready(listener.local_addr().map_err(threads)?);
        accept(&listener, &service, &metrics, &room, shutdown).await;
        Ok(())
    });
    // Sessions wait for their nodes' next requests; a mark that is half written is noticed when read.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn service(config: &RemoteConfig, metrics: &Arc<SignerMetrics>) -> Result<Service, NodeError> {
    let counts = &metrics.signer;
    let unset = |key: &str| NodeError::configuration(format!("{key} is unset"));
    let key: Arc<dyn Key> = match config.backend_mode {
        Backend::EncryptedFs => {
            let dir = config.keystore_path.as_deref().ok_or_else(|| unset("keystore_path"))?;
            let passphrase = &config.passphrase_env_var;
            Arc::new(custody::keystore_key(dir, Role::Consensus, passphrase, counts)?)
        }
        Backend::HsmPkcs11 => {
            let path = config.hsm_config_path.as_deref().ok_or_else(|| unset("hsm_config_path"))?;
            Arc::new(custody::hsm_key(path, counts)?)
        }
    };
    let dir = match config.backend_mode {
        Backend::EncryptedFs => config.state_dir(),
        Backend::HsmPkcs11 => custody::device_dir(&config.state_dir(), &key.public_key())?,
    };
    std::fs::create_dir_all(&dir).map_err(|e| {
        NodeError::configuration(format!("cannot create state_dir {}", dir.display())).because(e)
    })?;
    let admission = Admission::open(&dir, config.authorized_node_keys.clone())
        .map_err(|e| NodeError::configuration("cannot tell whom to serve").because(e))?;
    let heard = metrics.clone();
    let notice = move |notice: &Notice| match notice {
        Notice::Admitted { node, pinned: true } => {
            heard.admitted.inc();
            tracing::warn!(
                node_key = %node,
                "this node is the first and from now on the only one that is served; if it is not \
                 yours, stop, remove remote-signer.pin and name your node in authorized_node_keys"
            );
        }
        Notice::Admitted { node, pinned: false } => {
            heard.admitted.inc();
            tracing::info!(node_key = %node, "a node is connected");
        }
        Notice::Refused { node, code, why } => {
            heard.refused.inc(refusal(*code));
            tracing::error!(node_key = %node, %code, why, "refused");
        }
    };
    let rates = (config.rate_limit_rps, config.batch_rate_limit_rps);
    let open = opener(&key, &dir, metrics);
    Service::new(config.validator_id, &*key, admission, rates, open, Box::new(notice))
        .map_err(|e| NodeError::transient("the key makes no signature").because(e))
}

fn refusal(code: Code) -> SignerRefusal {
    match code {
        Code::InvalidKey => SignerRefusal::InvalidKey,
        Code::Crypto => SignerRefusal::Crypto,
        Code::Unauthorized => SignerRefusal::Unauthorized,
        Code::RateLimited => SignerRefusal::RateLimited,
        Code::Server => SignerRefusal::Server,
        Code::Contradiction => SignerRefusal::Contradiction,
        Code::Protocol => SignerRefusal::Protocol,
    }
}

/// Opens the guard when the chain is known.
fn opener(key: &Arc<dyn Key>, dir: &Path, metrics: &Arc<SignerMetrics>) -> OpenSigner {
    let (key, dir, counts) = (key.clone(), dir.to_owned(), metrics.signer.clone());
    Box::new(move |network, chain| {
        let guard = custody::open_guard(&dir, &key.public_key(), &chain)?;
        if guard.is_new() {
            custody::warn_of_new_guard(&dir);
        }
        let guarded = Guarded::new(key.clone(), guard, network).for_several_nodes();
        Ok(Arc::new(custody::Metered::new(Arc::new(guarded), counts.clone())))
    })
}

/// Who has how many connections open.
#[derive(Debug, Clone, Default)]
struct Room(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A place in [`Room`], given back when dropped.
struct Place(Room, IpAddr);

impl Room {
    fn take(&self, from: IpAddr) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        let own = open.entry(from).or_default();
        if *own >= MAX_FROM_ONE_ADDRESS {
            return None;
        }
        *own += 1;
        Some(Place(self.clone(), from))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.1);
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    service: &Arc<Service>,
    metrics: &Arc<SignerMetrics>,
    room: &Room,
    mut shutdown: Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = room.take(from.ip()) else {
            tracing::debug!(%from, "closed: too many connections are open, of all or of this one");
            continue;
        };
        let (service, metrics) = (service.clone(), metrics.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, &service, &metrics).await {
                tracing::info!(%from, %error, "a connection ended");
            }
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    service: &Arc<Service>,
    metrics: &Arc<SignerMetrics>,
) -> io::Result<()> {
    let mut first = [0];
    let peeked = tokio::time::timeout(FIRST_BYTE, stream.peek(&mut first)).await;
    if peeked.map_err(io::Error::other)?? == 0 {
        return Ok(());
    }
    if first != [TLS] {
        return http(stream, metrics.clone()).await;
    }
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(3))?;
    metrics.sessions.raise();
    let service = service.clone();
    let ended = tokio::task::spawn_blocking(move || service.session(stream)).await;
    metrics.sessions.lower();
    ended.map_err(io::Error::other)?
}

async fn http(stream: TcpStream, metrics: Arc<SignerMetrics>) -> io::Result<()> {
    SockRef::from(&stream).set_tcp_user_timeout(Some(FIRST_BYTE))?;
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    let answer = move || {
        let body = metrics.render();
        async move { (text, body) }
    };
    let router: Router =
        Router::new().route("/metrics", get(answer)).route("/healthz", get(|| async { "ok\n" }));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(FIRST_BYTE)
        .max_headers(64)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place_and_places_are_given_back() {
        let (room, one) = (Room::default(), IpAddr::from([10, 0, 0, 1]));
        let held: Vec<_> = (0..MAX_FROM_ONE_ADDRESS).map(|_| room.take(one).unwrap()).collect();
        assert!(room.take(one).is_none());
        let other = room.take(IpAddr::from([10, 0, 0, 2]));
        assert!(other.is_some());
        drop(held);
        assert!(room.take(one).is_some());
        drop(other);
        assert!(room.0.lock().unwrap().is_empty());
        let all: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|n| room.take(IpAddr::from([10, 1, (n / 256) as u8, (n % 256) as u8])).unwrap())
            .collect();
        assert!(room.take(one).is_none(), "{} places", all.len());
    }
}
