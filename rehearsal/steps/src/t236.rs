//! T236: the fee market under attack, with fees really charged.
//!
//! Covers: T236.
//!
//! Signed transfers go through signature check, admission, the node's mempool, batches, certificates of
//! real signatures, and its ledger, block by block in virtual time. Every figure is worked out from the committed transactions and their
//! receipts by a book of its own, not from what the market says about itself. Each profile runs
//! with the sizes this harness is specified with, where blocks have room for everybody; *crowded*,
//! with blocks too small for the load, where the fee market has to choose; and *pressed*, with a
//! pool too small as well, where it has to throw out.
//! Every few blocks a dishonest validator adds a batch of replays and double spends.

mod market;
mod refusals;
mod traders;

use crate::result::{Check, Scenario, StepResult};
use market::{BLOCK_MS, Market, Rules, Tally};
use qbind_dag::{EvictionMode, MempoolConfig};
use qbind_ledger::Params;
use qbind_types::{Millis, Network, Transaction};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::time::Instant;
use traders::{Attack, AttackTally, Attackers, Honest, HonestTally, wallets};

const NETWORK: Network = Network::Mainnet;
const HONEST_SENDERS: usize = 10;
const SEED: u64 = 42;
/// Every so many blocks a validator is dishonest.
const DISHONEST_EVERY: u64 = 5;
/// Smallest units per account: more than anybody spends here.
const FUNDS: u128 = 1_000_000_000_000_000;
/// The guide's bound: a larger share of the honest transfers must be included.
const INCLUDED_OVER_PERCENT: u64 = 30;
/// Bound of the profile without attackers.
const BASELINE_OVER_PERCENT: u64 = 50;

/// A profile.
#[derive(Debug, Clone)]
struct Profile {
    name: &'static str,
    attackers: usize,
    attack: Attack,
    sender_transactions: usize,
    included_over_percent: u64,
}

fn profiles() -> Vec<Profile> {
    let profile = |name, attackers, attack| Profile {
        name,
        attackers,
        attack,
        sender_transactions: 100,
        included_over_percent: INCLUDED_OVER_PERCENT,
    };
    vec![
        Profile {
            included_over_percent: BASELINE_OVER_PERCENT,
            ..profile("baseline", 0, Attack::None)
        },
        profile("spammy_single_sender", 1, Attack::Spam { load: 3, fees: 1..=20 }),
        profile("front_running_pattern", 3, Attack::FrontRun { above: 10..=29 }),
        Profile {
            sender_transactions: 50,
            ..profile(
                "churn_attack",
                20,
                Attack::Churn { burst: 5, calm_halves: 1, burst_percent: 60, fees: 60..=150 },
            )
        },
    ]
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    name: &'static str,
    capacity: usize,
    block_transactions: usize,
    blocks: u64,
}

const SPECIFIED: Sizes = Sizes { name: "", capacity: 5_000, block_transactions: 50, blocks: 20 };
const CROWDED: Sizes =
    Sizes { name: "_crowded", capacity: 5_000, block_transactions: 15, blocks: 120 };
const PRESSED: Sizes =
    Sizes { name: "_pressed", capacity: 150, block_transactions: 15, blocks: 120 };
const CROWDED_QUICK: Sizes = Sizes { blocks: 40, ..CROWDED };
const PRESSED_QUICK: Sizes = Sizes { blocks: 40, ..PRESSED };

fn mempool(profile: &Profile, sizes: Sizes) -> MempoolConfig {
    MempoolConfig {
        capacity: sizes.capacity,
        sender_transactions: profile.sender_transactions,
        eviction_mode: EvictionMode::Enforce,
        evictions_per_interval: 50,
        eviction_interval: Millis(10_000),
        ..MempoolConfig::default()
    }
}

/// Everything one run counted; equal for equal seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    honest: HonestTally,
    attackers: AttackTally,
    tally: Tally,
    charged: u128,
    burned: u128,
    paid: u128,
    blocks_mostly_adversarial: u64,
    state_root: String,
    checks: Vec<Check>,
}

