//! Both statements of a bundle, made from what the files say.

use crate::{
    digest::Digest,
    facts::{Facts, FactsError, GatesSummary},
    manifest::Manifest,
    planned,
    statement::{Predicate, Statement, TestResult},
};

/// What the two envelopes of a bundle must carry.
pub(crate) struct Statements {
    pub(crate) rehearsal: Statement<Predicate>,
    pub(crate) test_result: Statement<TestResult>,
}

impl Statements {
    pub(crate) fn derive(
        facts: &[u8],
        gates: &[u8],
        plan: &[u8],
        manifest: &Manifest,
    ) -> Result<Self, FactsError> {
        let facts = Facts::parse(facts)?;
        let gates = GatesSummary::parse(gates)?;
        planned::agree(plan, &facts)?;
        let plan = Digest::of(&[plan]);
        Ok(Self {
            rehearsal: Statement::rehearsal(&facts, &gates, plan, manifest),
            test_result: Statement::test_result(&facts, &gates, plan),
        })
    }
}
