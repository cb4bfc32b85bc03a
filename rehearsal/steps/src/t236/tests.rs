use super::*;
use qbind_ledger::Applied;

fn profile(name: &str) -> Profile {
    profiles().into_iter().find(|p| p.name == name).expect("a profile of this name")
}

/// The checks that fail when a market's rules are changed.
fn failing(name: &str, sizes: Sizes, change: impl FnOnce(&mut Rules)) -> Vec<String> {
    let profile = profile(name);
    let mut rules = rules(&profile, sizes);
    change(&mut rules);
    let outcome = trade(&profile, sizes.blocks, SEED, rules);
    let scenario = judge(&profile, sizes, SEED, &outcome);
    scenario.checks.into_iter().filter(|c| !c.ok).map(|c| c.name).collect()
}

fn lie(report: fn(&mut Applied)) -> Vec<String> {
    failing("front_running_pattern", SPECIFIED, |rules| rules.report = report)
}

#[test]
fn the_short_form_passes() {
    let result = run(0, true);
    assert_eq!(result.failures().collect::<Vec<_>>(), []);
    assert_eq!(result.scenarios.len(), 14);
}

#[test]
fn attackers_who_outbid_everybody_crowd_out_the_honest_and_fail() {
    let mut profile = profile("churn_attack");
    profile.attack = Attack::Spam { load: 5, fees: 300..=400 };
    let rules = rules(&profile, CROWDED_QUICK);
    let outcome = trade(&profile, CROWDED_QUICK.blocks, SEED, rules);
    let scenario = judge(&profile, CROWDED_QUICK, SEED, &outcome);
    let found: Vec<_> = scenario.checks.iter().filter(|c| !c.ok).map(|c| &*c.name).collect();
    assert_eq!(found, ["honest transfers included"]);
}

#[test]
fn a_chain_of_adversarial_blocks_is_noticed() {
    let (profile, sizes) = (profile("churn_attack"), SPECIFIED);
    let mut outcome = trade(&profile, sizes.blocks, SEED, rules(&profile, sizes));
    assert!(judge(&profile, sizes, SEED, &outcome).verdict.is_pass());
    outcome.blocks_mostly_adversarial = sizes.blocks;
    assert!(!judge(&profile, sizes, SEED, &outcome).verdict.is_pass());
}

#[test]
fn a_pool_without_its_limits_is_noticed() {
    // The scenario judges by the profile's limits; here the market runs without them.
    let profile = profile("spammy_single_sender");
    let mut rules = rules(&profile, PRESSED_QUICK);
    rules.mempool.sender_transactions = 10_000;
    let outcome = trade(&profile, PRESSED_QUICK.blocks, SEED, rules);
    let scenario = judge(&profile, PRESSED_QUICK, SEED, &outcome);
    let found: Vec<_> = scenario.checks.iter().filter(|c| !c.ok).map(|c| &*c.name).collect();
    assert!(found.contains(&"refusals for too many transactions of one sender"), "{found:?}");
}

#[test]
fn a_transaction_that_runs_twice_is_noticed() {
    let found = lie(|applied| {
        let again = applied.receipts.first().cloned();
        applied.receipts.extend(again);
    });
    assert!(found.iter().any(|c| c.starts_with("double spends")), "{found:?}");
    assert!(found.iter().any(|c| c.starts_with("accounts that differ")), "{found:?}");
}

#[test]
fn an_injected_transaction_with_effect_is_noticed() {
    let found = lie(|applied| {
        for receipt in &mut applied.receipts {
            receipt.status = qbind_ledger::Status::Success;
        }
    });
    assert!(found.contains(&"nonces with effect more than once".to_string()), "{found:?}");
}

#[test]
fn a_block_of_batches_that_a_validator_does_not_hold_is_noticed() {
    let found = failing("baseline", SPECIFIED, |rules| rules.deaf = Some(2));
    assert!(found.iter().any(|c| c.starts_with("blocks with a batch")), "{found:?}");
}

/// The figures of a scenario that say something about the market.
const FIGURES: [&str; 17] = [
    "honest_included",
    "honest_included_within_3_blocks",
    "honest_included_within_10_blocks",
    "honest_included_later",
    "adversarial_accepted",
    "adversarial_included",
    "adversarial_included_within_3_blocks",
    "adversarial_included_within_10_blocks",
    "adversarial_included_later",
    "fees_charged",
    "fees_honest",
    "fees_adversarial",
    "fees_burned",
    "fees_to_proposers",
    "evictions",
    "eviction_rate_limit_hits",
    "rejections",
];

fn figures(change: impl FnOnce(&mut Rules)) -> Vec<serde_json::Value> {
    let profile = profile("churn_attack");
    let sizes = Sizes { blocks: 40, ..PRESSED };
    let mut rules = rules(&profile, sizes);
    change(&mut rules);
    let outcome = trade(&profile, sizes.blocks, SEED, rules);
    let scenario = judge(&profile, sizes, SEED, &outcome);
    FIGURES.iter().map(|name| scenario.facts[*name].clone()).collect()
}

#[test]
fn every_figure_changes_with_the_fee_rule() {
    let priority = figures(|_| ());
    let first_come = figures(|rules| rules.mempool.fee_priority = false);
    let same: Vec<_> = (0..FIGURES.len()).filter(|i| priority[*i] == first_come[*i]).collect();
    let same: Vec<_> = same.into_iter().map(|i| (FIGURES[i], &priority[i])).collect();
    assert_eq!(same, [], "the same whether the better paid go first or the first");
}

#[test]
fn a_higher_least_fee_and_another_split_change_what_they_are_about() {
    let at = |name: &str| FIGURES.iter().position(|f| *f == name).expect("listed");
    let usual = figures(|_| ());
    let dearer = figures(|rules| rules.params.min_fee_per_gas = 100);
    for name in ["honest_included", "adversarial_accepted", "fees_charged", "rejections"] {
        assert_ne!(usual[at(name)], dearer[at(name)], "{name}");
    }
    let split = qbind_ledger::FeeSplit::new(9_000, 1_000).expect("a whole");
    let burning = figures(|rules| rules.params.fee_split = split);
    for name in ["fees_burned", "fees_to_proposers"] {
        assert_ne!(usual[at(name)], burning[at(name)], "{name}");
    }
    assert_eq!(usual[at("fees_charged")], burning[at("fees_charged")]);
}

#[test]
fn a_fee_that_is_shared_or_charged_wrongly_is_noticed() {
    let shared = lie(|applied| {
        if let Some(first) = applied.receipts.first_mut() {
            first.burned = first.fee;
        }
    });
    assert!(shared.iter().any(|c| c.starts_with("fees not shared")), "{shared:?}");
    let charged = lie(|applied| {
        if let Some(first) = applied.receipts.first_mut() {
            first.fee += 2;
            first.burned += 2;
        }
    });
    assert!(charged.iter().any(|c| c.starts_with("charges that are not")), "{charged:?}");
    assert!(charged.iter().any(|c| c.starts_with("blocks after which")), "{charged:?}");
}

#[test]
fn a_run_without_fees_is_noticed() {
    let found = lie(|applied| applied.receipts.clear());
    assert!(found.contains(&"fees charged".to_string()), "{found:?}");
    assert!(found.contains(&"honest transfers included".to_string()), "{found:?}");
}
