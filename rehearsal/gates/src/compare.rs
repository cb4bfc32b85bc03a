//! Two runs side by side: what changed, and whether the difference is more than chance.

use crate::{
    evaluate,
    evidence::Evidence,
    feed::Feed,
    performance::{Observed, observe},
    records::paths,
    stats::{percentile, resamples},
    verdict::{GatesResult, Outcome},
    windows::Windows,
};
use qbind_plan::Plan;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Throughput, and three latencies.
const FIGURES: usize = 4;

/// Whether a figure changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The whole interval lies on the good side.
    Better,
    /// The whole interval lies on the bad side.
    Worse,
    /// The interval holds zero: these runs show no difference.
    NotShown,
}

/// One figure of both runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// What.
    pub name: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// In the first run.
    pub first: u64,
    /// In the second.
    pub second: u64,
    /// From the first to the second, in thousandths of the first: low, point, high; 95 %.
    pub change_permille: (i64, i64, i64),
    /// What that amounts to.
    pub change: Change,
    /// Change that runs like these show in four of five cases, in thousandths: 1.43 half-widths of the
    /// interval, (1.96 + 0.84) / 1.96.
    pub detectable_permille: u64,
}

/// A gate in both runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateChange {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// In the first run; nothing if it had no such gate.
    pub first: Option<Outcome>,
    /// In the second.
    pub second: Option<Outcome>,
}

impl GateChange {
    /// Whether the second run says something graver.
    pub fn is_worse(&self) -> bool {
        let rank = |outcome: Option<Outcome>| match outcome {
            Some(Outcome::Pass) => 0,
            Some(Outcome::Unknown) | None => 1,
            Some(Outcome::Invalid) => 2,
            Some(Outcome::Fail) => 3,
        };
        rank(self.second) > rank(self.first)
    }
}

/// What two runs say side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Why their figures say little about each other; empty for like runs.
    pub unlike: Vec<String>,
    /// Throughput and latencies, where both runs have them.
    pub figures: Vec<Figure>,
    /// Why figures are missing.
    pub missing: Vec<String>,
    /// Every gate of either.
    pub gates: Vec<GateChange>,
}

impl Comparison {
    /// Whether there is something that could not be compared.
    pub fn is_incomplete(&self) -> bool {
        !self.missing.is_empty() || !self.unlike.is_empty()
    }

    /// Whether the second run is worse in something that is more than chance.
    pub fn is_worse(&self) -> bool {
        self.figures.iter().any(|figure| figure.change == Change::Worse)
            || self.gates.iter().any(GateChange::is_worse)
    }
}

/// Compares two runs by their raw evidence, the gates judged again. Pure: the seeds of the intervals
/// are those of the plans.
pub fn compare(first: &Evidence, second: &Evidence) -> Comparison {
    let (judged, again) = (evaluate(first), evaluate(second));
    let mut missing = Vec::new();
    let mut side = |name: &str, evidence: &Evidence| {
        let run = Run::of(evidence);
        run.map_err(|why| missing.push(format!("{name} run: {why}"))).ok()
    };
    let runs = (side("first", first), side("second", second));
    let figures = match &runs {
        (Some(first), Some(second)) => figures(first, second),
        _ => Vec::new(),
    };
    if runs.0.is_some() && runs.1.is_some() && figures.len() < FIGURES {
        missing.push("a figure is 0 in the first run, so that no ratio can be formed".to_owned());
    }
    let unlike = match (&first.plan, &second.plan) {
        (Some(first), Some(second)) => unlike(first, second),
        _ => vec!["a plan is missing".to_owned()],
    };
    Comparison { unlike, figures, missing, gates: gates(&judged, &again) }
}

