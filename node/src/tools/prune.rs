//! `prune-state`: deletes old history now, through the running node or in its stopped database.

use super::{ToolError, explain};
use crate::{
    requests::{self, PruneAnswer, PruneRequest, PruneState},
    retention::{Needs, dir_bytes},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use qbind_ledger::Genesis;
use qbind_storage::{Pruned, SnapshotFolder, Store, is_in_use};
use qbind_types::Height;
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `prune-state`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Heights to keep; never fewer than what the snapshots here need, and than the epoch under way
    #[arg(long, value_name = "N")]
    retain_height: u64,
    /// The snapshots that must stay useful, if they are not in <data_dir>/snapshots; a running node
    /// knows its own
    #[arg(long, value_name = "DIR")]
    snapshot_dir: Option<PathBuf>,
    /// Seconds to wait for a running node
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    wait: u64,
}

/// Deletes history below the last `retain_height` heights and says what is gone.
///
/// # Errors
/// No database is there, it is damaged, the node refuses or does not answer.
pub fn prune_state(args: &PruneArgs) -> Result<String, ToolError> {
    let shown = args.data_dir.display();
    let database = args.data_dir.join("state");
    if !database.is_dir() {
        return Err(ToolError::usage(format!(
            "{shown} is no node's data directory: it has no folder state"
        )));
    }
    let in_use = is_in_use(&database)
        .map_err(|e| ToolError::usage(format!("cannot tell whether a node uses {shown}: {e}")))?;
    if in_use { ask(args, &database) } else { prune_here(args, &database) }
}

fn prune_here(args: &PruneArgs, database: &Path) -> Result<String, ToolError> {
    let fault = |e: &dyn std::error::Error| ToolError::usage(explain(e));
    let store = Store::open_found(database).map_err(|e| fault(&e))?;
    let file = store.genesis_file().map_err(|e| fault(&e))?.unwrap_or_default();
    let genesis = Genesis::parse(&file).map_err(|e| fault(&e))?;
    if let Some(why) = PruneRequest::objection(genesis.network, args.retain_height) {
        return Err(ToolError::refused(why));
    }
    let snapshots = args.snapshot_dir.clone().unwrap_or(args.data_dir.join("snapshots"));
    let needs = Needs {
        tip: store.height().map_err(|e| fault(&e))?,
        retain: args.retain_height,
        snapshots: SnapshotFolder::at(snapshots).heights().map_err(|e| fault(&e))?,
        slowest_peer: None,
        hopeless_below: Height(0),
    };
    let floor = store.prunable(needs.floor()).map_err(|e| fault(&e))?;
    let before = dir_bytes(database);
    let mut done = Pruned { lowest: store.lowest().map_err(|e| fault(&e))?, ..Pruned::default() };
    let bar = bar(floor.0.saturating_sub(done.lowest.0));
    let midway = |e| {
        let why = explain(&e);
        ToolError::refused(format!("{why}; what was deleted is deleted, ask again for the rest"))
    };
    while let Some(step) = store.prune_step(floor).map_err(midway)? {
        done.add(&step);
        bar.set_position(done.heights);
    }
    bar.set_message("giving room back to the disk");
    store.reclaim().map_err(midway)?;
    drop(store);
    bar.finish_and_clear();
    let mut said = text(done.heights, done.deleted, done.lowest.0, before, dir_bytes(database));
    if let Some(oldest) = needs.oldest_snapshot()
        && oldest.next() == needs.floor()
    {
        said +=
            &format!("The snapshot of height {oldest} needs the rest; remove it to delete more\n");
    }
    Ok(said)
}

fn ask(args: &PruneArgs, database: &Path) -> Result<String, ToolError> {
    let shown = args.data_dir.display();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("{}-{}", std::process::id(), since.as_nanos());
    let schema = PruneRequest::SCHEMA.to_owned();
    let retain_height = args.retain_height;
    let request = PruneRequest { schema, id: id.clone(), retain_height };
    let fault = |e| ToolError::usage(format!("cannot ask through {shown}/requests: {e}"));
    requests::ask(&args.data_dir, PruneRequest::NAME, &request).map_err(fault)?;
    let until = Instant::now() + Duration::from_secs(args.wait);
    let bar = bar(0);
    loop {
        // Asked first: a node that has answered may stop at once.
        let has_stopped = !is_in_use(database).unwrap_or(true);
        let found: Option<PruneAnswer> =
            requests::answered(&args.data_dir, PruneRequest::NAME).map_err(fault)?;
        match found.filter(|answer| answer.id == id) {
            Some(a) if a.state == PruneState::Done => {
                bar.finish_and_clear();
                let mut answer =
                    text(a.heights, a.keys, a.lowest_height, a.bytes_before, a.bytes_after);
                if let Some(why) = a.error {
                    answer += &format!("the room is not given back to the disk yet: {why}\n");
                }
                return Ok(answer);
            }
            Some(a) if a.state == PruneState::Refused => {
                bar.finish_and_clear();
                let why = a.error.unwrap_or_else(|| "the node does not say why".to_owned());
                return Err(ToolError::refused(format!("the node did not prune: {why}")));
            }
            Some(a) => bar.set_position(a.heights),
            None => {}
        }
        if has_stopped {
            requests::withdraw(&args.data_dir, PruneRequest::NAME).map_err(fault)?;
            return Err(ToolError::refused(
                "the node has stopped; what was deleted is deleted: ask again".to_owned(),
            ));
        }
        if Instant::now() >= until {
            requests::withdraw(&args.data_dir, PruneRequest::NAME).map_err(fault)?;
            return Err(ToolError::refused(format!(
                "no answer after {} s; does the chain go on? What was deleted is deleted, ask again",
                args.wait
            )));
        }
        thread::sleep(LOOK);
    }
}

fn bar(heights: u64) -> ProgressBar {
    let bar = ProgressBar::new(heights);
    let template = match heights {
        0 => "{spinner} {pos} heights deleted {msg}",
        _ => "{bar:40} {pos}/{len} heights deleted {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn text(heights: u64, keys: u64, lowest: u64, before: u64, after: u64) -> String {
    format!(
        "Deleted: {heights} heights, {keys} keys\n\
         Lowest height left: {}\n\
         Size of state: {before} bytes before, {after} bytes after\n",
        Height(lowest.max(1)),
    )
}

#[cfg(test)]
mod tests;
