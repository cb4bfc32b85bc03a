//! `create`: a snapshot on request.

use crate::{
    requests::{self, SnapshotAnswer, SnapshotRequest},
    tools::ToolError,
};
use qbind_storage::is_in_use;
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The snapshot's folder.
    pub path: PathBuf,
}

/// Asks the node that runs on `data_dir` for a snapshot at its next checkpoint height, and waits.
///
/// # Errors
/// No node runs there, it does not answer in time, or it could not take one.
pub fn create(data_dir: &Path, wait: Duration) -> Result<Asked, ToolError> {
    let shown = data_dir.display();
    let database = data_dir.join("state");
    if !database.is_dir() {
        return Err(ToolError::usage(format!("{shown} is no node's data directory")));
    }
    let in_use = is_in_use(&database)
        .map_err(|e| ToolError::usage(format!("cannot tell whether a node uses {shown}: {e}")))?;
    if !in_use {
        return Err(ToolError::refused(format!(
            "no node runs on {shown}, and only a later block certifies a state: start the node, \
             which takes the snapshot at its next height that is a multiple of 10"
        )));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("{}-{}", std::process::id(), since.as_nanos());
    let schema = SnapshotRequest::SCHEMA.to_owned();
    let request = SnapshotRequest { schema, id: id.clone() };
    let fault = |e| ToolError::usage(format!("cannot ask through {shown}/requests: {e}"));
    requests::ask(data_dir, SnapshotRequest::NAME, &request).map_err(fault)?;
    let until = Instant::now() + wait;
    loop {
        let found: Option<SnapshotAnswer> =
            requests::answered(data_dir, SnapshotRequest::NAME).map_err(fault)?;
        match found.filter(|answer| answer.id == id) {
            Some(SnapshotAnswer { path: Some(path), .. }) => return Ok(Asked { path }),
            Some(SnapshotAnswer { error, .. }) => {
                let why = error.unwrap_or_else(|| "the node does not say why".to_owned());
                return Err(ToolError::refused(format!("the node took no snapshot: {why}")));
            }
            None if Instant::now() >= until => {
                requests::withdraw(data_dir, SnapshotRequest::NAME).map_err(fault)?;
                return Err(ToolError::refused(format!(
                    "no answer after {} s; does the chain go on?",
                    wait.as_secs()
                )));
            }
            None => thread::sleep(LOOK),
        }
    }
}
