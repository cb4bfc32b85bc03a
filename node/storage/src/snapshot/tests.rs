//! A small chain with real certificates, its snapshot, and everything that can be wrong with one.

use super::{meta::Certified, *};
use crate::{Store, StoreError, schema};
use qbind_consensus::SafetyRecord;
use qbind_crypto::{SecretKey, address_of, block_id, genesis_hash, preimage, validators_id};
use qbind_ledger::{Account, BlockInput, Genesis, Ledger, NoEvidence, Params, SerialRunner};
use qbind_replica::{CommitRecord, References};
use qbind_types::*;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

const NETWORK: Network = Network::Devnet;
/// The shortest there are: a snapshot may be certified by another epoch's validators than its block.
const EPOCH_BLOCKS: u64 = 8;
const NOW: Millis = Millis(1_800_000_000_000);

fn keys() -> Vec<SecretKey> {
    (1..=4u8).map(|i| SecretKey::from_seed(&[i; 32])).collect()
}

fn genesis_file(chain: &str) -> Vec<u8> {
    let owner = |key: &SecretKey| address_of(&key.public_key()).to_string();
    let keys = keys();
    let validators: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| {
            json!({"id": i + 1, "address": owner(key), "stake": "100",
                "pqc_public_key": hex::encode(key.public_key().as_bytes())})
        })
        .collect();
    let others = (1..=200u8).map(|i| {
        json!({"address": Address([i; 32]).to_string(), "amount": (1_000 + u32::from(i)).to_string()})
    });
    let own = keys.iter().map(|key| json!({"address": owner(key), "amount": "1000000"}));
    json!({
        "chain_id": chain, "network": "devnet", "genesis_time_unix_ms": 1_700_000_000_000u64,
        "epoch_blocks": EPOCH_BLOCKS, "allocations": own.chain(others).collect::<Vec<_>>(),
        "validators": validators,
    })
    .to_string()
    .into_bytes()
}

/// A chain of four validators, as one node's store sees it.
struct Chain {
    dir: tempfile::TempDir,
    store: Store,
    keys: Vec<SecretKey>,
    ledger: Ledger,
    hash: GenesisHash,
    start: EpochStart,
    set: std::sync::Arc<ValidatorSet>,
    last: Option<Block>,
    roots: Vec<StateRoot>,
}

