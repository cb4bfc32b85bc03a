//! From no transfer to all of them to one account: the more meet there, the less runs in parallel,
//! and nothing else changes.

use super::{
    drive::{Outcome, Subject, drive},
    workload::{address, blank_transfer},
};
use crate::result::{Check, Scenario};
use qbind_ledger::{Account, Ledger, LevelRunner, Params};
use qbind_types::{Address, Transaction};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Shares of transfers to one account, in per cent.
pub(super) const SHARES: [u32; 8] = [0, 1, 10, 25, 50, 75, 90, 100];
const SENDERS: usize = 512;
const BLOCKS: u64 = 25;
const MOST: usize = 256;
const BALANCE: u128 = 1_000_000_000;
/// The one account; it sends nothing.
const MEETING_POINT: Address = Address([0x99; 32]);

struct Meeting {
    rng: ChaCha8Rng,
    share: u32,
    /// Transfers to the one account, by block.
    meetings: Vec<usize>,
}

impl Meeting {
    /// Transfers of different senders, each to an account of its own or to the one.
    fn block(&mut self, ledger: &Ledger) -> Vec<Transaction> {
        let mut senders: Vec<usize> = (0..SENDERS).collect();
        senders.shuffle(&mut self.rng);
        let count = self.rng.random_range(2..=MOST);
        let mut meetings = 0;
        let transfers = senders.into_iter().take(count).map(|n| {
            let meets = self.rng.random_range(0..100) < self.share;
            meetings += usize::from(meets);
            let to = if meets { MEETING_POINT } else { address(SENDERS + n) };
            let (from, price) = (address(n), self.rng.random_range(1..=4));
            blank_transfer(from, ledger.account(&from).nonce, to, 100, price)
        });
        let transfers = transfers.collect();
        self.meetings.push(meetings);
        transfers
    }
}

fn genesis(params: Params) -> Ledger {
    let accounts = (0..SENDERS).map(|n| (address(n), Account { nonce: 0, balance: BALANCE }));
    super::workload::ledger_of(params, accounts)
}

fn run(share: u32, seed: u64, subjects: &[Subject<'_>]) -> (Outcome, Vec<usize>) {
    let rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(share) << 32);
    let mut meeting = Meeting { rng, share, meetings: Vec::new() };
    let outcome = drive(BLOCKS, &genesis, &mut |ledger| meeting.block(ledger), subjects);
    (outcome, meeting.meetings)
}

fn judge(share: u32, seed: u64, outcome: &Outcome, meetings: &[usize]) -> Scenario {
    // Who transfers to the one account waits for whoever did before, and for nobody else.
    let expected = meetings.iter().map(|n| (*n).max(1));
    let other = outcome.depths.iter().zip(expected).filter(|(got, due)| *got != due).count();
    let mut checks = vec![
        Check::equal("blocks run in parallel", BLOCKS, outcome.parallel),
        Check::equal("blocks with other levels than transfers to the one account", 0, other),
        Check::equal("transfers that did not succeed", 0, outcome.failures() + outcome.skips()),
    ];
    checks.extend(outcome.checks());
    let meetings: usize = meetings.iter().sum();
    let summary = format!(
        "{meetings} of {} transfers meet, {} levels a block, {} of {} blocks in parallel",
        outcome.succeeded,
        outcome.mean_levels(),
        outcome.parallel,
        outcome.blocks
    );
    Scenario::new(format!("contention_{share}_percent"), checks)
        .fact("seed", seed)
        .fact("transactions_succeeded", outcome.succeeded)
        .fact("transactions_to_one_account", meetings)
        .fact("blocks_parallel", outcome.parallel)
        .fact("blocks_serial", outcome.serial)
        .fact("mean_levels", outcome.mean_levels())
        .fact("most_levels", outcome.deepest)
        .summed_up(summary)
}

/// One scenario for each share.
pub(super) fn scenarios(seed: u64, runners: &[&dyn LevelRunner]) -> Vec<Scenario> {
    let one = |share: &u32| {
        let subjects: Vec<Subject<'_>> = runners.iter().map(|r| Subject::sound(*r)).collect();
        let (outcome, meetings) = run(*share, seed, &subjects);
        judge(*share, seed, &outcome, &meetings)
    };
    SHARES.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_ledger::SerialRunner;

    #[test]
    fn levels_rise_with_the_share_from_one_to_all() {
        let mean = |share| run(share, 1, &[Subject::sound(&SerialRunner)]).0.mean_levels();
        let means: Vec<f64> = SHARES.iter().map(|share| mean(*share)).collect();
        assert!(means.is_sorted_by(|a, b| a < b), "{means:?}");
        assert!((means[0] - 1.0).abs() < f64::EPSILON, "{means:?}");
    }

    #[test]
    fn a_schedule_of_other_levels_and_a_lost_transfer_are_noticed() {
        let subjects = [Subject::sound(&SerialRunner)];
        let (sound, meetings) = run(50, 7, &subjects);
        assert!(judge(50, 7, &sound, &meetings).verdict.is_pass());
        let mut too_flat = sound.clone();
        too_flat.depths[3] -= 1;
        assert!(!judge(50, 7, &too_flat, &meetings).verdict.is_pass());
        let mut lost = sound;
        lost.skipped.insert(qbind_ledger::SkipReason::Nonce, 1);
        assert!(!judge(50, 7, &lost, &meetings).verdict.is_pass());
    }
}
