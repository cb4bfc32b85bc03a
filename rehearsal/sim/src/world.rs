//! What one simulated node can do to the outside.

use crate::{
    config::{Byzantine, Phase, Signatures},
    disk::Disk,
    promises::Promises,
    trial::Trial,
};
use qbind_consensus::{Message, Unsigned};
use qbind_crypto::{
    Proof, Reject, SecretKey, Verifier, Verifiers, preimage, sha3_256, verify_evidence,
};
use qbind_dag::{DagMessage, Peer};
use qbind_replica::{CommitRecord, CouplingResult, Effect, Event, Halt, Target, Wire, World};
use qbind_sync::SyncMessage;
use qbind_types::{
    BatchId, Epoch, EpochStart, Evidence, Network, SIGNATURE_BYTES, Signature, TxId,
    ValidatorIndex, ValidatorSet, View,
};
use std::sync::Arc;

/// Something the simulation wants to know.
#[derive(Debug)]
pub(crate) enum Observed {
    Committed(Box<CommitRecord>),
    Accepted(TxId),
    Halted(Halt),
    /// By the validator with this index.
    Equivocation(usize),
    /// Likewise.
    Violation(usize),
    Coupling(CouplingResult),
    Entered {
        view: View,
        by_timeout: bool,
    },
    Proposed {
        id: qbind_types::BlockId,
    },
    EpochStarted(EpochStart),
    Proven(Proof, Box<Evidence>),
}

/// The power went away: nothing that follows is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PowerLoss;

/// Where the power of one node goes away.
#[derive(Debug, Default)]
pub(crate) struct Fuse {
    /// In this phase of a view the node leads.
    pub(crate) phase: Option<Phase>,
    /// At this effect, counted from the node's first.
    pub(crate) effect: Option<u64>,
    /// Effects so far.
    pub(crate) carried_out: u64,
}

pub(crate) struct NodeWorld<'a> {
    pub(crate) network: Network,
    pub(crate) index: ValidatorIndex,
    pub(crate) place: &'a mut Place,
    pub(crate) key: &'a SecretKey,
    pub(crate) signatures: Signatures,
    pub(crate) verifiers: &'a Registrar,
    pub(crate) disk: &'a mut Disk,
    pub(crate) byzantine: Option<Byzantine>,
    /// Of honest validators.
    pub(crate) promises: Option<&'a mut Promises>,
    /// Of honest validators, where signatures are real.
    pub(crate) trial: Option<&'a mut Trial>,
    pub(crate) fuse: &'a mut Fuse,
    pub(crate) outbox: Vec<(Target, Wire)>,
    pub(crate) observed: Vec<Observed>,
}

/// Where a node stands.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The newest epoch whose validators it knows.
    pub(crate) known: Epoch,
    /// The validators of its epoch.
    pub(crate) set: Option<Arc<ValidatorSet>>,
    /// Its place among them.
    pub(crate) me: Option<ValidatorIndex>,
}

impl Place {
    fn leads(&self, view: View) -> bool {
        self.set.as_ref().is_some_and(|set| self.me == Some(set.leader(view)))
    }
}

/// The verifiers of all epochs of a run: opening a message costs once, whoever receives it.
pub(crate) struct Registrar {
    signatures: Signatures,
    verifiers: Verifiers,
}

impl Registrar {
    pub(crate) fn new(network: Network, signatures: Signatures, first: Arc<ValidatorSet>) -> Self {
        let first = Self::verifier(network, signatures, first);
        Self { signatures, verifiers: Verifiers::keeping(first, usize::MAX) }
    }

    fn verifier(network: Network, signatures: Signatures, set: Arc<ValidatorSet>) -> Arc<Verifier> {
        Arc::new(match signatures {
            Signatures::Real => Verifier::new(network, set),
            // Whatever was vouched for stays valid to the end of the run.
            Signatures::Ideal => Verifier::with_memory(network, set, usize::MAX),
        })
    }

    fn elected(&self, set: Arc<ValidatorSet>) {
        if self.of(set.epoch()).is_err() {
            self.verifiers.add(Self::verifier(self.verifiers.network(), self.signatures, set));
        }
    }

    pub(crate) fn of(&self, epoch: Epoch) -> Result<Arc<Verifier>, Reject> {
        self.verifiers.of(epoch)
    }

    pub(crate) fn all(&self) -> &Verifiers {
        &self.verifiers
    }
}