fn unlike(first: &Plan, second: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: {a} in the first run, {b} in the second"));
        }
    };
    let rate = |p: &Plan| format!("{} per second", p.load.rate_per_second);
    check("load", rate(first), rate(second));
    let seconds = |p: &Plan| format!("{} s", p.live.window_s);
    check("live window", seconds(first), seconds(second));
    check("topology", first.topology.name.clone(), second.topology.name.clone());
    check("nodes", first.nodes.len().to_string(), second.nodes.len().to_string());
    check("target", first.target.clone(), second.target.clone());
    let faults = |p: &Plan| {
        let ids: Vec<&str> = p.faults.iter().map(|f| f.id.as_str()).collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    };
    check("faults", faults(first), faults(second));
    // What a gate asks decides what its verdict means.
    let (asked, others) = (asked(first), asked(second));
    for (what, value) in asked {
        if let Some(other) = others.get(&what) {
            check(&what, value, other.clone());
        }
    }
    found
}

/// Every bound and everything an added gate asks, by the name it has in a manifest.
fn asked(plan: &Plan) -> BTreeMap<String, String> {
    let added = plan.added_gates.iter().map(|gate| (gate.id.as_str(), json!(gate)));
    let mut asked = BTreeMap::new();
    for (of, all) in added.chain([("gates", json!(plan.bounds))]) {
        for (key, value) in all.as_object().into_iter().flatten().filter(|(key, _)| *key != "title")
        {
            asked.insert(format!("{of}.{key}"), value.to_string());
        }
    }
    asked
}

fn gates(first: &GatesResult, second: &GatesResult) -> Vec<GateChange> {
    let of = |result: &GatesResult, id: &str| result.gate(id).map(|gate| gate.verdict);
    let only_second = second.gates.iter().filter(|gate| first.gate(&gate.id).is_none());
    first
        .gates
        .iter()
        .chain(only_second)
        .map(|gate| GateChange {
            id: gate.id.clone(),
            title: gate.title.clone(),
            first: of(first, &gate.id),
            second: of(second, &gate.id),
        })
        .collect()
}

struct Run {
    observed: Observed,
    seed: u64,
    resamples: u32,
}

impl Run {
    fn of(evidence: &Evidence) -> Result<Self, String> {
        let plan = evidence.plan.as_ref().ok_or_else(|| evidence.absence(paths::PLAN))?;
        let windows = Windows::of(evidence, &Feed::all(evidence, plan))
            .map_err(|_| "its live window is not known".to_owned())?;
        let observed = observe(evidence, plan, &windows)
            .filter(|observed| !observed.blocks.is_empty() && !observed.seconds.is_empty())
            .ok_or_else(|| "no transfer was seen outside warm-up and cut windows".to_owned())?;
        Ok(Self { observed, seed: plan.seed, resamples: plan.bounds.bootstrap_resamples })
    }
}

fn figures(first: &Run, second: &Run) -> Vec<Figure> {
    let mean_milli =
        |values: &[u64]| values.iter().sum::<u64>() * 1000 / (values.len() as u64).max(1);
    let quantile = |permille| move |sorted: &[u64]| percentile(sorted, permille).unwrap_or(0);
    let blocks = |run: &Run| run.observed.blocks.clone();
    let seconds = |run: &Run| run.observed.seconds.clone();
    let mut found = Vec::new();
    let (a, b) = (seconds(first), seconds(second));
    found.extend(figure("throughput", "milli TPS", (first, &a), (second, &b), true, mean_milli));
    let (a, b) = (blocks(first), blocks(second));
    for (name, permille) in [("latency p50", 500), ("latency p90", 900), ("latency p99", 990)] {
        let pair = ((first, &a), (second, &b));
        found.extend(figure(name, "us", pair.0, pair.1, false, quantile(permille)));
    }
    found
}

type Side<'a> = (&'a Run, &'a Vec<Vec<u64>>);

