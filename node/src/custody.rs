//! Where a validator's key lies, opened, with what is counted about it.

use crate::{
    NodeError,
    metrics::{self, HsmErrorKind, KeystoreBackend, RemoteSignFailure, SignKind, millis},
};
use qbind_crypto::SecretKey;
use qbind_network::Identity;
use qbind_profile::{NodeConfig, SignerMode};
use qbind_signer::{
    Code, Guard, GuardError, Guarded, HsmConfig, HsmError, HsmKey, Key, RemoteError, RemoteSigner,
    Request, Role, STATE_DIR, SignError, Signer, SignerUrl, client_key,
};
use qbind_types::{GenesisHash, Network, PublicKey, Signature};
use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// A signer whose every answer is counted.
#[derive(Debug)]
pub(crate) struct Metered {
    inner: Arc<dyn Signer>,
    counts: Arc<metrics::Signer>,
}

impl Metered {
    /// Counts in `counts` what `inner` does.
    pub(crate) fn new(inner: Arc<dyn Signer>, counts: Arc<metrics::Signer>) -> Self {
        Self { inner, counts }
    }

    fn count(&self, answer: &Result<Signature, SignError>, took: u64) {
        let counts = &self.counts;
        match answer {
            Ok(_) => {
                if let Some(hsm) = &counts.hsm {
                    hsm.success.inc();
                    hsm.last_latency_ms.set(took);
                }
                if let Some(remote) = &counts.remote {
                    remote.last_latency_ms.set(took);
                }
            }
            Err(SignError::Refused { .. } | SignError::RefusedRemotely { .. }) => {
                counts.refusals.inc();
            }
            Err(error) => {
                counts.failures.inc();
                if let (SignError::Hsm(error), Some(hsm)) = (error, &counts.hsm) {
                    hsm.errors.inc(match error.is_config() {
                        true => HsmErrorKind::Config,
                        false => HsmErrorKind::Runtime,
                    });
                }
            }
        }
    }
}

impl Signer for Metered {
    fn public_key(&self) -> PublicKey {
        self.inner.public_key()
    }

    fn sign(&self, request: &Request) -> Result<Signature, SignError> {
        let kind = match request {
            Request::Proposal(_) => SignKind::Proposal,
            Request::Vote { .. } => SignKind::Vote,
            Request::CommitVote { .. } => SignKind::CommitVote,
            Request::Timeout { .. } => SignKind::Timeout,
            Request::Batch(_) => SignKind::Batch,
            Request::Ack { .. } => SignKind::Ack,
            Request::Peer(_) => SignKind::Peer,
        };
        self.counts.requests.inc(kind);
        if let Some(remote) = &self.counts.remote {
            remote.requests.inc(kind);
        }
        let started = Instant::now();
        let answer = self.inner.sign(request);
        self.count(&answer, millis(started.elapsed()));
        answer
    }
}

/// The network of the proof is the signer's own.
impl Identity for Metered {
    fn public_key(&self) -> PublicKey {
        self.inner.public_key()
    }

    fn prove(&self, _: Network, said: Vec<u8>) -> Result<Signature, Box<dyn Error + Send + Sync>> {
        Ok(self.sign(&Request::Peer(said))?)
    }
}

/// A validator's key, ready to sign.
#[derive(Debug)]
pub(crate) struct Custody {
    pub(crate) signer: Arc<Metered>,
    /// Where the key lies, for people.
    pub(crate) place: String,
    /// Whether a guard was made that knows nothing of what the key has signed.
    pub(crate) guard_is_new: bool,
}

/// Opens the key that `signer_mode` names.
///
/// # Errors
/// The operator's fault; or the disk's, the device's or the other host's.
pub(crate) fn open(
    config: &NodeConfig,
    data_dir: &Path,
    chain: (Network, GenesisHash),
    counts: &Arc<metrics::Signer>,
) -> Result<Custody, NodeError> {
    let keystore = config.signer_keystore_path.as_deref().map(Path::new);
    let (key, place, dir): (Arc<dyn Key>, String, PathBuf) = match config.signer_mode {
        SignerMode::RemoteSigner => return open_remote(config, data_dir, chain, counts),
        SignerMode::HsmPkcs11 => {
            let path = config.hsm_config_path.as_deref().ok_or_else(|| {
                NodeError::configuration("hsm_config_path is unset; pass --hsm-config-path FILE")
            })?;
            let key = hsm_key(Path::new(path), counts)?;
            // Apart from the database, so that who loses or restores that keeps it.
            let dir = keystore.unwrap_or(Path::new(STATE_DIR));
            let dir = device_dir(dir, &key.public_key())?;
            (Arc::new(key), format!("the HSM of {path}"), dir)
        }
        SignerMode::EncryptedFs | SignerMode::LoopbackTesting => {
            let dir = keystore.ok_or_else(|| {
                let what = "signer_keystore_path is unset; pass --signer-keystore-path DIR";
                NodeError::configuration(what)
            })?;
            let key = keystore_key(dir, Role::Consensus, &config.passphrase_env, counts)?;
            (Arc::new(key), format!("the keystore {}", dir.display()), dir.to_owned())
        }
    };
    let guard = open_guard(&dir, &key.public_key(), &chain.1)?;
    let guard_is_new = guard.is_new();
    let guarded = Guarded::new(key, guard, chain.0);
    let is_device = config.signer_mode == SignerMode::HsmPkcs11;
    if is_device && guard_is_new {
        warn_of_new_guard(&dir);
    }
    // Another host may reach the same device; a keystore lies on one.
    let guarded = if is_device { guarded.for_several_nodes() } else { guarded };
    let signer = Arc::new(Metered::new(Arc::new(guarded), counts.clone()));
    Ok(Custody { signer, place, guard_is_new })
}

