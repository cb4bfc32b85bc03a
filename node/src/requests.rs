//! What an operator's tool asks of a running node: a file in `data_dir/requests`, answered by another.
//!
//! The tool writes `NAME.json` under another name and moves it, so the node reads it whole or not at
//! all; the node removes it and answers with `NAME.result.json` in the same way.

use qbind_types::Network;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Largest file of either kind.
const MAX_BYTES: u64 = 64 << 10;

/// Asks for a snapshot at the next checkpoint height.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Form of this file.
    pub schema: String,
    /// Comes back with the answer.
    pub id: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    /// Form of this file.
    pub schema: String,
    /// Of the request.
    pub id: String,
    /// The snapshot's folder.
    pub path: Option<PathBuf>,
    /// Why there is none.
    pub error: Option<String>,
}

impl SnapshotRequest {
    /// Form of the request.
    pub const SCHEMA: &'static str = "qbind.snapshot-request/v1";
    /// Form of the answer.
    pub const ANSWER: &'static str = "qbind.snapshot-answer/v1";
    /// Name of the request.
    pub const NAME: &'static str = "snapshot";
}

/// Asks for history to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Form of this file.
    pub schema: String,
    /// Comes back with the answer.
    pub id: String,
    /// Heights to keep.
    pub retain_height: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PruneState {
    /// Under way.
    Running,
    /// Done.
    Done,
    /// Not done, or not to its end.
    Refused,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneAnswer {
    /// Form of this file.
    pub schema: String,
    /// Of the request.
    pub id: String,
    /// How far it is.
    pub state: PruneState,
    /// Heights whose history was deleted.
    pub heights: u64,
    /// Keys deleted.
    pub keys: u64,
    /// The lowest height left.
    pub lowest_height: u64,
    /// Size of the database when it began.
    pub bytes_before: u64,
    /// Size of the database now.
    pub bytes_after: u64,
    /// Why it was not done.
    pub error: Option<String>,
}

impl PruneRequest {
    /// Form of the request.
    pub const SCHEMA: &'static str = "qbind.prune-request/v1";
    /// Form of the answer.
    pub const ANSWER: &'static str = "qbind.prune-answer/v1";
    /// Name of the request.
    pub const NAME: &'static str = "prune";
    /// Heights a node of MainNet keeps at least.
    pub const MAINNET_FLOOR: u64 = 10_000;

    /// Why no node of this network may keep so little.
    pub fn objection(network: Network, retain_height: u64) -> Option<String> {
        let floor = Self::MAINNET_FLOOR;
        let is_less = network == Network::Mainnet && retain_height < floor;
        is_less.then(|| {
            format!("MainNet nodes keep at least {floor} heights; pass --retain-height {floor}")
        })
    }
}

fn path(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("requests").join(name)
}

fn write(data_dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let to = path(data_dir, name);
    let draft = to.with_extension("json.partial");
    fs::create_dir_all(to.parent().unwrap_or(data_dir))?;
    fs::write(&draft, serde_json::to_vec_pretty(value)?)?;
    fs::rename(draft, to)
}

fn read<T: DeserializeOwned>(data_dir: &Path, name: &str) -> io::Result<Option<T>> {
    let path = path(data_dir, name);
    match fs::metadata(&path) {
        Ok(found) if found.len() > MAX_BYTES => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    }
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}

/// Asks; an older answer is removed first.
///
/// # Errors
/// The disk's fault, or missing permission.
pub fn ask(data_dir: &Path, name: &str, request: &impl Serialize) -> io::Result<()> {
    remove(data_dir, &format!("{name}.result.json"))?;
    write(data_dir, &format!("{name}.json"), request)
}

/// Takes a request away to work on it.
///
/// # Errors
/// The disk's fault, or the file is none; it is gone all the same.
pub fn take<T: DeserializeOwned>(data_dir: &Path, name: &str) -> io::Result<Option<T>> {
    let name = format!("{name}.json");
    let request = read(data_dir, &name);
    if !matches!(request, Ok(None)) {
        remove(data_dir, &name)?;
    }
    request
}

/// Answers.
///
/// # Errors
/// The disk's fault, or missing permission.
pub fn answer(data_dir: &Path, name: &str, answer: &impl Serialize) -> io::Result<()> {
    write(data_dir, &format!("{name}.result.json"), answer)
}

/// The answer, if there is one.
///
/// # Errors
/// The disk's fault, or the file is none.
pub fn answered<T: DeserializeOwned>(data_dir: &Path, name: &str) -> io::Result<Option<T>> {
    read(data_dir, &format!("{name}.result.json"))
}

/// Takes a request back that nobody has taken.
///
/// # Errors
/// The disk's fault, or missing permission.
pub fn withdraw(data_dir: &Path, name: &str) -> io::Result<()> {
    remove(data_dir, &format!("{name}.json"))
}

fn remove(data_dir: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(path(data_dir, name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_answered() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (dir, name) = (dir.path(), SnapshotRequest::NAME);
        let schema = SnapshotRequest::SCHEMA.to_owned();
        let request = SnapshotRequest { schema, id: "7".to_owned() };
        assert!(take::<SnapshotRequest>(dir, name).expect("nothing there").is_none());
        ask(dir, name, &request).expect("written");
        assert_eq!(take(dir, name).expect("readable"), Some(request.clone()));
        assert!(take::<SnapshotRequest>(dir, name).expect("nothing there").is_none());
        let schema = SnapshotRequest::ANSWER.to_owned();
        let path = Some(PathBuf::from("/s/10"));
        let given = SnapshotAnswer { schema, id: request.id.clone(), path, error: None };
        answer(dir, name, &given).expect("written");
        assert_eq!(answered(dir, name).expect("readable"), Some(given));
        ask(dir, name, &request).expect("written");
        assert!(answered::<SnapshotAnswer>(dir, name).expect("removed").is_none());
    }

    #[test]
    fn a_mainnet_node_keeps_its_ten_thousand_heights() {
        assert!(PruneRequest::objection(Network::Mainnet, 9_999).is_some());
        assert_eq!(PruneRequest::objection(Network::Mainnet, 10_000), None);
        assert_eq!(PruneRequest::objection(Network::Devnet, 1), None);
    }

    #[test]
    fn a_file_that_is_no_request_is_refused_and_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (dir, name) = (dir.path(), SnapshotRequest::NAME);
        ask(dir, name, &"something else").expect("written");
        assert!(take::<SnapshotRequest>(dir, name).is_err());
        assert!(take::<SnapshotRequest>(dir, name).expect("gone").is_none());
    }
}
