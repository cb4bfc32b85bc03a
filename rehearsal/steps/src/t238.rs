//! Covers: T238. Consensus across regions: every message delayed, and lost, on its directed link.

mod floor;

use crate::{
    Check, Options, Scenario, StepResult, simulated,
    sweep::{Selection, selected, sweep},
};
use qbind_links::{CustomProfile, LinkProfile, Preset};
use qbind_sim::{Link, Outcome, Signatures, SimConfig, Simulation};
use rayon::prelude::*;
use std::time::Instant;

const NORMAL_BOUND: u64 = 5;
const STRESS_BOUND: u64 = 10;

struct Case {
    name: &'static str,
    preset: Preset,
    validators: &'static [usize],
    duration_ms: u64,
    seed: u64,
    stage_b: bool,
}

const FOUR: &[usize] = &[0, 1, 2, 3];
const SEVEN: &[usize] = &[0, 1, 2, 3, 0, 1, 2];

const fn case(name: &'static str, preset: Preset, duration_ms: u64, seed: u64) -> Case {
    Case { name, preset, validators: FOUR, duration_ms, seed, stage_b: false }
}

/// Every case, by name.
pub(crate) fn case_names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

const CASES: [Case; 7] = [
    case("uniform_latency_baseline", Preset::UniformLatency, 8_000, 42),
    case("asymmetric_latency_one_slow_region", Preset::AsymmetricLatency, 8_000, 123),
    case("high_jitter_environment", Preset::HighJitter, 8_000, 456),
    case("lossy_network_conditions", Preset::LossyNetwork, 8_000, 789),
    case("mixed_adversarial_conditions", Preset::MixedAdversarial, 10_000, 999),
    Case {
        validators: SEVEN,
        ..case("extended_7_validator_cluster", Preset::UniformLatency, 8_000, 777)
    },
    Case {
        stage_b: true,
        ..case("stage_b_under_multi_region_latency", Preset::UniformLatency, 8_000, 888)
    },
];

/// A measured network to run beside the presets.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The links.
    pub profile: CustomProfile,
    /// Region of each validator, by its name in the profile.
    pub validators: Vec<String>,
    /// Allowed spread of heights: 5, or 10 under stress.
    pub height_bound: u64,
}

