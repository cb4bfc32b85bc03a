//! Real keys and signatures, from small seeds.

use qbind_crypto::{SecretKey, Verified, Verifier, address_of, batch_id, preimage, tx_id};
use qbind_dag::{Standing, Submission};
use qbind_types::{
    Address, Batch, BatchAck, BatchCertificate, BatchRef, Epoch, Millis, Network, Payload,
    Signature, Transaction, TransferV1, TxId, ValidatorIndex, ValidatorInfo, ValidatorSet,
    VotingPower,
};
use std::sync::Arc;

pub(crate) const NETWORK: Network = Network::Devnet;

pub(crate) struct Keys {
    pub(crate) validators: Vec<SecretKey>,
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) verifier: Arc<Verifier>,
}

impl Keys {
    /// One validator for each stake.
    pub(crate) fn new(stakes: &[u64]) -> Self {
        let validators: Vec<SecretKey> =
            (0..stakes.len()).map(|i| SecretKey::from_seed(&[i as u8 + 1; 32])).collect();
        let members =
            validators.iter().zip(stakes).enumerate().map(|(i, (key, power))| ValidatorInfo {
                id: i as u64 + 1,
                address: Default::default(),
                previous_key: None,
                public_key: key.public_key(),
                power: VotingPower(*power),
            });
        let set = Arc::new(ValidatorSet::new(Epoch(0), members.collect()).expect("valid set"));
        let verifier = Arc::new(Verifier::new(NETWORK, set.clone()));
        Self { validators, set, verifier }
    }

    fn key(&self, validator: ValidatorIndex) -> &SecretKey {
        &self.validators[usize::from(validator.0)]
    }

    pub(crate) fn sign_batch(&self, reference: &BatchRef) -> Signature {
        self.key(reference.creator).sign(&preimage::batch(NETWORK, reference))
    }

    pub(crate) fn sign_ack(&self, reference: &BatchRef, validator: ValidatorIndex) -> Signature {
        self.key(validator).sign(&preimage::ack(NETWORK, reference, validator))
    }

    /// A signed batch and its name.
    pub(crate) fn batch(
        &self,
        creator: u16,
        round: u64,
        parents: Vec<BatchRef>,
        transactions: Vec<Transaction>,
    ) -> (BatchRef, Verified<Batch>) {
        let unsigned = Signature::from_slice(&[0; 2420]).expect("length");
        let creator = ValidatorIndex(creator);
        let mut batch =
            Batch { epoch: Epoch(0), creator, round, parents, transactions, signature: unsigned };
        let reference = BatchRef { epoch: Epoch(0), creator, round, id: batch_id(NETWORK, &batch) };
        batch.signature = self.sign_batch(&reference);
        (reference, self.verifier.verify_batch(batch).expect("rightly signed"))
    }

    pub(crate) fn ack(&self, reference: BatchRef, validator: u16) -> BatchAck {
        let validator = ValidatorIndex(validator);
        let signature = self.sign_ack(&reference, validator);
        BatchAck { batch: reference, validator, signature }
    }

    pub(crate) fn certificate(&self, reference: BatchRef, signers: &[u16]) -> BatchCertificate {
        let acks = signers.iter().map(|v| ValidatorIndex(*v));
        let acks = acks.map(|v| (v, self.sign_ack(&reference, v))).collect();
        BatchCertificate { batch: reference, acks }
    }

    pub(crate) fn certified(
        &self,
        reference: BatchRef,
        signers: &[u16],
    ) -> Verified<BatchCertificate> {
        let certificate = self.certificate(reference, signers);
        self.verifier.verify_batch_certificate(certificate).expect("a quorum")
    }
}

/// A client.
pub(crate) struct Account {
    key: SecretKey,
    pub(crate) address: Address,
}

impl Account {
    pub(crate) fn new(seed: u16) -> Self {
        let mut bytes = [0xA5; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        let key = SecretKey::from_seed(&bytes);
        let address = address_of(&key.public_key());
        Self { key, address }
    }

    pub(crate) fn transfer(&self, nonce: u64, fee: u128) -> Transaction {
        let payload = Payload::V1(TransferV1 {
            recipient: Address([9; 32]),
            amount: 1,
            gas_limit: 21_000,
            max_fee_per_gas: fee,
        });
        let mut transaction = Transaction {
            sender: self.address,
            nonce,
            payload: payload.encode(),
            suite: 100,
            public_key: self.key.public_key(),
            signature: Signature::from_slice(&[0; 2420]).expect("length"),
        };
        transaction.signature = self.key.sign(&preimage::transaction(NETWORK, &transaction));
        transaction
    }

    /// A transfer handed in by somebody rich whose committed nonce is `account_nonce`.
    pub(crate) fn submission(
        &self,
        verifier: &Verifier,
        nonce: u64,
        fee: u128,
        account_nonce: u64,
        now: Millis,
    ) -> Submission {
        let transaction = self.transfer(nonce, fee);
        let id = id_of(&transaction);
        Submission {
            transaction: verifier.verify_transaction(transaction).expect("rightly signed"),
            id,
            account: rich(account_nonce),
            cost: 1 + 21_000 * fee,
            fee_per_gas: fee,
            gas: 21_000,
            now,
        }
    }
}

/// An account with that committed nonce and all the money there can be.
pub(crate) fn rich(nonce: u64) -> Standing {
    Standing { nonce, spendable: u128::MAX }
}

pub(crate) fn id_of(transaction: &Transaction) -> TxId {
    tx_id(NETWORK, transaction)
}
