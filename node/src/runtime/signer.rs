//! A validator's signatures.

use crate::custody::Metered;
use qbind_consensus::Unsigned;
use qbind_crypto::Verifiers;
use qbind_replica::Event;
use qbind_signer::{Request, SignError, Signer};
use qbind_types::{BatchRef, Epoch, Signature, ValidatorIndex};
use std::sync::Arc;

/// Signs what does not contradict anything this key signed before, whatever the database says.
pub(super) struct ValidatorSigner {
    pub(super) signer: Arc<Metered>,
    pub(super) verifiers: Arc<Verifiers>,
}

impl ValidatorSigner {
    /// Signs a consensus message, or not: a database older than the guard may ask for what another
    /// life of this validator has excluded, until it has caught up.
    ///
    /// # Errors
    /// This validator cannot sign.
    pub(super) fn sign(&self, unsigned: Unsigned) -> Result<Option<Event>, SignError> {
        let (epoch, index) = (unsigned.epoch(), unsigned.signer());
        let signature = self.make(epoch, index, &request(&unsigned))?;
        Ok(signature.map(|s| Event::Signed(Box::new(unsigned.complete(s)))))
    }

    /// The signature comes back in certificates, where it need not be checked.
    fn make(
        &self,
        epoch: Epoch,
        index: ValidatorIndex,
        request: &Request,
    ) -> Result<Option<Signature>, SignError> {
        let signature = match self.signer.sign(request) {
            Ok(signature) => signature,
            Err(error @ (SignError::Refused { .. } | SignError::RefusedRemotely { .. })) => {
                tracing::error!(
                    error = crate::tools::explain(&error),
                    "refused to sign: the database is older than what this key has signed, or \
                     another node signs with it; it signs again when it has caught up"
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Ok(verifier) = self.verifiers.of(epoch) {
            let message = request.preimage(self.verifiers.network());
            verifier.vouch(index, message, signature.clone());
        }
        Ok(Some(signature))
    }

    pub(super) fn sign_batch(&self, reference: BatchRef) -> Result<Option<Event>, SignError> {
        let request = Request::Batch(reference);
        let signature = self.make(reference.epoch, reference.creator, &request)?;
        Ok(signature.map(|signature| Event::BatchSigned { reference, signature }))
    }

    pub(super) fn sign_ack(
        &self,
        reference: BatchRef,
        validator: ValidatorIndex,
    ) -> Result<Option<Event>, SignError> {
        let request = Request::Ack { reference, validator };
        let signature = self.make(reference.epoch, validator, &request)?;
        Ok(signature.map(|signature| Event::AckSigned { reference, signature }))
    }
}

fn request(unsigned: &Unsigned) -> Request {
    match unsigned {
        Unsigned::Proposal { block, .. } => {
            Request::Proposal(Box::new(qbind_crypto::header(block)))
        }
        Unsigned::Vote { epoch, view, block, .. } => {
            Request::Vote { epoch: *epoch, view: *view, block: *block }
        }
        Unsigned::CommitVote { epoch, view, block, .. } => {
            Request::CommitVote { epoch: *epoch, view: *view, block: *block }
        }
        Unsigned::Timeout { epoch, view, high_qc, .. } => {
            Request::Timeout { epoch: *epoch, view: *view, high_qc_view: high_qc.view }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{custody::open_guard, metrics::Metrics};
    use qbind_crypto::{SecretKey, Verifier};
    use qbind_profile::Profile;
    use qbind_signer::Guarded;
    use qbind_types::{
        Address, BlockId, EpochStart, GenesisHash, Network, Qc, ValidatorInfo, ValidatorSet, View,
        VotingPower,
    };
    use std::path::Path;

    const CHAIN: GenesisHash = GenesisHash([5; 32]);

    fn signer(dir: &Path) -> (ValidatorSigner, Arc<Metrics>) {
        let key = SecretKey::from_seed(&[7; 32]);
        let guard = open_guard(dir, &key.public_key(), &CHAIN).expect("a new or own guard");
        let members = (0..4u8).map(|i| ValidatorInfo {
            id: u64::from(i),
            address: Address::default(),
            public_key: SecretKey::from_seed(&[i + 5; 32]).public_key(),
            previous_key: None,
            power: VotingPower(1),
        });
        let set = ValidatorSet::new(Epoch(0), members.collect()).expect("distinct keys");
        let set = Arc::new(set);
        let verifiers = Verifiers::new(Arc::new(Verifier::new(Network::Devnet, set)));
        let metrics = Arc::new(Metrics::new(&Profile::Devnet.preset(), &[2]));
        let guarded = Arc::new(Guarded::new(Arc::new(key), guard, Network::Devnet));
        let signer = Arc::new(Metered::new(guarded, metrics.signer.clone()));
        (ValidatorSigner { signer, verifiers: Arc::new(verifiers) }, metrics)
    }

    fn vote(view: u64, block: u8) -> Unsigned {
        let (epoch, view, validator) = (Epoch(0), View(view), ValidatorIndex(2));
        Unsigned::Vote { epoch, view, block: BlockId([block; 32]), validator }
    }

    fn timeout(view: u64) -> Unsigned {
        let (epoch, view, validator) = (Epoch(0), View(view), ValidatorIndex(2));
        Unsigned::Timeout {
            epoch,
            view,
            high_qc: Qc::start(&EpochStart::genesis(BlockId([0; 32]))),
            validator,
        }
    }

    fn signs(signer: &ValidatorSigner, unsigned: Unsigned) -> bool {
        signer.sign(unsigned).expect("the disk works").is_some()
    }

    #[test]
    fn a_core_with_an_older_database_gets_no_second_signature() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (first, _) = signer(dir.path());
        assert!(signs(&first, vote(5, 1)));
        assert!(signs(&first, vote(5, 1)), "the same again excludes nothing");
        assert!(signs(&first, timeout(6)));
        drop(first);
        // The database was restored from before view 5; the guard was not.
        let (second, metrics) = signer(dir.path());
        assert!(!signs(&second, vote(5, 2)), "another block");
        assert!(!signs(&second, vote(4, 2)), "an earlier view");
        assert!(!signs(&second, vote(6, 2)), "a view given up");
        assert_eq!(metrics.signer.refusals.get(), 3);
        assert!(signs(&second, vote(7, 2)), "beyond what was signed it goes on");
        assert_eq!(metrics.signer.refusals.get(), 3);
    }

    #[test]
    fn two_processes_cannot_sign_with_one_keystore() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (first, _) = signer(dir.path());
        let key = Signer::public_key(&*first.signer);
        let error = open_guard(dir.path(), &key, &CHAIN).expect_err("held");
        assert!(error.chain().contains("held by another process"), "{}", error.chain());
        let other = open_guard(dir.path(), &key, &GenesisHash([6; 32])).expect("another chain");
        assert!(other.is_new(), "views of one chain mean nothing in another");
    }
}
