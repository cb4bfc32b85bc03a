//! Hands the monetary engine what an epoch was, and credits what it mints.

use crate::{
    Account, BlockInput, Ledger,
    monetary::{self, Closed, EpochInputs, Mode},
};
use alloc::collections::BTreeMap;
use qbind_types::Address;

/// What a block has moved so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// Fees paid, whoever got them.
    pub(crate) fees: u128,
    /// What left the supply.
    pub(crate) burned: u128,
}

impl Ledger {
    /// Counts a block's fees, and at the block that elects ends the epoch they were paid in. Says what
    /// came of that.
    pub(crate) fn close_epoch(
        &mut self,
        block: &BlockInput<'_>,
        elects: bool,
        moved: Moved,
        machinery: &monetary::Machinery,
        after: &mut BTreeMap<Address, Account>,
    ) -> Option<Closed> {
        let policy = &self.params.monetary;
        if policy.mode == Mode::Off {
            return None;
        }
        // A sum of fees that were paid from balances: it could only exceed 128 bits in years of
        // paying the whole supply over and over.
        self.tally.epoch_fees = self.tally.epoch_fees.saturating_add(moved.fees);
        if !elects {
            return None;
        }
        let fees = core::mem::take(&mut self.tally.epoch_fees);
        let set = self.registry.get().set(block.epoch).cloned();
        let validators = set.as_ref().map_or(&[][..], |set| set.members());
        let circulating = self.supply - moved.burned;
        let inputs = EpochInputs {
            epoch: block.epoch,
            fees,
            staked: validators.iter().map(|v| u128::from(v.power.0)).sum(),
            circulating,
            room: u128::MAX - self.supply - self.tally.burned,
        };
        let (state, decision) =
            monetary::close_epoch_with(&policy.figures, self.monetary.get(), &inputs, machinery);
        let issued = match &policy.mode {
            Mode::Off | Mode::Shadow => None,
            Mode::Active(payout) => {
                Some(monetary::issue_with(payout, decision.issuance, validators, machinery))
            }
        };
        for (account, amount) in issued.iter().flat_map(|issued| &issued.credits) {
            self.credit(after, *account, *amount);
        }
        *self.monetary.get_mut() = state.clone();
        self.monetary.seal();
        Some(Closed { state, decision, issued })
    }
}
