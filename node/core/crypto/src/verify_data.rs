//! Checks of transactions, batches and their certificates.

use crate::{Reject, Verified, Verifier, address_of, batch_id, preimage, verify};
use qbind_types::{
    Batch, BatchAck, BatchCertificate, BatchRef, CertifiedBatch, Payload, Transaction, limits,
};

/// Signature suite of ML-DSA-44.
const ML_DSA_44_SUITE: u16 = 100;

impl Verifier {
    fn is_signed(&self, transaction: &Transaction) -> bool {
        transaction.suite == ML_DSA_44_SUITE
            && Payload::decode(&transaction.payload).is_ok()
            && transaction.sender == address_of(&transaction.public_key)
            && verify(
                &transaction.public_key,
                &preimage::transaction(self.network(), transaction),
                &transaction.signature,
            )
    }

    /// Checks a transaction's form, key and signature.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_transaction(
        &self,
        transaction: Transaction,
    ) -> Result<Verified<Transaction>, Reject> {
        if self.is_signed(&transaction) {
            Ok(Verified::new(transaction))
        } else {
            Err(Reject::BadTransaction { position: 0 })
        }
    }

    fn check_batch_form(&self, batch: &Batch) -> Result<BatchRef, Reject> {
        self.check_epoch(batch.epoch)?;
        if batch.transactions.len() > limits::BATCH_TRANSACTIONS
            || batch.parents.len() > self.set().count()
        {
            return Err(Reject::TooLarge { what: "batch" });
        }
        let id = batch_id(self.network(), batch);
        let reference = BatchRef::of(batch, id);
        let message = preimage::batch(self.network(), &reference);
        self.check("batch", batch.creator, message, &batch.signature)?;
        Ok(reference)
    }

    /// Checks a batch: the creator's signature and every transaction in it.
    ///
    /// # Errors
    /// The creator's fault.
    pub fn verify_batch(&self, batch: Batch) -> Result<Verified<Batch>, Reject> {
        self.check_batch_form(&batch)?;
        match batch.transactions.iter().position(|t| !self.is_signed(t)) {
            Some(position) => Err(Reject::BadTransaction { position }),
            None => Ok(Verified::new(batch)),
        }
    }

    /// Checks an ack.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_ack(&self, ack: BatchAck) -> Result<Verified<BatchAck>, Reject> {
        self.check_epoch(ack.batch.epoch)?;
        let message = preimage::ack(self.network(), &ack.batch, ack.validator);
        self.check("ack", ack.validator, message, &ack.signature)?;
        Ok(Verified::new(ack))
    }

    fn check_batch_certificate(&self, certificate: &BatchCertificate) -> Result<(), Reject> {
        self.check_epoch(certificate.batch.epoch)?;
        self.member(certificate.batch.creator)?;
        self.check_signers(certificate.acks.iter().map(|(i, _)| *i))?;
        for (index, signature) in &certificate.acks {
            let message = preimage::ack(self.network(), &certificate.batch, *index);
            self.check("ack", *index, message, signature)?;
        }
        Ok(())
    }

    /// Checks an availability certificate.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_batch_certificate(
        &self,
        certificate: BatchCertificate,
    ) -> Result<Verified<BatchCertificate>, Reject> {
        self.check_batch_certificate(&certificate)?;
        Ok(Verified::new(certificate))
    }

    /// Checks a fetched batch: the certificate names exactly this content. Its transactions were
    /// checked by the quorum that acked it and are not checked again.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_certified_batch(
        &self,
        certified: CertifiedBatch,
    ) -> Result<Verified<CertifiedBatch>, Reject> {
        let reference = self.check_batch_form(&certified.batch)?;
        if reference != certified.certificate.batch {
            return Err(Reject::Inconsistent { what: "batch certificate" });
        }
        self.check_batch_certificate(&certified.certificate)?;
        Ok(Verified::new(certified))
    }
}
