//! A key that never leaves its device: PKCS#11 3.2, mechanism CKM_ML_DSA.
//!
//! A signature is checked before it is given away, so a device that computes wrongly is found out
//! here. After an error the session is opened anew, once: a cluster may have moved to another member.

use crate::Key;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as Pkcs11Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        dsa::{HedgeType, SignAdditionalContext},
    },
    object::{Attribute, AttributeType, KeyType, MlDsaParameterSetType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use qbind_types::{PublicKey, Signature};
use serde::Deserialize;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use thiserror::Error;
use zeroize::Zeroizing;

/// Largest configuration file.
const MAX_BYTES: u64 = 64 * 1024;
/// What the key is tried with before it is used.
const TRIAL: &[u8] = b"QBIND:HSM_TRIAL:v1";

/// `hsm.toml`: which device, which key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmConfig {
    /// The vendor's PKCS#11 library.
    pub library_path: PathBuf,
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
    #[error("no token is labelled `{label}` (token_label); there are: {found}")]
    NoToken {
        /// The label.
        label: String,
        /// Those there are.
        found: String,
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
    /// The device's signature is not the key's.
    #[error("the HSM returned a wrong signature for key `{label}`")]
    WrongSignature {
        /// The label.
        label: String,
    },
}

impl HsmError {
    /// Whether the operator's settings are at fault rather than the device.
    pub fn is_config(&self) -> bool {
        !matches!(self, Self::Device { .. } | Self::WrongSignature { .. })
    }
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

/// A key in a device.
pub struct HsmKey {
    config: HsmConfig,
    pin: Zeroizing<String>,
    pkcs11: Pkcs11,
    public: PublicKey,
    /// `None` after an error: the next signature opens it anew.
    session: Mutex<Option<(Session, ObjectHandle)>>,
}

impl fmt::Debug for HsmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HsmKey({}/{})", self.config.token_label, self.config.key_label)
    }
}

impl HsmKey {
    /// Logs in, finds the key and has it sign once.
    ///
    /// # Errors
    /// [`HsmError::is_config`] tells the operator's fault from the device's.
    pub fn open(config: HsmConfig, pin: Zeroizing<String>) -> Result<Self, HsmError> {
        let pkcs11 = load(&config)?;
        let session = log_in(&config, &pin, &pkcs11)?;
        let private = find(&config, &session, ObjectClass::PRIVATE_KEY, "private")?;
        let public = find(&config, &session, ObjectClass::PUBLIC_KEY, "public")?;
        let public = public_key(&config, &session, public)?;
        let session = Mutex::new(Some((session, private)));
        let key = Self { config, pin, pkcs11, public, session };
        key.sign(TRIAL)?;
        Ok(key)
    }

    /// Makes a key pair in the device; its secret half can never leave it.
    ///
    /// # Errors
    /// As [`HsmKey::open`]; a label in use is refused.
    pub fn generate(config: HsmConfig, pin: Zeroizing<String>) -> Result<Self, HsmError> {
        let pkcs11 = load(&config)?;
        let session = log_in(&config, &pin, &pkcs11)?;
        let label = Attribute::Label(config.key_label.clone().into_bytes());
        let device = |what| move |source| HsmError::Device { what, source };
        let found =
            session.find_objects(std::slice::from_ref(&label)).map_err(device("look for keys"))?;
        if !found.is_empty() {
            let (token, label) = (config.token_label, config.key_label);
            return Err(HsmError::Keys { token, label, half: "or other", found: found.len() });
        }
        let public = [
            Attribute::Token(true),
            Attribute::Verify(true),
            Attribute::ParameterSet(MlDsaParameterSetType::ML_DSA_44.into()),
            label.clone(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label,
        ];
        session
            .generate_key_pair(&Mechanism::MlDsaKeyPairGen, &public, &private)
            .map_err(device("make a key pair"))?;
        drop(session);
        drop(pkcs11);
        Self::open(config, pin)
    }

    fn sign_once(
        &self,
        session: &mut Option<(Session, ObjectHandle)>,
        message: &[u8],
    ) -> Result<Signature, HsmError> {
        let (open, key) = match session.take() {
            Some(open) => open,
            None => {
                let open = log_in(&self.config, &self.pin, &self.pkcs11)?;
                let key = find(&self.config, &open, ObjectClass::PRIVATE_KEY, "private")?;
                (open, key)
            }
        };
        let hedged = Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None));
        let bytes = open
            .sign(&hedged, key, message)
            .map_err(|source| HsmError::Device { what: "sign", source })?;
        let wrong = || HsmError::WrongSignature { label: self.config.key_label.clone() };
        let signature = Signature::from_slice(&bytes).ok_or_else(wrong)?;
        if !qbind_crypto::verify(&self.public, message, &signature) {
            return Err(wrong());
        }
        *session = Some((open, key));
        Ok(signature)
    }
}

