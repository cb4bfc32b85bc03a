//! What an offence costs, whom, when, and that it costs nothing where it is only recorded.

use super::{PROPOSER, address, ledger, transaction};
use crate::{
    Applied, BlockInput, Decision, EvidenceCheck, FailureReason, Ledger, Params, Registry,
    Rejection, SerialRunner, SlashingMode, SlashingParams, Status, System,
};
use alloc::{boxed::Box, vec, vec::Vec};
use proptest::prelude::*;
use qbind_types::{
    BatchId, BatchRef, Block, BlockHeader, BlockId, Epoch, Evidence, ExecutedState, Height, Millis,
    Network, Offence, PUBLIC_KEY_BYTES, Payload, Phase, PublicKey, REGISTRY, RegistryCall,
    SIGNATURE_BYTES, Signature, SignedBatchRef, SignedHeader, StateRoot, Transaction, TransferV1,
    ValidatorIndex, ValidatorInfo, ValidatorSet, View, VotingPower,
};

const EPOCH_BLOCKS: u64 = 8;
const START: u128 = 100_000_000;
const STAKE: u64 = 10_000_000;
/// What account 9 pays for a report, at a price of one.
const REPORTER: u8 = 9;

fn key(n: u8) -> PublicKey {
    PublicKey::from_slice(&[n; PUBLIC_KEY_BYTES]).expect("its length")
}

fn params(mode: SlashingMode) -> Params {
    Params {
        slashing: SlashingParams { mode, ..SlashingParams::record_only() },
        ..Params::mainnet()
    }
}

/// Validators 1 to 4 of accounts 1 to 4, each with the same stake, which the registry holds.
fn network(mode: SlashingMode) -> Ledger {
    network_of(mode, &[STAKE; 4])
}

fn network_of(mode: SlashingMode, stakes: &[u64]) -> Ledger {
    let members = (1u8..).zip(stakes).map(|(n, stake)| ValidatorInfo {
        id: u64::from(n),
        address: address(n),
        public_key: key(n),
        previous_key: None,
        power: VotingPower(*stake),
    });
    let founders = ValidatorSet::new(Epoch(0), members.collect()).expect("distinct");
    let plain = ledger(params(mode), 9, START);
    let accounts = plain.accounts().map(|(address, account)| (*address, *account));
    let staked = stakes.iter().map(|s| u128::from(*s)).sum();
    let registry = (REGISTRY, crate::Account { nonce: 0, balance: staked });
    let system = System::new(Registry::new(EPOCH_BLOCKS, founders));
    Ledger::restore(params(mode), plain.height(), system, accounts.chain([registry]))
        .expect("a small sum")
}

/// Signed by nobody: the first byte says whether the signature counts as right.
fn signature(is_right: bool) -> Signature {
    let mut bytes = [0; SIGNATURE_BYTES];
    bytes[0] = u8::from(is_right);
    Signature::from_slice(&bytes).expect("its length")
}

/// Believes what is marked as right.
struct Marked;

impl EvidenceCheck for Marked {
    fn proves(&self, _: &ValidatorSet, evidence: &Evidence) -> bool {
        let signature = match evidence {
            Evidence::Proposals { first, .. } | Evidence::InvalidBlock(first) => &first.signature,
            Evidence::Votes { first, .. } => &first.1,
            Evidence::CommitDenied { commit, .. } => commit,
            Evidence::LazyVote { signature, .. } | Evidence::References { signature, .. } => {
                signature
            }
            Evidence::Batches { first, .. } => &first.signature,
        };
        signature.as_bytes()[0] == 1
    }
}

/// Against validator `id` of epoch `epoch`, at view or round `at`.
fn evidence(offence: Offence, id: u64, epoch: u64, at: u64) -> Evidence {
    build(offence, id, epoch, at, true)
}

