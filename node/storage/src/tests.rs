//! What was promised to be on disk is there after the process is gone.

mod history;

use crate::{Store, StoreError};
use qbind_consensus::SafetyRecord;
use qbind_crypto::block_id;
use qbind_ledger::{
    Account, Mode, Monetary, Registry, SerialReason, Tally,
    monetary::{self, Closed, EpochInputs, close_epoch},
};
use qbind_replica::{CommitRecord, References};
use qbind_types::*;

fn genesis() -> GenesisHash {
    GenesisHash([1; 32])
}

fn block(height: u64, view: u64) -> Block {
    Block {
        network: Network::Devnet,
        epoch: Epoch(0),
        height: Height(height),
        view: View(view),
        parent: BlockId([height as u8; 32]),
        proposer: ValidatorIndex(0),
        timestamp_unix_ms: Millis(5),
        executed: ExecutedState { height: Height(0), root: StateRoot::default() },
        batches: vec![BatchRef {
            epoch: Epoch(0),
            creator: ValidatorIndex(2),
            round: height - 1,
            id: BatchId([height as u8; 32]),
        }],
        next_validators: None,
    }
}

fn tally(height: u64) -> Tally {
    Tally { time: Millis(height), burned: u128::from(height), issued: 0, epoch_fees: 5 }
}

fn record(height: u64) -> CommitRecord {
    let block = block(height, height + 1);
    let id = block_id(&block);
    let certificate =
        CommitCertificate { epoch: Epoch(0), view: block.view, block: id, votes: vec![] };
    CommitRecord {
        committed: CommittedBlock {
            block,
            proof: CommitProof { descendants: vec![], certificate },
        },
        id,
        transactions: vec![],
        receipts: vec![],
        transfers: vec![],
        changes: vec![(
            Address([3; 32]),
            Account { nonce: height, balance: 100 - u128::from(height) },
        )],
        state_root: StateRoot([height as u8; 32]),
        system_root: SystemRoot([height as u8; 32]),
        tally: tally(height),
        mode: Mode::Serial { why: SerialReason::Disabled },
        registry: None,
        slashing: None,
        judged: Vec::new(),
        stake_burned: 0,
        monetary: None,
        references: References::Ok,
    }
}

#[test]
fn what_was_persisted_and_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let safety = SafetyRecord {
        voted: Some((View(4), BlockId([7; 32]))),
        ..SafetyRecord::start(&EpochStart::genesis(BlockId::default()))
    };
    {
        let store = Store::open(dir.path(), genesis()).unwrap();
        assert!(store.load().unwrap().safety.is_none());
        store.persist_safety(&safety).unwrap();
        store.store_block(&BlockId([8; 32]), &block(3, 2)).unwrap();
        store.store_block(&BlockId([9; 32]), &block(3, 9)).unwrap();
        store.commit(&record(1), Millis(11)).unwrap();
        store.commit(&record(2), Millis(12)).unwrap();
    }
    let store = Store::open(dir.path(), genesis()).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.safety, Some(safety));
    assert_eq!(loaded.committed.unwrap().block.height, Height(2));
    assert_eq!(loaded.accounts, vec![(Address([3; 32]), Account { nonce: 2, balance: 98 })]);
    assert_eq!(loaded.tally, tally(2));
    assert_eq!(loaded.included.get(&ValidatorIndex(2)), Some(&2));
    assert_eq!(loaded.roots.len(), 2);
    let views: Vec<u64> = loaded.pending_blocks.iter().map(|b| b.view.0).collect();
    assert_eq!(views, vec![9], "blocks of committed views are gone");
    assert_eq!(store.commit_index(Height(1)).unwrap().unwrap().committed_unix_ms, Millis(11));
    assert!(store.size_bytes().unwrap() > 0);
}

#[test]
fn another_chain_and_a_newer_schema_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), genesis()).unwrap();
    let second = Store::open(dir.path(), genesis());
    assert!(matches!(second, Err(StoreError::Open { .. })), "one process at a time");
    store.db.put_cf(store.family("meta"), b"schema_version", encode(&99u32)).unwrap();
    drop(store);
    let newer = Store::open(dir.path(), genesis());
    assert!(matches!(newer, Err(StoreError::Schema { found: 99, .. })));
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), genesis()).unwrap());
    let other = Store::open(dir.path(), GenesisHash([2; 32]));
    assert!(matches!(other, Err(StoreError::Genesis { .. })));
}

