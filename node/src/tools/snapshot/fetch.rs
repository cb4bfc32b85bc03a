//! `fetch`: the newest snapshot of a static file server.

use super::archive::{ArchiveError, Latest, unpack};
use indicatif::ProgressBar;
use qbind_storage::digest_of;
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
        source: ArchiveError,
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
        matches!(self, Self::Unreachable { .. } | Self::Io { .. })
    }
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io { what, path, source }
}

struct Server {
    agent: ureq::Agent,
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
    let draft = into.join(format!(".fetched-{}.tar.gz", &latest.sha3_256[..16]));
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
    unpacked.map_err(|source| FetchError::Archive { url: address, source })
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
        let mut attempts = 0;
        while have < latest.size_bytes {
            let before = have;
            let got = self.part(url, latest, &mut file, draft, &mut have, bar);
            match got {
                Ok(()) => attempts = 0,
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => {
                    attempts = if have > before { 1 } else { attempts + 1 };
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
        file: &mut File,
        draft: &Path,
        have: &mut u64,
        bar: Option<&ProgressBar>,
    ) -> Result<(), FetchError> {
        let end = latest.size_bytes.min(have.saturating_add(PART));
        let whole = PATIENCE + Duration::from_secs(latest.size_bytes / SLOWEST);
        let mut answer = self.get(url, Some((*have, end - 1)), whole)?;
        let wrong = |reason: String| FetchError::Answer { url: url.to_owned(), reason };
        let most = match answer.status().as_u16() {
            206 => end - *have,
            // This server knows no parts.
            200 => {
                file.set_len(0).map_err(io("empty", draft))?;
                *have = 0;
                latest.size_bytes
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