fn build(offence: Offence, id: u64, epoch: u64, at: u64, is_right: bool) -> Evidence {
    let index = ValidatorIndex(u16::try_from(id - 1).expect("small"));
    let (epoch, view) = (Epoch(epoch), View(at));
    let block = Block {
        network: Network::Mainnet,
        epoch,
        height: Height(1),
        view,
        parent: BlockId::default(),
        proposer: index,
        timestamp_unix_ms: Millis(0),
        executed: ExecutedState { height: Height(0), root: StateRoot::default() },
        batches: Vec::new(),
        next_validators: None,
    };
    let header: BlockHeader = block.header([0; 32]);
    let signed = |n| {
        let header = BlockHeader { timestamp_unix_ms: Millis(n), ..header.clone() };
        SignedHeader { header, signature: signature(is_right) }
    };
    match offence {
        Offence::O1DoubleSign => Evidence::Proposals { first: signed(1), second: signed(2) },
        Offence::O2InvalidProposal => Evidence::InvalidBlock(signed(1)),
        Offence::O3aLazyVote | Offence::O3bLazyVotes => Evidence::LazyVote {
            phase: Phase::Vote,
            epoch,
            view,
            validator: index,
            header,
            signature: signature(is_right),
        },
        Offence::O4InvalidDagCertificate => {
            let batch = |n| SignedBatchRef {
                batch: BatchRef { epoch, creator: index, round: at, id: BatchId([n; 32]) },
                signature: signature(is_right),
            };
            Evidence::Batches { first: batch(1), second: batch(2) }
        }
        Offence::O5CouplingViolation => {
            Evidence::References { block: Box::new(block), signature: signature(is_right) }
        }
    }
}

fn report(ledger: &Ledger, nth: u64, amount: u128, evidence: Evidence) -> Transaction {
    let recipient = REGISTRY;
    let transfer = TransferV1 { recipient, amount, gas_limit: 1_000_000, max_fee_per_gas: 1 };
    let nonce = ledger.account(&address(REPORTER)).nonce + nth;
    let payload = Payload::Call(transfer, Box::new(RegistryCall::Report(Box::new(evidence))));
    assert_eq!(Payload::decode(&payload.encode()), Ok(payload.clone()));
    Transaction { public_key: key(REPORTER), ..transaction(address(REPORTER), nonce, &payload) }
}

/// Runs transactions in one block and checks that no money appears or vanishes.
fn run(ledger: &mut Ledger, transactions: &[Transaction]) -> Applied {
    let transactions: Vec<&Transaction> = transactions.iter().collect();
    let supply = ledger.supply() + ledger.burned();
    let block = BlockInput {
        height: ledger.height().next(),
        epoch: Epoch(ledger.registry().earliest().0 - 1),
        time: Millis(0),
        proposer: PROPOSER,
        transactions: &transactions,
    };
    let applied = ledger.apply(&block, &SerialRunner, &Marked);
    assert_eq!(ledger.supply() + ledger.burned(), supply);
    applied
}

/// Reports in one block; what became of each.
fn accuse(ledger: &mut Ledger, all: Vec<Evidence>) -> Vec<Decision> {
    let calls = (0u64..).zip(all).map(|(nth, e)| report(ledger, nth, 0, e)).collect::<Vec<_>>();
    let applied = run(ledger, &calls);
    for (receipt, judged) in applied.receipts.iter().zip(&applied.judged) {
        let is_fine = receipt.status == Status::Success;
        assert_eq!(is_fine, judged.is_accepted() || applied.judged.len() > applied.receipts.len());
    }
    applied.judged.iter().map(|judged| judged.decision).collect()
}

/// Empty blocks up to the election of an epoch; who validates it, with what stake.
fn elect(ledger: &mut Ledger, epoch: u64) -> Vec<(u64, u64)> {
    while ledger.height().0 < epoch * EPOCH_BLOCKS {
        run(ledger, &[]);
    }
    members(ledger, epoch)
}

fn members(ledger: &Ledger, epoch: u64) -> Vec<(u64, u64)> {
    let set = ledger.registry().set(Epoch(epoch)).expect("elected");
    set.members().iter().map(|m| (m.id, m.power.0)).collect()
}

