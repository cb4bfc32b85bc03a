//! The monetary engine inside the ledger: who counts, who is paid, what the state commits to.

use super::{PROPOSER, address, ledger, system, v1};
use crate::{
    Account, Applied, BlockInput, FeeSplit, Ledger, NoEvidence, Params, Registry, SerialRunner,
    System,
    ledger::{MACHINERY, Machinery},
    monetary::{self, Mode, Payout, Policy, pro_rata},
};
use alloc::{vec, vec::Vec};
use qbind_types::{
    Address, Epoch, Height, Millis, PUBLIC_KEY_BYTES, PublicKey, REGISTRY, Transaction,
    ValidatorInfo, ValidatorSet, VotingPower,
};

const EPOCH_BLOCKS: u64 = 8;
const START: u128 = 10_000_000_000_000_000;
const STAKES: [u64; 4] =
    [500_000_000_000_000, 300_000_000_000_000, 150_000_000_000_000, 50_000_000_000_001];
const STAKED: u128 = 1_000_000_000_000_001;
const ACCOUNTS: [u8; 4] = [0xa1, 0xa2, 0xa3, 0xa4];

fn active() -> Mode {
    Mode::Active(Payout::new(ACCOUNTS.map(address), [8_200, 1_200, 400, 200]).expect("a whole"))
}

/// Accounts 1 to 9, of which 1 to 4 own the validators.
fn network(mode: Mode) -> Ledger {
    let monetary = Policy { mode, ..Policy::default() };
    // Everything is burned, so that what a proposer gets does not hide what is minted.
    let params = Params { monetary, fee_split: FeeSplit::BURN, ..Params::mainnet() };
    let members = (1..).zip(STAKES).map(|(n, stake)| ValidatorInfo {
        id: u64::from(n),
        address: address(n),
        public_key: PublicKey::from_slice(&[n; PUBLIC_KEY_BYTES]).expect("its length"),
        previous_key: None,
        power: VotingPower(stake),
    });
    let founders = ValidatorSet::new(Epoch(0), members.collect()).expect("distinct");
    let accounts = (1..=9).map(|n| (address(n), Account { nonce: 0, balance: START }));
    let registry = (REGISTRY, Account { nonce: 0, balance: STAKED });
    let system = System::new(Registry::new(EPOCH_BLOCKS, founders));
    Ledger::restore(params, Height(0), system, accounts.chain([registry])).expect("a small sum")
}

/// A block in which account 9 sends its next transfer; an epoch ends at its election.
fn step(ledger: &mut Ledger, machinery: &Machinery) -> Applied {
    let epoch = Epoch(ledger.registry().earliest().0 - 1);
    let nonce = ledger.account(&address(9)).nonce;
    let transfer = v1(9, nonce, 8, 1, 1);
    let transactions: Vec<&Transaction> = vec![&transfer];
    let (height, time) = (ledger.height().next(), Millis(0));
    let block = BlockInput { height, epoch, time, proposer: PROPOSER, transactions: &transactions };
    ledger.apply_with(&block, &SerialRunner, &NoEvidence, machinery)
}

fn accounts(ledger: &Ledger) -> Vec<(Address, Account)> {
    ledger.accounts().map(|(address, account)| (*address, *account)).collect()
}

#[test]
fn shadow_decides_every_epoch_and_changes_no_account() {
    let (mut off, mut shadow) = (network(Mode::Off), network(Mode::Shadow));
    for height in 1..=40 {
        let (a, b) = (step(&mut off, &MACHINERY), step(&mut shadow, &MACHINERY));
        assert_eq!((a.changes, a.burned, a.issued), (b.changes, b.burned, b.issued));
        assert_eq!(accounts(&off), accounts(&shadow));
        assert_eq!((a.monetary, b.issued), (None, 0));
        assert_eq!(b.monetary.is_some(), height % EPOCH_BLOCKS == 0, "once an epoch");
        assert_eq!(off.accounts_root(), shadow.accounts_root());
    }
    assert_eq!(off.monetary(), &monetary::State::default());
    let last = shadow.monetary().last().expect("five epochs ended");
    assert_eq!((last.epoch, last.fees), (Epoch(4), 8 * 37_352));
    assert_eq!(shadow.tally().epoch_fees, 0);
    assert_eq!((last.staked, shadow.tally().issued), (STAKED, 0));
    assert!(last.issuance > 0, "it says what it would mint");
    assert_ne!(shadow.state_root(), off.state_root(), "the state commits to decisions");
}