impl Key for HsmKey {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, HsmError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = session.is_some();
        match self.sign_once(&mut session, message) {
            // A session that was open may have been lost; one that could not be opened is.
            Err(HsmError::Device { .. }) if was_open => self.sign_once(&mut session, message),
            ended => ended,
        }
    }
}

fn load(config: &HsmConfig) -> Result<Pkcs11, HsmError> {
    let fault = |source| HsmError::Library { path: config.library_path.clone(), source };
    let pkcs11 = Pkcs11::new(&config.library_path).map_err(fault)?;
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(pkcs11),
        Err(source) => Err(fault(source)),
    }
}

fn log_in(config: &HsmConfig, pin: &str, pkcs11: &Pkcs11) -> Result<Session, HsmError> {
    let slot = slot(config, pkcs11)?;
    let device = |what| move |source| HsmError::Device { what, source };
    let known = pkcs11.get_mechanism_list(slot).map_err(device("list its mechanisms"))?;
    if !known.contains(&MechanismType::ML_DSA) {
        return Err(HsmError::NoMlDsa { token: config.token_label.clone() });
    }
    // Read-write, for a key may be made in it; a read-only one would do to sign.
    let session = pkcs11.open_rw_session(slot).map_err(device("open a session"))?;
    let pin = AuthPin::new(pin.to_owned().into());
    match session.login(UserType::User, Some(&pin)) {
        // The login is the process's, not the session's.
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(source) => {
            let (token, pin_env_var) = (config.token_label.clone(), config.pin_env_var.clone());
            Err(HsmError::Login { token, pin_env_var, source })
        }
    }
}

fn slot(config: &HsmConfig, pkcs11: &Pkcs11) -> Result<Slot, HsmError> {
    let device = |source| HsmError::Device { what: "list its tokens", source };
    let mut found = Vec::new();
    for slot in pkcs11.get_slots_with_token().map_err(device)? {
        let label = pkcs11.get_token_info(slot).map_err(device)?.label().trim_end().to_owned();
        if label == config.token_label {
            return Ok(slot);
        }
        found.push(format!("`{label}`"));
    }
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Err(HsmError::NoToken { label: config.token_label.clone(), found })
}

fn find(
    config: &HsmConfig,
    session: &Session,
    class: ObjectClass,
    half: &'static str,
) -> Result<ObjectHandle, HsmError> {
    let wanted = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::ML_DSA),
        Attribute::Label(config.key_label.clone().into_bytes()),
    ];
    let found = session
        .find_objects(&wanted)
        .map_err(|source| HsmError::Device { what: "look for the key", source })?;
    match found[..] {
        [key] => Ok(key),
        _ => Err(HsmError::Keys {
            token: config.token_label.clone(),
            label: config.key_label.clone(),
            half,
            found: found.len(),
        }),
    }
}

fn public_key(
    config: &HsmConfig,
    session: &Session,
    key: ObjectHandle,
) -> Result<PublicKey, HsmError> {
    let values = session
        .get_attributes(key, &[AttributeType::Value])
        .map_err(|source| HsmError::Device { what: "read the public key", source })?;
    let key = match &values[..] {
        [Attribute::Value(bytes)] => PublicKey::from_slice(bytes),
        _ => None,
    };
    key.ok_or_else(|| HsmError::NotMlDsa44 { label: config.key_label.clone() })
}
