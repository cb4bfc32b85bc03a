//! One pass over a bundle: digests of everything, and the few documents kept in memory.

use super::{handover::Handover, notes::Notes};
use crate::{
    aside::{Aside, SMALL, aside},
    digest::{Digest, Digester},
    findings::{Finding, FindingCode as Code},
    journal::JournalChecker,
    layout,
    manifest::ManifestFile,
    reader::{BundleReader, Entry, Limits},
};
use std::{collections::BTreeMap, io::BufRead};

/// Documents kept in memory, and how large each may be.
const DOCUMENTS: &[(&str, u64)] = &[
    (layout::ATTESTATION, 16 << 20),
    (layout::FACTS, 1 << 20),
    (layout::GATES, 16 << 20),
    (layout::MANIFEST, 128 << 20),
    (layout::PLAN, 16 << 20),
    (layout::PLAN_SIGNED, 1 << 20),
    (layout::TEST_RESULT, 16 << 20),
];
/// Sign-offs kept in memory, and how large each may be.
const SIGN_OFFS: usize = 256;
const SIGN_OFF_BYTES: u64 = 512 << 10;

/// Name, size and digest of a file.
type Seen = (String, (u64, Digest));

/// What one pass leaves behind.
pub(super) struct Content {
    /// Size and digest of every accepted file.
    pub(super) seen: BTreeMap<String, (u64, Digest)>,
    /// What is kept in memory, by file name.
    documents: BTreeMap<String, Vec<u8>>,
    pub(super) journal: Option<JournalChecker>,
    pub(super) notes: Notes,
    pub(super) findings: Vec<Finding>,
    /// Reading ended early: what is missing may have come later.
    pub(super) broken: bool,
    pub(super) unpacked: u64,
    /// SHA-256 of the file up to its seal, if that is right.
    pub(super) seal: Option<Digest>,
}

impl Content {
    pub(super) fn read(source: impl BufRead, limits: Limits, handover: &Handover<'_>) -> Self {
        let mut content = Self {
            seen: BTreeMap::new(),
            documents: BTreeMap::new(),
            journal: None,
            notes: Notes::default(),
            findings: Vec::new(),
            broken: false,
            unpacked: 0,
            seal: None,
        };
        match BundleReader::open(source, limits) {
            Ok(mut reader) => {
                let work = |name: &str, bytes: &[u8]| {
                    let digest = Digest::of(&[bytes]);
                    handover.whole(name, bytes, digest);
                    (name.to_owned(), (bytes.len() as u64, digest))
                };
                let (stopped, seen) =
                    aside(work, |aside| content.pass(&mut reader, handover, aside).err());
                content.seen.extend(seen);
                content.unpacked = reader.unpacked();
                let (findings, seal) = reader.finish();
                content.findings.extend(findings);
                content.seal = seal;
                content.broken = stopped.is_some();
                content.findings.extend(stopped);
            }
            Err(finding) => {
                content.broken = true;
                content.findings.push(finding);
            }
        }
        content
    }

    fn pass<R: BufRead>(
        &mut self,
        reader: &mut BundleReader<R>,
        handover: &Handover<'_>,
        aside: &mut Aside<'_, Seen>,
    ) -> Result<(), Finding> {
        while let Some(entry) = reader.next_entry()? {
            if !entry.accepted {
                reader.content(&entry, |_| {})?;
                continue;
            }
            self.file(reader, entry, handover, aside)?;
        }
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        reader: &mut BundleReader<R>,
        entry: Entry,
        handover: &Handover<'_>,
        aside: &mut Aside<'_, Seen>,
    ) -> Result<(), Finding> {
        let kept = self.kept(&entry)?;
        let mut journal = (entry.name == layout::JOURNAL).then(JournalChecker::default);
        if !kept && journal.is_none() && entry.size <= SMALL {
            let content = reader.whole(&entry)?;
            aside.take(entry.name, content);
            return Ok(());
        }
        let mut digester = Digester::default();
        let notes = &mut self.notes;
        let mut each = |piece: &[u8]| {
            digester.update(piece);
            if let Some(journal) = &mut journal {
                journal.push(piece, |record| notes.of(record));
            }
        };
        let (name, size) = (entry.name.clone(), entry.size);
        let digest = if kept || size <= SMALL {
            let content = reader.whole(&entry)?;
            each(&content);
            let digest = digester.finish();
            handover.whole(&name, &content, digest);
            if kept {
                self.documents.insert(name, content);
            }
            digest
        } else {
            reader.content(&entry, |piece| {
                each(piece);
                handover.piece(&name, size, piece);
            })?;
            digester.finish()
        };
        if journal.is_some() {
            self.journal = journal;
        }
        self.seen.insert(entry.name, (size, digest));
        Ok(())
    }

    /// Whether a file is kept in memory.
    ///
    /// # Errors
    /// It is larger than one of its name may be, or one sign-off too many.
    fn kept(&self, entry: &Entry) -> Result<bool, Finding> {
        let too_large =
            |message: String| Err(Finding::at(Code::TooLarge, entry.name.clone(), message));
        if let Some((_, most)) = DOCUMENTS.iter().find(|(name, _)| *name == entry.name) {
            return match entry.size <= *most {
                true => Ok(true),
                false => {
                    too_large(format!("has {} bytes; at most {most} are accepted", entry.size))
                }
            };
        }
        let is_sign_off = layout::is_envelope(&entry.name);
        if is_sign_off && (entry.size > SIGN_OFF_BYTES || self.sign_offs().count() == SIGN_OFFS) {
            return too_large(format!(
                "is more than {SIGN_OFFS} sign-offs of {SIGN_OFF_BYTES} bytes"
            ));
        }
        Ok(is_sign_off)
    }

    /// By file name, what others decided.
    pub(super) fn sign_offs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let folder = format!("{}/", layout::SIGN_OFFS);
        let all = self.documents.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]));
        all.filter(move |(name, _)| name.starts_with(&folder))
    }

    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    pub(super) fn listing(&self) -> Vec<ManifestFile> {
        let file = |(path, (size, digest)): (&String, &(u64, Digest))| ManifestFile {
            path: path.clone(),
            size: *size,
            sha3_256: *digest,
        };
        self.seen.iter().map(file).collect()
    }
}
