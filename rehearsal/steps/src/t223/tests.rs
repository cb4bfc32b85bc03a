use super::*;
use compare::Difference;
use qbind_ledger::{Applied, FeeSplit, SerialRunner, Status};

/// The kinds of difference a broken subject is caught by.
fn caught(subject: Subject<'_>) -> Vec<Difference> {
    let case = SOAKS[3];
    let outcome = soak(&case, case.seed, &[subject]);
    let scenario = judge(&case, case.seed, &outcome);
    assert_eq!(scenario.verdict.is_pass(), outcome.differences.is_empty());
    outcome.differences.into_keys().collect()
}

#[test]
fn the_short_form_passes() {
    let result = run(&Options { quick: true, ..Options::default() });
    assert_eq!(result.failures().collect::<Vec<_>>(), []);
    assert_eq!(result.scenarios.len(), 4 + 1 + contention::SHARES.len() + 3);
}

#[test]
fn a_sound_subject_is_not_caught() {
    assert_eq!(caught(Subject::sound(&SerialRunner)), []);
}

#[test]
fn conflicting_transfers_in_another_order_are_caught() {
    let order = |list: &mut [&Transaction]| list.reverse();
    let found = caught(Subject { order, ..Subject::sound(&SerialRunner) });
    assert!(found.contains(&Difference::State));
    assert!(found.contains(&Difference::ReceiptStatus));
}

#[test]
fn fees_shared_otherwise_are_caught() {
    let fee_split = FeeSplit::new(5_001, 4_999).expect("a whole");
    let params = Params { fee_split, ..Params::mainnet() };
    let found = caught(Subject { params, ..Subject::sound(&SerialRunner) });
    assert!(found.contains(&Difference::FeeDistribution));
    assert!(found.contains(&Difference::State));
}

#[test]
fn every_lie_in_a_report_is_caught_by_its_name() {
    let lie = |report| caught(Subject { report, ..Subject::sound(&SerialRunner) });
    assert_eq!(lie(|a| a.receipts[0].gas_used += 1), [Difference::GasUsed]);
    assert_eq!(lie(|a| a.receipts[0].fee += 1), [Difference::FeeDistribution]);
    assert_eq!(lie(|a| a.receipts_root[0] ^= 1), [Difference::ReceiptsRoot]);
    assert_eq!(lie(|a| a.state_root.0[0] ^= 1), [Difference::State]);
    let status = |a: &mut Applied| {
        a.receipts[0].status = match a.receipts[0].status {
            Status::Success => Status::Skipped(qbind_ledger::SkipReason::Nonce),
            _ => Status::Success,
        };
    };
    assert_eq!(lie(status), [Difference::ReceiptStatus]);
}

#[test]
fn a_subject_that_never_runs_in_parallel_fails() {
    let case = SOAKS[1];
    let params = Params { stage_b: false, ..Params::mainnet() };
    let subject = Subject { params, ..Subject::sound(&SerialRunner) };
    let outcome = soak(&case, case.seed, &[subject]);
    assert!(outcome.differences.is_empty());
    assert!(!judge(&case, case.seed, &outcome).verdict.is_pass());
}