use Decision::{AcceptedNoop, EvidenceOnly, PenaltyApplied, RejectedDuplicate, RejectedInvalid};
use Offence::{
    O1DoubleSign as O1, O2InvalidProposal as O2, O3aLazyVote as O3a, O4InvalidDagCertificate as O4,
    O5CouplingViolation as O5,
};

#[test]
fn recording_changes_no_stake_and_no_balance_but_the_fees() {
    let mut ledger = network(SlashingMode::RecordOnly);
    let before = ledger.clone();
    let all = [O1, O2, O3a, O4, O5].into_iter().zip(11..);
    let all = all.map(|(offence, at)| evidence(offence, 2, 0, at)).collect::<Vec<_>>();
    let calls = (0u64..).zip(all).map(|(n, e)| report(&ledger, n, 0, e)).collect::<Vec<_>>();
    let applied = run(&mut ledger, &calls);
    assert!(applied.judged.iter().all(|j| j.decision == EvidenceOnly && j.validator == Some(2)));
    let fees: u128 = applied.receipts.iter().map(|receipt| receipt.fee).sum();
    let burned: u128 = applied.receipts.iter().map(|receipt| receipt.burned).sum();
    assert!(fees > 0 && burned == applied.burned && applied.stake_burned == 0);
    let elected = elect(&mut ledger, 3);
    assert_eq!(elected, members(&before, 0), "nobody lost stake or place");
    for (account, state) in ledger.accounts() {
        let was = before.account(account).balance;
        let expected = match *account {
            a if a == address(REPORTER) => was - fees,
            a if a == PROPOSER => was + (fees - burned),
            _ => was,
        };
        assert_eq!(state.balance, expected, "{account}");
    }
    let record = ledger.slashing().record(2).expect("recorded");
    assert_eq!(record.offences, [1, 1, 1, 0, 1, 1]);
    assert_eq!((record.total_slashed, record.jail_count), (0, 0));
    assert_eq!(ledger.slashing().records().count(), 1);
}

#[test]
fn what_is_known_proves_nothing_or_is_of_no_epoch_kept_fails_and_costs_its_fee() {
    let mut ledger = network(SlashingMode::EnforceAll);
    let good = evidence(O1, 2, 0, 5);
    let decisions = accuse(
        &mut ledger,
        vec![
            good.clone(),
            good.clone(),
            build(O1, 3, 0, 5, false),
            evidence(O1, 2, 7, 5),
            evidence(O1, 5, 0, 5),
        ],
    );
    let bad = RejectedInvalid;
    assert_eq!(decisions, [PenaltyApplied, RejectedDuplicate, bad, bad, bad]);
    // An amount with it goes back.
    let with_amount = report(&ledger, 0, 77, evidence(O1, 3, 0, 6));
    let balance = ledger.account(&REGISTRY).balance;
    let applied = run(&mut ledger, &[with_amount]);
    assert_eq!(applied.receipts[0].status, Status::Failed(FailureReason::Registry));
    assert!(applied.receipts[0].fee > 0 && applied.judged.is_empty());
    assert_eq!(ledger.account(&REGISTRY).balance, balance);
    // Admission says why, as far as it can be seen without checking a signature.
    for (evidence, why) in [
        (good, "reported already"),
        (evidence(O1, 2, 7, 5), "not kept"),
        (evidence(O1, 9, 0, 5), "proves nothing"),
    ] {
        let rejection = ledger.admit(&report(&ledger, 0, 0, evidence), u64::MAX, 0);
        let rejection = rejection.expect_err("refused");
        assert!(matches!(rejection, Rejection::Registry(_)), "{rejection}");
        assert!(alloc::format!("{rejection}").contains(why), "{rejection}, expected {why}");
    }
    let off = network(SlashingMode::Off);
    assert!(off.admit(&report(&off, 0, 0, evidence(O1, 2, 0, 5)), u64::MAX, 0).is_err());
    assert_eq!(accuse(&mut off.clone(), vec![evidence(O1, 2, 0, 5)]), [RejectedInvalid]);
}

