//! `pack` and `unpack`.

use super::tar::{self, BLOCK, Entry};
use aws_lc_rs::digest::{Context, SHA3_256};
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use qbind_storage::{META_FILE, Meta, STATE, SnapshotError, SnapshotFolder, digest_of, sync_dir};
use qbind_types::{BlockId, Height, Millis, StateRoot};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Files in an archive.
const MOST_FILES: usize = 100_000;
/// Bytes of all of them.
const MOST_BYTES: u64 = 4 << 40;
/// What is unpacked, in times of what is packed; the state is compressed already.
const MOST_RATIO: u64 = 8;
/// Small archives may be as sparse as they like.
const FREE_BYTES: u64 = 16 << 20;
/// Read at once.
const CHUNK: usize = 256 << 10;
/// Of speed and size: the accounts are compressed already.
const LEVEL: Compression = Compression::fast();

/// Why a snapshot cannot be packed or unpacked.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The disk, or missing permission.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no snapshot, or a damaged one.
    #[error("{} cannot be packed", path.display())]
    Snapshot {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SnapshotError,
    },
    /// A file's bytes are not those listed.
    #[error("{file} is damaged: its bytes are not those that were written")]
    Damaged {
        /// Relative to the snapshot.
        file: String,
    },
    /// The archive is not the one announced.
    #[error("{} has SHA3-256 {found}, expected {expected}", path.display())]
    Digest {
        /// Where.
        path: PathBuf,
        /// Of its bytes.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// There is no room for it.
    #[error("{} cannot be unpacked", path.display())]
    Room {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SnapshotError,
    },
    /// It is no archive of a snapshot.
    #[error("{} is no archive of a snapshot: {reason}", path.display())]
    Form {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// That snapshot is there.
    #[error("{} is there already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
}

/// `latest.json` of a snapshot server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    /// Form of this file.
    pub schema: String,
    /// Of the newest snapshot.
    pub height: Height,
    /// Its block.
    pub block_hash: BlockId,
    /// Root of its state.
    pub state_root: StateRoot,
    /// The network's number.
    pub chain_id: u64,
    /// The archive's name, beside this file.
    pub file: String,
    /// The archive's bytes.
    pub size_bytes: u64,
    /// The archive's SHA3-256, 64 hexadecimal digits.
    pub sha3_256: String,
    /// When the snapshot was made.
    pub created_at_unix_ms: Millis,
}

impl Latest {
    pub(super) const SCHEMA: &'static str = "qbind.snapshot-latest/v1";
    /// Its name.
    pub const FILE: &'static str = "latest.json";

    /// The only name an archive has.
    pub(super) fn archive(height: Height) -> String {
        format!("{height}.tar.gz")
    }
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { what, path, source }
}