fn figure(
    name: &'static str,
    unit: &'static str,
    (first, a): Side<'_>,
    (second, b): Side<'_>,
    more_is_better: bool,
    statistic: impl Fn(&[u64]) -> u64 + Copy,
) -> Option<Figure> {
    let whole = |blocks: &Vec<Vec<u64>>| {
        let mut all: Vec<u64> = blocks.iter().flatten().copied().collect();
        all.sort_unstable();
        statistic(&all)
    };
    let count = first.resamples.min(second.resamples);
    // Two plans may have one seed: the runs' resamples must still be drawn apart.
    let drawn_a = resamples(a, first.seed, count, statistic);
    let drawn_b = resamples(b, second.seed ^ u64::MAX, count, statistic);
    let mut changes: Vec<i64> = drawn_a
        .iter()
        .zip(&drawn_b)
        .map(|(a, b)| permille_change(*a, *b))
        .collect::<Option<_>>()?;
    changes.sort_unstable();
    let at = |permille: usize| {
        let rank = (changes.len() * permille).div_ceil(1000).max(1);
        changes.get(rank - 1).copied()
    };
    let (low, high) = (at(25)?, at(975)?);
    let (value_a, value_b) = (whole(a), whole(b));
    let change = match (low > 0, high < 0) {
        (true, _) if more_is_better => Change::Better,
        (true, _) => Change::Worse,
        (_, true) if more_is_better => Change::Worse,
        (_, true) => Change::Better,
        _ => Change::NotShown,
    };
    Some(Figure {
        name,
        unit,
        first: value_a,
        second: value_b,
        change_permille: (low, permille_change(value_a, value_b)?, high),
        change,
        detectable_permille: (high.abs_diff(low) * 143).div_ceil(200),
    })
}

fn permille_change(from: u64, to: u64) -> Option<i64> {
    let difference = i128::from(to) - i128::from(from);
    i64::try_from(difference * 1000 / i128::from(std::num::NonZeroU64::new(from)?.get())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: impl Iterator<Item = u64>, seed: u64) -> Run {
        let values: Vec<u64> = values.collect();
        let blocks: Vec<Vec<u64>> = values.chunks(10).map(<[u64]>::to_vec).collect();
        let seconds = vec![vec![40; 5]; 10];
        let observed = Observed { blocks, sorted: values, seconds, counted_s: 50, waiting: 0 };
        Run { observed, seed, resamples: 400 }
    }

    fn noise(base: u64, n: u64) -> impl Iterator<Item = u64> {
        let mixed = |i: u64| (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        (0..n).map(move |i| base + (mixed(mixed(i)) >> 20) % 50_000)
    }

    fn p50(first: &Run, second: &Run) -> Figure {
        figures(first, second).into_iter().find(|f| f.name == "latency p50").unwrap()
    }

    #[test]
    fn a_real_change_is_shown_and_chance_is_not() {
        let first = run(noise(300_000, 400), 1);
        let same = p50(&first, &run(noise(300_300, 400), 1));
        assert_eq!(same.change, Change::NotShown, "{same:?}");
        let slower = p50(&first, &run(noise(390_000, 400), 1));
        assert_eq!(slower.change, Change::Worse, "{slower:?}");
        let (low, value, high) = slower.change_permille;
        assert!(low <= value && value <= high && low > 200 && high < 350, "{slower:?}");
        let faster = p50(&run(noise(390_000, 400), 1), &first);
        assert_eq!(faster.change, Change::Better, "{faster:?}");
        // Less evidence sees less.
        let few = p50(&run(noise(300_000, 40), 1), &run(noise(300_300, 40), 2));
        assert!(few.detectable_permille > same.detectable_permille, "{few:?} {same:?}");
    }

    #[test]
    fn more_throughput_is_better_and_nothing_to_divide_by_is_no_figure() {
        let (mut fast, slow) = (run(noise(1, 100), 1), run(noise(1, 100), 2));
        fast.observed.seconds = vec![vec![60; 5]; 10];
        let tps = &figures(&slow, &fast)[0];
        assert_eq!((tps.change, tps.first, tps.second), (Change::Better, 40_000, 60_000));
        assert_eq!(figures(&fast, &slow)[0].change, Change::Worse);
        fast.observed.seconds = vec![vec![0; 5]; 10];
        assert_ne!(figures(&fast, &slow)[0].name, "throughput");
    }

    #[test]
    fn without_evidence_there_are_gates_and_no_figures() {
        let nothing = Evidence::default();
        let compared = compare(&nothing, &nothing);
        assert!(compared.figures.is_empty() && compared.missing.len() == 2, "{compared:?}");
        assert!(!compared.gates.is_empty() && !compared.is_worse());
        assert_eq!(compared.unlike, ["a plan is missing"]);
    }
}
