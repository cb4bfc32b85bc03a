//! `fetch`: the newest snapshot of a static file server.

use super::archive::{ArchiveError, Latest, unpack};
use indicatif::ProgressBar;
use qbind_storage::{SnapshotError, SnapshotFolder, digest_of};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

/// Asked for at once: what a broken connection costs at most.
const PART: u64 = 8 << 20;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Slowest server that is waited for where it hands over the whole file only, in bytes a second.
const SLOWEST: u64 = 32 << 10;
/// Times a part is asked for before the fetch is given up; the next one goes on from there.
const ATTEMPTS: u32 = 3;
/// Largest `latest.json`.
const LATEST_BYTES: u64 = 64 << 10;
/// Less than that within [`PATIENCE`] is a server that does not answer.
const LEAST: u64 = 1 << 20;
/// What an archive is called while it comes.
const DRAFT: &str = ".fetched-";
/// Read at once.
const CHUNK: usize = 256 << 10;

/// Why a snapshot cannot be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Not an address that can be asked.
    #[error(
        "UNSUPPORTED: {url}: only http is spoken here, for what makes a snapshot trustworthy is its \
         chain's certificates; fetch it with wget, then unpack and validate it"
    )]
    Scheme {
        /// The address.
        url: String,
    },
    /// The server does not answer.
    #[error("{url} does not answer: {reason}; is it the address of a snapshot server?")]
    Unreachable {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The server answers with something else.
    #[error("{url} is not what a snapshot server has: {reason}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be unpacked.
    #[error("what {url} has cannot be used")]
    Archive {
        /// The address.
        url: String,
        /// Why not.
        #[source]
        source: Box<ArchiveError>,
    },
    /// There is no room for it here.
    #[error("what {url} has cannot be stored")]
    Room {
        /// The address.
        url: String,
        /// Why not.
        #[source]
        source: Box<SnapshotError>,
    },
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
}

impl FetchError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Room { .. } | Self::Io { .. })
    }
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io { what, path, source }
}

struct Server {
    agent: ureq::Agent,
}

/// What is stored of an archive that comes.
struct Draft<'a> {
    file: &'a mut File,
    path: &'a Path,
    have: &'a mut u64,
}

/// Fetches the newest snapshot of the server at `url` into a folder below `into`, and returns it; it
/// is still to be validated. A fetch that was interrupted goes on where it was.
///
/// # Errors
/// The operator's fault (no such address), the server's, or the disk's.
pub fn fetch(url: &str, into: &Path, bar: Option<&ProgressBar>) -> Result<PathBuf, FetchError> {
    if !url.starts_with("http://") {
        return Err(FetchError::Scheme { url: url.to_owned() });
    }
    let base = url.strip_suffix(Latest::FILE).unwrap_or(url).trim_end_matches('/');
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        .build();
    let server = Server { agent: config.into() };
    fs::create_dir_all(into).map_err(io("create", into))?;
    let latest = server.latest(base)?;
    let there = into.join(latest.height.to_string());
    if there.exists() {
        return Ok(there);
    }
    let address = format!("{base}/{}", latest.file);
    let draft = into.join(format!("{DRAFT}{}.tar.gz", &latest.sha3_256[..16]));
    forget_others(into, &draft);
    // The archive and what comes out of it, but for what an earlier fetch has stored.
    let have = fs::metadata(&draft).map_or(0, |found| found.len());
    let needed = latest.size_bytes.saturating_mul(2).saturating_sub(have);
    let room = SnapshotFolder::at(into).check_room(needed);
    room.map_err(|source| FetchError::Room { url: address.clone(), source: source.into() })?;
    server.download(&address, &latest, &draft, bar)?;
    let found = digest_of(&draft).map_err(|e| FetchError::Answer {
        url: address.clone(),
        reason: crate::tools::explain(&e),
    })?;
    if found != latest.sha3_256 {
        // Going on from wrong bytes would never end well.
        fs::remove_file(&draft).map_err(io("remove", &draft))?;
        let reason = format!("it has SHA3-256 {found}, and latest.json says {}", latest.sha3_256);
        return Err(FetchError::Answer { url: address, reason });
    }
    let unpacked = unpack(&draft, into, None, |_| {});
    fs::remove_file(&draft).map_err(io("remove", &draft))?;
    unpacked.map_err(|source| FetchError::Archive { url: address, source: source.into() })
}

/// Removes what earlier fetches have begun of other archives. What cannot be removed is in nobody's way.
fn forget_others(into: &Path, draft: &Path) {
    for entry in fs::read_dir(into).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_draft = name.to_string_lossy().starts_with(DRAFT);
        if is_draft && entry.path() != draft {
            fs::remove_file(entry.path()).unwrap_or_default();
        }
    }
}