/// Writes and hashes.
struct Hashed<W> {
    inner: W,
    sha3: Context,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sha3.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Packs the snapshot in `dir` into `out`, for a static file server, and says so in `latest.json`
/// unless that names a newer one.
///
/// # Errors
/// It is no snapshot or damaged; or the disk's fault.
pub fn pack(dir: &Path, out: &Path) -> Result<Latest, ArchiveError> {
    let fault = |source| ArchiveError::Snapshot { path: dir.to_owned(), source };
    let meta = Meta::load(dir).map_err(fault)?;
    fs::create_dir_all(out).map_err(io("create", out))?;
    let file = Latest::archive(meta.height);
    let (to, partial) = (out.join(&file), out.join(format!(".{file}.partial")));
    let target = File::create(&partial).map_err(io("create", &partial))?;
    let hashed = Hashed { inner: target, sha3: Context::new(&SHA3_256), bytes: 0 };
    let mut gz = GzEncoder::new(hashed, LEVEL);
    let written = write_all(dir, &meta, &mut gz, &partial);
    let finished = written.and_then(|()| gz.finish().map_err(io("write", &partial)));
    let hashed = finished.inspect_err(|_| {
        // The first error says more than this one could.
        fs::remove_file(&partial).unwrap_or_default();
    })?;
    hashed.inner.sync_all().map_err(io("sync", &partial))?;
    fs::rename(&partial, &to).map_err(io("move to", &to))?;
    // What announces it must not be there without it.
    sync_dir(out).map_err(fault)?;
    let latest = Latest {
        schema: Latest::SCHEMA.to_owned(),
        height: meta.height,
        block_hash: meta.block_hash,
        state_root: meta.state_root,
        chain_id: meta.chain_id,
        file,
        size_bytes: hashed.bytes,
        sha3_256: hex::encode(hashed.sha3.finish()),
        created_at_unix_ms: meta.created_at_unix_ms,
    };
    announce(out, &latest)?;
    sync_dir(out).map_err(fault)?;
    Ok(latest)
}

fn announce(out: &Path, latest: &Latest) -> Result<(), ArchiveError> {
    let path = out.join(Latest::FILE);
    let known = fs::read(&path).ok().and_then(|b| serde_json::from_slice::<Latest>(&b).ok());
    if known.is_some_and(|k| k.chain_id == latest.chain_id && k.height > latest.height) {
        return Ok(());
    }
    let partial = out.join(".latest.json.partial");
    let mut text = serde_json::to_vec_pretty(latest).expect("plain data serialises");
    text.push(b'\n');
    let mut file = File::create(&partial).map_err(io("create", &partial))?;
    file.write_all(&text).map_err(io("write", &partial))?;
    file.sync_all().map_err(io("sync", &partial))?;
    fs::rename(&partial, &path).map_err(io("move to", &path))
}

fn write_all(
    dir: &Path,
    meta: &Meta,
    to: &mut impl Write,
    partial: &Path,
) -> Result<(), ArchiveError> {
    let top = meta.height.to_string();
    let begin = |to: &mut dyn Write, entry: Entry| {
        let reason = "a file's name or size does not fit".to_owned();
        let path = dir.to_owned();
        let header = tar::header(&entry).ok_or(ArchiveError::Form { path, reason })?;
        to.write_all(&header).map_err(io("write", partial))
    };
    begin(to, Entry::Folder { name: top.clone() })?;
    begin(to, Entry::Folder { name: format!("{top}/{STATE}") })?;
    let described = dir.join(META_FILE);
    let size = fs::metadata(&described).map_err(io("look at", &described))?.len();
    let listed = meta.files.iter().map(|f| (&*f.path, f.size_bytes, Some(&f.sha3_256)));
    for (name, size, expected) in [(META_FILE, size, None)].into_iter().chain(listed) {
        begin(to, Entry::File { name: format!("{top}/{name}"), size })?;
        let path = dir.join(name);
        let mut file = File::open(&path).map_err(io("open", &path))?;
        let (mut sha3, mut left) = (Context::new(&SHA3_256), size);
        let mut chunk = vec![0; CHUNK];
        let damaged = || ArchiveError::Damaged { file: name.to_owned() };
        while left > 0 {
            let most = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let read = file.read(&mut chunk[..most]).map_err(io("read", &path))?;
            if read == 0 {
                return Err(damaged());
            }
            sha3.update(&chunk[..read]);
            to.write_all(&chunk[..read]).map_err(io("write", partial))?;
            left -= read as u64;
        }
        if expected.is_some_and(|expected| hex::encode(sha3.finish()) != *expected) {
            return Err(damaged());
        }
        let padding = (BLOCK - usize::try_from(size % BLOCK as u64).unwrap_or(0)) % BLOCK;
        to.write_all(&[0; BLOCK][..padding]).map_err(io("write", partial))?;
    }
    begin(to, Entry::End)?;
    begin(to, Entry::End)
}

/// Unpacks an archive into `into/<height>`, which is there whole and durable or not at all; what is in
/// it is still to be validated. `seen` hears of the bytes read.
///
/// # Errors
/// It is no archive of a snapshot, not the one expected, or too large; or the disk's fault.
pub fn unpack(
    archive: &Path,
    into: &Path,
    sha3_256: Option<&str>,
    mut seen: impl FnMut(u64),
) -> Result<PathBuf, ArchiveError> {
    if let Some(expected) = sha3_256 {
        let found = digest_of(archive)
            .map_err(|source| ArchiveError::Snapshot { path: archive.to_owned(), source })?;
        let expected = expected.trim_start_matches("0x").to_ascii_lowercase();
        if found != expected {
            return Err(ArchiveError::Digest { path: archive.to_owned(), found, expected });
        }
    }
    let file = File::open(archive).map_err(io("open", archive))?;
    let packed = file.metadata().map_err(io("look at", archive))?.len();
    fs::create_dir_all(into).map_err(io("create", into))?;
    let most = packed.saturating_mul(MOST_RATIO).clamp(FREE_BYTES, MOST_BYTES);
    let mut unpacking = Unpacking {
        archive,
        into,
        from: GzDecoder::new(BufReader::new(file)),
        left: most,
        folder: None,
        names: BTreeSet::new(),
    };
    let done = unpacking.run(&mut seen);
    if done.is_err()
        && let Some((_, partial)) = &unpacking.folder
    {
        // The first error says more than this one could.
        fs::remove_dir_all(partial).unwrap_or_default();
    }
    done
}

struct Unpacking<'a> {
    archive: &'a Path,
    into: &'a Path,
    from: GzDecoder<BufReader<File>>,
    /// Bytes that may still come.
    left: u64,
    /// The top folder's name, and where it is made.
    folder: Option<(String, PathBuf)>,
    names: BTreeSet<String>,
}

