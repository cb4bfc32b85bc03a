//! The listener: bounded connections, each with a deadline for its headers.

use super::{
    api,
    error::{ApiError, BindError},
    view::NodeView,
};
use crate::{
    Shutdown,
    metrics::{HttpClass, Metrics},
};
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use qbind_profile::Resolved;
use socket2::SockRef;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Most connections; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 1_024;
/// Most requests worked on at once, but for `/healthz` and `/metrics`.
const MAX_REQUESTS: usize = 256;
/// A client that has not sent its headers by then, or is idle as long, is let go.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// Requests may end for this long after a stop is asked for.
const GRACE: Duration = Duration::from_secs(5);

/// What the routes need.
#[derive(Clone)]
pub struct App {
    pub(super) view: Arc<dyn NodeView>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) resolved: Arc<Resolved>,
    pub(super) room: Arc<Semaphore>,
}

impl App {
    /// Routes that answer from `view`.
    pub fn new(view: Arc<dyn NodeView>, metrics: Arc<Metrics>, resolved: Arc<Resolved>) -> Self {
        let room = Arc::new(Semaphore::new(MAX_REQUESTS));
        Self { view, metrics, resolved, room }
    }

    /// Asks the node on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn NodeView) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let view = self.view.clone();
        tokio::task::spawn_blocking(move || question(&*view)).await.map_err(|error| {
            tracing::error!(%error, "a request could not be answered");
            let hint = "this is a fault of the node; report it with the log";
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::new(status, "E_INTERNAL", "the node could not answer", hint)
        })
    }

    pub(super) async fn not_ready(&self) -> Result<Vec<String>, ApiError> {
        self.ask(|node| node.not_ready()).await
    }

    pub(super) fn count(&self, status: StatusCode) {
        self.metrics.http.requests.inc(match status.as_u16() {
            500.. => HttpClass::ServerError,
            400.. => HttpClass::ClientError,
            _ => HttpClass::Success,
        });
    }
}

/// An open listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    /// How long a client may leave an answer untaken.
    pub(super) patience: Duration,
}

impl Server {
    /// Opens the listener; port 0 takes any free one.
    ///
    /// # Errors
    /// The operator's fault: the address is taken, or not this host's.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let fault = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address, patience: HEADER_DEADLINE })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until a stop is asked for, then lets running requests end.
    pub async fn serve(self, app: App, mut shutdown: Shutdown) {
        let router = api::router(app);
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = JoinSet::new();
        loop {
            let stopping = async { shutdown.requested().await };
            let next = async {
                // The semaphore is never closed.
                let share = connections.clone().acquire_owned().await.ok();
                (share, self.listener.accept().await)
            };
            tokio::select! {
                () = stopping => break,
                (share, accepted) = next => match accepted {
                    Ok((stream, _)) => {
                        // Who asks and does not take the answer is let go too.
                        let patience = Some(self.patience);
                        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(patience) {
                            tracing::debug!(%error, "an HTTP connection has no deadline for answers");
                        }
                        let (router, shutdown) = (router.clone(), shutdown.clone());
                        tasks.spawn(async move {
                            connection(stream, router, shutdown).await;
                            drop(share);
                        });
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: give others time to close theirs.
                        tracing::warn!(%error, "cannot accept an HTTP connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("HTTP requests still running after {} s are cut", GRACE.as_secs());
        }
    }
}

async fn connection(stream: TcpStream, router: axum::Router, mut shutdown: Shutdown) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // A client that breaks off is its own business.
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
