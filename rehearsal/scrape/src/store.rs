//! Files of the evidence, written as they come.

use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The evidence cannot be written: the operator's disk or directory.
#[derive(Debug, Error)]
#[error("cannot write {}: check space and permissions", path.display())]
pub struct StoreError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Writes a file in one go, so that a reader never sees half of it.
pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = dir.join(name);
    let failed = |source| StoreError { path: path.clone(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &path)).map_err(failed)
}

/// A file of JSON lines; each line is handed to the kernel whole.
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens for appending, with its folder.
    pub(crate) fn open(dir: &Path, name: &str) -> Result<Self, StoreError> {
        let path = dir.join(name);
        let failed = |source| StoreError { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        Ok(Self { path, file })
    }

    pub(crate) fn push<T: Serialize>(&mut self, line: &T) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec(line).expect("records hold strings and numbers only");
        text.push(b'\n');
        self.file.write_all(&text).map_err(|source| StoreError { path: self.path.clone(), source })
    }
}
