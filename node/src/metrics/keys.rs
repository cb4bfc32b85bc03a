//! Keys, wherever they lie. What is about an HSM or a remote signer exists only where there is one, so
//! that an alert on it stays silent elsewhere.

use super::{
    label::{HsmErrorKind, KeystoreBackend, RemoteSignFailure, SignKind, SignerRefusal},
    series::{Builder, Counter, Counters, Gauge},
};
use prometheus::{Registry, TextEncoder};
use qbind_profile::SignerMode;
use std::{sync::Arc, time::Duration};

/// Keys.
#[derive(Debug)]
pub struct Signer {
    /// Signatures asked for.
    pub requests: Counters<SignKind>,
    /// Signatures refused because they contradict earlier ones of the key.
    pub refusals: Counter,
    /// Signatures that could not be made.
    pub failures: Counter,
    /// Keys loaded.
    pub load_success: Counters<KeystoreBackend>,
    /// Keys that could not be loaded.
    pub load_failure: Counters<KeystoreBackend>,
    /// Where the key lies in a device of this host.
    pub hsm: Option<Hsm>,
    /// Where the key lies on another host.
    pub remote: Option<RemoteSign>,
}

impl Signer {
    /// `mode` is that of a validator; a node that signs nothing has none.
    pub(super) fn new(b: &Builder<'_>, mode: Option<SignerMode>) -> Self {
        Self {
            requests: b.counters("qbind_signer_sign_requests_total", "Signatures asked for."),
            refusals: b.counter(
                "qbind_signer_refusals_total",
                "Signatures refused because they contradict earlier ones of the key.",
            ),
            failures: b
                .counter("qbind_signer_sign_failures_total", "Signatures that could not be made."),
            load_success: b.counters("qbind_keystore_load_success_total", "Keys loaded."),
            load_failure: b
                .counters("qbind_keystore_load_failure_total", "Keys that could not be loaded."),
            hsm: (mode == Some(SignerMode::HsmPkcs11)).then(|| Hsm::new(b)),
            remote: (mode == Some(SignerMode::RemoteSigner)).then(|| RemoteSign::new(b)),
        }
    }
}

/// An HSM.
#[derive(Debug)]
pub struct Hsm {
    /// Signatures it made.
    pub success: Counter,
    /// Signatures it did not make.
    pub errors: Counters<HsmErrorKind>,
    /// How long the last one took, milliseconds.
    pub last_latency_ms: Gauge,
    /// Whether it made its first signature.
    pub startup_ok: Gauge,
}

impl Hsm {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            success: b.counter("qbind_hsm_sign_success_total", "Signatures the HSM made."),
            errors: b.counters("qbind_hsm_sign_error_total", "Signatures the HSM did not make."),
            last_latency_ms: b.gauge(
                "qbind_hsm_sign_last_latency_ms",
                "Milliseconds from the request to the last signature of the HSM, its queue and the guard \
                 included, rounded up.",
            ),
            startup_ok: b.gauge(
                "qbind_hsm_startup_ok",
                "1 once the HSM let this process in and made its first signature, else 0.",
            ),
        }
    }
}

/// A signer on another host, as its node sees it.
#[derive(Debug)]
pub struct RemoteSign {
    /// Signatures asked for.
    pub requests: Counters<SignKind>,
    /// Attempts that brought none.
    pub failures: Counters<RemoteSignFailure>,
    /// How long the last one took, milliseconds.
    pub last_latency_ms: Gauge,
}

impl RemoteSign {
    pub(super) fn new(b: &Builder<'_>) -> Self {
        Self {
            requests: b.counters(
                "qbind_remote_sign_requests_total",
                "Signatures asked of the remote signer.",
            ),
            failures: b.counters(
                "qbind_remote_sign_failures_total",
                "Attempts that brought no signature, the first connection included.",
            ),
            last_latency_ms: b.gauge(
                "qbind_remote_sign_last_latency_ms",
                "Milliseconds to the remote signer and back at the last signature, rounded up.",
            ),
        }
    }
}

/// Milliseconds, rounded up: a signature never takes none.
pub(crate) fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Everything `qbind-remote-signer` counts.
#[derive(Debug)]
pub struct SignerMetrics {
    registry: Registry,
    /// Keys.
    pub signer: Arc<Signer>,
    /// Nodes let in.
    pub admitted: Counter,
    /// Nodes, and requests of nodes, refused.
    pub refused: Counters<SignerRefusal>,
    /// Open connections of nodes.
    pub sessions: Gauge,
}

impl SignerMetrics {
    /// Registers everything.
    pub fn new(has_hsm: bool) -> Self {
        let registry = Registry::new();
        let b = Builder { registry: &registry };
        let mode = if has_hsm { SignerMode::HsmPkcs11 } else { SignerMode::EncryptedFs };
        Self {
            signer: Arc::new(Signer::new(&b, Some(mode))),
            admitted: b.counter(
                "qbind_remote_signer_admitted_total",
                "Connections of nodes that are served.",
            ),
            refused: b.counters(
                "qbind_remote_signer_refused_total",
                "Connections of nodes, and their requests, that were refused.",
            ),
            sessions: b
                .gauge("qbind_remote_signer_sessions", "Connections that are open, proven or not."),
            registry: registry.clone(),
        }
    }

    /// The answer of `/metrics`: Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("our own families have samples and encode to memory")
    }

    pub(super) fn families(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }
}
