//! Where the raw files of a run lie: in a directory, or one after another in a single file.

use crate::{
    records::paths,
    series::{Names, Samples},
};
use qbind_plan::Plan;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use thiserror::Error;

/// Most bytes of one file: a day of commit feed is a few hundred megabytes.
const FILE_BYTES: u64 = 1 << 30;
/// Most bytes of a body of metrics; a node exports some 34,000.
const BODY_BYTES: u64 = 1 << 20;
/// Most bytes that are kept of all bodies of a packed run: an hour of a hundred nodes has 60 MB.
const SERIES_BYTES: usize = 1 << 30;

/// The raw files of a run.
#[derive(Debug)]
pub enum Files {
    /// Below this directory.
    Dir(PathBuf),
    /// Packed into one file.
    Packed(Packed),
}

impl Files {
    /// The bytes of a file; nothing if it does not exist. Bodies of metrics are not kept in a packed run.
    ///
    /// # Errors
    /// In words: it is none that evidence may have, or cannot be read.
    pub fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let place = self.locate(path)?;
        place.map(|place| place.read()).transpose().map_err(|e| e.to_string())
    }

    /// Where a file lies; nothing if it does not exist.
    pub(crate) fn locate(&self, path: &str) -> Result<Option<Place>, String> {
        match self {
            Self::Dir(dir) => locate(dir, path),
            Self::Packed(packed) => match packed.parts.get(path) {
                Some((_, bytes)) if *bytes > FILE_BYTES => Err(too_large()),
                Some(&(at, bytes)) => {
                    Ok(Some(Place::Part { file: packed.file.clone(), at, bytes }))
                }
                None => Ok(None),
            },
        }
    }

    /// Names of the files in a folder that end like this, without the ending, in order.
    pub(crate) fn names(&self, folder: &str, ending: &str) -> Vec<String> {
        let stem = |name: &str| name.strip_suffix(ending).map(str::to_owned);
        match self {
            Self::Dir(dir) => {
                let Ok(entries) = fs::read_dir(dir.join(folder)) else { return Vec::new() };
                let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
                let mut names: Vec<String> = names.filter_map(|name| stem(&name)).collect();
                names.sort();
                names
            }
            Self::Packed(packed) => {
                let folder = format!("{folder}/");
                let from = packed.parts.range(folder.clone()..);
                from.map_while(|(path, _)| path.strip_prefix(&folder))
                    .filter(|name| !name.contains('/'))
                    .filter_map(stem)
                    .collect()
            }
        }
    }

    /// The series of a `/metrics` body; nothing if there is none.
    pub(crate) fn scrape(&self, path: &str, names: &Names) -> Result<Option<Samples>, String> {
        match self {
            // Read with the names of the plan in the same bundle.
            Self::Packed(packed) => packed.scrapes.get(path).cloned().transpose(),
            Self::Dir(_) => match self.locate(path)? {
                Some(Place::File(full)) if is_huge(&full) => Err(too_large()),
                Some(place) => samples(&place.read().map_err(|e| e.to_string())?, names).map(Some),
                None => Ok(None),
            },
        }
    }
}

fn is_huge(body: &Path) -> bool {
    fs::metadata(body).is_ok_and(|meta| meta.len() > BODY_BYTES)
}

fn samples(body: &[u8], names: &Names) -> Result<Samples, String> {
    let text = std::str::from_utf8(body).map_err(|_| "is not UTF-8".to_owned())?;
    names.parse(text).map_err(|e| e.to_string())
}

fn too_large() -> String {
    "is larger than any evidence".to_owned()
}

fn locate(dir: &Path, path: &str) -> Result<Option<Place>, String> {
    // Node names come out of the evidence itself and may be hostile.
    if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("leads out of the evidence".to_owned());
    }
    let full = dir.join(path);
    match fs::symlink_metadata(&full) {
        Ok(meta) if !meta.is_file() => Err("is no regular file".to_owned()),
        Ok(meta) if meta.len() > FILE_BYTES => Err(too_large()),
        Ok(_) => Ok(Some(Place::File(full))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

/// Where the bytes of one file of the evidence lie.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file of its own.
    File(PathBuf),
    /// In a stretch of another.
    Part {
        /// Which.
        file: Arc<File>,
        /// From this byte on.
        at: u64,
        /// So many.
        bytes: u64,
    },
}

impl Place {
    /// The bytes.
    ///
    /// # Errors
    /// The world's fault: they cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::Part { file, at, bytes } => {
                let mut read = vec![0; usize::try_from(*bytes).map_err(io::Error::other)?];
                file.read_exact_at(&mut read, *at)?;
                Ok(read)
            }
        }
    }
}

