//! A key that never leaves its device: PKCS#11 3.2, mechanism CKM_ML_DSA.
//!
//! The device has a thread of its own, so that one that hangs costs its caller two seconds and no more.
//! A signature is checked before it is given away, so a device that computes wrongly is found out here.
//! After an error the session is opened anew, once: a cluster may have moved to another member. A PIN
//! that was refused is not tried again by this process, for a few tries lock a token.

mod device;

use crate::Key;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use device::Token;
use qbind_types::{PublicKey, Signature};
use serde::Deserialize;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};
use thiserror::Error;
use zeroize::Zeroizing;

/// Largest configuration file.
const MAX_BYTES: u64 = 64 * 1024;
/// What the key is tried with before it is used.
const TRIAL: &[u8] = b"QBIND:HSM_TRIAL:v1";
/// A device has signed by then, or has failed.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// Most messages that wait for it.
const WAITING: usize = 256;

/// `hsm.toml`: which device, which key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmConfig {
    /// The vendor's PKCS#11 library.
    #[serde(rename = "library_path")]
    pub module_path: PathBuf,
    /// Label of the token.
    pub token_label: String,
    /// Label of the key in the token; the same for both halves.
    pub key_label: String,
    /// Environment variable that holds the PIN.
    pub pin_env_var: String,
    /// How it signs: CKM_ML_DSA, and nothing else so far.
    #[serde(default = "ml_dsa")]
    pub mechanism: String,
}

fn ml_dsa() -> String {
    "CKM_ML_DSA".to_owned()
}

/// Why a device gives no signature.
#[derive(Debug, Error)]
pub enum HsmError {
    /// `hsm.toml` cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `hsm.toml` says nothing that could be used.
    #[error("{}: {why}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// Where in it, and what was expected.
        why: String,
    },
    /// The PIN is nowhere.
    #[error("the environment variable {name} with the HSM's PIN is unset (pin_env_var)")]
    PinUnset {
        /// Its name.
        name: String,
    },
    /// The library is none, or does not start.
    #[error("cannot use the PKCS#11 library {} (library_path)", path.display())]
    Library {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Pkcs11Error,
    },
    /// No token has this label.
    #[error("no token is labelled `{label}` (token_label); there are: {found:?}")]
    NoToken {
        /// The label.
        label: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// The device knows no ML-DSA.
    #[error(
        "token `{token}` does not offer CKM_ML_DSA (PKCS#11 3.2); update its firmware or library, \
         or keep the key in an encrypted keystore"
    )]
    NoMlDsa {
        /// The token.
        token: String,
    },
    /// The device does not let us in.
    #[error("token `{token}` refused the login; check the PIN in {pin_env_var}")]
    Login {
        /// The token.
        token: String,
        /// Where the PIN came from.
        pin_env_var: String,
        /// Why.
        #[source]
        source: Pkcs11Error,
    },
    /// One more wrong PIN would lock it.
    #[error(
        "token `{token}` has one try left for its PIN; reset its count before this one is tried"
    )]
    FinalTry {
        /// The token.
        token: String,
    },
    /// This process was refused before.
    #[error("the PIN was refused before and is not tried again; start anew with the right one")]
    RefusedBefore,
    /// A key of this label is there already.
    #[error(
        "token `{token}` holds {found} objects labelled `{label}` already; choose another key_label"
    )]
    LabelInUse {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// How many.
        found: usize,
    },
    /// Not exactly one such key.
    #[error(
        "token `{token}` holds {found} ML-DSA {half} keys labelled `{label}` (key_label), not one"
    )]
    Keys {
        /// The token.
        token: String,
        /// The label.
        label: String,
        /// Private or public.
        half: &'static str,
        /// How many.
        found: usize,
    },
    /// It is an ML-DSA key of another size.
    #[error("key `{label}` is not an ML-DSA-44 key")]
    NotMlDsa44 {
        /// The label.
        label: String,
    },
    /// The device failed at work.
    #[error("the HSM failed to {what}")]
    Device {
        /// At what.
        what: &'static str,
        /// Why.
        #[source]
        source: Pkcs11Error,
    },
    /// The device does not answer.
    #[error("the HSM did not answer within {} ms", PATIENCE.as_millis())]
    Silent,
    /// Its thread cannot be started, or is gone.
    #[error("the HSM's thread ended")]
    Thread,
    /// The device's signature is not the key's.
    #[error("the HSM returned a wrong signature for key `{label}`")]
    WrongSignature {
        /// The label.
        label: String,
    },
}

impl HsmError {
    /// Whether the operator's settings are at fault: starting again will not help. A device that is
    /// not there yet, or not any more, is none.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Device { .. } | Self::WrongSignature { .. } | Self::Silent | Self::Thread => {
                false
            }
            Self::Library { source, .. } => {
                matches!(source, Pkcs11Error::LibraryLoading(_) | Pkcs11Error::MissingSymbol(_))
            }
            Self::Login { source, .. } => is_of_pin(source),
            // Without any token nobody can tell whether the label is right.
            Self::NoToken { found, .. } => !found.is_empty(),
            _ => true,
        }
    }
}

fn is_of_pin(error: &Pkcs11Error) -> bool {
    let Pkcs11Error::Pkcs11(code, _) = error else { return false };
    matches!(
        code,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
    )
}