/// Runs the presets, and the measured network if there is one, or what is selected. The seed is
/// added to each run's own.
pub fn run(options: &Options) -> StepResult {
    let started = Instant::now();
    let Options { seed, quick, selection, .. } = options;
    let cases = CASES
        .iter()
        .filter(|case| selection.is_case(case.name) && selection.is_size(case.validators.len()));
    let mut scenarios: Vec<Scenario> = match selection.seeds {
        _ if selection.floor => floor::compare(*seed),
        Some(seeds) => cases
            .map(|case| {
                let replay = format!("qbindctl steps run T238 --case {}", case.name);
                sweep(case.name, *seed..seed + seeds, &replay, |seed| {
                    judge(case, seed, Signatures::Ideal)
                })
            })
            .collect(),
        None => {
            let repeats = if *quick || selection.case.is_some() { 1 } else { 5 };
            let jobs: Vec<_> =
                cases.flat_map(|case| (*seed..seed + repeats).map(move |s| (case, s))).collect();
            jobs.into_par_iter().map(|(case, seed)| judge(case, seed, Signatures::Real)).collect()
        }
    };
    if *selection == Selection::default() {
        scenarios.push(reproducibility(12_345 + seed));
        if let Some(measured) = &options.measured {
            scenarios.push(judge_measured(measured, seed + 1));
        }
    }
    let form = if *quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T238 --seed {seed}{form}{}", selection.arguments());
    let scenarios = selected(selection, scenarios);
    let mut result = StepResult::new("T238", "Multi-region invariants", *seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

fn preset_links(preset: Preset) -> Vec<Vec<Link>> {
    let row = |from: &str| Preset::REGIONS.map(|to| Link::from(preset.link(from, to))).to_vec();
    Preset::REGIONS.map(row).to_vec()
}

/// `seed` is added to the case's own.
fn judge(case: &Case, seed: u64, signatures: Signatures) -> Scenario {
    let seed = case.seed + seed;
    let links = preset_links(case.preset);
    let bound = match case.preset {
        Preset::UniformLatency | Preset::AsymmetricLatency | Preset::HighJitter => NORMAL_BOUND,
        Preset::LossyNetwork | Preset::MixedAdversarial => STRESS_BOUND,
    };
    let cluster =
        simulated::cluster(seed, case.validators.to_vec(), links.clone(), case.duration_ms);
    let config = SimConfig { stage_b: case.stage_b, signatures, ..cluster };
    let outcome = Simulation::new(config).run();
    let checks = checks(&outcome, &links, case.validators, case.duration_ms, bound);
    simulated::scenario(&format!("{}_seed{seed}", case.name), checks, &outcome)
}

fn judge_measured(measured: &Measured, seed: u64) -> Scenario {
    let regions = &measured.profile.regions;
    let link = |from: &String, to: &String| {
        Link::from(measured.profile.link(from, to).unwrap_or(LinkProfile::SAME_REGION))
    };
    let links: Vec<Vec<Link>> =
        regions.iter().map(|from| regions.iter().map(|to| link(from, to)).collect()).collect();
    let place = |name: &String| regions.iter().position(|r| r == name);
    let validators: Option<Vec<usize>> = measured.validators.iter().map(place).collect();
    let Some(validators) = validators.filter(|v| v.len() >= 4) else {
        let known = Check::that("every_validator_has_a_measured_region", true, false, false);
        return Scenario::new("measured_matrix", vec![known]);
    };
    let duration_ms = 8_000;
    let config = simulated::cluster(seed, validators.clone(), links.clone(), duration_ms);
    let outcome = Simulation::new(config).run();
    let checks = checks(&outcome, &links, &validators, duration_ms, measured.height_bound);
    simulated::scenario(&format!("measured_matrix_seed{seed}"), checks, &outcome)
}

fn checks(
    outcome: &Outcome,
    links: &[Vec<Link>],
    validators: &[usize],
    duration_ms: u64,
    bound: u64,
) -> Vec<Check> {
    let mut checks = simulated::safety(outcome);
    checks.extend(simulated::liveness(outcome, 6_000));
    let spread = outcome.max_height_divergence;
    checks.push(Check::that(
        "max_height_divergence",
        format!("<= {bound}"),
        spread,
        spread <= bound,
    ));
    let total = duration_ms + 5_000;
    let lossy = links.iter().flatten().any(|l| l.loss_bps > 0);
    let churn = if lossy { total / 1_000 } else { 2 };
    let churned = outcome.view_changes;
    checks.push(Check::that("view_changes", format!("<= {churn}"), churned, churned <= churn));
    checks.extend(network_was_as_asked(outcome, links, validators));
    checks
}

/// A harness that delays nothing must fail: the proposer cannot see its block final before two one-way delays
/// to a quorum, and messages are delayed and lost as the links say.
fn network_was_as_asked(
    outcome: &Outcome,
    links: &[Vec<Link>],
    validators: &[usize],
) -> Vec<Check> {
    let floor = fastest_quorum_us(links, validators);
    let commit = outcome.block_latency_us;
    let mut checks = vec![Check::that(
        "propose_to_commit_p50",
        format!(">= {floor} us, two one-way delays of the fastest quorum"),
        commit,
        commit >= floor,
    )];
    let [delivered, lost, ..] = outcome.messages;
    let highest = links.iter().flatten().map(|l| u64::from(l.loss_bps)).max().unwrap_or(0);
    // Four standard deviations above what the worst link would lose of everything.
    let expected = (delivered + lost) * highest / 10_000;
    let most = if highest == 0 { 0 } else { expected + 4 * expected.isqrt() + 1 };
    let lost_as_asked = lost <= most && (lost > 0) == (highest > 0);
    let range = if highest == 0 { "0".to_owned() } else { format!("1..={most}") };
    checks.push(Check::that("messages_lost", range, lost, lost_as_asked));
    checks
}

/// For the best-placed proposer: its proposal out to a quorum and their votes back, at the least
/// delay each link can show.
fn fastest_quorum_us(links: &[Vec<Link>], validators: &[usize]) -> u64 {
    let quorum = validators.len() * 2 / 3 + 1;
    let least = |a: usize, b: usize| {
        let l = links[validators[a]][validators[b]];
        l.delay_us.saturating_sub(l.jitter_us)
    };
    let round_trip = |leader: usize| {
        let mut trips: Vec<u64> = (0..validators.len())
            .filter(|v| *v != leader)
            .map(|v| least(leader, v) + least(v, leader))
            .collect();
        trips.sort_unstable();
        trips[quorum - 2]
    };
    (0..validators.len()).map(round_trip).min().unwrap_or(0)
}

fn reproducibility(seed: u64) -> Scenario {
    let run = || {
        let links = preset_links(Preset::UniformLatency);
        Simulation::new(simulated::cluster(seed, FOUR.to_vec(), links, 5_000)).run()
    };
    let (first, second) = (run(), run());
    let checks = vec![Check::equal("trace_of_the_same_seed", &first.trace, &second.trace)];
    simulated::scenario("reproducibility_with_seed", checks, &first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_delays_nothing_is_noticed() {
        let asked = preset_links(Preset::UniformLatency);
        let idle = vec![vec![Link::exact(0); 4]; 4];
        let outcome = Simulation::new(simulated::cluster(1, FOUR.to_vec(), idle, 3_000)).run();
        let checks = network_was_as_asked(&outcome, &asked, FOUR);
        assert!(!checks[0].ok, "{checks:?}");
    }

    #[test]
    fn a_lossy_preset_that_loses_nothing_is_noticed() {
        let asked = preset_links(Preset::LossyNetwork);
        let kind = preset_links(Preset::UniformLatency);
        let outcome = Simulation::new(simulated::cluster(1, FOUR.to_vec(), kind, 3_000)).run();
        let checks = network_was_as_asked(&outcome, &asked, FOUR);
        assert!(!checks[1].ok, "{checks:?}");
    }

    /// A node that lost an answer twice in a row stood still for seconds.
    #[test]
    fn seeds_that_once_failed() {
        let result = run(&Options { seed: 7, quick: true, ..Options::default() });
        assert!(result.verdict.is_pass(), "{:?}", result.failures().collect::<Vec<_>>());
    }
}
