//! When snapshots are taken, what is counted, and what a failure leaves.

use super::*;
use qbind_crypto::{SecretKey, address_of, block_id, genesis_hash};
use qbind_ledger::{Genesis, Mode, SerialReason, System};
use qbind_profile::Profile;
use qbind_replica::References;
use qbind_types::{
    BlockId, CommitCertificate, CommitProof, Epoch, Network, StateRoot, SystemRoot, ValidatorIndex,
    View,
};
use serde_json::json;

struct Bench {
    dir: tempfile::TempDir,
    snapshots: Snapshots,
    metrics: Arc<Metrics>,
    height: u64,
    parent: BlockId,
    system_root: SystemRoot,
}

impl Bench {
    /// A node that takes a snapshot every twenty heights.
    fn new(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let key = SecretKey::from_seed(&[3; 32]).public_key();
        let owner = address_of(&key).to_string();
        let file = json!({
            "chain_id": "bench", "network": "devnet", "genesis_time_unix_ms": 1,
            "allocations": [{"address": owner, "amount": "1000"}],
            "validators": [{"id": 1, "address": owner, "stake": "10",
                "pqc_public_key": hex::encode(key.as_bytes())}],
        });
        let file = file.to_string().into_bytes();
        let genesis = Genesis::parse(&file).expect("a sound genesis");
        let system_root = System::new(genesis.registry()).root();
        let hash = genesis_hash(&file);
        let store = Store::open(&dir.path().join("state"), hash).expect("a new database");
        let set = genesis.validator_set();
        store.store_genesis(genesis.accounts().into_iter(), &set, &file).expect("written");
        let mut config = Profile::Devnet.preset();
        (config.snapshots_enabled, config.snapshot_interval) = (true, 20);
        config.max_snapshots = 2;
        config.snapshot_dir = Some(dir.path().join("snapshots").to_string_lossy().into_owned());
        change(&mut config);
        let metrics = Arc::new(Metrics::new(&config, &[1]));
        let snapshots = Snapshots::new(&config, dir.path(), Arc::new(store), metrics.clone());
        Self { dir, snapshots, metrics, height: 0, parent: BlockId(hash.0), system_root }
    }

    /// The next block, which names the state after `executed`.
    fn commit(&mut self, executed: u64) {
        self.height += 1;
        let state_root = |height: u64| StateRoot([u8::try_from(height).expect("small"); 32]);
        let block = Block {
            network: Network::Devnet,
            epoch: Epoch(0),
            height: Height(self.height),
            view: View(self.height),
            parent: self.parent,
            proposer: ValidatorIndex(0),
            timestamp_unix_ms: qbind_types::Millis(5),
            executed: ExecutedState { height: Height(executed), root: state_root(executed) },
            batches: vec![],
            next_validators: None,
        };
        let id = block_id(&block);
        self.parent = id;
        let (epoch, view) = (block.epoch, block.view);
        let certificate = CommitCertificate { epoch, view, block: id, votes: vec![] };
        let proof = CommitProof { descendants: vec![], certificate };
        let record = CommitRecord {
            committed: CommittedBlock { block, proof },
            id,
            transactions: vec![],
            receipts: vec![],
            transfers: vec![],
            changes: vec![],
            state_root: state_root(self.height),
            system_root: self.system_root,
            tally: qbind_ledger::Tally::default(),
            mode: Mode::Serial { why: SerialReason::Disabled },
            registry: None,
            slashing: None,
            judged: vec![],
            stake_burned: 0,
            monetary: None,
            references: References::Ok,
        };
        let store = self.snapshots.means.store.clone();
        store.commit(&record, qbind_types::Millis(0)).expect("written");
        self.snapshots.committed(&record);
    }

    /// Blocks up to `height`, each naming the state three before it.
    fn up_to(&mut self, height: u64) {
        while self.height < height {
            self.commit(self.height.saturating_sub(2));
        }
    }

    /// Waits for the snapshot under way.
    fn settle(&mut self) {
        let running = self.snapshots.running.take().expect("one is being taken");
        running.thread.join().expect("it does not panic");
    }

    fn heights(&self) -> Vec<u64> {
        let heights = self.snapshots.means.folder.heights().expect("readable");
        heights.into_iter().map(|h| h.0).collect()
    }
}

