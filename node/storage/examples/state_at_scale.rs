//! What a large state costs: times, memory and disk of a database of many accounts.
//!
//! `cargo run -p qbind-storage --example state_at_scale [ACCOUNTS]`, or `make bench-state`. A chain of
//! four validators with real certificates makes accounts by transfers, 500 a block. Signatures of
//! transactions are zeros, so batches compress on disk better than real ones.

use qbind_crypto::{
    SecretKey, address_of, batch_id, block_id, genesis_hash, preimage, tx_id, validators_id,
};
use qbind_ledger::{BlockInput, Genesis, Ledger, LevelRunner, NoEvidence, Params, SerialRunner};
use qbind_replica::{CommitRecord, References, Transfer};
use qbind_storage::{Draft, SnapshotFolder, Store, Validated};
use qbind_types::*;
use serde_json::json;
use std::{
    error::Error,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

const NETWORK: Network = Network::Devnet;
/// New accounts in a block.
const TRANSFERS: u64 = 500;
/// Transfers in the batch that a block's reference leads to; the others are executed only.
const IN_BATCH: usize = 20;
const EPOCH_BLOCKS: u64 = 200;
/// Heights that pruning leaves.
const RETAIN: u64 = 300;

fn keys() -> Vec<SecretKey> {
    (1..=4u8).map(|i| SecretKey::from_seed(&[i; 32])).collect()
}

fn genesis_file(keys: &[SecretKey]) -> Vec<u8> {
    let owner = |key: &SecretKey| address_of(&key.public_key()).to_string();
    let validators = keys.iter().enumerate().map(|(i, key)| {
        json!({"id": i + 1, "address": owner(key), "stake": "100",
            "pqc_public_key": hex::encode(key.public_key().as_bytes())})
    });
    let own = keys.iter().map(|key| json!({"address": owner(key), "amount": "1000000000000"}));
    json!({
        "chain_id": "bench", "network": "devnet", "genesis_time_unix_ms": 1,
        "epoch_blocks": EPOCH_BLOCKS, "allocations": own.collect::<Vec<_>>(),
        "validators": validators.collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes()
}

struct Chain {
    store: Store,
    keys: Vec<SecretKey>,
    ledger: Ledger,
    start: EpochStart,
    set: Arc<ValidatorSet>,
    last: Option<Block>,
    roots: Vec<StateRoot>,
    nonce: u64,
}

impl Chain {
    fn new(dir: &Path) -> Result<(Self, GenesisHash), Box<dyn Error>> {
        let keys = keys();
        let file = genesis_file(&keys);
        let (genesis, hash) = (Genesis::parse(&file)?, genesis_hash(&file));
        let store = Store::open(dir, hash)?;
        let set = genesis.validator_set();
        store.store_genesis(genesis.accounts().into_iter(), &set, &file)?;
        let ledger = Ledger::from_genesis(&genesis, Params::testnet_alpha());
        let start = EpochStart::genesis(BlockId(hash.0));
        let (roots, set) = (vec![ledger.state_root()], Arc::new(set));
        Ok((Self { store, keys, ledger, start, set, last: None, roots, nonce: 0 }, hash))
    }

    /// Transfers to accounts that nobody has seen.
    fn transfers(&mut self, count: u64) -> Vec<Transaction> {
        let sender = address_of(&self.keys[0].public_key());
        let first = self.nonce;
        self.nonce += count;
        let to = |n: u64| Address(qbind_crypto::sha3_256(&[&n.to_be_bytes()]));
        let transfer = |nonce: u64| Transaction {
            sender,
            nonce,
            payload: Payload::V0(TransferV0 { recipient: to(nonce), amount: 1 }).encode(),
            suite: 100,
            public_key: self.keys[0].public_key(),
            signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length"),
        };
        (first..first + count).map(transfer).collect()
    }

    /// The next block, two heights behind with execution, with its certificate.
    fn next(&self, batch: BatchRef) -> CommittedBlock {
        let (parent, height, view, executed) = match &self.last {
            None => (self.start.block, Height(1), View(1), Height(0)),
            Some(b) => (block_id(b), b.height.next(), b.view.next(), b.executed.height),
        };
        let is_first = self.start.height.next() == height;
        let reached = height.0.saturating_sub(if is_first { 1 } else { 3 });
        let named = reached.max(executed.0).min(executed.next_checkpoint().0);
        let root = self.roots[usize::try_from(named).expect("a height of this run")];
        let election = self.ledger.registry().election(self.start.epoch.next());
        let election = election.max(self.start.height.next());
        let next = self.ledger.registry().set(self.start.epoch.next());
        let next = next.filter(|_| named >= election.0).map(|set| validators_id(NETWORK, set));
        let block = Block {
            network: NETWORK,
            epoch: self.start.epoch,
            height,
            view,
            parent,
            proposer: self.set.leader(view),
            timestamp_unix_ms: Millis(height.0),
            executed: ExecutedState { height: Height(named), root },
            batches: if next.is_some() { vec![] } else { vec![batch] },
            next_validators: next,
        };
        let (epoch, view, id) = (block.epoch, block.view, block_id(&block));
        let message = preimage::commit(NETWORK, epoch, view, &id);
        let votes =
            (0..3u16).zip(&self.keys).map(|(i, key)| (ValidatorIndex(i), key.sign(&message)));
        let certificate = CommitCertificate { epoch, view, block: id, votes: votes.collect() };
        CommittedBlock { block, proof: CommitProof { descendants: vec![], certificate } }
    }

    fn commit(
        &mut self,
        count: u64,
        runner: &dyn LevelRunner,
    ) -> Result<CommittedBlock, Box<dyn Error>> {
        let transactions = self.transfers(count);
        let height = self.last.as_ref().map_or(1, |b| b.height.0 + 1);
        let batch = Batch {
            epoch: self.start.epoch,
            creator: ValidatorIndex(2),
            round: height - self.start.height.0 - 1,
            parents: vec![],
            transactions: transactions.iter().take(IN_BATCH).cloned().collect(),
            signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length"),
        };
        let (epoch, creator, round) = (batch.epoch, batch.creator, batch.round);
        let reference = BatchRef { epoch, creator, round, id: batch_id(NETWORK, &batch) };
        let committed = self.next(reference);
        let block = committed.block.clone();
        self.store.store_batch(&reference, &batch)?;
        self.store.store_certificate(&BatchCertificate { batch: reference, acks: vec![] })?;
        let input: Vec<&Transaction> = transactions.iter().collect();
        let input = BlockInput {
            height: block.height,
            epoch: block.epoch,
            time: block.timestamp_unix_ms,
            proposer: self.set.get(block.proposer).ok_or("a leader of the set")?.address,
            transactions: &input,
        };
        let applied = self.ledger.apply(&input, runner, &NoEvidence);
        self.roots.push(applied.state_root);
        let id = block_id(&block);
        let record = CommitRecord {
            committed: committed.clone(),
            id,
            transactions: transactions.iter().map(|tx| tx_id(NETWORK, tx)).collect(),
            receipts: applied.receipts,
            transfers: transactions.iter().map(Transfer::of).collect(),
            changes: applied.changes,
            state_root: applied.state_root,
            system_root: applied.system_root,
            tally: self.ledger.tally(),
            mode: applied.mode,
            registry: applied.changes_registry.then(|| self.ledger.registry().clone()),
            slashing: None,
            judged: vec![],
            stake_burned: 0,
            monetary: applied.monetary,
            references: References::Ok,
        };
        self.store.commit(&record, Millis(0))?;
        if block.ends_epoch() {
            let (epoch, height, view) = (block.next_epoch(), block.height, block.view);
            self.start = EpochStart { epoch, height, view, block: id };
            let set = self.ledger.registry().set(epoch).ok_or("an elected set")?;
            self.set = set.clone();
        }
        self.last = Some(block);
        Ok(committed)
    }
}

fn resident_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4_096 / (1 << 20)
}

fn mib(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => mib(&entry.path()) << 20,
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum::<u64>() >> 20
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    println!("{what:<28} {:>8.2} s", begun.elapsed().as_secs_f64());
    result
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some(RESTART) {
        return restart(Path::new(&arguments.next().ok_or("a database")?));
    }
    let accounts: u64 = first.map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("state");
    let (mut chain, hash) = Chain::new(&state)?;
    let mut left = accounts;
    timed("build by blocks", || -> Result<(), Box<dyn Error>> {
        while left > 0 {
            let count = left.min(TRANSFERS);
            chain.commit(count, &SerialRunner)?;
            left -= count;
        }
        while !chain.ledger.height().0.is_multiple_of(limits::CHECKPOINT) {
            chain.commit(0, &SerialRunner)?;
        }
        Ok(())
    })?;
    let tip = chain.ledger.height();
    println!("accounts, blocks             {} {tip}", chain.ledger.accounts().count());
    println!("database                     {:>8} MiB", mib(&state));

    let snapshot = {
        let block = chain.store.committed(tip)?.ok_or("the last block")?;
        let folder = SnapshotFolder::at(dir.path().join("snapshots"));
        folder.prepare()?;
        let to = dir.path().join("checkpoint.partial");
        let root = chain.ledger.state_root();
        let draft = timed("snapshot: checkpoint", || Draft::begin(&chain.store, to, block, root))?;
        timed("snapshot: trim", || draft.trim())?;
        let (mut ends, mut naming) = (Vec::new(), None);
        while naming.is_none() {
            let block = chain.commit(0, &SerialRunner)?;
            match block.block.executed.height == tip {
                true => naming = Some(block),
                false if block.block.ends_epoch() => ends.push(block),
                false => {}
            }
        }
        let naming = naming.ok_or("a block that names the state")?;
        let stop = AtomicBool::new(false);
        let (path, _) = timed("snapshot: hash and move", || {
            draft.complete(&chain.store, &folder, ends, naming, Millis(1), &stop)
        })?;
        path
    };
    println!("snapshot                     {:>8} MiB", mib(&snapshot));
    let validated = timed("validate", || Validated::open(&snapshot, Some(hash)))?;
    let fresh = tempfile::tempdir()?;
    timed("install (fast sync)", || validated.install(fresh.path(), Millis(1)))?;
    println!("installed database           {:>8} MiB", mib(&fresh.path().join("state")));
    drop(validated);

    let tip = chain.ledger.height();
    let floor = Height(tip.0.saturating_sub(RETAIN));
    timed("prune", || -> Result<(), Box<dyn Error>> {
        let mut heights = 0;
        while let Some(step) = chain.store.prune_step(floor)? {
            heights += step.heights;
        }
        println!("heights deleted              {heights:>8}");
        Ok(())
    })?;
    timed("give room back", || chain.store.reclaim())?;
    println!("database after               {:>8} MiB", mib(&state));

    let root = chain.ledger.state_root();
    drop(chain);
    // In a process of its own, for this one's allocator has room of what it has freed.
    let restart = Command::new(std::env::current_exe()?).arg(RESTART).arg(&state).output()?;
    print!("{}", String::from_utf8_lossy(&restart.stdout));
    let said = String::from_utf8_lossy(&restart.stderr).into_owned();
    assert!(restart.status.success() && said.trim() == root.to_string(), "another state: {said}");
    Ok(())
}

/// Asks for [`restart`] instead.
const RESTART: &str = "restart";

/// What a node does when it starts, and the memory that the accounts take then.
fn restart(state: &Path) -> Result<(), Box<dyn Error>> {
    let file = genesis_file(&keys());
    let (genesis, hash) = (Genesis::parse(&file)?, genesis_hash(&file));
    let before = resident_mib();
    let (ledger, _store) = timed("restart: read and restore", || -> Result<_, Box<dyn Error>> {
        let store = Store::open(state, hash)?;
        let tip = store.height()?;
        let ledger = store.load()?.ledger(&genesis, Params::testnet_alpha(), tip, &SerialRunner)?;
        Ok((ledger, store))
    })?;
    println!("memory it adds               {:>8} MiB", resident_mib().saturating_sub(before));
    eprintln!("{}", ledger.state_root());
    Ok(())
}
