//! Adds signatures to a bundle that exists.

use crate::{
    digest::Digest,
    dsse::{Envelope, key_id},
    findings::{Finding, FindingCode},
    layout,
    reader::{BundleReader, Limits},
    seal::{BundleWriter, SealError, unsound},
    sign_off::{self, SignOff},
    verify::{VerifyOptions, verify},
};
use qbind_crypto::SecretKey;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Seek},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// A bundle with more signatures than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Where; the same path.
    pub path: PathBuf,
    /// Ids of the keys that signed now.
    pub keys: Vec<Digest>,
}

/// Why a bundle was not signed. It is as it was.
#[derive(Debug, Error)]
pub enum SignError {
    /// It cannot be read.
    #[error("cannot read the bundle {}", path.display())]
    Io {
        /// Which bundle.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not what it says it is; nobody should sign it.
    #[error("the bundle {} is not sound, so it was not signed: {first}", path.display())]
    NotSound {
        /// Which bundle.
        path: PathBuf,
        /// The first thing that is wrong.
        first: Finding,
        /// Everything that is wrong.
        findings: Vec<Finding>,
    },
    /// What was decided is not something to sign.
    #[error("the sign-off {why}")]
    SignOff {
        /// What is wrong with it.
        why: String,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] SealError),
}

/// Signs both statements of the bundle at `path` with every key and replaces it in one step.
///
/// The evidence and the statements stay as they are, byte for byte; other signatures are kept.
///
/// # Errors
/// The bundle is left as it was.
pub fn sign_bundle(path: &Path, keys: &[SecretKey]) -> Result<Signed, SignError> {
    let (mut file, root) = sound(path)?;
    let edits: BTreeMap<String, Edit<'_>> = [layout::ATTESTATION, layout::TEST_RESULT]
        .into_iter()
        .map(|name| -> (String, Edit<'_>) {
            let sign = move |bytes: Vec<u8>| {
                let mut envelope = Envelope::parse(&bytes)
                    .map_err(|error| Finding::at(FindingCode::Envelope, name, error.to_string()))?;
                keys.iter().for_each(|key| envelope.sign(key));
                Ok(envelope.to_bytes())
            };
            (name.to_owned(), Box::new(sign))
        })
        .collect();
    rewrite(path, root, &mut file, edits)?;
    let keys = keys.iter().map(|key| key_id(&key.public_key())).collect();
    Ok(Signed { path: path.to_owned(), keys })
}

/// Adds what the holder of `key` decided about the bundle at `path`, which must be the one with the
/// Merkle root `judged`; an earlier decision of the same key gives way to it. Nothing else changes.
///
/// # Errors
/// The bundle is left as it was.
pub fn cosign_bundle(
    path: &Path,
    judged: Digest,
    key: &SecretKey,
    decided: SignOff,
) -> Result<Signed, SignError> {
    let (mut file, root) = sound(path)?;
    if root != judged {
        let message = format!("has the Merkle root {root}; judged was {judged}");
        return Err(not_sound(path, Finding::at(FindingCode::Changed, layout::MANIFEST, message)));
    }
    let attestation = payload_of_attestation(path, &mut file)?;
    let bytes = decided
        .sign(&attestation, key)
        .map_err(|why| SignError::SignOff { why: why.to_owned() })?;
    let edit: Edit<'_> = Box::new(|_| Ok(bytes));
    let keyid = sign_off::id_of(key);
    rewrite(path, root, &mut file, BTreeMap::from([(sign_off::file_of(keyid), edit)]))?;
    Ok(Signed { path: path.to_owned(), keys: vec![keyid] })
}

/// What becomes of a file: of its bytes, or of none where it is not there yet.
type Edit<'a> = Box<dyn FnOnce(Vec<u8>) -> Result<Vec<u8>, Finding> + 'a>;

fn not_sound(path: &Path, finding: Finding) -> SignError {
    SignError::NotSound { path: path.to_owned(), first: finding.clone(), findings: vec![finding] }
}

/// The bundle's file, at its start, and its Merkle root, if nothing is wrong inside.
fn sound(path: &Path) -> Result<(File, Digest), SignError> {
    let io = |source| SignError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let answer = verify(BufReader::new(&file), &VerifyOptions::default());
    let found = answer.findings;
    match (found.first().cloned(), answer.merkle_root) {
        (None, Some(root)) => {
            file.rewind().map_err(io)?;
            Ok((file, root))
        }
        (Some(first), _) => {
            Err(SignError::NotSound { path: path.to_owned(), first, findings: found })
        }
        (None, None) => unreachable!("a sound bundle has a manifest"),
    }
}