#[test]
fn active_mints_what_was_decided_and_credits_all_of_it() {
    let mut ledger = network(active());
    let before = ledger.supply();
    let last = (0..16).map(|_| step(&mut ledger, &MACHINERY)).last().expect("sixteen blocks");
    let closed = last.monetary.expect("the sixteenth block elects");
    let issued = closed.issued.expect("it is active");
    // 298,816 of fees are 0.16 basis points of the stake a year, so the rate is 775 all the same:
    // 10^15 × 775 / (52,560 × 10,000).
    assert_eq!((closed.decision.r_inf_annual_bps, closed.decision.fees), (775, 298_816));
    assert_eq!((issued.total(), last.issued), (1_474_505_327, 1_474_505_327));
    assert_eq!(issued.buckets, [1_209_094_368, 176_940_640, 58_980_213, 29_490_106]);
    assert_eq!(ledger.tally().issued, 2 * 1_474_505_327);
    assert_eq!(ledger.supply() + ledger.burned(), before + ledger.tally().issued);
    let gained = |n: u8, had: u128| ledger.account(&address(n)).balance - had;
    let owners = [604_547_183, 362_728_310, 181_364_155, 60_454_718].map(|epoch| 2 * epoch);
    assert_eq!([1, 2, 3, 4].map(|n| gained(n, START)), owners);
    // Two units of each epoch are no validator's.
    let purposes = [2, 176_940_640, 58_980_213, 29_490_106].map(|epoch| 2 * epoch);
    assert_eq!(ACCOUNTS.map(|n| gained(n, 0)), purposes);
    assert_eq!(ledger.account(&REGISTRY).balance, STAKED);
}

#[test]
fn a_restored_ledger_goes_on_with_the_same_roots() {
    let mut ledger = network(active());
    for _ in 0..11 {
        step(&mut ledger, &MACHINERY);
    }
    assert_eq!(ledger.tally().epoch_fees, 3 * 37_352);
    let params = ledger.params().clone();
    let again = Ledger::restore(params, ledger.height(), system(&ledger), accounts(&ledger));
    let mut again = again.expect("sound");
    assert_eq!(again.state_root(), ledger.state_root());
    for _ in 0..10 {
        assert_eq!(step(&mut again, &MACHINERY), step(&mut ledger, &MACHINERY));
    }
}

#[test]
fn a_ledger_without_validators_never_ends_an_epoch() {
    let mut ledger = ledger(Params::mainnet(), 3, START);
    let applied = super::apply(&mut ledger, &[v1(1, 0, 2, 5, 1)]);
    assert_eq!((applied.monetary, applied.issued), (None, 0));
    assert_eq!(ledger.tally().epoch_fees, 37_352);
}

#[test]
#[should_panic(expected = "as they were")]
fn a_remainder_lost_stops_the_node() {
    fn lossy(amount: u128, stakes: &[u64]) -> (Vec<u128>, u128) {
        (pro_rata(amount, stakes).0, 0)
    }
    let broken = monetary::Machinery { pro_rata: lossy, ..MACHINERY.monetary };
    let machinery = Machinery { monetary: broken, ..MACHINERY };
    let mut quiet = network(active());
    for height in 1..=8 {
        let (height, epoch, time) = (Height(height), Epoch(0), Millis(0));
        let block = BlockInput { height, epoch, time, proposer: PROPOSER, transactions: &[] };
        quiet.apply_with(&block, &SerialRunner, &NoEvidence, &machinery);
    }
}

#[test]
fn accounts_and_shares_of_issuance_are_checked() {
    use monetary::PayoutError;
    let whole = [8_200, 1_200, 400, 200];
    let four = ACCOUNTS.map(address);
    assert!(Payout::new(four, whole).is_ok());
    for wrong in [Address([0; 32]), REGISTRY, four[1]] {
        let accounts = [wrong, four[1], four[2], four[3]];
        assert_eq!(Payout::new(accounts, whole), Err(PayoutError::Accounts));
    }
    let short = Payout::new(four, [8_200, 1_200, 400, 199]);
    assert_eq!(short, Err(PayoutError::Split { sum: 9_999 }));
}