impl HsmConfig {
    /// Reads `hsm.toml`.
    ///
    /// # Errors
    /// The operator's fault; names the file and the line.
    pub fn read(path: &Path) -> Result<Self, HsmError> {
        let fault = |source| HsmError::Read { path: path.to_owned(), source };
        let length = fs::metadata(path).map_err(fault)?.len();
        if length > MAX_BYTES {
            let why = format!("{length} bytes, more than {MAX_BYTES}");
            return Err(HsmError::Config { path: path.to_owned(), why });
        }
        let text = fs::read_to_string(path).map_err(fault)?;
        let bad = |why| HsmError::Config { path: path.to_owned(), why };
        let config: Self = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if config.mechanism != ml_dsa() {
            let other = &config.mechanism;
            return Err(bad(format!("UNSUPPORTED: mechanism = \"{other}\"; use CKM_ML_DSA")));
        }
        Ok(config)
    }

    /// The PIN, from the environment.
    ///
    /// # Errors
    /// The operator's fault: it is not there.
    pub fn pin(&self) -> Result<Zeroizing<String>, HsmError> {
        let name = &self.pin_env_var;
        let pin = std::env::var(name).map_err(|_| HsmError::PinUnset { name: name.clone() })?;
        Ok(Zeroizing::new(pin))
    }
}

/// What signs on the device's thread.
trait Device: Send {
    /// The bytes of a signature.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, HsmError>;
    /// Gives up what it holds and begins anew.
    fn reopen(&mut self) -> Result<(), HsmError>;
}

type Job = (Vec<u8>, SyncSender<Result<Signature, HsmError>>);

/// A key in a device.
pub struct HsmKey {
    name: String,
    public: PublicKey,
    /// `None` while it is dropped.
    jobs: Option<SyncSender<Job>>,
    /// Ends with the device's thread.
    ended: Mutex<Receiver<()>>,
}

/// The library must have been stopped before the process ends, or it ends under the library's feet.
impl Drop for HsmKey {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // One that hangs is left behind.
        ended.recv_timeout(PATIENCE).unwrap_or_default();
    }
}

impl fmt::Debug for HsmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HsmKey({})", self.name)
    }
}

impl HsmKey {
    /// Logs in, finds the key and has it sign once.
    ///
    /// # Errors
    /// [`HsmError::is_config`] tells the operator's fault from the device's.
    pub fn open(config: HsmConfig, pin: Zeroizing<String>) -> Result<Self, HsmError> {
        let mut token = Token::new(config, pin)?;
        token.reopen()?;
        Self::over(token)
    }

    /// Makes a key pair in the device; its secret half can never leave it.
    ///
    /// # Errors
    /// As [`HsmKey::open`]; a label in use is refused.
    pub fn generate(config: HsmConfig, pin: Zeroizing<String>) -> Result<Self, HsmError> {
        let mut token = Token::new(config, pin)?;
        token.generate()?;
        token.reopen()?;
        Self::over(token)
    }

    fn over(token: Token) -> Result<Self, HsmError> {
        let (name, public) = (token.name(), token.public_key()?);
        Self::start(Box::new(token), name, public)
    }

    fn start(device: Box<dyn Device>, name: String, public: PublicKey) -> Result<Self, HsmError> {
        let (jobs, queue) = sync_channel(WAITING);
        let (running, ended) = sync_channel(0);
        let (label, key) = (name.clone(), public.clone());
        std::thread::Builder::new()
            .name("hsm".to_owned())
            .spawn(move || {
                work(device, &label, &key, &queue);
                drop(running);
            })
            .map_err(|_| HsmError::Thread)?;
        let key = Self { name, public, jobs: Some(jobs), ended: Mutex::new(ended) };
        key.sign(TRIAL)?;
        Ok(key)
    }
}

fn work(mut device: Box<dyn Device>, label: &str, key: &PublicKey, queue: &Receiver<Job>) {
    let mut refused = false;
    for (message, reply) in queue {
        let signature = match refused {
            true => Err(HsmError::RefusedBefore),
            false => sign(&mut *device, label, key, &message),
        };
        refused |= matches!(&signature, Err(e @ HsmError::Login { .. }) if e.is_config());
        // Who asked may have given up.
        reply.send(signature).unwrap_or_default();
    }
}

fn sign(
    device: &mut dyn Device,
    label: &str,
    key: &PublicKey,
    message: &[u8],
) -> Result<Signature, HsmError> {
    let bytes = match device.sign(message) {
        Ok(bytes) => bytes,
        Err(HsmError::Device { .. }) => {
            device.reopen()?;
            device.sign(message)?
        }
        Err(error) => return Err(error),
    };
    let signature = Signature::from_slice(&bytes);
    let right = |signature: &Signature| qbind_crypto::verify(key, message, signature);
    signature.filter(right).ok_or_else(|| HsmError::WrongSignature { label: label.to_owned() })
}

impl Key for HsmKey {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, HsmError> {
        let (reply, answer) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(HsmError::Thread)?;
        match jobs.try_send((message.to_vec(), reply)) {
            Ok(()) => {}
            // So many wait already that none of them is answered in time.
            Err(TrySendError::Full(_)) => return Err(HsmError::Silent),
            Err(TrySendError::Disconnected(_)) => return Err(HsmError::Thread),
        }
        match answer.recv_timeout(PATIENCE) {
            Ok(signature) => signature,
            Err(RecvTimeoutError::Timeout) => Err(HsmError::Silent),
            Err(RecvTimeoutError::Disconnected) => Err(HsmError::Thread),
        }
    }
}

#[cfg(test)]
mod tests;
