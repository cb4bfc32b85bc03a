//! The guide's seven commands name test targets that exist.

use qbind_steps::StepId;
use std::{collections::BTreeSet, path::Path};

/// As the guide's table has them, in its order.
const GUIDE: [&str; 7] = [
    "cargo test -p qbind-node --test t185_mainnet_profile_tests",
    "cargo test -p qbind-node --test t222_consensus_chaos_harness -- --test-threads=1",
    "cargo test -p qbind-node --test t221_dag_coupling_cluster_tests",
    "cargo test -p qbind-node --test t223_stage_b_soak_harness -- --test-threads=1",
    "cargo test -p qbind-node --test t234_pqc_end_to_end_perf_tests -- --ignored --nocapture",
    "cargo test -p qbind-node --test t236_fee_market_adversarial_tests -- --test-threads=1",
    "cargo test -p qbind-node --test t238_multi_region_latency_harness",
];

#[test]
fn every_command_of_the_guide_names_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package of the tree");
    for command in GUIDE {
        let target = command.split(' ').skip_while(|word| *word != "--test").nth(1).expect("named");
        let file = root.join("node/tests").join(format!("{target}.rs"));
        assert!(file.is_file(), "{command}: there is no {}", file.display());
    }
}

#[test]
fn the_steps_give_the_commands_of_the_guide_in_its_order() {
    assert_eq!(StepId::ALL.map(StepId::guide_command), GUIDE.map(str::to_owned));
    let targets: BTreeSet<_> = StepId::ALL.map(StepId::test_target).into_iter().collect();
    assert_eq!(targets.len(), 7);
}
