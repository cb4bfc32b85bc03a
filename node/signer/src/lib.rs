//! Key custody: where a validator's key lies, and what it will not sign.
//!
//! ```text
//!               Request                                      bytes
//!   the node ───────────▶ Guarded (Guard: nothing that ──────────▶ Key: in memory, from an
//!      │                  contradicts what was signed)                  encrypted keystore,
//!      │                     ▲                                          or in an HSM
//!      └──▶ RemoteSigner ────┘ KEMTLS, another host: qbind-remote-signer
//! ```
//!
//! Promises: what is signed is made here out of the [`Request`]'s fields, so that nobody can have a
//! vote signed under another name; a consensus statement is on the guard's disk before its signature
//! exists; a secret on disk is sealed, for its owner alone, never overwritten, and used only when it
//! belongs to the public key beside it.
//!
//! Never here: a decision what to sign.

mod guard;
mod hsm;
mod key;
mod keystore;
mod private_file;
mod remote;
mod request;
mod signer;

pub use guard::{Guard, GuardError, Refusal, Statement};
pub use hsm::{HsmConfig, HsmError, HsmKey};
pub use key::Key;
pub use keystore::{KeystoreError, Role, create, load, load_public, write_public};
pub use remote::{
    Admission, Backend, ClientKeyError, Code, ConfigError, Fingerprint, Notice, OpenSigner,
    PinError, RemoteConfig, RemoteError, RemoteSigner, STATE_DIR, Service, SignerUrl, client_key,
};
pub use request::Request;
pub use signer::{Guarded, SignError, Signer};
