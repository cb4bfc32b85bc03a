//! Covers: what a device may do wrong, by a device that does it.

use super::*;
use qbind_crypto::SecretKey;
use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicUsize, Ordering},
};

fn secret() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

fn device_error() -> HsmError {
    HsmError::Device { what: "sign", source: Pkcs11Error::NotSupported }
}

fn wrong_pin() -> HsmError {
    use cryptoki::context::Function;
    HsmError::Login {
        token: "t".to_owned(),
        pin_env_var: "P".to_owned(),
        source: Pkcs11Error::Pkcs11(RvError::PinIncorrect, Function::Login),
    }
}

/// Signs well but for what it is told, by the number of the message; the trial is number 0.
struct Fake<S, R> {
    asked: usize,
    reopened: Arc<AtomicUsize>,
    signs: S,
    reopens: R,
}

impl<S, R> Device for Fake<S, R>
where
    S: FnMut(usize) -> Option<Result<Vec<u8>, HsmError>> + Send,
    R: FnMut() -> Result<(), HsmError> + Send,
{
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.asked += 1;
        let well = || Ok(secret().sign(message).as_bytes().to_vec());
        (self.signs)(self.asked - 1).unwrap_or_else(well)
    }

    fn reopen(&mut self) -> Result<(), HsmError> {
        self.reopened.fetch_add(1, Ordering::SeqCst);
        (self.reopens)()
    }
}

fn key(
    signs: impl FnMut(usize) -> Option<Result<Vec<u8>, HsmError>> + Send + 'static,
    reopens: impl FnMut() -> Result<(), HsmError> + Send + 'static,
) -> (Result<HsmKey, HsmError>, Arc<AtomicUsize>) {
    let reopened = Arc::new(AtomicUsize::new(0));
    let fake = Fake { asked: 0, reopened: reopened.clone(), signs, reopens };
    (HsmKey::start(Box::new(fake), "t/k".to_owned(), secret().public_key()), reopened)
}

#[test]
fn a_lost_session_is_opened_again_once() {
    let (key, reopened) = key(|n| [1, 3, 4].contains(&n).then(|| Err(device_error())), || Ok(()));
    let key = key.unwrap();
    key.sign(b"after one error").unwrap();
    assert_eq!(reopened.load(Ordering::SeqCst), 1);
    let twice = key.sign(b"after two").unwrap_err();
    assert!(matches!(twice, HsmError::Device { .. }) && !twice.is_config(), "{twice}");
    key.sign(b"it came back").unwrap();
}

#[test]
fn a_wrong_signature_goes_nowhere() {
    let (key, _) = key(|n| (n == 1).then(|| Ok(vec![0; 2_420])), || Ok(()));
    let key = key.unwrap();
    assert!(matches!(key.sign(b"m").unwrap_err(), HsmError::WrongSignature { .. }));
    key.sign(b"m").unwrap();
    // One that never signs right is not even opened.
    let (never, _) = self::key(|_| Some(Ok(vec![0; 3])), || Ok(()));
    assert!(matches!(never.unwrap_err(), HsmError::WrongSignature { .. }));
}

#[test]
fn a_refused_pin_is_tried_once() {
    let (key, reopened) = key(|n| (n > 0).then(|| Err(device_error())), || Err(wrong_pin()));
    let key = key.unwrap();
    assert!(key.sign(b"m").unwrap_err().is_config());
    for _ in 0..5 {
        assert!(matches!(key.sign(b"m").unwrap_err(), HsmError::RefusedBefore));
    }
    assert_eq!(reopened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_device_that_hangs_is_given_up() {
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let held = gate.clone();
    let hangs = move |n| {
        let shut = held.0.lock().unwrap();
        drop(held.1.wait_while(shut, |shut| n > 0 && *shut).unwrap());
        None
    };
    let (key, _) = key(hangs, || Ok(()));
    let key = key.unwrap();
    let silent = key.sign(b"m").unwrap_err();
    assert!(matches!(silent, HsmError::Silent) && !silent.is_config(), "{silent}");
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
    key.sign(b"m").unwrap();
}

#[test]
fn what_starting_again_may_mend_is_no_fault_of_the_settings() {
    use cryptoki::context::Function;
    let login = |code| HsmError::Login {
        token: "t".to_owned(),
        pin_env_var: "P".to_owned(),
        source: Pkcs11Error::Pkcs11(code, Function::Login),
    };
    let no_token = |found: &[&str]| HsmError::NoToken {
        label: "l".to_owned(),
        found: found.iter().map(|f| (*f).to_owned()).collect(),
    };
    let library = |source| HsmError::Library { path: "/l.so".into(), source };
    for (error, is_config) in [
        (login(RvError::PinIncorrect), true),
        (login(RvError::PinLocked), true),
        (login(RvError::DeviceRemoved), false),
        (login(RvError::FunctionFailed), false),
        (no_token(&["another"]), true),
        (no_token(&[]), false),
        (library(Pkcs11Error::MissingSymbol("C_GetFunctionList")), true),
        (library(Pkcs11Error::Pkcs11(RvError::GeneralError, Function::Initialize)), false),
    ] {
        assert_eq!(error.is_config(), is_config, "{error}");
    }
}
