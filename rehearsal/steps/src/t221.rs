//! Covers: T221. Votes depend on certified batches: modes, missing and forged references, I1 to I5.

use crate::{
    Check, Options, Scenario, StepResult, simulated,
    sweep::{Selection, selected, sweep},
};
use qbind_crypto::{Reject, SecretKey, Verifier, preimage};
use qbind_dag::CouplingMode;
use qbind_sim::{
    Action, Byzantine, LoadSpec, MessageKind, Outcome, Signatures, SimConfig, Simulation, Timed,
};
use qbind_types::{
    BatchCertificate, BatchId, BatchRef, Epoch, Network, ValidatorIndex, ValidatorInfo,
    ValidatorSet, VotingPower,
};
use rayon::prelude::*;
use std::{collections::BTreeMap, sync::Arc, time::Instant};

type Case = (&'static str, fn(Setup) -> Scenario);

/// The seed of a run, and how its validators sign.
#[derive(Clone, Copy)]
struct Setup {
    seed: u64,
    signatures: Signatures,
}

/// Every case, by name.
pub(crate) fn case_names() -> Vec<&'static str> {
    CASES.iter().map(|(name, _)| *name).collect()
}

const CASES: [Case; 9] = [
    ("i1_i4_warn_commits_certified_batches", |setup| certified(CouplingMode::Warn, 4, 40, setup)),
    ("i1_i4_enforce_commits_certified_batches", |setup| {
        certified(CouplingMode::Enforce, 2, 10, setup)
    }),
    ("i1_i4_off_commits_certified_batches", |setup| certified(CouplingMode::Off, 3, 24, setup)),
    ("i3_enforce_waits_for_missing_certificates", missing_under_enforce),
    ("i3_warn_counts_missing_certificates", missing_under_warn),
    ("i1_i3_enforce_refuses_forged_references", |setup| {
        forged_under_enforce(setup, Byzantine::ForgedBatch)
    }),
    ("i1_i3_enforce_refuses_mismatched_references", |setup| {
        forged_under_enforce(setup, Byzantine::MismatchedBatch)
    }),
    ("canary_warn_lets_a_forged_reference_through", forged_under_warn),
    ("i5_one_double_voter_of_four_is_harmless", safety_is_untouched),
];

/// Runs all modes against certified, missing and forged references, or what is selected.
pub fn run(options: &Options) -> StepResult {
    let started = Instant::now();
    let Options { seed, quick, selection, .. } = options;
    let cases = CASES.iter().filter(|(name, _)| selection.is_case(name));
    let mut scenarios: Vec<Scenario> = match selection.seeds {
        Some(seeds) => cases
            .map(|(name, judge)| {
                let replay = format!("qbindctl steps run T221 --case {name}");
                let signatures = Signatures::Ideal;
                let judge = |seed| judge(Setup { seed, signatures });
                sweep(name, *seed..seed + seeds, &replay, judge)
            })
            .collect(),
        None => {
            let repeats = if *quick || selection.case.is_some() { 1 } else { 10 };
            let jobs: Vec<_> =
                cases.flat_map(|case| (*seed..seed + repeats).map(move |s| (case, s))).collect();
            let run = |((name, judge), seed): (&Case, u64)| {
                let signatures = Signatures::Real;
                let mut scenario = judge(Setup { seed, signatures });
                scenario.name = format!("{name}_seed{seed}");
                scenario
            };
            jobs.into_par_iter().map(run).collect()
        }
    };
    if *selection == Selection::default() {
        scenarios.insert(0, certificates_cannot_be_forged());
    }
    let form = if *quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T221 --seed {seed}{form}{}", selection.arguments());
    let scenarios = selected(selection, scenarios);
    let mut result = StepResult::new("T221", "DAG-consensus coupling", *seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

fn base(Setup { seed, signatures }: Setup) -> SimConfig {
    let cluster = simulated::cluster(seed, vec![0; 4], simulated::data_centre(), 5_000);
    SimConfig { signatures, ..cluster }
}

fn count(outcome: &Outcome, result: &str) -> u64 {
    outcome.coupling.get(result).copied().unwrap_or(0)
}

fn above_zero(name: &str, got: u64) -> Check {
    Check::that(name, "> 0", got, got > 0)
}

fn violations(outcome: &Outcome) -> u64 {
    ["mismatch", "wrong_state", "over_gas"].iter().map(|r| count(outcome, r)).sum()
}

fn with_coupling(scenario: Scenario, outcome: &Outcome) -> Scenario {
    outcome.coupling.iter().fold(scenario, |s, (k, v)| s.fact(format!("coupling_{k}"), *v))
}

/// A scenario whose name the table gives.
fn scenario(checks: Vec<Check>, outcome: &Outcome) -> Scenario {
    with_coupling(simulated::scenario("", checks, outcome), outcome)
}

fn lying(kind: Byzantine) -> BTreeMap<usize, Byzantine> {
    BTreeMap::from([(1, kind)])
}

/// I1, I4: with certified references every mode commits everything, and only certified content.
fn certified(mode: CouplingMode, senders: usize, transfers: usize, setup: Setup) -> Scenario {
    let load = LoadSpec { senders, transfers, amount: 100 };
    let outcome = Simulation::new(SimConfig { coupling: mode, load, ..base(setup) }).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, 2_000));
    checks.push(Check::equal("coupling_violations", 0, violations(&outcome)));
    let (checked, result) = match mode {
        CouplingMode::Off => (count(&outcome, "not_required"), "validation_not_required"),
        CouplingMode::Warn | CouplingMode::Enforce => (count(&outcome, "ok"), "validation_ok"),
    };
    checks.push(above_zero(result, checked));
    scenario(checks, &outcome)
}