#[test]
fn stake_goes_at_the_next_election_to_the_finder_and_to_nobody() {
    let mut ledger = network(SlashingMode::EnforceCritical);
    assert_eq!(
        accuse(&mut ledger, vec![evidence(O1, 2, 0, 5), evidence(O5, 3, 0, 5)]),
        [PenaltyApplied, EvidenceOnly]
    );
    assert_eq!(ledger.slashing().pending(2), 750_000);
    let (burned, finder) = (ledger.burned(), ledger.account(&address(REPORTER)).balance);
    elect(&mut ledger, 1);
    let stake =
        |l: &Ledger, id| l.registry().validators().find(|(i, _)| *i == id).map(|v| v.1.stake);
    assert_eq!(stake(&ledger, 2), Some(STAKE - 750_000));
    assert_eq!(ledger.account(&address(REPORTER)).balance - finder, 10_000, "the most there is");
    assert_eq!(ledger.burned() - burned, 740_000);
    assert_eq!(ledger.account(&REGISTRY).balance, u128::from(4 * STAKE - 750_000));
    // Ten epochs of jail, then it is back with what it has left.
    for epoch in 1..=10 {
        assert!(elect(&mut ledger, epoch).iter().all(|(id, _)| *id != 2), "epoch {epoch}");
    }
    assert!(elect(&mut ledger, 11).contains(&(2, STAKE - 750_000)));
    let record = ledger.slashing().record(2).expect("recorded");
    assert_eq!((record.total_slashed, record.jail_count), (750_000, 1));
    assert_eq!(record.jailed_until, Epoch(11));
    assert_eq!(ledger.slashing().pending(2), 0);
}

#[test]
fn a_finder_is_paid_a_tenth_within_bounds_and_never_more_than_was_taken() {
    for (stake, taken, fee) in [(1_000, 75, 75), (20_000, 1_500, 150), (STAKE, 750_000, 10_000)] {
        let mut ledger = network_of(SlashingMode::EnforceAll, &[stake; 4]);
        accuse(&mut ledger, vec![evidence(O1, 1, 0, 9)]);
        let finder = ledger.account(&address(REPORTER)).balance;
        let staked = ledger.account(&REGISTRY).balance;
        elect(&mut ledger, 1);
        assert_eq!(ledger.account(&address(REPORTER)).balance - finder, fee, "stake {stake}");
        assert_eq!(staked - ledger.account(&REGISTRY).balance, taken, "stake {stake}");
    }
}

#[test]
fn one_event_costs_what_its_gravest_offence_costs_in_whatever_order_it_is_reported() {
    let events = [evidence(O1, 2, 0, 5), evidence(O2, 2, 0, 5), evidence(O5, 2, 0, 5)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut ledger = network(SlashingMode::EnforceAll);
        let decisions: Vec<Decision> = order
            .into_iter()
            .flat_map(|i: usize| accuse(&mut ledger, vec![events[i].clone()]))
            .collect();
        assert_eq!(ledger.slashing().pending(2), 750_000, "{order:?}");
        let until = ledger.slashing().record(2).map(|r| r.jailed_until);
        assert_eq!(until, Some(Epoch(11)), "{order:?}");
        if order[0] == 0 {
            assert_eq!(decisions, [PenaltyApplied, AcceptedNoop, AcceptedNoop]);
        }
    }
    // Another view, and a round of the same number, are events of their own.
    let mut ledger = network(SlashingMode::EnforceAll);
    let others = vec![evidence(O1, 2, 0, 5), evidence(O1, 2, 0, 6), evidence(O4, 2, 0, 5)];
    accuse(&mut ledger, others);
    assert_eq!(ledger.slashing().pending(2), 3 * 750_000);
}