impl Chain {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = genesis_file(name);
        let genesis = Genesis::parse(&file).unwrap();
        let hash = genesis_hash(&file);
        let store = Store::open(&dir.path().join("state"), hash).unwrap();
        let set = genesis.validator_set();
        store.store_genesis(genesis.accounts().into_iter(), &set, &file).unwrap();
        let ledger = Ledger::from_genesis(&genesis, Params::mainnet());
        let start = EpochStart::genesis(BlockId(hash.0));
        let (keys, roots) = (keys(), vec![ledger.state_root()]);
        Self { dir, store, keys, ledger, hash, start, set: set.into(), last: None, roots }
    }

    /// The next block, two heights behind with execution as a network is, and its certificate.
    fn next(&mut self) -> CommittedBlock {
        let (parent, height, view, executed) = match &self.last {
            None => (self.start.block, Height(1), View(1), Height(0)),
            Some(b) => (block_id(b), b.height.next(), b.view.next(), b.executed.height),
        };
        // Of a new epoch everything before has been executed.
        let is_first = self.start.height.next() == height;
        let reached = height.0.saturating_sub(if is_first { 1 } else { 3 });
        let named = reached.max(executed.0).min(executed.next_checkpoint().0);
        let root = self.roots[usize::try_from(named).unwrap()];
        let election = self.ledger.registry().election(self.start.epoch.next());
        let election = election.max(self.start.height.next());
        let next = self.ledger.registry().set(self.start.epoch.next());
        let next = next.filter(|_| named >= election.0).map(|set| validators_id(NETWORK, set));
        let batch = BatchRef {
            epoch: self.start.epoch,
            creator: ValidatorIndex(2),
            round: height.0 - self.start.height.0 - 1,
            id: BatchId([7; 32]),
        };
        let block = Block {
            network: NETWORK,
            epoch: self.start.epoch,
            height,
            view,
            parent,
            proposer: self.set.leader(view),
            timestamp_unix_ms: Millis(1_700_000_000_000 + height.0),
            executed: ExecutedState { height: Height(named), root },
            batches: if next.is_some() { vec![] } else { vec![batch] },
            next_validators: next,
        };
        self.certify(block)
    }

    fn certify(&self, block: Block) -> CommittedBlock {
        let (epoch, view, id) = (block.epoch, block.view, block_id(&block));
        let message = preimage::commit(NETWORK, epoch, view, &id);
        let votes = (0..3u16).map(|i| {
            let key = &self.keys[usize::from(i)];
            (ValidatorIndex(i), key.sign(&message))
        });
        let certificate = CommitCertificate { epoch, view, block: id, votes: votes.collect() };
        CommittedBlock { block, proof: CommitProof { descendants: vec![], certificate } }
    }

    fn commit(&mut self) -> CommittedBlock {
        let committed = self.next();
        let block = committed.block.clone();
        let proposer = self.set.get(block.proposer).unwrap().address;
        let input = BlockInput {
            height: block.height,
            epoch: block.epoch,
            time: block.timestamp_unix_ms,
            proposer,
            transactions: &[],
        };
        let applied = self.ledger.apply(&input, &SerialRunner, &NoEvidence);
        self.roots.push(applied.state_root);
        let id = block_id(&block);
        let record = CommitRecord {
            committed: committed.clone(),
            id,
            transactions: vec![],
            receipts: vec![],
            transfers: vec![],
            changes: applied.changes,
            state_root: applied.state_root,
            system_root: applied.system_root,
            tally: self.ledger.tally(),
            mode: applied.mode,
            registry: applied.changes_registry.then(|| self.ledger.registry().clone()),
            slashing: None,
            judged: Vec::new(),
            stake_burned: 0,
            monetary: applied.monetary,
            references: References::Ok,
        };
        self.store.commit(&record, Millis(0)).unwrap();
        if block.ends_epoch() {
            let (epoch, height, view) = (block.next_epoch(), block.height, block.view);
            self.start = EpochStart { epoch, height, view, block: id };
            self.set = self.ledger.registry().set(epoch).unwrap().clone();
        }
        self.last = Some(block);
        committed
    }

    fn height(&self) -> u64 {
        self.last.as_ref().map_or(0, |b| b.height.0)
    }

    fn folder(&self) -> SnapshotFolder {
        let folder = SnapshotFolder::at(self.dir.path().join("snapshots"));
        folder.prepare().unwrap();
        folder
    }

    fn draft(&self, committed: CommittedBlock) -> Draft {
        let to = self.dir.path().join("checkpoint.partial");
        Draft::begin(&self.store, to, committed, *self.roots.last().unwrap()).unwrap()
    }

    /// Goes on to `height`, takes a snapshot there, and goes on until it is certified.
    fn snapshot(&mut self, height: u64) -> PathBuf {
        let mut committed = self.commit();
        while self.height() < height {
            committed = self.commit();
        }
        let draft = self.draft(committed);
        draft.trim().unwrap();
        let mut ends = Vec::new();
        let naming = loop {
            let next = self.commit();
            if next.block.executed.height.0 >= height {
                break next;
            }
            if next.block.ends_epoch() {
                ends.push(next);
            }
        };
        let stop = AtomicBool::new(false);
        let made = draft.complete(&self.store, &self.folder(), ends, naming, NOW, &stop);
        made.unwrap().0
    }
}

/// A chain with a snapshot at `height`.
fn taken(height: u64) -> (Chain, PathBuf) {
    let mut chain = Chain::new("test");
    let dir = chain.snapshot(height);
    (chain, dir)
}

fn refusal(dir: &Path) -> SnapshotError {
    Validated::open(dir, None).expect_err("it must be refused")
}

fn meta(dir: &Path) -> Meta {
    Meta::load(dir).unwrap()
}

/// Lists the files again, as whoever forges a snapshot would.
fn seal(dir: &Path, mut meta: Meta) {
    files::remove_noise(&dir.join(STATE)).unwrap();
    meta.files = files::list_and_sync(dir, &AtomicBool::new(false)).unwrap();
    fs::write(dir.join(META_FILE), meta.encode()).unwrap();
}