fn trade(profile: &Profile, blocks: u64, seed: u64, rules: Rules) -> Outcome {
    let mut people = wallets(NETWORK, seed, HONEST_SENDERS + profile.attackers);
    let funds: Vec<_> = people.iter().map(|w| (w.address, FUNDS)).collect();
    let mut attackers = Attackers::new(people.split_off(HONEST_SENDERS), profile.attack.clone());
    let mut honest = Honest::new(people);
    let mut market = Market::new(rules, funds);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7236);
    let hostile = attackers.addresses();
    let mut blocks_mostly_adversarial = 0;
    let mut bids: Vec<u128> = Vec::new();
    let mut old: Vec<Transaction> = Vec::new();
    for height in 1..=blocks {
        // Whoever comes first has the better chance at a full pool, so they take turns; attackers
        // who come first know the bids of the block before.
        let attackers_first = height % 2 == 0;
        if attackers_first {
            attackers.trade(&mut market, &mut rng, &bids, height);
        }
        bids = honest.trade(&mut market, &mut rng, height);
        if !attackers_first {
            attackers.trade(&mut market, &mut rng, &bids, height);
        }
        let included = market.block(|block| {
            let extra = if height % DISHONEST_EVERY == 0 {
                attackers.inject(block, &old)
            } else {
                Vec::new()
            };
            old = block.iter().take(2).cloned().collect();
            extra
        });
        honest.settle(&included, height);
        attackers.settle(&included, height);
        let by_attackers = included.iter().filter(|i| hostile.contains(&i.sender)).count();
        // Four in five or more.
        if by_attackers * 5 >= included.len().max(1) * 4 {
            blocks_mostly_adversarial += 1;
        }
    }
    Outcome {
        checks: market.checks(),
        honest: honest.tally,
        attackers: attackers.tally,
        charged: market.book.charged,
        burned: market.book.burned,
        paid: market.book.paid,
        blocks_mostly_adversarial,
        state_root: market.ledger.state_root().to_string(),
        tally: market.tally,
    }
}

fn judge(profile: &Profile, sizes: Sizes, seed: u64, outcome: &Outcome) -> Scenario {
    let Outcome { honest, attackers, tally, .. } = outcome;
    let bound = profile.included_over_percent;
    let share = honest.included * 10_000 / honest.submitted.max(1);
    let mut checks = vec![
        Check::that(
            "honest transfers included",
            format!("> {bound} %"),
            format!("{}.{:02} %", share / 100, share % 100),
            honest.included * 100 > honest.submitted * bound,
        ),
        Check::equal(
            "fees of honest senders and attackers together",
            outcome.charged,
            honest.fees + attackers.fees,
        ),
        Check::that(
            "blocks that are four fifths adversarial",
            format!("< {}", sizes.blocks),
            outcome.blocks_mostly_adversarial,
            outcome.blocks_mostly_adversarial < sizes.blocks,
        ),
        Check::that("replays and double spends tried", "> 0", tally.injected, tally.injected > 0),
    ];
    checks.extend(outcome.checks.iter().cloned());
    checks.extend(pressure(profile, sizes, tally));
    let text = |n: u128| n.to_string();
    let rejected: u64 = tally.rejections.values().sum();
    let mut scenario = Scenario::new(format!("{}{}", profile.name, sizes.name), checks)
        .fact("seed", seed)
        .fact("blocks", sizes.blocks)
        .fact("honest_submitted", honest.submitted)
        .fact("honest_included", honest.included)
        .fact("honest_included_within_3_blocks", honest.waits[0])
        .fact("honest_included_within_10_blocks", honest.waits[1])
        .fact("honest_included_later", honest.waits[2])
        .fact("adversarial_submitted", attackers.submitted)
        .fact("adversarial_accepted", attackers.accepted)
        .fact("adversarial_included", attackers.included)
        .fact("adversarial_included_within_3_blocks", attackers.waits[0])
        .fact("adversarial_included_within_10_blocks", attackers.waits[1])
        .fact("adversarial_included_later", attackers.waits[2])
        .fact("blocks_mostly_adversarial", outcome.blocks_mostly_adversarial)
        .fact("batches_in_blocks", tally.batches)
        .fact("fees_charged", text(outcome.charged))
        .fact("fees_honest", text(honest.fees))
        .fact("fees_adversarial", text(attackers.fees))
        .fact("fees_burned", text(outcome.burned))
        .fact("fees_to_proposers", text(outcome.paid))
        .fact("evictions", tally.evictions)
        .fact("eviction_rate_limit_hits", tally.eviction_limit_hits)
        .fact("replacements", tally.replacements)
        .fact("rejections", rejected)
        .fact("replays_and_double_spends_tried", tally.injected)
        .fact("state_root", outcome.state_root.clone());
    for (code, count) in &tally.rejections {
        scenario = scenario.fact(format!("rejected_{code}"), *count);
    }
    scenario.summed_up(sum_up(outcome))
}

