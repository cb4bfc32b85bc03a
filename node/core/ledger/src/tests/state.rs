use super::{address, apply, ledger, system, v1};
use crate::{Account, Ledger, Params, RestoreError, System, tree::Tree};
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
fn stale_nodes_are_forgotten() {
    let mut tree = Tree::new();
    let at = |balance| -> alloc::vec::Vec<_> {
        (0..=255).map(|n| (address(n), Account { nonce: 0, balance })).collect()
    };
    tree.update(&at(0));
    let nodes = tree.node_count();
    for balance in 1..20 {
        tree.update(&at(balance));
        tree.update(&at(balance)[7..9]);
    }
    assert_eq!(tree.node_count(), nodes);
}

#[test]
fn the_root_depends_on_the_accounts_alone() {
    let list: alloc::vec::Vec<_> =
        (0..100).map(|n| (address(n), Account { nonce: 1, balance: u128::from(n) })).collect();
    let mut whole = Tree::new();
    whole.update(&list);
    let mut pieces = Tree::new();
    for piece in list.rchunks(7) {
        pieces.update(piece);
    }
    assert_eq!(whole.root(), pieces.root());
    let mut other = Tree::new();
    other.update(&list[1..]);
    assert_ne!(whole.root(), other.root());
}

#[test]
fn proofs_hold_for_their_root_and_account_only() {
    let mut ledger = ledger(Params::mainnet(), 50, 1_000_000);
    let old = ledger.state_root();
    apply(&mut ledger, &[v1(1, 0, 2, 10, 1)]);
    let root = ledger.state_root();
    for n in [1, 2, 50, 99] {
        let mut proof = ledger.prove(&address(n)).expect("not empty");
        assert_eq!(proof.verify(root), Ok(()), "account {n}");
        assert_eq!(proof.account.is_some(), n <= 50);
        assert!(proof.verify(StateRoot([1; 32])).is_err());
        proof.account = Some(Account { nonce: 5, balance: 5 });
        assert!(proof.verify(root).is_err());
        proof.account = None;
        assert_eq!(proof.verify(root).is_ok(), n > 50);
    }
    assert!(ledger.prove(&address(1)).expect("not empty").verify(old).is_err());
    assert!(super::ledger(Params::mainnet(), 0, 0).prove(&address(1)).is_none());
}
