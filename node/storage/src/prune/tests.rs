//! What is old goes, what must stay stays, and the database always says what it holds.

use crate::{Store, schema};
use qbind_crypto::block_id;
use qbind_ledger::{Account, Mode, Receipt, SerialReason, SkipReason, Status, Tally};
use qbind_replica::{CommitRecord, References, Transfer};
use qbind_types::*;
use rocksdb::IteratorMode;
use std::{collections::BTreeSet, path::Path};

/// Heights of an epoch.
const EPOCH: u64 = 50;
/// Batches of a block.
const BATCHES: u64 = 3;

fn reference(height: u64, place: u64) -> BatchRef {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&height.to_be_bytes());
    id[8] = place as u8;
    BatchRef {
        epoch: Epoch((height - 1) / EPOCH),
        creator: ValidatorIndex(place as u16),
        round: (height - 1) % EPOCH,
        id: BatchId(id),
    }
}

fn id(height: u64, place: u64) -> TxId {
    TxId(reference(height, place).id.0)
}

fn owner(height: u64) -> Address {
    let mut address = [9; 32];
    address[..8].copy_from_slice(&height.to_be_bytes());
    Address(address)
}

fn transfer(height: u64) -> Transfer {
    Transfer { sender: Address([1; 32]), recipient: owner(height), amount: 1 }
}

fn record(height: u64) -> CommitRecord {
    let epoch = Epoch((height - 1) / EPOCH);
    let block = Block {
        network: Network::Devnet,
        epoch,
        height: Height(height),
        view: View(height),
        parent: BlockId([height as u8; 32]),
        proposer: ValidatorIndex(0),
        timestamp_unix_ms: Millis(height),
        executed: ExecutedState { height: Height(height - 1), root: StateRoot::default() },
        batches: (0..BATCHES).map(|place| reference(height, place)).collect(),
        next_validators: height.is_multiple_of(EPOCH).then_some(ValidatorsId([1; 32])),
    };
    let id_of_block = block_id(&block);
    let certificate =
        CommitCertificate { epoch, view: block.view, block: id_of_block, votes: vec![] };
    let proof = CommitProof { descendants: vec![], certificate };
    let receipt = |tx_index, status| Receipt { tx_index, status, gas_used: 0, fee: 0, burned: 0 };
    // The second was tried too early: it has its effect ten heights later.
    let early = Status::Skipped(SkipReason::Nonce);
    CommitRecord {
        committed: CommittedBlock { block, proof },
        id: id_of_block,
        transactions: vec![id(height, 0), id(height + 10, 0)],
        receipts: vec![receipt(0, Status::Success), receipt(1, early)],
        transfers: vec![transfer(height), transfer(height)],
        changes: vec![(owner(height), Account { nonce: height, balance: 1 })],
        state_root: StateRoot([height as u8; 32]),
        system_root: SystemRoot::default(),
        tally: Tally::default(),
        mode: Mode::Serial { why: SerialReason::Disabled },
        registry: None,
        slashing: None,
        judged: Vec::new(),
        stake_burned: 0,
        monetary: None,
        references: References::Ok,
    }
}

fn batch(reference: &BatchRef) -> Batch {
    Batch {
        epoch: reference.epoch,
        creator: reference.creator,
        round: reference.round,
        parents: vec![],
        transactions: vec![],
        signature: Signature::from_slice(&[3; SIGNATURE_BYTES]).unwrap(),
    }
}

fn write(store: &Store, heights: std::ops::RangeInclusive<u64>) {
    for height in heights {
        for reference in (0..BATCHES).map(|place| reference(height, place)) {
            store.store_batch(&reference, &batch(&reference)).unwrap();
            let certificate = BatchCertificate { batch: reference, acks: vec![] };
            store.store_certificate(&certificate).unwrap();
            store.persist_ack(&reference).unwrap();
        }
        store.commit(&record(height), Millis(0)).unwrap();
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, GenesisHash([1; 32])).unwrap()
}

fn keys(store: &Store, family: &str) -> usize {
    store.db.iterator_cf(store.family(family), IteratorMode::Start).count()
}

fn file_bytes(store: &Store) -> u64 {
    store.db.live_files().unwrap().iter().map(|file| file.size as u64).sum()
}

fn prune(store: &Store, floor: u64) -> crate::Pruned {
    let mut done = crate::Pruned { lowest: store.lowest().unwrap(), ..Default::default() };
    while let Some(step) = store.prune_step(Height(floor)).unwrap() {
        done.add(&step);
    }
    done
}

