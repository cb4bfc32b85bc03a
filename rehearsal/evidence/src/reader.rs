//! Reads a bundle of a stranger: streaming, bounded, writing nothing.
//!
//! Departures that leave the reader certain of where the next file starts are collected and reading
//! goes on, so that a report can name the file whose content was changed even when the archive was
//! repacked; anything else ends the reading.

use crate::{
    container::{Tap, WINDOW_LOG, ZSTD_MAGIC},
    digest::Digest,
    findings::{Finding, FindingCode as Code},
    layout,
    ustar::{self, BLOCK},
};
use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read},
};
use zstd::stream::read::Decoder;

/// What a reader accepts at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files in a bundle.
    pub files: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Bytes of all names together.
    pub name_bytes: u64,
    /// Unpacked bytes per packed byte, once more than [`Limits::RATIO_FREE_BYTES`] are unpacked.
    pub ratio: u64,
    /// Findings after which reading ends.
    pub findings: usize,
}

impl Limits {
    /// So much may come out before the ratio counts: repetitive metrics compress very well.
    pub const RATIO_FREE_BYTES: u64 = 32 * 1024 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 500_000,
            file_bytes: 4 << 30,
            total_bytes: 32 << 30,
            name_bytes: 64 << 20,
            ratio: 1_000,
            findings: 100,
        }
    }
}

/// One file of the archive, about to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name. Only if `accepted` is it known to be a clean path.
    pub name: String,
    /// Its size as declared.
    pub size: u64,
    /// Whether it is a regular file under a permitted, unused name.
    pub accepted: bool,
}

/// A streaming reader of one bundle.
pub struct BundleReader<R: BufRead> {
    archive: Decoder<'static, Tap<R>>,
    limits: Limits,
    findings: Vec<Finding>,
    names: BTreeSet<String>,
    last: Option<String>,
    unpacked: u64,
    files: u64,
    name_bytes: u64,
    at_end: bool,
    buffer: Vec<u8>,
}

/// Bytes of a piece of a file.
const PIECE: usize = 64 * 1024;

/// Reading cannot go on: the finding says why.
type Stop = Finding;

impl<R: BufRead> BundleReader<R> {
    /// Starts to read.
    ///
    /// # Errors
    /// It is not a zstd frame, or cannot be read at all.
    pub fn open(mut source: R, limits: Limits) -> Result<Self, Finding> {
        let start = source
            .fill_buf()
            .map_err(|e| Finding::new(Code::NotABundle, format!("cannot be read: {e}")))?;
        if !start.starts_with(&ZSTD_MAGIC) {
            return Err(Finding::new(
                Code::NotABundle,
                "is not a bundle: no zstd frame at its start",
            ));
        }
        let unusable =
            |e: io::Error| Finding::new(Code::NotABundle, format!("cannot be read: {e}"));
        let tap = Tap::new(source);
        let mut archive = Decoder::with_buffer(tap).map_err(unusable)?.single_frame();
        archive.window_log_max(WINDOW_LOG).map_err(unusable)?;
        Ok(Self {
            archive,
            limits,
            findings: Vec::new(),
            names: BTreeSet::new(),
            last: None,
            unpacked: 0,
            files: 0,
            name_bytes: 0,
            at_end: false,
            buffer: vec![0; PIECE],
        })
    }

