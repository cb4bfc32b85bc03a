//! Following a chain from genesis by certificates alone.

use crate::{Reject, Verifier, block_id, validators_id};
use qbind_types::{
    BlockId, CommittedBlock, Epoch, Height, Network, ValidatorSet, ValidatorsId, View,
};
use std::sync::Arc;
use thiserror::Error;

/// Why a block or a validator set is not the next of the chain: whoever handed it over is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LightError {
    /// A signature or a rule of form.
    #[error("height {height}: {reject}")]
    Reject {
        /// Which block.
        height: Height,
        /// What is wrong.
        #[source]
        reject: Reject,
    },
    /// Not the next height.
    #[error("height {got}, expected {expected}")]
    Height {
        /// What was given.
        got: Height,
        /// What comes next.
        expected: Height,
    },
    /// It does not extend the last block.
    #[error("height {height} extends {got}, and the block before it is {expected}")]
    Parent {
        /// Which block.
        height: Height,
        /// The parent it names.
        got: BlockId,
        /// The block before.
        expected: BlockId,
    },
    /// Of another epoch than the block before says.
    #[error("height {height} is of epoch {got}, expected {expected}")]
    Epoch {
        /// Which block.
        height: Height,
        /// What it says.
        got: Epoch,
        /// What the block before says.
        expected: Epoch,
    },
    /// Views only grow.
    #[error("height {height} is of view {view}, which is not above that of the block before")]
    View {
        /// Which block.
        height: Height,
        /// Its view.
        view: View,
    },
    /// Not the validators that the last block of the epoch before names.
    #[error("these are not the validators of epoch {epoch} that the chain names")]
    Validators {
        /// Which epoch.
        epoch: Epoch,
    },
    /// The validators of this epoch come first.
    #[error("the validators of epoch {epoch} were not given")]
    NoValidators {
        /// Which epoch.
        epoch: Epoch,
    },
}

/// Knows the last final block and who decides the next; trusts the genesis it was given and nothing
/// else.
pub struct LightClient {
    network: Network,
    verifier: Verifier,
    height: Height,
    view: View,
    block: BlockId,
    /// The last block ended its epoch and names these.
    next: Option<ValidatorsId>,
}

impl LightClient {
    /// At genesis.
    pub fn new(network: Network, genesis: BlockId, founders: Arc<ValidatorSet>) -> Self {
        let verifier = Verifier::new(network, founders);
        let (height, view, block) = (Height(0), View(0), genesis);
        Self { network, verifier, height, view, block, next: None }
    }

    /// Height of the last block.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Its id.
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// Who decides in the newest epoch known.
    pub fn validators(&self) -> &Arc<ValidatorSet> {
        self.verifier.set()
    }

    /// The epoch whose validators must be given before the next block.
    pub fn wants_validators(&self) -> Option<Epoch> {
        self.next.map(|_| self.verifier.set().epoch().next())
    }

    /// Goes on into the next epoch.
    ///
    /// # Errors
    /// They are not those the last block names, or none are wanted.
    pub fn start_epoch(&mut self, validators: ValidatorSet) -> Result<(), LightError> {
        let epoch = validators.epoch();
        let is_named = self.wants_validators() == Some(epoch)
            && self.next == Some(validators_id(self.network, &validators));
        if !is_named {
            return Err(LightError::Validators { epoch });
        }
        self.verifier = Verifier::new(self.network, Arc::new(validators));
        self.next = None;
        Ok(())
    }

    /// Takes the next block.
    ///
    /// # Errors
    /// It is not the next block of the chain; nothing has changed.
    pub fn follow(&mut self, committed: CommittedBlock) -> Result<(), LightError> {
        let block = &committed.block;
        let (got, expected) = (block.height, self.height.next());
        if got != expected {
            return Err(LightError::Height { got, expected });
        }
        if block.parent != self.block {
            let (got, expected) = (block.parent, self.block);
            return Err(LightError::Parent { height: block.height, got, expected });
        }
        self.check_and_take(committed)
    }

    /// Takes the last block of this epoch without those before it: its certificate vouches for them
    /// all.
    ///
    /// # Errors
    /// It is no block that ends this epoch; nothing has changed.
    pub fn skip_to_end(&mut self, committed: CommittedBlock) -> Result<(), LightError> {
        if !committed.block.ends_epoch() {
            let (got, expected) = (committed.block.height, self.height.next());
            return Err(LightError::Height { got, expected });
        }
        self.skip_to(committed)
    }

    /// Takes a later block of this epoch without those between, likewise.
    ///
    /// # Errors
    /// It is no later block of this epoch; nothing has changed.
    pub fn skip_to(&mut self, committed: CommittedBlock) -> Result<(), LightError> {
        let block = &committed.block;
        if block.height <= self.height {
            let (got, expected) = (block.height, self.height.next());
            return Err(LightError::Height { got, expected });
        }
        self.check_and_take(committed)
    }

    fn check_and_take(&mut self, committed: CommittedBlock) -> Result<(), LightError> {
        if let Some(epoch) = self.wants_validators() {
            return Err(LightError::NoValidators { epoch });
        }
        let height = committed.block.height;
        let (got, expected) = (committed.block.epoch, self.verifier.set().epoch());
        if got != expected {
            return Err(LightError::Epoch { height, got, expected });
        }
        if committed.block.view <= self.view {
            return Err(LightError::View { height, view: committed.block.view });
        }
        let verified = self.verifier.verify_committed_block(committed);
        let verified = verified.map_err(|reject| LightError::Reject { height, reject })?;
        let block = &verified.block;
        (self.height, self.view, self.block) = (block.height, block.view, block_id(block));
        self.next = block.next_validators;
        Ok(())
    }
}