#[test]
fn three_lazy_votes_close_together_are_one_repeated_offence() {
    let mut ledger = network(SlashingMode::EnforceAll);
    let lazy = |at| evidence(O3a, 2, 0, at);
    // 1,000 views apart at the ends: too far.
    assert_eq!(accuse(&mut ledger, vec![lazy(1_500), lazy(500), lazy(1_000)]), [PenaltyApplied; 3]);
    let record = |l: &Ledger| l.slashing().record(2).expect("recorded").clone();
    assert_eq!(record(&ledger).offences, [0, 0, 3, 0, 0, 0]);
    assert_eq!((record(&ledger).jail_count, ledger.slashing().pending(2)), (0, 3 * 25_000));
    // One between them: three within 501 views, and that event costs the graver offence only.
    assert_eq!(accuse(&mut ledger, vec![lazy(750)]), [PenaltyApplied; 2]);
    assert_eq!(record(&ledger).offences, [0, 0, 4, 1, 0, 0]);
    assert_eq!(
        (record(&ledger).jail_count, ledger.slashing().pending(2)),
        (1, 3 * 25_000 + 200_000)
    );
    // Those three count no more.
    assert_eq!(accuse(&mut ledger, vec![lazy(751)]), [PenaltyApplied]);
    assert_eq!(record(&ledger).offences, [0, 0, 5, 1, 0, 0]);
}

#[test]
fn jail_takes_a_third_of_the_stake_at_most_at_once_and_never_everybody() {
    let mut ledger = network_of(SlashingMode::EnforceAll, &[100, 100, 100, 100, 200]);
    let all = vec![
        evidence(O2, 1, 0, 5),
        evidence(O1, 2, 0, 6),
        evidence(O1, 3, 0, 7),
        evidence(O1, 5, 0, 8),
    ];
    accuse(&mut ledger, all);
    let ids = |set: Vec<(u64, u64)>| set.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    // 600 in all: the longest sentences first are 2, 3 and 5; 5 would be too much, and so would 1.
    assert_eq!(ids(elect(&mut ledger, 1)), [1, 4, 5]);
    // Of what is left, about 385, only 1 fits in a third.
    assert_eq!(ids(elect(&mut ledger, 2)), [4, 5]);
    assert_eq!(ids(elect(&mut ledger, 3)), [4, 5], "5 holds more than a third of the rest");
    assert!(ids(elect(&mut ledger, 6)).contains(&1), "five epochs");
    // A validator alone is never left out.
    let mut alone = network_of(SlashingMode::EnforceAll, &[100]);
    accuse(&mut alone, vec![evidence(O1, 1, 0, 5)]);
    assert_eq!(ids(elect(&mut alone, 1)), [1]);
    // Seven of nine go to jail in four elections; of the other two, neither may leave at once, for each
    // holds more than a quarter of the stake that validates.
    let mut nine = network_of(SlashingMode::EnforceAll, &[1_000; 9]);
    accuse(&mut nine, (1..=7).map(|id| evidence(O1, id, 0, id)).collect());
    let left = (1..=4).map(|epoch| elect(&mut nine, epoch).len()).collect::<Vec<_>>();
    assert_eq!(left, [6, 4, 3, 2]);
    let leave = [8, 9].map(|n| leave(&nine, n));
    assert!(run(&mut nine, &leave).receipts.iter().all(|receipt| !receipt.is_success()));
    assert_eq!(ids(elect(&mut nine, 5)), [8, 9]);
}

fn leave(ledger: &Ledger, n: u8) -> Transaction {
    let recipient = REGISTRY;
    let transfer = TransferV1 { recipient, amount: 0, gas_limit: 100_000, max_fee_per_gas: 1 };
    let payload = Payload::Call(transfer, Box::new(RegistryCall::Leave { id: u64::from(n) }));
    let nonce = ledger.account(&address(n)).nonce;
    Transaction { public_key: key(n), ..transaction(address(n), nonce, &payload) }
}