#[test]
fn batches_are_found_by_reference_and_by_id_and_reload_from_the_open_round() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), genesis()).unwrap();
    let signature = Signature::from_slice(&[0; SIGNATURE_BYTES]).unwrap();
    for round in 0..20u64 {
        let reference = BatchRef {
            epoch: Epoch(0),
            creator: ValidatorIndex(2),
            round,
            id: BatchId([round as u8; 32]),
        };
        let batch = Batch {
            epoch: Epoch(0),
            creator: ValidatorIndex(2),
            round,
            parents: vec![],
            transactions: vec![],
            signature: signature.clone(),
        };
        store.store_batch(&reference, &batch).unwrap();
        assert!(store.certified_batch(&reference).unwrap().is_none(), "no certificate yet");
        store.store_certificate(&BatchCertificate { batch: reference, acks: vec![] }).unwrap();
        assert_eq!(store.certified_batch_by_id(&reference.id).unwrap().unwrap().batch, batch);
        store.persist_ack(&reference).unwrap();
    }
    for height in 1..=10 {
        store.commit(&record(height), Millis(0)).unwrap();
    }
    let loaded = store.load().unwrap();
    let rounds: Vec<u64> = loaded.batches.iter().map(|b| b.round).collect();
    assert_eq!(rounds, (6..20).collect::<Vec<_>>());
    assert_eq!((loaded.certificates.len(), loaded.acks.len()), (14, 14));
}

#[test]
fn an_epochs_end_is_stored_with_its_block_and_the_next_begins_with_empty_rounds() {
    let dir = tempfile::tempdir().unwrap();
    let members = (1..=4u8).map(|i| ValidatorInfo {
        id: u64::from(i),
        address: Address([i; 32]),
        public_key: PublicKey::from_slice(&[i; PUBLIC_KEY_BYTES]).unwrap(),
        previous_key: (i == 2).then(|| PublicKey::from_slice(&[9; PUBLIC_KEY_BYTES]).unwrap()),
        power: VotingPower(u64::from(i)),
    });
    let set = ValidatorSet::new(Epoch(0), members.collect()).unwrap();
    let registry = Registry::new(8, set.clone());
    let reference = |epoch: u64, round: u64| BatchRef {
        epoch: Epoch(epoch),
        creator: ValidatorIndex(2),
        round,
        id: BatchId([(10 * epoch + round) as u8; 32]),
    };
    let own = |epoch: u64| Batch {
        epoch: Epoch(epoch),
        creator: ValidatorIndex(2),
        round: 7,
        parents: vec![],
        transactions: vec![],
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).unwrap(),
    };
    let mut last = record(2);
    last.committed.block.next_validators = Some(ValidatorsId([1; 32]));
    last.registry = Some(registry.clone());
    let inputs =
        EpochInputs { epoch: Epoch(0), fees: 7, staked: 10, circulating: 100, room: u128::MAX };
    let (state, decision) = close_epoch(&Monetary::default(), &monetary::State::default(), &inputs);
    last.monetary = Some(Closed { state: state.clone(), decision, issued: None });
    {
        let store = Store::open(dir.path(), genesis()).unwrap();
        store.store_genesis([].into_iter(), &set, b"{}").unwrap();
        for round in 0..3 {
            store.persist_ack(&reference(0, round)).unwrap();
        }
        store.persist_own_batch(&own(0)).unwrap();
        store.commit(&record(1), Millis(0)).unwrap();
        assert_eq!(store.load().unwrap().start, None);
        assert!(store.load().unwrap().own_batch.is_some());
        store.commit(&last, Millis(0)).unwrap();
        store.persist_ack(&reference(1, 0)).unwrap();
    }
    let store = Store::open(dir.path(), genesis()).unwrap();
    let loaded = store.load().unwrap();
    let start = EpochStart { epoch: Epoch(1), height: Height(2), view: View(3), block: last.id };
    assert_eq!(loaded.start, Some(start));
    assert_eq!((loaded.registry, loaded.monetary), (Some(registry), state));
    assert_eq!(loaded.acks, vec![reference(1, 0)], "of the epoch under way only");
    assert!(loaded.included.is_empty() && loaded.own_batch.is_none());
    assert_eq!(store.validators(Epoch(0)).unwrap(), Some(set));
    assert_eq!(store.validators(Epoch(1)).unwrap(), None);
}
