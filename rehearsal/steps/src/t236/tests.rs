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
    assert_eq!(found, ["honest transfers included", "blocks that are four fifths adversarial"]);
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
        if let Some(last) = applied.receipts.last_mut() {
            last.status = qbind_ledger::Status::Success;
        }
    });
    assert!(found.iter().any(|c| c.starts_with("injected replays")), "{found:?}");
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