impl Server {
    fn get(
        &self,
        url: &str,
        range: Option<(u64, u64)>,
        patience: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, FetchError> {
        let mut request = self.agent.get(url);
        if let Some((from, to)) = range {
            request = request.header("range", format!("bytes={from}-{to}"));
        }
        let request = request.config().timeout_recv_body(Some(patience)).build();
        let unreachable =
            |e: ureq::Error| FetchError::Unreachable { url: url.to_owned(), reason: e.to_string() };
        request.call().map_err(unreachable)
    }

    fn latest(&self, base: &str) -> Result<Latest, FetchError> {
        let url = format!("{base}/{}", Latest::FILE);
        let wrong = |reason: String| FetchError::Answer { url: url.clone(), reason };
        let mut answer = self.get(&url, None, PATIENCE)?;
        if answer.status() != 200 {
            return Err(wrong(format!("status {}", answer.status())));
        }
        let body = answer.body_mut().with_config().limit(LATEST_BYTES).read_to_vec();
        let body = body.map_err(|e| wrong(e.to_string()))?;
        let latest: Latest = serde_json::from_slice(&body).map_err(|e| wrong(e.to_string()))?;
        let is_digest = latest.sha3_256.len() == 64
            && latest.sha3_256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if latest.schema != Latest::SCHEMA {
            return Err(wrong(format!("schema {}", latest.schema)));
        }
        if latest.file != Latest::archive(latest.height) || !is_digest {
            return Err(wrong("its file or sha3_256 is none".to_owned()));
        }
        Ok(latest)
    }

    /// Part by part, from where an earlier fetch ended.
    fn download(
        &self,
        url: &str,
        latest: &Latest,
        draft: &Path,
        bar: Option<&ProgressBar>,
    ) -> Result<(), FetchError> {
        let opened = File::options().create(true).append(true).open(draft);
        let mut file = opened.map_err(io("create", draft))?;
        let mut have = file.metadata().map_err(io("look at", draft))?.len();
        if have > latest.size_bytes {
            file.set_len(0).map_err(io("empty", draft))?;
            have = 0;
        }
        if let Some(bar) = bar {
            bar.set_length(latest.size_bytes);
            bar.set_position(have);
        }
        let (mut attempts, mut in_parts) = (0, true);
        while have < latest.size_bytes {
            let before = have;
            let to = Draft { file: &mut file, path: draft, have: &mut have };
            let got = self.part(url, latest, to, &mut in_parts, bar);
            match got {
                Ok(()) => attempts = 0,
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => {
                    attempts = if have >= before + LEAST { 1 } else { attempts + 1 };
                    if attempts >= ATTEMPTS {
                        return Err(error);
                    }
                }
            }
        }
        file.sync_all().map_err(io("sync", draft))
    }

    fn part(
        &self,
        url: &str,
        latest: &Latest,
        to: Draft<'_>,
        in_parts: &mut bool,
        bar: Option<&ProgressBar>,
    ) -> Result<(), FetchError> {
        let Draft { file, path: draft, have } = to;
        let end = latest.size_bytes.min(have.saturating_add(PART));
        let mut answer = if *in_parts {
            self.get(url, Some((*have, end - 1)), PATIENCE)?
        } else {
            self.get(url, None, PATIENCE + Duration::from_secs(latest.size_bytes / SLOWEST))?
        };
        let wrong = |reason: String| FetchError::Answer { url: url.to_owned(), reason };
        let most = match answer.status().as_u16() {
            206 => end - *have,
            // This server knows no parts: it is asked for the whole, and waited for as long as that takes.
            200 if *in_parts => {
                *in_parts = false;
                return Ok(());
            }
            200 => {
                file.set_len(0).map_err(io("empty", draft))?;
                *have = 0;
                latest.size_bytes
            }
            status @ (429 | 500..) => {
                let reason = format!("status {status}");
                return Err(FetchError::Unreachable { url: url.to_owned(), reason });
            }
            status => return Err(wrong(format!("status {status}"))),
        };
        let mut body = answer.body_mut().with_config().limit(most).reader();
        let (mut chunk, mut left) = (vec![0; CHUNK], most);
        while left > 0 {
            let take = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let unreachable = |e: io::Error| FetchError::Unreachable {
                url: url.to_owned(),
                reason: e.to_string(),
            };
            let read = body.read(&mut chunk[..take]).map_err(unreachable)?;
            if read == 0 {
                return Err(unreachable(io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_all(&chunk[..read]).map_err(io("write", draft))?;
            left -= read as u64;
            *have += read as u64;
            if let Some(bar) = bar {
                bar.set_position(*have);
            }
        }
        Ok(())
    }
}