impl NodeWorld<'_> {
    fn learn(&mut self, set: Arc<ValidatorSet>) {
        self.place.known = self.place.known.max(set.epoch());
        self.verifiers.elected(set);
    }

    /// A leader that lies about what is certified.
    fn corrupt(&self, unsigned: &mut Unsigned) {
        let Unsigned::Proposal { block, .. } = unsigned else { return };
        match self.byzantine {
            Some(Byzantine::ForgedBatch) => {
                let (creator, epoch) = (block.proposer, block.epoch);
                let last = block.batches.iter().rev().find(|r| r.creator == creator);
                let round = last.map_or_else(|| self.disk.next_round(creator), |r| r.round + 1);
                let id = BatchId([0xEE; 32]);
                block.batches.push(qbind_types::BatchRef { epoch, creator, round, id });
            }
            Some(Byzantine::BrokenSequence) => {
                if let Some(reference) = block.batches.last_mut() {
                    reference.round += 1;
                }
            }
            Some(Byzantine::MismatchedBatch) => {
                if let Some(reference) = block.batches.last_mut() {
                    reference.id.0[0] ^= 1;
                }
            }
            _ => {}
        }
    }

    fn sign_bytes(&self, epoch: Epoch, signer: ValidatorIndex, message: Vec<u8>) -> Signature {
        match self.signatures {
            Signatures::Real => self.key.sign(&message),
            Signatures::Ideal => {
                let digest = sha3_256(&[&signer.0.to_le_bytes(), &message]);
                let bytes: Vec<u8> = digest.iter().copied().cycle().take(SIGNATURE_BYTES).collect();
                let signature = Signature::from_slice(&bytes).expect("the right length");
                if let Ok(verifier) = self.verifiers.of(epoch) {
                    verifier.vouch(signer, message, signature.clone());
                }
                signature
            }
        }
    }

    fn sign(&mut self, mut unsigned: Unsigned) -> Event {
        self.corrupt(&mut unsigned);
        if let Some(promises) = &mut self.promises {
            promises.signed(self.index, &unsigned, self.disk.durable_safety());
        }
        if let Unsigned::Proposal { block, .. } = &unsigned {
            let id = qbind_crypto::block_id(block);
            self.observed.push(Observed::Proposed { id });
        }
        let (epoch, signer) = (unsigned.epoch(), unsigned.signer());
        let signature = self.sign_bytes(epoch, signer, unsigned.preimage(self.network));
        let message = unsigned.complete(signature);
        if let Some(trial) = &mut self.trial
            && let Ok(verifier) = self.verifiers.of(epoch)
        {
            trial.said(self.network, verifier.set(), &message);
        }
        Event::Signed(Box::new(message))
    }

    /// Whether what a machine found convicts by itself, and whom.
    fn prove(&mut self, effect: &Effect) {
        let Some(evidence) = effect.evidence(self.network) else { return };
        let Ok(verifier) = self.verifiers.of(evidence.epoch()) else { return };
        if let Ok(proof) = verify_evidence(self.network, verifier.set(), &evidence) {
            self.observed.push(Observed::Proven(proof, Box::new(evidence)));
        }
    }

    fn send(&mut self, to: Peer, wire: Wire) {
        self.outbox.push((Target::One(to), wire));
    }

    fn count_effect(&mut self) -> Result<(), PowerLoss> {
        let at = self.fuse.carried_out;
        self.fuse.carried_out += 1;
        if self.fuse.effect == Some(at) { Err(PowerLoss) } else { Ok(()) }
    }

    /// Whether the power goes away now because this node is the leader it was meant for.
    fn blows(&mut self, phase: Phase, view: View) -> Result<(), PowerLoss> {
        if self.fuse.phase == Some(phase) && self.place.leads(view) {
            self.fuse.phase = None;
            return Err(PowerLoss);
        }
        Ok(())
    }

    fn check_fuse(&mut self, effect: &Effect) -> Result<(), PowerLoss> {
        match effect {
            Effect::Sign(unsigned) => {
                let phase = match **unsigned {
                    Unsigned::Proposal { .. } => Phase::BeforeProposal,
                    Unsigned::Vote { .. } => Phase::BeforeVote,
                    Unsigned::CommitVote { .. } => Phase::BeforeCommitVote,
                    Unsigned::Timeout { .. } => return Ok(()),
                };
                self.blows(phase, unsigned.view())
            }
            Effect::Commit(record) => self.blows(Phase::BeforeCommit, record.committed.block.view),
            _ => Ok(()),
        }
    }
}

