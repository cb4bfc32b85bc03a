//! Kill -9 at random moments while a node takes snapshots, while it makes its database of one, while an
//! archive is unpacked, and while old history is deleted: what is on disk afterwards is whole, and the
//! node goes on from it.
//!
//! `QBIND_KILLS` says how often (20 each if it is unset), `QBIND_SEED` which moments.

mod support;

use qbind_crypto::{SecretKey, address_of, genesis_hash};
use qbind_ledger::{Genesis, Params, SerialRunner};
use qbind_signer::Role;
use qbind_storage::{SnapshotFolder, Store, Validated, is_in_use};
use qbind_types::{GenesisHash, Height};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::program;

const PASSPHRASE: &str = "opens a key that holds nothing";
/// How long a node may take to do what it must.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

fn kills() -> u64 {
    std::env::var("QBIND_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// splitmix64: the same seed gives the same moments.
struct Moments(u64);

impl Moments {
    fn new(test: &str) -> Self {
        let seed = std::env::var("QBIND_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or(7);
        let kills = kills();
        println!(
            "replay: QBIND_SEED={seed} QBIND_KILLS={kills} cargo test -p qbind-tests --test snapshot_crash {test}"
        );
        Self(seed)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let micros = u64::try_from(most.as_micros()).expect("short").max(1);
        Duration::from_micros((z ^ (z >> 31)) % micros)
    }
}

/// A chain of one validator.
struct Alone {
    dir: tempfile::TempDir,
    hash: GenesisHash,
    genesis: Genesis,
}

impl Alone {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let key = SecretKey::from_seed(&[7; 32]);
        let keystore = dir.path().join("keystore");
        fs::create_dir(&keystore).expect("a new folder");
        qbind_signer::create(&keystore, Role::Consensus, &key, PASSPHRASE).expect("a new key");
        let owner = address_of(&key.public_key()).to_string();
        let mut allocations = vec![json!({"address": owner, "amount": "1000000"})];
        for i in 0..20_000u32 {
            let mut address = [1; 32];
            address[..4].copy_from_slice(&i.to_be_bytes());
            let address = format!("0x{}", hex(&address));
            allocations.push(json!({"address": address, "amount": (1 + i).to_string()}));
        }
        let file = json!({
            "chain_id": "qbind-alone", "network": "devnet",
            "genesis_time_unix_ms": 1_700_000_000_000u64, "epoch_blocks": 8,
            "allocations": allocations,
            "validators": [{"id": 1, "address": owner, "stake": "1000",
                "pqc_public_key": hex(key.public_key().as_bytes())}],
        });
        let file = file.to_string().into_bytes();
        fs::write(dir.path().join("genesis.json"), &file).expect("a new file");
        let genesis = Genesis::parse(&file).expect("a sound genesis");
        Self { dir, hash: genesis_hash(&file), genesis }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node on `data` whose blocks follow each other as fast as the disk lets them, and that takes
    /// snapshots unless `more` says otherwise.
    fn start(&self, data: &Path, more: &[&str]) -> Node {
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        let log = log.expect("a log file");
        let says = more.contains(&"--snapshots-enabled");
        let snapshots = if says { &[][..] } else { &["--snapshots-enabled", "true"] };
        let child = Command::new(program("qbind-node"))
            .args(["--profile", "devnet", "--validator-id", "1"])
            .args(snapshots)
            .args(["--http-addr", "127.0.0.1:0", "--p2p-listen-addr", "127.0.0.1:0"])
            .args(["--signer-mode", "encrypted-fs", "--empty-block-interval-ms", "10"])
            .args(["--snapshot-interval", "10", "--max-snapshots", "2"])
            .arg("--genesis-path")
            .arg(self.path("genesis.json"))
            .arg("--signer-keystore-path")
            .arg(self.path("keystore"))
            .arg("--data-dir")
            .arg(data)
            .args(more)
            .env_clear()
            .env("QBIND_KEYSTORE_PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Node(child)
    }

    /// The height of the database in `data`, after looking at everything in it: its last block is
    /// there, and its accounts have the root that was stored with the block.
    fn height(&self, data: &Path) -> u64 {
        let store = Store::open(&data.join("state"), self.hash).expect("a database that opens");
        let mut loaded = store.load().expect("a database that can be read");
        let height = loaded.committed.as_ref().map_or(Height(0), |c| c.block.height);
        if height == Height(0) {
            return 0;
        }
        let params = Params::mainnet();
        let ledger = loaded.ledger(&self.genesis, params, height, &SerialRunner).expect("a ledger");
        let stored = store.commit_index(height).expect("a readable index");
        if let Some(index) = stored {
            assert_eq!(ledger.state_root(), index.state_root, "at height {height}");
        }
        height.0
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().rev().take(12).collect::<Vec<_>>().join("\n")
    }

    /// Waits until there is a snapshot of at least this height.
    fn wait_for_snapshot(&self, folder: &SnapshotFolder, height: u64) -> Height {
        let until = Instant::now() + PATIENCE;
        loop {
            let newest = folder.heights().unwrap_or_default().pop();
            if let Some(newest) = newest.filter(|h| h.0 >= height) {
                return newest;
            }
            assert!(Instant::now() < until, "no snapshot of {height}:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A process that does not outlive the test.
struct Node(Child);

impl Node {
    /// Ends a process that must still be running.
    fn kill_running(&mut self) {
        let ended = self.0.try_wait().expect("a child");
        self.kill();
        assert_eq!(ended, None, "it ended by itself");
    }

    fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().and_then(|()| self.0.wait()).map(drop).unwrap_or_default();
    }
}

fn partial(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.file_name()).any(|name| name.to_string_lossy().ends_with(".partial"))
}

#[test]
fn a_node_killed_while_it_takes_snapshots_goes_on_and_its_snapshots_are_whole() {
    let mut moments = Moments::new("while_it_takes_snapshots");
    let alone = Alone::new();
    let data = alone.path("data");
    let folder = SnapshotFolder::at(data.join("snapshots"));
    let mut node = alone.start(&data, &[]);
    let first = alone.wait_for_snapshot(&folder, 10);
    // From one to the next: how long one takes, and a wait for the next height.
    let begun = Instant::now();
    alone.wait_for_snapshot(&folder, first.0 + 10);
    let between = begun.elapsed() + POLL;
    node.kill();
    let (mut height, mut in_the_middle, mut validated) = (alone.height(&data), 0, 0);
    for kill in 0..kills() {
        let newest = folder.heights().expect("a folder").pop().map_or(0, |h| h.0);
        let mut node = alone.start(&data, &[]);
        // Past the start, which may take any time, into the next snapshots.
        alone.wait_for_snapshot(&folder, newest + 10);
        std::thread::sleep(moments.up_to(2 * between));
        node.kill();
        in_the_middle += u64::from(partial(&data) || partial(folder.dir()));
        let now = alone.height(&data);
        assert!(now >= height, "kill {kill}: height {now} after {height}");
        height = now;
        for taken in folder.heights().expect("a folder") {
            let dir = folder.snapshot(taken);
            let snapshot = Validated::open(&dir, Some(alone.hash));
            let snapshot = snapshot.unwrap_or_else(|e| panic!("kill {kill}: {taken}: {e}"));
            assert_eq!(snapshot.meta.height, taken);
            validated += 1;
        }
    }
    println!(
        "{} kills, {in_the_middle} of them within a snapshot; {validated} snapshots validated, \
         height {height}",
        kills()
    );
    assert!(in_the_middle * 10 >= kills(), "the moments miss what they are for");
    let mut node = alone.start(&data, &[]);
    alone.wait_for_snapshot(&folder, height + 10);
    node.kill();
    assert!(alone.height(&data) > height);
    let left = fs::read_dir(folder.dir()).expect("a folder").flatten().count();
    assert!(left <= 4, "{left} entries in the snapshot folder: the oldest go");
}

#[test]
fn a_node_killed_while_it_makes_its_database_of_a_snapshot_starts_again() {
    let mut moments = Moments::new("makes_its_database");
    let alone = Alone::new();
    let (data, target) = (alone.path("data"), alone.path("target"));
    let folder = SnapshotFolder::at(data.join("snapshots"));
    let mut node = alone.start(&data, &[]);
    let height = alone.wait_for_snapshot(&folder, 20);
    node.kill();
    let dir = alone.path("snapshot");
    fs::rename(folder.snapshot(height), &dir).expect("on one disk");
    let source = dir.to_str().expect("a text path");
    let flags = ["--fast-sync-snapshot-dir", source];
    // How long it takes undisturbed.
    let begun = Instant::now();
    let undisturbed = |node: &mut Node| {
        while !target.join("state").exists() {
            assert!(begun.elapsed() < PATIENCE, "no database:\n{}", alone.log());
            assert!(node.0.try_wait().expect("a child").is_none(), "{}", alone.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        begun.elapsed()
    };
    let mut node = alone.start(&target, &flags);
    let most = undisturbed(&mut node) + Duration::from_millis(200);
    node.kill();
    let (mut none, mut whole, mut within) = (0, 0, 0);
    for _ in 0..kills() {
        fs::remove_dir_all(&target).expect("it is there");
        let mut node = alone.start(&target, &flags);
        std::thread::sleep(moments.up_to(most));
        node.kill();
        within += u64::from(target.join("state.partial").exists());
        match target.join("state").exists() {
            true => {
                assert!(alone.height(&target) >= height.0);
                whole += 1;
            }
            false => none += 1,
        }
        fs::create_dir_all(&target).expect("a folder");
    }
    println!(
        "{} kills: {none} before the database, of those {within} within; {whole} after",
        kills()
    );
    let mut node = alone.start(&target, &flags);
    let until = Instant::now() + PATIENCE;
    while !target.join("state").exists() {
        assert!(Instant::now() < until, "no database:\n{}", alone.log());
        std::thread::sleep(POLL);
    }
    std::thread::sleep(POLL);
    node.kill();
    assert!(alone.height(&target) >= height.0);
    assert!(!target.join("state.partial").exists());
}

#[test]
fn an_archive_whose_unpacking_is_killed_leaves_a_whole_snapshot_or_none() {
    let mut moments = Moments::new("unpacking");
    let alone = Alone::new();
    let data = alone.path("data");
    let folder = SnapshotFolder::at(data.join("snapshots"));
    let mut node = alone.start(&data, &[]);
    let height = alone.wait_for_snapshot(&folder, 10);
    node.kill();
    let tool = program("qbind-snapshot");
    let (out, into) = (alone.path("out"), alone.path("into"));
    let packed = Command::new(&tool)
        .arg("pack")
        .arg(folder.snapshot(height))
        .arg("--output")
        .arg(&out)
        .status()
        .expect("the program starts");
    assert!(packed.success());
    let archive = out.join(format!("{height}.tar.gz"));
    let unpack = || {
        let child = Command::new(&tool)
            .arg("unpack")
            .arg(&archive)
            .arg("--into")
            .arg(&into)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Node(child.expect("the program starts"))
    };
    let begun = Instant::now();
    assert!(unpack().0.wait().expect("it ends").success());
    let most = begun.elapsed() + Duration::from_millis(2);
    let (mut none, mut whole, mut within) = (0, 0, 0);
    for kill in 0..kills() {
        fs::remove_dir_all(&into).expect("it is there");
        let mut process = unpack();
        std::thread::sleep(moments.up_to(most));
        process.kill();
        fs::create_dir_all(&into).expect("a folder");
        within += u64::from(partial(&into));
        let dir = into.join(height.to_string());
        if dir.exists() {
            Validated::open(&dir, Some(alone.hash)).unwrap_or_else(|e| panic!("kill {kill}: {e}"));
            whole += 1;
        } else {
            none += 1;
            // What was left is no obstacle.
            if kill % 10 == 0 {
                assert!(unpack().0.wait().expect("it ends").success());
                Validated::open(&dir, Some(alone.hash)).expect("whole");
            }
        }
    }
    println!(
        "{} kills: {none} before the snapshot, {within} of them within; {whole} after",
        kills()
    );
}

/// Heights of history that there are to delete.
const LONG: u64 = 2_000;
/// Heights that the prune tests leave.
const KEPT: u64 = 10;

/// Within which everything is deleted, from its beginning on.
const SOON: Duration = Duration::from_millis(40);

/// Waits for less than a millisecond more than it takes.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until a process that has opened the database in `data` writes to it, or ends: opening it begins
/// a new log.
fn await_write(data: &Path, process: &mut Node) {
    let logs = || -> BTreeMap<PathBuf, u64> {
        let entries = fs::read_dir(data.join("state")).into_iter().flatten().flatten();
        let is_log = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
        let paths = entries.map(|entry| entry.path()).filter(is_log);
        paths.map(|path| (path.clone(), fs::metadata(path).map_or(0, |m| m.len()))).collect()
    };
    let before = logs();
    wait("it writes", || {
        let is_new = |(path, bytes): (&PathBuf, &u64)| *bytes > 0 && !before.contains_key(path);
        logs().iter().any(is_new) || process.0.try_wait().expect("a child").is_some()
    });
}

/// Draws moments that are more and more within something short whose place is not known.
struct Aim {
    from: Duration,
    to: Duration,
}

impl Aim {
    fn draw(&self, moments: &mut Moments) -> Duration {
        self.from + moments.up_to(self.to.saturating_sub(self.from))
    }

    fn was_early(&mut self, moment: Duration) {
        self.from = (self.from + moment) / 2;
        // The machine may be slower now than it was.
        self.to += self.to / 50;
    }

    fn was_late(&mut self, moment: Duration) {
        self.to = (self.to + moment) / 2;
        self.from -= self.from / 50;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// The lowest height of the database in `data`, after looking at all its history: above it every block
/// with its index and batches, below it nothing but the blocks that end epochs.
fn history(alone: &Alone, data: &Path) -> u64 {
    let tip = alone.height(data);
    let store = Store::open(&data.join("state"), alone.hash).expect("a database that opens");
    let lowest = store.lowest().expect("readable").0;
    assert!(lowest <= tip, "the last block is never deleted");
    for height in (1..=tip).map(Height) {
        let committed = store.committed(height).expect("readable");
        let index = store.commit_index(height).expect("readable");
        let Some(committed) = committed else {
            assert!(height.0 < lowest && index.is_none(), "{height} of {lowest}..={tip}");
            continue;
        };
        let is_kept = height.0 >= lowest;
        assert!(is_kept || committed.block.ends_epoch(), "{height} of {lowest}..={tip}");
        assert_eq!(index.is_some(), is_kept, "index of {height} of {lowest}..={tip}");
        for batch in &committed.block.batches {
            let found = store.certified_batch(batch).expect("readable");
            assert_eq!(found.is_some(), is_kept, "batch of {height} of {lowest}..={tip}");
        }
    }
    lowest
}

#[test]
fn a_node_or_tool_killed_while_it_deletes_history_leaves_a_whole_history() {
    let mut moments = Moments::new("while_it_deletes_history");
    let alone = Alone::new();
    let (base, data) = (alone.path("base"), alone.path("data"));
    // No snapshots before the deleting: they would hold it back.
    let folder = SnapshotFolder::at(alone.path("none"));
    let elsewhere = folder.dir().to_str().expect("a text path");
    let mut node = alone.start(&base, &["--snapshot-dir", elsewhere]);
    for height in (100..=LONG).step_by(100) {
        alone.wait_for_snapshot(&folder, height);
    }
    node.kill_running();
    fs::remove_dir_all(folder.dir()).expect("it is there");
    let kept = KEPT.to_string();
    let request = data.join("requests/prune.json");
    // A node that deletes nothing until it is asked.
    let keeps = ["--snapshots-enabled", "false", "--state-retention-mode", "height"];
    let keeps = [&keeps[..], &["--state-retain-height", "1000000"]].concat();
    let tool = program("qbind-admin");
    let prune = || {
        let child = Command::new(&tool)
            .args(["prune-state", "--retain-height", &kept, "--data-dir"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Node(child.expect("the program starts"))
    };
    // What the key has signed belongs to the database.
    let (keystore, keys) = (alone.path("keystore"), alone.path("keys"));
    copy(&keystore, &keys);
    copy(&base, &data);
    assert!(prune().0.wait().expect("it ends").success());
    assert!(history(&alone, &data) + KEPT + 8 > LONG, "next to nothing was deleted");
    let (mut lowest, mut within, mut whole) = (LONG, [0, 0], 0);
    let mut aims = [SOON; 2].map(|to| Aim { from: Duration::ZERO, to });
    for kill in 0..kills() {
        // From the start again once everything is deleted, and after proving that the node goes on.
        if lowest + KEPT + 8 > LONG {
            for (from, to) in [(&base, &data), (&keys, &keystore)] {
                fs::remove_dir_all(to).expect("it is there");
                copy(from, to);
            }
            (lowest, whole) = (1, whole + 1);
        }
        let by_node = kill % 2 == 0;
        let which = usize::from(!by_node);
        let moment = aims[which].draw(&mut moments);
        let mut process;
        if by_node {
            process = alone.start(&data, &keeps);
            wait("it opens its database", || is_in_use(&data.join("state")).unwrap_or(false));
            let (mut tool, mut is_asked) = (prune(), false);
            wait("it begins", || {
                let waits = request.exists();
                is_asked |= waits;
                (is_asked && !waits) || tool.0.try_wait().expect("a child").is_some()
            });
            std::thread::sleep(moment);
            process.kill_running();
        } else {
            process = prune();
            await_write(&data, &mut process);
            std::thread::sleep(moment);
            process.kill();
        }
        let now = history(&alone, &data);
        assert!(now >= lowest, "kill {kill}: lowest height {now} after {lowest}");
        if now == lowest {
            aims[which].was_early(moment);
        } else if now + KEPT + 8 > LONG {
            aims[which].was_late(moment);
        } else {
            within[which] += 1;
        }
        lowest = now;
    }
    println!(
        "{} kills, {} of them within the node's deleting and {} within the tool's; {whole} times anew",
        kills(),
        within[0],
        within[1]
    );
    assert!(within.iter().sum::<u64>() * 10 >= kills(), "the moments miss what they are for");
    let height = alone.height(&data);
    let mut node = alone.start(&data, &[]);
    alone.wait_for_snapshot(&SnapshotFolder::at(data.join("snapshots")), height + 10);
    node.kill_running();
    history(&alone, &data);
}
