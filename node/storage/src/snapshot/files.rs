//! Files of a snapshot: names, sizes, digests, and fsync.

use super::{CERTIFIED, META_FILE, STATE, SnapshotError};
use aws_lc_rs::digest::{Context, SHA3_256};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Read at once while hashing.
const CHUNK: usize = 1 << 20;
/// Files of a snapshot.
const MOST_FILES: usize = 100_000;

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Relative to the snapshot, with `/`.
    pub path: String,
    /// Bytes.
    pub size_bytes: u64,
    /// SHA3-256, 64 hexadecimal digits.
    pub sha3_256: String,
}

/// What RocksDB writes beside the data: logs for people, and the lock of who has it open.
fn is_noise(name: &str) -> bool {
    name == "LOCK" || name.starts_with("LOG")
}

/// SHA3-256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// The disk's fault.
pub fn digest_of(path: &Path) -> Result<String, SnapshotError> {
    let mut file = File::open(path).map_err(SnapshotError::io("open", path))?;
    let (mut sha3, mut chunk) = (Context::new(&SHA3_256), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk).map_err(SnapshotError::io("read", path))? {
            0 => return Ok(hex::encode(sha3.finish())),
            read => sha3.update(&chunk[..read]),
        }
    }
}

/// Names of the files in `dir` that are part of the snapshot, in order.
fn names(dir: &Path) -> Result<Vec<String>, SnapshotError> {
    let mut found = Vec::new();
    for (folder, prefix) in [(dir.to_owned(), ""), (dir.join(STATE), "state/")] {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !prefix.is_empty() => continue,
            Err(source) => {
                return Err(SnapshotError::Io { what: "read the folder", path: folder, source });
            }
        };
        for entry in entries {
            let entry = entry.map_err(SnapshotError::io("read the folder", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(SnapshotError::io("look at", entry.path()))?;
            let is_own = prefix.is_empty() && (name == META_FILE || name == STATE);
            if is_own || (!prefix.is_empty() && is_noise(&name)) {
                continue;
            }
            if !kind.is_file() || found.len() == MOST_FILES {
                return Err(SnapshotError::Unlisted { file: format!("{prefix}{name}") });
            }
            found.push(format!("{prefix}{name}"));
        }
    }
    found.sort();
    Ok(found)
}

/// Every file of the snapshot in `dir` with its digest; makes each durable. Ends early when told to.
pub(super) fn list_and_sync(
    dir: &Path,
    stop: &AtomicBool,
) -> Result<Vec<FileEntry>, SnapshotError> {
    let mut entries = Vec::new();
    for path in names(dir)? {
        if stop.load(Ordering::Relaxed) {
            return Err(SnapshotError::Stopped);
        }
        let file = dir.join(&path);
        let opened = File::open(&file).map_err(SnapshotError::io("open", &file))?;
        opened.sync_all().map_err(SnapshotError::io("sync", &file))?;
        let size_bytes = opened.metadata().map_err(SnapshotError::io("look at", &file))?.len();
        entries.push(FileEntry { size_bytes, sha3_256: digest_of(&file)?, path });
    }
    sync_dir(&dir.join(STATE))?;
    Ok(entries)
}

/// Whether the files of the snapshot in `dir` are those listed, to the last byte.
pub(super) fn check(dir: &Path, listed: &[FileEntry]) -> Result<(), SnapshotError> {
    let found: BTreeSet<String> = names(dir)?.into_iter().collect();
    let listed: BTreeMap<&str, &FileEntry> = listed.iter().map(|e| (&*e.path, e)).collect();
    let missing = |file: &str| SnapshotError::Missing { file: file.to_owned() };
    if let Some(name) = listed.keys().find(|name| !found.contains(**name)) {
        return Err(missing(name));
    }
    for name in found {
        let Some(entry) = listed.get(&*name) else {
            return Err(SnapshotError::Unlisted { file: name });
        };
        let path = dir.join(&name);
        let size = fs::metadata(&path).map_err(SnapshotError::io("look at", &path))?.len();
        if size != entry.size_bytes {
            let (found, expected) = (size, entry.size_bytes);
            return Err(SnapshotError::Size { file: name, found, expected });
        }
        if digest_of(&path)? != entry.sha3_256 {
            return Err(SnapshotError::Digest { file: name });
        }
    }
    if listed.contains_key(CERTIFIED) { Ok(()) } else { Err(missing(CERTIFIED)) }
}

/// Removes what RocksDB wrote beside the data.
pub(super) fn remove_noise(state: &Path) -> Result<(), SnapshotError> {
    let entries = fs::read_dir(state).map_err(SnapshotError::io("read the folder", state))?;
    for entry in entries {
        let entry = entry.map_err(SnapshotError::io("read the folder", state))?;
        if is_noise(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(SnapshotError::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Writes a file and makes it durable; its name is durable after [`sync_dir`].
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    use std::io::Write;
    let mut file = File::create(path).map_err(SnapshotError::io("create", path))?;
    file.write_all(bytes).map_err(SnapshotError::io("write", path))?;
    file.sync_all().map_err(SnapshotError::io("sync", path))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The disk's fault.
pub fn sync_dir(dir: &Path) -> Result<(), SnapshotError> {
    let folder = File::open(dir).map_err(SnapshotError::io("open the folder", dir))?;
    folder.sync_all().map_err(SnapshotError::io("sync the folder", dir))
}

/// Moves a folder of files; copies them where it lies on another file system.
pub(super) fn move_folder(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    match fs::rename(from, to) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {}
        Err(source) => {
            return Err(SnapshotError::Io { what: "move to", path: to.to_owned(), source });
        }
    }
    fs::create_dir(to).map_err(SnapshotError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(SnapshotError::io("read the folder", from))? {
        let entry = entry.map_err(SnapshotError::io("read the folder", from))?;
        let target = to.join(entry.file_name());
        fs::copy(entry.path(), &target).map_err(SnapshotError::io("copy to", &target))?;
    }
    remove_tree(from)
}

/// Removes a folder, if it is there.
pub(super) fn remove_tree(dir: &Path) -> Result<(), SnapshotError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(SnapshotError::Io { what: "remove", path: dir.to_owned(), source: e })
        }
        _ => Ok(()),
    }
}
