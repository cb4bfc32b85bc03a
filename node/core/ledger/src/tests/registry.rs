//! Who may change what of the validators, from when on, and where the money is meanwhile.

use super::{address, apply_in, ledger, transaction};
use crate::{Applied, FailureReason, Ledger, Params, Registry, Rejection, Status, System};
use alloc::{boxed::Box, vec, vec::Vec};
use qbind_types::{
    Epoch, KeyRole, KeyRotation, PUBLIC_KEY_BYTES, Payload, PublicKey, REGISTRY, RegistryCall,
    RotationKind, Transaction, TransferV1, ValidatorInfo, ValidatorSet, VotingPower,
};

const EPOCH_BLOCKS: u64 = 8;
const START: u128 = 10_000_000;
const STAKED: u128 = 1_000 + 1_001 + 1_002 + 1_003;

fn key(n: u8) -> PublicKey {
    PublicKey::from_slice(&[n; PUBLIC_KEY_BYTES]).expect("its length")
}

/// Validators 1 to 4, owned by accounts 1 to 4, with stakes 1000, …, 1003 and keys 1 to 4. The registry
/// holds the stakes.
fn network() -> Ledger {
    network_of(4)
}

/// The same with as many of them as are asked for.
fn network_of(count: u8) -> Ledger {
    let members = (1..=count).map(|n| ValidatorInfo {
        id: u64::from(n),
        address: address(n),
        public_key: key(n),
        previous_key: None,
        power: VotingPower(999 + u64::from(n)),
    });
    let founders = ValidatorSet::new(Epoch(0), members.collect()).expect("distinct");
    let plain = ledger(Params::mainnet(), 9, START);
    let accounts = plain.accounts().map(|(address, account)| (*address, *account));
    let balance = (1..=count).map(|n| 999 + u128::from(n)).sum();
    let registry = (REGISTRY, crate::Account { nonce: 0, balance });
    let system = System::new(Registry::new(EPOCH_BLOCKS, founders));
    Ledger::restore(Params::mainnet(), plain.height(), system, accounts.chain([registry]))
        .expect("a small sum")
}

/// A call by an account, signed with its key.
fn call(ledger: &Ledger, from: u8, amount: u128, call: RegistryCall) -> Transaction {
    let transfer =
        TransferV1 { recipient: REGISTRY, amount, gas_limit: 100_000, max_fee_per_gas: 1 };
    let nonce = ledger.account(&address(from)).nonce;
    let payload = Payload::Call(transfer, Box::new(call));
    assert_eq!(Payload::decode(&payload.encode()), Ok(payload.clone()));
    Transaction { public_key: key(from), ..transaction(address(from), nonce, &payload) }
}

fn rotation(id: u64, new: u8, effective: u64, grace: u64, kind: RotationKind) -> RegistryCall {
    RegistryCall::Rotate(KeyRotation {
        validator_id: id,
        role: KeyRole::Consensus,
        new_key: key(new),
        effective_epoch: Epoch(effective),
        grace_epochs: grace,
        kind,
    })
}

use RotationKind::{Emergency, Scheduled};

/// Runs calls in one block; whether each was taken.
fn run(ledger: &mut Ledger, calls: &[Transaction]) -> (Vec<bool>, Applied) {
    let supply = ledger.supply() + ledger.burned();
    // The next epoch starts at once here; the chain takes two blocks more.
    let epoch = Epoch(ledger.registry().earliest().0 - 1);
    let applied = apply_in(ledger, epoch, calls);
    assert_eq!(ledger.supply() + ledger.burned(), supply);
    let taken = |receipt: &crate::Receipt| match receipt.status {
        Status::Success => true,
        Status::Failed(FailureReason::Registry) => false,
        other => panic!("{other}"),
    };
    (applied.receipts.iter().map(taken).collect(), applied)
}

/// Empty blocks up to the election of an epoch.
fn elect(ledger: &mut Ledger, epoch: u64) -> Vec<(u64, PublicKey, Option<PublicKey>)> {
    while ledger.height().0 < epoch * EPOCH_BLOCKS {
        run(ledger, &[]);
    }
    let set = ledger.registry().set(Epoch(epoch)).expect("just elected");
    set.members().iter().map(|m| (m.id, m.public_key.clone(), m.previous_key.clone())).collect()
}