fn open_remote(
    config: &NodeConfig,
    data_dir: &Path,
    chain: (Network, GenesisHash),
    counts: &Arc<metrics::Signer>,
) -> Result<Custody, NodeError> {
    let url = signer_url(config)?;
    let id = config
        .validator_id
        .ok_or_else(|| NodeError::configuration("validator_id is unset; pass --validator-id N"))?;
    let (client, fingerprint) = client_key(data_dir)
        .map_err(|e| NodeError::configuration("cannot use this node's key").because(e))?;
    let place = format!("the remote signer {url}");
    tracing::info!(node_key = %fingerprint, signer = %url, "connecting to the remote signer");
    let heard = counts.clone();
    let failed = move |error: &RemoteError| {
        tracing::error!(%error, cause = ?error.source().map(ToString::to_string), "remote signer");
        if let Some(remote) = &heard.remote {
            remote.failures.inc(match error {
                RemoteError::Transport { .. } => RemoteSignFailure::Transport,
                RemoteError::Timeout { .. } => RemoteSignFailure::Timeout,
                RemoteError::Refused { .. } => RemoteSignFailure::ServerReject,
                RemoteError::Protocol { .. } => RemoteSignFailure::Protocol,
            });
        }
    };
    let signer = RemoteSigner::connect(url, client, id, chain, Box::new(failed)).map_err(|e| {
        let settings = [Code::InvalidKey, Code::Unauthorized, Code::Protocol];
        match &e {
            RemoteError::Refused { code, .. } if settings.contains(code) => {
                NodeError::configuration("cannot use remote_signer_url").because(e)
            }
            _ => NodeError::transient("cannot use remote_signer_url").because(e),
        }
    })?;
    // The guard is the signer's, on its own host.
    let signer = Arc::new(Metered::new(Arc::new(signer), counts.clone()));
    Ok(Custody { signer, place, guard_is_new: false })
}

/// Where the remote signer listens.
///
/// # Errors
/// The operator's fault.
pub(crate) fn signer_url(config: &NodeConfig) -> Result<SignerUrl, NodeError> {
    let text = config.remote_signer_url.as_deref().ok_or_else(|| {
        NodeError::configuration(
            "remote_signer_url is unset; pass --remote-signer-url kemtls://HOST:9443",
        )
    })?;
    text.parse().map_err(|why| NodeError::configuration(format!("remote_signer_url: {why}")))
}

/// The key in an HSM, which has signed once.
///
/// # Errors
/// The operator's fault, or the device's.
pub(crate) fn hsm_key(path: &Path, counts: &metrics::Signer) -> Result<HsmKey, NodeError> {
    let open = || {
        let config = HsmConfig::read(path)?;
        let pin = config.pin()?;
        HsmKey::open(config, pin)
    };
    match open() {
        Ok(key) => {
            if let Some(hsm) = &counts.hsm {
                hsm.startup_ok.set_flag(true);
            }
            Ok(key)
        }
        Err(error) => Err(hsm_error(error)),
    }
}

fn hsm_error(error: HsmError) -> NodeError {
    match error.is_config() {
        true => NodeError::configuration("cannot use the HSM").because(error),
        false => NodeError::transient("cannot use the HSM").because(error),
    }
}