/// Changes the database in a snapshot and seals it again.
fn forge(dir: &Path, change: impl FnOnce(&Store, &mut Meta)) {
    let mut changed = meta(dir);
    {
        let store = Store::open_existing(&dir.join(STATE)).unwrap();
        change(&store, &mut changed);
    }
    seal(dir, changed);
}

fn recertify(dir: &Path, change: impl FnOnce(&mut Certified)) {
    let mut certified = Certified::load(dir).unwrap();
    change(&mut certified);
    fs::write(dir.join(CERTIFIED), certified.encode().unwrap()).unwrap();
    seal(dir, meta(dir));
}

#[test]
fn a_snapshot_of_every_checkpoint_is_valid_whatever_the_epoch() {
    let mut ended_between = 0;
    for height in [10, 20, 30, 40] {
        let (chain, dir) = taken(height);
        let snapshot = Validated::open(&dir, Some(chain.hash)).unwrap();
        assert_eq!(snapshot.meta.height, Height(height));
        assert_eq!(snapshot.meta.state_root, chain.roots[usize::try_from(height).unwrap()]);
        assert_eq!(snapshot.meta.accounts, 205);
        assert_eq!(snapshot.meta.chain_id, NETWORK.chain_id());
        ended_between += Certified::load(&dir).unwrap().ends.len();
        assert!(!dir.join("state/LOG").exists() && !dir.join("state/LOCK").exists());
    }
    assert!(ended_between > 0, "one is certified by validators of the epoch after its block's");
}

#[test]
fn a_snapshot_where_an_epoch_ends_is_valid() {
    let mut chain = Chain::new("test");
    let mut committed = chain.commit();
    while !committed.block.ends_epoch() {
        committed = chain.commit();
    }
    let draft = chain.draft(committed.clone());
    draft.trim().unwrap();
    let naming = std::iter::repeat_with(|| chain.commit())
        .take(20)
        .find(|next| next.block.executed.height == committed.block.height);
    let (folder, stop) = (chain.folder(), AtomicBool::new(false));
    let naming = naming.expect("the first block of an epoch names the last of the one before");
    let (dir, _) = draft.complete(&chain.store, &folder, vec![], naming, NOW, &stop).unwrap();
    Validated::open(&dir, Some(chain.hash)).unwrap();
    // Its own proof is one of those of the epochs' ends; another would not have been checked.
    recertify(&dir, |certified| certified.block.proof.certificate.votes.clear());
    assert!(matches!(refusal(&dir), SnapshotError::Derived { what: "last block" }));
}

#[test]
fn a_node_starts_from_a_snapshot_with_the_same_state_and_nothing_of_the_other_node() {
    let mut chain = Chain::new("test");
    let secret: [u8; 32] = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0xa5);
    let safety = SafetyRecord {
        voted: Some((View(4), BlockId(secret))),
        ..SafetyRecord::start(&EpochStart::genesis(BlockId::default()))
    };
    chain.store.persist_safety(&safety).unwrap();
    let reference =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(1), round: 90, id: BatchId(secret) };
    chain.store.persist_ack(&reference).unwrap();
    let dir = chain.snapshot(20);
    for entry in &meta(&dir).files {
        let bytes = fs::read(dir.join(&entry.path)).unwrap();
        let has_secret = bytes.windows(16).any(|w| w == &secret[..16]);
        assert!(!has_secret, "{} holds the safety record", entry.path);
    }
    let target = tempfile::tempdir().unwrap();
    let snapshot = Validated::open(&dir, Some(chain.hash)).unwrap();
    snapshot.install(target.path(), NOW).unwrap();
    let store = Store::open(&target.path().join("state"), chain.hash).unwrap();
    assert_eq!(store.synced().unwrap(), Some(NOW));
    let mut loaded = store.load().unwrap();
    assert!(loaded.safety.is_none() && loaded.own_batch.is_none() && loaded.acks.is_empty());
    assert_eq!(loaded.committed.as_ref().unwrap().block.height, Height(20));
    let included = loaded.included.clone();
    let start = loaded.start.unwrap();
    let genesis = Genesis::parse(&genesis_file("test")).unwrap();
    let mut ledger = loaded.ledger(&genesis, Params::mainnet(), Height(20), &SerialRunner).unwrap();
    assert_eq!(ledger.state_root(), chain.roots[20]);
    assert_eq!(included.get(&ValidatorIndex(2)), Some(&(20 - start.height.0)));
    // What follows gives the same roots.
    for height in 21..=chain.height() {
        let block = chain.store.committed(Height(height)).unwrap().unwrap().block;
        let set = ledger.registry().set(block.epoch).unwrap();
        let proposer = set.get(block.proposer).unwrap().address;
        let input = BlockInput {
            height: block.height,
            epoch: block.epoch,
            time: block.timestamp_unix_ms,
            proposer,
            transactions: &[],
        };
        let root = ledger.apply(&input, &SerialRunner, &NoEvidence).state_root;
        assert_eq!(root, chain.roots[usize::try_from(height).unwrap()]);
    }
    // No snapshot can be taken of it in this epoch: the blocks before are not here.
    assert!(chain.store.has_whole_epoch().unwrap() && !store.has_whole_epoch().unwrap());
    // Whoever follows the chain finds the ends of epochs.
    let end = store.committed(start.height).unwrap().unwrap();
    assert!(end.block.ends_epoch());
    let again = snapshot.install(target.path(), NOW).expect_err("there is a database");
    assert!(matches!(again, SnapshotError::Exists { .. }));
}

