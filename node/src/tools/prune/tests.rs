//! What the tool does where no node runs.

use super::*;
use crate::retention::blocks::{new_store, write_blocks};
use qbind_types::Network;

fn args(dir: &Path, retain_height: u64) -> PruneArgs {
    PruneArgs { data_dir: dir.to_owned(), retain_height, snapshot_dir: None, wait: 0 }
}

#[test]
fn a_stopped_nodes_history_is_deleted_and_the_rest_opens() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = new_store(&dir.path().join("state"), Network::Devnet);
    write_blocks(&store, 1..=300);
    drop(store);
    let answer = prune_state(&args(dir.path(), 50)).expect("pruned");
    assert!(
        answer.starts_with("Deleted: 249 heights, 486 keys\nLowest height left: 250\n"),
        "{answer}"
    );
    let store = Store::open_found(&dir.path().join("state")).expect("whole");
    assert_eq!(store.lowest().expect("readable"), Height(250));
    assert!(store.committed(Height(249)).expect("readable").is_none());
    assert!(store.committed(Height(250)).expect("readable").is_some());
    drop(store);
    let again = prune_state(&args(dir.path(), 50)).expect("nothing to do");
    assert!(again.starts_with("Deleted: 0 heights, 0 keys\nLowest height left: 250\n"), "{again}");
}

#[test]
fn what_a_snapshot_needs_stays() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_blocks(&new_store(&dir.path().join("state"), Network::Devnet), 1..=100);
    std::fs::create_dir_all(dir.path().join("snapshots/20")).expect("made");
    let answer = prune_state(&args(dir.path(), 10)).expect("pruned");
    assert!(answer.contains("Lowest height left: 21\n"), "{answer}");
    assert!(
        answer.ends_with("The snapshot of height 20 needs the rest; remove it to delete more\n")
    );
}

#[test]
fn no_database_and_too_little_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert!(prune_state(&args(dir.path(), 50)).is_err());
    write_blocks(&new_store(&dir.path().join("state"), Network::Mainnet), 1..=100);
    assert!(prune_state(&args(dir.path(), 9_999)).is_err());
    let store = Store::open_found(&dir.path().join("state")).expect("whole");
    assert_eq!(store.lowest().expect("readable"), Height(1));
}
