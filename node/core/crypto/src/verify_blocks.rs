//! Checks of blocks and of the certificates that carry them.

use crate::{Reject, Verified, Verifier, block_id, evidence::is_misplaced, preimage};
use qbind_types::{Block, CommitCertificate, CommittedBlock, Proposal, Qc, Tc, limits};

impl Verifier {
    fn check_block(&self, block: &Block) -> Result<(), Reject> {
        if block.network != self.network() {
            return Err(Reject::WrongNetwork);
        }
        self.check_epoch(block.epoch)?;
        if block.batches.len() > limits::BLOCK_BATCHES {
            return Err(Reject::TooLarge { what: "block" });
        }
        if block.proposer != self.set().leader(block.view) {
            return Err(Reject::Inconsistent { what: "proposer" });
        }
        if is_misplaced(block.height, block.view, block.executed.height) {
            return Err(Reject::Inconsistent { what: "height, view and executed height" });
        }
        Ok(())
    }

    pub(crate) fn check_qc(&self, qc: &Qc) -> Result<(), Reject> {
        self.check_epoch(qc.epoch)?;
        if qc.votes.is_empty() {
            // What an epoch starts from needs none of its votes; the core knows what that is.
            return Ok(());
        }
        self.check_signers(qc.votes.iter().map(|(i, _)| *i))?;
        let message = preimage::vote(self.network(), qc.epoch, qc.view, &qc.block);
        for (index, signature) in &qc.votes {
            self.check("vote", *index, message.clone(), signature)?;
        }
        Ok(())
    }

    /// Checks a quorum certificate.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_qc(&self, qc: Qc) -> Result<Verified<Qc>, Reject> {
        self.check_qc(&qc)?;
        Ok(Verified::new(qc))
    }

    fn check_tc(&self, tc: &Tc) -> Result<(), Reject> {
        self.check_epoch(tc.epoch)?;
        self.check_signers(tc.timeouts.iter().map(|t| t.validator))?;
        for t in &tc.timeouts {
            let message = preimage::timeout(self.network(), tc.epoch, tc.view, t.high_qc_view);
            self.check("timeout", t.validator, message, &t.signature)?;
        }
        Ok(())
    }

    /// Checks a timeout certificate.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_tc(&self, tc: Tc) -> Result<Verified<Tc>, Reject> {
        self.check_tc(&tc)?;
        Ok(Verified::new(tc))
    }

    fn check_commit_certificate(&self, certificate: &CommitCertificate) -> Result<(), Reject> {
        self.check_epoch(certificate.epoch)?;
        self.check_signers(certificate.votes.iter().map(|(i, _)| *i))?;
        let CommitCertificate { epoch, view, block, votes } = certificate;
        let message = preimage::commit(self.network(), *epoch, *view, block);
        for (index, signature) in votes {
            self.check("commit vote", *index, message.clone(), signature)?;
        }
        Ok(())
    }

    /// Checks a commit certificate.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_commit_certificate(
        &self,
        certificate: CommitCertificate,
    ) -> Result<Verified<CommitCertificate>, Reject> {
        self.check_commit_certificate(&certificate)?;
        Ok(Verified::new(certificate))
    }

    /// Checks a proposal: its leader, its signature, and the certificates that allow it.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_proposal(&self, proposal: Proposal) -> Result<Verified<Proposal>, Reject> {
        let Proposal { block, justify, timeout, signature } = &proposal;
        self.check_block(block)?;
        let message = preimage::proposal(self.network(), &block_id(block));
        self.check("proposal", block.proposer, message, signature)?;
        if justify.block != block.parent || justify.view >= block.view {
            return Err(Reject::Inconsistent { what: "justification" });
        }
        self.check_qc(justify)?;
        match timeout {
            None if justify.view.next() == block.view => {}
            Some(tc) if tc.view.next() == block.view => {
                self.check_tc(tc)?;
                // HotStuff-2, section 4: after a timeout certificate extend its highest QC or later.
                if justify.view < tc.high_qc_view() {
                    return Err(Reject::Inconsistent { what: "justification" });
                }
            }
            _ => return Err(Reject::Inconsistent { what: "timeout certificate" }),
        }
        Ok(Verified::new(proposal))
    }

    /// Checks that a block is final: the chain of its descendants and the certificate at the end.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn verify_committed_block(
        &self,
        committed: CommittedBlock,
    ) -> Result<Verified<CommittedBlock>, Reject> {
        let CommittedBlock { block, proof } = &committed;
        self.check_block(block)?;
        let (mut id, mut last) = (block_id(block), block);
        for child in &proof.descendants {
            self.check_block(child)?;
            let follows =
                child.parent == id && child.height == last.height.next() && child.view > last.view;
            if !follows {
                return Err(Reject::Inconsistent { what: "descendants" });
            }
            (id, last) = (block_id(child), child);
        }
        if proof.certificate.block != id || proof.certificate.view != last.view {
            return Err(Reject::Inconsistent { what: "commit certificate" });
        }
        self.check_commit_certificate(&proof.certificate)?;
        Ok(Verified::new(committed))
    }
}