fn lost_acks() -> Vec<Timed> {
    vec![
        Timed { at_ms: 500, action: Action::Drop(MessageKind::DagAck, 7_000) },
        Timed { at_ms: 3_500, action: Action::StopDrop },
    ]
}

/// I3: what is not here is not voted for, until it was fetched.
fn missing_under_enforce(setup: Setup) -> Scenario {
    let outcome = Simulation::new(SimConfig { faults: lost_acks(), ..base(setup) }).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, 4_000));
    checks.push(above_zero("acks_dropped", outcome.messages[3]));
    checks.push(Check::equal("votes_for_missing_batches", 0, count(&outcome, "missing")));
    scenario(checks, &outcome)
}

/// Warn counts the same situation and votes.
fn missing_under_warn(setup: Setup) -> Scenario {
    let config = SimConfig { faults: lost_acks(), coupling: CouplingMode::Warn, ..base(setup) };
    let outcome = Simulation::new(config).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, 4_000));
    checks.push(above_zero("votes_for_missing_batches", count(&outcome, "missing")));
    scenario(checks, &outcome)
}

/// I1, I3: a leader's forged reference costs it its view and nothing else.
fn forged_under_enforce(setup: Setup, kind: Byzantine) -> Scenario {
    let outcome = Simulation::new(SimConfig { byzantine: lying(kind), ..base(setup) }).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, 4_000));
    checks.push(above_zero("views_lost_by_the_liar", outcome.view_changes));
    scenario(checks, &outcome)
}

/// Negative control: without Enforce the same lie is certified, which is why MainNet enforces. The
/// harness must see it: it counts the vote, and execution stops at content nobody has.
fn forged_under_warn(setup: Setup) -> Scenario {
    let config = SimConfig {
        byzantine: lying(Byzantine::ForgedBatch),
        coupling: CouplingMode::Warn,
        ..base(setup)
    };
    let outcome = Simulation::new(config).run();
    let live = simulated::liveness(&outcome, 4_000).iter().all(|c| c.ok);
    let checks = vec![
        above_zero("votes_for_missing_batches", count(&outcome, "missing")),
        Check::equal("chain_goes_on", false, live),
    ];
    scenario(checks, &outcome)
}

/// I5: coupling only adds conditions to votes; a double voter within the bound stays harmless.
fn safety_is_untouched(setup: Setup) -> Scenario {
    let byzantine = lying(Byzantine::Twin);
    let faults = vec![
        Timed { at_ms: 500, action: Action::Partition(vec![vec![0, 1, 2], vec![3, 4]]) },
        Timed { at_ms: 2_500, action: Action::Heal },
        Timed { at_ms: 2_500, action: Action::Partition(vec![vec![0, 4], vec![1, 2, 3]]) },
        Timed { at_ms: 4_500, action: Action::Heal },
    ];
    let outcome = Simulation::new(SimConfig { byzantine, faults, ..base(setup) }).run();
    let mut checks = simulated::safety(&outcome);
    checks.extend(simulated::liveness(&outcome, 4_000));
    checks.push(above_zero("equivocations_seen", outcome.equivocations));
    scenario(checks, &outcome)
}

/// I2: a certificate is a quorum of distinct members over exactly one batch of this network.
fn certificates_cannot_be_forged() -> Scenario {
    let keys: Vec<SecretKey> = (1..=4).map(|i| SecretKey::from_seed(&[i; 32])).collect();
    let members = keys.iter().zip(1u64..).map(|(k, id)| ValidatorInfo {
        id,
        address: Default::default(),
        previous_key: None,
        public_key: k.public_key(),
        power: VotingPower(1),
    });
    let set = ValidatorSet::new(Epoch(0), members.collect()).expect("distinct keys");
    let verifier = Verifier::new(Network::Mainnet, Arc::new(set));
    let batch =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(0), round: 0, id: BatchId([1; 32]) };
    let other = BatchRef { id: BatchId([2; 32]), ..batch };
    let ack = |network, over: &BatchRef, signer: u16, key: u16| {
        let index = ValidatorIndex(signer);
        (index, keys[usize::from(key)].sign(&preimage::ack(network, over, index)))
    };
    let main = Network::Mainnet;
    let verdict = |acks| match verifier.verify_batch_certificate(BatchCertificate { batch, acks }) {
        Ok(_) => "accepted".to_owned(),
        Err(Reject::BadSignature { .. }) => "bad signature".to_owned(),
        Err(reject) => reject.to_string(),
    };
    let quorum = |network, over| (0..3).map(|i| ack(network, over, i, i)).collect::<Vec<_>>();
    let mut repeated = quorum(main, &batch);
    repeated[2] = repeated[1].clone();
    let mut stranger = quorum(main, &batch);
    stranger[2] = ack(main, &batch, 7, 2);
    let mut borrowed = quorum(main, &batch);
    borrowed[2] = ack(main, &batch, 2, 1);
    let checks = vec![
        Check::equal("quorum", "accepted", verdict(quorum(main, &batch))),
        Check::equal("two_of_four", "below quorum", verdict(quorum(main, &batch)[..2].to_vec())),
        Check::equal("one_twice", "signers not strictly ascending", verdict(repeated)),
        Check::equal("stranger", "unknown validator 7", verdict(stranger)),
        Check::equal("another_batch", "bad signature", verdict(quorum(main, &other))),
        Check::equal("another_key", "bad signature", verdict(borrowed)),
        Check::equal("another_network", "bad signature", verdict(quorum(Network::Testnet, &batch))),
    ];
    Scenario::new("i2_certificates_cannot_be_forged", checks)
}