#[test]
fn a_snapshot_is_taken_at_the_interval_and_counted() {
    let mut bench = Bench::new(|_| {});
    let counts = bench.metrics.clone();
    let s = &counts.snapshots;
    bench.up_to(19);
    assert!(bench.snapshots.running.is_none());
    bench.up_to(20);
    assert_eq!(s.in_progress.get(), 1);
    assert!(bench.heights().is_empty(), "no block names the state yet");
    bench.up_to(23);
    bench.settle();
    assert_eq!((s.success.get(), s.failure.get(), s.in_progress.get()), (1, 0, 0));
    assert_eq!(s.last_height.get(), 20);
    assert!(s.last_size_bytes.get() > 0 && s.last_created_at_ms.get() > 1_700_000_000_000);
    for height in [40, 60] {
        bench.up_to(height + 3);
        bench.settle();
    }
    assert_eq!(bench.heights(), [40, 60], "two are kept");
    assert_eq!((s.success.get(), s.last_height.get()), (3, 60));
    // Another process finds what there is.
    let config = NodeConfig {
        snapshot_dir: Some(bench.snapshots.means.folder.dir().display().to_string()),
        ..Profile::Devnet.preset()
    };
    let again = Arc::new(Metrics::new(&config, &[1]));
    drop(Snapshots::new(
        &config,
        bench.dir.path(),
        bench.snapshots.means.store.clone(),
        again.clone(),
    ));
    assert_eq!(again.snapshots.last_height.get(), 60);
}

#[test]
fn what_fails_is_counted_and_the_node_goes_on() {
    let mut bench = Bench::new(|config| config.snapshot_dir = Some("/proc/none".to_owned()));
    bench.up_to(40);
    let counts = bench.metrics.clone();
    let s = &counts.snapshots;
    assert_eq!((s.success.get(), s.failure.get(), s.in_progress.get()), (0, 2, 0));
    // No block names the state of the height: the next skips it.
    let mut bench = Bench::new(|_| {});
    bench.up_to(20);
    bench.commit(19);
    bench.commit(21);
    bench.settle();
    let s = &bench.metrics.snapshots;
    assert_eq!((s.success.get(), s.failure.get(), s.in_progress.get()), (0, 1, 0));
    assert!(!bench.dir.path().join(CHECKPOINT).exists());
}

#[test]
fn one_that_is_not_finished_lets_the_next_be_left_out() {
    let mut bench = Bench::new(|_| {});
    bench.up_to(20);
    while bench.height < 45 {
        bench.commit(17);
    }
    assert!(bench.snapshots.running.is_some());
    bench.commit(20);
    bench.settle();
    assert_eq!(bench.heights(), [20]);
    let s = &bench.metrics.snapshots;
    assert_eq!((s.success.get(), s.failure.get()), (1, 0));
}

#[test]
fn a_request_is_served_at_the_next_checkpoint_height() {
    let mut bench = Bench::new(|config| config.snapshots_enabled = false);
    bench.up_to(25);
    assert!(bench.snapshots.running.is_none());
    let ask = |bench: &Bench, id: &str| {
        let schema = SnapshotRequest::SCHEMA.to_owned();
        let request = SnapshotRequest { schema, id: id.to_owned() };
        requests::ask(bench.dir.path(), SnapshotRequest::NAME, &request).expect("written");
    };
    let answer = |bench: &Bench| -> SnapshotAnswer {
        let found = requests::answered(bench.dir.path(), SnapshotRequest::NAME);
        found.expect("readable").expect("answered")
    };
    ask(&bench, "one");
    bench.up_to(33);
    bench.settle();
    let given = answer(&bench);
    assert_eq!((given.id.as_str(), given.error), ("one", None));
    assert_eq!(given.path, Some(bench.dir.path().join("snapshots/30")));
    // The node stops before a block names the state.
    ask(&bench, "two");
    bench.up_to(40);
    let dir = bench.dir;
    drop(bench.snapshots);
    let found = requests::answered::<SnapshotAnswer>(dir.path(), SnapshotRequest::NAME);
    let given = found.expect("readable").expect("answered");
    assert!(given.error.is_some_and(|why| why.contains("the node stopped")));
    assert_eq!(bench.metrics.snapshots.failure.get(), 0, "nothing failed");
}
