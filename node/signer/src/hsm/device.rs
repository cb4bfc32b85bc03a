//! The PKCS#11 side: library, token, session, objects.

use super::{Device, HsmConfig, HsmError};
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
use qbind_types::PublicKey;
use zeroize::Zeroizing;

/// A token, and the session in which its key signs.
pub(super) struct Token {
    // Dropped in this order: a session ends before its library does.
    session: Option<(Session, ObjectHandle)>,
    module: Library,
    config: HsmConfig,
    pin: Zeroizing<String>,
}

/// A library that was started, and is stopped before it is unloaded.
struct Library(Pkcs11);

impl Drop for Library {
    fn drop(&mut self) {
        // Nowhere is left to report to; what matters is that its threads end.
        self.0.clone().finalize().unwrap_or_default();
    }
}

fn failed(what: &'static str) -> impl Fn(Pkcs11Error) -> HsmError {
    move |source| HsmError::Device { what, source }
}

impl Token {
    /// Starts the library.
    pub(super) fn new(config: HsmConfig, pin: Zeroizing<String>) -> Result<Self, HsmError> {
        let fault = |source| HsmError::Library { path: config.module_path.clone(), source };
        let pkcs11 = Pkcs11::new(&config.module_path).map_err(fault)?;
        let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match pkcs11.initialize(args) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(source) => return Err(fault(source)),
        }
        Ok(Self { session: None, module: Library(pkcs11), config, pin })
    }

    /// Token and key, for people.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.config.token_label, self.config.key_label)
    }

    /// The public half of the key.
    pub(super) fn public_key(&self) -> Result<PublicKey, HsmError> {
        let not_44 = || HsmError::NotMlDsa44 { label: self.config.key_label.clone() };
        let (session, _) = self.session.as_ref().ok_or(HsmError::Thread)?;
        let key = self.find(session, ObjectClass::PUBLIC_KEY, "public")?;
        let values = session
            .get_attributes(key, &[AttributeType::Value])
            .map_err(failed("read the public key"))?;
        match &values[..] {
            [Attribute::Value(bytes)] => PublicKey::from_slice(bytes).ok_or_else(not_44),
            _ => Err(not_44()),
        }
    }

    /// Makes the key pair.
    pub(super) fn generate(&mut self) -> Result<(), HsmError> {
        let session = self.log_in()?;
        let label = Attribute::Label(self.config.key_label.clone().into_bytes());
        let found = session
            .find_objects(std::slice::from_ref(&label))
            .map_err(failed("look for keys"))?
            .len();
        if found > 0 {
            let (token, label) = (self.config.token_label.clone(), self.config.key_label.clone());
            return Err(HsmError::LabelInUse { token, label, found });
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
            .map(drop)
            .map_err(failed("make a key pair"))
    }

    fn log_in(&self) -> Result<Session, HsmError> {
        let (slot, pkcs11) = (self.slot()?, &self.module.0);
        let token = || self.config.token_label.clone();
        let known = pkcs11.get_mechanism_list(slot).map_err(failed("list its mechanisms"))?;
        if !known.contains(&MechanismType::ML_DSA) {
            return Err(HsmError::NoMlDsa { token: token() });
        }
        let info = pkcs11.get_token_info(slot).map_err(failed("describe its token"))?;
        if info.user_pin_final_try() {
            return Err(HsmError::FinalTry { token: token() });
        }
        // Read-write, for a key may be made in it; a read-only one would do to sign.
        let session = pkcs11.open_rw_session(slot).map_err(failed("open a session"))?;
        let pin = AuthPin::new(self.pin.as_str().to_owned().into());
        match session.login(UserType::User, Some(&pin)) {
            // The login is the process's, not the session's.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(source) => {
                let pin_env_var = self.config.pin_env_var.clone();
                Err(HsmError::Login { token: token(), pin_env_var, source })
            }
        }
    }

    fn slot(&self) -> Result<Slot, HsmError> {
        let (failed, pkcs11) = (failed("list its tokens"), &self.module.0);
        let mut found = Vec::new();
        for slot in pkcs11.get_slots_with_token().map_err(&failed)? {
            let info = pkcs11.get_token_info(slot).map_err(&failed)?;
            let label = info.label().trim_end().to_owned();
            if label == self.config.token_label {
                return Ok(slot);
            }
            found.push(label);
        }
        Err(HsmError::NoToken { label: self.config.token_label.clone(), found })
    }

    fn find(
        &self,
        session: &Session,
        class: ObjectClass,
        half: &'static str,
    ) -> Result<ObjectHandle, HsmError> {
        let wanted = [
            Attribute::Class(class),
            Attribute::KeyType(KeyType::ML_DSA),
            Attribute::Label(self.config.key_label.clone().into_bytes()),
        ];
        let found = session.find_objects(&wanted).map_err(failed("look for the key"))?;
        match found[..] {
            [key] => Ok(key),
            _ => Err(HsmError::Keys {
                token: self.config.token_label.clone(),
                label: self.config.key_label.clone(),
                half,
                found: found.len(),
            }),
        }
    }
}

impl Device for Token {
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        if self.session.is_none() {
            self.reopen()?;
        }
        let (session, key) = self.session.as_ref().ok_or(HsmError::Thread)?;
        let hedged = Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None));
        session.sign(&hedged, *key, message).map_err(failed("sign"))
    }

    fn reopen(&mut self) -> Result<(), HsmError> {
        self.session = None;
        let session = self.log_in()?;
        let key = self.find(&session, ObjectClass::PRIVATE_KEY, "private")?;
        self.session = Some((session, key));
        Ok(())
    }
}
