//! Reports of offences in a block, and penalties at elections: the money side of [`Slashing`].

use crate::{
    Account, BlockInput, EvidenceCheck, FailureReason, Judged, Ledger, Slashing, Status,
    ledger::Settled, plan::Plan, slashing::Penalty,
};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{Address, REGISTRY, RegistryCall};

impl Ledger {
    /// What is held against validators.
    pub fn slashing(&self) -> &Slashing {
        self.slashing.get()
    }

    /// Judges the reports whose transfers succeeded, in block order, after all other calls. What comes
    /// with one that is refused goes back, as for any call.
    pub(crate) fn reports(
        &mut self,
        block: &BlockInput<'_>,
        plan: &Plan,
        settled: &mut Settled,
        after: &mut BTreeMap<Address, Account>,
        check: &dyn EvidenceCheck,
    ) -> Vec<Judged> {
        let mut judged = Vec::new();
        for (run, call) in &plan.calls {
            let RegistryCall::Report(evidence) = call else { continue };
            let run = &plan.runs[*run];
            let receipt = &mut settled.receipts[run.tx_index];
            if receipt.status != Status::Success {
                continue;
            }
            let (finder, amount) = (block.transactions[run.tx_index].sender, run.amount);
            let (params, registry) = (&self.params.slashing, self.registry.get());
            let is_taken = amount == 0
                && self
                    .slashing
                    .get_mut()
                    .report(params, registry, evidence, finder, check, &mut judged)
                    .is_ok();
            if !is_taken {
                receipt.status = Status::Failed(FailureReason::Registry);
                self.transfer(after, REGISTRY, finder, amount);
            }
        }
        judged
    }

    /// Carries out, just before an election, the penalties decided since the last: the stake leaves its
    /// validator, the finder gets a fee of it, and the rest is burned. Returns what was burned.
    pub(crate) fn punish(&mut self, after: &mut BTreeMap<Address, Account>) -> u128 {
        let mut burned = 0;
        for Penalty { validator, owner, amount, finder } in self.slashing.get_mut().take_penalties()
        {
            let taken = self.registry.get_mut().slash(validator, &owner, amount);
            self.slashing.get_mut().has_taken(validator, taken);
            let fee = Penalty::finder_fee(taken);
            self.transfer(after, REGISTRY, finder, u128::from(fee));
            burned += u128::from(taken - fee);
        }
        if burned > 0 {
            let registry = after.entry(REGISTRY).or_insert_with(|| self.account(&REGISTRY));
            registry.balance =
                registry.balance.checked_sub(burned).expect("the registry holds every stake");
        }
        burned
    }
}
