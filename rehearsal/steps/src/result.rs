//! What a step found, as it is stored in `result.json`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Schema of one step's result.
pub const STEP_SCHEMA: &str = "qbind.step/v1";

/// The answer to "does it hold?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
}

impl Verdict {
    /// `Pass` iff `ok`.
    pub fn of(ok: bool) -> Self {
        if ok { Self::Pass } else { Self::Fail }
    }

    /// Whether it holds.
    pub fn is_pass(self) -> bool {
        self == Self::Pass
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_pass() { "PASS" } else { "FAIL" })
    }
}

/// One comparison of a fact with what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is claimed.
    pub name: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub got: String,
    /// Whether they agree.
    pub ok: bool,
}

impl Check {
    /// Both sides must be the same text.
    pub fn equal(name: impl Into<String>, expected: impl ToString, got: impl ToString) -> Self {
        let (expected, got) = (expected.to_string(), got.to_string());
        Self { name: name.into(), ok: expected == got, expected, got }
    }

    /// A comparison that is not equality; `expected` says which, such as `<= 5`.
    pub fn that(
        name: impl Into<String>,
        expected: impl ToString,
        got: impl ToString,
        ok: bool,
    ) -> Self {
        Self { name: name.into(), expected: expected.to_string(), got: got.to_string(), ok }
    }
}

/// Checks made under one set of circumstances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The circumstances.
    pub name: String,
    /// `PASS` iff there are checks and all hold.
    pub verdict: Verdict,
    /// In the order they were made.
    pub checks: Vec<Check>,
    /// Figures that decide nothing.
    pub facts: BTreeMap<String, serde_json::Value>,
    /// The figures worth a look, in one line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

impl Scenario {
    /// Without any check nothing was shown, which is a failure.
    pub fn new(name: impl Into<String>, checks: Vec<Check>) -> Self {
        let verdict = Verdict::of(!checks.is_empty() && checks.iter().all(|c| c.ok));
        Self { name: name.into(), verdict, checks, facts: BTreeMap::new(), summary: String::new() }
    }

    /// Says in one line what is worth a look.
    #[must_use]
    pub fn summed_up(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.facts.insert(name.into(), value.into());
        self
    }
}

/// What one step found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// `qbind.step/v1`.
    pub schema: String,
    /// Such as `T185`.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// `PASS` iff there are scenarios and all pass.
    pub verdict: Verdict,
    /// What every random choice came from.
    pub seed: u64,
    /// How long it ran, for people; never part of a comparison.
    pub duration_ms: u64,
    /// In the order they ran.
    pub scenarios: Vec<Scenario>,
    /// The command line that runs the same again.
    pub replay: String,
}

impl StepResult {
    /// Derives the verdict from the scenarios; the caller sets `duration_ms` when it knows.
    pub fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        seed: u64,
        scenarios: Vec<Scenario>,
        replay: impl Into<String>,
    ) -> Self {
        let ok = !scenarios.is_empty() && scenarios.iter().all(|s| s.verdict.is_pass());
        Self {
            schema: STEP_SCHEMA.into(),
            id: id.into(),
            title: title.into(),
            verdict: Verdict::of(ok),
            seed,
            duration_ms: 0,
            scenarios,
            replay: replay.into(),
        }
    }

    /// Checks that do not hold, each with its scenario.
    pub fn failures(&self) -> impl Iterator<Item = (&Scenario, &Check)> {
        self.scenarios.iter().flat_map(|s| s.checks.iter().filter(|c| !c.ok).map(move |c| (s, c)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_checked_is_a_failure() {
        assert_eq!(Scenario::new("empty", vec![]).verdict, Verdict::Fail);
        assert_eq!(StepResult::new("T0", "", 0, vec![], "").verdict, Verdict::Fail);
    }

    #[test]
    fn one_false_check_fails_the_step() {
        let good = Scenario::new("good", vec![Check::equal("a", 1, 1)]);
        let bad = Scenario::new("bad", vec![Check::equal("a", 1, 1), Check::equal("b", 1, 2)]);
        let step = StepResult::new("T0", "", 7, vec![good, bad], "replay");
        assert_eq!(step.verdict, Verdict::Fail);
        let failures: Vec<_> = step.failures().map(|(s, c)| (&*s.name, &*c.name)).collect();
        assert_eq!(failures, [("bad", "b")]);
    }

    #[test]
    fn json_is_as_documented() {
        let scenario = Scenario::new("s", vec![Check::equal("c", 1, 1)]).fact("n", 3);
        let step = StepResult::new("T0", "title", 7, vec![scenario], "replay");
        let json = serde_json::to_value(&step).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"schema": "qbind.step/v1", "id": "T0", "title": "title",
                "verdict": "PASS", "seed": 7, "duration_ms": 0, "replay": "replay",
                "scenarios": [{"name": "s", "verdict": "PASS", "facts": {"n": 3},
                    "checks": [{"name": "c", "expected": "1", "got": "1", "ok": true}]}]})
        );
        assert_eq!(serde_json::from_value::<StepResult>(json).unwrap(), step);
    }
}
