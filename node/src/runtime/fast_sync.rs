//! A node without a chain starts from a snapshot instead of from genesis.

use super::unix_now;
use crate::{
    GenesisFile, NodeError,
    tools::snapshot::{FetchError, fetch},
};
use qbind_profile::NodeConfig;
use qbind_storage::{Meta, SnapshotError, SnapshotFolder, Validated, clear_leftovers};
use std::path::{Path, PathBuf};

/// Where a snapshot of a server is kept until the database is made of it.
const FETCHED: &str = "fetched";

/// Makes the database of a validated snapshot, if there is none and the operator named one.
///
/// # Errors
/// The operator's fault: what was named is no snapshot of this chain; or the world's: disk, server.
pub(super) fn fast_sync(
    config: &NodeConfig,
    data_dir: &Path,
    genesis: &GenesisFile,
) -> Result<(), NodeError> {
    clear_leftovers(data_dir)
        .map_err(|e| NodeError::transient("cannot clear the data directory").because(e))?;
    let has_chain = data_dir.join("state").exists();
    let fetched = data_dir.join(FETCHED);
    if has_chain && fetched.exists() {
        forget(&fetched);
    }
    let Some(source) = config.fast_sync_snapshot_dir.as_deref() else { return Ok(()) };
    if has_chain {
        tracing::info!(source, "there is a chain in data_dir; the snapshot is not needed");
        return Ok(());
    }
    let is_remote = source.contains("://");
    let named = |error| of_snapshot(source, error);
    let dir = if is_remote {
        tracing::info!(source, "fetching the newest snapshot");
        fetch(source, &fetched, None).map_err(|e| of_fetch(source, e))?
    } else {
        newest(Path::new(source)).map_err(named)?
    };
    tracing::info!(dir = %dir.display(), "validating the snapshot");
    let snapshot = Validated::open(&dir, Some(genesis.hash)).inspect_err(|_| {
        // The server may have a better one of this height by the next start.
        if is_remote {
            std::fs::remove_dir_all(&dir).unwrap_or_default();
        }
    });
    let snapshot = snapshot.map_err(named)?;
    snapshot.install(data_dir, unix_now()).map_err(named)?;
    let Meta { height, accounts, state_root, .. } = &snapshot.meta;
    let (height, root) = (height.0, state_root.to_string());
    tracing::info!(height, accounts, root, "the database is made of the snapshot");
    drop(snapshot);
    if is_remote {
        forget(&fetched);
    }
    Ok(())
}

/// Removes what was fetched, once the database is made of it.
fn forget(fetched: &Path) {
    if let Err(error) = std::fs::remove_dir_all(fetched) {
        tracing::warn!(%error, "the fetched snapshot cannot be removed");
    }
}

/// The snapshot in `dir`, or the newest of those in it.
fn newest(dir: &Path) -> Result<PathBuf, SnapshotError> {
    if dir.join(qbind_storage::META_FILE).exists() {
        return Ok(dir.to_owned());
    }
    let folder = SnapshotFolder::at(dir);
    let last = folder.heights()?.pop();
    Ok(last.map_or_else(|| dir.to_owned(), |height| folder.snapshot(height)))
}

/// A disk may recover; a wrong snapshot stays wrong.
fn of_snapshot(source: &str, error: SnapshotError) -> NodeError {
    let message = format!(
        "cannot start from fast_sync_snapshot_dir {source}; look at `qbind-snapshot validate`, or \
         start without it"
    );
    match error {
        SnapshotError::Io { .. } => NodeError::transient(message).because(error),
        _ => NodeError::configuration(message).because(error),
    }
}

fn of_fetch(source: &str, error: FetchError) -> NodeError {
    let message = format!("cannot fetch the snapshot of fast_sync_snapshot_dir {source}");
    match error.is_transient() {
        true => NodeError::transient(message).because(error),
        false => NodeError::configuration(message).because(error),
    }
}
