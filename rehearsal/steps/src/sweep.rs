//! Many seeds of one simulated case, on all cores, as one scenario.

use crate::{Check, Scenario};
use rayon::prelude::*;
use serde_json::Value;

/// What of a simulated step is run instead of its usual form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// So many seeds of every case, from the first on.
    pub seeds: Option<u64>,
    /// Only clusters of this size.
    pub validators: Option<usize>,
    /// Only the case of this name.
    pub case: Option<String>,
    /// T238's comparison with the floor instead of its cases.
    pub floor: bool,
}

impl Selection {
    /// The options that select the same, each with a space before it.
    pub(crate) fn arguments(&self) -> String {
        let mut text = String::new();
        if let Some(n) = self.validators {
            text += &format!(" --validators {n}");
        }
        if let Some(case) = &self.case {
            text += &format!(" --case {case}");
        }
        if let Some(seeds) = self.seeds {
            text += &format!(" --seeds {seeds}");
        }
        if self.floor {
            text += " --floor";
        }
        text
    }

    pub(crate) fn is_case(&self, name: &str) -> bool {
        self.case.as_deref().is_none_or(|case| case == name)
    }

    pub(crate) fn is_size(&self, n: usize) -> bool {
        self.validators.is_none_or(|size| size == n)
    }
}

/// What must not be empty: a selection that selects nothing would pass.
pub(crate) fn selected(selection: &Selection, scenarios: Vec<Scenario>) -> Vec<Scenario> {
    if scenarios.is_empty() {
        let asked = selection.arguments();
        return vec![Scenario::new(
            "selection",
            vec![Check::that("selects", "a case of this step", asked.trim(), false)],
        )];
    }
    scenarios
}

/// Runs `judge` for every seed on all cores and makes one scenario of the results. `replay` is the
/// command that runs one seed of it again, without its `--seed`.
pub(crate) fn sweep(
    name: &str,
    seeds: std::ops::Range<u64>,
    replay: &str,
    judge: impl Fn(u64) -> Scenario + Sync,
) -> Scenario {
    let runs: Vec<(u64, Scenario)> =
        seeds.into_par_iter().map(|seed| (seed, judge(seed))).collect();
    summarise(name, &runs, replay)
}

fn summarise(name: &str, runs: &[(u64, Scenario)], replay: &str) -> Scenario {
    let failed: Vec<_> = runs.iter().filter(|(_, s)| !s.verdict.is_pass()).collect();
    let got = failed.first().map_or_else(
        || "0".to_owned(),
        |(seed, scenario)| {
            let first = scenario.checks.iter().find(|c| !c.ok);
            let what = first.map_or_else(String::new, |c| {
                format!("{}: expected {}, got {}", c.name, c.expected, c.got)
            });
            let seeds: Vec<String> = failed.iter().take(20).map(|(s, _)| s.to_string()).collect();
            format!(
                "{} (seeds {}); seed {seed}: {what}; replay: {replay} --seeds 1 --seed {seed}",
                failed.len(),
                seeds.join(", ")
            )
        },
    );
    let check = Check::that("runs_that_fail", "0", got, failed.is_empty());
    let mut scenario = Scenario::new(name, vec![check]).fact("runs", runs.len());
    for fact in [
        "recovery_ms",
        "resumed_ms",
        "max_height_divergence",
        "view_changes_total",
        "submit_to_commit_p50_us",
        "submit_to_commit_p90_us",
        "submit_to_commit_p99_us",
        "propose_to_commit_p50_us",
    ] {
        let mut values: Vec<u64> =
            runs.iter().filter_map(|(_, s)| s.facts.get(fact).and_then(Value::as_u64)).collect();
        values.sort_unstable();
        if let (Some(median), Some(most)) = (values.get(values.len() / 2), values.last()) {
            scenario = scenario.fact(format!("{fact}_median"), *median);
            scenario = scenario.fact(format!("{fact}_max"), *most);
        }
    }
    let summary = sum_up(&scenario);
    scenario.summed_up(summary)
}

fn sum_up(scenario: &Scenario) -> String {
    let fact = |name: &str| scenario.facts.get(name).and_then(Value::as_u64);
    let ms = |us: u64| us as f64 / 1_000.0;
    let mut text = format!("{} runs", fact("runs").unwrap_or(0));
    if let Some(resumed) = fact("resumed_ms_max") {
        text += &format!(", first commit after the last fault <= {resumed} ms");
    }
    if let Some(recovery) = fact("recovery_ms_max") {
        text += &format!(", after calm <= {recovery} ms");
    }
    if let (Some(p50), Some(p99)) =
        (fact("submit_to_commit_p50_us_median"), fact("submit_to_commit_p99_us_median"))
    {
        text += &format!(", commit p50 {:.0} p99 {:.0} ms", ms(p50), ms(p99));
    }
    if let (Some(spread), Some(changes)) =
        (fact("max_height_divergence_max"), fact("view_changes_total_max"))
    {
        text += &format!(", spread <= {spread}, view changes <= {changes}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64) -> Scenario {
        let check = Check::that("odd", "even seeds", seed, seed != 5);
        Scenario::new("one", vec![check]).fact("recovery_ms", 10 * seed)
    }

    #[test]
    fn one_failing_seed_fails_the_sweep_and_says_how_to_replay_it() {
        let scenario = sweep("all", 0..10, "qbindctl steps run T0 --case one", run);
        assert!(!scenario.verdict.is_pass());
        let got = &scenario.checks[0].got;
        assert!(got.starts_with("1 (seeds 5)"), "{got}");
        assert!(
            got.ends_with("replay: qbindctl steps run T0 --case one --seeds 1 --seed 5"),
            "{got}"
        );
        assert_eq!(scenario.facts["recovery_ms_max"], 90);
        assert_eq!(scenario.facts["runs"], 10);
    }

    #[test]
    fn sound_seeds_pass_and_nothing_selected_does_not() {
        assert!(sweep("all", 6..10, "", run).verdict.is_pass());
        let selection = Selection { case: Some("none".into()), ..Selection::default() };
        let nothing = selected(&selection, vec![]);
        assert!(!nothing[0].verdict.is_pass());
        assert_eq!(nothing[0].checks[0].got, "--case none");
    }
}