    /// The next file, or `None` after the last. Its content must be [read](Self::content) next.
    ///
    /// # Errors
    /// Why reading cannot go on.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Stop> {
        let mut block = [0; BLOCK];
        self.exactly(&mut block, "a header")?;
        if block == [0; BLOCK] {
            self.exactly(&mut block, "the end mark")?;
            if block != [0; BLOCK] {
                return Err(Finding::new(
                    Code::Header,
                    "a single empty header is followed by data",
                ));
            }
            self.at_end = true;
            return Ok(None);
        }
        let after = self.after();
        let header = ustar::parse(&block).map_err(|problem| {
            Finding::new(Code::Header, format!("the header {after} {problem}"))
        })?;
        self.files += 1;
        if self.files > self.limits.files {
            let limit = self.limits.files;
            return Err(Finding::new(Code::TooLarge, format!("has more than {limit} files")));
        }
        self.name_bytes += header.name.len() as u64;
        if self.name_bytes > self.limits.name_bytes {
            let limit = self.limits.name_bytes;
            return Err(Finding::new(
                Code::TooLarge,
                format!("has more than {limit} bytes of names"),
            ));
        }
        if header.size > self.limits.file_bytes {
            let (size, limit) = (header.size, self.limits.file_bytes);
            let message = format!("declares {size} bytes; at most {limit} are accepted");
            return Err(Finding::at(Code::TooLarge, header.name, message));
        }
        let accepted = self.judge(&header)?;
        Ok(Some(Entry { name: header.name, size: header.size, accepted }))
    }

    /// Notes every way in which a header departs from the strict profile.
    fn judge(&mut self, header: &ustar::Parsed) -> Result<bool, Stop> {
        let name = &header.name;
        let mut accepted = true;
        if let Some(what) = header.special {
            self.note(Finding::at(Code::NotAFile, name, format!("is {what}, not a regular file")))?;
            accepted = false;
        } else if let Some(deviation) = header.deviation {
            self.note(Finding::at(Code::Header, name, deviation))?;
        }
        if let Err(fault) = layout::check_name(name) {
            self.note(Finding::at(Code::Name, format!("{name:?}"), format!("the name {fault}")))?;
            accepted = false;
        }
        let mut folders = name.match_indices('/').map(|(at, _)| &name[..at]);
        if folders.any(|folder| self.names.contains(folder)) {
            self.note(Finding::at(Code::Name, name, "lies in what is a file"))?;
            accepted = false;
        }
        if !self.names.insert(name.clone()) {
            self.note(Finding::at(Code::Duplicate, name, "appears twice"))?;
            accepted = false;
        } else if self.last.as_ref().is_some_and(|last| last > name) {
            self.note(Finding::at(Code::Unsorted, name, "is out of order"))?;
        }
        self.last = Some(name.clone());
        Ok(accepted)
    }

    /// Reads the content of `entry`, in pieces, and the padding after it.
    ///
    /// # Errors
    /// Why reading cannot go on.
    pub fn content(&mut self, entry: &Entry, mut sink: impl FnMut(&[u8])) -> Result<(), Stop> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.pieces(entry, &mut buffer, &mut sink);
        self.buffer = buffer;
        read
    }

    fn pieces(
        &mut self,
        entry: &Entry,
        buffer: &mut [u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        let mut left = entry.size;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.exactly(&mut buffer[..want], &entry.name)?;
            sink(&buffer[..want]);
            left -= want as u64;
        }
        let padding = (BLOCK - (entry.size % BLOCK as u64) as usize) % BLOCK;
        self.exactly(&mut buffer[..padding], &entry.name)?;
        if buffer[..padding].iter().any(|b| *b != 0) {
            self.note(Finding::at(
                Code::Header,
                &entry.name,
                "is padded with something other than zeros",
            ))?;
        }
        Ok(())
    }

    /// The whole content of `entry`, whose size was found small enough.
    pub(crate) fn whole(&mut self, entry: &Entry) -> Result<Vec<u8>, Stop> {
        // The size is only what its header says.
        let likely = usize::try_from(entry.size).unwrap_or(0).min(16 * PIECE);
        let mut content = Vec::with_capacity(likely);
        self.content(entry, |piece| content.extend_from_slice(piece))?;
        Ok(content)
    }

    /// After the last file: nothing may follow but the seal. Gives all findings, and the digest that the
    /// seal holds if it is right.
    pub fn finish(mut self) -> (Vec<Finding>, Option<Digest>) {
        let mut seal = None;
        if self.at_end {
            match self.seal() {
                Ok(found) => seal = Some(found),
                Err(finding) => self.findings.push(finding),
            }
        }
        (self.findings, seal)
    }

    fn seal(&mut self) -> Result<Digest, Stop> {
        let mut rest = [0; BLOCK];
        let breaks = |error: io::Error| damaged(format!("breaks at its end: {error}"));
        if self.archive.read(&mut rest).map_err(breaks)? > 0 {
            let message = "has data after the end of its archive";
            return Err(Finding::new(Code::TrailingData, message));
        }
        self.archive.finish_frame().map_err(breaks)?;
        let sealed = self.archive.get_mut().check_seal();
        let sealed = sealed.map_err(|error| damaged(format!("cannot be read: {error}")))?;
        sealed.map_err(|problem| Finding::new(Code::Container, problem))
    }

    /// What was noted so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Bytes unpacked so far.
    pub fn unpacked(&self) -> u64 {
        self.unpacked
    }

    fn note(&mut self, finding: Finding) -> Result<(), Stop> {
        self.findings.push(finding);
        if self.findings.len() >= self.limits.findings {
            let message = "has so many faults that reading stopped here";
            return Err(Finding::new(Code::TooLarge, message));
        }
        Ok(())
    }

    fn after(&self) -> String {
        match &self.last {
            Some(name) => format!("after `{name}`"),
            None => "at the start".to_owned(),
        }
    }

    fn exactly(&mut self, out: &mut [u8], what: &str) -> Result<(), Stop> {
        let mut filled = 0;
        while filled < out.len() {
            match self.archive.read(&mut out[filled..]) {
                Ok(0) => return Err(self.broken(what, "it ends")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(what, &error.to_string())),
            }
        }
        self.unpacked += out.len() as u64;
        let packed = self.archive.get_ref().consumed().max(1);
        if self.unpacked > self.limits.total_bytes {
            let limit = self.limits.total_bytes;
            return Err(Finding::new(Code::TooLarge, format!("holds more than {limit} bytes")));
        }
        if self.unpacked > Limits::RATIO_FREE_BYTES && self.unpacked / packed > self.limits.ratio {
            let message = format!("expands more than {} times: a bomb", self.limits.ratio);
            return Err(Finding::new(Code::Bomb, message));
        }
        Ok(())
    }

    fn broken(&self, what: &str, error: &str) -> Finding {
        damaged(format!("the compressed stream breaks in {what}, {}: {error}", self.after()))
    }
}

fn damaged(message: String) -> Finding {
    Finding::new(Code::Damaged, message)
}
