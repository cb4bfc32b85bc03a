//! When history goes while a node runs, for whom it stays, and what is counted.

use super::*;
use crate::retention::blocks::{new_store, write_blocks};
use qbind_profile::Profile;

struct Bench {
    dir: tempfile::TempDir,
    run: Run,
}

impl Bench {
    /// A node that keeps fifty heights and looks every ten.
    fn new(network: Network, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(new_store(&dir.path().join(DATABASE), network));
        let mut config = Profile::Devnet.preset();
        config.state_retention_mode = StateRetentionMode::Height;
        (config.state_retain_height, config.state_prune_interval) = (50, 10);
        change(&mut config);
        let metrics = Arc::new(Metrics::new(&config, &[1]));
        let data_dir = dir.path().to_owned();
        let worker = Worker { data_dir, network, store, reach: Arc::default(), metrics };
        Self { dir, run: Run::new(&config, worker) }
    }

    fn commit(&mut self, heights: std::ops::RangeInclusive<u64>) -> Height {
        let is_snapshot_taken = false;
        let store = self.run.worker.store.clone();
        for height in heights {
            write_blocks(&store, height..=height);
            self.run.turn(Wake { tip: Height(height), is_snapshot_taken });
        }
        self.lowest()
    }

    fn lowest(&self) -> Height {
        self.run.worker.store.lowest().expect("readable")
    }

    fn ask(&mut self, tip: u64, retain_height: u64) -> PruneAnswer {
        let (schema, id) = (PruneRequest::SCHEMA.to_owned(), "7".to_owned());
        let request = PruneRequest { schema, id, retain_height };
        requests::ask(self.dir.path(), PruneRequest::NAME, &request).expect("written");
        self.run.turn(Wake { tip: Height(tip), is_snapshot_taken: false });
        let answer = requests::answered(self.dir.path(), PruneRequest::NAME);
        answer.expect("readable").expect("answered")
    }
}

#[test]
fn history_goes_at_the_interval_and_every_number_moves() {
    let mut bench = Bench::new(Network::Devnet, |_| {});
    assert_eq!(bench.commit(1..=99), Height(40));
    assert_eq!(bench.commit(100..=109), Height(50), "once in ten heights");
    let text = bench.run.worker.metrics.render();
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    };
    assert!(value("qbind_state_size_bytes") > 0);
    assert_eq!(value("qbind_state_prune_runs_total"), 11);
    // Of 49 heights a block and its index, but for the last blocks of two epochs.
    assert_eq!(value("qbind_state_prune_keys_pruned_total"), 2 * 49 - 2);
    assert!(value("qbind_state_prune_keys_scanned_total") >= 49);
    assert!(value("qbind_state_prune_duration_ms_total") > 0);
    assert_eq!(value("qbind_state_prune_last_height"), 50);
    assert_eq!(bench.run.worker.reach.lowest(), Height(50), "for peers to be told");
}

#[test]
fn an_archival_node_keeps_everything() {
    let mut bench = Bench::new(Network::Devnet, |config| {
        config.state_retention_mode = StateRetentionMode::Disabled;
    });
    assert_eq!(bench.commit(1..=200), Height(1));
    let answer = bench.ask(200, 20);
    assert_eq!((answer.state, bench.lowest()), (PruneState::Refused, Height(1)));
    assert!(answer.error.expect("a reason").contains("state_retention_mode is disabled"));
}

#[test]
fn history_stays_for_snapshots_and_for_peers_that_catch_up() {
    let mut bench = Bench::new(Network::Devnet, |_| {});
    std::fs::create_dir_all(bench.dir.path().join("snapshots/30")).expect("made");
    assert_eq!(bench.commit(1..=130), Height(31));
    // Further back than twice what is kept, it holds nothing back any more.
    assert_eq!(bench.commit(131..=140), Height(90));
    std::fs::remove_dir(bench.dir.path().join("snapshots/30")).expect("removed");
    bench.run.worker.reach.set_slowest_peer(Some(Height(94)));
    assert_eq!(bench.commit(141..=150), Height(95));
    assert_eq!(bench.commit(151..=170), Height(95));
    bench.run.worker.reach.set_slowest_peer(None);
    assert_eq!(bench.commit(171..=180), Height(130));
}

#[test]
fn nothing_goes_while_a_snapshot_is_taken() {
    let mut bench = Bench::new(Network::Devnet, |_| {});
    write_blocks(&bench.run.worker.store, 1..=100);
    bench.run.turn(Wake { tip: Height(100), is_snapshot_taken: true });
    assert_eq!(bench.lowest(), Height(1));
    bench.run.turn(Wake { tip: Height(100), is_snapshot_taken: false });
    assert_eq!(bench.lowest(), Height(50));
}

#[test]
fn an_operator_may_keep_less_for_once_but_not_too_little() {
    let mut bench = Bench::new(Network::Devnet, |_| {});
    assert_eq!(bench.commit(1..=200), Height(150));
    let answer = bench.ask(205, 10);
    // The epoch under way began at 201.
    assert_eq!((answer.state, answer.lowest_height), (PruneState::Done, 195));
    assert_eq!((answer.id.as_str(), answer.error), ("7", None));
    assert_eq!(answer.heights, 45);
    assert!(answer.bytes_before > 0 && answer.bytes_after > 0);
    let mut bench = Bench::new(Network::Mainnet, |_| {});
    write_blocks(&bench.run.worker.store, 1..=40);
    let answer = bench.ask(40, 9_999);
    assert_eq!(answer.state, PruneState::Refused);
    assert!(answer.error.expect("a reason").contains("pass --retain-height 10000"));
}