impl Unpacking<'_> {
    fn form(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Form { path: self.archive.to_owned(), reason: reason.into() }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        let wanted = bytes.len() as u64;
        self.left = self
            .left
            .checked_sub(wanted)
            .ok_or_else(|| self.form("it holds far more than a snapshot of its size can"))?;
        self.from.read_exact(bytes).map_err(|e| self.form(format!("it ends early: {e}")))
    }

    fn run(&mut self, seen: &mut impl FnMut(u64)) -> Result<PathBuf, ArchiveError> {
        let mut block = [0; BLOCK];
        loop {
            self.read(&mut block)?;
            match tar::parse(&block).map_err(|reason| self.form(reason))? {
                Entry::End => break,
                Entry::Folder { name } => drop(self.place(&name, true)?),
                Entry::File { name, size } => {
                    let path = self.place(&name, false)?;
                    self.file(&path, size, seen)?;
                }
            }
        }
        self.end()
    }

    /// Where an entry belongs: `<height>`, `<height>/state`, or a file in one of them.
    fn place(&mut self, name: &str, is_folder: bool) -> Result<PathBuf, ArchiveError> {
        if self.names.len() >= MOST_FILES || !self.names.insert(name.to_owned()) {
            return Err(self.form(format!("`{name}` is there twice, or there are too many files")));
        }
        let is_plain = |part: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
        };
        let mut parts = name.split('/');
        let top = parts.next().unwrap_or_default().to_owned();
        let rest: Vec<&str> = parts.collect();
        let is_height = top.parse().is_ok_and(|h: u64| h.to_string() == top);
        let fits = match (rest.as_slice(), is_folder) {
            ([], true) | ([STATE], true) => true,
            ([file], false) => is_plain(file) && *file != STATE,
            ([STATE, file], false) => is_plain(file),
            _ => false,
        };
        if !is_height || !fits {
            return Err(self.form(format!("`{name}` is no part of a snapshot")));
        }
        let partial = match &self.folder {
            Some((known, partial)) if *known == top => partial.clone(),
            Some((known, _)) => {
                return Err(self.form(format!("it holds two folders, {known} and {top}")));
            }
            None => self.begin(top)?,
        };
        Ok(rest.iter().fold(partial, |path, part| path.join(part)))
    }

    fn begin(&mut self, top: String) -> Result<PathBuf, ArchiveError> {
        let to = self.into.join(&top);
        if to.exists() {
            return Err(ArchiveError::Exists { path: to });
        }
        // Of another name than what a node that uses this folder would clear away.
        let partial = self.into.join(format!(".{top}.unpacked.partial"));
        match fs::remove_dir_all(&partial) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove", &partial)(e));
            }
            _ => {}
        }
        let state = partial.join(STATE);
        self.folder = Some((top, partial.clone()));
        fs::create_dir_all(&state).map_err(io("create", &state))?;
        Ok(partial)
    }

    fn file(
        &mut self,
        path: &Path,
        size: u64,
        seen: &mut impl FnMut(u64),
    ) -> Result<(), ArchiveError> {
        let room = SnapshotFolder::at(self.into).check_room(size.min(self.left));
        room.map_err(|source| ArchiveError::Room { path: self.archive.to_owned(), source })?;
        let created = File::options().write(true).create_new(true).open(path);
        let mut file = created.map_err(io("create", path))?;
        let (mut left, mut chunk) = (size, vec![0; CHUNK]);
        while left > 0 {
            let most = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            self.read(&mut chunk[..most])?;
            file.write_all(&chunk[..most]).map_err(io("write", path))?;
            left -= most as u64;
            seen(most as u64);
        }
        file.sync_all().map_err(io("sync", path))?;
        let padding = (BLOCK - usize::try_from(size % BLOCK as u64).unwrap_or(0)) % BLOCK;
        self.read(&mut chunk[..padding])
    }

    /// Only zeros may follow, in the archive, and nothing after it.
    fn end(&mut self) -> Result<PathBuf, ArchiveError> {
        let mut chunk = [0; BLOCK];
        loop {
            match self.from.read(&mut chunk).map_err(|e| self.form(e.to_string()))? {
                0 => break,
                read if chunk[..read].iter().all(|b| *b == 0) && self.left >= read as u64 => {
                    self.left -= read as u64;
                }
                _ => return Err(self.form("something follows its end")),
            }
        }
        let trailing = self.from.get_mut().read(&mut chunk).map_err(io("read", self.archive))?;
        if trailing > 0 {
            return Err(self.form("something follows its end"));
        }
        let Some((top, partial)) = self.folder.clone() else {
            return Err(self.form("it is empty"));
        };
        let to = self.into.join(top);
        let fault = |source| ArchiveError::Snapshot { path: partial.clone(), source };
        sync_dir(&partial.join(STATE)).map_err(fault)?;
        sync_dir(&partial).map_err(fault)?;
        fs::rename(&partial, &to).map_err(io("move to", &to))?;
        sync_dir(self.into).map_err(fault)?;
        Ok(to)
    }
}
