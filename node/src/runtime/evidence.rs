//! The proofs of offences this node has, in memory and as files.

use crate::http::EvidenceView;
use qbind_crypto::{Proof, verify_evidence};
use qbind_types::{Evidence, Millis, Network, Offence, ValidatorSet, decode, encode, limits};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Proofs kept; of more, the oldest against whom there are most gives way.
const KEPT: usize = 256;
/// Offences remembered as counted.
const COUNTED: usize = 4_096;
/// In `data_dir`.
const FOLDER: &str = "evidence";

/// Validator, offence, epoch, view or round.
type Name = (u64, Offence, u64, u64);

#[derive(Debug, Clone)]
struct Found {
    proof: Proof,
    evidence: Evidence,
    file: String,
    found_unix_ms: Millis,
}

impl Found {
    fn name(&self) -> Name {
        let Proof { validator, offence, epoch, at } = self.proof;
        (validator, offence, epoch.0, at)
    }
}

#[derive(Default)]
struct Inner {
    found: VecDeque<Found>,
    counted: BTreeSet<Name>,
}

/// What detectors found, verified, each offence once.
pub(super) struct EvidenceBook {
    network: Network,
    folder: PathBuf,
    inner: Mutex<Inner>,
}

impl EvidenceBook {
    /// With what was found before, as far as its validators are known still.
    pub(super) fn open<'a>(
        network: Network,
        data_dir: &Path,
        sets: impl Iterator<Item = &'a ValidatorSet>,
    ) -> Self {
        let folder = data_dir.join(FOLDER);
        let sets: BTreeMap<u64, &ValidatorSet> = sets.map(|set| (set.epoch().0, set)).collect();
        let book = Self { network, folder, inner: Mutex::default() };
        let mut files: Vec<PathBuf> = match fs::read_dir(&book.folder) {
            Ok(entries) => entries.filter_map(|e| Some(e.ok()?.path())).collect(),
            Err(_) => Vec::new(),
        };
        files.sort();
        let oldest = sets.keys().next().copied();
        for path in files {
            let is_short = fs::metadata(&path)
                .is_ok_and(|m| m.is_file() && m.len() <= limits::EVIDENCE_BYTES as u64);
            let Some(bytes) = is_short.then(|| fs::read(&path).ok()).flatten() else { continue };
            let Ok(evidence) = decode::<Evidence>(&bytes) else { continue };
            let epoch = evidence.epoch().0;
            match sets.get(&epoch) {
                Some(set) => drop(book.keep(set, &evidence, Millis(0))),
                // Nobody can report it any more.
                None if oldest.is_some_and(|oldest| epoch < oldest) => {
                    fs::remove_file(&path).unwrap_or_default();
                }
                None => {}
            }
        }
        book
    }

    /// Keeps evidence if it proves something that is not known yet.
    pub(super) fn keep(
        &self,
        set: &ValidatorSet,
        evidence: &Evidence,
        now_unix: Millis,
    ) -> Option<Proof> {
        let validator = set.get(evidence.accused())?.id;
        let name = (validator, evidence.offence(), evidence.epoch().0, evidence.at());
        let is_known = |inner: &Inner| inner.found.iter().any(|f| f.name() == name);
        if is_known(&self.inner.lock().expect("no panic while held")) {
            return None;
        }
        let proof = verify_evidence(self.network, set, evidence).ok()?;
        let mut inner = self.inner.lock().expect("no panic while held");
        if is_known(&inner) {
            return None;
        }
        let (validator, offence, epoch, at) = name;
        let file = format!("{offence}-{validator}-{epoch}-{at}.bin");
        // The proof in memory stands whatever the disk does.
        if let Err(error) = self.write(&file, evidence) {
            tracing::warn!(%error, file, "cannot write evidence");
        }
        let evidence = evidence.clone();
        inner.found.push_back(Found { proof, evidence, file, found_unix_ms: now_unix });
        if inner.found.len() > KEPT {
            self.make_room(&mut inner);
        }
        Some(proof)
    }

    fn write(&self, file: &str, evidence: &Evidence) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(file);
        let beside = self.folder.join(format!("{file}.part"));
        fs::write(&beside, encode(evidence))?;
        fs::rename(beside, path)
    }

    /// Whoever makes many proofs against itself pushes out its own.
    fn make_room(&self, inner: &mut Inner) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for found in &inner.found {
            *counts.entry(found.proof.validator).or_default() += 1;
        }
        let most =
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(validator, _)| validator);
        let oldest = inner.found.iter().position(|f| Some(f.proof.validator) == most);
        if let Some(gone) = oldest.and_then(|at| inner.found.remove(at))
            && let Err(error) = fs::remove_file(self.folder.join(&gone.file))
        {
            tracing::debug!(%error, file = gone.file, "cannot remove old evidence");
        }
    }

    /// Whether an offence is counted for the first time.
    pub(super) fn count(&self, validator: u64, offence: Offence, epoch: u64, at: u64) -> bool {
        let mut inner = self.inner.lock().expect("no panic while held");
        while inner.counted.len() >= COUNTED {
            inner.counted.pop_first();
        }
        inner.counted.insert((validator, offence, epoch, at))
    }

    /// All kept, in the order they were found.
    pub(super) fn list(&self) -> Vec<EvidenceView> {
        let inner = self.inner.lock().expect("no panic while held");
        let view = |found: &Found| EvidenceView {
            offence: found.proof.offence.as_str(),
            validator_id: found.proof.validator,
            epoch: found.proof.epoch,
            at: found.proof.at,
            file: found.file.clone(),
            bytes: encode(&found.evidence).len() as u64,
            found_unix_ms: (found.found_unix_ms != Millis(0)).then_some(found.found_unix_ms),
        };
        inner.found.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests;