fn payload_of_attestation(path: &Path, file: &mut File) -> Result<Vec<u8>, SignError> {
    let failed = |finding| not_sound(path, finding);
    let mut bytes = Vec::new();
    let mut reader =
        BundleReader::open(BufReader::new(&*file), Limits::default()).map_err(failed)?;
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        let wanted = entry.name == layout::ATTESTATION;
        let keep = |piece: &[u8]| {
            if wanted {
                bytes.extend_from_slice(piece);
            }
        };
        reader.content(&entry, keep).map_err(failed)?;
        if wanted {
            break;
        }
    }
    drop(reader);
    file.rewind().map_err(|source| SignError::Io { path: path.to_owned(), source })?;
    let envelope = Envelope::parse(&bytes).map_err(|error| {
        failed(Finding::at(FindingCode::Envelope, layout::ATTESTATION, error.to_string()))
    })?;
    Ok(envelope.payload())
}

/// Writes the bundle anew with these files changed or added, and puts it in the old one's place.
fn rewrite(
    path: &Path,
    root: Digest,
    file: &mut File,
    mut edits: BTreeMap<String, Edit<'_>>,
) -> Result<(), SignError> {
    let failed = |finding| not_sound(path, finding);
    let mut reader =
        BundleReader::open(BufReader::new(&*file), Limits::default()).map_err(failed)?;
    let mut bundle = BundleWriter::create(path)?;
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        // Names are sorted: what comes before this one and is not there is new.
        while let Some(first) = edits.first_entry().filter(|e| *e.key() < entry.name) {
            let (name, edit) = first.remove_entry();
            bundle.bytes(&name, &edit(Vec::new()).map_err(failed)?)?;
        }
        if let Some(edit) = edits.remove(&entry.name) {
            let mut bytes = Vec::new();
            reader.content(&entry, |piece| bytes.extend_from_slice(piece)).map_err(failed)?;
            bundle.bytes(&entry.name, &edit(bytes).map_err(failed)?)?;
            continue;
        }
        bundle.begin(&entry.name, entry.size)?;
        let mut written = Ok(());
        reader
            .content(&entry, |piece| {
                if written.is_ok() {
                    written = bundle.push(piece);
                }
            })
            .map_err(failed)?;
        written?;
        bundle.end(entry.size)?;
    }
    for (name, edit) in edits {
        bundle.bytes(&name, &edit(Vec::new()).map_err(failed)?)?;
    }
    // Readers have bounds, and the old file may have been changed while it was read.
    bundle.publish_if(true, |written| {
        let answer = verify(BufReader::new(written), &VerifyOptions::default());
        let other = || Finding::at(FindingCode::Changed, layout::MANIFEST, "changed meanwhile");
        match answer.findings.into_iter().next() {
            Some(finding) => Err(unsound(finding)),
            None if answer.merkle_root != Some(root) => Err(unsound(other())),
            None => Ok(()),
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Decision, SealOptions, Seen, SignerStatus, Trust, TrustedKey, Waiver, seal,
        seal::tests::{evidence, facts, key},
    };
    use std::fs;

    #[test]
    fn a_second_signature_leaves_the_first_and_the_evidence_as_they_were() {
        let dir = evidence();
        let out = dir.path().join("a.qbundle");
        let options = SealOptions { facts: Some(&facts()), signers: &[key(1)] };
        let sealed = seal(dir.path(), &out, &options).unwrap();
        sign_bundle(&out, &[key(2)]).unwrap();
        let trust = Trust::new(
            (1..=2)
                .map(|n| TrustedKey {
                    name: format!("key {n}"),
                    operator: "o".to_owned(),
                    organisation: "o".to_owned(),
                    public_key: key(n).public_key(),
                })
                .collect(),
        );
        let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
        let answer = verify(&fs::read(&out).unwrap()[..], &options);
        assert!(answer.valid, "{:?}", answer.findings);
        assert_eq!(answer.merkle_root, Some(sealed.merkle_root));
        assert!(answer.signers.iter().all(|signer| signer.status == SignerStatus::Valid));
        assert_eq!(answer.signers.len(), 2);

        // The order of signing does not show: the bytes are those of sealing with both keys.
        let both = dir.path().join("b.qbundle");
        let signers = [key(2), key(1)];
        seal(dir.path(), &both, &SealOptions { facts: None, signers: &signers }).unwrap();
        assert_eq!(fs::read(both).unwrap(), fs::read(out).unwrap());
    }

    #[test]
    fn an_unsound_bundle_is_not_signed_and_not_touched() {
        let dir = evidence();
        let out = dir.path().join("a.qbundle");
        let options = SealOptions { facts: Some(&facts()), signers: &[] };
        seal(dir.path(), &out, &options).unwrap();
        let mut bytes = fs::read(&out).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&out, &bytes).unwrap();
        assert!(matches!(sign_bundle(&out, &[key(1)]), Err(SignError::NotSound { .. })));
        assert_eq!(fs::read(&out).unwrap(), bytes);
    }

    fn decision(decision: Decision, reason: &str) -> SignOff {
        SignOff {
            decision,
            role: "council".to_owned(),
            reason: reason.to_owned(),
            decided_at: String::new(),
            recomputed: true,
            waivers: Vec::new(),
            seen: Vec::new(),
        }
        .at(1_770_690_000_000)
    }

    fn trusting(keys: &[u8]) -> Trust {
        let trusted = |n: &u8| TrustedKey {
            name: format!("key {n}"),
            operator: format!("person {n}"),
            organisation: "o".to_owned(),
            public_key: key(*n).public_key(),
        };
        Trust::new(keys.iter().map(trusted).collect())
    }

    fn sealed() -> (tempfile::TempDir, PathBuf) {
        let dir = evidence();
        let out = dir.path().join("a.qbundle");
        let options = SealOptions { facts: Some(&facts()), signers: &[key(1)] };
        seal(dir.path(), &out, &options).unwrap();
        (dir, out)
    }

    #[test]
    fn decisions_are_added_one_each_and_change_nothing_else() {
        let (_dir, out) = sealed();
        let before = verify(&fs::read(&out).unwrap()[..], &VerifyOptions::default());
        let root = before.merkle_root.unwrap();
        cosign_bundle(&out, root, &key(2), decision(Decision::Approve, "")).unwrap();
        cosign_bundle(&out, root, &key(3), decision(Decision::Reject, "too few probes")).unwrap();
        cosign_bundle(&out, root, &key(3), decision(Decision::Reject, "still too few")).unwrap();
        sign_bundle(&out, &[key(4)]).unwrap();
        let trust = trusting(&[1, 2, 4]);
        let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
        let after = verify(&fs::read(&out).unwrap()[..], &options);
        assert!(after.valid, "{:?}", after.findings);
        assert_eq!(after.merkle_root, before.merkle_root);
        assert_eq!(after.statement, before.statement);
        let of = |n: u8| {
            let id = key_id(&key(n).public_key());
            after.sign_offs.iter().find(|s| s.keyid == id).unwrap()
        };
        assert_eq!(after.sign_offs.len(), 2);
        assert_eq!(of(2).is_signed, Some(true));
        assert_eq!(of(3).is_signed, None, "nobody asked about this key");
        assert_eq!(of(3).sign_off.reason, "still too few");
    }

    #[test]
    fn decisions_that_say_nothing_are_not_signed() {
        let (_dir, out) = sealed();
        let bytes = fs::read(&out).unwrap();
        let root = verify(&bytes[..], &VerifyOptions::default()).merkle_root.unwrap();
        let waive = |gate: &str, reason: &str| Waiver { gate: gate.into(), reason: reason.into() };
        let with = |waivers| SignOff { waivers, ..decision(Decision::Approve, "") };
        for (bad, why) in [
            (decision(Decision::Reject, " "), "without a reason"),
            (with(vec![waive("G9", "")]), "without a reason"),
            (with(vec![waive("G9", "a"), waive("G10", "b")]), "unsorted"),
            (SignOff { decided_at: "today".into(), ..decision(Decision::Approve, "") }, "time"),
            (decision(Decision::Approve, &"x".repeat(5_000)), "too long"),
        ] {
            let error = cosign_bundle(&out, root, &key(2), bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        // Another bundle than the one that was judged.
        let good = decision(Decision::Approve, "");
        let other = cosign_bundle(&out, Digest([7; 32]), &key(2), good).unwrap_err();
        assert!(other.to_string().contains("judged was"), "{other}");
        assert_eq!(fs::read(&out).unwrap(), bytes);
    }

    #[test]
    fn a_decision_that_was_seen_cannot_be_left_out_or_taken_back_by_others() {
        let (_dir, out) = sealed();
        let root =
            verify(&fs::read(&out).unwrap()[..], &VerifyOptions::default()).merkle_root.unwrap();
        let later = |by: u8, at: u64| Seen {
            keyid: key_id(&key(by).public_key()),
            decided_at: decision(Decision::Reject, "no").at(at).decided_at,
        };
        cosign_bundle(&out, root, &key(2), decision(Decision::Approve, "").at(1_000)).unwrap();
        let early = fs::read(&out).unwrap();
        cosign_bundle(&out, root, &key(2), decision(Decision::Reject, "no").at(2_000)).unwrap();
        let saw = SignOff { seen: vec![later(2, 2_000)], ..decision(Decision::Approve, "") };
        cosign_bundle(&out, root, &key(3), saw.clone()).unwrap();
        let trust = trusting(&[1, 2, 3]);
        let check = |bytes: &[u8]| {
            let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
            verify(bytes, &options).findings
        };
        assert_eq!(check(&fs::read(&out).unwrap()), []);
        // The file from before the rejection, with the approval of who saw it.
        fs::write(&out, early).unwrap();
        cosign_bundle(&out, root, &key(3), saw.clone()).unwrap();
        let found = check(&fs::read(&out).unwrap());
        assert!(found[0].message.contains("an earlier one"), "{found:?}");
        let (_dir, empty) = sealed();
        cosign_bundle(&empty, root, &key(3), saw).unwrap();
        let found = check(&fs::read(&empty).unwrap());
        assert!(found[0].message.contains("was left out"), "{found:?}");
    }
}
