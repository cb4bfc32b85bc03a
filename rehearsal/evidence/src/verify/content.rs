//! One pass over a bundle: digests of everything, and the few documents kept in memory.

use super::handover::Handover;
use crate::{
    aside::{Aside, SMALL, aside},
    digest::{Digest, Digester},
    findings::{Finding, FindingCode as Code},
    journal::JournalChecker,
    layout,
    manifest::ManifestFile,
    plan_signed,
    reader::{BundleReader, Entry, Limits},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
};

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
/// Different stages a journal may note before the rest is not counted: there are nine.
const STAGES: usize = 64;
/// Different plans a journal may mention before the rest is not remembered.
const PLANS: usize = 8;

/// Name, size and digest of a file.
type Seen = (String, (u64, Digest));

/// What one pass leaves behind.
pub(super) struct Content {
    /// Size and digest of every accepted file.
    pub(super) seen: BTreeMap<String, (u64, Digest)>,
    documents: BTreeMap<&'static str, Vec<u8>>,
    /// By file name.
    pub(super) sign_offs: BTreeMap<String, Vec<u8>>,
    pub(super) journal: Option<JournalChecker>,
    pub(super) plans_in_journal: BTreeSet<String>,
    /// Where the journal says that the plan was signed, and the digest it names.
    pub(super) plan_signed: Vec<(u64, String)>,
    /// How often the journal notes each stage.
    pub(super) stages: BTreeMap<String, u64>,
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
            sign_offs: BTreeMap::new(),
            journal: None,
            plans_in_journal: BTreeSet::new(),
            plan_signed: Vec::new(),
            stages: BTreeMap::new(),
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
        let document = DOCUMENTS.iter().find(|(name, _)| *name == entry.name);
        if let Some((_, most)) = document
            && entry.size > *most
        {
            let message = format!("has {} bytes; at most {most} are accepted", entry.size);
            return Err(Finding::at(Code::TooLarge, entry.name, message));
        }
        let is_envelope = layout::is_envelope(&entry.name);
        let is_sign_off = document.is_none() && is_envelope;
        if is_sign_off && (entry.size > SIGN_OFF_BYTES || self.sign_offs.len() == SIGN_OFFS) {
            let message = format!("is more than {SIGN_OFFS} sign-offs of {SIGN_OFF_BYTES} bytes");
            return Err(Finding::at(Code::TooLarge, entry.name, message));
        }
        let is_read = document.is_some() || is_sign_off || entry.name == layout::JOURNAL;
        if !is_read && entry.size <= SMALL {
            let content = reader.whole(&entry)?;
            aside.take(entry.name, content);
            return Ok(());
        }
        let mut kept = Vec::new();
        let mut digester = Digester::default();
        let mut journal = (entry.name == layout::JOURNAL).then(JournalChecker::default);
        let (plans, signed) = (&mut self.plans_in_journal, &mut self.plan_signed);
        let stages = &mut self.stages;
        let mut each = |piece: &[u8]| {
            if !is_envelope && entry.size > SMALL {
                handover.piece(&entry.name, entry.size, piece);
            }
            digester.update(piece);
            if document.is_some() || is_sign_off {
                kept.extend_from_slice(piece);
            }
            if let Some(journal) = &mut journal {
                journal.push(piece, |record| {
                    if record.kind == plan_signed::PLAN_SIGNED_RECORD && signed.len() < PLANS {
                        let named = record.data.get(plan_signed::PLAN_SIGNED_FIELD);
                        let named = named.and_then(|v| v.as_str()).unwrap_or_default();
                        signed.push((record.seq, named.chars().take(64).collect()));
                    }
                    if ["network.mapped", "step.done", "live.begun"].contains(&&*record.kind) {
                        let id = record.data.get("id").and_then(|v| v.as_str()).unwrap_or_default();
                        let stage =
                            format!("{} {}", record.kind, id.chars().take(8).collect::<String>());
                        if stages.len() < STAGES || stages.contains_key(&stage) {
                            *stages.entry(stage).or_default() += 1;
                        }
                    }
                    let mentioned = record.data.get("plan_digest").and_then(|v| v.as_str());
                    if let Some(digest) = mentioned
                        && plans.len() < PLANS
                    {
                        let bare = digest.strip_prefix("0x").unwrap_or(digest);
                        plans.insert(bare.chars().take(64).collect());
                    }
                });
            }
        };
        let mut whole = Vec::new();
        if entry.size > SMALL {
            reader.content(&entry, each)?;
        } else {
            whole = reader.whole(&entry)?;
            each(&whole);
        }
        let digest = digester.finish();
        match &*entry.name {
            layout::ATTESTATION => handover.attested(&kept),
            layout::MANIFEST => handover.listed(&kept),
            name if !is_envelope && entry.size <= SMALL => handover.whole(name, &whole, digest),
            _ => {}
        }
        if let Some((name, _)) = document {
            self.documents.insert(name, kept);
        } else if is_sign_off {
            self.sign_offs.insert(entry.name.clone(), kept);
        }
        if journal.is_some() {
            self.journal = journal;
        }
        self.seen.insert(entry.name, (entry.size, digest));
        Ok(())
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
