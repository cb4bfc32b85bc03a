//! The folder with all snapshots of a node.

use super::{Meta, SnapshotError, files};
use qbind_types::Height;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes a snapshot takes beside its accounts.
const BESIDE: u64 = 64 << 20;

/// A folder of snapshots, each named by its height.
#[derive(Debug, Clone)]
pub struct SnapshotFolder {
    dir: PathBuf,
}

impl SnapshotFolder {
    /// The folder at `dir`, which need not be there.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates it.
    ///
    /// # Errors
    /// The disk's fault, or missing permission.
    pub fn create(&self) -> Result<(), SnapshotError> {
        fs::create_dir_all(&self.dir).map_err(SnapshotError::io("create", &self.dir))
    }

    /// Creates it, and removes what an interrupted process left.
    ///
    /// # Errors
    /// The disk's fault, or missing permission.
    pub fn prepare(&self) -> Result<(), SnapshotError> {
        self.create()?;
        for name in self.names()? {
            let is_left = name.strip_prefix('.').is_some_and(|rest| {
                [".partial", ".removed"].iter().any(|end| {
                    rest.strip_suffix(end).is_some_and(|height| height.parse::<u64>().is_ok())
                })
            });
            if is_left {
                files::remove_tree(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                let path = self.dir.clone();
                return Err(SnapshotError::Io { what: "read the folder", path, source });
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(SnapshotError::io("read the folder", &self.dir))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// Heights of the snapshots in it, ascending.
    ///
    /// # Errors
    /// The disk's fault, or missing permission.
    pub fn heights(&self) -> Result<Vec<Height>, SnapshotError> {
        let names = self.names()?;
        let mut heights: Vec<Height> = names
            .iter()
            .filter_map(|name| name.parse().ok().filter(|h: &u64| h.to_string() == *name))
            .map(Height)
            .collect();
        heights.sort();
        Ok(heights)
    }

    /// The folder of one snapshot.
    pub fn snapshot(&self, height: Height) -> PathBuf {
        self.dir.join(height.to_string())
    }

    pub(super) fn partial(&self, height: Height) -> PathBuf {
        self.dir.join(format!(".{height}.partial"))
    }

    /// The newest snapshot, if there is one that says what it is.
    pub fn newest(&self) -> Option<Meta> {
        let heights = self.heights().ok()?;
        heights.into_iter().rev().find_map(|height| Meta::load(&self.snapshot(height)).ok())
    }

    /// Removes the oldest until `most` are left, never the one just `made`, whatever else lies here;
    /// returns what is gone.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn keep(&self, most: usize, made: Height) -> Result<Vec<Height>, SnapshotError> {
        let mut heights = self.heights()?;
        let surplus = heights.len().saturating_sub(most.max(1));
        heights.retain(|height| *height != made);
        heights.truncate(surplus);
        for height in &heights {
            // Out of the way first: a half removed snapshot must not look like one.
            let (path, gone) =
                (self.snapshot(*height), self.dir.join(format!(".{height}.removed")));
            fs::rename(&path, &gone).map_err(SnapshotError::io("remove", path))?;
            files::remove_tree(&gone)?;
        }
        Ok(heights)
    }

    /// Whether there is room for a snapshot of a state whose accounts take so many bytes: twice as
    /// much, since the files a snapshot shares with the database are its own once the database has
    /// rewritten them, and 64 MiB.
    ///
    /// # Errors
    /// There is not, or the disk cannot tell.
    pub fn check_space(&self, accounts_bytes: u64) -> Result<(), SnapshotError> {
        self.check_room(accounts_bytes.saturating_mul(2))
    }

    /// Whether there is room for so many bytes, and 64 MiB.
    ///
    /// # Errors
    /// There is not, or the disk cannot tell.
    pub fn check_room(&self, bytes: u64) -> Result<(), SnapshotError> {
        let needed = bytes.saturating_add(BESIDE);
        let free = free_bytes(&self.dir)?;
        if free >= needed {
            return Ok(());
        }
        Err(SnapshotError::Space { path: self.dir.clone(), free, needed })
    }
}

/// Bytes that a process without privileges may still write to the file system of `dir`.
fn free_bytes(dir: &Path) -> Result<u64, SnapshotError> {
    let stat = nix::sys::statvfs::statvfs(dir).map_err(|errno| SnapshotError::Io {
        what: "tell the free space of",
        path: dir.to_owned(),
        source: errno.into(),
    })?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}