/// The key in an encrypted keystore.
///
/// # Errors
/// The operator's fault.
pub(crate) fn keystore_key(
    dir: &Path,
    role: Role,
    passphrase_env: &str,
    counts: &metrics::Signer,
) -> Result<SecretKey, NodeError> {
    let passphrase = std::env::var(passphrase_env).map_err(|_| {
        NodeError::configuration(format!(
            "the environment variable {passphrase_env} with the keystore's passphrase is unset"
        ))
    })?;
    match qbind_signer::load(dir, role, &passphrase) {
        Ok(key) => {
            counts.load_success.inc(KeystoreBackend::EncryptedFsV1);
            Ok(key)
        }
        Err(error) => {
            counts.load_failure.inc(KeystoreBackend::EncryptedFsV1);
            Err(NodeError::configuration("cannot use the keystore").because(error))
        }
    }
}

/// Where the guard of a device's key lies below `dir`: each key has its own.
///
/// # Errors
/// The operator's fault: it cannot be made.
pub(crate) fn device_dir(dir: &Path, key: &PublicKey) -> Result<PathBuf, NodeError> {
    let dir = dir.join(hex::encode(&qbind_crypto::sha3_256(&[key.as_bytes()])[..8]));
    std::fs::create_dir_all(&dir).map_err(|e| {
        let shown = dir.display();
        let what = format!("cannot create {shown} for the signing guard; make it writable");
        NodeError::configuration(what).because(e)
    })?;
    Ok(dir)
}

/// Says that a key whose secret lies elsewhere has a guard without memory.
pub(crate) fn warn_of_new_guard(dir: &Path) {
    tracing::warn!(
        dir = %dir.display(),
        "a new signing guard, which knows nothing of what this key has signed: right for a key that \
         is new on this chain; otherwise bring its guard here first"
    );
}

/// Opens the guard of a key. Each chain has its own: views of one mean nothing in another.
///
/// # Errors
/// The operator's fault, or the disk's.
pub(crate) fn open_guard(
    dir: &Path,
    key: &PublicKey,
    chain: &GenesisHash,
) -> Result<Guard, NodeError> {
    let file = format!("consensus-{}.guard", hex::encode(&chain.0[..8]));
    Guard::open(&dir.join(file), key).map_err(|e| match e {
        GuardError::File { .. } => NodeError::transient("cannot use the signing guard").because(e),
        _ => NodeError::configuration("cannot use the signing guard").because(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use qbind_profile::Profile;
    use qbind_signer::{Refusal, Statement};
    use qbind_types::{BlockId, View};
    use std::sync::Mutex;

    /// Ends as told.
    #[derive(Debug)]
    struct Ending(Mutex<Option<SignError>>);

    impl Signer for Ending {
        fn public_key(&self) -> PublicKey {
            SecretKey::from_seed(&[1; 32]).public_key()
        }

        fn sign(&self, _: &Request) -> Result<Signature, SignError> {
            match self.0.lock().expect("one thread").take() {
                Some(error) => Err(error),
                None => Ok(SecretKey::from_seed(&[1; 32]).sign(b"")),
            }
        }
    }

    fn metrics(mode: SignerMode) -> Metrics {
        let config = NodeConfig { signer_mode: mode, ..Profile::Mainnet.preset() };
        Metrics::new(&config, &[1])
    }

    fn ask(counts: &Arc<metrics::Signer>, ending: Option<SignError>) {
        let signer = Metered::new(Arc::new(Ending(Mutex::new(ending))), counts.clone());
        signer.sign(&Request::Peer(Vec::new())).map(drop).unwrap_or_default();
    }

    #[test]
    fn each_way_to_end_moves_its_own_counter() {
        let device = metrics(SignerMode::HsmPkcs11).signer;
        let hsm = device.hsm.as_ref().expect("a device's");
        ask(&device, None);
        assert_eq!((hsm.success.get(), device.requests.of(SignKind::Peer).get()), (1, 1));
        assert!(hsm.last_latency_ms.get() >= 1);
        ask(&device, Some(SignError::Hsm(HsmError::Silent)));
        ask(&device, Some(SignError::Hsm(HsmError::RefusedBefore)));
        let of = |kind| hsm.errors.of(kind).get();
        assert_eq!((of(HsmErrorKind::Runtime), of(HsmErrorKind::Config)), (1, 1));
        let statement = Box::new(Statement::Vote { view: View(1), block: BlockId([1; 32]) });
        let refusal = Refusal::Conflict;
        ask(&device, Some(SignError::Refused { statement, refusal }));
        assert_eq!((device.failures.get(), device.refusals.get(), hsm.success.get()), (2, 1, 1));
        let host = metrics(SignerMode::RemoteSigner).signer;
        ask(&host, Some(SignError::RefusedRemotely { why: "no".to_owned() }));
        ask(&host, None);
        let remote = host.remote.as_ref().expect("another host's");
        assert_eq!((host.refusals.get(), host.failures.get()), (1, 0));
        assert_eq!(remote.requests.of(SignKind::Peer).get(), 2);
        assert!(remote.last_latency_ms.get() >= 1);
    }
}
