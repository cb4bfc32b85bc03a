use super::{address, apply, ledger, system, v1};
use crate::{Account, Ledger, Params, RestoreError, System};
use qbind_crypto::{PathEnd, ProvenAccount};
use qbind_types::{Height, StateRoot};

#[test]
fn accounts_have_one_encoding() {
    let account = Account { nonce: 0x0102, balance: 0x0304 };
    let bytes = account.encode();
    assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes[22..], [3, 4]);
    assert_eq!(Account::decode(&bytes), Ok(account));
    assert!(Account::decode(&bytes[1..]).is_err());
    assert_eq!(&crate::account_key(&address(7))[..6], b"acct:\x07");
}

#[test]
fn a_restored_ledger_has_the_same_root() {
    let mut original = ledger(Params::mainnet(), 40, 1_000_000);
    for nonce in 0..3 {
        apply(&mut original, &[v1(1, nonce, 200, 5, 2), v1(2, nonce, 100, 7, 1)]);
    }
    let accounts = original.accounts().map(|(a, b)| (*a, *b));
    let restored =
        Ledger::restore(Params::mainnet(), Height(3), system(&original), accounts).expect("sound");
    assert_eq!(restored.state_root(), original.state_root());
    assert_eq!(restored.supply(), original.supply());
    let mut both = [original, restored];
    let roots = both.each_mut().map(|l| apply(l, &[v1(3, 0, 250, 5, 2)]).state_root);
    assert_eq!(roots[0], roots[1]);
}

#[test]
fn damaged_accounts_are_refused() {
    let account = Account { nonce: 0, balance: u128::MAX };
    let restore = |list: &[_]| {
        Ledger::restore(Params::mainnet(), Height(1), System::none(), list.iter().copied())
            .map(|_| ())
    };
    let twice = [(address(1), Account::default()), (address(1), Account::default())];
    assert_eq!(restore(&twice), Err(RestoreError::Duplicate { address: address(1) }));
    let rich = [(address(1), account), (address(2), account)];
    assert_eq!(restore(&rich), Err(RestoreError::SupplyOverflow));
}

#[test]
fn proofs_hold_for_their_root_and_account_only() {
    let mut ledger = ledger(Params::mainnet(), 50, 1_000_000);
    let old = ledger.state_root();
    apply(&mut ledger, &[v1(1, 0, 2, 10, 1)]);
    let root = ledger.state_root();
    for n in [1, 2, 50, 99] {
        let mut proof = ledger.prove(&address(n));
        assert_eq!(proof.verify(root), Ok(()), "account {n}");
        assert_eq!(proof.account().is_some(), n <= 50);
        assert!(proof.verify(StateRoot([1; 32])).is_err());
        let sound = proof.end;
        proof.end = PathEnd::Account(ProvenAccount { nonce: 5, balance: 5 });
        assert!(proof.verify(root).is_err());
        proof.end = PathEnd::Empty;
        assert_eq!(proof.verify(root).is_ok(), sound == PathEnd::Empty);
    }
    assert!(ledger.prove(&address(1)).verify(old).is_err());
    let empty = super::ledger(Params::mainnet(), 0, 0);
    assert_eq!(empty.prove(&address(1)).verify(empty.state_root()), Ok(()));
    assert_eq!(empty.prove(&address(1)).account(), None);
}

#[test]
fn proofs_hold_at_the_last_heights_and_end_there() {
    let mut ledger = ledger(Params::mainnet(), 50, 10_000_000);
    let mut roots = alloc::vec![ledger.state_root()];
    for nonce in 0..100 {
        apply(&mut ledger, &[v1(1, nonce, 2, 10, 1), v1(3, nonce, 200, 1, 1)]);
        roots.push(ledger.state_root());
    }
    for (height, root) in (0..).zip(&roots) {
        let proof = ledger.prove_at(Height(height), &address(1));
        assert_eq!(proof.is_some(), height > 36, "height {height}");
        if let Some(proof) = proof {
            assert_eq!(proof.verify(*root), Ok(()));
            assert_eq!(proof.account().map(|account| account.nonce), Some(height));
            assert!(proof.verify(roots[36]).is_err());
        }
    }
    assert_eq!(ledger.prove_at(Height(100), &address(2)), Some(ledger.prove(&address(2))));
    assert_eq!(ledger.prove_at(Height(101), &address(1)), None);
}
