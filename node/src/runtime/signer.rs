//! A validator's key behind its guard.

use crate::{
    NodeError,
    metrics::{Metrics, SignKind},
};
use qbind_consensus::Unsigned;
use qbind_crypto::{SecretKey, Verifiers, block_id, preimage};
use qbind_replica::Event;
use qbind_signer::{Guard, GuardError, Statement};
use qbind_types::{BatchRef, Epoch, GenesisHash, Network, PublicKey, Signature, ValidatorIndex};
use std::{path::Path, sync::Arc};

/// Signs what does not contradict anything this key signed before, whatever the database says.
pub(super) struct ValidatorSigner {
    pub(super) key: SecretKey,
    pub(super) guard: Guard,
    pub(super) verifiers: Arc<Verifiers>,
    pub(super) metrics: Arc<Metrics>,
}

/// Opens the guard that lies beside the key. Each chain has its own: views of one mean nothing in
/// another.
pub(super) fn open_guard(
    keystore: &Path,
    key: &PublicKey,
    chain: &GenesisHash,
) -> Result<Guard, NodeError> {
    let file = format!("consensus-{}.guard", hex::encode(&chain.0[..8]));
    Guard::open(&keystore.join(file), key).map_err(|e| match e {
        GuardError::File { .. } => NodeError::transient("cannot use the keystore").because(e),
        _ => NodeError::configuration("cannot use the keystore").because(e),
    })
}

impl ValidatorSigner {
    /// Signs a consensus message, or not: a database older than the guard may ask for what another
    /// life of this validator has excluded, until it has caught up.
    ///
    /// # Errors
    /// The disk's: the guard cannot be written, nothing may be signed.
    pub(super) fn sign(&mut self, unsigned: Unsigned) -> Result<Option<Event>, GuardError> {
        let (kind, statement) = match &unsigned {
            Unsigned::Proposal { block, .. } => {
                let (view, block) = (block.view, block_id(block));
                (SignKind::Proposal, Statement::Proposal { view, block })
            }
            Unsigned::Vote { view, block, .. } => {
                (SignKind::Vote, Statement::Vote { view: *view, block: *block })
            }
            Unsigned::CommitVote { view, block, .. } => {
                (SignKind::CommitVote, Statement::CommitVote { view: *view, block: *block })
            }
            Unsigned::Timeout { view, high_qc, .. } => {
                let high_qc_view = high_qc.view;
                (SignKind::Timeout, Statement::Timeout { view: *view, high_qc_view })
            }
        };
        self.metrics.signer.requests.inc(kind);
        match self.guard.approve(unsigned.epoch(), statement) {
            Ok(()) => {}
            Err(GuardError::Refused { statement, refusal }) => {
                self.metrics.signer.refusals.inc();
                tracing::error!(
                    %statement,
                    %refusal,
                    "refused to sign: the database is older than what this key has signed; it \
                     signs again when it has caught up"
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let (epoch, index) = (unsigned.epoch(), unsigned.signer());
        let signature = self.sign_bytes(epoch, index, unsigned.preimage(self.network()));
        Ok(Some(Event::Signed(Box::new(unsigned.complete(signature)))))
    }

    /// The signature comes back in certificates, where it need not be checked.
    fn sign_bytes(&self, epoch: Epoch, index: ValidatorIndex, message: Vec<u8>) -> Signature {
        let signature = self.key.sign(&message);
        if let Ok(verifier) = self.verifiers.of(epoch) {
            verifier.vouch(index, message, signature.clone());
        }
        signature
    }

    fn network(&self) -> Network {
        self.verifiers.network()
    }

    pub(super) fn sign_batch(&self, reference: BatchRef) -> Event {
        self.metrics.signer.requests.inc(SignKind::Batch);
        let message = preimage::batch(self.network(), &reference);
        let signature = self.sign_bytes(reference.epoch, reference.creator, message);
        Event::BatchSigned { reference, signature }
    }

    pub(super) fn sign_ack(&self, reference: BatchRef, validator: ValidatorIndex) -> Event {
        self.metrics.signer.requests.inc(SignKind::Ack);
        let message = preimage::ack(self.network(), &reference, validator);
        let signature = self.sign_bytes(reference.epoch, validator, message);
        Event::AckSigned { reference, signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_crypto::Verifier;
    use qbind_profile::Profile;
    use qbind_types::{
        Address, BlockId, EpochStart, Qc, ValidatorInfo, ValidatorSet, View, VotingPower,
    };

    const CHAIN: GenesisHash = GenesisHash([5; 32]);

    fn signer(dir: &Path) -> ValidatorSigner {
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
        ValidatorSigner { key, guard, verifiers: Arc::new(verifiers), metrics }
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

    fn signs(signer: &mut ValidatorSigner, unsigned: Unsigned) -> bool {
        signer.sign(unsigned).expect("the disk works").is_some()
    }

    #[test]
    fn a_core_with_an_older_database_gets_no_second_signature() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut first = signer(dir.path());
        assert!(signs(&mut first, vote(5, 1)));
        assert!(signs(&mut first, vote(5, 1)), "the same again excludes nothing");
        assert!(signs(&mut first, timeout(6)));
        drop(first);
        // The database was restored from before view 5; the guard was not.
        let mut second = signer(dir.path());
        assert!(!signs(&mut second, vote(5, 2)), "another block");
        assert!(!signs(&mut second, vote(4, 2)), "an earlier view");
        assert!(!signs(&mut second, vote(6, 2)), "a view given up");
        assert_eq!(second.metrics.signer.refusals.get(), 3);
        assert!(signs(&mut second, vote(7, 2)), "beyond what was signed it goes on");
        assert_eq!(second.metrics.signer.refusals.get(), 3);
    }

    #[test]
    fn two_processes_cannot_sign_with_one_keystore() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = signer(dir.path());
        let key = first.key.public_key();
        let error = open_guard(dir.path(), &key, &CHAIN).expect_err("held");
        assert!(error.chain().contains("held by another process"), "{}", error.chain());
        let other = open_guard(dir.path(), &key, &GenesisHash([6; 32])).expect("another chain");
        assert!(other.is_new(), "views of one chain mean nothing in another");
    }
}
