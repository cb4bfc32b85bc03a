//! Ten thousand random blocks: the soaks' shapes in turn, each piece with a seed and a chain of its
//! own, on all cores.

use super::{Soak, drive::Outcome, drive::Subject, runner::Shuffled, soak};
use crate::result::{Check, Scenario};
use qbind_ledger::LevelRunner;
use rayon::prelude::*;

/// Blocks of one piece.
const PIECE: u64 = 100;
/// Pieces of the whole mix, and of its short form.
pub(super) const PIECES: u64 = 100;
pub(super) const PIECES_QUICK: u64 = 5;

/// Runs the mix; `shapes` are the soaks it takes sizes from.
pub(super) fn scenario(
    seed: u64,
    pieces: u64,
    shapes: &[Soak],
    threads: &dyn LevelRunner,
) -> Scenario {
    let one = |piece: u64| {
        let seed = seed.wrapping_add(piece);
        let place = usize::try_from(piece).expect("a few") % shapes.len();
        let shape = Soak { blocks: PIECE, ..shapes[place] };
        let shuffled = Shuffled::new(seed);
        let runners: [&dyn LevelRunner; 2] = [threads, &shuffled];
        (seed, soak(&shape, seed, &runners.map(Subject::sound)))
    };
    let outcomes: Vec<(u64, Outcome)> = (0..pieces).into_par_iter().map(one).collect();
    judge(seed, pieces, &outcomes)
}

fn judge(seed: u64, pieces: u64, outcomes: &[(u64, Outcome)]) -> Scenario {
    let mut all = Outcome::default();
    outcomes.iter().for_each(|(_, outcome)| all.add(outcome));
    let is_equal = |o: &Outcome| o.differences.is_empty() && o.book_findings == 0;
    let wrong: Vec<String> =
        outcomes.iter().filter(|(_, o)| !is_equal(o)).map(|(seed, _)| seed.to_string()).collect();
    let got = if wrong.is_empty() { "none".to_owned() } else { wrong.join(", ") };
    let mut checks = vec![
        Check::equal("blocks executed", pieces * PIECE, all.blocks),
        Check::equal("seeds that do not give equal roots", "none", got),
        Check::that(
            "blocks run in parallel",
            "> half",
            all.parallel,
            all.parallel * 2 > all.blocks,
        ),
        Check::that("transfers that failed", "> 0", all.failures(), all.failures() > 0),
    ];
    checks.extend(all.checks());
    let transactions = all.succeeded + all.failures() + all.skips();
    let summary = format!(
        "{} blocks, {transactions} transactions ({} succeeded, {} failed, {} skipped), {} blocks in \
         parallel at {} levels: state and receipts roots equal to serial",
        all.blocks,
        all.succeeded,
        all.failures(),
        all.skips(),
        all.parallel,
        all.mean_levels(),
    );
    Scenario::new("random_blocks", checks)
        .fact("seed", seed)
        .fact("blocks", all.blocks)
        .fact("blocks_parallel", all.parallel)
        .fact("blocks_serial", all.serial)
        .fact("transactions_succeeded", all.succeeded)
        .fact("transactions_failed", all.failures())
        .fact("transactions_skipped", all.skips())
        .fact("mean_levels", all.mean_levels())
        .fact("most_levels", all.deepest)
        .summed_up(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t223::{SOAKS, compare::Difference};
    use qbind_ledger::SerialRunner;

    #[test]
    fn one_block_of_one_piece_that_differs_fails_the_mix() {
        let shape = Soak { blocks: PIECE, ..SOAKS[1] };
        let piece = |seed| (seed, soak(&shape, seed, &[Subject::sound(&SerialRunner)]));
        let mut outcomes: Vec<_> = (0..3).map(piece).collect();
        assert!(judge(0, 3, &outcomes).verdict.is_pass());
        outcomes[1].1.differences.insert(Difference::State, 17);
        let scenario = judge(0, 3, &outcomes);
        assert!(!scenario.verdict.is_pass());
        assert_eq!(scenario.checks[1].got, "1");
    }
}
