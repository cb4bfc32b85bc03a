//! Uncommitted blocks, as a tree above the last committed one.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use qbind_crypto::block_id;
use qbind_types::{Block, BlockId, CommitCertificate, CommitProof, CommittedBlock, Height, View};

/// Most uncommitted blocks kept; beyond it the lowest views give way (they can be fetched again).
pub(crate) const MAX_BLOCKS: usize = 1_024;

/// Final blocks kept for who missed their proposal and asks for them by id; the oldest give way.
const RECENT: usize = 64;

/// The last final block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) id: BlockId,
    pub(crate) height: Height,
    pub(crate) view: View,
}

#[derive(Debug, Clone)]
pub(crate) struct Chain {
    tip: Tip,
    /// The last final blocks, up to the tip; none when that is genesis.
    recent: VecDeque<(BlockId, Block)>,
    blocks: BTreeMap<BlockId, Block>,
}

/// Where a branch leads.
pub(crate) enum Branch {
    /// Down to the tip: blocks above it, ascending.
    Complete(Vec<Block>),
    /// This block is not known.
    Missing(BlockId),
    /// It leaves the committed chain below the tip.
    Conflicting,
}

impl Chain {
    pub(crate) fn new(tip: Tip, tip_block: Option<Block>) -> Self {
        let recent = tip_block.map(|block| (tip.id, block)).into_iter().collect();
        Self { tip, recent, blocks: BTreeMap::new() }
    }

    pub(crate) fn tip(&self) -> Tip {
        self.tip
    }

    pub(crate) fn get(&self, id: &BlockId) -> Option<&Block> {
        let tip = || self.recent.back().filter(|(tip, _)| tip == id).map(|(_, block)| block);
        self.blocks.get(id).or_else(tip)
    }

    /// A known block, be it final.
    pub(crate) fn find(&self, id: &BlockId) -> Option<&Block> {
        let recent = || self.recent.iter().find(|(recent, _)| recent == id).map(|(_, block)| block);
        self.blocks.get(id).or_else(recent)
    }

    fn advance(&mut self, id: BlockId, block: Block) {
        self.tip = Tip { id, height: block.height, view: block.view };
        self.recent.push_back((id, block));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    pub(crate) fn contains(&self, id: &BlockId) -> bool {
        *id == self.tip.id || self.blocks.contains_key(id)
    }

    /// Height and view of a known block.
    pub(crate) fn position(&self, id: &BlockId) -> Option<(Height, View)> {
        if *id == self.tip.id {
            return Some((self.tip.height, self.tip.view));
        }
        self.blocks.get(id).map(|b| (b.height, b.view))
    }

    pub(crate) fn insert(&mut self, id: BlockId, block: Block) {
        if block.height <= self.tip.height {
            return;
        }
        self.blocks.insert(id, block);
        if self.blocks.len() > MAX_BLOCKS
            && let Some(lowest) = self.blocks.iter().min_by_key(|(_, b)| b.view).map(|(id, _)| *id)
        {
            self.blocks.remove(&lowest);
        }
    }

    /// The blocks from above the tip up to `id`.
    pub(crate) fn branch(&self, id: &BlockId) -> Branch {
        let mut blocks = Vec::new();
        let mut at = *id;
        while at != self.tip.id {
            let Some(block) = self.blocks.get(&at) else { return Branch::Missing(at) };
            if block.height <= self.tip.height.next() && block.parent != self.tip.id {
                return Branch::Conflicting;
            }
            at = block.parent;
            blocks.push(block.clone());
        }
        blocks.reverse();
        Branch::Complete(blocks)
    }

    /// Whether a child of `parent` would come after the last block of the epoch: it can only help that
    /// one to its commit certificate.
    pub(crate) fn is_closing(&self, parent: &BlockId) -> bool {
        let mut at = *parent;
        while at != self.tip.id {
            let Some(block) = self.blocks.get(&at) else { return false };
            if block.ends_epoch() {
                return true;
            }
            at = block.parent;
        }
        false
    }

    /// Makes `blocks`, a complete branch certified by `certificate`, final; of those after the last
    /// block of the epoch nothing remains but the proof.
    pub(crate) fn commit(
        &mut self,
        blocks: Vec<Block>,
        certificate: &CommitCertificate,
    ) -> Vec<CommittedBlock> {
        let last = blocks.iter().position(Block::ends_epoch).map_or(blocks.len(), |at| at + 1);
        let committed = blocks
            .iter()
            .enumerate()
            .take(last)
            .map(|(i, block)| CommittedBlock {
                block: block.clone(),
                proof: CommitProof {
                    descendants: blocks[i + 1..].to_vec(),
                    certificate: certificate.clone(),
                },
            })
            .collect();
        for block in blocks.into_iter().take(last) {
            self.advance(block_id(&block), block);
        }
        let height = self.tip.height;
        self.blocks.retain(|_, b| b.height > height);
        committed
    }

    /// Moves the tip by one block proven final elsewhere; `false` when it does not fit.
    pub(crate) fn extend(&mut self, id: BlockId, block: &Block) -> bool {
        if block.parent != self.tip.id || block.height != self.tip.height.next() {
            return false;
        }
        self.advance(id, block.clone());
        let height = self.tip.height;
        self.blocks.retain(|_, b| b.height > height);
        true
    }

    /// Forgets uncommitted blocks.
    #[cfg(test)]
    pub(crate) fn retain(&mut self, keep: impl Fn(&BlockId) -> bool) {
        self.blocks.retain(|id, _| keep(id));
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }
}
