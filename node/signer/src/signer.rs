//! Who makes signatures, and why one may not be made.

use crate::{Guard, GuardError, HsmError, Key, Refusal, RemoteError, Request, Statement};
use qbind_types::{Network, PublicKey, Signature};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use thiserror::Error;

/// Signs what contradicts nothing its key signed before.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half of the key.
    fn public_key(&self) -> PublicKey;

    /// Signs, or says why not. May block.
    ///
    /// # Errors
    /// [`SignError::Refused`] when it contradicts: all is well, do without. Any other: this
    /// validator cannot sign.
    fn sign(&self, request: &Request) -> Result<Signature, SignError>;
}

/// Why there is no signature.
#[derive(Debug, Error)]
pub enum SignError {
    /// It contradicts what was signed before.
    #[error("refused to sign {statement}")]
    Refused {
        /// What was asked.
        statement: Box<Statement>,
        /// Why not.
        #[source]
        refusal: Refusal,
    },
    /// A remote signer refused for the same reason.
    #[error("the remote signer refused: {why}")]
    RefusedRemotely {
        /// Its words.
        why: String,
    },
    /// The guard cannot be trusted or written.
    #[error("the signing guard failed")]
    Guard(#[source] GuardError),
    /// The device made none.
    #[error("the HSM failed")]
    Hsm(#[source] HsmError),
    /// The other host made none.
    #[error(transparent)]
    Remote(RemoteError),
}

/// A key on this host, or in a device of this host, behind its guard.
#[derive(Debug)]
pub struct Guarded {
    key: Arc<dyn Key>,
    guard: Mutex<Guard>,
    network: Network,
    guards_batches: bool,
}

impl Guarded {
    /// The guard must be the key's own.
    pub fn new(key: Arc<dyn Key>, guard: Guard, network: Network) -> Self {
        Self { key, guard: Mutex::new(guard), network, guards_batches: false }
    }

    /// Keeps a mark of batches too, at a sync of the disk for each: needed where the guard's file does
    /// not keep a second node out, for two nodes make two batches of one round.
    #[must_use]
    pub fn for_several_nodes(self) -> Self {
        Self { guards_batches: true, ..self }
    }
}

impl Signer for Guarded {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn sign(&self, request: &Request) -> Result<Signature, SignError> {
        let needs_no_mark = matches!(request, Request::Batch(_)) && !self.guards_batches;
        if let Some((epoch, statement)) = request.statement().filter(|_| !needs_no_mark) {
            // A guard whose holder panicked has written a whole mark or none.
            let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
            guard.approve(epoch, statement).map_err(|error| match error {
                GuardError::Refused { statement, refusal } => {
                    SignError::Refused { statement, refusal }
                }
                error => SignError::Guard(error),
            })?;
        }
        self.key.sign(&request.preimage(self.network)).map_err(SignError::Hsm)
    }
}