#[test]
fn a_bond_on_its_way_back_still_pays_and_nobody_loses_the_last_unit() {
    let mut ledger = network(SlashingMode::EnforceAll);
    let leave = leave(&ledger, 2);
    assert!(run(&mut ledger, &[leave]).receipts[0].is_success());
    assert_eq!(elect(&mut ledger, 1).len(), 3);
    // It validated until the end of epoch 0, and is accused when it is elected no more.
    assert_eq!(accuse(&mut ledger, vec![evidence(O1, 2, 0, 5)]), [PenaltyApplied]);
    let before = ledger.account(&address(2)).balance;
    elect(&mut ledger, 2);
    assert_eq!(ledger.account(&address(2)).balance - before, u128::from(STAKE - 750_000));
    // Paid back, it has nothing left to take; it is recorded all the same.
    assert_eq!(accuse(&mut ledger, vec![evidence(O3a, 2, 0, 6)]), [AcceptedNoop]);
    // A hundred double signs.
    let mut ledger = network_of(SlashingMode::EnforceAll, &[1_000; 4]);
    for at in 0..100 {
        accuse(&mut ledger, vec![evidence(O4, 3, 0, at)]);
    }
    elect(&mut ledger, 14);
    let stake = ledger.registry().validators().find(|(id, _)| *id == 3).map(|(_, v)| v.stake);
    assert!(stake.is_some_and(|stake| stake >= 1));
}

#[test]
fn offences_can_be_reported_as_long_as_their_validators_are_kept_and_are_forgotten_then() {
    let mut ledger = network(SlashingMode::RecordOnly);
    accuse(&mut ledger, vec![evidence(O1, 2, 0, 5)]);
    elect(&mut ledger, 7);
    assert_eq!(
        accuse(&mut ledger, vec![evidence(O1, 2, 0, 5), evidence(O1, 2, 0, 6)]),
        [RejectedDuplicate, EvidenceOnly]
    );
    elect(&mut ledger, 8);
    assert_eq!(accuse(&mut ledger, vec![evidence(O1, 2, 0, 7)]), [RejectedInvalid]);
    assert_eq!(ledger.slashing().record(2).map(|r| r.offences[0]), Some(2), "records stay");
}

#[test]
fn who_reports_small_offences_of_its_own_keeps_no_great_one_out() {
    let mut ledger = network(SlashingMode::EnforceAll);
    for at in (0..260).step_by(10) {
        let ten = (at..at + 10).map(|at| evidence(O3a, 2, 0, 10_000 * at)).collect::<Vec<_>>();
        accuse(&mut ledger, ten);
    }
    // The one after the 256th is heard no more.
    let lazy = ledger.slashing().record(2).map(|r| r.offences[2]);
    assert_eq!(lazy, Some(256));
    assert_eq!(ledger.registry().earliest(), Epoch(4));
    assert_eq!(accuse(&mut ledger, vec![evidence(O1, 2, 0, 1)]), [PenaltyApplied]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is reported, in whatever order: money is conserved (every `run` checks it), each event
    /// costs at most its gravest offence, recording costs nothing, and there is always a set.
    #[test]
    fn any_reports_keep_the_books(
        mode in 0usize..3,
        calls in prop::collection::vec((0usize..6, 1u64..5, 0u64..2, 0u64..4, any::<bool>()), 1..40),
    ) {
        let mode = [SlashingMode::RecordOnly, SlashingMode::EnforceCritical, SlashingMode::EnforceAll][mode];
        let mut ledger = network_of(mode, &[1_000, 20_000, 300_000, 4_000_000]);
        let before: Vec<u64> = ledger.registry().validators().map(|(_, v)| v.stake).collect();
        for (offence, id, epoch, at, is_right) in calls {
            let evidence = build(Offence::ALL[offence], id, epoch, at, is_right);
            accuse(&mut ledger, vec![evidence]);
        }
        let next = ledger.registry().earliest().0;
        prop_assert!(!elect(&mut ledger, next).is_empty());
        // 2 epochs of 4 views and 4 rounds.
        for ((id, now), before) in ledger.registry().validators().zip(before) {
            let lost = before - now.stake;
            prop_assert!(now.stake >= 1);
            prop_assert!(u128::from(lost) <= u128::from(before) * 16 * 750 / 10_000, "validator {}", id);
            let taken = ledger.slashing().record(id).map_or(0, |r| r.total_slashed);
            prop_assert_eq!(taken, u128::from(lost));
            if mode == SlashingMode::RecordOnly {
                prop_assert_eq!(lost, 0);
            }
        }
    }
}