impl World for NodeWorld<'_> {
    type Fault = PowerLoss;

    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, PowerLoss> {
        self.count_effect()?;
        self.check_fuse(&effect)?;
        self.prove(&effect);
        match effect {
            Effect::PersistSafety(record) => self.disk.persist_safety(*record),
            Effect::StoreBlock { block, .. } => self.disk.store_block(*block),
            Effect::Sign(unsigned) => return Ok(Some(self.sign(*unsigned))),
            Effect::PersistOwnBatch(batch) => self.disk.persist_own(*batch),
            Effect::PersistAck(reference) => self.disk.persist_ack(reference),
            Effect::StoreBatch { reference, batch } => {
                self.disk.store_batch(reference, (*batch).clone());
            }
            Effect::StoreCertificate(c) => self.disk.store_certificate(*c),
            Effect::StorePending(p) => self.disk.store_pending(*p),
            Effect::ForgetPending(ids) => self.disk.forget_pending(ids),
            Effect::SignBatch(reference) => {
                if let Some(promises) = &mut self.promises {
                    let durable = self.disk.has_durable_batch(&reference);
                    promises.signed_batch(self.index, reference, durable);
                }
                let message = preimage::batch(self.network, &reference);
                let signature = self.sign_bytes(reference.epoch, reference.creator, message);
                if let Some(trial) = &mut self.trial
                    && let Ok(verifier) = self.verifiers.of(reference.epoch)
                {
                    trial.made(self.network, verifier.set(), reference, signature.clone());
                }
                return Ok(Some(Event::BatchSigned { reference, signature }));
            }
            Effect::SignAck { reference, validator } => {
                if let Some(promises) = &mut self.promises {
                    // An own batch that is kept is its own ack decision.
                    let durable = match reference.creator == validator {
                        true => self.disk.has_durable_batch(&reference),
                        false => self.disk.has_durable_ack(&reference),
                    };
                    promises.signed_ack(self.index, reference, durable);
                }
                let message = preimage::ack(self.network, &reference, validator);
                let signature = self.sign_bytes(reference.epoch, validator, message);
                return Ok(Some(Event::AckSigned { reference, signature }));
            }
            Effect::Send { to, message } => {
                let proposed = match &message {
                    Wire::Consensus(m) => match &**m {
                        Message::Proposal(p) => Some(p.block.view),
                        _ => None,
                    },
                    _ => None,
                };
                self.outbox.push((to, message));
                if let Some(view) = proposed {
                    self.blows(Phase::AfterProposal, view)?;
                }
            }
            Effect::ServeBatch { to, reference } => {
                if let Some(certified) = self.disk.certified(&reference) {
                    self.send(to, Wire::Dag(Box::new(DagMessage::Response(certified))));
                }
            }
            Effect::ServeBlocks { to, from, limit } => {
                let blocks = self.disk.committed(from, limit);
                self.send(to, Wire::Sync(Box::new(SyncMessage::Blocks(blocks))));
            }
            Effect::Commit(record) => {
                self.disk.commit((*record).clone());
                self.observed.push(Observed::Committed(record));
            }
            Effect::Accepted(id) => self.observed.push(Observed::Accepted(id)),
            Effect::Equivocation(evidence) => {
                let accused = usize::from(evidence.validator.0);
                self.observed.push(Observed::Equivocation(accused));
            }
            Effect::CouplingViolation(evidence) => {
                let accused = usize::from(evidence.proposal.block.proposer.0);
                self.observed.push(Observed::Violation(accused));
            }
            Effect::BatchEquivocation(evidence) => {
                let accused = usize::from(evidence.first.creator.0);
                self.observed.push(Observed::Equivocation(accused));
            }
            Effect::Elected(set) => self.learn(set),
            Effect::EpochStarted { start, set, me } => {
                self.place.me = me;
                self.place.set = Some(set.clone());
                self.learn(set);
                self.observed.push(Observed::EpochStarted(start));
            }
            Effect::Halt(why) => self.observed.push(Observed::Halted(why)),
            Effect::Entered { view, by_timeout } => {
                self.observed.push(Observed::Entered { view, by_timeout });
            }
            Effect::Coupling(result) => self.observed.push(Observed::Coupling(result)),
            // Simulated disks hold everything: whoever is ahead has what somebody lacks.
            Effect::OutOfReach { .. } => {}
            Effect::Rejected { .. }
            | Effect::Certified { .. }
            | Effect::GaveUp { .. }
            | Effect::Note(_) => {}
        }
        Ok(None)
    }

    fn sync(&mut self) -> Result<(), PowerLoss> {
        self.count_effect()?;
        self.disk.sync();
        Ok(())
    }
}