/// One line of the table that people read.
fn sum_up(outcome: &Outcome) -> String {
    let Outcome { honest, attackers, tally, .. } = outcome;
    let percent = |part: u64, of: u64| {
        let tenths = part * 1_000 / of.max(1);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let codes: Vec<String> =
        tally.rejections.iter().map(|(code, count)| format!("{code} {count}")).collect();
    format!(
        "honest {}/{} ({} %; <=3 blocks {}, <=10 {}, later {}), adversarial {}/{} ({} %; {}, {}, {}), \
         fees {} = {} burned + {} to proposers, evicted {}, limit hit {}, rejected: {}",
        honest.included,
        honest.submitted,
        percent(honest.included, honest.submitted),
        honest.waits[0],
        honest.waits[1],
        honest.waits[2],
        attackers.included,
        attackers.submitted,
        percent(attackers.included, attackers.submitted),
        attackers.waits[0],
        attackers.waits[1],
        attackers.waits[2],
        outcome.charged,
        outcome.burned,
        outcome.paid,
        tally.evictions,
        tally.eviction_limit_hits,
        if codes.is_empty() { "none".to_owned() } else { codes.join(", ") },
    )
}

/// The defences the small sizes are there to provoke; without them a profile would show nothing.
fn pressure(profile: &Profile, sizes: Sizes, tally: &Tally) -> Vec<Check> {
    let seen = |name: &str, count: u64| Check::that(name, "> 0", count, count > 0);
    let rejected = |code| tally.rejections.get(code).copied().unwrap_or(0);
    let is_pressed = sizes.capacity == PRESSED.capacity;
    let is_crowded = sizes.block_transactions == CROWDED.block_transactions;
    match profile.attack {
        Attack::Spam { .. } if is_crowded => vec![seen(
            "refusals for too many transactions of one sender",
            rejected("E_SENDER_LIMIT"),
        )],
        Attack::Churn { .. } if is_pressed => vec![
            seen("evictions of worse paid transactions", tally.evictions),
            seen("refusals of a full pool", rejected("E_FULL")),
            seen("refusals for too many evictions", rejected("E_RATE")),
        ],
        _ => Vec::new(),
    }
}

fn rules(profile: &Profile, sizes: Sizes) -> Rules {
    Rules {
        network: NETWORK,
        params: Params::mainnet(),
        mempool: mempool(profile, sizes),
        block_transactions: sizes.block_transactions,
        batch_interval: Millis(BLOCK_MS / 2),
        report: |_| (),
        deaf: None,
    }
}

fn reproducibility(seed: u64) -> Scenario {
    let Some(churn) = profiles().pop() else { unreachable!("there are four profiles") };
    let sizes = Sizes { blocks: 15, ..PRESSED };
    let run = |seed| trade(&churn, sizes.blocks, seed, rules(&churn, sizes));
    let (first, second, other) = (run(seed), run(seed), run(seed.wrapping_add(1)));
    let word = |same| if same { "equal" } else { "different" };
    Scenario::new(
        "reproducibility",
        vec![
            Check::equal("two runs from one seed", "equal", word(first == second)),
            Check::equal(
                "a run from another seed",
                "different",
                word(first.state_root == other.state_root),
            ),
        ],
    )
    .fact("seed", seed)
}

/// Runs all profiles. `seed` is added to the harness's own, 42; 0 is the canonical run. `quick`
/// shortens the crowded and pressed runs.
pub fn run(seed: u64, quick: bool) -> StepResult {
    let started = Instant::now();
    let own = SEED.wrapping_add(seed);
    let mut scenarios = Vec::new();
    let small = if quick { [CROWDED_QUICK, PRESSED_QUICK] } else { [CROWDED, PRESSED] };
    for sizes in [SPECIFIED].into_iter().chain(small) {
        for profile in profiles() {
            let outcome = trade(&profile, sizes.blocks, own, rules(&profile, sizes));
            scenarios.push(judge(&profile, sizes, own, &outcome));
        }
    }
    scenarios.push(refusals::scenario(own));
    scenarios.push(reproducibility(12_345u64.wrapping_add(seed)));
    let form = if quick { " --quick" } else { "" };
    let replay = format!("qbindctl steps run T236 --seed {seed}{form}");
    let title = "Fee market under attack";
    let mut result = StepResult::new("T236", title, seed, scenarios, replay);
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

#[cfg(test)]
mod tests;