/// Files one after another in one: a directory for each of a hundred thousand would keep a file system busy
/// for longer than the judging takes. Bodies of metrics are read as they come, and not kept.
#[derive(Debug)]
pub struct Packed {
    file: Arc<File>,
    /// Where each begins, and how long it is.
    parts: BTreeMap<String, (u64, u64)>,
    scrapes: BTreeMap<String, Result<Samples, String>>,
}

/// Why files cannot be packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// The world's fault.
    #[error("no room for the files of the bundle")]
    Io(#[from] io::Error),
    /// The run's.
    #[error("its metrics take more than {} MiB", SERIES_BYTES >> 20)]
    Metrics,
}

/// Packs files as they come, from several threads.
#[derive(Debug)]
pub struct Packer {
    file: File,
    /// The plan as far as it came; in the order of names it comes before all bodies.
    plan: Mutex<Vec<u8>>,
    names: OnceLock<Names>,
    packing: Mutex<Packing>,
}

#[derive(Debug, Default)]
struct Packing {
    parts: BTreeMap<String, (u64, u64)>,
    end: u64,
    /// A file that comes in pieces, and where its next one goes.
    growing: Option<(String, u64)>,
    scrapes: BTreeMap<String, Result<Samples, String>>,
    /// Bytes of the series in them.
    series_bytes: usize,
    /// Why nothing is packed any more.
    failed: Option<PackError>,
}

impl Packing {
    fn body(&mut self, name: &str, read: Result<Samples, String>) {
        self.series_bytes += read.as_ref().map_or(0, Samples::bytes);
        if self.series_bytes > SERIES_BYTES {
            self.failed.get_or_insert(PackError::Metrics);
            self.scrapes.clear();
            return;
        }
        self.scrapes.insert(name.to_owned(), read);
    }

    /// Where the next piece of this file goes.
    fn place(&mut self, name: &str, bytes: u64, piece: u64) -> u64 {
        if let Some((growing, at)) = &mut self.growing
            && growing == name
        {
            return std::mem::replace(at, *at + piece);
        }
        let at = self.end;
        self.end += bytes;
        self.parts.insert(name.to_owned(), (at, bytes));
        if piece < bytes {
            self.growing = Some((name.to_owned(), at + piece));
        }
        at
    }
}

impl Packer {
    /// Into this file, which is empty.
    pub fn new(file: File) -> Self {
        let (plan, names, packing) = Default::default();
        Self { file, plan, names, packing }
    }

    /// Takes the next piece of a file of this many bytes. One of more than 8 MiB comes in pieces, in order and
    /// one such file after another; any other comes whole.
    pub fn take(&self, name: &str, bytes: u64, piece: &[u8]) {
        if lock(&self.packing).failed.is_some() {
            return;
        }
        if name.starts_with("scrapes/") && name.ends_with(".txt") {
            let read = match bytes > BODY_BYTES {
                true => Err(too_large()),
                false => samples(piece, self.names.get_or_init(|| self.names())),
            };
            lock(&self.packing).body(name, read);
            return;
        }
        if name == paths::PLAN {
            lock(&self.plan).extend_from_slice(piece);
        }
        let at = lock(&self.packing).place(name, bytes, piece.len() as u64);
        if let Err(error) = self.file.write_all_at(piece, at) {
            lock(&self.packing).failed.get_or_insert(PackError::Io(error));
        }
    }

    /// What the plan wants read; one that is none adds no gates.
    fn names(&self) -> Names {
        let plan = lock(&self.plan);
        let text = std::str::from_utf8(&plan).unwrap_or_default();
        Plan::parse(paths::PLAN, text)
            .map_or_else(|_| Names::default(), |plan| Names::with(&plan.added_gates))
    }

    /// All files are there.
    ///
    /// # Errors
    /// The world's fault: the disk is full. Or the run's: it has more metrics than are kept.
    pub fn finish(self) -> Result<Files, PackError> {
        let packing = self.packing.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Packing { parts, scrapes, failed, .. } = packing;
        match failed {
            Some(error) => Err(error),
            None => Ok(Files::Packed(Packed { file: Arc::new(self.file), parts, scrapes })),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_metrics_than_are_kept_are_no_run() {
        let body =
            || Names::default().parse("qbind_p2p_connected_peers 8\n").map_err(|_| String::new());
        let bytes = body().unwrap_or_default().bytes();
        assert!(bytes > 0);
        let mut packing = Packing { series_bytes: SERIES_BYTES - bytes, ..Packing::default() };
        packing.body("scrapes/a/0001.txt", body());
        assert!(packing.failed.is_none() && packing.scrapes.len() == 1);
        packing.body("scrapes/a/0002.txt", body());
        assert!(matches!(packing.failed, Some(PackError::Metrics)));
        assert!(packing.scrapes.is_empty());
    }
}
