//! What one simulated node can do to the outside.

use crate::{config::Canary, disk::Disk};
use qbind_consensus::Unsigned;
use qbind_crypto::{SecretKey, preimage};
use qbind_dag::{DagMessage, Peer};
use qbind_replica::{CommitRecord, CouplingResult, Effect, Event, Halt, Target, Wire, World};
use qbind_sync::SyncMessage;
use qbind_types::{BatchId, Network, TxId, ValidatorIndex, View};

/// Something the simulation wants to know.
#[derive(Debug)]
pub(crate) enum Observed {
    Committed(Box<CommitRecord>),
    Accepted(TxId),
    Halted(Halt),
    Equivocation,
    Coupling(CouplingResult),
    Entered { view: View, by_timeout: bool },
    Proposed { id: qbind_types::BlockId },
}

pub(crate) struct NodeWorld<'a> {
    pub(crate) node: usize,
    pub(crate) network: Network,
    pub(crate) index: ValidatorIndex,
    pub(crate) key: &'a SecretKey,
    pub(crate) disk: &'a mut Disk,
    pub(crate) canary: Option<Canary>,
    pub(crate) outbox: Vec<(Target, Wire)>,
    pub(crate) observed: Vec<Observed>,
}

impl NodeWorld<'_> {
    /// A leader that lies about what is certified.
    fn corrupt(&self, unsigned: &mut Unsigned) {
        let Unsigned::Proposal { block, .. } = unsigned else { return };
        match self.canary {
            Some(Canary::ForgedBatch(node)) if node == self.node => {
                let creator = self.index;
                let last = block.batches.iter().rev().find(|r| r.creator == creator);
                let round = last.map_or_else(|| self.disk.next_round(creator), |r| r.round + 1);
                let id = BatchId([0xEE; 32]);
                block.batches.push(qbind_types::BatchRef { creator, round, id });
            }
            Some(Canary::MismatchedBatch(node)) if node == self.node => {
                if let Some(reference) = block.batches.last_mut() {
                    reference.id.0[0] ^= 1;
                }
            }
            _ => {}
        }
    }

    fn sign(&mut self, mut unsigned: Unsigned) -> Event {
        self.corrupt(&mut unsigned);
        if let Unsigned::Proposal { block, .. } = &unsigned {
            let id = qbind_crypto::block_id(block);
            self.observed.push(Observed::Proposed { id });
        }
        let signature = self.key.sign(&unsigned.preimage(self.network));
        Event::Signed(Box::new(unsigned.complete(signature)))
    }

    fn send(&mut self, to: Peer, wire: Wire) {
        self.outbox.push((Target::One(to), wire));
    }
}

impl World for NodeWorld<'_> {
    type Fault = std::convert::Infallible;

    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, Self::Fault> {
        if matches!(effect, Effect::Sign(_) | Effect::SignBatch(_) | Effect::SignAck(_)) {
            assert!(self.disk.unsynced() == 0, "a signature before what allows it is durable");
        }
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
                let signature = self.key.sign(&preimage::batch(self.network, &reference));
                return Ok(Some(Event::BatchSigned { reference, signature }));
            }
            Effect::SignAck(reference) => {
                let message = preimage::ack(self.network, &reference, self.index);
                let signature = self.key.sign(&message);
                return Ok(Some(Event::AckSigned { reference, signature }));
            }
            Effect::Send { to, message } => self.outbox.push((to, message)),
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
            Effect::Equivocation(_) | Effect::BatchEquivocation(_) => {
                self.observed.push(Observed::Equivocation);
            }
            Effect::Halt(why) => self.observed.push(Observed::Halted(why)),
            Effect::Entered { view, by_timeout } => {
                self.observed.push(Observed::Entered { view, by_timeout });
            }
            Effect::Coupling(result) => self.observed.push(Observed::Coupling(result)),
            Effect::Rejected { .. }
            | Effect::Certified { .. }
            | Effect::GaveUp { .. }
            | Effect::Note(_) => {}
        }
        Ok(None)
    }

    fn sync(&mut self) -> Result<(), Self::Fault> {
        self.disk.sync();
        Ok(())
    }
}