#[test]
fn damage_is_refused_with_its_place() {
    let (_chain, dir) = taken(10);
    let whole = |name: &str| fs::read(dir.join(name)).unwrap();
    let sst = meta(&dir).files.into_iter().map(|f| f.path).find(|p| p.ends_with(".sst")).unwrap();
    for name in [&*sst, CERTIFIED, "state/CURRENT"] {
        let bytes = whole(name);
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(dir.join(name), changed).unwrap();
            let error = refusal(&dir);
            assert!(matches!(&error, SnapshotError::Digest { file } if file == name), "{error}");
        }
        fs::write(dir.join(name), &bytes[..bytes.len() - 1]).unwrap();
        let error = refusal(&dir);
        assert!(matches!(&error, SnapshotError::Size { file, .. } if file == name), "{error}");
        fs::remove_file(dir.join(name)).unwrap();
        let error = refusal(&dir);
        assert!(matches!(&error, SnapshotError::Missing { file } if file == name), "{error}");
        fs::write(dir.join(name), &bytes).unwrap();
    }
    fs::write(dir.join("state/more.sst"), b"x").unwrap();
    assert!(matches!(refusal(&dir), SnapshotError::Unlisted { file } if file == "state/more.sst"));
    fs::remove_file(dir.join("state/more.sst")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
    assert!(matches!(refusal(&dir), SnapshotError::Unlisted { .. }));
    fs::remove_file(dir.join("link")).unwrap();
    let text = String::from_utf8(whole(META_FILE)).unwrap();
    for wrong in ["", "{}", &text[..text.len() / 2], &text.replace("snapshot/v1", "snapshot/v9")] {
        fs::write(dir.join(META_FILE), wrong).unwrap();
        assert!(matches!(refusal(&dir), SnapshotError::Meta { .. }), "{wrong}");
    }
    fs::remove_file(dir.join(META_FILE)).unwrap();
    assert!(matches!(refusal(&dir), SnapshotError::Missing { .. }));
    assert!(matches!(refusal(&dir.join("nowhere")), SnapshotError::NoFolder { .. }));
}

#[test]
fn a_changed_account_is_refused_although_everything_else_is_made_to_agree() {
    let (_chain, dir) = taken(10);
    let thief = Account { nonce: 0, balance: 1_000_000 };
    forge(&dir, |store, meta| {
        let family = store.family(schema::ACCOUNTS);
        let value = encode(&(thief.nonce, thief.balance));
        store.db.put_cf(family, [9u8; 32], value).unwrap();
        let genesis = Genesis::parse(&store.genesis_file().unwrap().unwrap()).unwrap();
        let mut loaded = store.load().unwrap();
        let ledger =
            loaded.ledger(&genesis, Params::mainnet(), meta.height, &SerialRunner).unwrap();
        meta.state_root = ledger.state_root();
    });
    assert!(matches!(refusal(&dir), SnapshotError::Contradiction { what: "state_root", .. }));
    // The header that names the root is made to agree too; then it is another block.
    let root = meta(&dir).state_root;
    recertify(&dir, |certified| certified.naming.block.executed.root = root);
    assert!(matches!(refusal(&dir), SnapshotError::Chain { .. }));
}

