//! What a verification keeps of the journal of a stranger: little, whatever stands in it.

use crate::{journal::Record, plan_signed};
use std::collections::{BTreeMap, BTreeSet};

/// Different stages before the rest is not counted: there are nine.
const STAGES: usize = 64;
/// Different plans, and signatures of one, before the rest is not remembered.
const PLANS: usize = 8;
/// Characters of a digest.
const DIGEST: usize = 64;

/// Notes about the records of a journal.
#[derive(Default)]
pub(super) struct Notes {
    /// Plans that it mentions.
    pub(super) plans: BTreeSet<String>,
    /// Where it says that the plan was signed, and the digest it names.
    pub(super) plan_signed: Vec<(u64, String)>,
    /// How often it notes each stage.
    pub(super) stages: BTreeMap<String, u64>,
}

impl Notes {
    pub(super) fn of(&mut self, record: &Record) {
        let field = |name: &str| record.data.get(name).and_then(|value| value.as_str());
        let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        if record.kind == plan_signed::PLAN_SIGNED_RECORD && self.plan_signed.len() < PLANS {
            let named = field(plan_signed::PLAN_SIGNED_FIELD).unwrap_or_default();
            self.plan_signed.push((record.seq, short(named, DIGEST)));
        }
        if ["network.mapped", "step.done", "live.begun"].contains(&&*record.kind) {
            let stage = format!("{} {}", record.kind, short(field("id").unwrap_or_default(), 8));
            if self.stages.len() < STAGES || self.stages.contains_key(&stage) {
                *self.stages.entry(stage).or_default() += 1;
            }
        }
        if let Some(digest) = field("plan_digest")
            && self.plans.len() < PLANS
        {
            self.plans.insert(short(digest.strip_prefix("0x").unwrap_or(digest), DIGEST));
        }
    }
}
