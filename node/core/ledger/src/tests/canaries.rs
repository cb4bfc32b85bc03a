//! Machinery broken on purpose; each fault must show where the rules say it would.

use super::{PROPOSER, ledger, v1};
use crate::{
    Applied, BlockInput, FeeSplit, Ledger, LevelRunner, Mode, Params, SerialReason, SerialRunner,
    ledger::{MACHINERY, Machinery},
    plan::Run,
    schedule::{self, Levels},
};
use alloc::{vec, vec::Vec};
use qbind_types::Transaction;

/// Money hops 1 → 2 → 3 → 4 in one block; only the first holds enough to begin with.
fn hops() -> (Ledger, Vec<Transaction>) {
    let mut ledger = ledger(Params::mainnet(), 4, 100_000);
    super::apply(&mut ledger, &[v1(5, 0, 5, 0, 1)]);
    let block = vec![
        v1(1, 0, 2, 60_000, 1),
        v1(2, 0, 3, 110_000, 1),
        v1(3, 0, 4, 160_000, 1),
        v1(4, 0, 1, 200_000, 1),
    ];
    (ledger, block)
}

fn run(machinery: &Machinery, runner: &dyn LevelRunner) -> Applied {
    let (ledger, block) = hops();
    run_on(ledger, &block, machinery, runner)
}

fn run_on(
    mut ledger: Ledger,
    block: &[Transaction],
    machinery: &Machinery,
    runner: &dyn LevelRunner,
) -> Applied {
    let transactions: Vec<&Transaction> = block.iter().collect();
    let height = ledger.height().next();
    let block = BlockInput {
        height,
        epoch: qbind_types::Epoch(0),
        time: qbind_types::Millis(0),
        proposer: PROPOSER,
        transactions: &transactions,
    };
    ledger.apply_with(&block, runner, &crate::NoEvidence, machinery)
}

/// Runs the jobs of a level backwards, which a right schedule cannot notice.
pub(super) struct Backwards;

impl LevelRunner for Backwards {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        for i in (0..jobs).rev() {
            job(i);
        }
    }
}

#[test]
fn the_sound_machinery_lets_every_hop_succeed_in_any_order_within_levels() {
    let applied = run(&MACHINERY, &Backwards);
    assert!(applied.receipts.iter().all(crate::Receipt::is_success));
    assert_eq!(applied, run(&MACHINERY, &SerialRunner));
}

fn too_low(runs: &[Run], accounts: usize) -> Levels {
    let sound = schedule::levels(runs, accounts);
    let mut levels: Levels = vec![Vec::new(); sound.len() - 1];
    for (level, runs) in sound.into_iter().enumerate() {
        levels[level.saturating_sub(1)].extend(runs);
    }
    levels
}

#[test]
fn a_checked_block_survives_a_wrong_schedule_and_says_so() {
    let (mut ledger, block) = hops();
    while ledger.height().0 + 1 < Ledger::CHECKED {
        super::apply(&mut ledger, &[]);
    }
    let sound = run_on(ledger.clone(), &block, &MACHINERY, &Backwards);
    let broken = run_on(ledger, &block, &Machinery { levels: too_low, ..MACHINERY }, &Backwards);
    assert!(matches!(sound.mode, Mode::Parallel { .. }));
    assert_eq!(broken.mode, Mode::Serial { why: SerialReason::Mismatch });
    assert_eq!(broken.state_root, sound.state_root);
    assert_eq!(broken.receipts, sound.receipts);
}

#[test]
fn a_schedule_one_level_too_low_gives_another_root() {
    let broken = run(&Machinery { levels: too_low, ..MACHINERY }, &Backwards);
    let sound = run(&MACHINERY, &Backwards);
    assert_ne!(broken.state_root, sound.state_root);
    assert_ne!(broken.receipts_root, sound.receipts_root);
}

#[test]
fn a_schedule_that_forgets_the_recipient_gives_another_root() {
    fn senders_only(runs: &[Run], accounts: usize) -> Levels {
        let alone: Vec<Run> =
            runs.iter().map(|run| Run { recipient: run.sender, ..*run }).collect();
        schedule::levels(&alone, accounts)
    }
    let broken = run(&Machinery { levels: senders_only, ..MACHINERY }, &Backwards);
    assert_ne!(broken.state_root, run(&MACHINERY, &Backwards).state_root);
}

#[test]
#[should_panic(expected = "the level runner did not run job")]
fn a_lost_job_stops_the_node() {
    struct Lossy;
    impl LevelRunner for Lossy {
        fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
            for i in 1..jobs {
                job(i);
            }
        }
    }
    run(&MACHINERY, &Lossy);
}

#[test]
#[should_panic(expected = "as they were")]
fn a_share_rounded_up_on_both_sides_stops_the_node() {
    fn rounded_up(split: FeeSplit, fee: u128) -> u128 {
        split.proposer_part(fee) + 1
    }
    run(&Machinery { proposer_part: rounded_up, ..MACHINERY }, &SerialRunner);
}

#[test]
fn a_share_rounded_the_wrong_way_gives_another_root() {
    fn rounded_up(split: FeeSplit, fee: u128) -> u128 {
        split.proposer_part(fee) + 1
    }
    fn rest(split: FeeSplit, fee: u128) -> u128 {
        fee - rounded_up(split, fee)
    }
    let machinery = Machinery { proposer_part: rounded_up, burned_part: rest, ..MACHINERY };
    let (broken, sound) = (run(&machinery, &SerialRunner), run(&MACHINERY, &SerialRunner));
    assert_ne!(broken.state_root, sound.state_root);
    assert_ne!(broken.burned, sound.burned);
}

#[test]
#[should_panic(expected = "as they were")]
fn a_fee_that_vanishes_without_being_counted_stops_the_node() {
    fn nothing(_: FeeSplit, _: u128) -> u128 {
        0
    }
    run(&Machinery { burned_part: nothing, ..MACHINERY }, &SerialRunner);
}

#[test]
fn schedule_puts_conflicts_on_rising_levels_and_the_rest_together() {
    let run = |sender, recipient| Run {
        tx_index: 0,
        sender,
        recipient,
        nonce: 0,
        amount: 0,
        gas: 0,
        fee: 0,
    };
    // 0→1, 2→3 (free), 1→4 (after the first), 5→5 (free), 4→2 (after second and third).
    let runs = [run(0, 1), run(2, 3), run(1, 4), run(5, 5), run(4, 2)];
    assert_eq!(schedule::levels(&runs, 6), vec![vec![0, 1, 3], vec![2], vec![4]]);
    let shared = [run(0, 3), run(1, 3), run(2, 3), run(0, 3)];
    assert_eq!(schedule::levels(&shared, 4).len(), 4);
}