#[test]
fn votes_of_a_minority_or_of_others_do_not_certify_a_forged_root() {
    let (chain, dir) = taken(10);
    type Votes = Vec<(ValidatorIndex, Signature)>;
    let forge_naming = |votes: &dyn Fn(&[u8]) -> Votes| {
        recertify(&dir, |certified| {
            let naming = &mut certified.naming;
            naming.block.executed.root = StateRoot([9; 32]);
            let id = block_id(&naming.block);
            naming.proof.certificate.block = id;
            let (epoch, view) = (naming.block.epoch, naming.block.view);
            naming.proof.certificate.votes = votes(&preimage::commit(NETWORK, epoch, view, &id));
        });
    };
    forge_naming(&|m| {
        (0..2).map(|i| (ValidatorIndex(i), chain.keys[usize::from(i)].sign(m))).collect()
    });
    assert!(matches!(refusal(&dir), SnapshotError::Chain { .. }));
    let stranger = SecretKey::from_seed(&[99; 32]);
    forge_naming(&|m| (0..3).map(|i| (ValidatorIndex(i), stranger.sign(m))).collect());
    assert!(matches!(refusal(&dir), SnapshotError::Chain { .. }));
    // With the validators' own keys the certificate is good, and the state is another.
    forge_naming(&|m| {
        (0..3).map(|i| (ValidatorIndex(i), chain.keys[usize::from(i)].sign(m))).collect()
    });
    let mut forged = meta(&dir);
    forged.state_root = StateRoot([9; 32]);
    seal(&dir, forged);
    assert!(matches!(refusal(&dir), SnapshotError::Root { .. }));
}

#[test]
fn another_chains_snapshot_is_refused_by_who_expects_his_own() {
    let (chain, dir) = taken(10);
    let other = GenesisHash([4; 32]);
    let error = Validated::open(&dir, Some(other)).expect_err("another chain's");
    assert!(matches!(error, SnapshotError::OtherChain { .. }));
    assert!(error.to_string().contains(&chain.hash.to_string()), "{error}");
    // Saying that it is of the other chain does not help.
    let mut forged = meta(&dir);
    forged.genesis_hash = other;
    seal(&dir, forged);
    let error = Validated::open(&dir, Some(other)).expect_err("a lie");
    assert!(matches!(error, SnapshotError::Contradiction { what: "genesis_hash", .. }), "{error}");
}