/// The database holds everything from its lowest height on, and below it what must stay.
fn check(store: &Store, tip: u64) {
    let lowest = store.lowest().unwrap().0;
    for height in 1..=tip {
        let (is_kept, ends_epoch) = (height >= lowest, height.is_multiple_of(EPOCH));
        let at = format!("height {height}, lowest {lowest}");
        let committed = store.committed(Height(height)).unwrap();
        assert_eq!(committed.is_some(), is_kept || ends_epoch, "{at}");
        assert_eq!(store.commit_index(Height(height)).unwrap().is_some(), is_kept, "{at}");
        let entry = store.transaction(&id(height, 0)).unwrap();
        assert_eq!(entry.map(|e| e.height.0), is_kept.then_some(height), "{at}");
        for r in (0..BATCHES).map(|place| reference(height, place)) {
            assert_eq!(store.certified_batch(&r).unwrap().is_some(), is_kept, "{at}");
            assert_eq!(store.certified_batch_by_id(&r.id).unwrap().is_some(), is_kept, "{at}");
        }
        assert_eq!(store.account(&owner(height)).unwrap().nonce, height, "{at}");
        if ends_epoch {
            let epoch = Epoch(height / EPOCH - 1);
            assert_eq!(store.epoch_end(epoch).unwrap().unwrap().block.height.0, height);
        }
    }
    let batches = usize::try_from((tip + 1 - lowest) * BATCHES).unwrap();
    for family in [schema::BATCHES, schema::BATCH_IDS, schema::CERTIFICATES, schema::ACKS] {
        assert_eq!(keys(store, family), batches, "{family}");
    }
}

#[test]
fn what_is_below_the_floor_goes_and_what_light_clients_need_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1..=220);
    check(&store, 220);
    let done = prune(&store, 120);
    assert_eq!((done.heights, done.lowest), (119, Height(120)));
    // Block, index, transaction, and of three batches content, id, certificate and ack; two epochs'
    // last blocks stay.
    assert_eq!(done.deleted, 119 * (3 + 4 * BATCHES) - 2);
    assert!(done.scanned >= done.heights);
    check(&store, 220);
    assert_eq!(store.prune_step(Height(120)).unwrap(), None);
    assert_eq!(store.load().unwrap().lowest, Height(120));
}

#[test]
fn neither_the_epoch_under_way_nor_the_last_block_is_deleted_whatever_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1..=120);
    assert_eq!(prune(&store, u64::MAX).lowest, Height(101));
    check(&store, 120);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.prune_step(Height(u64::MAX)).unwrap(), None, "nothing is there");
    write(&store, 1..=40);
    assert_eq!(store.prune_step(Height(u64::MAX)).unwrap(), None);
    write(&store, 41..=50);
    assert_eq!(prune(&store, u64::MAX).lowest, Height(50));
    assert!(store.load().unwrap().committed.is_some());
}

#[test]
fn wherever_pruning_is_cut_off_the_database_is_whole_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    write(&store, 1..=300);
    let mut lowest = BTreeSet::new();
    while store.prune_step(Height(260)).unwrap().is_some() {
        drop(store);
        store = open(dir.path());
        check(&store, 300);
        lowest.insert(store.lowest().unwrap());
    }
    assert!(lowest.len() > 3, "in small steps: {lowest:?}");
    assert_eq!(store.lowest().unwrap(), Height(260));
}

#[test]
fn batches_that_no_block_included_go_with_their_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for place in BATCHES..BATCHES + 4 {
        for height in [5, 60] {
            let reference = reference(height, place);
            store.store_batch(&reference, &batch(&reference)).unwrap();
            store.persist_ack(&reference).unwrap();
        }
    }
    write(&store, 1..=160);
    prune(&store, 100);
    let left = |height| store.get::<BatchRef>(schema::BATCH_IDS, &reference(height, 4).id.0, "id");
    assert_eq!(left(5).unwrap(), None);
    assert!(left(60).unwrap().is_some(), "its epoch is not gone yet");
    prune(&store, 101);
    check(&store, 160);
}

#[test]
fn the_disk_gets_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, 1..=2_000);
    store.reclaim().unwrap();
    let before = file_bytes(&store);
    prune(&store, 1_800);
    store.reclaim().unwrap();
    let after = file_bytes(&store);
    assert!(after < before / 4, "{before} bytes before, {after} after");
    check(&store, 2_000);
}

#[test]
fn the_index_of_an_rpc_node_goes_with_the_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).with_index().unwrap();
    write(&store, 1..=160);
    assert_eq!(keys(&store, schema::HISTORY), 160);
    let done = prune(&store, 101);
    // The block that ends the second epoch stays, and the first one's.
    assert_eq!(done.deleted, 100 * (3 + 4 * BATCHES + 3) - 2);
    assert_eq!((keys(&store, schema::HISTORY), keys(&store, schema::ACCOUNT_HISTORY)), (60, 120));
    check(&store, 160);
}
