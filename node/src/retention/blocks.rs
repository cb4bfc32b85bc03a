//! A database with history, for tests.

use qbind_crypto::{SecretKey, address_of, block_id, genesis_hash};
use qbind_ledger::{Genesis, Mode, SerialReason, Tally};
use qbind_replica::{CommitRecord, References};
use qbind_storage::Store;
use qbind_types::{
    Block, BlockId, CommitCertificate, CommitProof, CommittedBlock, Epoch, ExecutedState, Height,
    Millis, Network, StateRoot, SystemRoot, ValidatorIndex, ValidatorsId, View,
};
use serde_json::json;
use std::{ops::RangeInclusive, path::Path};

/// Heights of an epoch.
pub(crate) const EPOCH: u64 = 20;

/// A new database of a chain of its own in `dir`.
pub(crate) fn new_store(dir: &Path, network: Network) -> Store {
    let key = SecretKey::from_seed(&[3; 32]).public_key();
    let owner = address_of(&key).to_string();
    let file = json!({
        "chain_id": "bench", "network": network.to_string(), "genesis_time_unix_ms": 1,
        "allocations": [{"address": owner, "amount": "1000"}],
        "validators": [{"id": 1, "address": owner, "stake": "10",
            "pqc_public_key": hex::encode(key.as_bytes())}],
        "council": {"members": ["a", "b", "c", "d", "e", "f", "g"], "threshold": 5},
    });
    let file = file.to_string().into_bytes();
    let genesis = Genesis::parse(&file).expect("a sound genesis");
    let store = Store::open(dir, genesis_hash(&file)).expect("a new database");
    let set = genesis.validator_set();
    store.store_genesis(genesis.accounts().into_iter(), &set, &file).expect("written");
    store
}

/// Commits empty blocks.
pub(crate) fn write_blocks(store: &Store, heights: RangeInclusive<u64>) {
    for height in heights {
        let epoch = Epoch((height - 1) / EPOCH);
        let block = Block {
            network: Network::Devnet,
            epoch,
            height: Height(height),
            view: View(height),
            parent: BlockId::default(),
            proposer: ValidatorIndex(0),
            timestamp_unix_ms: Millis(height),
            executed: ExecutedState { height: Height(height - 1), root: StateRoot::default() },
            batches: vec![],
            next_validators: height.is_multiple_of(EPOCH).then_some(ValidatorsId([1; 32])),
        };
        let id = block_id(&block);
        let certificate = CommitCertificate { epoch, view: block.view, block: id, votes: vec![] };
        let proof = CommitProof { descendants: vec![], certificate };
        let record = CommitRecord {
            committed: CommittedBlock { block, proof },
            id,
            transactions: vec![],
            receipts: vec![],
            transfers: vec![],
            changes: vec![],
            state_root: StateRoot::default(),
            system_root: SystemRoot::default(),
            tally: Tally::default(),
            mode: Mode::Serial { why: SerialReason::Disabled },
            registry: None,
            slashing: None,
            judged: vec![],
            stake_burned: 0,
            monetary: None,
            references: References::Ok,
        };
        store.commit(&record, Millis(0)).expect("written");
    }
}
