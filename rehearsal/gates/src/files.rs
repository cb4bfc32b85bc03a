//! Where the raw files of a run lie: in a directory, or one after another in a single file.

use crate::{
    records::paths,
    series::{Names, Samples},
};
use qbind_plan::Plan;
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most bytes of one file: a day of commit feed is a few hundred megabytes.
const FILE_BYTES: u64 = 1 << 30;
/// Most bytes of a body of metrics; a node exports some 34,000.
const BODY_BYTES: u64 = 1 << 20;
/// Most bytes of a plan.
const PLAN_BYTES: u64 = 16 << 20;
/// Bodies that are read at a time.
const BODIES: usize = 256;

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

/// Packs files as they come.
#[derive(Debug)]
pub struct Packer {
    packed: Packed,
    out: BufWriter<File>,
    end: u64,
    bodies: Vec<(String, Vec<u8>)>,
    /// The plan as far as it came; in the order of names it comes before all bodies.
    plan: Vec<u8>,
    names: Option<Names>,
}

impl Packer {
    /// Into this file, which is empty.
    ///
    /// # Errors
    /// The world's fault: it cannot be opened a second time.
    pub fn new(file: File) -> io::Result<Self> {
        let out = BufWriter::with_capacity(1 << 20, file.try_clone()?);
        let (parts, scrapes) = (BTreeMap::new(), BTreeMap::new());
        let packed = Packed { file: Arc::new(file), parts, scrapes };
        Ok(Self { packed, out, end: 0, bodies: Vec::new(), plan: Vec::new(), names: None })
    }

    /// Takes the next piece of a file of this many bytes; one file after another, an empty one with one empty
    /// piece.
    ///
    /// # Errors
    /// The world's fault: the disk is full.
    pub fn take(&mut self, name: &str, bytes: u64, piece: &[u8]) -> io::Result<()> {
        let is_body = name.starts_with("scrapes/") && name.ends_with(".txt");
        if is_body && bytes > BODY_BYTES {
            self.packed.scrapes.insert(name.to_owned(), Err(too_large()));
            return Ok(());
        }
        if is_body {
            match self.bodies.last_mut() {
                Some((last, body)) if last == name => body.extend_from_slice(piece),
                _ => {
                    if self.bodies.len() == BODIES {
                        self.read();
                    }
                    self.bodies.push((name.to_owned(), piece.to_vec()));
                }
            }
            return Ok(());
        }
        if name == paths::PLAN && bytes <= PLAN_BYTES {
            self.plan.extend_from_slice(piece);
        }
        if !self.packed.parts.contains_key(name) {
            self.packed.parts.insert(name.to_owned(), (self.end, bytes));
            self.end += bytes;
        }
        self.out.write_all(piece)
    }

    fn read(&mut self) {
        let names = self.names.get_or_insert_with(|| {
            let text = std::str::from_utf8(&self.plan).unwrap_or_default();
            // A plan that is none adds no gates.
            Plan::parse(paths::PLAN, text)
                .map_or_else(|_| Names::default(), |plan| Names::with(&plan.added_gates))
        });
        let bodies = std::mem::take(&mut self.bodies);
        let read = bodies.into_par_iter().map(|(name, body)| (name, samples(&body, names)));
        self.packed.scrapes.extend(read.collect::<Vec<_>>());
    }

    /// All files are there.
    ///
    /// # Errors
    /// The world's fault: the disk is full.
    pub fn finish(mut self) -> io::Result<Files> {
        self.read();
        self.out.flush()?;
        Ok(Files::Packed(self.packed))
    }
}
