//! What must hold, whatever the nodes say about themselves.

use crate::{disk::Disk, world::Registrar};
use qbind_crypto::batch_id;
use qbind_replica::CommitRecord;
use qbind_types::{BlockId, Epoch, Height, StateRoot, TxId};
use std::collections::BTreeMap;

/// Compares every commit of every honest node with all others.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    blocks: BTreeMap<Height, BlockId>,
    roots: BTreeMap<Height, StateRoot>,
    effects: BTreeMap<TxId, u64>,
    /// By height, as the block before says.
    epochs: BTreeMap<Height, Epoch>,
    counted: Height,
    pub(crate) divergences: Vec<String>,
    pub(crate) mismatches: Vec<String>,
    pub(crate) states: Vec<String>,
}

impl Oracle {
    pub(crate) fn committed(
        &mut self,
        node: usize,
        record: &CommitRecord,
        disk: &Disk,
        registrar: &Registrar,
    ) {
        let block = &record.committed.block;
        let height = block.height;
        let Ok(verifier) = registrar.of(block.epoch) else {
            self.mismatches.push(format!("height {height}: nobody was elected for its epoch"));
            return;
        };
        let epoch = *self.epochs.entry(height.next()).or_insert(block.next_epoch());
        let expected = self.epochs.get(&height).copied().unwrap_or_default();
        if block.epoch != expected || epoch != block.next_epoch() {
            let got = block.epoch;
            self.divergences
                .push(format!("height {height} is of epoch {got}, expected {expected}"));
        }
        let first = *self.blocks.entry(height).or_insert(record.id);
        if first != record.id {
            self.divergences
                .push(format!("height {height}: {first} and, on node {node}, {}", record.id));
        }
        let root = *self.roots.entry(height).or_insert(record.state_root);
        if root != record.state_root {
            let other = record.state_root;
            self.states.push(format!("height {height}: {root} and, on node {node}, {other}"));
        }
        if verifier.verify_committed_block(record.committed.clone()).is_err() {
            self.mismatches.push(format!("height {height} on node {node}: no valid certificate"));
        }
        for reference in &record.committed.block.batches {
            let valid = disk.certified(reference).is_some_and(|c| {
                c.certificate.batch == *reference
                    && batch_id(verifier.network(), &c.batch) == reference.id
                    && verifier.verify_batch_certificate(c.certificate).is_ok()
            });
            if !valid {
                self.mismatches.push(format!(
                    "height {height} on node {node}: batch {} of {} is not certified",
                    reference.round, reference.creator
                ));
            }
        }
        if height > self.counted {
            self.counted = height;
            for (id, receipt) in record.transactions.iter().zip(&record.receipts) {
                if !matches!(receipt.status, qbind_ledger::Status::Skipped(_)) {
                    *self.effects.entry(*id).or_insert(0) += 1;
                }
            }
        }
    }

    pub(crate) fn has_effect(&self, id: &TxId) -> bool {
        self.effects.contains_key(id)
    }

    pub(crate) fn highest(&self) -> u64 {
        self.blocks.keys().next_back().map_or(0, |h| h.0)
    }

    /// Transfers with effect exactly once, and more than once.
    pub(crate) fn effects(&self) -> (u64, u64) {
        let once = self.effects.values().filter(|n| **n == 1).count() as u64;
        (once, self.effects.len() as u64 - once)
    }
}