type Forgery = (&'static str, fn(&Store, &mut Meta), fn(&SnapshotError) -> bool);

/// One lie each about what is not under the state root.
const FORGERIES: &[Forgery] = &[
    (
        "a safety record",
        |store, _| {
            let record = SafetyRecord::start(&EpochStart::genesis(BlockId::default()));
            store.persist_safety(&record).unwrap();
        },
        |e| matches!(e, SnapshotError::Foreign { what } if what == "safety_record"),
    ),
    (
        "a pending transaction",
        |store, _| store.db.put_cf(store.family(schema::MEMPOOL), b"k", b"v").unwrap(),
        |e| matches!(e, SnapshotError::Foreign { what } if what == schema::MEMPOOL),
    ),
    (
        "other included rounds",
        |store, _| {
            let value = std::collections::BTreeMap::from([(ValidatorIndex(2), 77u64)]);
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_INCLUDED, encode(&value)).unwrap();
        },
        |e| matches!(e, SnapshotError::Derived { what: "list of included batches" }),
    ),
    (
        "another start of the epoch",
        |store, _| {
            let start = EpochStart::genesis(BlockId([3; 32]));
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_START, encode(&start)).unwrap();
        },
        |e| matches!(e, SnapshotError::Derived { what: "epoch's start" }),
    ),
    (
        "another height",
        |store, _| {
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_HEIGHT, encode(&Height(40))).unwrap();
        },
        |e| matches!(e, SnapshotError::Derived { what: "height" }),
    ),
    (
        "other burned money",
        |store, _| {
            let tally = store.load().unwrap().tally;
            let tally = qbind_ledger::Tally { burned: tally.burned + 1, ..tally };
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_TALLY, encode(&tally)).unwrap();
        },
        |e| matches!(e, SnapshotError::Root { .. }),
    ),
    (
        "another registry",
        |store, _| {
            let set = store.validators(Epoch(0)).unwrap().unwrap();
            let registry = qbind_ledger::Registry::new(EPOCH_BLOCKS + 1, set);
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_REGISTRY, encode(&registry)).unwrap();
        },
        |e| matches!(e, SnapshotError::Root { .. }),
    ),
    (
        "validators of an epoch nobody elected",
        |store, _| {
            let set = store.validators(Epoch(0)).unwrap().unwrap();
            let set = ValidatorSet::new(Epoch(40), set.members().to_vec()).unwrap();
            let key = schema::epoch_key(Epoch(40));
            store.db.put_cf(store.family(schema::EPOCHS), key, encode(&set)).unwrap();
        },
        |e| matches!(e, SnapshotError::Validators { epoch: Epoch(40) }),
    ),
    (
        "other validators of an epoch",
        |store, _| {
            let set = store.validators(Epoch(1)).unwrap().unwrap();
            let set = ValidatorSet::new(Epoch(1), set.members()[1..].to_vec()).unwrap();
            let key = schema::epoch_key(Epoch(1));
            store.db.put_cf(store.family(schema::EPOCHS), key, encode(&set)).unwrap();
        },
        |e| matches!(e, SnapshotError::Chain { .. }),
    ),
    (
        "no validators of an epoch",
        |store, _| {
            let key = schema::epoch_key(Epoch(1));
            store.db.delete_cf(store.family(schema::EPOCHS), key).unwrap();
        },
        |e| matches!(e, SnapshotError::NoValidators { epoch: Epoch(1) }),
    ),
    (
        "no end of an epoch",
        |store, _| {
            let key = schema::epoch_key(Epoch(0));
            store.db.delete_cf(store.family(schema::EPOCH_ENDS), key).unwrap();
        },
        |e| matches!(e, SnapshotError::Derived { what: "list of epochs" }),
    ),
    (
        "a newer database",
        |store, _| {
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_SCHEMA, encode(&99u32)).unwrap();
        },
        |e| matches!(e, SnapshotError::Store(StoreError::Schema { found: 99, .. })),
    ),
    (
        "another genesis file",
        |store, _| {
            let meta = store.family(schema::META);
            store.db.put_cf(meta, schema::KEY_GENESIS_FILE, genesis_file("x")).unwrap();
        },
        |e| matches!(e, SnapshotError::Contradiction { what: "genesis_hash", .. }),
    ),
    (
        "another chain's name",
        |_, meta| meta.chain_name = "x".to_owned(),
        |e| matches!(e, SnapshotError::Contradiction { what: "chain_name", .. }),
    ),
    (
        "another network",
        |_, meta| meta.chain_id = Network::Mainnet.chain_id(),
        |e| matches!(e, SnapshotError::Contradiction { what: "chain_id", .. }),
    ),
    (
        "another block",
        |_, meta| meta.block_hash = BlockId([1; 32]),
        |e| matches!(e, SnapshotError::Contradiction { what: "block_hash", .. }),
    ),
    (
        "more accounts",
        |_, meta| meta.accounts += 1,
        |e| matches!(e, SnapshotError::Contradiction { what: "accounts", .. }),
    ),
    (
        "a later height",
        |_, meta| meta.height = Height(30),
        |e| matches!(e, SnapshotError::Contradiction { what: "height", .. }),
    ),
];

#[test]
fn every_lie_beside_the_accounts_is_refused() {
    let (_chain, dir) = taken(20);
    let aside = tempfile::tempdir().unwrap();
    for (i, (what, change, is_right)) in FORGERIES.iter().enumerate() {
        let copy = aside.path().join(i.to_string());
        copy_tree(&dir, &copy);
        forge(&copy, change);
        let error = refusal(&copy);
        assert!(is_right(&error), "{what}: {error:?}");
    }
    Validated::open(&dir, None).unwrap();
}