#[test]
fn both_keys_are_valid_from_the_effective_epoch_through_grace_and_no_longer() {
    let mut ledger = network();
    let asked = call(&ledger, 2, 0, rotation(2, 22, 2, 1, Scheduled));
    assert_eq!(run(&mut ledger, &[asked]).0, [true]);
    let of = |set: Vec<(u64, PublicKey, Option<PublicKey>)>| (set[1].1.clone(), set[1].2.clone());
    assert_eq!(of(elect(&mut ledger, 1)), (key(2), None));
    assert_eq!(of(elect(&mut ledger, 2)), (key(22), Some(key(2))));
    assert_eq!(of(elect(&mut ledger, 3)), (key(22), Some(key(2))));
    assert!(ledger.registry().validators().any(|(id, v)| id == 2 && v.rotation.is_some()));
    assert_eq!(of(elect(&mut ledger, 4)), (key(22), None));
    assert!(ledger.registry().validators().all(|(_, v)| v.rotation.is_none()));
    let mut later = ledger.clone();
    elect(&mut later, 8);
    assert!(later.registry().set(Epoch(0)).is_none(), "old sets are forgotten");
    // The new key is the validator's now: its holder may plan the next, the old one's may not.
    let next = |from: u8, ledger: &Ledger| call(ledger, from, 0, rotation(2, 23, 9, 1, Scheduled));
    let mut by_holder = next(7, &ledger);
    by_holder.public_key = key(22);
    let mut by_old = next(8, &ledger);
    by_old.public_key = key(2);
    assert_eq!(run(&mut ledger, &[by_old, by_holder]).0, [false, true]);
}

#[test]
fn an_emergency_ends_the_old_key_at_once_and_the_owners_word_comes_last() {
    let mut ledger = network();
    // Who stole key 3 plans a rotation to a key of its own.
    let mut thief = call(&ledger, 8, 0, rotation(3, 66, 1, 50, Scheduled));
    thief.public_key = key(3);
    let mut thief_in_a_hurry = call(&ledger, 9, 0, rotation(3, 67, 1, 0, Emergency));
    thief_in_a_hurry.public_key = key(3);
    let owner = call(&ledger, 3, 0, rotation(3, 33, 1, 0, Emergency));
    let taken = run(&mut ledger, &[thief, thief_in_a_hurry, owner]).0;
    assert_eq!(taken, [true, false, true]);
    let again = call(&ledger, 3, 0, rotation(3, 34, 1, 0, Emergency));
    assert_eq!(run(&mut ledger, &[again]).0, [false], "one emergency at a time");
    assert_eq!(elect(&mut ledger, 1)[2], (3, key(33), None));
    // It says a later epoch and is in a hurry all the same: nobody can lock a validator that way, and an
    // event that lay about for an epoch still counts.
    let later = call(&ledger, 3, 0, rotation(3, 35, 90_000, 0, Emergency));
    assert_eq!(run(&mut ledger, &[later]).0, [true]);
    assert_eq!(elect(&mut ledger, 2)[2], (3, key(35), None));
    let stale = call(&ledger, 3, 0, rotation(3, 36, 1, 0, Emergency));
    assert_eq!(run(&mut ledger, &[stale]).0, [true]);
    assert_eq!(elect(&mut ledger, 3)[2], (3, key(36), None));
}

#[test]
fn whoever_joins_bonds_and_whoever_leaves_is_paid_back() {
    let mut ledger = network();
    let before = ledger.account(&address(7)).balance;
    let join = |ledger: &Ledger, amount| {
        call(ledger, 7, amount, RegistryCall::Join { id: 77, public_key: key(77) })
    };
    let (taken, applied) = {
        let few = join(&ledger, 999);
        run(&mut ledger, &[few])
    };
    assert_eq!(taken, [false], "below the least stake of genesis");
    assert!(applied.changes.iter().all(|(a, _)| *a != REGISTRY), "the amount went back");
    let much = join(&ledger, STAKED / 4 + 1);
    assert_eq!(run(&mut ledger, &[much]).0, [false], "more than a quarter of all stake at once");
    let bonded = join(&ledger, 1_000);
    assert_eq!(run(&mut ledger, &[bonded]).0, [true]);
    assert_eq!(ledger.account(&REGISTRY).balance, STAKED + 1_000);
    let beside = call(&ledger, 1, 0, RegistryCall::Leave { id: 1 });
    assert_eq!(run(&mut ledger, &[beside]).0, [false], "together more than a quarter");
    let set = elect(&mut ledger, 1);
    assert_eq!(set.iter().map(|m| m.0).collect::<Vec<_>>(), [1, 2, 3, 4, 77]);
    let foreign = call(&ledger, 8, 0, RegistryCall::Leave { id: 77 });
    let own = call(&ledger, 7, 0, RegistryCall::Leave { id: 77 });
    assert_eq!(run(&mut ledger, &[foreign, own]).0, [false, true]);
    let again = call(&ledger, 7, 0, RegistryCall::Leave { id: 77 });
    assert_eq!(run(&mut ledger, &[again]).0, [false]);
    assert_eq!(elect(&mut ledger, 2).len(), 4);
    assert_eq!(
        ledger.account(&REGISTRY).balance,
        STAKED + 1_000,
        "elected no more, it validates until the epoch ends"
    );
    elect(&mut ledger, 3);
    assert_eq!(ledger.account(&REGISTRY).balance, STAKED);
    // A founder is paid back what it staked.
    let founder = call(&ledger, 1, 0, RegistryCall::Leave { id: 1 });
    assert_eq!(run(&mut ledger, &[founder]).0, [true]);
    let with = ledger.account(&address(1)).balance;
    elect(&mut ledger, 4);
    elect(&mut ledger, 5);
    assert_eq!(ledger.account(&address(1)).balance, with + 1_000);
    let fees = before - ledger.account(&address(7)).balance;
    assert!(fees > 0 && fees < 400_000, "only fees are gone: {fees}");
}

#[test]
fn an_id_is_free_again_only_when_nobody_can_be_reported_by_it() {
    let mut ledger = network_of(5);
    let leave = call(&ledger, 1, 0, RegistryCall::Leave { id: 1 });
    assert_eq!(run(&mut ledger, &[leave]).0, [true]);
    // Epoch 0 is the last that it validates.
    let mut epoch = 1;
    while ledger.registry().set(Epoch(0)).is_some() {
        elect(&mut ledger, epoch);
        let join = call(&ledger, 7, 1_000, RegistryCall::Join { id: 1, public_key: key(77) });
        let rejection = ledger.admit(&join, u64::MAX, 0).err();
        let is_heard = ledger.registry().set(Epoch(0)).is_some();
        assert_eq!(rejection.is_some(), is_heard, "in epoch {epoch}: {rejection:?}");
        assert_eq!(run(&mut ledger, &[join]).0, [!is_heard], "in epoch {epoch}");
        epoch += 1;
    }
    assert!(epoch > 3, "its bond was paid back long before");
    let set = elect(&mut ledger, epoch);
    assert!(set.iter().any(|(id, with, _)| (*id, with) == (1, &key(77))));
}

#[test]
fn what_cannot_be_is_refused_and_admission_says_why() {
    let ledger = network();
    let join = |id, with: u8| RegistryCall::Join { id, public_key: key(with) };
    let mut role = rotation(1, 21, 2, 1, Scheduled);
    let RegistryCall::Rotate(other) = &mut role else { unreachable!() };
    other.role = KeyRole::BatchSigning;
    for (from, amount, asked, why) in [
        (1, 0, rotation(9, 21, 2, 1, Scheduled), "no validator has id 9"),
        (2, 0, rotation(1, 21, 2, 1, Scheduled), "does not own validator 1"),
        (1, 0, rotation(1, 21, 0, 1, Scheduled), "decided already; the earliest is 1"),
        (1, 0, rotation(1, 21, 1 << 40, 1, Scheduled), "too many"),
        (1, 0, rotation(1, 21, 2, u64::MAX, Scheduled), "too many"),
        (1, 0, rotation(1, 4, 2, 1, Scheduled), "the key is in use"),
        (1, 0, rotation(1, 1, 2, 1, Scheduled), "the key is in use"),
        (1, 5, rotation(1, 21, 2, 1, Scheduled), "takes no amount"),
        (1, 0, role, "UNSUPPORTED: no batch-signing key"),
        (7, 1_000, join(3, 77), "registered already"),
        (1, 1_000, join(77, 77), "registered already"),
        (7, 1_000, join(77, 3), "the key is in use"),
        (7, 999, join(77, 77), "not between 1000"),
        (7, 5_000, join(77, 77), "at most 1001 of stake"),
        (7, 0, RegistryCall::Leave { id: 9 }, "no validator has id 9"),
        (7, 0, RegistryCall::Leave { id: 1 }, "does not own validator 1"),
    ] {
        let tx = call(&ledger, from, amount, asked.clone());
        let rejection = ledger.admit(&tx, u64::MAX, 0).expect_err("refused");
        assert!(matches!(rejection, Rejection::Registry(_)), "{rejection}");
        assert_eq!(rejection.code(), "E_REGISTRY");
        assert!(alloc::format!("{rejection}").contains(why), "{rejection}, expected {why}");
        let mut applied = ledger.clone();
        let before = applied.registry().clone();
        assert_eq!(run(&mut applied, &[tx]).0, [false]);
        assert_eq!(applied.registry(), &before);
    }
    // Not all at once.
    let mut ledger = network();
    let leave =
        |ledger: &Ledger, n: u8| call(ledger, n, 0, RegistryCall::Leave { id: u64::from(n) });
    let all: Vec<Transaction> = (1..=4).map(|n| leave(&ledger, n)).collect();
    assert_eq!(run(&mut ledger, &all).0, [true, false, false, false]);
    assert_eq!(elect(&mut ledger, 1).len(), 3);
    // A third of the stake may leave too, but alone.
    let mut three = network_of(3);
    let two: Vec<Transaction> = [2, 3].map(|n| leave(&three, n)).to_vec();
    assert_eq!(run(&mut three, &two).0, [true, false]);
    assert_eq!(elect(&mut three, 1).len(), 2);
    // A call cut short, or to somebody else, is no payload.
    let good = call(&ledger, 1, 0, RegistryCall::Leave { id: 1 }).payload;
    for bad in [good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat(), {
        let mut other = good.clone();
        other[0] ^= 1;
        other
    }] {
        assert!(Payload::decode(&bad).is_err());
    }
    assert_eq!(vec![good.len()], [72 + 1 + 8]);
}