#[test]
fn every_lie_about_blocks_is_refused() {
    let (_chain, dir) = taken(10);
    let aside = tempfile::tempdir().unwrap();
    let changes: [fn(&mut Certified); 5] = [
        |c| c.before.clear(),
        |c| c.before[0].timestamp_unix_ms = Millis(1),
        |c| c.block = c.naming.clone(),
        |c| c.naming = c.block.clone(),
        |c| c.block.proof.certificate.votes.truncate(2),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let copy = aside.path().join(i.to_string());
        copy_tree(&dir, &copy);
        recertify(&copy, change);
        refusal(&copy);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_oldest_go_and_leftovers_too() {
    let mut chain = Chain::new("test");
    for height in [10, 20, 30] {
        chain.snapshot(height);
    }
    let folder = chain.folder();
    assert_eq!(folder.newest().unwrap().height, Height(30));
    for name in [".50.partial", ".10.removed", "other", "007"] {
        fs::create_dir_all(folder.dir().join(name)).unwrap();
    }
    assert_eq!(folder.heights().unwrap(), [Height(10), Height(20), Height(30)]);
    assert_eq!(folder.keep(2, Height(30)).unwrap(), [Height(10)]);
    // Of another chain that was higher, for all this folder knows.
    assert_eq!(folder.keep(1, Height(20)).unwrap(), [Height(30)], "the one just made stays");
    chain.snapshot(40);
    assert_eq!(folder.keep(0, Height(40)).unwrap(), [Height(20)]);
    folder.prepare().unwrap();
    let mut left: Vec<_> =
        fs::read_dir(folder.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["007", "40", "other"]);
    assert!(matches!(folder.check_space(u64::MAX / 4), Err(SnapshotError::Space { .. })));
    folder.check_space(0).unwrap();
}

#[test]
fn a_checkpoint_whose_state_is_another_is_no_snapshot() {
    let mut chain = Chain::new("test");
    while chain.height() < 9 {
        chain.commit();
    }
    let committed = chain.commit();
    let naming = std::iter::repeat_with(|| chain.commit())
        .find(|next| next.block.executed.height == Height(10))
        .unwrap();
    // Of the height the chain has come to since.
    let to = chain.dir.path().join("late.partial");
    let draft = Draft::begin(&chain.store, to, committed, chain.roots[10]).unwrap();
    let stop = AtomicBool::new(false);
    let made = draft.complete(&chain.store, &chain.folder(), vec![], naming, NOW, &stop);
    let is_noticed = matches!(made, Err(SnapshotError::Store(StoreError::Damaged { .. })));
    assert!(is_noticed, "{made:?}");
    assert_eq!(fs::read_dir(chain.folder().dir()).unwrap().count(), 0);
}

#[test]
fn what_fails_leaves_nothing_and_the_database_as_it_was() {
    let mut chain = Chain::new("test");
    while chain.height() < 9 {
        chain.commit();
    }
    let committed = chain.commit();
    let root = chain.roots[10];
    let begin = |name: &str| {
        let to = chain.dir.path().join(name);
        Draft::begin(&chain.store, to, committed.clone(), root).unwrap()
    };
    // Taken at their height: of a later state this would be no snapshot.
    let (blocked_draft, stopped_draft) = (begin("one.partial"), begin("two.partial"));
    let draft = chain.draft(committed.clone());
    let wrong = chain.commit();
    let stop = AtomicBool::new(false);
    draft.trim().unwrap();
    let error = draft.complete(&chain.store, &chain.folder(), vec![], wrong, NOW, &stop);
    assert!(matches!(error, Err(SnapshotError::Root { .. })));
    let naming = std::iter::repeat_with(|| chain.commit())
        .find(|next| next.block.executed.height == Height(10))
        .unwrap();
    // A folder that cannot be written to.
    fs::write(chain.dir.path().join("file"), b"").unwrap();
    let blocked = SnapshotFolder::at(chain.dir.path().join("file"));
    let error = blocked_draft.complete(&chain.store, &blocked, vec![], naming.clone(), NOW, &stop);
    assert!(matches!(error, Err(SnapshotError::Io { .. })), "{error:?}");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = stopped_draft.complete(&chain.store, &chain.folder(), vec![], naming, NOW, &stop);
    assert!(matches!(error, Err(SnapshotError::Stopped)), "{error:?}");
    for name in ["one.partial", "two.partial", "checkpoint.partial"] {
        assert!(!chain.dir.path().join(name).exists(), "{name}");
    }
    assert_eq!(fs::read_dir(chain.folder().dir()).unwrap().count(), 0);
    assert_eq!(chain.store.load().unwrap().committed.unwrap().block.height.0, chain.height());
}
